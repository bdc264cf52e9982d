"""YAML as Compose reads it: several documents, the tags !reset and !override, the position of every key. Pure.

Scalars are those of YAML 1.2's core schema, and what Compose adds to it: `0777` is octal, `1_000` and `0b11` are numbers. `no`, `on`
and `22:22` are texts. Aliases are copied out within a budget, so a file of a few lines can't fill the memory.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import yaml

from resolver.cli.compose.tree import ComposeError, Located, Moment, Path, Position, Problem

MAX_DEPTH = 64
MAX_VALUES = 500_000
"""How many values the files of a project may have, with all aliases and `extends` written out."""

_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NUMBERS = ((re.compile(r"[-+]?0[bB][01]+\Z"), 2), (re.compile(r"[-+]?0[oO]?[0-7]+\Z"), 8), (re.compile(r"[-+]?0[xX][0-9a-fA-F]+\Z"), 16))
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_DATE = re.compile(r"[0-9]{4}-")
_MOMENT = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{1,2})-(?P<day>[0-9]{1,2})(?:(?P<between>[Tt ])(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{1,2})"
    r":(?P<second>[0-9]{1,2})(?P<fraction>\.[0-9]+)?(?P<zone>Z|[-+][0-9]{2}:[0-9]{2})?)?\Z"
)
_MOST_DIGITS = 300
# libyaml takes a tab for a space, as Compose does, and is ten times as fast; PyYAML may have been built without it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Budget:
    """How many values may still be made out of the files of one project."""

    def __init__(self, values: int = MAX_VALUES) -> None:
        self._left = values

    def spend(self, values: int, position: Position | None) -> None:
        """Count *values* that *position* asks for; ComposeError when there are too many."""
        self._left -= values
        if self._left < 0:
            raise ComposeError(
                Problem(
                    position,
                    f"with aliases, ranges of ports, extends and include written out the project has more than {MAX_VALUES} values",
                )
            )


@dataclass(frozen=True)
class Document:
    """One document. *replaced*: paths whose value in the files before this one goes away: those with !reset or !override."""

    value: Any
    replaced: frozenset[Path]


@dataclass(eq=False, slots=True)
class _Scalar:
    """A scalar of the YAML text. *is_plain*: without quotes, so that its form decides what it is."""

    line: int
    tag: str | None
    text: str
    is_plain: bool


@dataclass(eq=False, slots=True)
class _Collection:
    """A list or a mapping of the YAML text. *members*: of a mapping, keys and values by turns; *is_open*: its end was not read yet."""

    line: int
    tag: str | None
    is_mapping: bool
    members: list[_Scalar | _Collection]
    is_open: bool = True


_Node = _Scalar | _Collection


_EACH_FILE = 100
"""What reading a file counts, in values: it takes as long, however little is in it."""


def documents(text: str, file: str, budget: Budget) -> Iterator[Document]:
    """Yield the documents in *text*, which is that of *file*. ComposeError for what is no YAML, or too large."""
    budget.spend(_EACH_FILE, Position(file, 1))
    for root in _roots(text, file):
        builder = _Builder(file, budget)
        yield Document(builder.build(root, (), 0), frozenset(builder.replaced))


def _roots(text: str, file: str) -> Iterator[_Node]:
    """Yield the root of each document."""
    reader = _Reader(file)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            root = reader.take(event)
            if root is not None:
                yield root
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ComposeError(Problem(Position(file, line), f"no valid YAML: {error.problem or 'not understood'}")) from error
    except yaml.YAMLError as error:
        raise ComposeError(Problem(Position(file, 1), f"no valid YAML: {error}")) from error


class _Reader:
    """Makes nodes of events, in no deeper recursion than the text allows. An alias becomes the very node that it stands for."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._stack: list[_Collection] = []
        self._anchors: dict[str, _Node] = {}

    def take(self, event: yaml.Event) -> _Node | None:
        """Take the next event; return the root of a document that it ends."""
        line = event.start_mark.line + 1 if event.start_mark else 1
        match event:
            case yaml.DocumentStartEvent(version=version) if version not in (None, (1, 1)):
                number = ".".join(map(str, version))
                raise self._refusal(line, f"%YAML {number}: Compose reads documents of YAML 1.1 only by that name; leave the line out")
            case yaml.DocumentStartEvent():
                self._stack, self._anchors = [_Collection(line, None, is_mapping=False, members=[])], {}
            case yaml.DocumentEndEvent():
                return self._stack[0].members[0]
            case yaml.AliasEvent():
                self._stack[-1].members.append(self._alias(str(event.anchor), line))
            case yaml.ScalarEvent():
                self._add(_Scalar(line, event.tag, event.value, is_plain=event.implicit[0]), event.anchor)
            case yaml.CollectionStartEvent():
                node = _Collection(line, event.tag, is_mapping=isinstance(event, yaml.MappingStartEvent), members=[])
                self._add(node, event.anchor)
                self._stack.append(node)
                if len(self._stack) > MAX_DEPTH:
                    raise self._refusal(line, f"nested deeper than {MAX_DEPTH} levels")
            case yaml.CollectionEndEvent():
                self._stack.pop().is_open = False
        return None

    def _add(self, node: _Node, anchor: str | None) -> None:
        self._stack[-1].members.append(node)
        if anchor:
            self._anchors[anchor] = node

    def _alias(self, anchor: str, line: int) -> _Node:
        node = self._anchors.get(anchor)
        if node is None:
            raise self._refusal(line, f"alias *{anchor} stands for nothing: there is no &{anchor} before it")
        if isinstance(node, _Collection) and node.is_open:
            raise self._refusal(line, f"alias *{anchor} is part of what it stands for")
        return node

    def _refusal(self, line: int, text: str) -> ComposeError:
        return ComposeError(Problem(Position(self._file, line), text))


