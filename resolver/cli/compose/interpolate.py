"""`${VAR:-default}` in Compose files, and `.env` files. Pure.

| form | meaning |
|---|---|
| `$VAR`, `${VAR}` | the value, or nothing (and a warning) |
| `${VAR:-word}`, `${VAR-word}` | word if VAR is unset or empty; if it is unset |
| `${VAR:?text}`, `${VAR?text}` | an error with text in these cases |
| `${VAR:+word}`, `${VAR+word}` | word if VAR is set (and not empty), nothing otherwise |
| `$$` | a dollar sign |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS = (":-", "-", ":?", "?", ":+", "+")


class BadVariable(Exception):
    """A `${…}` that can't be substituted; the text says why."""


def interpolate(text: str, variables: Mapping[str, str], warn: Callable[[str], None]) -> str:
    """Return *text* with its variables substituted; *warn* is called with the name of an unset one."""
    parts = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        parts.append(text[at:dollar])
        following = text[dollar + 1 : dollar + 2]
        if following == "$":
            parts.append("$")
            at = dollar + 2
        elif following == "{":
            end = _closing(text, dollar + 2)
            parts.append(_expand(text[dollar + 2 : end], variables, warn))
            at = end + 1
        elif match := _NAME.match(text, dollar + 1):
            parts.append(_value(match[0], variables, warn))
            at = match.end()
        else:
            raise BadVariable(f"{text!r}: write $$ for a dollar sign")
    return "".join(parts) + text[at:]


def _closing(text: str, start: int) -> int:
    depth = 1
    for at in range(start, len(text)):
        if text[at] == "{" and text[at - 1] == "$":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at
    raise BadVariable(f"{text!r}: ${{ without a closing brace")


def _expand(inside: str, variables: Mapping[str, str], warn: Callable[[str], None]) -> str:
    match = _NAME.match(inside)
    if match is None:
        raise BadVariable(f"${{{inside}}} names no variable")
    name, rest = match[0], inside[match.end() :]
    if not rest:
        return _value(name, variables, warn)
    operator = next((operator for operator in _OPERATORS if rest.startswith(operator)), None)
    if operator is None:
        raise BadVariable(f"${{{inside}}}: {rest!r} is not one of {' '.join(_OPERATORS)}")
    word = rest[len(operator) :]
    value = variables.get(name)
    present = bool(value) if operator[0] == ":" else value is not None
    match operator[-1]:
        case "-":
            return value or "" if present else interpolate(word, variables, warn)
        case "+":
            return interpolate(word, variables, warn) if present else ""
    if not present:
        raise BadVariable(f"variable {name} is required: {interpolate(word, variables, warn) or 'it is not set'}")
    return value or ""


def _value(name: str, variables: Mapping[str, str], warn: Callable[[str], None]) -> str:
    if name not in variables:
        warn(name)
    return variables.get(name, "")


def parse_env(text: str) -> dict[str, str]:
    """Return the variables of a `.env` file: NAME=value lines, quotes and `export` allowed, # begins a comment."""
    result = {}
    for line in text.splitlines():
        stripped = line.strip().removeprefix("export ").strip()
        name, equals, value = stripped.partition("=")
        name = name.strip()
        if not equals or stripped.startswith("#") or not _NAME.fullmatch(name):
            continue
        value = value.strip()
        if len(value) >= 2 and value[0] in "'\"" and (end := value.find(value[0], 1)) > 0:
            value = value[1:end]
        else:
            value = re.split(r"\s#", value, maxsplit=1)[0].rstrip()
        result[name] = value
    return result
