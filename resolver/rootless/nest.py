"""The nest of an ordinary user: the namespaces in which his daemon and his sandboxes are. Finding it, and starting it.

Its first process is the holder (`resolver.rootless.holder`); when that ends, everything in the nest does. The file `lock` in the
run directory says who it is. Whoever starts a nest holds a lock on that file meanwhile, so that there is one.
"""

from __future__ import annotations

import fcntl
import os
import sys

from resolver.light import TYPE_CHECKING, NamedTuple, read_json, signal, suppress, write_json
from resolver.rootless import directories, id_ranges, namespaces, record, refusals
from resolver.rootless.errors import HolderEnded, NoNest
from resolver.rootless.id_ranges import IdRange
from resolver.rootless.namespaces import (
    NEW_MOUNT,
    NEW_NET,
    NEW_PID,
    NEW_USER,
    NODEV,
    NOEXEC,
    NOSUID,
    RECURSIVE,
    SLAVE,
    StepFailed,
)  # fmt: skip
from resolver.rootless.places import LOCK, UID, Places
from resolver.rootless.record import NestRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_SUB_IDS = (("/etc/subuid", "newuidmap"), ("/etc/subgid", "newgidmap"))
_DOCS = "see docs/rootless.md"


class Nest(NamedTuple):
    """A nest that was there a moment ago. *process*: a descriptor of its holder."""

    record: NestRecord
    process: int