class _Builder:
    """Makes the value of one document of its nodes, and notes the paths with !reset and !override in *replaced*."""

    def __init__(self, file: str, budget: Budget) -> None:
        self.replaced: set[Path] = set()
        self._file = file
        self._budget = budget

    def build(self, node: _Node, path: Path | None, depth: int) -> Any:
        """Return the value of *node*. *path*: its own, None below lists, where nothing can be replaced."""
        if depth > MAX_DEPTH:
            raise self._refusal(node, f"nested deeper than {MAX_DEPTH} levels")
        self._budget.spend(1, Position(self._file, node.line))
        if node.tag == "!override" and path is not None:
            self.replaced.add(path)
        if isinstance(node, _Scalar):
            return self._scalar(node)
        if node.is_mapping:
            return self._mapping(node, path, depth)
        node.members = [member for member in node.members if member.tag != "!reset"]
        return [self.build(member, None, depth + 1) for member in node.members]

    def _scalar(self, node: _Scalar) -> Any:
        try:
            if node.tag in _TAGGED:
                return _TAGGED[node.tag](node.text)
            return value_of(node.text) if node.is_plain and node.tag not in ("tag:yaml.org,2002:str", "!str") else node.text
        except ValueError as error:
            raise self._refusal(node, str(error)) from error

    def _mapping(self, node: _Collection, path: Path | None, depth: int) -> Located:
        result = Located()
        merged: list[Any] = []
        kept: list[_Node] = []
        seen: dict[str, int] = {}
        for key_node, value_node in zip(node.members[::2], node.members[1::2], strict=True):
            key = self._key(key_node)
            if key in seen:
                raise self._refusal(key_node, f"key {key!r} is given twice, first in line {seen[key]}")
            seen[key] = key_node.line
            is_merge = key == "<<" and isinstance(key_node, _Scalar) and key_node.is_plain
            below = path if is_merge else None if path is None else (*path, key)
            if value_node.tag == "!reset":
                if below is not None:
                    self.replaced.add(below)
                continue
            kept += (key_node, value_node)
            value = self.build(value_node, below if not is_merge or self._is_mapping(value_node) else None, depth + 1)
            if is_merge:
                merged += value if isinstance(value, list) else [value]
            else:
                result.put(key, value, Position(self._file, key_node.line))
        # As in Compose a value with !reset goes away where it stands first, so an alias of the mapping around it does not have it.
        node.members = kept
        for other in merged:
            if not isinstance(other, Located):
                raise self._refusal(node, "<< takes a mapping or a list of mappings")
            for key, value in other.items():
                if key not in result:
                    result.put(key, value, other.positions.get(key))
        return result

    def _key(self, node: _Node) -> str:
        if not isinstance(node, _Scalar):
            raise self._refusal(node, "a key must be a text")
        key = self._scalar(node)
        if not isinstance(key, str):
            raise self._refusal(node, f"key {node.text} is no text: write it in quotes")
        return key

    @staticmethod
    def _is_mapping(node: _Node) -> bool:
        return isinstance(node, _Collection) and node.is_mapping

    def _refusal(self, node: _Node, text: str) -> ComposeError:
        return ComposeError(Problem(Position(self._file, node.line), text))


