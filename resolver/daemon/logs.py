"""The one place that configures logging: key=value lines on standard error."""

from __future__ import annotations

import logging
import sys
import time

from resolver.printable import printable


class KeyValueFormatter(logging.Formatter):
    """`time=… level=… logger=… msg="event" field=value …`: the event of a call first, then its own fields."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        words = record.getMessage().split(" ")
        first = next((i for i, word in enumerate(words) if "=" in word), len(words))
        event, fields = " ".join(words[:first]), " ".join(words[first:])
        line = f'time={stamp} level={record.levelname.lower()} logger={record.name} msg="{event}"'
        if fields:
            line += " " + fields
        line = printable(line)
        if record.exc_info:
            line += "\n" + "\n".join(map(printable, self.formatException(record.exc_info).split("\n")))
        return line


def configure(level: str) -> None:
    """Send everything from *level* on to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValueFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # One line for each admin request is noise; errors of ours are logged where they are answered.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
