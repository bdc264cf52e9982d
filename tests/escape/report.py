"""What a run of attempts came to, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from tests.escape import findings
from tests.escape.attempts import WHO, Attempt
from tests.escape.findings import Outcome
from tests.escape.moments import Moments


def escapes(attempts: Iterable[Attempt], found: Mapping[int, Outcome], name: str) -> list[str]:
    """Return what got through from the sandbox *name*, with the first lines of what arrived."""
    lines = []
    for attempt in attempts:
        if arrived := found[WHO[name]].escapes(attempt.number):
            lines.append("\n    ".join((f"{name}: {attempt.line}", *arrived[:3])))
    return lines


def table(attempts: list[Attempt], found: Mapping[int, Outcome], names: Iterable[str]) -> str:
    """Return the figures of each of *names*, by kind."""
    lines = [findings.HEADER]
    for name in names:
        rows = findings.figures(attempts, found, WHO[name])
        lines += [f"-- {name}", *(row.line for row in rows)]
        lines.append(findings.total(rows).line)
    return "\n".join(lines)


def moments(made: Moments, found: Mapping[int, Outcome], names: Iterable[str]) -> str:
    """Return how many attempts there were at each kind of moment, how many got through, and how many without rules."""
    who = set(names)
    counts: Counter[tuple[str, str]] = Counter()
    for attempt in made.attempts.values():
        moment, _, name = str(attempt.arguments["moment"]).rpartition(", ")
        if name in who:
            counts[moment, "attempts"] += 1
            counts[moment, "escaped"] += bool(found[WHO[name]].escapes(attempt.number))
        else:
            counts[moment, "control"] += findings.is_shown(found, attempt.number)
    words = ("attempts", "escaped", "control")
    lines = [f"{'moment':42} " + " ".join(f"{word:>8}" for word in words)]
    for moment in dict.fromkeys(moment for moment, _ in counts):
        lines.append(f"{moment:42} " + " ".join(f"{counts[moment, word]:8}" for word in words))
    return "\n".join(lines)
