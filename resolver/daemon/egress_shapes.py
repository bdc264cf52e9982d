"""The shapes of the admin API that are about egress rules. Pure."""

from __future__ import annotations

from typing import Any

import msgspec


class RefusedView(msgspec.Struct, frozen=True):
    """What egress rules refused. *kind*: question or connection. *name*: asked for, or what the address was answered for; "": none.

    *lacks*: the rule that would allow it. *count*: how often since *first*; *first* and *last* in seconds since 1970.
    """

    sandbox: str
    sandbox_id: str
    kind: str
    name: str
    address: str
    protocol: str
    port: int
    reason: str
    lacks: str | None
    first: float
    last: float
    count: int


class EgressLayerView(msgspec.Struct, frozen=True):
    """*title*: whose rules they are. Lists are shown with their rules."""

    title: str
    rules: list[dict[str, Any]]


class OpeningView(msgspec.Struct, frozen=True):
    """*left*: seconds for which *address* is still open for *name*.

    *by_address*: those of *ports* where the address alone counts, *without_name*: where it does if neither TLS nor HTTP is spoken.
    """

    name: str
    address: str
    ports: str
    left: float
    by_address: str
    without_name: str


class EgressView(msgspec.Struct, frozen=True):
    """*rules*: of the sandbox itself, null: it has those of its networks or the default. *layers*: all must allow; none: no rules.

    *openings*: what answers have opened. *refused*: how many questions and connections were refused.
    """

    sandbox: str
    rules: list[str] | None
    layers: list[EgressLayerView]
    openings: list[OpeningView]
    refused: int


class EgressTestBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """*target*: NAME[:PORT][/PROTOCOL] or ADDRESS[:PORT][/PROTOCOL]."""

    target: str


class EgressTestView(msgspec.Struct, frozen=True):
    """*lacks*: the rule that would allow it."""

    allowed: bool
    reason: str
    lacks: str | None


class EgressChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """*rules*: in place of those that there are. *add*, *remove*: single ones. *inherit*: have those of the networks, or the default."""

    rules: list[str | dict[str, Any]] | None = None
    add: list[str | dict[str, Any]] = []
    remove: list[str | dict[str, Any]] = []
    inherit: bool = False


class LearnedView(msgspec.Struct, frozen=True):
    """*rules*: that the sandbox called *sandbox* has needed while it had the rule learn. It may be gone."""

    sandbox: str
    rules: list[str]
