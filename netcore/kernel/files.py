"""Files that others may reach too: read without waiting and up to a bound, written in place, removed whatever they are.

A file that is bound into a sandbox is written in place, so that the bind mount and readers keep it. Whoever is root there may
put a pipe, a directory or a gigabyte where a file was: none of that holds up a worker thread or fills the memory.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
from pathlib import Path

from netcore import limits

log = logging.getLogger(__name__)

SET_ASIDE = ".set-aside"
"""How the names of things end that were in the place of our files."""

_NOT_A_FILE = (errno.ENXIO, errno.EISDIR, errno.ELOOP)
"""What opening something other than a regular file ends in: a pipe or socket, a directory, a link."""
_OPEN = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_PIECE = 1 << 14


class NotRegular(OSError):
    """What is at a path is not a regular file."""


class TooLarge(OSError):
    """A file has more octets than we read."""


def read(path: str, *, follow: bool = False) -> str:
    """Return the text of the file at *path*; NotRegular if it is something else, TooLarge beyond `limits.SANDBOX_FILE`.

    *follow*: a symbolic link is read too: for files of the host, not for those in reach of a sandbox. Octets that are not
    UTF-8 are kept by a later write.
    """
    octets = read_octets(path, limits.SANDBOX_FILE + 1, follow=follow)
    if len(octets) > limits.SANDBOX_FILE:
        raise TooLarge(f"has more than {limits.SANDBOX_FILE} octets")
    return octets.decode("utf-8", errors="surrogateescape")


def read_if_there(path: str, *, follow: bool = False) -> str:
    """Return the text of the file at *path* as `read` does, "" if there is none."""
    try:
        return read(path, follow=follow)
    except FileNotFoundError:
        return ""


def read_octets(path: str, most: int, *, follow: bool) -> bytes:
    """Return the first *most* octets of the file at *path*; NotRegular if it is not a regular file."""
    # To open a device or a pipe may have effects, so its kind is looked at before; it may be replaced meanwhile, so after, too.
    _check_regular(os.stat(path, follow_symlinks=follow))
    descriptor = os.open(path, os.O_RDONLY | _OPEN | (0 if follow else os.O_NOFOLLOW))
    try:
        _check_regular(os.fstat(descriptor))
        return _beginning(descriptor, most)
    finally:
        os.close(descriptor)


def _beginning(descriptor: int, most: int) -> bytes:
    """Return the first *most* octets, or all. By pieces: a file object takes memory for *most* octets before it reads."""
    pieces, left = [], most
    while left and (piece := os.read(descriptor, min(left, _PIECE))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotRegular("is not a regular file")


def clear_way(path: Path, *, is_directory: bool) -> None:
    """Rename what is at *path* to `NAME.set-aside` if it is not a directory, or not a file, as it must be; nothing there is fine."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if (stat.S_ISDIR if is_directory else stat.S_ISREG)(mode):
        return
    aside = path.with_name(f"{path.name}{SET_ASIDE}")
    remove(str(aside))
    log.warning("something else was in the place of a file of ours path=%s", path)
    path.rename(aside)


def read_regular(path: str) -> str:
    """Return the beginning of the text of the file at *path*, "" if it is no file or not there."""
    try:
        return read_octets(path, limits.SANDBOX_FILE, follow=False).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def write_in_place(path: str, text: str) -> None:
    """Give the file at *path* the content *text*, on the same inode, created with mode 0644.

    One pwrite, then the length: a reader sees the old or the new text, never an empty file. What is there and is not a regular
    file is replaced by one.
    """
    octets = text.encode("utf-8", errors="surrogateescape")
    descriptor = _open_to_write(path)
    try:
        os.pwrite(descriptor, octets, 0)
        os.ftruncate(descriptor, len(octets))
    finally:
        os.close(descriptor)


def _open_to_write(path: str) -> int:
    try:
        is_file = stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        is_file = True
    if is_file:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | _OPEN, 0o644)
        except OSError as error:
            if error.errno not in _NOT_A_FILE:
                raise
        else:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
    remove(path)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | _OPEN, 0o644)


def remove(path: str) -> None:
    """Remove whatever is at *path*, a directory with all that is in it. Nothing there is done."""
    try:
        is_directory = stat.S_ISDIR(os.lstat(path).st_mode)
        if is_directory:
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        pass
