"""The edge: the process outside of a nest. It makes sockets in the host's network namespace and hands them in; nothing else.

A socket belongs for ever to the network namespace where it was made, whoever binds, connects and uses it later. So one that is made
here reaches what the host reaches, from inside the nest. This process is in the nest's user namespace, and has no right over the host's
network that its user does not have.

It runs as `python -I -S program.py LISTENER READY` and imports nothing but what the interpreter has built in. LISTENER, READY: inherited
descriptors, of a Unix socket (SOCK_SEQPACKET) and of a pipe whose other end is closed when the socket listens. One message a packet:

| request | reply |
|---|---|
| FAMILY, TYPE, PROTOCOL: numbers of 32 bits in the host's order | the errno, 0 for success, as such a number; the socket, by SCM_RIGHTS |

These are two processes: one serves, and the other one starts it again, at the same socket, when it is killed. If that one is killed, the
first takes its place. Nobody else could: a nest can't enter the host's network. Both are in one session, whose number is the first pid.
"""

from __future__ import annotations

import _socket
import posix
import select
import sys
import time

_REQUEST = 12
_KINDS = {
    (_socket.AF_INET, _socket.SOCK_STREAM): (0, _socket.IPPROTO_TCP),
    (_socket.AF_INET6, _socket.SOCK_STREAM): (0, _socket.IPPROTO_TCP),
    (_socket.AF_INET, _socket.SOCK_DGRAM): (0, _socket.IPPROTO_UDP, _socket.IPPROTO_ICMP),
    (_socket.AF_INET6, _socket.SOCK_DGRAM): (0, _socket.IPPROTO_UDP, _socket.IPPROTO_ICMPV6),
    (_socket.AF_NETLINK, _socket.SOCK_RAW): (0,),
}
"""What it makes, with which protocols. NETLINK: for looks at the host's addresses and routes; to change them the user has no right."""
_MOST = 32
"""Connections that it serves at once. The nest has two; beyond that others wait until one is closed."""
_PAUSE, _SHORT_PAUSE = 0.5, 0.05
"""Seconds before another edge is started, or another client is welcomed: what keeps one from it lasts for a moment at least."""


class Edge:
    """*listener*: where the nest connects to. *starter*: a descriptor of the process that has started this one."""

    def __init__(self, listener: _socket.socket, starter: int) -> None:
        self._listener = listener
        self._starter = starter
        self._clients: dict[int, _socket.socket] = {}
        self._poll = select.poll()
        for descriptor in (listener.fileno(), starter):
            self._poll.register(descriptor, select.POLLIN)

    def run(self) -> None:
        """Serve until the starter has ended."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._starter:
                    for client in self._clients.values():
                        # It connects again.
                        client.close()
                    return
                if descriptor == self._listener.fileno():
                    self._welcome()
                else:
                    self._serve(descriptor)

    def _welcome(self) -> None:
        try:
            descriptor, _ = self._listener._accept()  # type: ignore[attr-defined]  # what socket.socket.accept is made of
        except OSError:
            # No descriptor is left, say, and who waits is still there.
            time.sleep(_SHORT_PAUSE)
            return
        posix.set_blocking(descriptor, False)
        self._clients[descriptor] = _socket.socket(fileno=descriptor)
        self._poll.register(descriptor, select.POLLIN)
        if len(self._clients) == _MOST:
            self._poll.unregister(self._listener.fileno())

    def _serve(self, descriptor: int) -> None:
        client = self._clients[descriptor]
        try:
            request = client.recv(_REQUEST)
            if len(request) == _REQUEST:
                code, made = answer(request)
                if made is None:
                    client.send(_octets(code))
                    return
                client.sendmsg([_octets(code)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _octets(made.fileno()))])
                made.close()
                return
        except OSError:
            pass
        self._poll.unregister(descriptor)
        del self._clients[descriptor]
        client.close()
        self._poll.register(self._listener.fileno(), select.POLLIN)


def answer(request: bytes) -> tuple[int, _socket.socket | None]:
    """Return the errno of what was asked for, 0 for success, and the socket."""
    family, kind, protocol = (int.from_bytes(request[at : at + 4], sys.byteorder) for at in range(0, _REQUEST, 4))
    if protocol not in _KINDS.get((family, kind), ()):
        return _EINVAL, None
    try:
        return 0, _socket.socket(family, kind | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        return error.errno or _EINVAL, None


_EINVAL = 22


def _octets(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)


def main() -> None:
    """Keep an edge running."""
    listener, ready = _socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    posix.read(ready, 1)
    posix.close(ready)
    while True:
        try:
            starter = posix.pidfd_open(posix.getpid())
            pid = posix.fork()
        except OSError:
            # The user has no room for one more process, for now.
            time.sleep(_PAUSE)
            continue
        began = time.monotonic()
        if pid == 0:
            Edge(listener, starter).run()
        else:
            posix.waitpid(pid, 0)
        posix.close(starter)
        if time.monotonic() - began < _PAUSE:
            time.sleep(_PAUSE)


if __name__ == "__main__":
    main()
