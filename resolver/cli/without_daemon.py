"""What a command does when no daemon answers: start one, answer by itself, or say so. Here is the one rule for all commands.

| Request | Without a daemon |
|---|---|
| changes something | one is started that ends by itself |
| asks for sandboxes or networks, and something is saved | the same |
| asks for sandboxes or networks, and nothing is saved | there are none, so none are shown |
| is about the daemon itself: status, doctor, events, cache, resolve, stop | the command says that there is none |

What must not start one, though it asks for sandboxes, says so by `autostart=False`: what looks again and again, such as `logs -f`, and
the processes that hold sandboxes. They wait for the next daemon, or go on without one. Standard library only.
"""

from __future__ import annotations

import errno
import os
import sys
import time

from resolver.cli.connection import NoDaemon, Refused, connect, run_directory, socket_path, uses_daemon_of_root
from resolver.light import TYPE_CHECKING
from resolver.rootless import places
from resolver.state_owner import TAKEN, is_elsewhere

if TYPE_CHECKING:
    from typing import Any

_ABOUT_THE_DAEMON = ("/v1/stop", "/v1/resolve", "/v1/cache", "/v1/doctor", "/v1/status", "/v1/events", "/v1/nodes")
_ANY_SAVED = "SELECT 1 FROM item WHERE value IS NOT NULL AND (key LIKE 'network/%' OR key LIKE 'sandbox/%' OR key LIKE 'run/%') LIMIT 1"
_START_TIMEOUT = 20.0
"""Seconds for a daemon to answer; the last one may have to end before."""
_ENDED = "it ended, because nobody needed it or somebody stopped it"
"""Of a daemon that was not wanted any more in the moment in which it was asked for again: the next one is."""
_ENDS = 3
"""After so many of them in a row it is something else, such as a daemon that listens elsewhere."""
_LOOK = 0.01


def starts_one(method: str, path: str) -> bool:
    """Return whether a request is a reason to start a daemon. See the module."""
    if path.partition("?")[0].startswith(_ABOUT_THE_DAEMON):
        return False
    return method != "GET" or has_saved_state()


def answer(path: str, missing: NoDaemon) -> Any:
    """Return what there is to say of *path* where nothing is saved; raise *missing* if that needs a daemon."""
    place = path.partition("?")[0]
    if place.startswith(_ABOUT_THE_DAEMON) or not _may_start():
        raise missing
    kind, _, name = place.removeprefix("/v1/").partition("/")
    if not name:
        return []
    from urllib.parse import unquote

    raise Refused(f"no such {kind.removesuffix('es' if kind == 'sandboxes' else 's')}: {unquote(name)}; there is none", "not-found")


def has_saved_state() -> bool:
    """Return whether a daemon would find a network or a sandbox, running or stopped; False for those who could not start it."""
    if not _may_start():
        return False
    state = _state_directory()
    return any(map(_is_filled, (f"{state}/sandboxes", f"{run_directory()}/sandboxes"))) or _has_records(f"{state}/berth.db")


def _may_start() -> bool:
    """Return whether this user may start a daemon: everybody his own, in his nest."""
    return not uses_daemon_of_root()


