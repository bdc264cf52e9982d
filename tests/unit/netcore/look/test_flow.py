"""One connection: what is sent in its place, when it is opened, how it is refused, and what a hostile client gets."""

import random

import pytest

from netcore import limits
from netcore.desired.look_rules import FOLLOWED, NUMBER
from netcore.look import decisions, segments
from netcore.look.findings import Name, Protocol
from netcore.look.first_data import FirstDataReader
from netcore.look.flows import Flows
from netcore.look.segments import ACK, FIN, PSH, RST, SYN, distance
from netcore.look.steps import Decide, Inject, Open
from tests.support import client_hellos as tls
from tests.unit.netcore.look.simulation import ALLOWED, EVIL, HELD, OPENED, Connection

UPLOAD = f"PUT / HTTP/1.1\r\nHost: {ALLOWED}\r\nContent-Length: 3000\r\n\r\n".encode() + b"x" * 3000
HELLO, EVIL_HELLO = tls.hello(ALLOWED.encode()), tls.hello(EVIL.encode())
REQUEST = f"GET / HTTP/1.1\r\nHost: {ALLOWED}\r\n\r\n".encode()
REQUESTS = REQUEST + UPLOAD + REQUEST
EVIL_REQUEST = REQUEST.replace(ALLOWED.encode(), EVIL.encode())


def injected(connection):
    return [segments.read(step.packet) for step in connection.sent if isinstance(step, Inject)]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("octets", [HELLO, tls.hello(ALLOWED.encode(), tls.padding(5000), size=700)])
@pytest.mark.parametrize("piece", [1, 100, 20_000])
def test_an_allowed_connection_is_opened_once_the_server_has_all_of_it(family, octets, piece):
    connection = Connection(family=family)
    connection.shake_hands()
    for at in range(0, len(octets), piece):
        assert connection.received == b""
        connection.send(at, octets[at : at + piece])
    assert connection.is_open
    assert connection.received == octets
    assert connection.asked == [ALLOWED]
    connection.send(len(octets), b"plain routing")
    assert connection.received == octets + b"plain routing"


def test_the_copy_is_cut_to_what_the_server_and_every_path_take():
    for size, stamps, largest in ((1460, False, 1220), (1460, True, 1208), (600, True, 588), (9000, False, 1220)):
        connection = Connection(size=size, stamps=stamps)
        connection.shake_hands()
        octets = tls.hello(ALLOWED.encode(), tls.padding(5000))
        connection.send(0, octets)
        assert max(len(segment.payload) for segment in injected(connection)) == largest
        assert {segment.timestamps for segment in injected(connection)} == {(7, 8) if stamps else None}
        assert connection.received == octets


def test_it_is_not_opened_before_the_server_has_acknowledged_all():
    connection = Connection()
    connection.shake_hands()
    connection.send(0, HELLO, lose=lambda: True)
    assert not connection.is_open
    connection.acknowledge()
    assert not connection.is_open
    connection.send(0, HELLO[:10])
    assert connection.received == HELLO
    assert connection.is_open
    connection = Connection()
    connection.shake_hands()
    connection.send(0, HELLO, lose=lambda: True)
    connection.do(connection.flows.take_server(connection.segment_of_server(acknowledgement=connection.start + len(HELLO) - 1), 0))
    assert not connection.is_open


def test_what_comes_before_it_is_open_is_sent_then():
    connection = Connection()
    connection.shake_hands()
    connection.send(0, HELLO, lose=lambda: True)
    connection.send(len(HELLO), b"early", lose=lambda: True)
    assert connection.received == b""
    connection.send(0, HELLO)
    assert connection.is_open
    assert connection.received == HELLO + b"early"
    # It was on its way through the log when the connection was opened.
    steps = connection.flows.take_client(connection.segment(len(HELLO) + 5, b"late", ACK | FIN), HELD, connection.sender, 0)
    connection.do(steps)
    assert connection.received == HELLO + b"earlylate"
    assert not [step for step in steps if isinstance(step, Open)]


def test_the_end_goes_with_the_data():
    connection = Connection()
    connection.shake_hands()
    connection.send(0, REQUEST, ACK | FIN)
    assert connection.received == REQUEST
    assert connection.end == len(REQUEST)


