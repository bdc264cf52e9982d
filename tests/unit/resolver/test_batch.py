"""What one read of a listener costs in system calls, and what these are given."""

import ctypes
import socket
from collections.abc import Iterator

import pytest

from resolver.reply_cache import Reply
from resolver.transport import batch as module
from resolver.transport.batch import Batch
from resolver.transport.in_hand import InHand

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
    for name in ("_recvmmsg", "_sendmmsg"):
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