def _is_filled(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(entries)
    except OSError:
        return False


def _has_records(path: str) -> bool:
    """Return whether the database at *path* tells of a network or a sandbox; True if it can't be read: a daemon knows what to do then."""
    if not os.path.exists(path):
        return False
    import contextlib
    import sqlite3

    try:
        with contextlib.closing(sqlite3.connect(path, timeout=1)) as database:
            return database.execute(_ANY_SAVED).fetchone() is not None
    except sqlite3.Error:
        return True


def _state_directory() -> str:
    """Return where a daemon that is started without options has its state: environment, configuration file, default."""
    own = places.places(os.geteuid(), os.environ)
    if os.environ.get(places.STATE):
        return own.state_dir
    try:
        with open(own.config, "rb") as file:
            import tomllib

            return str(tomllib.load(file).get("state_dir") or own.state_dir)
    except (OSError, ValueError):
        return own.state_dir


def start_daemon() -> None:
    """Start a daemon that exits when nothing needs it any more; return when one answers.

    Another client may start one at the same time, which then serves both; one that stops may be there still, and is waited for.
    """
    directory = run_directory()
    if places.is_nest() and not _is_holder(1):
        raise Refused("this command is in a sandbox, from where no daemon is started")
    try:
        os.makedirs(directory, mode=0o711, exist_ok=True)
        log = open(f"{directory}/daemon.log", "ab", opener=lambda path, flags: os.open(path, flags, 0o600))  # noqa: SIM115 (handed on)
    except OSError as error:
        hint = "; set BERTH_RUN_DIR to a directory that you may write to" if error.errno in (errno.EACCES, errno.EPERM) else ""
        raise Refused(f"{directory}: {error.strerror}{hint}") from error
    end = time.monotonic() + _START_TIMEOUT
    ended = 0
    with log:
        while True:
            reason = _try_to_start(log, directory, end)
            if reason is None:
                return
            ended += reason == _ENDED
            is_starting_or_ending = (reason == _ENDED and ended < _ENDS) or (
                TAKEN in reason and not is_elsewhere(reason, os.uname().nodename, directory)
            )
            if not is_starting_or_ending or time.monotonic() > end:
                raise Refused(f"no daemon could be started: {reason}")
            time.sleep(_LOOK)


def _try_to_start(log: Any, directory: str, end: float) -> str | None:
    """Start a daemon, and return None as soon as one answers at the socket; if it ends before, the last line that it has written."""
    start = os.fstat(log.fileno()).st_size
    process = _DaemonOfHolder(f"{directory}/daemon.log", start) if places.is_nest() else _daemon(log)
    while True:
        has_ended = process.poll() is not None
        try:
            connect(socket_path()).close()
        except Refused:
            if has_ended or time.monotonic() > end:
                break
            time.sleep(_LOOK)
        else:
            if not has_ended:
                # Nobody waits for it: it outlives this process. One that finds another daemon ends by itself.
                process.returncode = 0
            return None
    with open(f"{directory}/daemon.log", errors="replace") as file:
        file.seek(start)
        told = _why_none(file.read(), process.poll())
    return told if has_ended else f"it runs, but has not answered for {_START_TIMEOUT:g} s; {directory}/daemon.log ends with: {told}"


def _why_none(log: str, code: int | None) -> str:
    """Return what the *log* of a daemon that ended with *code*, as `subprocess.Popen` has it, says of its end."""
    from resolver.rootless.holder_words import DAEMON_ENDED

    lines = log.strip().splitlines()
    output = [line for line in lines if not line.startswith(DAEMON_ENDED)]
    another = next((line for line in output if TAKEN in line), None)
    noted = next((end for end in lines if end not in output), "").rpartition(": ")[2]
    if another is None:
        # What it said before has nothing to do with how it ended.
        if code == 0 or noted == "exit code 0":
            return _ENDED
        number = -code if code is not None and code < 0 else int(noted.removeprefix("signal ")) if noted.startswith("signal ") else 0
        if number:
            import signal

            return f"it was ended by {signal.Signals(number).name}"
    told = another or (output[-1] if output else "it exited without output")
    return told.removeprefix("berth: ")


def _daemon(log: Any) -> Any:
    """Start a daemon, and return its process."""
    import subprocess

    return subprocess.Popen(
        [sys.executable, "-m", "resolver", "daemon", "--exit-when-idle"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        cwd="/",
    )


class _DaemonOfHolder:
    """A daemon that the first process of a nest starts, and whose end that one notes in its log, from *start* on."""

    def __init__(self, log: str, start: int) -> None:
        from resolver.rootless.holder_words import DAEMON_ENDED, DAEMON_WANTED

        self._ended = DAEMON_ENDED.encode()
        self._log = log
        self._start = start
        self.returncode: int | None = None
        os.kill(1, DAEMON_WANTED)

    def poll(self) -> int | None:
        """Return 1 once it has ended, as `subprocess.Popen.poll` returns an exit code; None before."""
        with open(self._log, "rb") as file:
            file.seek(self._start)
            return 1 if any(line.startswith(self._ended) for line in file) else None


def _is_holder(pid: int) -> bool:
    """Return whether *pid* is the first process of a nest, and not that of a sandbox."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return b"resolver.rootless.holder" in file.read()
