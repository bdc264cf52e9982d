"""Rulesets that differ from one use to the next in some port numbers only: read once, then filled in. Pure.

Reading the small table of a sandbox takes longer than the kernel does to make it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import replace

from netcore.kernel.netlink import Request
from netcore.kernel.ruleset.declarations import read

_PORT = struct.Struct("!H")
_MARKS = (0xA5C3, 0x5A3C, 0xC35A, 0x3CA5)
"""Ports in whose places the others are put. Nothing else in a message looks like one of them."""
_MARK = re.compile("|".join(map(str, _MARKS)))


class Form:
    """What *render* makes of *count* ports, each of which may stand at several places."""

    def __init__(self, render: Callable[..., str], count: int) -> None:
        marks = _MARKS[:count]
        self._requests = tuple(read(render(*marks)))
        # The same places in a ruleset with other ports, or something was taken for one.
        others = tuple(read(render(*reversed(marks))))
        self._places = tuple(_places(request.body, marks) for request in self._requests)
        assert self._places == tuple(_places(request.body, marks[::-1]) for request in others)

    def requests(self, *ports: int) -> tuple[Request, ...]:
        """Return what one transaction has to send for *ports*."""
        return tuple(
            _filled(request, places, ports) if places else request for request, places in zip(self._requests, self._places, strict=True)
        )


Places = tuple[tuple[int, int], ...]
"""(where, which port) of each."""


def _places(body: bytes, marks: tuple[int, ...]) -> Places:
    found = []
    for which, mark in enumerate(marks):
        at = body.find(_PORT.pack(mark))
        while at >= 0:
            found.append((at, which))
            at = body.find(_PORT.pack(mark), at + 1)
    return tuple(sorted(found))


def _filled(request: Request, places: Places, ports: tuple[int, ...]) -> Request:
    body = bytearray(request.body)
    for at, which in places:
        _PORT.pack_into(body, at, ports[which])
    target = _MARK.sub(lambda found: str(ports[_MARKS.index(int(found[0]))]), request.target)
    return replace(request, body=bytes(body), target=target)
