"""The first process of a nest: makes its namespaces and mounts, starts what serves it, reaps, and ends when nobody is left.

`python -m resolver.rootless.holder REPORT RUN_DIR`, in new user and PID namespaces. REPORT: descriptor where it says that it is ready,
or what failed. When it is killed the kernel ends everything in the nest.

    holder ─┬─ edge (netcore.edge): in the host's network and mount namespaces; makes sockets there
            ├─ way out (netcore.way_out): carries what leaves the nest; again whenever it has ended
            └─ daemon: when somebody asks for it by DAEMON_WANTED, and again after a crash
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator

from resolver.rootless import namespaces
from resolver.rootless.holder_words import DAEMON_ENDED, DAEMON_WANTED
from resolver.rootless.namespaces import NEW_IPC, NEW_MOUNT, NEW_NET, NEW_UTS, NODEV, NOEXEC, NOSUID, RECURSIVE, SLAVE, StepFailed
from resolver.rootless.places import EDGE, OUTSIDE, REPORT

_HEARD = (signal.SIGCHLD, DAEMON_WANTED, signal.SIGTERM)
_LOOK = 1.0
"""Seconds between looks whether anybody is left."""
_LOOKS = 2
"""After so many in a row without anybody the nest ends."""
_GRACE = 5.0
"""Seconds for the daemon to end."""
_CRASHED_AFTER, _REFUSES_WITHIN = 1.0, 30.0
"""A daemon that is killed within the first so many seconds is not started again: the next one would do the same. Nor is one that ends by
itself within the second, because it can't serve; that may take a busy machine a while. A way out is started again after a look."""
_LOG = 4 << 20
"""Octets of a log, which is in memory, after which it begins anew; the one before stays as NAME.log.1."""
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_BRIDGE_CALLS = ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables")


def main() -> None:
    """Be the holder."""
    report, run_dir = int(sys.argv[1]), sys.argv[2]
    # Whoever waits for what it says waits for the end of the pipe.
    os.set_inheritable(report, False)
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    try:
        holder = _Holder(run_dir)
        holder.prepare()
        told: dict[str, object] = {"ready": True}
    except StepFailed as failed:
        told = {"step": failed.step, "code": failed.code}
    except OSError as error:
        told = {"failed": f"the nest can't be prepared: {error}"}
    os.write(report, json.dumps(told).encode())
    os.close(report)
    if "ready" in told:
        holder.run()


