"""What a client sent, put in order: the first octets that came for a place stay, and others for the same place are a change. Pure.

Spec: RFC 9293 section 3.4 (sequence numbers).
"""

from __future__ import annotations

from bisect import insort

from netcore import limits
from netcore.look.segments import distance


class Changed(ValueError):
    """The client sent something else for octets that it had sent before; the text is a clause that says so."""


class Stream:
    """The octets from sequence number *start* on, at most *room*. What is further away is left out: it comes again."""

    __slots__ = ("_ahead", "data", "end", "room", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.room = limits.FIRST_DATA
        self.data = bytearray()
        """What has come without a gap."""
        self.end: int | None = None
        """How many octets there are in all, once the client has said so by a FIN."""
        self._ahead: list[tuple[int, bytes]] = []
        """(place, octets) behind a gap: in order, without overlaps."""

    @property
    def octets(self) -> int:
        """What is held in memory."""
        return len(self.data) + sum(len(piece) for _, piece in self._ahead)

    @property
    def is_complete(self) -> bool:
        return self.end == len(self.data)

    def take(self, sequence: int, payload: bytes, *, is_last: bool = False) -> bytes:
        """Return what follows without a gap now that *payload* is here; raises Changed."""
        at = distance(self.start, sequence)
        end = at + len(payload)
        if is_last and end >= 0:
            self._note_end(end)
        if self.end is not None and end > self.end:
            raise Changed("it sent more after the end of its data")
        if at < 0:
            payload, at = payload[-at:], 0
        payload = payload[: max(0, self.room - at)]
        if not payload:
            return b""
        self._compare(at, payload)
        known = len(self.data)
        if at > known:
            self._keep(at, payload)
            return b""
        self.data += payload[known - at :]
        self._join()
        return bytes(self.data[known:])

    def forget(self, count: int) -> None:
        """Forget the first *count* octets of `data`, which the server has."""
        del self.data[:count]
        self.start = (self.start + count) & 0xFFFF_FFFF
        self._ahead = [(place - count, piece) for place, piece in self._ahead]
        if self.end is not None:
            self.end -= count

    def _note_end(self, end: int) -> None:
        furthest = max([len(self.data), *(at + len(piece) for at, piece in self._ahead)])
        if end < furthest or self.end not in (None, end):
            raise Changed("it said twice where its data end, and differently")
        self.end = end

    def _compare(self, at: int, payload: bytes) -> None:
        """Raise Changed if *payload* is not what is known already."""
        for place, piece in ((0, self.data), *self._ahead):
            low, high = max(at, place), min(at + len(payload), place + len(piece))
            if low < high and payload[low - at : high - at] != piece[low - place : high - place]:
                raise Changed("it sent other octets in the place of some that it had sent before")

    def _keep(self, at: int, payload: bytes) -> None:
        """Keep what of *payload* is not known yet."""
        for place, piece in tuple(self._ahead):
            if place + len(piece) <= at:
                continue
            if place > at and len(self._ahead) < limits.FIRST_DATA_PIECES:
                insort(self._ahead, (at, payload[: place - at]))
            payload, at = payload[max(0, place + len(piece) - at) :], max(at, place + len(piece))
            if not payload:
                return
        if len(self._ahead) < limits.FIRST_DATA_PIECES:
            insort(self._ahead, (at, payload))

    def _join(self) -> None:
        while self._ahead and self._ahead[0][0] <= len(self.data):
            place, piece = self._ahead.pop(0)
            self.data += piece[len(self.data) - place :]
