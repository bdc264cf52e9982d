"""Files that are bound into sandboxes: written in place, so that the bind mount and readers keep them."""

from __future__ import annotations

import os


def read(path: str) -> str:
    """Return the text of the file at *path*. Octets that are not UTF-8 are kept by a later write."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def read_if_there(path: str) -> str:
    """Return the text of the file at *path*, "" if there is none."""
    try:
        return read(path)
    except FileNotFoundError:
        return ""


def write_in_place(path: str, text: str) -> None:
    """Give the file at *path* the content *text*, on the same inode, created with mode 0644.

    One pwrite, then the length: a reader sees the old or the new text, never an empty file.
    """
    octets = text.encode("utf-8", errors="surrogateescape")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.pwrite(descriptor, octets, 0)
        os.ftruncate(descriptor, len(octets))
    finally:
        os.close(descriptor)
