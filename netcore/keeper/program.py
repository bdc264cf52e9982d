"""The keeper: the process that holds the daemon's sockets while no daemon runs. It answers nothing that comes in by them.

So what is sent to such a socket waits there for the next daemon, instead of being refused. It runs alone, as
`python -I -S program.py LISTENER DOOR` (two inherited descriptors), and must import nothing but what the interpreter has built
in: it stays small, and goes on when the files of the berth that started it are replaced.

Protocol, version 1, one message a packet (SOCK_SEQPACKET), words separated by NUL, descriptors by SCM_RIGHTS (unix(7)):

| from the daemon | reply |
|---|---|
| `hello` | `keeper`, VERSION, pid, how many are kept, the seconds of `hold` |
| `keep` [`lasting`], one empty word, a name for each descriptor in the packet | none; a name that is kept already changes its descriptor |
| `forget`, names | none |
| `drop`, names | `dropped`, once they are closed here |
| `take` | packets `kept`, names, with their descriptors, which stay kept here too; then `taken` |
| `hold`, seconds | none |
| `end` | none: it closes everything and ends |

`hello`, `take` and `end` are the same in every version, so that a daemon of any version can take over what there is.

*hold*: for so long everything is kept when the last daemon has gone; what is `lasting` is kept on. The keeper ends when nothing is
left to keep and no daemon is there, and when nobody can reach it any more. Only root and the user it runs as may talk to it.
"""

from __future__ import annotations

import _socket
import posix
import select
import sys
from time import monotonic, sleep

VERSION = 1
PACKET = 65_536
"""Octets of one packet."""
MOST_IN_PACKET = 200
"""Descriptors in one packet; the kernel takes 253 (SCM_MAX_FD)."""
MOST_KEPT = 65_536
"""Descriptors kept: two for each of 30,000 sandboxes."""
MOST_DAEMONS = 8
"""Connections at once: the daemon, the one that follows it, and somebody who looks."""
LONGEST_NAME = 200
"""Octets of a name."""
HOLD = 60.0
"""Seconds of `hold` until a daemon says otherwise; also how long a keeper waits for its first daemon."""
_LOOK = 10.0
"""Seconds between looks whether the path still leads here, while no daemon is there."""
_SHORT_PAUSE = 0.05
"""Seconds before another daemon is welcomed where no descriptor is left."""
_SEND_WITHIN = 5
"""Seconds for a daemon to read a reply; then it is cut off."""


