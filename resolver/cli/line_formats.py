"""How `berth logs` and `start -a` print a line of a command's output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from resolver.cli.output_lines import Line
from resolver.printable import printable

Write = Callable[[Line], None]


def as_text(prefix: str | None, *, timestamps: bool) -> Write:
    """Return what prints a line: behind *prefix*, or without one as it is, to where it was printed."""

    def write(line: Line) -> None:
        when = f"{line.time} " if timestamps else ""
        if prefix is not None:
            text = printable(line.text.rstrip(b"\r\n").decode(errors="replace"))
            sys.stdout.write(f"{prefix}{when}{text}\n")
            return
        stream = sys.stderr if line.stream == "stderr" else sys.stdout
        stream.flush()
        stream.buffer.write(when.encode() + line.text)

    return write


def as_json(sandbox: str) -> Write:
    """Return what prints a line of *sandbox* as a JSON object on a line; what is no UTF-8 is U+FFFD."""

    def write(line: Line) -> None:
        text = line.text.rstrip(b"\r\n").decode(errors="replace")
        one = {"sandbox": sandbox, "time": line.time, "stream": line.stream, "text": text}
        sys.stdout.write(json.dumps(one, separators=(",", ":")) + "\n")

    return write
