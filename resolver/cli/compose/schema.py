"""Checks a tree against the JSON schema of the Compose Specification. Pure.

The schema is compiled to functions once, as far as its keywords go: validation of thousands of services then takes less time than
reading them did. What is wrong is said in words of the file, with the nearest known key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from resolver.cli.compose.tree import ComposeError, Moment, Path, Problem, position_at
from resolver.cli.words import nearest


class _Fault(NamedTuple):
    """Something that the schema does not allow. *is_kind*: the value is of another kind, so another form of it may be meant."""

    path: Path
    text: str
    is_kind: bool = False


_Check = Callable[[Any, Path], Iterator[_Fault]]

_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "object": ("a mapping", lambda value: isinstance(value, dict)),
    "array": ("a list", lambda value: isinstance(value, list)),
    "string": ("a text", lambda value: isinstance(value, str)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "integer": ("a whole number", lambda value: not isinstance(value, bool) and isinstance(value, int | float) and value == value // 1),
    "number": ("a number", lambda value: not isinstance(value, bool) and isinstance(value, int | float)),
    "null": ("nothing", lambda value: value is None),
}
_KEYWORDS = {
    "$comment", "$ref", "additionalProperties", "definitions", "enum", "items", "maximum", "minimum", "oneOf", "pattern",
    "patternProperties", "properties", "required", "type", "uniqueItems",
}  # fmt: skip
_OF_KEYS = {"additionalProperties", "patternProperties", "properties"}
"""Keywords that are checked together: each says what the others have left."""
_MAX_FAULTS = 50
_MAX_LISTED = 12


def validate(tree: Any) -> None:
    """Raise ComposeError with all that the specification does not allow in *tree*, a whole project."""
    faults = _compiled()(tree, ())
    problems = []
    for fault in faults:
        problems.append(Problem(position_at(tree, fault.path), fault.text))
        if len(problems) == _MAX_FAULTS:
            break
    if problems:
        raise ComposeError(*problems)


@cache
def _compiled() -> _Check:
    schema = json.loads(files("resolver.cli.compose").joinpath("compose-spec.json").read_text())
    return _Compiler(schema["definitions"]).check(schema)


def _name(path: Path) -> str:
    return ".".join(path) or "the file"


class _Compiler:
    """Makes checks of schemas. *definitions*: what their `$ref` may name."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._made: dict[str, _Check] = {}

    def check(self, schema: Mapping[str, Any]) -> _Check:
        assert not set(schema) - _KEYWORDS, f"the schema has keywords that are not known: {set(schema) - _KEYWORDS}"
        if "$ref" in schema:
            return self._defined(schema["$ref"].rpartition("/")[2])
        makers: dict[str, Callable[[Mapping[str, Any]], _Check]] = {
            "oneOf": self._one_of,
            "enum": _enum,
            "pattern": _pattern,
            "minimum": _range,
            "required": _required,
            "items": self._items,
        }
        checks = [make(schema) for keyword, make in makers.items() if keyword in schema]
        if not _OF_KEYS.isdisjoint(schema):
            checks.append(self._keys(schema))
        if schema.get("uniqueItems"):
            checks.append(_unique)
        of_kind = _type(schema["type"]) if "type" in schema else None

        def run(value: Any, path: Path) -> Iterator[_Fault]:
            if of_kind is not None and (fault := of_kind(value, path)) is not None:
                yield fault
                return
            for check in checks:
                yield from check(value, path)

        return run

    def _defined(self, name: str) -> _Check:
        if name not in self._made:
            self._made[name] = self.check(self._definitions[name])
        return self._made[name]

    def _one_of(self, schema: Mapping[str, Any]) -> _Check:
        forms = [self.check(form) for form in schema["oneOf"]]
        words = [word for form in schema["oneOf"] for word in self._kinds_of(form)]

        def run(value: Any, path: Path) -> Iterator[_Fault]:
            found = [list(form(value, path)) for form in forms]
            if not all(found):
                return
            # The form that is of the right kind is the one that was meant.
            meant = [faults for faults in found if not (len(faults) == 1 and faults[0].is_kind and faults[0].path == path)]
            yield from meant[0] if meant else [_Fault(path, f"{_name(path)} must be {_either(words)}", is_kind=True)]

        return run

    def _kinds_of(self, form: Mapping[str, Any]) -> list[str]:
        if "$ref" in form:
            form = self._definitions[form["$ref"].rpartition("/")[2]]
        if "oneOf" in form:
            return [word for inner in form["oneOf"] for word in self._kinds_of(inner)]
        kinds = form["type"]
        return [_KINDS[kind][0] for kind in ([kinds] if isinstance(kinds, str) else kinds)]

    def _items(self, schema: Mapping[str, Any]) -> _Check:
        check = self.check(schema["items"])

        def run(value: Any, path: Path) -> Iterator[_Fault]:
            if isinstance(value, list):
                for number, member in enumerate(value):
                    yield from check(member, (*path, str(number)))

        return run

    def _keys(self, schema: Mapping[str, Any]) -> _Check:
        known = {key: self.check(inner) for key, inner in schema.get("properties", {}).items()}
        patterns = [(re.compile(pattern).search, self.check(inner)) for pattern, inner in schema.get("patternProperties", {}).items()]
        is_closed = schema.get("additionalProperties", True) is False
        names = sorted(known)

        def run(value: Any, path: Path) -> Iterator[_Fault]:
            if not isinstance(value, dict):
                return
            for key, inner in value.items():
                if key in known:
                    yield from known[key](inner, (*path, key))
                    continue
                checks = [check for matches, check in patterns if matches(key)]
                for check in checks:
                    yield from check(inner, (*path, key))
                if is_closed and not checks:
                    yield _Fault((*path, key), _unknown(key, path, names, is_service=_looks_like_a_service(inner)))

        return run


