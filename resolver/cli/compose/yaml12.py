"""YAML by the rules of version 1.2, with the line of every key. Pure.

PyYAML reads 1.1, where `22:22` is a number to base 60 and `no` is false; port mappings and names would change silently.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

_INT = re.compile(r"[-+]?[0-9]+\Z")
_OCTAL, _HEX = re.compile(r"0o[0-7]+\Z"), re.compile(r"0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NULL, _TRUE, _FALSE = {"", "~", "null", "Null", "NULL"}, {"true", "True", "TRUE"}, {"false", "False", "FALSE"}
_MAX_DEPTH, _MAX_VALUES = 64, 100_000
_TOO_DEEP = f"nested deeper than {_MAX_DEPTH} levels"


class YamlError(Exception):
    """The text is not valid YAML; *line* says where."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class Located(dict[str, Any]):
    """A mapping that knows the line of each key."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


def load(text: str, substitute: Callable[[str, int], str] = lambda value, _: value) -> Any:
    """Return the document in *text*; each scalar goes through *substitute* (value, line) before its type is decided."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise YamlError(line, error.problem or "not understood") from error
    except yaml.reader.ReaderError as error:
        raise YamlError(text.count("\n", 0, error.position) + 1, f"character U+{error.character:04X} is not allowed") from error
    except RecursionError as error:
        raise YamlError(1, _TOO_DEEP) from error
    return None if node is None else _Builder(substitute).build(node, 0)


class _Builder:
    """Makes values of nodes. An alias stands for all that its anchor holds, so a short text can mean a huge one."""

    def __init__(self, substitute: Callable[[str, int], str]) -> None:
        self._substitute = substitute
        self._values = 0

    def build(self, node: yaml.Node, depth: int) -> Any:
        line = node.start_mark.line + 1
        self._values += 1
        if self._values > _MAX_VALUES:
            raise YamlError(line, f"more than {_MAX_VALUES} values, those that aliases repeat included")
        if depth > _MAX_DEPTH:
            raise YamlError(line, _TOO_DEEP)
        if isinstance(node, yaml.ScalarNode):
            value = self._substitute(node.value, line)
            return _scalar(value, line) if node.style is None else value
        if isinstance(node, yaml.SequenceNode):
            return [self.build(member, depth + 1) for member in node.value]
        assert isinstance(node, yaml.MappingNode)
        return self._mapping(node, depth)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> Located:
        result = Located()
        merged: list[Any] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError(line, "a key must be a simple value")
            value = self.build(value_node, depth + 1)
            if key_node.value == "<<" and key_node.style is None:
                merged += value if isinstance(value, list) else [value]
                continue
            if key_node.value in result:
                raise YamlError(line, f"key {key_node.value!r} is given twice")
            result[key_node.value] = value
            result.lines[key_node.value] = line
        for other in merged:
            if not isinstance(other, Located):
                raise YamlError(node.start_mark.line + 1, "<< takes a mapping or a list of mappings")
            for key, value in other.items():
                if key not in result:
                    result[key] = value
                    result.lines[key] = other.lines[key]
        return result


def _scalar(text: str, line: int) -> Any:
    """Return the value of a plain scalar by the core schema of YAML 1.2 (section 10.3.2)."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INT.match(text):
        try:
            return int(text)
        except ValueError as error:
            raise YamlError(line, f"a number of {len(text)} digits is too long") from error
    if _OCTAL.match(text) or _HEX.match(text):
        return int(text, 0)
    return float(text) if _FLOAT.match(text) else text
