"""The client of the admin API: one request, one connection. Standard library only.

What `berth run` does not usually need is imported where it is used: each such module would cost it 3 ms.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import IO, Any

from resolver.rootless import places

_READ_ONLY = "berth-ro.sock"
_START_TIMEOUT = 30.0
"""Seconds for a daemon to answer after its start, which takes one; a busy machine may take its time."""
_PATIENCE = 120.0
"""Seconds for the daemon to answer: a plugin may take 30 for a call, and other requests may be before this one."""
_BUSY_PAUSE = 0.01
PROJECT_LABEL, SERVICE_LABEL = "berth.project", "berth.service"
"""Labels of what `berth up` makes."""
CONFIG_LABEL, DEPENDS_LABEL = "berth.config-hash", "berth.depends-on"
"""Labels of what `berth up` makes: what it was made by, and `SERVICE:CONDITION:RESTART` of what it depends on, with commas."""


class Refused(Exception):
    """The daemon refused, or can't be reached. Its text is for the user."""

    def __init__(self, message: str, kind: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind


class NoDaemon(Refused):
    """No daemon answers at the socket."""


def run_directory() -> str:
    """Return the directory of the daemon's socket: root's daemon for those whom its socket lets in, else the caller's own."""
    if uses_daemon_of_root():
        return places.ROOT.run_dir
    return places.places(os.geteuid(), os.environ).run_dir


def uses_daemon_of_root() -> bool:
    """Return whether this ordinary user is in the group of the socket of root's daemon, and names no other run directory."""
    if os.geteuid() == 0 or os.environ.get(places.RUN):
        return False
    return any(os.access(f"{places.ROOT.run_dir}/{name}", os.W_OK) for name in ("berth.sock", _READ_ONLY))


def socket_path() -> str:
    """Return the path of the daemon's socket."""
    return f"{places.socket_directory(run_directory())}/berth.sock"


def call(method: str, path: str, body: Any = None, *, autostart: bool | None = None, patience: float | None = _PATIENCE) -> Any:
    """Return the decoded response of one request; raises Refused with the daemon's message.

    *autostart*: if no daemon answers, start one that ends by itself. None: a request that may change something does that.
    *patience*: seconds to wait for the answer, None: without end.
    """
    try:
        sock = connect(socket_path(), reads_only=method == "GET" or path == "/v1/resolve")
    except NoDaemon:
        if not (method != "GET" if autostart is None else autostart):
            raise
        start_daemon()
        sock = connect(socket_path())
    with sock:
        sock.settimeout(patience)
        return exchange(sock, method, path, body)


def exchange(sock: socket.socket, method: str, path: str, body: Any = None) -> Any:
    """Send one request over *sock* and return the decoded response; raises Refused with the daemon's message."""
    try:
        send(sock, method, path, body)
        status, octets = _read(sock)
    except TimeoutError as error:
        raise _silent() from error
    decoded = json.loads(octets) if octets else None
    if status >= 400:
        told = (decoded or {}).get("error", {})
        raise Refused(told.get("message") or f"the daemon answered {status}", told.get("kind"))
    return decoded


def connect(path: str, *, reads_only: bool = False) -> socket.socket:
    """Return a connection to the admin socket; NoDaemon or Refused say why not.

    *reads_only*: the other socket, which is for reading, will do if the caller may not use this one.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.settimeout(_PATIENCE)
    try:
        _connect(sock, path)
    except TimeoutError as error:
        sock.close()
        raise _silent() from error
    except OSError as error:
        sock.close()
        if error.errno == errno.EACCES and reads_only and not path.endswith(_READ_ONLY):
            return connect(f"{os.path.dirname(path)}/{_READ_ONLY}")
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
            raise NoDaemon(f"no berth daemon answers at {path}; start one with `berth daemon`") from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise Refused(
                f"{path}: permission denied; use sudo, join the socket's group, or unset BERTH_RUN_DIR for a daemon of your own"
            ) from error
        raise Refused(f"{path}: {error.strerror}") from error
    return sock


def _connect(sock: socket.socket, path: str) -> None:
    """Connect; while too many others wait to be accepted, again and again."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            sock.connect(path)
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise TimeoutError from error
            time.sleep(_BUSY_PAUSE)
        else:
            return


def _silent() -> Refused:
    return Refused(f"the daemon did not answer within {_PATIENCE:g} s; see `berth status`, and its log for what it is waiting for")


def send(sock: socket.socket, method: str, path: str, body: Any = None) -> None:
    """Send one request; the connection closes with its response."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: berth\r\nConnection: close\r\nContent-Length: {len(content)}\r\n"
    sock.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + content)


def _read(sock: socket.socket) -> tuple[int, bytes]:
    octets = b""
    while part := sock.recv(65_536):
        octets += part
    head, _, body = octets.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):
        raise Refused("the daemon closed the connection without a response")
    return int(head[9:12]), body


def segment(text: str) -> str:
    """Return *text* as one segment of a path."""
    from urllib.parse import quote

    return quote(text, safe="")


def find_sandbox(
    name: str, *, autostart: bool = False, project: str | None = None, index: int = 1, stopped: bool = False
) -> dict[str, Any]:
    """Return the sandbox with this name or id, or replica *index* of the service *name* of a project that is up.

    *project*: only a service of this one is meant. A service of several projects is ambiguous. *autostart*: see `call`.
    *stopped*: a replica that is stopped will do. A name or an id means a sandbox that is stopped, too.
    """
    if project is None and index == 1:
        try:
            sandbox: dict[str, Any] = call("GET", f"/v1/sandboxes/{segment(name)}", autostart=autostart)
        except Refused as error:
            if error.kind != "not-found":
                raise
            not_found: Refused = error
        else:
            return sandbox
    else:
        not_found = Refused(f"there is no service {name}" + (f" in project {project}" if project else ""), "not-found")
    everything = call("GET", "/v1/sandboxes?all=1" if stopped else "/v1/sandboxes", autostart=autostart)
    members = service_members(everything, name, project)
    if not members:
        raise Refused(f"{not_found}{_service_hint(everything, name, project)}", not_found.kind) from not_found
    projects = {member["labels"].get(PROJECT_LABEL) for member in members}
    if len(projects) > 1:
        raise Refused(f"{name} is ambiguous: it can be {', '.join(member['name'] for member in members)}") from not_found
    if index > len(members):
        raise Refused(f"service {name} has {len(members)} replicas, and no number {index}", "not-found")
    return members[index - 1]


def _service_hint(sandboxes: list[dict[str, Any]], name: str, project: str | None) -> str:
    """Return the service that may have been meant, as the end of a sentence; "" if none is like *name*."""
    from resolver.cli.words import nearest

    services = {sandbox["labels"].get(SERVICE_LABEL) for sandbox in sandboxes if project in (None, sandbox["labels"].get(PROJECT_LABEL))}
    return nearest(name, services - {None})


def service_members(sandboxes: list[dict[str, Any]], service: str, project: str | None) -> list[dict[str, Any]]:
    """Return the replicas of *service* among *sandboxes*, of *project* or of any, the first one first."""
    members = [
        sandbox
        for sandbox in sandboxes
        if sandbox["labels"].get(SERVICE_LABEL) == service and project in (None, sandbox["labels"].get(PROJECT_LABEL))
    ]
    return sorted(members, key=lambda member: (len(member["name"]), member["name"]))


def start_daemon() -> None:
    """Start a daemon that exits when nothing needs it any more; return when it answers."""
    from resolver.rootless.holder_words import DAEMON_ENDED

    directory, is_nest = run_directory(), places.is_nest()
    if is_nest and not _is_holder(1):
        raise Refused("this command is in a sandbox, from where no daemon is started")
    try:
        os.makedirs(directory, mode=0o711, exist_ok=True)
        log = open(f"{directory}/daemon.log", "ab", opener=lambda path, flags: os.open(path, flags, 0o600))  # noqa: SIM115 (handed on)
    except OSError as error:
        hint = "; set BERTH_RUN_DIR to a directory that you may write to" if error.errno in (errno.EACCES, errno.EPERM) else ""
        raise Refused(f"{directory}: {error.strerror}{hint}") from error
    start = log.tell()
    has_ended = _have_holder_start_one(log) if is_nest else _start_one(log)
    log.close()
    end = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < end:
        try:
            connect(socket_path()).close()
        except Refused:
            if has_ended():
                break
            time.sleep(0.01)
        else:
            return
    with open(f"{directory}/daemon.log", errors="replace") as file:
        file.seek(start)
        output = [line for line in file.read().strip().splitlines() if not line.startswith(DAEMON_ENDED)]
    if any("another berth daemon" in line for line in output):
        # Two clients started one at the same time; the other client's daemon serves both.
        _wait_until_it_answers(end)
        return
    if not has_ended():
        raise Refused(f"the daemon has not answered within {_START_TIMEOUT:g} s; its log is {directory}/daemon.log")
    raise Refused(f"no daemon could be started: {output[-1].removeprefix('berth: ') if output else 'it exited without output'}")


def _start_one(log: IO[bytes]) -> Callable[[], bool]:
    """Start a daemon that outlives this process; return what tells whether it has ended."""
    import subprocess

    process = subprocess.Popen(
        [sys.executable, "-m", "resolver", "daemon", "--exit-when-idle"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        cwd="/",
    )

    def has_ended() -> bool:
        process.returncode = None
        code = process.poll()
        # Nobody waits for one that runs: it outlives this process.
        process.returncode = code or 0
        return code is not None

    return has_ended


def _is_holder(pid: int) -> bool:
    """Return whether *pid* is the first process of a nest, and not that of a sandbox."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return b"resolver.rootless.holder" in file.read()


def _have_holder_start_one(log: IO[bytes]) -> Callable[[], bool]:
    """Have the first process of the nest start a daemon, which is its child; return what tells whether it has ended."""
    from resolver.rootless.holder_words import DAEMON_ENDED, DAEMON_WANTED

    start = log.tell()
    os.kill(1, DAEMON_WANTED)

    def has_ended() -> bool:
        with open(log.name, "rb") as file:
            file.seek(start)
            return any(line.startswith(DAEMON_ENDED.encode()) for line in file)

    return has_ended


def _wait_until_it_answers(end: float) -> None:
    while True:
        try:
            connect(socket_path()).close()
        except NoDaemon:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return
