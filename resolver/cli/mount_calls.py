"""The system calls that change what a mount namespace shows. EnterFailed says what was refused.

Spec: mount(2), umount2(2), open_tree and move_mount in `include/uapi/linux/mount.h`, mount_setattr(2).
"""

from __future__ import annotations

import os
import struct

from resolver.cli.system_calls import check, libc
from resolver.light import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, SLAVE = 1, 2, 4, 8, 0x20, 0x1000, 0x4000, 0x8_0000
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_OPEN_TREE_CLONE, _RECURSIVE, _FROM_EMPTY_PATH, _AT_FDCWD = 1, 0x8000, 4, -100
_ATTR_RDONLY = 1
_MNT_DETACH = 2


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> int:
    """Mount, and return what the call returns: below 0 if it was refused."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    return int(libc.mount(encoded[0], encoded[1], encoded[2], flags, encoded[3]))


def bind(source: str, target: str) -> None:
    check(mount(source, target, None, BIND), f"binding {target}")


def remount(target: str, flags: int) -> int:
    """Give the mount at *target* other flags; return what the call returns."""
    return mount(None, target, None, flags | REMOUNT | BIND)


def unmount(target: str) -> None:
    libc.umount2(os.fsencode(target), _MNT_DETACH)


def clone(path: str, *, recursive: bool = True) -> int:
    """Return a descriptor of a copy of what is mounted at *path* (and below), negative if it can't be had."""
    flags = _OPEN_TREE_CLONE | (_RECURSIVE if recursive else 0) | os.O_CLOEXEC
    return int(libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags))


def put(tree: int, path: str) -> int:
    """Mount the copy *tree* at *path*, a symbolic link itself and not its target; return what the call returns."""
    return int(libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(path), _FROM_EMPTY_PATH))


def set_read_only(path: str, *, recursive: bool) -> None:
    """Have nothing be written by the mount at *path*, and by those below."""
    attributes = struct.pack("=4Q", _ATTR_RDONLY, 0, 0, 0)
    done = libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), _RECURSIVE if recursive else 0, attributes, len(attributes))
    check(done, f"making {path} read-only (Linux 5.12 and later can)")


def mounted_below(directory: str) -> Iterator[tuple[str, str]]:
    """Yield (path, type of file system) of what is mounted directly below the mount that is seen at *directory* (proc(5), mountinfo)."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.split() for line in file]
    mounts = [(fields[0], fields[1], fields[4], fields[fields.index("-") + 1]) for fields in lines if fields[4].startswith(directory)]
    seen = [identity for identity, _, path, _ in mounts if path == directory]
    for _, parent, path, kind in mounts:
        if seen and parent == seen[-1] and path.startswith(f"{directory}/"):
            yield _without_escapes(path), kind


def _without_escapes(path: str) -> str:
    """Return *path* as it is, of the way the kernel writes it: a space, a tab, a line end and a backslash as an octal number."""
    first, *rest = path.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