def _of_kind(text: str, kind: type, name: str) -> Any:
    """Return the value of *text*, which has the tag !!*name*; ValueError if it is of another kind."""
    value = value_of(text)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{text[:80]!r} has the tag !!{name} and is none")
    return value


def _binary(text: str) -> str:
    try:
        return base64.b64decode("".join(text.splitlines()), validate=True).decode()
    except ValueError as error:
        raise ValueError(f"{text[:80]!r} has the tag !!binary and is no text in base64") from error


_TAGGED: dict[str | None, Callable[[str], Any]] = {
    "tag:yaml.org,2002:binary": _binary,
    **{
        f"tag:yaml.org,2002:{name}": partial(_of_kind, kind=kind, name=name)
        for name, kind in (("int", int), ("float", float), ("bool", bool), ("null", type(None)), ("timestamp", Moment))
    },
}
"""Tag → what makes the value of a text that has it, in quotes or not."""


def value_of(text: str) -> Any:
    """Return the value of a scalar without quotes; ValueError for a number of absurd length."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _DATE.match(text) and (moment := _moment(text)) is not None:
        return moment
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a value of {len(text)} digits is no number that Compose takes: write it in quotes")
    # Underscores may be anywhere in a number, but not in one that begins with its fraction.
    digits = text if text[0] == "." else text.replace("_", "")
    if _DECIMAL.match(digits):
        return _whole(int(digits), digits)
    for pattern, base in _NUMBERS:
        if pattern.match(digits):
            return _whole(int(re.sub("0[xXoObB]", "", digits, count=1), base), digits)
    number = float(digits) if _FLOAT.match(digits) else math.inf
    return text if math.isinf(number) else number


def _moment(text: str) -> Moment | None:
    """Return the date, or date and time, that *text* is to Compose; None if it is none."""
    found = _MOMENT.match(text)
    if found is None or (found["between"] in (None, " ")) != (found["zone"] is None):
        return None
    numbers = [int(found[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")]
    try:
        datetime(*numbers)  # type: ignore[arg-type]  # noqa: DTZ001 (only whether there is such a day)
    except ValueError:
        return None
    year, month, day, hour, minute, second = numbers
    fraction = (found["fraction"] or "").rstrip("0").rstrip(".")
    zone = found["zone"] if found["zone"] not in (None, "Z", "+00:00", "-00:00") else "Z"
    return Moment(text, f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}")


def _whole(number: int, text: str) -> int | float:
    """Return *number* as Compose has it: what does not fit in 64 bits is a number with a fraction."""
    return number if -(2**63) <= number < 2**64 else float(text)
