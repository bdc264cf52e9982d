"""What the notes of the canaries say about attempts: which got through. Pure."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.escape.attempts import NAMED, WHO, Attempt

CONTROLS = (WHO["free"], WHO["bare"])
Note = dict[str, Any]


@dataclass(slots=True)
class Outcome:
    """What became of the attempts of one runtime, by their number."""

    made: dict[int, dict[str, Any]] = field(default_factory=dict)
    notes: dict[int, list[Note]] = field(default_factory=lambda: defaultdict(list))

    def escapes(self, number: int) -> list[str]:
        """Return what of an attempt arrived that must not, a line each."""
        said = self.made.get(number, {})
        permitted = [bytes.fromhex(octets) for octets in said.get("permitted", ())]
        whole = b"".join(permitted)
        notes = self.notes.get(number, [])
        streams = [bytes.fromhex(note["octets"]) for note in notes if note["what"] == "stream" and note["how"] == str(NAMED)]
        opened = bool(said.get("opens")) and any(stream.startswith(whole) for stream in streams)
        lines = ["it was answered"] if said.get("reached") else []
        for note in notes:
            octets = bytes.fromhex(note.get("octets", ""))
            match note["what"]:
                case "payload" if octets in whole or opened:
                    continue
                case "marker" if opened:
                    continue
                case "stream" if note["how"] == str(NAMED) and (octets in whole or (opened and octets.startswith(whole))):
                    continue
            lines.append(f"{note['place']}: {note['what']} ({note['how']}) {octets[:300]!r}")
        return lines


def outcomes(results: Mapping[int, Iterable[dict[str, Any]]], notes: Iterable[Note]) -> dict[int, Outcome]:
    """Return the outcome of each who made attempts. *results*: what each said of them."""
    found: dict[int, Outcome] = defaultdict(Outcome)
    for who, several in results.items():
        found[who].made = {said["number"]: said for said in several}
    for note in notes:
        if note["what"] != "fence":
            found[note["who"]].notes[note["number"]].append(note)
    return found


@dataclass(frozen=True, slots=True)
class Figures:
    kind: str
    attempts: int
    refused_at_once: int
    """By the namespace's own stack: nothing was sent."""
    escaped: int
    shown: int
    """Attempts of this kind that got through where there are no rules."""

    @property
    def line(self) -> str:
        return f"{self.kind:42} {self.attempts:6} {self.refused_at_once:8} {self.escaped:8} {self.shown:8}"


HEADER = f"{'kind':42} {'made':>6} {'own end':>8} {'escaped':>8} {'control':>8}"


def figures(attempts: Iterable[Attempt], found: Mapping[int, Outcome], who: int) -> list[Figures]:
    """Return the figures of one runtime, by kind."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for attempt in attempts:
        count, number = counted[attempt.kind], attempt.number
        count["made"] += number in found[who].made
        count["refused"] += "refused" in found[who].made.get(number, {})
        count["escaped"] += bool(found[who].escapes(number))
        count["shown"] += is_shown(found, number)
    return [Figures(kind, count["made"], count["refused"], count["escaped"], count["shown"]) for kind, count in counted.items()]


def total(rows: Iterable[Figures]) -> Figures:
    several = list(rows)
    return Figures("all", *(sum(getattr(row, name) for row in several) for name in ("attempts", "refused_at_once", "escaped", "shown")))


def is_shown(found: Mapping[int, Outcome], number: int) -> bool:
    """Return whether the attempt gets through where there are no rules, so that its failure says something."""
    return any(found[who].escapes(number) for who in CONTROLS if who in found)


def read(text: str) -> list[Note]:
    return [json.loads(line) for line in text.splitlines()]
