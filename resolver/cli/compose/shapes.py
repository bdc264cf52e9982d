"""How values of a canonical tree are kept and printed: as texts, numbers, lists, mappings, or records with known keys. Pure.

A shape is a function from a value of the tree to what is kept; ValueError if the value does not fit. What is kept is what
`berth config` prints, so it is Compose's own form of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from resolver.cli.compose.casts import text_of, to_boolean, to_float, to_single, to_whole
from resolver.cli.compose.durations import duration_text, nanoseconds_of, octets_of
from resolver.cli.compose.tree import BadValue, Moment
from resolver.cli.compose.words import words_of

Shape = Callable[[Any], Any]


class Form(Enum):
    """How a project is printed."""

    JSON = "json"
    YAML = "yaml"


class Keep(Enum):
    """When a key of a record is printed."""

    FILLED = "filled"
    """Unless it is empty, zero or false."""
    FILLED_IN_JSON = "filled in JSON"
    """As `FILLED` in JSON, always in YAML."""
    GIVEN = "given"
    """If the file has it."""
    ALWAYS = "always"
    """Always; null if the file does not have it."""
    JSON = "json"
    """As `ALWAYS` in JSON, as `GIVEN` in YAML."""
    YAML = "yaml"
    """As `FILLED` in YAML, never in JSON."""
    NEVER = "never"
    STRUCTURE = "structure"
    """Always in JSON, as if it was there and empty; as `FILLED` in YAML."""


@dataclass(frozen=True)
class Key:
    """A key of a record. *json*: its name there, where it is another."""

    shape: Shape
    keep: Keep = Keep.FILLED
    json: str | None = None


class Record(dict[str, Any]):
    """A mapping with known keys. *extensions*: the user's own, which begin with `x-`."""

    __slots__ = ("extensions", "keys_of")

    def __init__(self, keys: Mapping[str, Key]) -> None:
        super().__init__()
        self.keys_of = keys
        self.extensions: dict[str, Any] = {}


def record(keys: Mapping[str, Key | Shape]) -> Shape:
    """Return the shape of a record with *keys*, in the order in which they are printed."""
    known = {name: key if isinstance(key, Key) else Key(key) for name, key in keys.items()}
    structures = {name: key for name, key in known.items() if key.keep is Keep.STRUCTURE}

    def shape(value: Any) -> Record | None:
        if value is None:
            return None
        made = Record(known)
        for name, inner in _mapping(value).items():
            key = known.get(name)
            if key is not None:
                made[name] = _at(name, key.shape, inner)
            elif name.startswith("x-"):
                made.extensions[name] = inner
        for name, key in structures.items():
            made.setdefault(name, key.shape({}))
        return made

    return shape


def printed(value: Any, form: Form) -> Any:
    """Return what was kept as it is printed in *form*: mappings in the order of their keys, records in that of their shape."""
    if isinstance(value, Record):
        return _printed_record(value, form)
    if isinstance(value, dict):
        return {key: printed(value[key], form) for key in sorted(value)}
    if isinstance(value, Moment):
        return value.shown
    return [printed(member, form) for member in value] if isinstance(value, list) else value


def _printed_record(value: Record, form: Form) -> dict[str, Any]:
    is_json = form is Form.JSON
    result: dict[str, Any] = {}
    for name, key in value.keys_of.items():
        inner = printed(value.get(name), form)
        match key.keep:
            case Keep.FILLED:
                shown = bool(inner)
            case Keep.FILLED_IN_JSON:
                shown = not is_json or bool(inner)
            case Keep.GIVEN:
                shown = inner is not None
            case Keep.ALWAYS:
                shown = True
            case Keep.JSON:
                shown = is_json or inner is not None
            case Keep.YAML:
                shown = not is_json and bool(inner)
            case Keep.NEVER:
                shown = False
            case Keep.STRUCTURE:
                shown = is_json or bool(inner)
        if shown:
            result[(is_json and key.json) or name] = inner
    if not is_json:
        result |= {name: printed(inner, form) for name, inner in sorted(value.extensions.items())}
    return result


def _at(key: str, shape: Shape, value: Any) -> Any:
    try:
        return shape(value)
    except ValueError as error:
        raise BadValue.below(key, error) from error


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be a mapping")
    return value