def find(run_dir: str) -> Nest | None:
    """Return the nest of this run directory, None if there is none; NoNest if the directory is not the caller's alone."""
    try:
        descriptor = os.open(f"{run_dir}/{LOCK}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        directories.check(run_dir)
        return _alive(record.decode(file.read(4096)))


def _alive(found: NestRecord | None) -> Nest | None:
    if found is None:
        return None
    try:
        process = os.pidfd_open(found.pid)
    except OSError:
        return None
    if start_time(found.pid) == found.started:
        return Nest(found, process)
    os.close(process)
    return None


def start_time(pid: int) -> int | None:
    """Return when *pid* started, in clock ticks since boot (proc(5), /proc/PID/stat field 22); None if it has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            # The second field is the program's name in parentheses and may hold anything.
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def start(own: Places) -> Nest:
    """Return the nest of *own*; start it if there is none. Raises NoNest."""
    try:
        directories.make(own.run_dir)
        directories.check_state(own.state_dir)
        lock = os.open(f"{own.run_dir}/{LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise NoNest(f"{error.filename or own.run_dir}: {error.strerror}; set XDG_RUNTIME_DIR to a directory that is yours") from error
    with os.fdopen(lock, "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        nest = _alive(record.decode(file.read(4096)))
        if nest is None:
            made = _make(own)
            try:
                file.seek(0)
                file.truncate()
                file.write(record.encode(made))
            except OSError as error:
                # Nobody would find it.
                os.kill(made.pid, signal.SIGKILL)
                raise NoNest(f"{own.run_dir}/{LOCK} can't be written: {error.strerror}") from error
            nest = _alive(made)
    if nest is None:
        raise NoNest(f"the nest has ended as soon as it had begun; {_DOCS}")
    return nest


def _make(own: Places) -> NestRecord:
    maps, one_id = _wanted_maps()
    if not one_id:
        with suppress(_NotMapped):
            return _begin(own, maps, "")
        one_id = _IDS_REFUSED
    return _begin(own, _own_id_only(), one_id)


_IDS_REFUSED = "newuidmap or newgidmap refused the ids of /etc/subuid and /etc/subgid"


def _own_id_only() -> list[list[IdRange]]:
    return [[IdRange(0, number, 1)] for number in (os.geteuid(), os.getegid())]


class _NotMapped(Exception):
    """A program that maps several ids refused."""


def _wanted_maps() -> tuple[list[list[IdRange]], str]:
    """Return the maps of users and of groups, and why there is but one id ("": there are more)."""
    name = _user_name()
    maps = []
    for (path, program), own in zip(_SUB_IDS, (os.geteuid(), os.getegid()), strict=True):
        try:
            with open(path) as file:
                ranges = id_ranges.subordinate(file.read(), name, os.geteuid())
        except OSError:
            ranges = []
        if not ranges:
            command = f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"
            return [], f"{path} has no ids for {name}; `{command}` gives some"
        # A nest is started once a day, and found by every command.
        import shutil

        if shutil.which(program) is None:
            return [], f"{program} is not installed (package uidmap)"
        maps.append(id_ranges.mapping(own, ranges))
    return maps, ""


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _begin(own: Places, maps: Sequence[Sequence[IdRange]], one_id: str) -> NestRecord:
    """Start a holder whose ids are mapped as *maps* say, and return when it is ready."""
    waiting, releasing = os.pipe2(os.O_CLOEXEC)
    reading, report = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        pid = namespaces.fork_into_new(NEW_USER | NEW_PID)
    except StepFailed as failed:
        raise NoNest(_why(failed)) from failed
    if pid == 0:
        os.close(releasing)
        _become_holder(own, waiting, report, has_range=not one_id)
    os.close(waiting)
    os.close(report)
    started = start_time(pid)
    try:
        _write_maps(pid, maps, one_id)
        with suppress(BrokenPipeError):
            os.write(releasing, b"1")
        os.close(releasing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
        if not said:
            raise HolderEnded("the holder of the nest has ended")
        told = read_json(said)
        if told.get("step"):
            raise StepFailed(told["step"], told["code"])
        if told.get("failed") or started is None:
            raise NoNest(told.get("failed", "the holder of the nest has ended"))
    except BaseException as error:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        if isinstance(error, StepFailed):
            raise NoNest(_why(error)) from error
        raise
    return NestRecord(pid, started, one_id)


def _write_maps(pid: int, maps: Sequence[Sequence[IdRange]], one_id: str) -> None:
    if not one_id:
        for (_, program), ranges in zip(_SUB_IDS, maps, strict=True):
            import subprocess

            done = subprocess.run([program, str(pid), *id_ranges.as_arguments(ranges)], capture_output=True, check=False)
            if done.returncode:
                raise _NotMapped
        return
    for name, text in (
        ("setgroups", "deny"),
        *((kind, "{} {} {}\n".format(*ranges[0])) for kind, ranges in zip(("uid_map", "gid_map"), maps, strict=True)),
    ):
        try:
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write(text)
        except OSError as error:
            raise StepFailed(f"writing {name} of a user namespace", error.errno or 0) from error


def _become_holder(own: Places, waiting: int, report: int, *, has_range: bool) -> None:
    """In the first process of the namespaces: wait for its ids, and become the holder."""
    try:
        if not os.read(waiting, 1):
            os._exit(1)
        user = os.environ.get(UID) or str(_outside_uid())
        if has_range:
            os.setgroups([])
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        # What the caller has open ends with its command, not with the nest: a pipe that somebody reads to its end, the lock of a job.
        os.closerange(3, report)
        os.closerange(report + 1, os.sysconf("SC_OPEN_MAX"))
        os.chdir("/")
        os.set_inheritable(report, True)
        environment = {**os.environ, UID: user}
        arguments = [sys.executable, "-m", "resolver.rootless.holder", str(report), own.run_dir]
        os.execve(sys.executable, arguments, environment)
    except BaseException as error:
        os.write(report, write_json({"failed": f"the holder can't be started: {error}"}).encode())
    finally:
        os._exit(1)


def _outside_uid() -> int:
    """Return the uid outside of who is root here (user_namespaces(7), uid_map)."""
    with open("/proc/self/uid_map") as file:
        return int(file.readline().split()[1])


def try_one() -> str:
    """Make what a nest begins with, and end it at once. Returns why there is but one id, "" if there are more; raises NoNest."""
    maps, one_id = _wanted_maps()
    if not one_id:
        try:
            _try(maps, "")
        except _NotMapped:
            one_id = _IDS_REFUSED
    if one_id:
        _try(_own_id_only(), one_id)
    return one_id


def _try(maps: Sequence[Sequence[IdRange]], one_id: str) -> None:
    waiting, releasing = os.pipe2(os.O_CLOEXEC)
    reading, report = os.pipe2(os.O_CLOEXEC)
    try:
        pid = namespaces.fork_into_new(NEW_USER | NEW_PID)
    except StepFailed as failed:
        raise NoNest(_why(failed)) from failed
    if pid == 0:
        os.close(releasing)
        _try_inside(waiting, report)
    for descriptor in (waiting, report):
        os.close(descriptor)
    try:
        _write_maps(pid, maps, one_id)
        os.write(releasing, b"1")
        with os.fdopen(reading, "rb") as pipe:
            told = read_json(pipe.read() or b"{}")
        if told:
            raise StepFailed(told["step"], told["code"])
    except StepFailed as failed:
        raise NoNest(_why(failed)) from failed
    finally:
        os.close(releasing)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _try_inside(waiting: int, report: int) -> None:
    try:
        os.read(waiting, 1)
        namespaces.leave_for_new(NEW_MOUNT | NEW_NET, "making mount and network namespaces")
        namespaces.mount(None, "/", None, SLAVE | RECURSIVE, None, "making mounts private")
        namespaces.mount("proc", "/proc", "proc", NOSUID | NODEV | NOEXEC, None, "mounting /proc")
    except StepFailed as failed:
        os.write(report, write_json({"step": failed.step, "code": failed.code}).encode())
    finally:
        os._exit(0)


def program() -> str:
    """Return the path of the interpreter that runs."""
    return sys.executable


def _why(failed: StepFailed) -> str:
    return refusals.reason(failed.step, failed.code, switches(), program())


def switches() -> Mapping[str, str]:
    """Return the switches of this host that forbid user namespaces, as far as it has them."""
    found: dict[str, Any] = {}
    for name in refusals.SWITCHES:
        with suppress(OSError), open(f"/proc/sys/{name}") as file:
            found[name] = file.read().strip()
    return found