class Keeper:
    """What is kept, and the daemons that are connected. *listener*: bound to the path. *door*: see `_open_door`."""

    def __init__(self, listener: _socket.socket, door: _socket.socket) -> None:
        # Again, so that whoever connects is told of this process and not of the one that made the socket (SO_PEERCRED, unix(7)).
        listener.listen(MOST_DAEMONS)
        self._listener = listener
        self._door: _socket.socket | None = door
        self._kept: dict[bytes, tuple[int, bool]] = {}
        self._daemons: dict[int, _socket.socket] = {}
        # Those among them that keep something here, and not only look.
        self._users: set[int] = set()
        self._was_used = False
        self._hold = HOLD
        self._alone_since = monotonic()
        path = listener.getsockname()
        self._path = path if isinstance(path, str) else path.decode()
        self._identity = _identity(self._path)
        self._poll = select.poll()
        for sock in (listener, door):
            self._poll.register(sock.fileno(), select.POLLIN)

    def run(self) -> None:
        """Serve until there is nothing left to do."""
        while True:
            timeout = None if self._daemons else self._expire()
            if timeout is not None and timeout <= 0:
                break
            for descriptor, _ in self._poll.poll(None if timeout is None else int(timeout * 1000) + 1):
                if descriptor == self._listener.fileno():
                    self._accept()
                elif self._door is not None and descriptor == self._door.fileno():
                    self._open_door()
                elif descriptor in self._daemons and not self._serve_all(self._daemons[descriptor]):
                    return
        if _identity(self._path) == self._identity:
            posix.unlink(self._path)

    def _expire(self) -> float:
        """Let go of what is held no longer; return the seconds until the next look, 0 if there is nothing more to wait for."""
        left = self._alone_since + self._hold - monotonic()
        if left <= 0:
            self._drop([name for name, (_, lasting) in self._kept.items() if not lasting])
        if not self._kept and (left <= 0 or self._was_used):
            return 0.0
        if self._door is None and _identity(self._path) != self._identity:
            # Nobody would find what is kept here.
            return 0.0
        return min(left, _LOOK) if left > 0 else _LOOK

    def _accept(self) -> None:
        try:
            descriptor, _ = self._listener._accept()  # type: ignore[attr-defined] # noqa: SLF001 (the socket module is not here)
        except OSError:
            # No descriptor is left, say, and who waits is still there.
            sleep(_SHORT_PAUSE)
            return
        self._welcome(_socket.socket(fileno=descriptor))

    def _open_door(self) -> None:
        """Take in a connection that came as a descriptor: so a daemon gets in when the path is gone, if systemd kept the door."""
        assert self._door is not None
        try:
            octets, descriptors = _receive(self._door)
        except OSError:
            octets, descriptors = b"", []
        if not octets:
            self._poll.unregister(self._door.fileno())
            self._door.close()
            self._door = None
        for descriptor in descriptors:
            self._welcome(_socket.socket(fileno=descriptor))

    def _welcome(self, sock: _socket.socket) -> None:
        try:
            credentials = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
            uid = int.from_bytes(credentials[4:8], sys.byteorder)
            if uid not in (0, posix.geteuid()) or len(self._daemons) >= MOST_DAEMONS:
                sock.close()
                return
            sock.settimeout(_SEND_WITHIN)
        except OSError:
            sock.close()
            return
        self._daemons[sock.fileno()] = sock
        self._poll.register(sock.fileno(), select.POLLIN)

    def _serve_all(self, sock: _socket.socket) -> bool:
        """Do what all packets that wait ask for; return False to end.

        So what a daemon gave before it ended is here before the next one, whose connection is later, takes what there is.
        """
        waiting = select.poll()
        waiting.register(sock.fileno(), select.POLLIN)
        descriptor = sock.fileno()
        while descriptor in self._daemons and waiting.poll(0):
            if not self._serve(sock):
                return False
        return True

    def _serve(self, sock: _socket.socket) -> bool:
        """Do what one packet asks for; return False to end."""
        try:
            octets, descriptors = _receive(sock)
            if octets:
                return self._obey(sock, octets.split(b"\0"), descriptors)
        except OSError:
            # It is gone, or does not read what it asked for.
            pass
        self._poll.unregister(sock.fileno())
        del self._daemons[sock.fileno()]
        if sock.fileno() in self._users:
            self._users.discard(sock.fileno())
            self._alone_since = monotonic()
        sock.close()
        return True

    def _obey(self, sock: _socket.socket, words: list[bytes], descriptors: list[int]) -> bool:
        command = words[0]
        if command != b"hello":
            self._users.add(sock.fileno())
            self._was_used = True
        if command == b"keep":
            border = words.index(b"", 1) if b"" in words[1:] else len(words)
            self._keep(words[border + 1 :], descriptors, lasting=b"lasting" in words[1:border])
            return True
        for descriptor in descriptors:
            posix.close(descriptor)
        if command == b"hello":
            sock.send(b"keeper\0%d\0%d\0%d\0%d" % (VERSION, posix.getpid(), len(self._kept), self._hold))
        elif command == b"drop":
            self._drop(words[1:])
            sock.send(b"dropped")
        elif command == b"forget":
            self._drop(words[1:])
        elif command == b"take":
            self._hand_out(sock)
        elif command == b"hold" and len(words) == 2 and words[1].isdigit():
            self._hold = float(words[1])
        elif command == b"end":
            self._drop([*self._kept])
            if _identity(self._path) == self._identity:
                posix.unlink(self._path)
            return False
        return True

    def _keep(self, names: list[bytes], descriptors: list[int], *, lasting: bool) -> None:
        for name, descriptor in zip(names, descriptors, strict=False):
            self._drop([name])
            if len(self._kept) < MOST_KEPT and 0 < len(name) <= LONGEST_NAME:
                self._kept[name] = descriptor, lasting
            else:
                posix.close(descriptor)
        for descriptor in descriptors[len(names) :]:
            posix.close(descriptor)

    def _drop(self, names: list[bytes]) -> None:
        for name in names:
            descriptor, _ = self._kept.pop(name, (-1, False))
            if descriptor >= 0:
                posix.close(descriptor)

    def _hand_out(self, sock: _socket.socket) -> None:
        items = [*self._kept.items()]
        for start in range(0, len(items), MOST_IN_PACKET):
            some = items[start : start + MOST_IN_PACKET]
            rights = b"".join(descriptor.to_bytes(4, sys.byteorder) for _, (descriptor, _) in some)
            sock.sendmsg([b"\0".join([b"kept", *(name for name, _ in some)])], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        sock.send(b"taken")


def _receive(sock: _socket.socket) -> tuple[bytes, list[int]]:
    """Return one packet and its descriptors; b"" when the other end has closed."""
    octets, control, _, _ = sock.recvmsg(PACKET, _socket.CMSG_SPACE(253 * 4), _socket.MSG_CMSG_CLOEXEC)
    descriptors = []
    for level, kind, data in control:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            descriptors += [int.from_bytes(data[at : at + 4], sys.byteorder) for at in range(0, len(data) - len(data) % 4, 4)]
    return octets, descriptors


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = posix.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


if __name__ == "__main__":
    Keeper(*(_socket.socket(fileno=int(argument)) for argument in sys.argv[1:3])).run()