def test_an_end_that_passed_by_itself_does_no_harm():
    connection = Connection()
    connection.shake_hands()
    connection.end = len(HELLO)
    connection.send(0, HELLO)
    assert connection.is_open
    connection = Connection()
    connection.shake_hands()
    connection.end = len(REQUEST)
    connection.send(0, REQUEST)
    assert connection.received == REQUEST
    assert not connection.refusals


def test_urgent_data_are_ordinary_data():
    """Else the server would take an octet out of what was read."""
    connection = Connection()
    connection.shake_hands()
    connection.send(0, HELLO, ACK | PSH | 32)
    assert not [segment for segment in injected(connection) if segment.flags & 32]
    assert connection.is_open


@pytest.mark.parametrize("family", [4, 6])
def test_a_connection_whose_beginning_nobody_saw_is_asked_for(family):
    connection = Connection(family=family)
    connection.send(0, HELLO[:100], lose=lambda: True)
    connection.send(100, HELLO[100:], lose=lambda: True)
    assert connection.received == b""
    (probe, _) = injected(connection)
    assert (distance(connection.start, probe.sequence), probe.payload, probe.flags) == (-1, b"", ACK)
    connection.acknowledge()
    assert connection.is_open
    assert connection.received == HELLO
    assert max(len(segment.payload) for segment in injected(connection)) <= limits.SEGMENT_SIZE[family]


def test_only_the_server_says_where_the_data_begin():
    """The client sends two hellos, and wants the first one to end before what the server expects."""
    for start in (0, len(HELLO), 5):
        connection = Connection()
        connection.send(-len(HELLO), HELLO)
        connection.send(0, EVIL_HELLO)
        connection.send(start, EVIL_HELLO)
        connection.acknowledge()
        assert connection.received == b""
        assert not connection.is_open


def test_what_does_not_fit_the_server_is_begun_anew():
    connection = Connection()
    connection.shake_hands()
    connection.send(0, HELLO[:50])
    connection.do(connection.flows.take_server(connection.segment_of_server(acknowledgement=connection.start + 500), 0))
    assert len(connection.flows) == 0
    connection.send(0, HELLO)
    assert connection.received == HELLO
    assert connection.is_open


def test_a_new_connection_between_the_same_ends_is_another_one():
    connection = Connection()
    connection.shake_hands()
    connection.send(0, HELLO, lose=lambda: True)
    # All of it was acknowledged, and meanwhile it was begun anew: what is decided opens nothing.
    connection.mark = HELD + 1
    connection.do(connection.flows.take_server(connection.segment_of_server(acknowledgement=connection.start + len(HELLO)), 0))
    assert not connection.is_open
    connection.send(0, EVIL_HELLO)
    assert connection.received == b""
    assert [refusal.name for refusal in connection.refusals] == [EVIL]


def refused(octets, *, family=4, stamps=False, port=443, flags=ACK | PSH):
    connection = Connection(family=family, stamps=stamps, port=port)
    connection.shake_hands()
    connection.send(0, octets, flags)
    assert connection.received == b""
    assert not connection.is_open
    assert connection.is_reset
    (refusal,) = connection.refusals
    return connection, refusal


@pytest.mark.parametrize("stamps", [False, True])
@pytest.mark.parametrize("family", [4, 6])
def test_refusals_are_in_the_words_of_the_protocol(family, stamps):
    connection, refusal = refused(EVIL_HELLO, family=family, stamps=stamps)
    (told,) = connection.told
    assert (told.payload.hex(), told.flags) == ("15030300020231", FIN | PSH | ACK)
    assert (told.sequence, distance(connection.start, told.acknowledgement)) == (connection.server_next, len(EVIL_HELLO))
    assert told.timestamps == ((8, 7) if stamps else None)
    assert (refusal.name, refusal.protocol, refusal.sentence) == (EVIL, Protocol.TLS, f"may not reach {EVIL}")
    connection, refusal = refused(REQUEST.replace(ALLOWED.encode(), EVIL.encode()), family=family, stamps=stamps, port=80)
    (told,) = connection.told
    head, _, body = told.payload.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert body == f"may not reach {EVIL}\n".encode()
    connection, refusal = refused(b"\0\0\0\x08\4\xd2\x16\x2f", family=family, stamps=stamps)
    (told,) = connection.told
    assert (told.flags, told.payload) == (RST | ACK, b"")
    assert (refusal.name, refusal.protocol) == (None, Protocol.OTHER)


