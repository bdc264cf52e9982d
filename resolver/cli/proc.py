"""What /proc tells of the processes in sandboxes (proc(5)). A process that ends meanwhile tells nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


def command_of(sandbox: Mapping[str, Any]) -> str:
    """Return the command line that was started in *sandbox*, or that of the process it was adopted from; "" if there is none.

    Of one that is stopped, the command that it is started with.
    """
    leader, run = sandbox["leader"], sandbox.get("run")
    if leader is None:
        return "" if run is None else " ".join(run["command"])
    return command_line(leader["pid"] if sandbox["adopted"] else command_pid(leader["pid"]))


def command_pid(init: int) -> int:
    """Return the process that the init of a sandbox has started, the init itself if that can't be told."""
    children = _read(f"/proc/{init}/task/{init}/children").split()
    return int(children[0]) if children else init


def seconds_lasted(init: int) -> float:
    """Return how long the command that *init* has started has run, without the time that it waited for a processor; 0 if it has ended."""
    try:
        with open(f"/proc/{init}/task/{init}/children") as file:
            children = file.read().split()
    except OSError:
        # A kernel that does not tell children.
        children = [str(init)]
    fields = _read(f"/proc/{children[0]}/stat").rpartition(")")[2].split() if children else []
    if not fields or fields[0] in "ZX":
        return 0.0
    began = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    # Time on the processor, and time that it waited for one, in nanoseconds.
    scheduled = _read(f"/proc/{children[0]}/schedstat").split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began - (int(scheduled[1]) / 1e9 if len(scheduled) > 1 else 0.0)


def command_line(pid: int) -> str:
    """Return the command line of *pid*, its name in brackets if it has none."""
    words = _read(f"/proc/{pid}/cmdline").rstrip("\0").split("\0")
    name = _read(f"/proc/{pid}/comm").strip()
    return " ".join(words) if words != [""] else f"[{name}]" if name else ""


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def members(sandboxes: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Return of each sandbox the processes: in the PID namespace of what berth started there, or in the adopted network namespace.

    Needs the rights to look at them; a process of which that is refused is left out. Looks at each process once, however many
    sandboxes there are.
    """
    namespaces = [_namespace(sandbox) for sandbox in sandboxes]
    found: dict[tuple[str, int | None], list[int]] = {namespace: [] for namespace in namespaces if namespace[1] is not None}
    kinds = {kind for kind, _ in found}
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        for kind in kinds:
            inode = _inode(f"/proc/{pid}/ns/{kind}")
            if (kind, inode) in found:
                found[kind, inode].append(pid)
    return [found.get(namespace, []) for namespace in namespaces]


def _namespace(sandbox: Mapping[str, Any]) -> tuple[str, int | None]:
    """Return the kind and the inode of the namespace that the processes of *sandbox* have; None if there is none any more."""
    leader = sandbox["leader"]
    if leader is not None and not sandbox["adopted"]:
        return "pid", _inode(f"/proc/{leader['pid']}/ns/pid")
    return "net", _inode(sandbox["netns"])


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


COLUMNS = ("UID", "PID", "PPID", "TIME", "CMD")


class Process(NamedTuple):
    """A process as `top` shows it. *seconds*: of processor time."""

    user: str
    pid: int
    parent: int
    seconds: float
    command: str

    def row(self) -> tuple[str, ...]:
        """Return what is shown of it."""
        minutes, seconds = divmod(int(self.seconds), 60)
        return self.user, str(self.pid), str(self.parent), f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}", self.command


def process(pid: int) -> Process | None:
    """Return what is to be told of *pid*, None if it is gone."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if not fields:
        return None
    ticks = int(fields[11]) + int(fields[12])
    return Process(_owner(pid), pid, int(fields[1]), ticks / os.sysconf("SC_CLK_TCK"), command_line(pid))


def _owner(pid: int) -> str:
    """Return the user of *pid*, by name if the host knows him."""
    import pwd

    try:
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
