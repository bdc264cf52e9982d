"""Processes: when one started, a descriptor that becomes readable when it ends; and the id of this boot."""

from __future__ import annotations

import fcntl
import functools
import os
import select
import signal
import socket
import struct
from pathlib import Path

from netcore.errors import NotFound


@functools.cache
def boot_id() -> str:
    """Return the id of this boot; in a user namespace, of the life of its first process, with which its namespaces end."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{start_time(1)}" if _is_in_user_namespace() else boot


def _is_in_user_namespace() -> bool:
    """Return whether ids here are not the host's (user_namespaces(7), uid_map)."""
    try:
        return Path("/proc/self/uid_map").read_text().split() != ["0", "0", str(2**32 - 1)]
    except OSError:
        return False


def start_time(pid: int) -> int:
    """Return when *pid* started, in clock ticks since boot; NotFound if there is no such process."""
    return int(_stat(pid)[19])


def parent(pid: int) -> int:
    """Return the pid of the process that started *pid*; NotFound if there is no such process."""
    return int(_stat(pid)[1])


def first_child(pid: int) -> int | None:
    """Return the first process that *pid* has started and that is there (proc(5), /proc/PID/task/TID/children); None if there is none."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


_COMM = 16


def program(pid: int) -> str:
    """Return the name of the program that *pid* runs, at most 15 characters; "" if it is gone."""
    try:
        with open(f"/proc/{pid}/comm", "rb", buffering=0) as file:
            # A process may give itself any octets for a name.
            return file.read(_COMM).strip().decode("utf-8", "replace")
    except OSError:
        return ""


def uid(pid: int) -> int:
    """Return the user whose process *pid* is: root's if it has more rights than its user (proc(5)). NotFound if it is gone."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except (FileNotFoundError, ProcessLookupError) as error:
        raise NotFound("process", str(pid)) from error


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third on (proc(5))."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise NotFound("process", str(pid)) from error
    # The second field is the program's name in parentheses and may hold anything.
    return text.rpartition(")")[2].split()


def open_pidfd(pid: int, started: int | None = None) -> int:
    """Return a descriptor that becomes readable when *pid* ends; NotFound if it is gone or, by its start time, another process."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError as error:
        raise NotFound("process", str(pid)) from error
    try:
        if started is not None and start_time(pid) != started:
            raise NotFound("process", str(pid))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


_UCRED = struct.Struct("iII")


def peer(sock: socket.socket) -> tuple[int, int]:
    """Return the pid and uid of the process at the other end of a connected Unix socket (unix(7), SO_PEERCRED)."""
    pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid, uid


_INFO_SIZE = 64
_GET_INFO = 3 << 30 | _INFO_SIZE << 16 | 0xFF << 8 | 11
_INFO_EXIT = 1 << 3
_EXIT_CODE_AT = 60
_EXIT_CODE_FIELD = 49
"""Of what `_stat` returns; the 52nd of the file."""


def exit_code(pid: int, pidfd: int, within: int = 0) -> int | None:
    """Return the exit code of the process *pid*, which has ended, 128 + n after signal n; None if it is not known.

    Until its parent has taken it, /proc/PID/stat has it (proc(5)). Afterwards the kernel tells it by *pidfd* from Linux 6.15 on
    (include/uapi/linux/pidfd.h, PIDFD_GET_INFO with PIDFD_INFO_EXIT); *within*: milliseconds to wait for that.
    """
    status = _status_of_zombie(pid, pidfd)
    if status is None and within:
        # Without an event only the hang-up is reported, which tells that the parent has taken it.
        taken = select.poll()
        taken.register(pidfd, 0)
        taken.poll(within)
    if status is None:
        status = _status_told_by_kernel(pidfd)
    if status is None:
        return None
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _status_of_zombie(pid: int, pidfd: int) -> int | None:
    try:
        fields = _stat(pid)
        # While this succeeds the process is there, so that it is no other one's file.
        signal.pidfd_send_signal(pidfd, 0)
    except (NotFound, OSError):
        return None
    return int(fields[_EXIT_CODE_FIELD]) if fields[0] == "Z" else None


def _status_told_by_kernel(pidfd: int) -> int | None:
    try:
        told = fcntl.ioctl(pidfd, _GET_INFO, struct.pack("Q", _INFO_EXIT).ljust(_INFO_SIZE, b"\0"))
    except OSError:
        return None
    has_code = struct.unpack_from("Q", told)[0] & _INFO_EXIT
    status: int = struct.unpack_from("i", told, _EXIT_CODE_AT)[0]
    return status if has_code else None