def test_the_reason_is_said():
    _, refusal = refused(b"\x17" + EVIL_HELLO[1:])
    assert refusal.sentence == "connection to 192.0.2.1:443 is refused: it is TLS that begins without a ClientHello"
    _, refusal = refused(b"GET / HTTP/1.1\r\n\r\n", family=6)
    assert refusal.sentence == "connection to [2001:db8::1]:443 is refused: there is no Host header"
    _, refusal = refused(HELLO[:40], flags=FIN | ACK)
    assert "its data end before they name a server" in refusal.sentence


def test_changed_data_are_refused():
    connection = Connection()
    connection.shake_hands()
    connection.send(0, HELLO[:100])
    connection.send(50, bytes(100))
    assert connection.received == b""
    assert connection.is_reset
    assert "other octets" in connection.refusals[0].sentence
    connection = Connection()
    connection.shake_hands()
    connection.send(0, HELLO, lose=lambda: True)
    connection.send(0, EVIL_HELLO)
    assert connection.received == b""
    assert connection.is_reset
    assert not connection.is_open


def test_a_client_that_waits_is_told_what_has_come():
    connection = Connection()
    connection.shake_hands()
    connection.send(0, HELLO[:10])
    assert connection.told == []
    connection.send(0, HELLO[:10])
    (told,) = connection.told
    assert (told.flags, told.payload, distance(connection.start, told.acknowledgement), told.sequence) == (
        ACK,
        b"",
        10,
        connection.server_next,
    )
    for at in range(10, 10 + limits.ACKNOWLEDGE_AFTER_SEGMENTS):
        connection.send(at, HELLO[at : at + 1])
    assert distance(connection.start, connection.told[-1].acknowledgement) == 10 + limits.ACKNOWLEDGE_AFTER_SEGMENTS
    assert connection.received == b""


def test_what_the_client_has_no_more_is_sent_again_from_here():
    connection = Connection()
    connection.shake_hands()
    connection.send(0, HELLO[:50])
    connection.send(0, HELLO[:50])
    connection.send(50, HELLO[50:], lose=lambda: True)
    assert connection.received == b""
    connection.do(connection.flows.expire(1.0), lose=lambda: True)
    connection.do(connection.flows.expire(2.0))
    assert connection.received == HELLO
    assert connection.is_open
    assert connection.flows.expire(3.0) == []


def test_what_the_client_still_has_is_not():
    connection = Connection()
    connection.shake_hands()
    connection.send(0, HELLO, lose=lambda: True)
    assert connection.flows.expire(1.0) == []


def test_a_refusal_is_repeated_a_few_times():
    connection, _ = refused(EVIL_HELLO)
    for _ in range(20):
        connection.send(0, EVIL_HELLO)
    assert len(connection.told) == 1 + limits.REFUSALS_REPEATED
    assert len(connection.refusals) == 1


def test_who_does_not_name_a_server_in_time_is_refused():
    connection = Connection()
    connection.shake_hands()
    connection.do(connection.flows.expire(limits.LOOKED_FLOW_IDLE + 1))
    assert connection.refusals == []
    connection.now = 10.0
    connection.send(0, HELLO[:-1])
    connection.do(connection.flows.expire(10 + limits.FIRST_DATA_PATIENCE - 1))
    assert connection.refusals == []
    connection.do(connection.flows.expire(10 + limits.FIRST_DATA_PATIENCE + 1))
    assert "did not name a server within 30 s" in connection.refusals[0].sentence
    connection.send(len(HELLO) - 1, HELLO[-1:])
    assert connection.received == b""
    connection.do(connection.flows.expire(11 + limits.LOOKED_FLOW_IDLE))
    assert len(connection.flows) == 0


def test_segments_that_no_client_sends_are_left_out():
    connection = Connection()
    connection.shake_hands()
    for flags in (SYN, RST | ACK, PSH, 0):
        connection.send(0, EVIL_HELLO, flags)
    connection.send(0, HELLO)
    assert connection.received == HELLO


