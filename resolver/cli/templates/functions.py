"""The functions of templates: those of Go and of Docker."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from resolver.cli.templates.nodes import BadTemplate

_WIDEST = 1000
"""Characters that a value is filled up to."""


def shown(value: Any) -> str:
    """Return *value* as Go prints it: `true`, `<no value>`, `[a b]`, `map[k:v]`."""
    match value:
        case None:
            return "<no value>"
        case bool():
            return "true" if value else "false"
        case Mapping():
            return f"map[{' '.join(f'{key}:{shown(item)}' for key, item in sorted(value.items()))}]"
        case str():
            return value
        case float() if value.is_integer():
            return str(int(value))
        case Sequence():
            return f"[{' '.join(map(shown, value))}]"
    return str(value)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        try:
            value = value[key] if not isinstance(value, Mapping) or key in value or hasattr(value, "__missing__") else None
        except (IndexError, TypeError, KeyError) as error:
            raise BadTemplate(f"index: {shown(value)} has nothing at {shown(key)}") from error
    return value


def _slice(value: Any, start: int = 0, end: int | None = None) -> Any:
    return value[start:end]


def _pad(text: str, before: int, after: int) -> str:
    if max(before, after) > _WIDEST:
        raise BadTemplate(f"pad: it is for up to {_WIDEST} spaces")
    return f"{' ' * before}{text}{' ' * after}" if text else text


def _printf(form: str, *values: Any) -> str:
    """Return *form* with %s, %v, %d, %q, %t, %x and their widths replaced, as Go's Printf does."""
    given = iter(values)

    def one(found: re.Match[str]) -> str:
        flags, verb = found[1], found[2]
        if any(len(digits) > len(str(_WIDEST)) or int(digits) > _WIDEST for digits in re.findall("[0-9]+", flags)):
            raise BadTemplate(f"printf: widths are up to {_WIDEST}, not {flags[:20]}")
        if verb == "%":
            return "%"
        value = next(given, None)
        match verb:
            case "q":
                text = json.dumps(shown(value))
            case "d" | "x" if isinstance(value, int | float):
                return f"%{flags}{verb}" % int(value)
            case "f" if isinstance(value, int | float):
                return f"%{flags}f" % value
            case _:
                text = shown(value)
        return f"%{flags}s" % text

    return re.sub(r"%([-+ 0]*[0-9]*(?:\.[0-9]+)?)([a-zA-Z%])", one, form)


def _compared(test: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    def compare(one: Any, other: Any) -> bool:
        try:
            return test(one, other)
        except TypeError as error:
            raise BadTemplate(f"{shown(one)} and {shown(other)} can't be compared") from error

    return compare


ENTRY = "the entry of"
"""What `.Label "key"` calls; nobody can write that name."""
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False),
    ENTRY: lambda value, key: value.get(key, ""),
    "index": _index,
    "len": len,
    "join": lambda values, separator: separator.join(map(shown, values)),
    "split": lambda text, separator: text.split(separator),
    "upper": lambda text: shown(text).upper(),
    "lower": lambda text: shown(text).lower(),
    "title": lambda text: shown(text)[:1].upper() + shown(text)[1:],
    "pad": _pad,
    "truncate": lambda text, size: shown(text)[:size],
    "println": lambda *values: " ".join(map(shown, values)) + "\n",
    "print": lambda *values: "".join(map(shown, values)),
    "printf": _printf,
    "slice": _slice,
    "eq": lambda one, *others: any(one == other for other in others),
    "ne": lambda one, other: one != other,
    "lt": _compared(lambda one, other: one < other),
    "le": _compared(lambda one, other: one <= other),
    "gt": _compared(lambda one, other: one > other),
    "ge": _compared(lambda one, other: one >= other),
    "and": lambda *values: next((value for value in values if not value), values[-1]),
    "or": lambda *values: next((value for value in values if value), values[-1]),
    "not": lambda value: not value,
}
