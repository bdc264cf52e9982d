"""What a daemon had read and not answered is found in its memory by the next one."""

import os
import socket

import pytest

from resolver.dns_client import Client
from resolver.engine.view import View
from resolver.transport import in_hand
from resolver.transport.batch import Batch, LoneSocket
from resolver.transport.in_hand import InHand, Unanswered, as_query

QUESTION = b"\3web\0\0\1\0\1"
QUERY = b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + QUESTION
RESPONSE = b"\x12\x34\x85\x80\0\1\0\1\0\0\0\0" + QUESTION + b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4\n\0\0\2"


@pytest.fixture
def memory():
    descriptor = in_hand.create()
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def sockets():
    """A listener and a client that is connected to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        listener.bind(("127.0.0.1", 0))
        client.connect(listener.getsockname())
        yield listener, client


def peer_of(client):
    host, port = client.getsockname()
    return socket.AF_INET.to_bytes(2, "little") + port.to_bytes(2, "big") + socket.inet_aton(host) + bytes(8)


def read_by(memory, listener, *queries):
    here = InHand(memory)
    here.enroll(listener)
    batch = Batch(socket.AF_INET, here.batch(0))
    found = batch.receive(listener.fileno(), 8)
    assert [octets for octets, _ in found] == [*queries]
    return here, batch


def test_queries_that_were_read_are_found_until_they_are_done(memory, sockets):
    listener, client = sockets
    client.send(QUERY)
    client.send(QUERY[:1] + b"\x35" + QUERY[2:])
    here, batch = read_by(memory, listener, QUERY, QUERY[:1] + b"\x35" + QUERY[2:])
    first, second = in_hand.read(memory, 0.0)
    assert first == Unanswered(in_hand.cookie(listener), QUERY, peer_of(client))
    assert second.octets[:2] == b"\x12\x35"
    batch.done(2)
    assert in_hand.read(memory, 0.0) == []
    assert here


def test_queries_of_many_sockets_that_were_read_one_by_one_are_each_found_with_their_own(memory, sockets):
    listener, client = sockets
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        other.bind(("127.0.0.1", 0))
        asker.connect(other.getsockname())
        here = InHand(memory)
        batch = Batch(socket.AF_INET, here.batch(0))
        for sock in (listener, other):
            here.enroll(sock)
        # Read in full first, so that everything has been used for something else.
        client.send(b"\0\1" + QUERY[2:])
        assert len(batch.receive(listener.fileno(), 8)) == 1
        batch.done(1)
        client.send(b"")
        asker.send(QUERY)
        sources = [LoneSocket(sock.fileno(), {}.get, Client(View()), None) for sock in (listener, other, listener)]
        count, (_, unknown), _ = batch.answer_each(sources)
        assert count == 2
        assert in_hand.read(memory, 0.0) == [Unanswered(in_hand.cookie(other), QUERY, peer_of(asker))]
        batch.answer_at(unknown, RESPONSE)
        # It was sent, which is not noted yet: one answer too many is no harm.
        assert [found.octets for found in in_hand.read(memory, 0.0)] == [QUERY]
        batch.done(2)
        assert in_hand.read(memory, 0.0) == []
        # What is read in full again is of one socket, whatever the slots say.
        client.send(QUERY)
        assert len(batch.receive(listener.fileno(), 8)) == 1
        assert in_hand.read(memory, 0.0) == [Unanswered(in_hand.cookie(listener), QUERY, peer_of(client))]


def test_nothing_stale_is_taken_for_a_query_of_the_socket_that_is_read_now(memory, sockets):
    listener, client = sockets
    client.send(QUERY)
    here, batch = read_by(memory, listener, QUERY)
    batch.done(1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        here.enroll(other)
        assert batch.receive(other.fileno(), 8) == []
        assert in_hand.read(memory, 0.0) == []


def test_a_response_that_was_written_and_not_sent_gives_its_query(memory, sockets):
    listener, client = sockets
    client.send(QUERY)
    here, batch = read_by(memory, listener, QUERY)
    here.batch(0).octets[: len(RESPONSE)] = RESPONSE
    (found,) = in_hand.read(memory, 0.0)
    assert found.octets == QUERY
    assert batch


@pytest.mark.parametrize(
    ("received", "slot", "query"),
    [
        (QUERY, QUERY, QUERY),
        (RESPONSE[: len(QUERY)], RESPONSE, QUERY),
        (QUERY[:11], QUERY[:11], None),
        (RESPONSE[:12], RESPONSE[:12] + b"\x3fweb", None),
        (RESPONSE[:12], RESPONSE[:12], None),
    ],
)
def test_what_a_slot_holds_may_be_query_response_or_nothing(received, slot, query):
    assert as_query(received, slot) == query


def test_queries_that_wait_for_an_upstream_are_found_until_they_are_answered_or_old(memory, sockets):
    listener, client = sockets
    now = 100.0
    here = InHand(memory, lambda: now)
    here.enroll(listener)
    here.wait(listener.fileno(), [(QUERY, peer_of(client))])
    assert in_hand.read(memory, 101.0) == [Unanswered(in_hand.cookie(listener), QUERY, peer_of(client))]
    assert in_hand.read(memory, 106.0) == []
    here.answered([(RESPONSE, peer_of(client))])
    assert in_hand.read(memory, 101.0) == []
    # An answer to something else is no matter.
    here.answered([(RESPONSE, peer_of(client))])


def test_many_that_are_never_answered_take_no_more_room(memory, sockets):
    listener, client = sockets
    here = InHand(memory, lambda: 0.0)
    here.enroll(listener)
    for number in range(10_000):
        here.wait(listener.fileno(), [(number.to_bytes(2, "big") + QUERY[2:], peer_of(client))])
    assert len(in_hand.read(memory, 0.0)) == len(here._slots) == 4096
    here.strike(listener.fileno())
    # A query of a socket that is closed is nobody's; those that wait know their socket by its cookie.
    here.wait(listener.fileno(), [(QUERY, peer_of(client))])
    assert len(in_hand.read(memory, 0.0)) == 4095


def test_memory_of_another_form_is_not_read(memory):
    os.truncate(memory, 100)
    assert in_hand.read(memory, 0.0) == []