def test_nothing_is_lost_on_a_bad_network():
    for seed in range(150):
        chance = random.Random(seed)

        def lose(chance=chance):
            return chance.random() < 0.3

        connection = Connection(family=chance.choice((4, 6)), start=chance.randrange(1 << 32))
        octets = chance.choice((HELLO, REQUESTS, tls.hello(ALLOWED.encode(), tls.padding(5000), size=700)))
        if not lose():
            connection.shake_hands()
        for _ in range(500):
            if connection.is_open or connection.received == REQUESTS:
                break
            acknowledged = len(connection.received)
            pieces = [(at, octets[at : at + 500]) for at in range(acknowledged, len(octets), 500)]
            pieces = pieces or [(len(octets), b"more")]
            chance.shuffle(pieces)
            for at, piece in pieces:
                if not lose():
                    connection.send(at, piece, lose=lose)
            if not lose():
                connection.acknowledge(lose)
        assert connection.is_open == (octets is not REQUESTS), seed
        assert connection.received.startswith(octets), seed
        assert not connection.refusals


def test_a_hostile_client_reaches_nobody_but_whom_it_may():
    """Segments of two hellos at any place, changed, overlapping, doubled: what the server reads names the allowed one, or nothing."""
    opened = 0
    for seed in range(600):
        chance = random.Random(seed)
        connection = Connection(start=chance.randrange(1 << 32))
        if chance.random() < 0.5:
            connection.shake_hands()
        sources = [HELLO, EVIL_HELLO, HELLO + EVIL_HELLO, EVIL_HELLO + HELLO, HELLO[:60] + EVIL_HELLO[60:]]
        usual = chance.choice(sources)
        for _ in range(chance.randrange(1, 12)):
            octets = usual if chance.random() < 0.8 else chance.choice(sources)
            at, end = sorted(
                (chance.choice((0, chance.randrange(len(octets)))), chance.choice((len(octets), chance.randrange(len(octets)))))
            )
            shift = chance.choice((0, 0, 0, 0, 1, -1, len(HELLO), -len(HELLO), 1 << 31))
            flags = chance.choice((ACK, ACK | PSH, ACK | FIN, ACK | PSH | 32, SYN, RST | ACK))
            if connection.is_open:
                break
            connection.send(at + shift, octets[at:end], flags, lose=lambda chance=chance: chance.random() < 0.2)
            if chance.random() < 0.3:
                connection.acknowledge()
        finding = FirstDataReader().feed(connection.received)
        if connection.received:
            assert connection.asked == [ALLOWED], seed
        assert not (isinstance(finding, Name) and finding.name != ALLOWED), seed
        assert connection.mark != OPENED or isinstance(finding, Name), seed
        opened += connection.is_open
    assert opened > 20


def left_by(notes):
    """What the next daemon finds of *notes*."""
    found = {}
    for note in notes:
        key, held, decided = decisions.decode(decisions.encode(note))
        by_mark = found.setdefault(key, {})
        by_mark[held] = (*by_mark.get(held, ()), decided)
    return found


def begun_by_an_earlier_daemon(*, lost=False):
    """Return a connection that was allowed, sent, and not opened, and what that daemon left of it."""
    connection = Connection()
    connection.shake_hands()
    steps = connection.flows.take_client(connection.segment(0, HELLO), HELD, connection.sender, 0)
    (decision, *sent) = steps
    connection.do(sent, lose=lambda: True)
    if not lost:
        for step in sent:
            connection.serve(step.packet)
    return connection, left_by([decision])


def test_the_next_daemon_opens_what_was_allowed():
    connection, left = begun_by_an_earlier_daemon()
    connection.flows = Flows(connection.allows, left)
    connection.send(len(HELLO), b"and more")
    assert connection.is_open
    assert connection.received == HELLO + b"and more"
    assert connection.asked == [ALLOWED]


def test_the_next_daemon_reads_what_the_server_has_not_got():
    connection, left = begun_by_an_earlier_daemon(lost=True)
    connection.flows = Flows(connection.allows, left)
    connection.send(0, HELLO)
    connection.acknowledge()
    assert connection.received == HELLO
    assert connection.asked == [ALLOWED, ALLOWED]
    assert connection.is_open


def test_without_what_it_left_nothing_is_opened():
    connection, _ = begun_by_an_earlier_daemon()
    connection.flows = Flows(connection.allows)
    connection.send(len(HELLO), b"\x17\3\3\0\1x")
    connection.acknowledge()
    assert not connection.is_open
    assert connection.received == HELLO


