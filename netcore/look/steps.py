"""What is asked and what is to be done about a looked-at connection, as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from netcore.look.findings import Protocol
from netcore.model import IPAddress


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a packet: the index of the link that it came in by, the MAC that it came from, its source address."""

    link: int
    mac: bytes
    address: IPAddress


@dataclass(frozen=True, slots=True)
class Allowed:
    """The connection gets this connection mark, and is plain routing from then on."""

    mark: int


@dataclass(frozen=True, slots=True)
class Denied:
    """*sentence*: what the client and the log are told."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """Nobody knows yet: the client's next packet asks again."""


Verdict = Allowed | Denied | Undecided


@dataclass(frozen=True, slots=True)
class Asked:
    """Whether *sender* may reach *name* at *address* and a TCP *port*. *name*: None if nothing but the address is known.

    *goes_on*: the same was allowed for this connection before, perhaps by other rules.
    """

    sender: Sender
    name: str | None
    address: IPAddress
    port: int
    goes_on: bool


Allows = Callable[[Asked], Verdict]


@dataclass(frozen=True, slots=True)
class FlowKey:
    """The ends of a connection, as its packets have them in the host's forward hook."""

    client: IPAddress
    client_port: int
    server: IPAddress
    server_port: int


@dataclass(frozen=True, slots=True)
class Inject:
    """Send *packet* in the place of the client: as part of the connection that the kernel knows."""

    packet: bytes
    destination: IPAddress


@dataclass(frozen=True, slots=True)
class Forge:
    """Send *packet* to the client in the place of the server: past the kernel's connection tracking."""

    packet: bytes
    destination: IPAddress


@dataclass(frozen=True, slots=True)
class Decide:
    """Note that the connection is allowed, before anything of it is sent: it is to get *mark* once the server has all before *end*.

    *mark* 0: it is followed on, and *left* octets of a body, or of a chunk if *in_chunks*, come behind *end*.
    """

    key: FlowKey
    held: int
    end: int
    mark: int
    left: int = 0
    in_chunks: bool = False


@dataclass(frozen=True, slots=True)
class Open:
    """Change the mark of the connection from *held* to *mark*, if it still has that one.

    *name*: for which it is opened; "": for its address alone, None: nobody knows any more.
    """

    key: FlowKey
    held: int
    mark: int
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A connection was refused. *name*: None if none was found."""

    sender: Sender
    name: str | None
    protocol: Protocol
    address: IPAddress
    port: int
    sentence: str


Step = Inject | Forge | Decide | Open | Refusal
