"""What is found in the first data of a connection."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Protocol(Enum):
    """What the first data are."""

    TLS = "TLS"
    HTTP = "HTTP"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Name:
    """The server that the client asks for: lower case, without trailing dot, never an address."""

    name: str
    protocol: Protocol


@dataclass(frozen=True, slots=True)
class NeedMore:
    """What has come so far says nothing yet."""


@dataclass(frozen=True, slots=True)
class NoName:
    """The data are neither a ClientHello nor an HTTP request, so nothing but the address tells what they are for."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Nobody can say, or not everybody would say the same, which server is asked for. *reason*: a clause, for people."""

    protocol: Protocol
    reason: str


Finding = Name | NeedMore | NoName | Refused

NEED_MORE = NeedMore()
NO_NAME = NoName()
