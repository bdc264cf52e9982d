"""A client, a server, and the kernel between them, as values: packets are lost, doubled and come in another order by chance."""

from ipaddress import ip_address

from netcore.look import segments
from netcore.look.flows import Flows
from netcore.look.segments import ACK, FIN, PSH, RST, SYN, Segment, distance, timestamps_option
from netcore.look.steps import Allowed, Denied, Forge, Inject, Open, Refusal, Sender

ALLOWED, EVIL = "a.example", "evil.example"
HELD, OPENED = 0x0100_0007, 0x8000_0001
ENDS = {4: (ip_address("10.0.0.2"), ip_address("192.0.2.1")), 6: (ip_address("fd00::2"), ip_address("2001:db8::1"))}
CLIENT_PORT, SERVER_PORT = 40_000, 443


class Connection:
    """One connection through a looker. *allowed*: names. *port*: of the server."""

    def __init__(self, *, family=4, start=0xFFFF_FF00, port=SERVER_PORT, allowed=(ALLOWED,), size=1460, stamps=False):
        self.asked, self.asked_again = [], []
        self.allowed = allowed
        self.flows = Flows(self.allows)
        self.client, self.server = ENDS[family]
        self.port = port
        self.start = start
        self.size = size
        self.stamps = stamps
        self.sender = Sender(2, bytes(6), self.client)
        self.now = 0.0
        self.held = HELD
        self.mark = HELD
        self.opened = OPENED
        self.server_next = 9001
        self.got = {}
        self.read = bytearray()
        self.is_reset = False
        self.end = None
        self.told = []
        self.refusals = []
        self.sent = []

    def allows(self, asked):
        (self.asked_again if asked.goes_on else self.asked).append(asked.name)
        assert (asked.sender, asked.address, asked.port) == (self.sender, self.server, self.port)
        return Allowed(self.opened) if asked.name in self.allowed else Denied(f"may not reach {asked.name}")

    # --- the server --------------------------------------------------------------------------------------------------

    @property
    def received(self):
        """What the server's program has been given."""
        while len(self.read) in self.got:
            self.read.append(self.got.pop(len(self.read)))
        return bytes(self.read)

    @property
    def acknowledgement(self):
        count = len(self.received)
        return (self.start + count + (count == self.end)) & 0xFFFF_FFFF

    def serve(self, packet):
        """Take a packet as the server does: the first octets that come for a place stay."""
        segment = segments.read(packet)
        assert (segment.source, segment.source_port) == (self.client, CLIENT_PORT)
        assert (segment.destination, segment.destination_port) == (self.server, self.port)
        at = distance(self.start, segment.sequence)
        if segment.flags & RST:
            self.is_reset |= segment.sequence == self.acknowledgement
            return
        known = len(self.received)
        for place, octet in enumerate(segment.payload, at):
            if place >= known:
                self.got.setdefault(place, octet)
        if segment.flags & FIN:
            self.end = at + len(segment.payload)

    def segment_of_server(self, flags=ACK, payload=b"", acknowledgement=None, options=b""):
        acknowledgement = self.acknowledgement if acknowledgement is None else acknowledgement
        return Segment(
            source=self.server, destination=self.client, source_port=self.port, destination_port=CLIENT_PORT, sequence=self.server_next,
            acknowledgement=acknowledgement, flags=flags, payload=payload, length=len(payload), options=options,
        )  # fmt: skip

    # --- the kernel --------------------------------------------------------------------------------------------------

    def do(self, steps, lose=lambda: False):
        """Carry out *steps*; the server answers each packet that reaches it if *lose* does not."""
        for step in steps:
            self.sent.append(step)
            match step:
                case Inject(packet, destination):
                    assert destination == self.server
                    assert len(packet) <= 1280
                    if not lose():
                        self.serve(packet)
                        self.acknowledge(lose)
                case Forge(packet, destination):
                    assert destination == self.client
                    self.told.append(segments.read(packet))
                case Open(_, held, mark):
                    if self.mark == held:
                        self.mark = mark
                case Refusal():
                    self.refusals.append(step)

    def shake_hands(self):
        options = b"\2\4" + self.size.to_bytes(2, "big")
        self.do(self.flows.take_server(self.segment_of_server(SYN | ACK, options=options, acknowledgement=self.start), self.now))
        self.server_next += 1

    def acknowledge(self, lose=lambda: False):
        """Send an acknowledgement of the server, which the looker sees while the connection is held."""
        if self.mark != OPENED and not lose():
            self.do(self.flows.take_server(self.segment_of_server(), self.now), lose)

    def segment(self, at, payload, flags=ACK | PSH):
        return Segment(
            source=self.client, destination=self.server, source_port=CLIENT_PORT, destination_port=self.port,
            sequence=(self.start + at) & 0xFFFF_FFFF, acknowledgement=self.server_next, flags=flags, payload=payload, length=len(payload),
            options=timestamps_option(7, 8) if self.stamps else b"",
        )  # fmt: skip

    def send(self, at, payload, flags=ACK | PSH, lose=lambda: False):
        """Send a segment of the client: an open connection is plain routing."""
        segment = self.segment(at, payload, flags)
        if self.mark == OPENED:
            self.serve(segments.write(segment))
            return
        self.do(self.flows.take_client(segment, self.mark, self.sender, self.now), lose)

    @property
    def is_open(self):
        return self.mark == OPENED
