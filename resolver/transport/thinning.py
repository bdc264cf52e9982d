"""Fair shares of a UDP socket that many ask at: whose datagrams the kernel lets through in part only. Pure.

When one asker sends more than can be answered, the socket's buffer is full and the queries of all others are lost in the kernel,
before any decision of ours. So the socket gets a filter that lets through one of 2, 4, 8 … datagrams of that asker, at random.
What comes through tells how much it sends, and so when the filter is to go.

Source: Linux Documentation/networking/filter.rst (the filter's instructions and its extensions).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from resolver import limits

_LOAD_WORD, _AND, _JUMP_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_IP_HEADER, _RANDOM = 0xFFF0_0000, 0xFFFF_F000 + 56
"""SKF_NET_OFF, and SKF_AD_OFF with SKF_AD_RANDOM."""
_SOURCE_AT = {4: 12, 16: 8}
_INSTRUCTION = struct.Struct("=HBBI")
_ALL = 0xFFFF_FFFF

Levels = Mapping[bytes, int]
"""Packed address → how often its datagrams are halved."""


class Load:
    """What came in at one socket since it was last looked at. Who has read datagrams writes it.

    *counts*: datagrams by packed address. *full*: reads after which there were more, of *reads*.
    """

    __slots__ = ("counts", "full", "reads", "total")

    def __init__(self) -> None:
        self.counts: dict[bytes, int] = {}
        self.total = self.reads = self.full = 0

    def is_due(self) -> bool:
        """Return whether so much has come that it is time to look."""
        return self.total >= limits.GATEWAY_LOOK

    def is_too_much(self) -> bool:
        """Return whether more comes than is answered: the socket was hardly ever empty."""
        return self.is_due() and self.full >= self.reads - self.reads // 16


def levels(load: Load, before: Levels, seconds: float) -> dict[bytes, int]:
    """Return whose datagrams are to be let through in part from now on. *seconds*: how long *load* took to come.

    Nobody may have more than a quarter of what can be answered, once more comes than that. It ends for who sends less than
    `limits.GATEWAY_RATE` again.
    """
    is_too_much, allowed = load.is_too_much(), limits.GATEWAY_LOOK // 4
    if not is_too_much and not before:
        return {}
    made = {}
    for address in load.counts.keys() | before.keys():
        level = before.get(address, 0)
        let_through = load.counts.get(address, 0)
        if is_too_much and let_through > allowed:
            level = min(level + 1 + (let_through > 2 * allowed), limits.GATEWAY_HALVINGS)
        elif level and not is_too_much and let_through << level <= limits.GATEWAY_RATE * seconds:
            level -= 1
        if level:
            made[address] = level
    # The filter has room for so many: those who send most.
    most = sorted(made, key=lambda address: load.counts.get(address, 0) << made[address], reverse=True)[: limits.GATEWAY_THINNED]
    return {address: made[address] for address in most}


def program(thinned: Levels) -> bytes:
    """Return the filter as octets: for each address a comparison of its words, then one of a random number."""
    made = []
    for address, level in thinned.items():
        words = struct.unpack(f"!{len(address) // 4}I", address)
        block = []
        left = 2 * len(words) + 4
        for number, word in enumerate(words):
            left -= 2
            block += [(_LOAD_WORD, 0, 0, _IP_HEADER + _SOURCE_AT[len(address)] + 4 * number), (_JUMP_EQUAL, 0, left, word)]
        block += [(_LOAD_WORD, 0, 0, _RANDOM), (_AND, 0, 0, (1 << level) - 1), (_JUMP_EQUAL, 1, 0, 0), (_RETURN, 0, 0, 0)]
        made += block
    # What a block lets through goes on to the next one, which is for another address, and to this end.
    made.append((_RETURN, 0, 0, _ALL))
    return assembled(made)


def assembled(instructions: Iterable[tuple[int, int, int, int]]) -> bytes:
    """Return (code, jump if true, jump if false, operand) of each instruction as the kernel takes them."""
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in instructions)
