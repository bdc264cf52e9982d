"""What the daemon keeps beyond its own end, by name, and what the daemon before it left. Calls may come from any thread.

A name says what the descriptor is for: `resolver/SANDBOX/udp`, `port/tcp/...`, `guard`. A part of the daemon first asks for what an
earlier daemon left by `take`, checks that it fits, and otherwise opens one anew and says so by `keep`. Without a keeper
nothing is ever there to take, and the daemon works as if it had never run before.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import socket
import threading
from collections.abc import Callable, Mapping, Sequence

from netcore import limits
from netcore.errors import Unavailable
from netcore.keeper import connection as keepers
from netcore.keeper import descriptor_store, program
from netcore.keeper.connection import KeeperConnection

log = logging.getLogger(__name__)


_DOOR = "keeper"
"""What systemd knows the keeper's door by."""


class KeptSockets:
    """See the module. *directory*: the run directory. *hold*: seconds; 0 for no keeper. Nothing is kept before `open`."""

    def __init__(self, directory: str, hold: int) -> None:
        self._directory = directory
        self._hold = hold
        self._lock = threading.RLock()
        self._left: dict[str, int] = {}
        # Name → (descriptor, lasting): what a new keeper is given when the first one died.
        self._ours: dict[str, tuple[int, bool]] = {}
        self._connection: KeeperConnection | None = None
        self._way_in: tuple[int, int] | None = None

    def open(self) -> None:
        """Fetch what an earlier daemon left with the keeper, if it lives, and with systemd. Blocking."""
        self._left = descriptor_store.received()
        door = self._left.pop(_DOOR, None)
        with contextlib.ExitStack() as stack:
            inner = stack.enter_context(socket.socket(fileno=door)) if door is not None else None
            found = keepers.find(self._directory, inner)
        if found is None:
            return
        try:
            refused = []
            for name, descriptor in found.take().items():
                if name in self._left:
                    os.close(self._left.pop(name))
                if _has_room(descriptor):
                    self._left[name] = descriptor
                else:
                    refused.append(name)
            found.drop(refused)
            if self._hold and found.greeting.version == program.VERSION:
                found.hold(self._hold)
                self._connection = found
                self._way_in = keepers.way_in(self._directory) if found.by_path else None
            else:
                found.end()
        except Unavailable as error:
            log.warning("what the last daemon left is not complete reason=%s", error)
            found.kill()

    def start(self) -> None:
        """Start a keeper unless there is one, and have it keep what is kept by now. Blocking."""
        with self._lock:
            if self._connection is not None or not self._hold:
                return
            try:
                self._connection, door = keepers.start(self._directory)
                self._way_in = keepers.way_in(self._directory)
                self._connection.hold(self._hold)
                ours = self._ours.items()
                for lasting in (False, True):
                    self._connection.keep({name: item[0] for name, item in ours if item[1] == lasting}, lasting=lasting)
            except Unavailable as error:
                log.warning("a restart will lose queries reason=%s", error)
                self._connection = None
                return
            with door:
                descriptor_store.store(_DOOR, door.fileno())

    def is_found(self) -> bool:
        """Return whether the next daemon will find the keeper: somebody may have removed its socket. Also true without a keeper."""
        return self._connection is None or (self._way_in is not None and keepers.way_in(self._directory) == self._way_in)

    def renew(self) -> None:
        """Have another keeper, one that is found, in the place of this one. If none can be started this one stays. Blocking."""
        with self._lock:
            before, self._connection = self._connection, None
            self.start()
            if self.keeper_pid is None:
                self._connection = before
            elif before is not None:
                with contextlib.suppress(Unavailable):
                    before.end()

    @property
    def keeper_pid(self) -> int | None:
        """The keeper's pid, None without one."""
        return None if self._connection is None else self._connection.greeting.pid

    def lost(self) -> None:
        """Note that the keeper has ended; `start` starts another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def take(self, name: str, fits: Callable[[socket.socket], bool], *, lasting: bool = False) -> socket.socket | None:
        """Return the socket that an earlier daemon kept by *name* and that *fits*; None if there is none. It goes on being kept.

        *lasting*: see `keep`.
        """
        with self._lock:
            descriptor = self._left.pop(name, None)
            if descriptor is None:
                return None
            self._ours[name] = descriptor, lasting
            try:
                sock = socket.socket(fileno=descriptor)
            except OSError:
                # It is no socket.
                self.drop(name)
                os.close(descriptor)
                return None
            with contextlib.suppress(OSError):
                if fits(sock):
                    if lasting:
                        # Said again: it may have come from systemd alone.
                        self.keep({name: sock.fileno()}, lasting=True)
                    return sock
            self.drop(name)
            sock.close()
            return None

    def take_descriptor(self, name: str) -> int | None:
        """Return the descriptor that an earlier daemon kept by *name*, whatever it is of; None if there is none."""
        with self._lock:
            descriptor = self._left.pop(name, None)
            if descriptor is not None:
                self._ours[name] = descriptor, False
            return descriptor

    def keep(self, descriptors: Mapping[str, int], *, lasting: bool = False) -> None:
        """Keep *descriptors* by these names from now on.

        *lasting*: few, by short names; they are kept also if no daemon follows for long, and by systemd too, if that is there.
        """
        with self._lock:
            for name, descriptor in descriptors.items() if lasting else ():
                descriptor_store.store(name, descriptor)
            self._ours.update({name: (descriptor, lasting) for name, descriptor in descriptors.items()})
            self._tell(lambda connection: connection.keep(descriptors, lasting=lasting))

    def take_group(self, prefix: str) -> dict[str, int]:
        """Return everything whose name begins with *prefix* that an earlier daemon kept; it goes on being kept."""
        with self._lock:
            names = [name for name in self._left if name.startswith(prefix)]
            taken = {name: self._left.pop(name) for name in names}
            self._ours.update({name: (descriptor, False) for name, descriptor in taken.items()})
            return taken

    def forget(self, names: Sequence[str]) -> None:
        """Keep these no longer, a few of them, and wait for nothing: also on the loop."""
        with self._lock:
            for name in names:
                self._ours.pop(name, None)
            self._tell(lambda connection: connection.forget(names))

    def drop(self, *names: str) -> None:
        """Keep these no longer; called before their sockets are closed here. Names that are not kept are ignored."""
        with self._lock:
            for name in names:
                if self._ours.pop(name, (-1, False))[1]:
                    descriptor_store.remove(name)
            self._tell(lambda connection: connection.drop(names))

    def drop_unclaimed(self) -> None:
        """Close what an earlier daemon left and nobody has taken: it fits nothing that exists."""
        with self._lock:
            left, self._left = self._left, {}
            for descriptor in left.values():
                os.close(descriptor)
            if left:
                self._tell(lambda connection: connection.drop(left))

    def _tell(self, what: Callable[[KeeperConnection], None]) -> None:
        if self._connection is None:
            return
        try:
            what(self._connection)
        except Unavailable as error:
            log.warning("the keeper is given up reason=%s", error)
            # Whoever follows it sees that it has ended, and starts another, which is given everything.
            self._connection.kill()
            self._connection = None

    def end(self) -> None:
        """End the keeper: there is nothing worth keeping. None is started any more."""
        with self._lock:
            self._hold = 0
            self._tell(lambda connection: connection.end())
            self._connection = None
            descriptor_store.remove(_DOOR)

    def close(self) -> None:
        """Leave what is kept to the next daemon."""
        self.lost()


def _has_room(descriptor: int) -> bool:
    """Return whether a descriptor that came leaves some for everything else: the limit may be lower now. Close it if not."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= descriptor < soft - limits.DESCRIPTORS_KEPT:
        return True
    if descriptor >= 0:
        os.close(descriptor)
    return False
