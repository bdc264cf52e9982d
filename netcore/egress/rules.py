"""The values of egress rules. Each prints as it is written: `read.rule(str(rule)) == rule`. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

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

    ports: Ports = field(init=False, compare=False, repr=False)
    """What it allows or denies of its target. Of what is no address it allows name servers only by a port that it says itself."""

    def __post_init__(self) -> None:
        # Asked for with each address of each answer.
        object.__setattr__(self, "ports", _ports(self))

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


def _ports(rule: Rule) -> Ports:
    is_name, is_prefix = isinstance(rule.target, Name | Below), isinstance(rule.target, Prefix)
    if rule.first is not None:
        ports = Ports.of(rule.protocol or "tcp", (rule.first, rule.last or rule.first))
    elif is_name and not rule.deny:
        ports = Ports.of(rule.protocol or "tcp", *WEB)
        if rule.by_address and rule.protocol is None:
            # QUIC can't be looked at, so it passes where nothing is.
            ports |= Ports.of("udp", WEB[-1])
    else:
        ports = Ports.of(rule.protocol, (FIRST, LAST)) if rule.protocol is not None else EVERYTHING
    names_port = isinstance(rule.target, OwnNetwork) and rule.first is not None
    return ports if rule.deny or is_prefix or names_port else ports - DNS
