"""What one read of a listener costs in system calls, and what these are given."""

import contextlib
import ctypes
import socket
from collections.abc import Iterator

import pytest

from resolver.dns_client import Client
from resolver.engine.view import View
from resolver.reply_cache import Reply
from resolver.transport import batch as module
from resolver.transport.batch import Batch, LoneSocket
from resolver.transport.in_hand import SLOTS, InHand

QUERY = b"\x12\x34\1\0\0\1\0\0\0\0\0\0\3web\0\0\1\0\1"
RESPONSE = QUERY[:2] + b"\x85\x80\0\1\0\1\0\0\0\0" + QUERY[12:] + b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4\n\0\0\2"


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A listener and a client that is connected to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        listener.bind(("127.0.0.1", 0))
        client.connect(listener.getsockname())
        client.settimeout(20)
        yield listener, client


@pytest.fixture
def calls(monkeypatch) -> list[tuple[str, tuple[object, ...]]]:
    """The system calls that are made from now on, with their arguments."""
    made: list[tuple[str, tuple[object, ...]]] = []
    for name in ("_recvmmsg", "_sendmmsg", "_receive_one", "_send_one"):
        call = getattr(module, name)

        def noted(*arguments, call=call, name=name):
            made.append((name, arguments))
            return call(*arguments)

        monkeypatch.setattr(module, name, noted)
    return made


def test_one_query_costs_a_call_to_read_and_one_to_answer(sockets, calls):
    listener, client = sockets
    batch = Batch(socket.AF_INET, InHand().batch(0))
    client.send(QUERY)
    assert batch.answer(listener.fileno(), {QUERY[2:]: Reply([RESPONSE[2:]])}, 8) == (1, [], ())
    batch.done(1)
    assert client.recv(512) == RESPONSE
    assert [name for name, _ in calls] == ["_recvmmsg", "_sendmmsg"]


def test_arguments_are_not_converted_and_no_pointer_is_cut(sockets, calls):
    assert module._recvmmsg.__kwdefaults__["call"].argtypes is None
    assert module._sendmmsg.__kwdefaults__["call"].argtypes is None
    listener, client = sockets
    batch = Batch(socket.AF_INET, InHand().batch(0))
    for reply in ({QUERY[2:]: Reply([RESPONSE[2:]])}, {}):
        client.send(QUERY)
        client.send(QUERY)
        for _, peer in batch.answer(listener.fileno(), reply, 8)[1]:
            batch.send(listener, [(RESPONSE, peer)])
        assert [client.recv(512) for _ in range(2)] == [RESPONSE, RESPONSE]
    batch.send_connected(client.fileno(), [QUERY, QUERY])
    assert len(batch.receive(listener.fileno(), 8)) == 2
    assert all(isinstance(arguments[1], ctypes.c_void_p) for _, arguments in calls)


class Nobody:
    """Takes responses that come later; none does."""

    def reply(self, peer: bytes, octets: bytes) -> None:
        raise AssertionError


Pairs = list[tuple[socket.socket, socket.socket]]


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    """As many listeners as one batch has slots, each with a client of its own."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(SLOTS):
            listener, client = (stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2))
            listener.bind(("127.0.0.1", 0))
            client.connect(listener.getsockname())
            client.settimeout(20)
            made.append((listener, client))
        yield made


def lone(pairs: Pairs, replies: dict[bytes, Reply]) -> list[LoneSocket]:
    return [LoneSocket(listener.fileno(), replies.get, Client(View()), Nobody()) for listener, _ in pairs]


def test_all_lone_sockets_are_read_before_one_is_answered(pairs, calls):
    batch, sources = Batch(socket.AF_INET, InHand().batch(0)), lone(pairs, {QUERY[2:]: Reply([RESPONSE[2:]])})
    for number, (_, client) in enumerate(pairs):
        client.send(number.to_bytes(2, "big") + QUERY[2:])
    assert batch.answer_each(sources) == (SLOTS, [], ())
    assert [client.recv(512) for _, client in pairs] == [number.to_bytes(2, "big") + RESPONSE[2:] for number in range(SLOTS)]
    assert [name for name, _ in calls] == ["_receive_one"] * SLOTS + ["_send_one"] * SLOTS
    # Nothing is made, or converted, for a pointer: it is what `byref` returned once.
    pointers = [arguments[1] for _, arguments in calls]
    assert {type(pointer) for pointer in pointers} == {type(ctypes.byref(ctypes.c_int()))}
    assert [source.client.queries for source in sources] == [1] * SLOTS


def test_a_lone_socket_has_one_query_read_at_a_time(pairs):
    replies = {QUERY[2:]: Reply([RESPONSE[2:]])}
    batch, (source, *_) = Batch(socket.AF_INET, InHand().batch(0)), lone(pairs, replies)
    client = pairs[0][1]
    client.send(QUERY)
    client.send(b"\x56\x78" + QUERY[2:])
    for identity in (QUERY[:2], b"\x56\x78"):
        assert batch.answer_each([source]) == (1, [], ())
        assert client.recv(512) == identity + RESPONSE[2:]
    assert batch.answer_each([source]) == (0, [], ())
    assert (source.client.queries, replies[QUERY[2:]].hits) == (2, 2)


@pytest.mark.parametrize("size", [0, 1, 2, 512, 513, 60_000])
def test_what_no_reply_is_remembered_for_is_told_and_keeps_its_place(pairs, size):
    replies = {QUERY[2:]: Reply([RESPONSE[2:3] + b"\x83" + RESPONSE[4:]])}
    batch, sources = Batch(socket.AF_INET, InHand().batch(0)), lone(pairs[:5], replies)
    # The third has nothing, and the fourth an error of an earlier response.
    unknown = bytes([7]) * size
    for number, octets in ((0, QUERY), (1, unknown), (4, QUERY)):
        pairs[number][1].send(octets)
    count, (found,), rcodes = batch.answer_each(sources)
    assert (count, rcodes) == (3, (3, 3))
    assert (found.source, found.octets) == (sources[1], unknown)
    assert pairs[0][1].recv(512)[:2] == pairs[4][1].recv(512)[:2] == QUERY[:2]
    batch.answer_at(found, b"late")
    assert pairs[1][1].recv(512) == b"late"
    assert [source.client.queries for source in sources] == [1, 0, 0, 0, 1]


def test_lone_socket_that_is_closed_takes_nothing_from_the_others(pairs):
    batch, sources = Batch(socket.AF_INET, InHand().batch(0)), lone(pairs[:3], {QUERY[2:]: Reply([RESPONSE[2:]])})
    for _, client in pairs[:3]:
        client.send(QUERY)
    pairs[1][0].close()
    assert batch.answer_each(sources)[0] == 2
    assert pairs[0][1].recv(512) == pairs[2][1].recv(512) == RESPONSE


def test_reply_longer_than_a_slot_is_left_to_the_slower_way(pairs):
    batch, sources = Batch(socket.AF_INET, InHand().batch(0)), lone(pairs[:1], {QUERY[2:]: Reply([b"\0" * 600])})
    pairs[0][1].send(QUERY)
    count, (found,), _ = batch.answer_each(sources)
    assert (count, found.octets) == (1, QUERY)
