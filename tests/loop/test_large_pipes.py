"""Pipes of relayed connections: enlarged where they were full, as many as may be, and given back."""

import asyncio
import contextlib
import fcntl
import socket

from netcore.relay.carried import Carried, LargePipes

GET_SIZE = 1032


def connected():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    for sock in (near, far):
        sock.setblocking(False)
    return near, far


def sizes(carried):
    return [fcntl.fcntl(pipe, GET_SIZE) for pipe in (carried.descriptors()[3], carried.descriptors()[5])]


async def carried_with_data(large_pipes):
    """A connection whose client has sent more than a pipe takes."""
    sender, client = connected()
    backend, receiver = connected()
    with contextlib.suppress(BlockingIOError):
        while True:
            sender.send(bytes(1 << 20))
    carried = Carried(client, backend, large_pipes=large_pipes)
    carried.begin()
    while large_pipes.left > 0 and sizes(carried)[0] < 1 << 20:
        await asyncio.sleep(0.01)
    return carried, sender, receiver


async def test_pipe_that_was_full_is_enlarged_and_given_back():
    large_pipes = LargePipes(1)
    carried, *others = await carried_with_data(large_pipes)
    assert sizes(carried) == [1 << 20, 1 << 16]
    assert large_pipes.left == 0
    second, *more = await carried_with_data(large_pipes)
    assert sizes(second) == [1 << 16, 1 << 16]
    carried.leave()
    second.leave()
    assert large_pipes.left == 1
    for sock in (*others, *more):
        sock.close()