def test_rules_that_change_before_it_is_open_count():
    for allowed, mark in (((ALLOWED,), OPENED + 1), ((), None)):
        connection = Connection()
        connection.shake_hands()
        connection.send(0, HELLO, lose=lambda: True)
        connection.allowed, connection.opened = allowed, OPENED + 1
        connection.send(0, HELLO)
        if mark is None:
            assert [refusal.name for refusal in connection.refusals] == [ALLOWED]
            assert connection.is_reset
        else:
            assert (connection.mark, connection.refusals) == (mark, [])


@pytest.mark.parametrize("way", ["mark", "end", "beginning", "late"])
def test_what_an_earlier_daemon_allowed_is_no_way_in_for_another_connection(way):
    connection, left = begun_by_an_earlier_daemon()
    flows = connection.flows = Flows(connection.allows, left)
    # Another connection between the same ends, that begins where the allowed data ended.
    connection.start = connection.start + len(HELLO) + (way == "end") * 2
    connection.got, connection.read = {}, bytearray()
    match way:
        case "mark":
            connection.mark = HELD + 1
            connection.send(0, EVIL_HELLO)
            connection.mark = HELD
        case "beginning":
            connection.shake_hands()
        case "late":
            flows.expire(0.0)
            flows.expire(limits.LOOKED_FLOW_IDLE + 1)
    connection.send(0, EVIL_HELLO)
    connection.acknowledge()
    assert connection.received == b""
    assert not connection.is_open


def test_damaged_records_are_left_out():
    _, left = begun_by_an_earlier_daemon()
    ((key, by_mark),) = left.items()
    ((held, (decided,)),) = by_mark.items()
    record = decisions.encode(Decide(key, held, *decided))
    assert len(record) == decisions.RECORD_LENGTH
    assert decisions.decode(record) == (key, held, decided)
    for at in range(62):
        assert decisions.decode(record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :]) is None
    assert decisions.decode(record[:-1]) is None
    assert decisions.decode(bytes(64)) is None


# --- HTTP -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("piece", [1, 100, 20_000])
def test_each_request_of_a_connection_is_read_before_the_server_gets_it(family, piece):
    connection = Connection(family=family, port=80)
    connection.shake_hands()
    for at in range(0, len(REQUESTS), piece):
        connection.send(at, REQUESTS[at : at + piece])
    assert connection.received == REQUESTS
    assert (connection.asked, connection.asked_again) == ([ALLOWED], [ALLOWED] * 2)
    assert connection.mark == FOLLOWED | (HELD & NUMBER)
    connection.send(len(REQUESTS), EVIL_REQUEST[:20])
    assert not connection.refusals
    connection.send(len(REQUESTS) + 20, EVIL_REQUEST[20:])
    assert [refusal.name for refusal in connection.refusals] == [EVIL]
    assert connection.received == REQUESTS
    assert connection.is_reset
    assert connection.told[-1].payload.startswith(b"HTTP/1.1 403 ")


def test_a_request_that_is_refused_takes_those_beside_it_along():
    connection = Connection(port=80)
    connection.shake_hands()
    connection.send(0, REQUEST + EVIL_REQUEST)
    assert (connection.received, connection.mark, len(connection.refusals)) == (b"", HELD, 1)


def test_a_request_is_no_longer_in_memory_when_the_server_has_it():
    connection = Connection(port=80)
    connection.shake_hands()
    for number in range(300):
        connection.send(number * len(UPLOAD), UPLOAD)
    assert connection.received == UPLOAD * 300
    (flow,) = connection.flows._all()
    assert flow[1].octets == 0


def after_a_kill(connection):
    """The next daemon, which knows what the last one has noted last."""
    notes = [step for step in connection.sent if isinstance(step, Decide)]
    connection.flows = Flows(connection.allows, left_by(notes[-2:]))


def test_a_connection_goes_on_after_a_kill_between_two_requests():
    connection = Connection(port=80)
    connection.shake_hands()
    connection.send(0, REQUESTS)
    after_a_kill(connection)
    connection.send(len(REQUESTS), UPLOAD)
    connection.acknowledge()
    assert connection.received == REQUESTS + UPLOAD
    assert not connection.refusals


