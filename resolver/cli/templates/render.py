"""What a template prints for some data: objects of JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from resolver.cli.templates.functions import ENTRY, FUNCTIONS, shown
from resolver.cli.templates.nodes import BadTemplate, Branch, Call, Field, Literal, Node, Operand, Pipeline, Print, Text
from resolver.cli.words import nearest


def render(nodes: Sequence[Node], data: Any) -> str:
    """Return what *nodes* print for *data*; BadTemplate names a field that the data have not."""
    return "".join(_printed(nodes, data, {"$": data}))


def fields_of(nodes: Iterable[Node]) -> list[str]:
    """Return the first field that each action names, for headings: `.ID` is ID, `.Label "x"` is x."""
    names = []
    for node in nodes:
        if isinstance(node, Print):
            names.append(_field_name(node.value))
    return names


def _field_name(operand: Operand) -> str:
    match operand:
        case Field(path=path):
            return path[-1] if path else ""
        case Call(name, arguments):
            if name == ENTRY and isinstance(arguments[1], Literal):
                return str(arguments[1].value)
            return next((name for name in map(_field_name, arguments) if name), "")
        case Pipeline(stages=stages):
            return next((name for name in map(_field_name, stages) if name), "")
    return ""


Variables = dict[str, Any]
_LONGEST = 1 << 24
"""Characters that a function returns; no list of sandboxes is as long."""


def _printed(nodes: Sequence[Node], dot: Any, variables: Variables) -> Iterable[str]:
    for node in nodes:
        match node:
            case Text(text):
                yield text
            case Print(value):
                result = _value(value, dot, variables)
                if not value.declares:
                    yield shown(result)
            case Branch("if", value, body, otherwise):
                yield from _printed(body if _value(value, dot, variables) else otherwise, dot, variables)
            case Branch("with", value, body, otherwise):
                found = _value(value, dot, variables)
                yield from _printed(body, found, variables) if found else _printed(otherwise, dot, variables)
            case Branch(_, value, body, otherwise):
                yield from _ranged(value, body, otherwise, dot, variables)


def _ranged(value: Pipeline, body: Sequence[Node], otherwise: Sequence[Node], dot: Any, variables: Variables) -> Iterable[str]:
    found = _value(value, dot, variables)
    items: Iterable[tuple[Any, Any]]
    match found:
        case Mapping():
            items = sorted(found.items())
        case str() | int() | float() | bool():
            raise BadTemplate(f"range: {shown(found)} is neither a list nor an object")
        case None:
            items = ()
        case _:
            items = enumerate(found)
    empty = True
    for key, item in items:
        empty = False
        declared = dict(zip(value.declares, (key, item) if len(value.declares) == 2 else (item,), strict=False))
        yield from _printed(body, item, {**variables, **declared})
    if empty:
        yield from _printed(otherwise, dot, variables)


def _value(operand: Operand, dot: Any, variables: Variables) -> Any:
    match operand:
        case Literal(value):
            return value
        case Field(variable, path):
            if variable and variable not in variables:
                raise BadTemplate(f"there is no variable {variable}")
            return _followed(variables[variable] if variable else dot, path)
        case Call(name, arguments):
            return _called(name, [_value(argument, dot, variables) for argument in arguments])
        case Pipeline(stages, declares, path):
            result = _value(stages[0], dot, variables)
            for stage in stages[1:]:
                assert isinstance(stage, Call)
                result = _called(stage.name, [*(_value(argument, dot, variables) for argument in stage.arguments), result])
            for name in declares:
                variables[name] = result
            return _followed(result, path)


def _followed(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        if isinstance(value, Mapping):
            # Go's structures have fields in capitals, and a field that is not there is a mistake; in a map it is not.
            is_structure = not hasattr(value, "__missing__") and any(key[:1].isupper() for key in value)
            if is_structure and name not in value and name[:1].isupper():
                raise BadTemplate(f"there is no field {name}{nearest(name, value)}; there are {', '.join(value)}")
            value = value.get(name)
        elif value is not None:
            raise BadTemplate(f"{shown(value)} has no field {name}")
    return value


def _called(name: str, arguments: Sequence[Any]) -> Any:
    if name == "len" and not hasattr(arguments[0] if arguments else None, "__len__"):
        raise BadTemplate("len: it is for lists, objects and texts")
    try:
        result = FUNCTIONS[name](*arguments)
    except BadTemplate:
        raise
    except (TypeError, AttributeError, IndexError, ValueError, OverflowError) as error:
        raise BadTemplate(f"{name}: it can't be given {', '.join(map(shown, arguments)) or 'nothing'}") from error
    if isinstance(result, str) and len(result) > _LONGEST:
        raise BadTemplate(f"{name}: its result is longer than {_LONGEST} characters")
    return result
