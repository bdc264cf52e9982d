"""The values of egress rules. Each prints as it is written: `read.rule(str(rule)) == rule`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from netcore.egress.ports import DNS, EVERYTHING, FIRST, LAST, WEB, Ports
from netcore.model import IPNetwork


@dataclass(frozen=True, slots=True)
class Name:
    """One name, in lower case, in its ASCII form, without the dot at its end."""

    name: str

    def __str__(self) -> str:
        # A name that is also a word of the language keeps its dot.
        return f"{self.name}." if self.name in WORDS else self.name


@dataclass(frozen=True, slots=True)
class Below:
    """All names below *domain*, at any depth, and not *domain* itself."""

    domain: str

    def __str__(self) -> str:
        return f"*.{self.domain}"


@dataclass(frozen=True, slots=True)
class Prefix:
    """All addresses of *network*, which may be a single one."""

    network: IPNetwork

    def __str__(self) -> str:
        network = self.network
        return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


@dataclass(frozen=True, slots=True)
class OwnNetwork:
    """What is on the network of berth called *name*."""

    name: str

    def __str__(self) -> str:
        return f"network:{self.name}"


@dataclass(frozen=True, slots=True)
class SetName:
    """The rules of the list called *name*."""

    name: str

    def __str__(self) -> str:
        return f"@{self.name}"


class Wide(Enum):
    """What has a word of its own."""

    HOST = "host"
    """Services of the host at the gateway of a network of the sandbox."""
    PUBLIC = "public"
    """All addresses that are neither private nor special."""
    ALL = "all"
    """Everything but the host: all addresses, and the networks that the sandbox is on."""
    NONE = "none"
    """The networks that the sandbox is on, but for the shared `default`."""
    LEARN = "learn"
    """All and host, and it is recorded what of it is used."""

    def __str__(self) -> str:
        return self.value


WORDS = tuple(word.value for word in Wide)
Target = Name | Below | Prefix | OwnNetwork | SetName | Wide


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. *first*, *last*, *protocol* None: as the target has it, see `ports`.

    Of a name: *private*: its addresses may be private; *by_address*: these alone count, what is said to them is not looked at.
    """

    target: Target
    deny: bool = False
    private: bool = False
    by_address: bool = False
    first: int | None = None
    last: int | None = None
    protocol: str | None = None

    @property
    def ports(self) -> Ports:
        """What it allows or denies of its target. Of what is no address it allows name servers only by a port that it says itself."""
        target = self.target
        return _ports(
            self.first, self.last, self.protocol, is_name=isinstance(target, Name | Below), is_prefix=isinstance(target, Prefix),
            is_network=isinstance(target, OwnNetwork), deny=self.deny, by_address=self.by_address,
        )  # fmt: skip

    @property
    def is_whole(self) -> bool:
        """Whether it is about all that its target has, not about some ports."""
        return self.first is None and self.protocol is None

    def __str__(self) -> str:
        target = f"{self.target}{'+private' if self.private else ''}{'+address' if self.by_address else ''}"
        ports = ""
        if self.first is not None:
            ports = f":{self.first}{f'-{self.last}' if self.last not in (None, self.first) else ''}"
            if isinstance(self.target, Prefix) and self.target.network.version == 6:
                target = f"[{target}]"
        return f"{'deny:' if self.deny else ''}{target}{ports}{f'/{self.protocol}' if self.protocol is not None else ''}"


@lru_cache(4096)
def _ports(
    first: int | None,
    last: int | None,
    protocol: str | None,
    *,
    is_name: bool,
    is_prefix: bool,
    is_network: bool,
    deny: bool,
    by_address: bool,
) -> Ports:
    """Return the ports of a rule, see there: they are asked for with each address of each answer."""
    if first is not None:
        ports = Ports.of(protocol or "tcp", (first, last or first))
    elif is_name and not deny:
        ports = Ports.of(protocol or "tcp", *WEB)
        if by_address and protocol is None:
            # QUIC can't be looked at, so it passes where nothing is.
            ports |= Ports.of("udp", WEB[-1])
    else:
        ports = Ports.of(protocol, (FIRST, LAST)) if protocol is not None else EVERYTHING
    names_port = is_network and first is not None
    return ports if deny or is_prefix or names_port else ports - DNS
