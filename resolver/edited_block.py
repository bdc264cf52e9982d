"""Lines of ours in a file of somebody else, between two marks, put there and taken out without a trace. Pure but for `edit`."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path

BEGIN = b"# berth: begin; `berth host-dns disable` removes these lines"
END = b"# berth: end"
_ADDED_NEWLINE, _MADE_FILE = b" and the line break before them", b" and this file"


def with_block(text: bytes | None, lines: Sequence[str], *, at_start: bool = False) -> bytes:
    """Return *text* (None: there is no file) with a block of *lines*, in the place of the one that it has, else at its start or end."""
    found = _find(text or b"")
    body = b"".join(line.encode() + b"\n" for line in lines)
    if text is not None and found is not None:
        begin, first, last, _ = found
        return text[:begin] + text[begin:first] + body + text[last:]
    if text is None:
        return BEGIN + _MADE_FILE + b"\n" + body + END + b"\n"
    if at_start:
        return BEGIN + b"\n" + body + END + b"\n" + text
    if text and not text.endswith(b"\n"):
        return text + b"\n" + BEGIN + _ADDED_NEWLINE + b"\n" + body + END + b"\n"
    return text + BEGIN + b"\n" + body + END + b"\n"


def without_block(text: bytes) -> bytes | None:
    """Return *text* as it was before it had a block; None if there was no such file."""
    found = _find(text)
    if found is None:
        return text
    begin, first, _, end = found
    head = text[begin:first]
    rest = text[:begin] + text[end:]
    if _MADE_FILE in head and not rest:
        return None
    if _ADDED_NEWLINE in head and text[:begin].endswith(b"\n"):
        return text[: begin - 1] + text[end:]
    return rest


def has_block(text: bytes | None) -> bool:
    """Return whether *text* has a block of ours."""
    return text is not None and _find(text) is not None


def _find(text: bytes) -> tuple[int, int, int, int] | None:
    """Return where the block begins, where its lines begin and end, and where it ends; None if it is not whole."""
    begin = 0 if text.startswith(BEGIN) else text.find(b"\n" + BEGIN) + 1
    if not text.startswith(BEGIN, begin):
        return None
    first = text.find(b"\n", begin) + 1
    last = first if text.startswith(END, first) else text.find(b"\n" + END, first - 1) + 1
    if not first or not last:
        return None
    end = text.find(b"\n", last) + 1
    return begin, first, last, end or len(text)


def edit(path: str, change: Callable[[bytes], bytes | None]) -> bool:
    """Have *change* made to the file *path*, alone with it; return whether anything changed. None: the file is removed.

    It is written in place, so that it stays the same file for whoever has it mounted, with its owner, mode and labels. What stands before
    the first octet that changes is not touched.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = file.read()
        after = change(before)
        if after == before:
            return False
        if after is None:
            Path(path).unlink()
            return True
        same = next((at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), min(len(before), len(after)))
        written = same
        while written < len(after):
            written += os.pwrite(file.fileno(), after[written:], written)
        os.ftruncate(file.fileno(), len(after))
    return True
