"""The process outside of a nest: what it makes, and for how many."""

import socket
import struct
import threading

import pytest

from netcore.edge import program

MPTCP, SCTP, UDP_LITE = 262, 132, 136


def asked(family, kind, protocol):
    """Return the errno of a request, 0 for success."""
    code, made = program.answer(struct.pack("=3I", family, kind, protocol))
    if made is not None:
        made.close()
    assert (code == 0) == (made is not None)
    return code


@pytest.mark.parametrize(
    "request_",
    [
        (socket.AF_INET, socket.SOCK_STREAM, MPTCP), (socket.AF_INET6, socket.SOCK_STREAM, SCTP),
        (socket.AF_INET, socket.SOCK_DGRAM, UDP_LITE), (socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_ICMP),
        (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP), (socket.AF_NETLINK, socket.SOCK_RAW, 4), (socket.AF_UNIX, socket.SOCK_STREAM, 0),
        (socket.AF_PACKET, socket.SOCK_RAW, 0), (0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF),
    ],
)  # fmt: skip
def test_it_makes_no_socket_of_another_kind_or_protocol(request_):
    assert asked(*request_) == 22


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_it_makes_those_of_tcp_and_udp(family):
    for kind, protocol in ((socket.SOCK_STREAM, 0), (socket.SOCK_STREAM, 6), (socket.SOCK_DGRAM, 0), (socket.SOCK_DGRAM, 17)):
        assert asked(family, kind, protocol) == 0


def test_one_client_too_many_waits_until_another_has_left(tmp_path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(tmp_path / "edge"))
    listener.listen(8)
    over, ending = socket.socketpair()
    serving = threading.Thread(target=program.Edge(listener, over.fileno()).run)
    serving.start()
    clients = []

    def ask(client):
        client.send(struct.pack("=3I", socket.AF_INET, socket.SOCK_STREAM, 0))
        octets, descriptors, _, _ = socket.recv_fds(client, 4, 1)
        socket.close(descriptors[0])
        return struct.unpack("=I", octets)[0]

    def connect():
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.connect(str(tmp_path / "edge"))
        client.settimeout(30)
        clients.append(client)
        return client

    try:
        assert [ask(connect()) for _ in range(program._MOST)] == [0] * program._MOST
        late = connect()
        late.send(struct.pack("=3I", socket.AF_INET, socket.SOCK_STREAM, 0))
        # It is not served before these are, which are asked after it.
        assert ask(clients[0]) == 0
        late.setblocking(False)
        with pytest.raises(BlockingIOError):
            late.recv(4)
        late.settimeout(30)
        clients[0].close()
        octets, descriptors, _, _ = socket.recv_fds(late, 4, 1)
        socket.close(descriptors[0])
        assert octets == bytes(4)
    finally:
        ending.close()
        serving.join(30)
        for sock in (*clients, listener, over):
            sock.close()