def _looks_like_a_service(value: Any) -> bool:
    return isinstance(value, dict) and not {"image", "build", "command", "ports", "environment"}.isdisjoint(value)


def _unknown(key: str, path: Path, names: list[str], *, is_service: bool) -> str:
    if not names:
        return f"{_name((*path, key))}: a name consists of letters, digits and . _ -"
    few = f"; known are {', '.join(names)}" if len(names) <= _MAX_LISTED else ""
    if not path and is_service:
        return f"{key} is not known at the top of a file; if it is a service, it belongs below `services:`"
    return f"{_name((*path, key))} is not known{nearest(key, names) or few}"


def _either(words: list[str]) -> str:
    *most, last = dict.fromkeys(words)
    return f"{', '.join(most)} or {last}" if most else last


def _type(kinds: str | list[str]) -> Callable[[Any, Path], _Fault | None]:
    chosen = [_KINDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    words = _either([word for word, _ in chosen])
    tests = [test for _, test in chosen]

    def run(value: Any, path: Path) -> _Fault | None:
        for test in tests:
            if test(value):
                return None
        if isinstance(value, Moment):
            return _Fault(path, f"{_name(path)}: {value.written} is a date to YAML: write it in quotes", is_kind=False)
        shown = "" if isinstance(value, dict | list) else f", not {'nothing' if value is None else _shown(value)}"
        return _Fault(path, f"{_name(path)} must be {words}{shown}", is_kind=True)

    return run


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value[:80]) if isinstance(value, str) else str(value)


def _enum(schema: Mapping[str, Any]) -> _Check:
    allowed = schema["enum"]

    def run(value: Any, path: Path) -> Iterator[_Fault]:
        if value not in allowed:
            yield _Fault(path, f"{_name(path)} must be {_either(allowed)}, not {_shown(value)}")

    return run


def _pattern(schema: Mapping[str, Any]) -> _Check:
    pattern = re.compile(schema["pattern"])

    def run(value: Any, path: Path) -> Iterator[_Fault]:
        if isinstance(value, str) and not pattern.search(value):
            yield _Fault(path, f"{_name(path)} {_shown(value)} must be of the form {pattern.pattern}")

    return run


def _range(schema: Mapping[str, Any]) -> _Check:
    low, high = schema["minimum"], schema.get("maximum", float("inf"))

    def run(value: Any, path: Path) -> Iterator[_Fault]:
        if not low <= value <= high:
            yield _Fault(
                path,
                f"{_name(path)} must be {low} or more, not {value}"
                if value < low
                else f"{_name(path)} must be {high} at most, not {value}",
            )

    return run


def _required(schema: Mapping[str, Any]) -> _Check:
    def run(value: Any, path: Path) -> Iterator[_Fault]:
        for key in schema["required"]:
            if key not in value:
                yield _Fault(path, f"{_name(path)} must have a {key}")

    return run


def _unique(value: Any, path: Path) -> Iterator[_Fault]:
    seen: set[str] = set()
    for member in value:
        text = member if isinstance(member, str) else json.dumps(member, sort_keys=True, default=str)
        if text in seen:
            yield _Fault(path, f"{_name(path)} has {_shown(member) if not isinstance(member, dict | list) else 'an entry'} twice")
        seen.add(text)
