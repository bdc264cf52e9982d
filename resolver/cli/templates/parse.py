"""Reading a template (https://pkg.go.dev/text/template)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from resolver.cli.templates.functions import ENTRY, FUNCTIONS
from resolver.cli.templates.nodes import BadTemplate, Branch, Call, Field, Literal, Node, Operand, Pipeline, Print, Text
from resolver.cli.words import nearest

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\])*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)|(?P<field>(?:\$\w*)?(?:\.\w+)+|\$\w*|\.)"""
    r"""|(?P<word>\w+)|(?P<sign>:=|=|\||,|\(|\)))"""
)
_CONSTANTS = {"true": True, "false": False, "nil": None}
_ESCAPES = {"\\t": "\t", "\\n": "\n"}
_LONGEST = 65_536
"""Characters of a template."""
_DIGITS = 20
"""Characters of a number in one."""
Token = tuple[str, str, bool]
"""Kind, text, whether it follows the one before it without a space."""
_Part = tuple[bool, str]
"""Whether it is an action, and its text."""


def parse(text: str) -> tuple[Node, ...]:
    """Return what *text* means; raises BadTemplate. Outside of actions `\\t` and `\\n` are a tab and a line end, as for Docker."""
    if len(text) > _LONGEST:
        raise BadTemplate(f"it is longer than {_LONGEST} characters")
    parts = iter(_split(text))
    try:
        nodes, end = _nodes(parts, inside=False)
    except RecursionError as error:
        raise BadTemplate("it is nested too deeply") from error
    assert end == ""
    return nodes


def _split(text: str) -> list[_Part]:
    """Return the texts and actions of a template. A `-` inside the braces takes the space on its side away."""
    parts: list[_Part] = []
    trims = False
    while True:
        before, opened, rest = text.partition("{{")
        for escape, char in _ESCAPES.items():
            before = before.replace(escape, char)
        if trims:
            before = before.lstrip()
        if not opened:
            return [*parts, (False, before)]
        end = _end_of_action(rest)
        action, text = rest[:end], rest[end + 2 :]
        if action.startswith("- "):
            before, action = before.rstrip(), action[2:]
        trims = action.endswith(" -")
        action = action.removesuffix(" -")
        parts += [(False, before), (True, action.strip())]


def _end_of_action(text: str) -> int:
    for found in re.finditer(r'"(?:\\.|[^"\\])*"|`[^`]*`|\}\}', text):
        if found.group() == "}}":
            return found.start()
    raise BadTemplate("a {{ has no }}")


def _nodes(parts: Iterator[_Part], *, inside: bool) -> tuple[tuple[Node, ...], str]:
    """Return the nodes up to `{{end}}` or `{{else …}}`, and that action."""
    nodes: list[Node] = []
    for is_action, text in parts:
        if not is_action:
            if text:
                nodes.append(Text(text))
            continue
        word = text.split(None, 1)[0] if text else ""
        if word in ("end", "else"):
            if not inside:
                raise BadTemplate(f"{{{{{word}}}}} has no if, range or with before it")
            return tuple(nodes), text
        if word in ("if", "range", "with"):
            nodes.append(_branch(word, text[len(word) :], parts))
        elif text.startswith("/*"):
            continue
        elif word in ("define", "template", "block", "break", "continue"):
            raise BadTemplate(f"{{{{{word}}}}} is not known here; if, range, with, else, end and functions are")
        else:
            nodes.append(Print(_pipeline(text)))
    if inside:
        raise BadTemplate("an if, range or with has no {{end}}")
    return tuple(nodes), ""


def _branch(kind: str, text: str, parts: Iterator[_Part]) -> Branch:
    value = _pipeline(text)
    body, end = _nodes(parts, inside=True)
    if end == "end":
        return Branch(kind, value, body, ())
    rest = end.removeprefix("else").strip()
    if rest:
        inner, _, condition = rest.partition(" ")
        if inner not in ("if", "with"):
            raise BadTemplate(f"{{{{{end}}}}}: after else there may be if or with")
        return Branch(kind, value, body, (_branch(inner, condition, parts),))
    otherwise, end = _nodes(parts, inside=True)
    if end != "end":
        raise BadTemplate("an else is followed by another one, and not by {{end}}")
    return Branch(kind, value, body, otherwise)


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            raise BadTemplate(f"{text[at:].strip()!r} can't be read in {{{{{text.strip()}}}}}")
        kind = str(found.lastgroup)
        tokens.append((kind, found[kind], found.start(kind) == at))
        at = found.end()
    return tokens