class _Holder:
    """*run_dir*: as it is outside; inside it is covered."""

    def __init__(self, run_dir: str) -> None:
        self._run_dir = run_dir
        self._edge = self._way_out = self._daemon = 0
        self._daemon_began = self._way_out_began = 0.0
        self._is_daemon_due = False

    def prepare(self) -> None:
        """Make what is the nest's own; raises StepFailed and OSError."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        waiting, ready = os.pipe2(os.O_CLOEXEC)
        self._start_edge(listener, waiting)
        namespaces.leave_for_new(NEW_MOUNT | NEW_NET | NEW_IPC | NEW_UTS, "making mount and network namespaces")
        namespaces.mount(None, "/", None, SLAVE | RECURSIVE, None, "making mounts private")
        namespaces.mount("proc", "/proc", "proc", NOSUID | NODEV | NOEXEC, None, "mounting /proc")
        outside = namespaces.copy_of_tree(self._run_dir)
        namespaces.mount("tmpfs", self._run_dir, "tmpfs", NOSUID | NODEV, "mode=0711", f"covering {self._run_dir}")
        os.mkdir(f"{self._run_dir}/{OUTSIDE}", 0o700)
        namespaces.put_tree(outside, f"{self._run_dir}/{OUTSIDE}")
        os.close(outside)
        for name in ("berth.sock", "berth-ro.sock"):
            # Of a nest that was killed.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._run_dir}/{OUTSIDE}/{name}")
        listener.bind(f"{self._run_dir}/{EDGE}")
        os.chmod(f"{self._run_dir}/{EDGE}", 0o600)
        listener.listen(8)
        listener.close()
        os.close(ready)
        _set_loopback_up()
        for name in _BRIDGE_CALLS:
            # Where bridges show their packets to the firewall of IP, what is handed to a socket there is lost.
            with contextlib.suppress(OSError), open(f"/proc/sys/net/bridge/{name}", "w") as file:
                file.write("0")
        self._start_way_out()

    def run(self) -> None:
        """Serve until nobody is left."""
        looks = 0
        while True:
            heard = signal.sigtimedwait(_HEARD, _LOOK)
            self._reap()
            if heard is not None and heard.si_signo == signal.SIGTERM:
                self._end()
                return
            self._is_daemon_due |= heard is not None and heard.si_signo == DAEMON_WANTED
            self._start_what_is_due(has_looked=heard is None)
            self._bound_logs()
            looks = looks + (heard is None) if not self._daemon and not self._others() else 0
            if looks >= _LOOKS:
                return

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._daemon:
                self._daemon_ended(status)
            elif pid == self._way_out:
                self._way_out = 0

    def _daemon_ended(self, status: int) -> None:
        self._daemon = 0
        code = os.waitstatus_to_exitcode(status)
        with open(self._log("daemon"), "a") as log:
            log.write(f"{DAEMON_ENDED}: {f'exit code {code}' if code >= 0 else f'signal {-code}'}\n")
        ran = time.monotonic() - self._daemon_began
        self._is_daemon_due = code != 0 and ran > (_CRASHED_AFTER if code < 0 else _REFUSES_WITHIN)

    def _start_what_is_due(self, *, has_looked: bool) -> None:
        """Start what is to run and does not. *has_looked*: a moment has passed, so that what ended at once may be tried again."""
        if not self._way_out and (has_looked or time.monotonic() - self._way_out_began > _CRASHED_AFTER):
            with self._noting("the way out can't be started"):
                self._start_way_out()
        if self._is_daemon_due and not self._daemon:
            with self._noting(DAEMON_ENDED):
                self._start_daemon()

    @contextlib.contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        """Write in the daemon's log that *what*, if there is no room for one more process: a command of the user may have taken all."""
        try:
            yield
        except OSError as error:
            with contextlib.suppress(OSError), open(self._log("daemon"), "a") as log:
                log.write(f"{what}: {error.strerror}\n")

    def _bound_logs(self) -> None:
        for name in ("daemon", "way-out"):
            path = self._log(name)
            with contextlib.suppress(OSError):
                if os.stat(path).st_size > _LOG:
                    shutil.copyfile(path, f"{path}.1")
                    # Who writes it appends.
                    os.truncate(path, 0)

    def _others(self) -> list[int]:
        """Return the processes of the nest that are neither this one nor those that serve it, whose sessions are their own."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != 1:
                with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
                    state, _, _, session = file.read().rpartition(")")[2].split()[:4]
                    if state != "Z" and int(session) not in (self._edge, self._way_out or -1):
                        found.append(int(name))
        return found

    def _end(self) -> None:
        """End the daemon in its own way; the rest ends with this process."""
        if self._daemon:
            os.kill(self._daemon, signal.SIGTERM)
        end = time.monotonic() + _GRACE
        while self._daemon and time.monotonic() < end:
            signal.sigtimedwait((signal.SIGCHLD,), 0.1)
            self._reap()

    # --- what it starts ------------------------------------------------------------------------------------------

    def _start_edge(self, listener: socket.socket, waiting: int) -> None:
        """Start it while this process is in the host's namespaces still."""
        program = os.path.join(os.path.dirname(_package("netcore.edge")), "program.py")
        for descriptor in (listener.fileno(), waiting):
            os.set_inheritable(descriptor, True)
        self._edge = _spawn([sys.executable, "-I", "-S", program, str(listener.fileno()), str(waiting)], os.devnull)
        os.close(waiting)

    def _start_way_out(self) -> None:
        """Start it, and return when packets can leave by it, which it says by a pipe, or when it has ended."""
        self._way_out_began = time.monotonic()
        reading, writing = os.pipe2(os.O_CLOEXEC)
        os.set_inheritable(writing, True)
        paths = f"{self._run_dir}/{EDGE}", f"{self._run_dir}/{REPORT}"
        arguments = [sys.executable, "-m", "netcore.way_out.program", paths[0], str(writing), paths[1]]
        with os.fdopen(reading, "rb") as pipe:
            try:
                self._way_out = _spawn(arguments, self._log("way-out"))
            finally:
                os.close(writing)
            pipe.read()

    def _start_daemon(self) -> None:
        self._daemon_began = time.monotonic()
        self._daemon = _spawn([sys.executable, "-m", "resolver", "daemon", "--exit-when-idle"], self._log("daemon"))
        self._is_daemon_due = False

    def _log(self, name: str) -> str:
        return f"{self._run_dir}/{name}.log"


def _spawn(arguments: list[str], log: str) -> int:
    """Start a program in a session of its own, and return its pid."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return os.posix_spawn(arguments[0], arguments, os.environ, file_actions=actions, setsigmask=(), setsid=True)


def _package(name: str) -> str:
    from importlib.util import find_spec

    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return spec.origin


def _set_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


if __name__ == "__main__":
    main()
