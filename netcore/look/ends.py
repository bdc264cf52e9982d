"""What is sent in the place of either end of a connection, as that end would send it. Pure.

Spec: RFC 9293 section 3.10, RFC 7323 sections 3 and 5 (timestamps, PAWS).
"""

from __future__ import annotations

from collections.abc import Iterator

from netcore import limits
from netcore.look import segments
from netcore.look.segments import ACK, FIN, PSH, SYN, Segment, distance, timestamps_option
from netcore.look.steps import FlowKey, Forge, Inject, Step

_TIMESTAMPS = 12
"""Octets of a segment that timestamps take."""


class Ends:
    """What both ends of a connection have said of themselves, as far as packets in their names need it."""

    __slots__ = ("_expected", "_key", "_latest", "_segment_size", "_window", "server_start")

    def __init__(self, key: FlowKey) -> None:
        self._key = key
        self._segment_size = limits.SEGMENT_SIZE[key.client.version]
        self._window = limits.FIRST_DATA
        """As the server would tell it."""
        self._latest: Segment | None = None
        """The client's latest segment with data."""
        self._expected = 0
        """The sequence number that the client expects next of the server, as far as the server's packets tell."""
        self.server_start: int | None = None
        """The sequence number of the server's first octet, None if nobody saw it."""

    @property
    def has_client_spoken(self) -> bool:
        """Whether the client has sent anything: before that nothing can be sent in its place."""
        return self._latest is not None

    def client_sent(self, segment: Segment) -> None:
        """Take note of a segment of the client."""
        self._latest = segment

    def server_sent(self, segment: Segment) -> None:
        """Take note of a segment of the server."""
        self._expected = segment.sequence + segment.length + bool(segment.flags & SYN) + bool(segment.flags & FIN)
        if segment.flags & SYN:
            self._segment_size = segment.maximum_segment_size or self._segment_size
            self._window = max(1, limits.FIRST_DATA >> segment.window_shift)
            self.server_start = self._expected
        else:
            self._window = segment.window

    # --- as the server -----------------------------------------------------------------------------------------------

    def as_server(self, acknowledgement: int, flags: int, payload: bytes = b"") -> Forge:
        """Return a segment to the client that comes next of the server. *acknowledgement*: the client's octet that is expected next."""
        assert self._latest is not None
        stamps = self._latest.timestamps
        # What the client echoes is the server's latest, so it is not too old for it.
        options = timestamps_option(stamps[1], stamps[0]) if stamps else b""
        key = self._key
        forged = Segment(
            source=key.server, destination=key.client, source_port=key.server_port, destination_port=key.client_port,
            sequence=self._next_of_server, acknowledgement=acknowledgement, flags=flags, window=self._window, options=options,
            payload=payload,
        )  # fmt: skip
        return Forge(segments.write(forged), key.client)

    @property
    def _next_of_server(self) -> int:
        """The sequence number that the client expects of the server."""
        assert self._latest is not None
        said = self._latest.acknowledgement
        # It may have got more than it has said yet.
        return self._expected if distance(said, self._expected) > 0 else said

    # --- as the client -----------------------------------------------------------------------------------------------

    def in_segments(self, sequence: int, payload: bytes, *, is_last: bool = False) -> Iterator[Step]:
        """Yield *payload* in segments that the server and every path take; an empty one if there is none."""
        assert self._latest is not None
        size = max(1, min(self._segment_size, limits.LARGEST_SEGMENT) - (_TIMESTAMPS if self._latest.timestamps else 0))
        for at in range(0, max(1, len(payload)), size):
            part = payload[at : at + size]
            is_end = at + size >= len(payload)
            flags = ACK | (PSH if part and is_end else 0) | (FIN if is_last and is_end else 0)
            yield self.as_client(sequence + at, flags, part)

    def as_client(self, sequence: int, flags: int, payload: bytes = b"") -> Inject:
        """Return a segment to the server."""
        latest, key = self._latest, self._key
        assert latest is not None
        stamps = latest.timestamps
        made = Segment(
            source=key.client, destination=key.server, source_port=key.client_port, destination_port=key.server_port,
            sequence=sequence, acknowledgement=latest.acknowledgement, flags=flags, window=latest.window,
            options=timestamps_option(*stamps) if stamps else b"", payload=payload, traffic_class=latest.traffic_class,
        )  # fmt: skip
        return Inject(segments.write(made), key.server)
