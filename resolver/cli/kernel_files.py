"""What a command sees of the kernel: /proc, /sys, /dev/shm and /dev/mqueue of its own, without what is the whole host's.

What is masked and what can't be written is Docker's list. Spec: pid_namespaces(7), Linux Documentation/filesystems/sysfs.rst,
cgroup_namespaces(7); a user namespace may mount sysfs and proc only where it could see all of it before (mount_namespaces(7)).
"""

from __future__ import annotations

import ctypes
import os

from resolver.cli import mount_calls
from resolver.cli.mount_calls import NODEV, NOEXEC, NOSUID, RDONLY
from resolver.cli.system_calls import check
from resolver.light import TYPE_CHECKING, suppress

if TYPE_CHECKING:
    from collections.abc import Iterable

_FLAGS = NOSUID | NODEV | NOEXEC
_CGROUPS, _SHARED_MEMORY = "/sys/fs/cgroup", "/dev/shm"  # noqa: S108 (where the C library has it)
MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
    "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def own_proc() -> None:
    """Mount /proc anew, for the PID namespace of this process.

    Refused in a container with a masked /proc; then the host's stays, which works but shows other processes.
    """
    mount_calls.mount("proc", "/proc", "proc", _FLAGS)


def own_sys(*, whole: bool) -> str | None:
    """Mount /sys anew, so that /sys/class/net has the links of this network namespace; return why that is refused, None if it is not.

    *whole*: as it was apart from that. Otherwise nothing can be written, and of what is mounted below it only control groups of version
    2 are there, as this process's own namespace has them.
    """
    if not os.path.isdir("/sys"):
        return None
    found = list(mount_calls.mounted_below("/sys"))
    below = [(path, mount_calls.clone(path)) for path, _ in found] if whole else []
    flags = _FLAGS | (os.statvfs("/sys").f_flag & os.ST_RDONLY if whole else RDONLY)
    refused = mount_calls.mount("sysfs", "/sys", "sysfs", flags) < 0
    reason = f"mounting sysfs: {os.strerror(ctypes.get_errno())}" if refused else None
    for path, tree in below:
        if tree >= 0:
            if not refused:
                mount_calls.put(tree, path)
            os.close(tree)
    if not whole and not refused and (_CGROUPS, "cgroup2") in found:
        mount_calls.mount("cgroup2", _CGROUPS, "cgroup2", _FLAGS | RDONLY)
    return reason


def own_shared_memory(size: int) -> None:
    """Mount /dev/shm and /dev/mqueue anew, as far as they are there: what programs of this IPC namespace share. *size*: 0: no bound."""
    if os.path.isdir(_SHARED_MEMORY):
        data = f"mode=1777,size={size}" if size else "mode=1777"
        check(mount_calls.mount("shm", _SHARED_MEMORY, "tmpfs", _FLAGS, data), f"mounting {_SHARED_MEMORY}")
    if os.path.isdir("/dev/mqueue"):
        mount_calls.mount("mqueue", "/dev/mqueue", "mqueue", _FLAGS)


def mask() -> None:
    """Cover what of /proc and /sys is the whole host's, and make what changes it read-only; EnterFailed."""
    for path in MASKED:
        if os.path.isdir(path):
            check(mount_calls.mount("tmpfs", path, "tmpfs", _FLAGS | RDONLY, "size=0k"), f"masking {path}")
        elif os.path.exists(path):
            mount_calls.bind("/dev/null", path)
    for path in _READ_ONLY:
        if os.path.exists(path):
            mount_calls.bind(path, path)
            check(mount_calls.remount(path, _FLAGS | RDONLY), f"making {path} read-only")


_UNPRIVILEGED = {
    "/proc/sys/net/ipv4/ip_unprivileged_port_start": ("1024", ("0",)),
    # Where but one id is mapped there is one group only.
    "/proc/sys/net/ipv4/ping_group_range": ("1\t0", ("0\t2147483647", "0\t0")),
}
"""File → what it has by default, and what it gets: the first that is taken."""


def let_everybody_listen_and_ping() -> None:
    """Let users who are not root listen on ports below 1024 and ping in this network namespace, as Docker does, if it is left to us."""
    for path, (default, wanted) in _UNPRIVILEGED.items():
        with suppress(OSError):
            with open(path) as file:
                is_ours = file.read().strip() == default
            if is_ours:
                _write_first(path, wanted)


def _write_first(path: str, texts: Iterable[str]) -> None:
    for text in texts:
        with suppress(OSError), open(path, "w") as file:
            file.write(text)
            file.flush()
            return
