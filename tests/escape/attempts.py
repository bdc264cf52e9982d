"""What an attempt is, where it is made, and the list of all of them.

`python -m tests.escape.attempts` prints the list, a line each. An attempt has a number, and everything that it sends carries a marker with
that number: whoever receives the marker knows which attempt got through, from which sandbox. Besides, each attempt has addresses of its
own outside, so what carries no marker is known too.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

MARKER = re.compile(rb"x(\d)(\d{5})q", re.IGNORECASE)
FRESH, NAMED = 44, 45
"""First octets of addresses outside: those that nobody has asked for, and those that an allowed name is answered with."""
WHO = {"run": 0, "netns": 1, "podman": 2, "runc": 3, "bwrap": 4, "free": 8, "bare": 9}
"""Who makes attempts: sandboxes with rules, one without, and a namespace that berth knows nothing of."""
RUNTIMES = tuple(WHO)[:4]
USERS_RUNTIMES = ("run", "podman", "bwrap")
"""Those that an ordinary user has of his own."""

SPECIAL = (
    ("169.254.169.254", "fd00:ec2::254"), ("169.254.170.2", "fe80::a9fe:a9fe"), ("127.0.0.1", "::1"), ("127.0.0.11", "::"), ("0.0.0.0", "::ffff:0:0"),
    ("10.9.0.2", "fd09::2"), ("172.17.0.1", "::ffff:172.17.0.1"), ("10.200.0.9", "fd99::1"), ("192.168.7.7", "64:ff9b::a9fe:a9fe"),
    ("100.64.0.9", "64:ff9b::a00:9"), ("198.18.0.9", "2002:a9fe:a9fe::1"), ("224.0.0.251", "ff02::1"), ("255.255.255.255", "::ffff:169.254.169.254"),
    ("240.0.0.1", "2001:0:a00:1::5601:5601"), ("172.18.0.2", "64:ff9b:1::a9fe:a9fe"), ("10.9.0.1", "fd09::1"),
)  # fmt: skip
"""What names `sNUMBER-ATTEMPT.wWHO.wild.test` are answered with: nothing of this is opened by a name."""

Arguments = Mapping[str, str | int]


def numbered(first: int, who: int, number: int, family: int) -> str:
    """Return the address outside of an attempt."""
    if family == 4:
        return str(IPv4Address(bytes([first, who, number >> 8, number & 255])))
    return str(IPv6Address(f"2001:db8:{first}:{who}::{number:x}"))


@dataclass(frozen=True, slots=True)
class Here:
    """An attempt, as the one who makes it sees the world. *around*: addresses by what has them, such as `peer4`."""

    who: int
    number: int
    around: Mapping[str, str]

    @property
    def marker(self) -> str:
        return f"x{self.who}{self.number:05d}q"

    @property
    def secret(self) -> bytes:
        return f"secret {self.marker} ".encode()

    @property
    def name(self) -> str:
        """A name that rules allow."""
        return f"n{self.number:05d}.w{self.who}.wild.test"

    @property
    def evil(self) -> str:
        """A name that no rule allows. Whoever sees it sees the marker."""
        return f"{self.marker}.evils.test"

    @property
    def link(self) -> str:
        return self.around["link"]

    def own(self, family: int) -> str:
        return self.around[f"own{family}"]

    def target(self, what: str, family: int) -> str:
        """Return the address of *what*: one outside that nobody asked for, or one that an allowed name has, or a neighbour's."""
        fresh = numbered(FRESH, self.who, self.number, family)
        embedded = IPv4Address(numbered(FRESH, self.who, self.number, 4))
        match what:
            case "fresh":
                return fresh
            case "named":
                return numbered(NAMED, self.who, self.number, family)
            case "private":
                return str(IPv4Address(bytes([10, 200 + self.who, *embedded.packed[2:]]))) if family == 4 else f"fd99::{self.number:x}"
            case "metadata":
                return "169.254.169.254" if family == 4 else "fd00:ec2::254"
            case "shared":
                return "100.64.0.9"
            case "NAT64":
                return str(IPv6Address(int(IPv6Address("64:ff9b::")) + int(embedded)))
            case "6to4":
                return str(IPv6Address(0x2002 << 112 | int(embedded) << 80 | 1))
            case "Teredo":
                return str(IPv6Address(0x20010000 << 96 | int(embedded) ^ 0xFFFF_FFFF))
            case "compatible":
                return str(IPv6Address(int(embedded)))
        return self.around[f"{what}{family}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What became of an attempt, as far as its maker knows.

    *permitted*: octets that the server may get. *opens*: once the server has got all of them, rules allow what comes behind.
    *reached*: somebody answered whom no rule allows.
    """

    permitted: tuple[bytes, ...] = ()
    opens: bool = False
    reached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A way to try, in each of its *variants*.

    *exclusive*: it changes links or routes for a while, so it is made alone. *shown*: what the few variants have that get through where
    there are no rules.
    """

    name: str
    variants: Callable[[], Iterable[Arguments]]
    make: Callable[[Here, Arguments], Made | None]
    exclusive: bool = False
    shown: Arguments | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    number: int
    kind: str
    arguments: Arguments

    @property
    def line(self) -> str:
        return f"{self.number:05d} {self.kind}: " + ", ".join(f"{key} {value}" for key, value in self.arguments.items())


def kinds() -> dict[str, Kind]:
    from tests.escape import flows, links, packets, questions, segments, web  # They need the values above.

    found = [*packets.KINDS, *questions.KINDS, *web.KINDS, *segments.KINDS, *flows.KINDS, *links.KINDS]
    assert len({kind.name for kind in found}) == len(found)
    return {kind.name: kind for kind in found}


def all_attempts() -> list[Attempt]:
    """Return every attempt, in an order that stays: a number means the same in every run."""
    made: list[Attempt] = []
    for kind in kinds().values():
        made += [Attempt(at, kind.name, arguments) for at, arguments in enumerate(kind.variants(), len(made))]
    return made


def part_of(attempts: list[Attempt], seed: str, share: int) -> list[Attempt]:
    """Return one of *share* attempts by chance, and at least one of each kind."""
    chance = random.Random(seed)
    chosen: dict[int, Attempt] = {}
    for kind in kinds().values():
        those = [attempt for attempt in attempts if attempt.kind == kind.name]
        several = chance.sample(those, -(-len(those) // share))
        if kind.shown is not None:
            several.append(chance.choice([attempt for attempt in those if kind.shown.items() <= attempt.arguments.items()]))
        chosen |= {attempt.number: attempt for attempt in several}
    return [*chosen.values()]


def crossed(**values: Iterable[str | int]) -> Iterator[Arguments]:
    """Yield every combination of *values* that means something: some targets exist in one family only."""
    combined: list[dict[str, str | int]] = [{}]
    for key, several in values.items():
        some = list(several)
        combined = [{**one, key: value} for one in combined for value in some]
    for one in combined:
        family = one.get("family")
        if (family == 4 and one.get("target") in ("NAT64", "6to4", "Teredo", "compatible")) or (
            family == 6 and one.get("target") == "shared"
        ):
            continue
        yield one


if __name__ == "__main__":
    for attempt in all_attempts():
        print(attempt.line)