def _pipeline(text: str) -> Pipeline:
    tokens = _tokens(text)
    declared: list[str] = []
    signs = [token[1] for token in tokens[:4]]
    for sign in (":=", "="):
        if sign in signs:
            declared = [name for kind, name, _ in tokens[: signs.index(sign)] if kind == "field"]
            tokens = tokens[signs.index(sign) + 1 :]
            break
    pipeline, rest = _stages(tokens, text.strip())
    if rest:
        raise BadTemplate(f"{rest[0][1]!r} is too much in {{{{{text.strip()}}}}}")
    return Pipeline(pipeline.stages, tuple(declared))


def _stages(tokens: list[Token], whole: str) -> tuple[Pipeline, list[Token]]:
    stages: list[Operand] = []
    while True:
        stage, tokens = _stage(tokens, whole, is_first=not stages)
        stages.append(stage)
        if not tokens or tokens[0][1] != "|":
            return Pipeline(tuple(stages)), tokens
        tokens = tokens[1:]


def _stage(tokens: list[Token], whole: str, *, is_first: bool) -> tuple[Operand, list[Token]]:
    if not tokens:
        raise BadTemplate(f"a value is missing in {{{{{whole}}}}}")
    kind, text, _ = tokens[0]
    if kind == "word" and text not in _CONSTANTS:
        if text not in FUNCTIONS:
            raise BadTemplate(f"there is no function {text!r}{nearest(text, FUNCTIONS)}")
        arguments: list[Operand] = []
        tokens = tokens[1:]
        while tokens and tokens[0][1] not in ("|", ")"):
            argument, tokens = _operand(tokens, whole)
            arguments.append(argument)
        return Call(text, tuple(arguments)), tokens
    if kind == "field" and is_first and len(tokens) > 1 and tokens[1][0] in ("string", "field", "number"):
        # Docker's {{.Label "key"}}.
        given, rest = _operand(tokens[1:], whole)
        return Call(ENTRY, (_operand(tokens, whole)[0], given)), rest
    if not is_first:
        raise BadTemplate(f"behind | there must be a function, not {text!r}")
    return _operand(tokens, whole)


def _operand(tokens: list[Token], whole: str) -> tuple[Operand, list[Token]]:
    (kind, text, _), rest = tokens[0], tokens[1:]
    match kind:
        case "string":
            return Literal(_unquoted(text)), rest
        case "number":
            if len(text) > _DIGITS:
                raise BadTemplate(f"{text[:_DIGITS]}… is too long a number")
            return Literal(float(text) if "." in text else int(text)), rest
        case "field":
            variable, _, path = text.partition(".")
            return Field(variable, tuple(filter(None, path.split(".")))), rest
        case "word" if text in _CONSTANTS:
            return Literal(_CONSTANTS[text]), rest
        case "word" if text in FUNCTIONS:
            return Call(text, ()), rest
    if text == "(":
        inner, rest = _stages(rest, whole)
        if not rest or rest[0][1] != ")":
            raise BadTemplate(f"a ( has no ) in {{{{{whole}}}}}")
        rest = rest[1:]
        if rest and rest[0][0] == "field" and rest[0][1].startswith(".") and len(rest[0][1]) > 1 and rest[0][2]:
            return Pipeline(inner.stages, (), tuple(rest[0][1][1:].split("."))), rest[1:]
        return inner, rest
    raise BadTemplate(f"{text!r} can't be read in {{{{{whole}}}}}")


def _unquoted(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    try:
        value: str = json.loads(text)
        # Half of a surrogate pair can't be printed.
        value.encode()
    except ValueError as error:
        raise BadTemplate(f"{text} is no text") from error
    return value
