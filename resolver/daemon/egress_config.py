"""`[egress]` of the configuration, and the lists of rules in files."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from netcore import limits
from netcore.egress import read
from netcore.egress import sets as rule_sets
from netcore.egress.rules import Rule, SetName
from netcore.egress.settings import NO_SETTINGS, EgressSettings
from netcore.errors import InvalidRequest

KEYS = ("default", "ceiling", "sets", "hold", "new_names")
_LONGEST_FILE = 1 << 20


def parse(value: Any) -> EgressSettings:
    """Return the settings that the table *value* means; ValueError or InvalidRequest says what is wrong."""
    if not isinstance(value, dict):
        raise ValueError(f"must be a table of {', '.join(KEYS)}")
    for key in value:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            raise ValueError(f"{key} is unknown; " + (f"did you mean {near[0]}?" if near else f"known are {', '.join(KEYS)}"))
    given = {key: _rules(value[key], key) for key in ("default", "ceiling") if key in value}
    return EgressSettings(
        default=given.get("default"),
        ceiling=given.get("ceiling"),
        sets=_sets(value.get("sets", {})),
        hold=_number(value, "hold", NO_SETTINGS.hold, 1, int(limits.EGRESS_LONGEST)),
        new_names=_number(value, "new_names", NO_SETTINGS.new_names, 1, 1_000_000),
    )


def _rules(value: Any, key: str) -> tuple[Rule, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        raise ValueError(f'{key} must be a list of rules, as in ["none", "*.example.org"]')
    return read.rules(value, f"egress.{key}")


def _sets(value: Any) -> dict[str, tuple[Rule, ...]]:
    if not isinstance(value, dict):
        raise ValueError('sets must be a table of lists, as in {build = ["packages.example.org"]}')
    return {_name(name): _set(given, f"sets.{name}") for name, given in value.items()}


def _set(value: Any, key: str) -> tuple[Rule, ...]:
    """Return the rules of a list: written as such, or as a table with `rules` and `check`."""
    if not isinstance(value, dict):
        return _rules(value, key)
    check = value.get("check", read.CHECKS[0])
    if set(value) - {"rules", "check"} or check not in read.CHECKS:
        raise ValueError(f'{key} must be a list of rules, or a table as in {{rules = ["packages.example.org"], check = "address"}}')
    return read.with_check(_rules(value.get("rules"), key), check)


def _name(name: str) -> str:
    if read.rule(f"@{name}", "egress.sets").target != SetName(name):
        raise ValueError(f"sets: {name!r} can't be the name of a list")
    return name


def _number(value: Mapping[str, Any], key: str, default: int, least: int, most: int) -> int:
    number = value.get(key, default)
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        raise ValueError(f"{key} must be a whole number from {least} to {most}")
    return number


def with_files(settings: EgressSettings, directory: str) -> EgressSettings:
    """Return *settings* with the lists in *directory* too, one in each file; those of the configuration come first.

    Checks that every list is there.
    """
    found: dict[str, tuple[Rule, ...]] = {}
    path = Path(directory)
    files = sorted(path.iterdir()) if path.is_dir() else []
    for file in files:
        if file.name.startswith(".") or file.name.endswith("~") or not file.is_file():
            continue
        found[_name(file.name)] = read.lines(_text(file), str(file))
    whole = replace(settings, sets={**found, **settings.sets})
    for rules in (*whole.sets.values(), whole.default or (), whole.ceiling or ()):
        rule_sets.check(rules, whole.sets)
    return whole


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            octets = opened.read(_LONGEST_FILE + 1)
        if len(octets) > _LONGEST_FILE:
            raise InvalidRequest(str(file), f"has more than {_LONGEST_FILE} octets")
        return octets.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(str(file), f"can't be read: {error}") from error


def as_table(settings: EgressSettings) -> dict[str, Any]:
    """Return the table that `parse` makes *settings* of."""
    made: dict[str, Any] = {}
    for key, rules in (("default", settings.default), ("ceiling", settings.ceiling)):
        if rules is not None:
            made[key] = [*map(str, rules)]
    if settings.sets:
        made["sets"] = {name: [*map(str, rules)] for name, rules in settings.sets.items()}
    return {**made, "hold": settings.hold, "new_names": settings.new_names}
