"""One connection from its first data until it is open or refused: what each packet of it means, and what is to be done. Pure.

The kernel lets the handshake pass, and drops what has a payload. So the server has got nothing but what is injected here, and
whatever the client repeats, overlaps or changes, the server reads what was read here. Where its data begin only the server may say:
a client could have sent several SYNs. The connection is opened once the server has acknowledged all that was injected.

Spec: RFC 9293 sections 3.4 and 3.10, RFC 5961 section 3 (a reset has exactly the expected number).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from netcore import limits
from netcore.desired.look_rules import FOLLOWED, NUMBER
from netcore.look import refusals
from netcore.look.decisions import Decided
from netcore.look.ends import Ends
from netcore.look.findings import Finding, Name, NeedMore, NoName, Protocol, Refused
from netcore.look.first_data import FirstDataReader
from netcore.look.http_requests import HttpRequests
from netcore.look.segments import ACK, FIN, PSH, RST, SYN, Segment, distance
from netcore.look.steps import Allowed, Allows, Asked, Decide, Denied, FlowKey, Open, Refusal, Sender, Step, Undecided
from netcore.look.stream import Changed, Stream

_SWITCHING = b"HTTP/1.1 101"


class Phase(Enum):
    """How far a connection has come."""

    READING = "reading"
    INJECTED = "injected"
    """Its server is allowed, and has not acknowledged all of the first data yet."""
    FOLLOWED = "followed"
    """It is HTTP, and each of its requests is read before the server gets it."""
    OPENED = "opened"
    REFUSED = "refused"


class Lost(Exception):
    """What is known of the connection does not fit what its server says, or nobody knows its sandbox yet: it must be begun anew."""


class Flow:
    """One connection. Each method that takes a packet returns what is to be done, in this order, or raises Lost."""

    __slots__ = (
        "_acknowledged",
        "_allows",
        "_begun",
        "_decided",
        "_end",
        "_ends",
        "_key",
        "_name",
        "_noted",
        "_reader",
        "_repeated",
        "_requests",
        "_stream",
        "_taken",
        "_told",
        "_unacknowledged",
        "_waiting",
        "held",
        "last",
        "phase",
        "sender",
    )  # fmt: skip

    def __init__(self, key: FlowKey, allows: Allows, now: float, decided: tuple[Decided, ...] = ()) -> None:
        self._key = key
        self._allows = allows
        self._decided = decided
        """What an earlier daemon has decided about it: its last notes."""
        self._noted: Decide | None = None
        """Where a later one can go on, if it is followed."""
        self._begun: float | None = None
        """When its first octets came."""
        self.last = now
        self.phase = Phase.READING
        self.held: int | None = None
        """The connection mark that its data had: another one is another connection."""
        self.sender: Sender | None = None
        self._ends = Ends(key)
        self._unacknowledged = self._taken = 0
        """Segments since the client was last told what has come, and the octets that it was told of."""
        self._stream: Stream | None = None
        """None as long as it is not known where the data begin."""
        self._waiting: list[Segment] = []
        """What came meanwhile."""
        self._reader = FirstDataReader()
        self._requests: HttpRequests | None = None
        """Of a connection that is followed."""
        self._end = self._acknowledged = 0
        """Octets of the stream that were injected, and that the server has acknowledged; a FIN counts as one."""
        self._name: str | None = None
        self._told = b""
        """What a refused client is told."""
        self._repeated = 0

    @property
    def octets(self) -> int:
        """What is held in memory."""
        waiting = sum(len(segment.payload) for segment in self._waiting)
        return waiting + (self._stream.octets if self._stream is not None else 0)

    @property
    def has_data(self) -> bool:
        return self._ends.has_client_spoken

    @property
    def _known(self) -> int:
        """Octets of the stream that have come without a gap; a FIN counts as one."""
        return len(self._stream.data) + self._stream.is_complete if self._stream is not None else 0

    # --- what the client sends ---------------------------------------------------------------------------------------

    def take_client(self, segment: Segment, held: int, sender: Sender, now: float) -> list[Step]:
        """Take a segment with data, which the kernel has dropped. *held*: its connection mark."""
        # One that was copied before the connection was marked as followed has the mark from before.
        self.held = FOLLOWED | (held & NUMBER) if self.phase is Phase.FOLLOWED else held
        self.sender, self.last = sender, now
        if self._begun is None:
            self._begun = now
        if segment.flags & (SYN | RST) or not segment.flags & ACK:
            return []
        self._ends.client_sent(segment)
        match self.phase:
            case Phase.READING if self._stream is None:
                return self._wait(segment)
            case Phase.READING:
                return self._read(segment)
            case Phase.INJECTED:
                return self._repeat(segment)
            case Phase.FOLLOWED:
                return self._follow(segment)
            case Phase.OPENED:
                # It was on its way while the connection was opened.
                return list(self._ends.in_segments(segment.sequence, segment.payload, is_last=bool(segment.flags & FIN)))
            case Phase.REFUSED:
                self._repeated += 1
                return list(self._tell()) if self._repeated <= limits.REFUSALS_REPEATED else []

    def _wait(self, segment: Segment) -> list[Step]:
        """Keep data whose place is not known, and ask the server: it answers what is before its window (RFC 9293 section 3.10.7.4)."""
        if self.octets + len(segment.payload) <= limits.FIRST_DATA and len(self._waiting) < limits.FIRST_DATA_PIECES:
            self._waiting.append(segment)
        return list(self._ends.in_segments(segment.sequence - 1, b""))

    def _read(self, segment: Segment) -> list[Step]:
        assert self._stream is not None
        try:
            new = self._stream.take(segment.sequence, segment.payload, is_last=bool(segment.flags & FIN))
        except Changed as changed:
            return self._refuse(None, self._reader.protocol, _sentence(self._key, str(changed)))
        finding = self._reader.feed(new) if new else self._reader.finding
        if isinstance(finding, NeedMore) and self._stream.is_complete:
            finding = Refused(self._reader.protocol, "its data end before they name a server")
        return self._decide(finding, is_new=bool(new))

    def _decide(self, finding: Finding, *, is_new: bool) -> list[Step]:
        match finding:
            case NeedMore():
                return self._ask_for_more(is_new=is_new)
            case Name(_, Protocol.HTTP):
                return self._begin_to_follow()
            case Name(name, protocol):
                return self._carry_out(self._ask(name), name, protocol)
            case NoName():
                return self._carry_out(self._ask(None), None, Protocol.OTHER)
            case Refused(protocol, reason):
                return self._refuse(None, protocol, _sentence(self._key, reason))

    def _ask_for_more(self, *, is_new: bool) -> list[Step]:
        """Acknowledge what has come, to a client that waits for that before it sends more: by its window, or by Nagle's algorithm.

        It then has these octets no more, so they are sent again from here until the server has them.
        """
        assert self._stream is not None
        self._unacknowledged += 1
        is_waiting = not is_new or self._unacknowledged >= limits.ACKNOWLEDGE_AFTER_SEGMENTS
        if not is_waiting and self._known - self._taken < limits.ACKNOWLEDGE_AFTER_OCTETS:
            return []
        self._taken, self._unacknowledged = self._known, 0
        return [self._ends.as_server(self._stream.start + self._taken, ACK)] if self._taken else []

    def _ask(self, name: str | None, *, goes_on: bool = False) -> Allowed | Denied:
        """Return the verdict; raises Lost if there is none yet."""
        assert self.sender is not None
        verdict = self._allows(Asked(self.sender, name, self._key.server, self._key.server_port, goes_on))
        if isinstance(verdict, Undecided):
            raise Lost
        return verdict

    def _carry_out(self, verdict: Allowed | Denied, name: str | None, protocol: Protocol) -> list[Step]:
        match verdict:
            case Allowed(mark):
                self.phase, self._name = Phase.INJECTED, name or ""
                self._end = self._known
                assert self._stream is not None
                assert self.held is not None
                return [Decide(self._key, self.held, self._stream.start + self._end, mark), *self._inject_from(0, self._end)]
            case Denied(sentence):
                return self._refuse(name, protocol, sentence)

    def _repeat(self, segment: Segment) -> list[Step]:
        """Answer what the client sends again with what was injected; keep what is new until the connection is open."""
        assert self._stream is not None
        try:
            self._stream.take(segment.sequence, segment.payload, is_last=bool(segment.flags & FIN))
        except Changed as changed:
            return self._refuse(None, self._reader.protocol, _sentence(self._key, str(changed)))
        if distance(self._stream.start, segment.sequence) >= self._end:
            return []
        return list(self._inject_from(self._acknowledged, self._end))[: limits.INJECTED_AT_ONCE]

    # --- HTTP --------------------------------------------------------------------------------------------------------

    def _begin_to_follow(self) -> list[Step]:
        """Keep the connection held, marked as one of HTTP: a later daemon must not take the middle of a request for something else."""
        assert self._stream is not None
        assert self.held is not None
        self.phase, self._requests = Phase.FOLLOWED, HttpRequests()
        self._stream.room = limits.FOLLOWED_DATA
        before, self.held = self.held, FOLLOWED | (self.held & NUMBER)
        steps = [*self._note_place(), *self._clear(bytes(self._stream.data), is_new=True)]
        if self.phase is Phase.REFUSED or before == self.held:
            return steps
        # First the notes: a later daemon must know where it is of each connection with the other mark.
        notes = [step for step in steps if isinstance(step, Decide)]
        return [*notes, Open(self._key, before, self.held, self._name), *(step for step in steps if not isinstance(step, Decide))]

    def _note_place(self) -> list[Step]:
        """Return the note by which a later daemon can go on behind what was injected, unless the last note says the same."""
        assert self._stream is not None
        assert self._requests is not None
        assert self.held is not None
        if self._requests.place is None:
            return []
        left, in_chunks = self._requests.place
        end, noted = self._stream.start + self._end, self._noted
        if noted is not None and noted.in_chunks == in_chunks:
            came = noted.left - left
            if 0 <= came < limits.FOLLOWED_NOTED and distance(noted.end, end) == came:
                return []
        self._noted = Decide(self._key, self.held, end, 0, left, in_chunks)
        return [self._noted]

    def _follow(self, segment: Segment) -> list[Step]:
        assert self._stream is not None
        try:
            new = self._stream.take(segment.sequence, segment.payload, is_last=bool(segment.flags & FIN))
        except Changed as changed:
            return self._refuse(None, Protocol.HTTP, _sentence(self._key, str(changed)))
        if not new and distance(self._stream.start, segment.sequence) < self._end:
            sent = self._inject_from(self._acknowledged, self._end) if self._end else self._ends.in_segments(self._stream.start - 1, b"")
            return list(sent)[: limits.INJECTED_AT_ONCE]
        return self._clear(new, is_new=bool(new))

    def _clear(self, new: bytes, *, is_new: bool) -> list[Step]:
        """Read *new*, the end of the stream; send what of it belongs to requests that are allowed."""
        assert self._requests is not None
        assert self._stream is not None
        assert self.held is not None
        cleared = self._requests.cleared
        steps: list[Step] = []
        for finding in self._requests.feed(new):
            match finding:
                case Name(name):
                    verdict = self._ask(name, goes_on=name == self._name)
                    if isinstance(verdict, Denied):
                        return self._refuse(name, Protocol.HTTP, verdict.sentence)
                    if self._name not in (None, name):
                        steps.append(Open(self._key, self.held, self.held, name))
                    self._name = name
                case Refused(protocol, reason):
                    return self._refuse(None, protocol, _sentence(self._key, reason))
                case _:
                    pass
        before = self._end
        self._end += self._requests.cleared - cleared
        if self._stream.is_complete and self._end == len(self._stream.data):
            self._end += 1
        if self._end > before:
            steps += self._inject_from(before, self._end)
        elif not self._requests.is_between:
            steps += self._ask_for_more(is_new=is_new)
        return [*self._note_place(), *steps]

    def _take_acknowledgement(self, acknowledged: int, segment: Segment) -> list[Step]:
        """Forget what the server has; open the connection if it has agreed to another protocol."""
        assert self._stream is not None
        assert self._requests is not None
        assert self.held is not None
        if acknowledged > self._end + 1 or segment.flags & FIN:
            raise Lost
        if acknowledged > 0:
            count = min(acknowledged, len(self._stream.data))
            self._stream.forget(count)
            self._end = max(0, self._end - count)
            self._taken = max(0, self._taken - count)
        if self._requests.count == 1 and segment.sequence == self._ends.server_start and segment.payload.startswith(_SWITCHING):
            return self._open(0)
        return []

    # --- what the server sends ---------------------------------------------------------------------------------------

    def take_server(self, segment: Segment, now: float) -> list[Step]:
        """Take any segment of the server, which has passed."""
        self.last = now
        if segment.flags & RST:
            raise Lost
        self._ends.server_sent(segment)
        if not segment.flags & ACK:
            return []
        if self._stream is None:
            return self._begin(segment.acknowledgement) if self.phase is Phase.READING else []
        acknowledged = distance(self._stream.start, segment.acknowledgement)
        match self.phase:
            case Phase.READING if acknowledged not in (0, 1) or (segment.flags & SYN and acknowledged):
                # All that it can have got is a FIN.
                raise Lost
            case Phase.FOLLOWED:
                return self._take_acknowledgement(acknowledged, segment)
            case Phase.INJECTED:
                # Also here a FIN may have passed by itself.
                if acknowledged < 0 or acknowledged > self._end + 1:
                    raise Lost
                self._acknowledged = max(self._acknowledged, acknowledged)
                return self._open(self._end) if acknowledged >= self._end else []
            case Phase.REFUSED if segment.length and self._repeated < limits.REFUSALS_REPEATED:
                self._repeated += 1
                return [self._ends.as_client(self._stream.start + self._acknowledged, RST | ACK)]
            case _:
                return []

    def _begin(self, start: int) -> list[Step]:
        """Read what has come, now that it is known where the data begin."""
        waiting, self._waiting = self._waiting, []
        if waiting and self.held is not None and self.held >= FOLLOWED:
            return self._go_on_to_follow(start, waiting)
        for decided in self._decided:
            # A FIN may have passed by itself.
            if waiting and distance(decided.end, start) in (0, 1):
                return self._resume(decided.mark, waiting)
        self._stream = Stream(start)
        steps: list[Step] = []
        for segment in waiting:
            if self.phase is Phase.READING:
                steps += self._read(segment)
        return steps

    def _go_on_to_follow(self, start: int, waiting: list[Segment]) -> list[Step]:
        """Go on with a connection of HTTP that is not known any more, if one of the last notes says what comes at *start*."""
        self._stream = Stream(start)
        for decided in self._decided:
            # A FIN may have passed by itself.
            came = distance(decided.end, start)
            if decided.mark or not 0 <= came <= decided.left + 1:
                continue
            self.phase, self._stream.room = Phase.FOLLOWED, limits.FOLLOWED_DATA
            self._requests = HttpRequests(max(0, decided.left - came), in_chunks=decided.in_chunks)
            steps = self._note_place()
            for segment in waiting:
                if self.phase is Phase.FOLLOWED:
                    steps += self._follow(segment)
            return steps
        return self._refuse(None, Protocol.HTTP, _sentence(self._key, "nobody knows any more whether it is in the middle of a request"))

    def _resume(self, mark: int, waiting: list[Segment]) -> list[Step]:
        """Open a connection that an earlier daemon has allowed, and whose server has got all of it."""
        assert self.held is not None
        self.phase = Phase.OPENED
        steps: list[Step] = [Open(self._key, self.held, mark)]
        for segment in waiting:
            steps += self._ends.in_segments(segment.sequence, segment.payload, is_last=bool(segment.flags & FIN))
        return steps

    def _open(self, at: int) -> list[Step]:
        """Open the connection, whose server has all before octet *at*, and send what came meanwhile."""
        assert self._stream is not None
        assert self.held is not None
        # The rules may be others by now, and the mark of the earlier ones opens nothing any more.
        try:
            verdict = self._ask(self._name or None, goes_on=True)
        except Lost:
            # The server's next acknowledgement asks again.
            return []
        if isinstance(verdict, Denied):
            return self._refuse(self._name or None, self._reader.protocol, verdict.sentence)
        self.phase = Phase.OPENED
        more = [] if self._known <= at else list(self._inject_from(at, self._known))
        return [Open(self._key, self.held, verdict.mark, self._name), *more]

    # --- time --------------------------------------------------------------------------------------------------------

    def has_run_out(self, now: float) -> bool:
        """Return whether the connection may be forgotten."""
        return now - self.last > (limits.FOLLOWED_FLOW_IDLE if self.phase is Phase.FOLLOWED else limits.LOOKED_FLOW_IDLE)

    def expire(self, now: float) -> list[Step]:
        """Refuse a connection that has begun to send and did not name its server in time; send again what only we have."""
        if self.phase in (Phase.INJECTED, Phase.FOLLOWED) and self._acknowledged < min(self._taken, self._end):
            return list(self._inject_from(self._acknowledged, self._end))[: limits.INJECTED_AT_ONCE]
        is_late = self._begun is not None and now - self._begun > limits.FIRST_DATA_PATIENCE
        if self.phase is not Phase.READING or self._stream is None or not is_late:
            return []
        seconds = limits.FIRST_DATA_PATIENCE
        return self._refuse(
            None, self._reader.protocol, _sentence(self._key, f"its first data did not name a server within {seconds:.0f} s")
        )

    # --- refusing ----------------------------------------------------------------------------------------------------

    def _refuse(self, name: str | None, protocol: Protocol, sentence: str) -> list[Step]:
        assert self.sender is not None
        self.phase = Phase.REFUSED
        self._told = refusals.answer(protocol, sentence)
        refusal = Refusal(self.sender, name, protocol, self._key.server, self._key.server_port, sentence)
        return [refusal, *self._tell()]

    def _tell(self) -> Iterator[Step]:
        """Yield what ends the connection on both sides."""
        assert self._stream is not None
        acknowledgement = self._stream.start + self._known
        if self._told:
            yield self._ends.as_server(acknowledgement, PSH | FIN | ACK, self._told)
        else:
            yield self._ends.as_server(acknowledgement, RST | ACK)
        yield self._ends.as_client(self._stream.start + self._acknowledged, RST | ACK)

    # --- sending as the client ---------------------------------------------------------------------------------------

    def _inject_from(self, at: int, end: int) -> Iterator[Step]:
        """Yield the segments that carry the stream from octet *at* to octet *end*; a FIN counts as one."""
        assert self._stream is not None
        payload = bytes(self._stream.data[at:end])
        yield from self._ends.in_segments(
            self._stream.start + at, payload, is_last=self._stream.is_complete and end > len(self._stream.data)
        )


def _sentence(key: FlowKey, reason: str) -> str:
    address = f"[{key.server}]" if key.server.version == 6 else str(key.server)
    return f"connection to {address}:{key.server_port} is refused: {reason}"
