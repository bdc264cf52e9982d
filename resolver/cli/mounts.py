"""What a command in a sandbox sees of the file system: the host's, but for a few mounts of its own mount namespace."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from resolver.cli.output import complain
from resolver.cli.system_calls import check

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_SLAVE = 1, 2, 4, 8, 0x20, 0x1000, 0x4000, 0x8_0000
_OPEN_TREE, _MOVE_MOUNT, _OPEN_TREE_CLONE, _RECURSIVE, _FROM_EMPTY_PATH, _AT_FDCWD = 428, 429, 1, 0x8000, 4, -100

# Sockets through which the C library would have another program look up host names.
_RESOLVER_SOCKETS = (
    "/run/nscd/socket",
    "/var/run/nscd/socket",
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/systemd/resolve/io.systemd.Resolve.Monitor",
)

_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def prepare(sandbox: dict[str, Any], *, own_proc: bool) -> None:
    """Cover resolv.conf, hosts, hostname and nsswitch.conf with the sandbox's, show its links in /sys, hide other resolvers, set
    the host name.
    """
    check(_libc.mount(None, b"/", None, _MS_SLAVE | _MS_REC, None), "making mounts private")
    if own_proc:
        flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
        # Refused in a container with a masked /proc; then the host's stays, which works but shows other processes.
        _libc.mount(b"proc", b"/proc", b"proc", flags, None)
    refusal = show_own_links() if sandbox["stack"] != "host" else None
    if refusal is not None:
        complain(f"warning: /sys shows the links of the host, not of {sandbox['name']}: {refusal}")
    cover_files(sandbox)
    for path in _RESOLVER_SOCKETS if sandbox["stack"] != "host" else ():
        if os.path.exists(path):
            _libc.mount(b"/dev/null", path.encode(), None, _MS_BIND, None)
    hostname = sandbox["hostname"].encode()
    check(_libc.sethostname(hostname, len(hostname)), "setting the host name")
    if sandbox.get("domainname"):
        domain = sandbox["domainname"].encode()
        _libc.setdomainname(domain, len(domain))


def cover_files(sandbox: Mapping[str, Any]) -> None:
    """Cover what of the host's files is not covered by the sandbox's; EnterFailed, OSError."""
    uncovered = _uncovered(sandbox)
    absent = [target for _, target, required in uncovered if required and not os.path.lexists(target)]
    for directory in dict.fromkeys(map(os.path.dirname, absent)):
        _make_room(directory, [os.path.basename(target) for target in absent if os.path.dirname(target) == directory], sandbox["directory"])
    # What was covered in such a directory before is to be covered again.
    for source, target, required in _uncovered(sandbox) if absent else uncovered:
        cover(source, target, required=required)


def _uncovered(sandbox: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Return (source, target, whether a sandbox must have it) of each file that is not covered."""
    pairs = [(f"{sandbox['files']}/{name}", f"/etc/{name}", name) for name in ("resolv.conf", "hosts", "hostname", "nsswitch.conf")]
    return [
        (source, target, name in ("resolv.conf", "hosts"))
        for source, target, name in pairs
        if os.path.exists(source) and not _is_covered(source, target)
    ]


def _is_covered(source: str, target: str) -> bool:
    try:
        return os.path.samefile(source, target)
    except OSError:
        return False


def cover(source: str, target: str, *, required: bool) -> None:
    """Bind the file *source* over *target*. A symbolic link is covered itself, so its target need not exist."""
    if os.path.islink(target):
        tree = _libc.syscall(_OPEN_TREE, _AT_FDCWD, source.encode(), _OPEN_TREE_CLONE | os.O_CLOEXEC)
        if tree >= 0:
            moved = _libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, target.encode(), _FROM_EMPTY_PATH)
            os.close(tree)
            if moved == 0:
                return
    if not required and not os.path.exists(target):
        return
    check(_libc.mount(source.encode(), target.encode(), None, _MS_BIND, None), f"binding {target}")


