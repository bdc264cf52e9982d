"""A connection to the keeper: how it is found, started and asked. Blocking; calls may come from any thread.

The protocol is in `program.py`. A keeper that another version of berth started is taken over: what it holds is fetched by the
commands that are the same in every version, it is told to end, and one of this version follows it. One that does not answer is
killed: while it lives, nobody else can have the ports and the guard table that it holds.
"""

from __future__ import annotations

import array
import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from netcore.errors import NotFound, Unavailable
from netcore.keeper import program
from netcore.kernel import process

log = logging.getLogger(__name__)

_NAME = "keeper.sock"
_ANSWER_WITHIN = 5.0
_PROGRAM = b"netcore/keeper/program.py"


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a keeper says of itself. *kept*: how many descriptors. *hold*: seconds that it holds them without a daemon."""

    version: int
    pid: int
    kept: int
    hold: int


class KeeperConnection:
    """One connection. Unavailable from any call: the keeper is gone, or does not answer. *by_path*: made by the keeper's path."""

    def __init__(self, sock: socket.socket, *, by_path: bool = True) -> None:
        self.by_path = by_path
        self._socket = sock
        self._lock = threading.Lock()
        sock.settimeout(_ANSWER_WITHIN)
        _signal(process.peer(sock)[0], signal.SIGCONT)
        self.greeting = self._hello()

    def _hello(self) -> Greeting:
        _, uid = process.peer(self._socket)
        if uid not in (0, os.geteuid()):
            raise Unavailable("the keeper", f"what listens at its socket runs as user {uid}")
        with self._lock, _as_unavailable():
            self._socket.send(b"hello")
            words = self._receive()[0].split(b"\0")
        if len(words) < 5 or words[0] != b"keeper" or not all(word.isdigit() for word in words[1:5]):
            raise Unavailable("the keeper", "what listens at its socket is something else")
        return Greeting(*map(int, words[1:5]))

    def _receive(self) -> tuple[bytes, list[int]]:
        octets, descriptors, _, _ = socket.recv_fds(self._socket, program.PACKET, 253, socket.MSG_CMSG_CLOEXEC)
        if not octets:
            raise ConnectionResetError("closed")
        return octets, descriptors

    def keep(self, descriptors: Mapping[str, int], *, lasting: bool = False) -> None:
        """Have copies of *descriptors* kept by their names; *lasting*: also when no daemon comes for long.

        A few of them are handed over without waiting for anything, so also on the loop.
        """
        items = [*descriptors.items()]
        with self._lock, _as_unavailable():
            for start in range(0, len(items), program.MOST_IN_PACKET):
                some = items[start : start + program.MOST_IN_PACKET]
                words = ["keep", *(["lasting"] if lasting else []), "", *(name for name, _ in some)]
                rights = array.array("i", [descriptor for _, descriptor in some])
                self._socket.sendmsg(["\0".join(words).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

    def drop(self, names: Iterable[str]) -> None:
        """Have these no longer kept; they are closed there when this returns."""
        every = [*names]
        with self._lock, _as_unavailable():
            for start in range(0, len(every), program.MOST_IN_PACKET):
                self._socket.send("\0".join(["drop", *every[start : start + program.MOST_IN_PACKET]]).encode())
                self._receive()

    def forget(self, names: Iterable[str]) -> None:
        """Have these no longer kept, a few of them, and wait for nothing."""
        with self._lock, _as_unavailable():
            self._socket.send("\0".join(["forget", *names]).encode())

    def take(self) -> dict[str, int]:
        """Return a copy of each descriptor that is kept, -1 for those that this process has no room for; they stay kept."""
        taken: dict[str, int] = {}
        with self._lock, _as_unavailable():
            self._socket.send(b"take")
            while True:
                octets, descriptors = self._receive()
                if octets == b"taken":
                    return taken
                names = [name.decode(errors="replace") for name in octets.split(b"\0")[1:]]
                taken.update(dict.fromkeys(names, -1))
                taken.update(zip(names, descriptors, strict=False))

    def hold(self, seconds: int) -> None:
        """Have what is not lasting held for so long when no daemon is there."""
        with self._lock, _as_unavailable():
            self._socket.send(b"hold\0%d" % seconds)

    def end(self) -> None:
        """Have everything closed, and wait until the keeper has ended."""
        with self._lock, _as_unavailable():
            self._socket.send(b"end")
            with contextlib.suppress(ConnectionResetError):
                self._receive()
        self.close()

    def kill(self) -> None:
        """End a keeper that does not answer, and leave it: what it holds is free afterwards."""
        _kill(self.greeting.pid)
        self.close()

    def close(self) -> None:
        """Leave the keeper; it holds on."""
        self._socket.close()


def _signal(pid: int, number: signal.Signals) -> bool:
    """Send a signal to the keeper *pid* and, if it is to be killed, wait for its end; False if that is no keeper."""
    try:
        pidfd = process.open_pidfd(pid)
    except NotFound:
        return False
    try:
        if not any(word.endswith(_PROGRAM) for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")):
            return False
        signal.pidfd_send_signal(pidfd, number)
        if number == signal.SIGKILL:
            ended = select.poll()
            ended.register(pidfd, select.POLLIN)
            ended.poll(_ANSWER_WITHIN * 1000)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True


def _kill(pid: int) -> None:
    if _signal(pid, signal.SIGKILL):
        log.warning("the keeper does not answer and is killed pid=%d", pid)


@contextlib.contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable("the keeper", f"it does not answer ({error})") from error


def find(directory: str, door: socket.socket | None = None) -> KeeperConnection | None:
    """Return a connection to the keeper of the run directory *directory*, None if none answers. *door*: to it, if there is one."""
    for reach in (_by_path, _by_door):
        try:
            sock = reach(directory, door)
        except OSError:
            continue
        if sock is not None:
            try:
                return KeeperConnection(sock, by_path=reach is _by_path)
            except Unavailable as error:
                if isinstance(error.__cause__, TimeoutError):
                    _kill(process.peer(sock)[0])
                sock.close()
    return None


def _by_path(directory: str, _: socket.socket | None) -> socket.socket:
    sock = _new_socket()
    # Otherwise it would wait for ever while as many wait already as may.
    sock.settimeout(_ANSWER_WITHIN)
    try:
        sock.connect(str(Path(directory, _NAME)))
    except OSError:
        sock.close()
        raise
    return sock


def _by_door(_: str, door: socket.socket | None) -> socket.socket | None:
    if door is None:
        return None
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        try:
            socket.send_fds(door, [b"come in"], [theirs.fileno()])
        except OSError:
            ours.close()
            raise
    return ours


def way_in(directory: str) -> tuple[int, int] | None:
    """Return which file the path to the keeper of the run directory *directory* leads to, None if to none."""
    try:
        status = Path(directory, _NAME).lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def start(directory: str) -> tuple[KeeperConnection, socket.socket]:
    """Start a keeper for *directory*; return a connection and its door. Unavailable if it can't be started."""
    path = Path(directory, _NAME)
    listener = _new_socket()
    door, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with listener, inner:
        try:
            path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            old = os.umask(0o177)
            try:
                listener.bind(str(path))
            finally:
                os.umask(old)
            listener.listen(program.MOST_DAEMONS)
            started = subprocess.Popen(
                [sys.executable, "-I", "-S", program.__file__, str(listener.fileno()), str(inner.fileno())],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                pass_fds=(listener.fileno(), inner.fileno()), start_new_session=True, cwd="/",
            )  # fmt: skip
            # Nobody waits for it: it outlives this process.
            started.returncode = 0
            connection = KeeperConnection(_by_path(directory, None))
        except OSError as error:
            door.close()
            raise Unavailable("the keeper", f"it can't be started ({error})") from error
    return connection, door


def _new_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
