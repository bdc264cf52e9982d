"""Small files that others read at any time. Standard library only."""

from __future__ import annotations

import os

from resolver.light import suppress


def write_whole(path: str, text: str) -> None:
    """Have *text* in the file *path*, for root only: there whole or not at all. What can't be written, as the disk is full, is left out."""
    fresh = f"{path}.new"
    with suppress(OSError):
        with suppress(FileNotFoundError):
            os.unlink(fresh)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        os.rename(fresh, path)