@pytest.mark.parametrize("before", [b"", REQUEST])
@pytest.mark.parametrize("upload", [REQUEST, UPLOAD])
def test_what_was_noted_and_not_sent_is_read_again(before, upload):
    connection = Connection(port=80)
    connection.shake_hands()
    if before:
        connection.send(0, before)
    connection.send(len(before), upload, lose=lambda: True)
    assert connection.received == before
    after_a_kill(connection)
    connection.send(len(before), upload)
    connection.acknowledge()
    connection.send(len(before + upload), EVIL_REQUEST)
    assert connection.received == before + upload
    assert [refusal.name for refusal in connection.refusals] == [EVIL]


CHUNKED = f"POST / HTTP/1.1\r\nHost: {ALLOWED}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


@pytest.mark.parametrize("left", [500, 1])
@pytest.mark.parametrize("upload", [UPLOAD, CHUNKED + b"bb8\r\n" + b"x" * 3000])
def test_a_body_goes_on_after_a_kill(upload, left):
    """What is left of it is body, whatever it looks like; what comes behind is read."""
    connection = Connection(port=80)
    connection.shake_hands()
    upload = upload[:-left] + EVIL_REQUEST.ljust(left, b"y")[:left]
    connection.send(0, REQUEST + upload[: -left - 100])
    connection.send(len(REQUEST + upload) - left - 100, upload[-left - 100 : -left])
    for _ in range(2):
        after_a_kill(connection)
        connection.send(len(REQUEST + upload) - left, upload[-left:])
        connection.acknowledge()
        assert connection.received == REQUEST + upload
        assert not connection.refusals
    behind = b"\r\n0\r\n\r\n" if upload.startswith(CHUNKED) else b""
    connection.send(len(REQUEST + upload), behind + REQUEST)
    assert connection.received == REQUEST + upload + behind + REQUEST
    connection.send(len(REQUEST + upload + behind + REQUEST), EVIL_REQUEST)
    assert [refusal.name for refusal in connection.refusals] == [EVIL]
    assert connection.received == REQUEST + upload + behind + REQUEST


def test_a_long_body_is_noted_again(monkeypatch):
    monkeypatch.setattr(limits, "FOLLOWED_NOTED", 1000)
    connection = Connection(port=80)
    connection.shake_hands()
    for at in range(0, len(UPLOAD), 100):
        connection.send(at, UPLOAD[at : at + 100])
    assert connection.received == UPLOAD
    # Where the connection begins, behind the headers, and twice in the body.
    assert len([step for step in connection.sent if isinstance(step, Decide)]) == 4
    after_a_kill(connection)
    connection.send(len(UPLOAD), EVIL_REQUEST)
    connection.acknowledge()
    assert [refusal.name for refusal in connection.refusals] == [EVIL]


@pytest.mark.parametrize("octets", [REQUEST, EVIL_REQUEST, b"not HTTP at all", HELLO])
def test_in_the_middle_of_a_line_it_does_not(octets):
    """Who reads what comes then as a new request would read something else than the server."""
    connection = Connection(port=8080, allowed=(ALLOWED, None))
    connection.shake_hands()
    begun = REQUEST + CHUNKED + b"3\r\nabc\r\n5;"
    connection.send(0, begun)
    after_a_kill(connection)
    connection.send(len(begun), octets)
    connection.acknowledge()
    assert len(connection.refusals) == 1
    assert connection.received == begun
    assert not connection.is_open


def test_another_protocol_begins_only_when_the_server_has_agreed():
    upgrade = REQUEST[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    connection = Connection(port=80)
    connection.shake_hands()
    connection.send(0, upgrade)
    connection.do(connection.flows.take_server(connection.segment_of_server(ACK, b"HTTP/1.1 101 Switching Protocols\r\n"), 0))
    assert connection.is_open
    connection.send(len(upgrade), b"\x81\x05hello")
    assert connection.received == upgrade + b"\x81\x05hello"
    for answer, first in ((b"HTTP/1.1 200 OK\r\n", upgrade), (b"HTTP/1.1 101 Switching", REQUEST + upgrade)):
        connection = Connection(port=80)
        connection.shake_hands()
        connection.send(0, first)
        connection.do(connection.flows.take_server(connection.segment_of_server(ACK, answer), 0))
        assert not connection.is_open
        connection.send(len(first), b"\x81\x05hello")
        assert connection.received == first
        assert connection.refusals[0].name is None