def _make_room(directory: str, names: Iterable[str], scratch: str) -> None:
    """Put an overlay with empty files called *names* over *directory*, which only this mount namespace sees.

    It hides what is mounted below the directory. *scratch*: a directory for its layers, where nothing is left.
    """
    layers = f"{scratch}/layers"
    os.makedirs(layers, exist_ok=True)
    check(_libc.mount(b"tmpfs", layers.encode(), b"tmpfs", 0, b"size=1m,mode=0755"), f"making a place for {directory}")
    os.mkdir(f"{layers}/upper")
    os.mkdir(f"{layers}/work")
    for name in names:
        with open(f"{layers}/upper/{name}", "w"):
            pass
    options = f"lowerdir={directory},upperdir={layers}/upper,workdir={layers}/work".encode()
    check(_libc.mount(b"overlay", directory.encode(), b"overlay", 0, options), f"making a place in {directory}")
    # The layers are in memory, and the overlay has them.
    _libc.umount2(layers.encode(), _MNT_DETACH)
    os.rmdir(layers)


def hide(directories: Iterable[str], kept: Iterable[str]) -> None:
    """Cover *directories* with empty ones that can't be written; the directories *kept* below them stay where they are. EnterFailed."""
    trees = [(path, _clone(path)) for path in dict.fromkeys(map(os.path.realpath, kept)) if os.path.isdir(path)]
    there = [path for path in dict.fromkeys(map(os.path.realpath, directories)) if os.path.isdir(path)]
    # What is below another one is gone with that.
    covered = [path for path in there if not any(path.startswith(f"{other}/") for other in there)]
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    for path in covered:
        check(_libc.mount(b"tmpfs", path.encode(), b"tmpfs", flags, b"size=64k,mode=0755"), f"hiding {path}")
    for path, tree in trees:
        check(tree, f"keeping {path}")
        os.makedirs(path, exist_ok=True)
        check(_libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, path.encode(), _FROM_EMPTY_PATH), f"keeping {path}")
        os.close(tree)
    for path in covered:
        check(_libc.mount(None, path.encode(), None, flags | _MS_REMOUNT | _MS_BIND | _MS_RDONLY, None), f"hiding {path}")


def show_own_links() -> str | None:
    """Mount /sys anew, so that /sys/class/net has the links of this network namespace; return why that is refused, None if it is not.

    What is mounted below it, such as cgroups, stays. A /sys that can't be written stays so. Spec: Linux
    Documentation/filesystems/sysfs.rst; a user namespace may mount one only where it could see all of it before (mount_namespaces(7)).
    """
    if not os.path.isdir("/sys"):
        return None
    below = [(path, _clone(path)) for path in _mounted_below("/sys")]
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | os.statvfs("/sys").f_flag & os.ST_RDONLY
    refused = _libc.mount(b"sysfs", b"/sys", b"sysfs", flags, None) < 0
    reason = f"mounting sysfs: {os.strerror(ctypes.get_errno())}" if refused else None
    for path, tree in below:
        if tree >= 0:
            if not refused:
                _libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, path.encode(), _FROM_EMPTY_PATH)
            os.close(tree)
    return reason


def _clone(path: str) -> int:
    """Return a descriptor of a copy of what is mounted at *path* and below, negative if it can't be had."""
    return int(_libc.syscall(_OPEN_TREE, _AT_FDCWD, path.encode(), _OPEN_TREE_CLONE | _RECURSIVE | os.O_CLOEXEC))


def _mounted_below(directory: str) -> Iterator[str]:
    """Yield where something is mounted directly below the mount that is seen at *directory* (proc(5), mountinfo)."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mounts = [(fields[0], fields[1], fields[4]) for fields in map(str.split, file) if fields[4].startswith(directory)]
    seen = [identity for identity, _, path in mounts if path == directory]
    for _, parent, path in mounts:
        if seen and parent == seen[-1] and path.startswith(f"{directory}/"):
            yield re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), path)
