"""Ranges and prefixes in a set without a name: `{ 10.0.0.0/8, 192.168.0.1 }`, `{ 80, 100-200 }`. Pure.

The kernel keeps such a set as places where ranges begin and end: one end is the first value that does not belong to it any more.
Spec: libnftables, src/segtree.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_network

from netcore.kernel.netlink import attr, nested
from netcore.kernel.ruleset.data_types import TYPES, DataType
from netcore.kernel.ruleset.words import RulesetError, Words

_KEY, _VALUE, _FLAGS, _USER_DATA = 1, 1, 3, 6
_ENDS = attr(_FLAGS, b"\0\0\0\1")
_OPEN = attr(_USER_DATA, b"\x01\x04" + (1).to_bytes(4, "little"))
"""Tells `nft list` that a range goes on to the last value there is."""

Range = tuple[int, int]
"""First and last value."""


_NUMBERS = re.compile(r"(0x[0-9a-f]+|[0-9]+)-(0x[0-9a-f]+|[0-9]+)")


def is_range(word: str) -> bool:
    """Return whether *word* is a range of numbers."""
    return _NUMBERS.fullmatch(word) is not None


def follow(words: Words) -> bool:
    """Return whether ranges are among the elements that come next."""
    at = 1
    while words.following(at)[-1] not in ("}", "\n") and len(words.following(at)) == at:
        word = words.following(at)[-1]
        if "/" in word or is_range(word):
            return True
        at += 1
    return False


def read(words: Words, data_type: DataType) -> list[Range]:
    """Read `{ a-b, c, d/n }`; return the ranges in their order, with neighbours made one. Raises RulesetError for some that overlap."""
    line = words.line()
    words.expect("{")
    ranges = [_range(words, data_type)]
    while words.accept(","):
        ranges.append(_range(words, data_type))
    words.expect("}")
    joined: list[Range] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1]:
            raise RulesetError(f"ruleset: these ranges overlap: {line}")
        if joined and first == joined[-1][1] + 1:
            joined[-1] = joined[-1][0], last
        else:
            joined.append((first, last))
    return joined


def size(ranges: Sequence[Range]) -> int:
    """Return how many elements *ranges* are counted as."""
    return 2 * len(ranges) + (ranges[0][0] > 0)


def encoded(ranges: Sequence[Range], length: int) -> Iterable[bytes]:
    """Yield the attributes of each element. *length*: of a value in octets."""
    if ranges[0][0] > 0:
        yield _ENDS + _key(0, length)
    for first, last in ranges:
        is_open = last == (1 << 8 * length) - 1
        yield _key(first, length) + (_OPEN if is_open else b"")
        if not is_open:
            yield _ENDS + _key(last + 1, length)


def _range(words: Words, data_type: DataType) -> Range:
    word = words.take()
    try:
        if "/" in word:
            if data_type not in (TYPES["ipv4_addr"], TYPES["ipv6_addr"]):
                raise ValueError
            network = ip_network(word)
            if network.max_prefixlen != 8 * data_type.length:
                raise ValueError
            return int(network.network_address), int(network.broadcast_address)
        texts = word.split("-") if is_range(word) else [word, word]
        first, last = (int.from_bytes(data_type.octets(text), "big") for text in texts)
    except (ValueError, KeyError, OverflowError) as error:
        raise RulesetError(f"ruleset: {word!r} is no such element: {words.line()}") from error
    if first > last:
        raise RulesetError(f"ruleset: {word!r} is no range from a lower to a higher value: {words.line()}")
    return first, last


def _key(value: int, length: int) -> bytes:
    return nested(_KEY, attr(_VALUE, value.to_bytes(length, "big")))