def _members(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("must be a list")
    return value


# --- single values -------------------------------------------------------------------------------------------------


def text(value: Any) -> str:
    """A text, or a whole number as one."""
    if isinstance(value, bool | float | dict | list):
        raise ValueError(f"{text_of(value) if not isinstance(value, dict | list) else 'this'} is no text: write it in quotes")
    return text_of(value)


def boolean(value: Any) -> bool:
    """True or false. Words of YAML 1.1 are taken without a warning here, as where it matters there was one before."""
    if isinstance(value, str):
        return to_boolean(value, lambda _: None)
    if not isinstance(value, bool | None):
        raise ValueError(f"{text_of(value)} is neither true nor false")
    return bool(value)


def whole(value: Any) -> int:
    """A whole number; the fraction of another is dropped."""
    if isinstance(value, str):
        return to_whole(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{text_of(value)} is no whole number")
    return int(value)


def unsigned(value: Any) -> int:
    """A whole number from 0 on."""
    number = whole(value)
    if number < 0:
        raise ValueError(f"{number} is less than 0")
    return number


def single(value: Any) -> int | float:
    """A number with 32 bits, as Go has it."""
    if isinstance(value, bool):
        raise ValueError(f"{text_of(value)} is no number")
    number = to_single(to_float(value) if isinstance(value, str) else float(value))
    return int(number) if number.is_integer() else number


def octets(value: Any) -> str:
    """A size, printed as a text of digits."""
    # -1 is no limit; Compose prints it as a text, which it would not read again.
    # A number with a fraction it drops.
    number = 0 if isinstance(value, float) else octets_of(value) if isinstance(value, str) and value != "-1" else int(value)
    return str(number) if number else ""


def duration(value: Any) -> str:
    """A duration, printed as Go does."""
    return duration_text(nanoseconds_of(text_of(value)))


def filled_duration(value: Any) -> str:
    """As `duration`; none at all is empty."""
    nanoseconds = nanoseconds_of(text_of(value))
    return duration_text(nanoseconds) if nanoseconds else ""


def mode(value: Any) -> str:
    """A mode of a file, in octal digits."""
    try:
        return f"0{int(value, 8) if isinstance(value, str) else int(value):o}"
    except ValueError:
        raise ValueError(f"{value!r} is no mode in octal digits") from None


def count(value: Any) -> int:
    """A number of devices; -1 for all."""
    return -1 if isinstance(value, str) and value.lower() == "all" else whole(value)


# --- several values ------------------------------------------------------------------------------------------------


def texts(value: Any) -> list[str]:
    """A list of texts; a single one counts as a list."""
    return [value] if isinstance(value, str) else [text(member) for member in _members(value or [])]


def numbers_or_texts(value: Any) -> list[str]:
    """A list of texts and numbers."""
    return [value] if isinstance(value, str) else [text_of(member) for member in _members(value or [])]


def command(value: Any) -> list[str] | None:
    """A command: words, or one text that is split."""
    return None if value is None else words_of(value) if isinstance(value, str) else texts(value)


def test(value: Any) -> list[str]:
    """The command of a health check; one text goes to a shell."""
    return ["CMD-SHELL", value] if isinstance(value, str) else texts(value)


def list_of(shape: Shape) -> Shape:
    """A list of what has *shape*."""

    def made(value: Any) -> list[Any]:
        return [_at(str(number), shape, member) for number, member in enumerate(_members(value or []))]

    return made


def mapping_of(shape: Shape) -> Shape:
    """A mapping of what has *shape*."""

    def made(value: Any) -> dict[str, Any]:
        return {key: _at(key, shape, inner) for key, inner in _mapping(value or {}).items()}

    return made


def variables(value: Any) -> dict[str, str | None]:
    """Variables: a mapping, or a list of `KEY=value`; None for one without a value."""
    if isinstance(value, dict):
        return {key: None if inner is None else text_of(inner) for key, inner in value.items()}
    result: dict[str, str | None] = {}
    for entry in _members(value):
        key, equals, inner = text_of(entry).partition("=")
        if key != key.rstrip():
            raise ValueError(f"variable {key!r} has a blank before the =")
        result[key] = inner if equals else None
    return result


def pairs(value: Any) -> dict[str, str]:
    """A mapping, or a list of `KEY=value`; what has no value has an empty one."""
    if isinstance(value, dict):
        return {key: text_of(inner) for key, inner in value.items()}
    return {key: inner for key, _, inner in (text_of(entry).partition("=") for entry in _members(value))}


def repeated_pairs(value: Any) -> dict[str, list[str]]:
    """A mapping of keys to one value or several."""
    return {key: [text_of(one) for one in (inner if isinstance(inner, list) else [inner])] for key, inner in _mapping(value).items()}


def hosts(value: Any) -> list[str]:
    """Lines of the hosts file, as sorted `NAME=ADDRESS`."""
    found = repeated_pairs(value) if isinstance(value, dict) else _host_lines(value)
    bad = next((name for name in found if not name or set(name) & {":", "="}), None)
    if bad is not None:
        raise ValueError(f"{bad!r} is no name of a host")
    return sorted(f"{name}={_without_brackets(address)}" for name, addresses in found.items() for address in addresses)


def _host_lines(value: Any) -> dict[str, list[str]]:
    """Return name → addresses of a list of `NAME=ADDRESS` or `NAME:ADDRESS`."""
    found: dict[str, list[str]] = {}
    for line in map(text_of, _members(value)):
        separator = "=" if "=" in line else ":"
        name, given, addresses = line.partition(separator)
        if not given:
            raise ValueError(f"{line!r} has no address: write NAME=ADDRESS")
        found.setdefault(name, []).extend(addresses.split(","))
    return found


def _without_brackets(address: str) -> str:
    return address[1:-1] if len(address) > 2 and address[0] == "[" and address[-1] == "]" else address
