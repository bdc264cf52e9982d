"""Values of a Compose file: text, list, pairs, number, boolean, duration, read with their line, and what is wrong with them. Pure."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Collection
from typing import Any

from resolver.cli.compose.yaml12 import Located
from resolver.cli.duration import seconds_of
from resolver.cli.words import CLOSE


class Values:
    """Reads values of one file and collects its *problems*, as (line, text).

    A method returns the default where a value is wrong, so that all problems are found in one go.
    """

    def __init__(self) -> None:
        self.problems: list[tuple[int, str]] = []
        self._ignored: set[str] = set()

    def problem(self, line: int, text: str) -> None:
        """Note a problem."""
        self.problems.append((line, text))

    def notes(self) -> tuple[str, ...]:
        """Return what the user should know of a file without problems."""
        return (f"ignored, not about networking: {', '.join(sorted(self._ignored))}",) if self._ignored else ()

    def check_keys(self, mapping: Located, known: Collection[str], where: str, ignored: Collection[str] = ()) -> None:
        """Note each key that is neither *known* nor *ignored* as a problem; `x-` keys are the user's own."""
        self._ignored |= set(ignored) & set(mapping)
        for key in mapping:
            if key in known or key in ignored or key.startswith("x-"):
                continue
            near = difflib.get_close_matches(key, [*known, *ignored], n=1, cutoff=CLOSE)
            few = f"; known are {', '.join(sorted(known))}" if len(known) + len(ignored) < 12 else ""
            path = f"{where}.{key}" if where else key
            self.problem(mapping.lines[key], f"{path} is not known{f'; did you mean {near[0]}?' if near else few}")

    def mapping(self, value: Any, line: int, where: str) -> Located:
        """Return *value* as a mapping; an absent one is empty."""
        if value is None:
            return Located()
        if isinstance(value, Located):
            return value
        self.problem(line, f"{where} must be a mapping")
        return Located()

    def text(self, mapping: Located, key: str) -> str | None:
        """Return a single value as text, None if it is absent or empty."""
        value = mapping.get(key)
        if isinstance(value, list | dict):
            self.problem(mapping.lines[key], f"{key} must be a single value")
            return None
        return as_text(value) or None

    def texts(self, mapping: Located, key: str) -> tuple[str, ...]:
        """Return a list of texts; a single value counts as a list of one."""
        value = mapping.get(key)
        if value is None:
            return ()
        members = value if isinstance(value, list) else [value]
        if any(isinstance(member, list | dict) for member in members):
            self.problem(mapping.lines[key], f"{key} must be a list of strings")
            return ()
        return tuple(as_text(member) for member in members)

    def words(self, mapping: Located, key: str) -> tuple[str, ...]:
        """Return a command: a list, or one text that is split as a shell would."""
        value = mapping.get(key)
        if not isinstance(value, str):
            return self.texts(mapping, key)
        try:
            return tuple(shlex.split(value))
        except ValueError as error:
            self.problem(mapping.lines[key], f"{key}: {error}")
            return ()

    def pairs(self, mapping: Located, key: str) -> dict[str, str | None]:
        """Return a mapping, or a list of `KEY=value`; None for a key without a value."""
        value = mapping.get(key)
        if isinstance(value, Located):
            return {name: None if inner is None else as_text(inner) for name, inner in value.items()}
        result: dict[str, str | None] = {}
        for member in self.texts(mapping, key):
            name, equals, text = member.partition("=")
            result[name] = text if equals else None
        return result

    def full_pairs(self, mapping: Located, key: str) -> dict[str, str]:
        """Return as `pairs` does; a key without a value has the empty text."""
        return {name: value or "" for name, value in self.pairs(mapping, key).items()}

    def number(self, mapping: Located, key: str, default: int = 0) -> int:
        """Return a whole number."""
        value = mapping.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not str(value).lstrip("-").isdigit():
            self.problem(mapping.lines[key], f"{key} must be a whole number, not {value!r}")
            return default
        return int(value)

    def boolean(self, mapping: Located, key: str) -> bool | None:
        """Return true or false, None if the value is absent."""
        value = mapping.get(key)
        if value is None or isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        self.problem(mapping.lines[key], f"{key} must be true or false, not {value!r}")
        return None

    def duration(self, mapping: Located, key: str, default: float) -> float:
        """Return a duration in seconds."""
        text = self.text(mapping, key)
        if text is None:
            return default
        seconds = seconds_of(text)
        if seconds is None:
            self.problem(mapping.lines[key], f"{key} must be a duration like 10s or 1m30s, not {text!r}")
            return default
        return seconds


def as_text(value: Any) -> str:
    """Return a scalar as it is written in a file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
