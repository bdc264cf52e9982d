"""What a rule does with a packet: the statements that are made of their own words alone. Pure.

Spec: nft(8), STATEMENTS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from netcore.kernel.ruleset import expressions
from netcore.kernel.ruleset.words import RulesetError, Words

_VERDICTS = {"accept": expressions.ACCEPT, "drop": expressions.DROP, "return": expressions.RETURN}
_BRANCHES = {"jump": expressions.JUMP, "goto": expressions.GOTO}
VERDICTS = (*_VERDICTS, *_BRANCHES)
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604_800}
_DURATIONS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_BURST = 5
_CODES: Mapping[str, tuple[str, int, Mapping[str, int]]] = {
    "icmp": (
        "ip",
        expressions.ICMP_UNREACHABLE,
        {"net-unreachable": 0, "host-unreachable": 1, "prot-unreachable": 2, "port-unreachable": 3, "admin-prohibited": 13},
    ),
    "icmpv6": ("ip6", expressions.ICMP_UNREACHABLE, {"no-route": 0, "admin-prohibited": 1, "addr-unreachable": 3, "port-unreachable": 4}),
    "icmpx": ("", expressions.ICMPX_UNREACHABLE, {"no-route": 0, "port-unreachable": 1, "host-unreachable": 2, "admin-prohibited": 3}),
    "tcp": ("tcp", expressions.TCP_RESET, {"reset": 0}),
}
"""`reject with` what → the protocol that packets must have, the kind and the codes of the kernel."""


def duration(word: str) -> int:
    """Return how many milliseconds a duration such as `5m` has."""
    for unit, milliseconds in _DURATIONS.items():
        number = word.removesuffix(unit)
        if number != word and number.isdigit():
            return int(number) * milliseconds
    raise RulesetError(f"ruleset: {word!r} is no duration such as 500ms, 10s, 5m, 2h or 1d")


def verdict(words: Words) -> tuple[int, str | None]:
    """Read a verdict; return its code and the chain that it leads to."""
    if words.next in _BRANCHES:
        return _BRANCHES[words.take()], words.take()
    return words.one_of(_VERDICTS), None


def rejection(words: Words) -> tuple[str, bytes]:
    """Read `with tcp reset`; return the protocol that packets must have for that, and the expression."""
    words.expect("with")
    protocol, kind, codes = words.one_of(_CODES)
    return protocol, expressions.reject(kind, words.one_of(codes))


def random_number(words: Words, into: int) -> bytes:
    """Read `N offset M`, behind `numgen random mod`; return what puts such a number into a register."""
    count = words.number()
    return expressions.random_number(into, count, words.number() if words.accept("offset") else 0)


def _counter(words: Words) -> list[bytes]:
    return [expressions.named_counter(words.take()) if words.accept("name") else expressions.counter()]


def _limit(words: Words) -> list[bytes]:
    words.expect("rate")
    over = words.accept("over")
    rate, _, unit = words.take().partition("/")
    burst = _BURST
    if words.accept("burst"):
        burst = words.number()
        words.expect("packets")
    return [expressions.limit(int(rate), _UNITS[unit], burst, over=over)]


def _connection_count(words: Words) -> list[bytes]:
    words.expect("count")
    over = words.accept("over")
    return [expressions.connection_count(words.number(), over=over)]


def _log(words: Words) -> list[bytes]:
    prefix = words.take().strip('"') if words.accept("prefix") else None
    words.expect("group")
    group = words.number()
    length = words.number() if words.accept("snaplen") else None
    threshold = words.number() if words.accept("queue-threshold") else None
    return [expressions.log(group, prefix, length, threshold)]


def _redirect(words: Words) -> list[bytes]:
    words.expect("to")
    port = int(words.take().removeprefix(":"))
    return [expressions.immediate(expressions.register(0), port.to_bytes(2, "big")), expressions.redirect(expressions.register(0))]


def _hand_to_socket(words: Words) -> list[bytes]:
    words.expect("to")
    port = int(words.take().removeprefix(":"))
    at = expressions.register(0)
    return [expressions.immediate(at, port.to_bytes(2, "big")), expressions.hand_to_socket(_EITHER_FAMILY, at)]


_EITHER_FAMILY = 0
"""NFPROTO_UNSPEC."""

STATEMENTS: Mapping[str, Callable[[Words], list[bytes]]] = {
    "counter": _counter,
    "limit": _limit,
    "ct": _connection_count,
    "log": _log,
    "redirect": _redirect,
    "tproxy": _hand_to_socket,
    "masquerade": lambda _: [expressions.masquerade()],
    "notrack": lambda _: [expressions.no_tracking()],
}
"""By the word that each begins with, which is passed already."""
