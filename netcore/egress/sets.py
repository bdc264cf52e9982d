"""Lists of rules with a name: what `@SET` stands for. Pure.

A list may name others. A list that is not there allows nothing, and where it is denied, everything is: what is missing closes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from netcore.egress.rules import Rule, SetName, Wide
from netcore.errors import InvalidRequest

RuleSets = Mapping[str, tuple[Rule, ...]]
"""Name → rules."""

_EVERYTHING_DENIED = Rule(target=Wide.ALL, deny=True)


def expanded(rules: Iterable[Rule], sets: RuleSets) -> tuple[Rule, ...]:
    """Return *rules* with those that the lists they name have in place of these, each once."""
    return tuple(dict.fromkeys(_expand(rules, sets, ())))


def _expand(rules: Iterable[Rule], sets: RuleSets, inside: tuple[str, ...]) -> Iterator[Rule]:
    for rule in rules:
        if not isinstance(rule.target, SetName):
            yield rule
            continue
        name = rule.target.name
        listed = sets.get(name)
        if listed is None or name in inside:
            if rule.deny:
                yield _EVERYTHING_DENIED
            continue
        for member in _expand(listed, sets, (*inside, name)):
            # What a denied list allows is denied; what it denies is denied as well.
            yield (
                replace(member, deny=True, private=False, by_address=False)
                if rule.deny and member.target not in (Wide.NONE, Wide.LEARN)
                else member
            )


def check(rules: Iterable[Rule], sets: RuleSets, field: str = "egress", inside: tuple[str, ...] = ()) -> None:
    """Raise InvalidRequest if *rules* name a list that is not there, or that leads back to itself."""
    for rule in rules:
        if not isinstance(rule.target, SetName):
            continue
        name = rule.target.name
        if name in inside:
            raise InvalidRequest(f"{field} rule {str(rule)!r}", f"the lists name each other in a circle: {' → '.join((*inside, name))}")
        if name not in sets:
            known = ", ".join(f"@{one}" for one in sorted(sets)[:20]) or "none"
            reason = (
                f"there is no list {name}: it would be the file /etc/berth/egress/{name}, or egress.sets.{name}, which the daemon reads at"
                f" its start and on `systemctl reload berth`; there are: {known}"
            )
            raise InvalidRequest(f"{field} rule {str(rule)!r}", reason)
        check(sets[name], sets, field, (*inside, name))
