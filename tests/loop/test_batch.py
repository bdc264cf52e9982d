"""Datagrams in batches: both families, every size, who is answered at once and who is not."""

import socket

import pytest

from resolver import limits
from resolver.reply_cache import Reply
from resolver.transport.batch import LONGEST_SENT, Batch, packed, readable
from resolver.transport.in_hand import InHand
from tests.support.served import refusing_socket

FAMILIES = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


@pytest.fixture(params=FAMILIES, ids=["IPv4", "IPv6"])
def pair(request):
    """(batch, our socket, a client connected to it)."""
    family, address = request.param
    ours, client = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
    ours.bind((address, 0))
    client.connect(ours.getsockname())
    client.settimeout(20)
    yield Batch(family, InHand().batch(0)), ours, client
    ours.close()
    client.close()


@pytest.mark.parametrize("size", [0, 1, 2, 12, LONGEST_SENT - 1, LONGEST_SENT, LONGEST_SENT + 1, 60_000])
def test_every_size_is_received_whole(pair, size):
    batch, ours, client = pair
    sent = [bytes([number]) * size for number in (1, 2, 3)]
    for octets in sent:
        client.send(octets)
    got = batch.receive(ours.fileno(), limits.UDP_DRAIN)
    assert [octets for octets, _ in got] == sent
    assert {readable(peer)[:2] for _, peer in got} == {client.getsockname()[:2]}
    assert packed(got[0][1]) == socket.inet_pton(ours.family, client.getsockname()[0])
    for octets in sent:
        client.send(octets)
    count, rest, _ = batch.answer(ours.fileno(), {}, limits.UDP_DRAIN)
    assert (count, [octets for octets, _ in rest]) == (3, sent)


@pytest.mark.parametrize("size", [1, LONGEST_SENT, LONGEST_SENT + 1, 50_000])
def test_every_size_is_sent_whole_to_its_own_peer(pair, size):
    batch, ours, client = pair
    other = socket.socket(ours.family, socket.SOCK_DGRAM)
    other.connect(ours.getsockname())
    for one in (client, other):
        one.send(b"x")
    (_, first), (_, second) = batch.receive(ours.fileno(), 2)
    batch.send(ours, [(b"a" * size, first), (b"b", second), (b"c", first)])
    assert {client.recv(65_535), client.recv(65_535)} == {b"a" * size, b"c"}
    assert other.recv(65_535) == b"b"
    other.close()


@pytest.mark.parametrize("count", [1, 2, 64])
def test_known_queries_are_answered_between_unknown_ones(pair, count):
    batch, ours, client = pair
    replies = {b"known": Reply([b"\0\0answer"]), b"long": Reply([b"\0" * 600]), b"turn": Reply([b"\0\3one", b"\0\3two"])}
    queries = [(b"%02d" % number)[:2] + (b"known", b"new", b"turn", b"long")[number % 4] for number in range(count)]
    for octets in queries:
        client.send(octets)
    got, rest, rcodes = batch.answer(ours.fileno(), replies, limits.UDP_DRAIN)
    assert got == count
    # What does not fit over its query is left to the slower way.
    assert [octets for octets, _ in rest] == [octets for octets in queries if octets[2:] in (b"new", b"long")]
    answered = [client.recv(65_535) for octets in queries if octets[2:] in (b"known", b"turn")]
    for octets, reply in zip([octets for octets in queries if octets[2:] in (b"known", b"turn")], answered, strict=True):
        assert reply[:2] == octets[:2]
        assert reply[2:] in (b"\0\0answer", b"\0\3one", b"\0\3two")
    # Each reply counts how often it was sent, and those that are no NOERROR are told.
    of = [octets[2:] for octets in queries]
    assert (replies[b"known"].hits, replies[b"turn"].hits) == (of.count(b"known"), of.count(b"turn"))
    assert list(rcodes) == [3] * of.count(b"turn")


def test_nothing_there_is_nothing(pair):
    batch, ours, _ = pair
    assert batch.answer(ours.fileno(), {}, 8) == (0, [], ())
    assert batch.receive(ours.fileno(), 8) == []


def test_error_of_a_connected_socket_is_told():
    batch = Batch(socket.AF_INET, InHand().batch(0))
    with refusing_socket() as closed, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.connect(closed.getsockname())
        batch.send_connected(ours.fileno(), [b"x"])
        with pytest.raises(ConnectionRefusedError):
            batch.receive_connected(ours.fileno(), 8)
