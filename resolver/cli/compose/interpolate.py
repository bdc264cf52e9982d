"""`${VAR:-default}` in one text, as Compose substitutes it. Pure.

| form | meaning |
|---|---|
| `$VAR`, `${VAR}` | the value, or nothing (and a warning) |
| `${VAR:-word}`, `${VAR-word}` | word if VAR is unset or empty; if it is unset |
| `${VAR:?text}`, `${VAR?text}` | an error with text in these cases |
| `${VAR:+word}`, `${VAR+word}` | word if VAR is set (and not empty), nothing otherwise |
| `$$` | a dollar sign |

Any other dollar sign stays as it is: `$(date)`, `^a$`, `$1`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

_NAME = r"[_a-zA-Z][_a-zA-Z0-9]*"
_VARIABLE = re.compile(rf"\$(?:(?P<escaped>\$)|(?P<named>{_NAME})|\{{(?:(?P<braced>{_NAME})(?P<operator>:?[-+?])?)?)")
_MAX_NESTING = 32
_LONGEST = 1 << 25
"""Characters that a text with variables may become; a file may have as many."""


class BadVariable(Exception):
    """A `${…}` that can't be substituted; the text says why."""


class Variables(NamedTuple):
    """What texts are interpolated with. *warn*: is told of each that is not set."""

    values: Mapping[str, str]
    warn: Callable[[str], None]


class Variable(NamedTuple):
    """A variable that a text asks for. *default*, *alternate*: what stands for it if it is not set, and if it is."""

    name: str
    required: bool = False
    default: str = ""
    alternate: str = ""


def variables_in(text: str, nesting: int = 0) -> Iterator[Variable]:
    """Yield the variables that *text* asks for, those in defaults too."""
    at = 0
    while nesting <= _MAX_NESTING and (match := _VARIABLE.search(text, at)):
        at = match.end()
        name = match["named"] or match["braced"]
        if name is None:
            continue
        operator, word = (match["operator"] or " ")[-1], ""
        if match["braced"]:
            end = _closing_brace(text, match.start(), len(text))
            at, word = (end + 1, text[at:end]) if end >= 0 else (len(text), text[at:])
        yield Variable(name, required=operator == "?", default=word if operator == "-" else "", alternate=word if operator == "+" else "")
        if operator != "?":
            yield from variables_in(word, nesting + 1)


def interpolate(text: str, variables: Variables, nesting: int = 0) -> str:
    """Return *text* with its variables substituted; BadVariable if one is malformed, or required and missing."""
    if "$" not in text:
        return text
    if nesting > _MAX_NESTING:
        raise BadVariable(f"{text[:80]!r}: defaults within defaults, more than {_MAX_NESTING} deep")
    parts: list[str] = []
    at, length = 0, len(text)
    while match := _VARIABLE.search(text, at):
        if length > _LONGEST:
            raise BadVariable(f"{text[:80]!r}: it becomes longer than {_LONGEST} characters")
        parts.append(text[at : match.start()])
        if match["escaped"]:
            parts.append("$")
            at = match.end()
        elif match["named"]:
            parts.append(_value(match["named"], variables))
            at = match.end()
        else:
            value, at = _braced(text, match, variables, nesting)
            parts.append(value)
        length += len(parts[-1])
    return "".join(parts) + text[at:]


def _braced(text: str, match: re.Match[str], variables: Variables, nesting: int) -> tuple[str, int]:
    """Return what stands for the `${…}` that *match* begins, and where it ends."""
    name, operator, start = match["braced"], match["operator"], match.end()
    if name and not operator and text[start : start + 1] == "}":
        return _value(name, variables), start + 1
    line_end = text.find("\n", start)
    last = text.rfind("}", start, len(text) if line_end < 0 else line_end)
    if not operator or last < 0:
        raise BadVariable(
            f"{text[:80]!r}: ${{ begins a variable like ${{NAME}} or ${{NAME:-default}}; write $${{ for the characters themselves"
        )
    end = _closing_brace(text, match.start(), last + 1)
    # As in Compose the last brace of the line ends what has no brace of its own.
    end = last if end < 0 else end
    return _choose(name, operator, interpolate(text[start:end], variables, nesting + 1), variables), end + 1


def _choose(name: str, operator: str, word: str, variables: Variables) -> str:
    value = variables.values.get(name)
    present = bool(value) if operator[0] == ":" else value is not None
    match operator[-1]:
        case "-":
            return value or "" if present else word
        case "+":
            return word if present else value or ""
    if not present:
        raise BadVariable(f"variable {name} is required: {word or 'it is not set'}")
    return value or ""


def _value(name: str, variables: Variables) -> str:
    if name not in variables.values:
        variables.warn(f"variable {name} is not set; it counts as empty")
    return variables.values.get(name, "")


def _closing_brace(text: str, start: int, end: int) -> int:
    """Return where the brace closes that opens first behind *start*, -1 if not before *end*.

    As in Compose the character behind an opening brace is never looked at.
    """
    depth, at = 0, start
    while at < end:
        if text[at] == "}":
            depth -= 1
            if not depth:
                return at
        elif text[at] == "{":
            depth += 1
            at += 1
        at += 1
    return -1
