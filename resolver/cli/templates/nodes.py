"""What a template consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class BadTemplate(ValueError):
    """A template can't be read, or asks for what is not there. Its text is for the user."""


@dataclass(frozen=True)
class Field:
    """`.A.B`, `$.A`, `$name.A`. *variable*: "" for the current data, "$" for all of it."""

    variable: str
    path: tuple[str, ...]


@dataclass(frozen=True)
class Literal:
    """A text, a number, true, false or nil."""

    value: Any


@dataclass(frozen=True)
class Call:
    """A function and its arguments."""

    name: str
    arguments: tuple[Operand, ...]


@dataclass(frozen=True)
class Pipeline:
    """`a | b | c`, in parentheses or not. *declares*: variables that take the value. *path*: what follows the parentheses."""

    stages: tuple[Operand, ...]
    declares: tuple[str, ...] = ()
    path: tuple[str, ...] = ()


Operand = Field | Literal | Call | Pipeline


@dataclass(frozen=True)
class Text:
    """What is printed as it is."""

    text: str


@dataclass(frozen=True)
class Print:
    """`{{pipeline}}`."""

    value: Pipeline


@dataclass(frozen=True)
class Branch:
    """`{{if}}`, `{{with}}` or `{{range}}`, by *kind*, with its `{{else}}`."""

    kind: str
    value: Pipeline
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


Node = Text | Print | Branch
