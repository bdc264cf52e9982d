"""Events as the admin API streams them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from resolver.cli.client import Refused, connect, send, socket_path


def event_stream(path: str) -> Iterator[dict[str, Any]]:
    """Yield the events of `GET` *path* until the daemon ends them, or is killed; Refused if it has none to tell."""
    with contextlib.suppress(ConnectionResetError):
        sock = connect(socket_path(), reads_only=True)
        send(sock, "GET", path)
        # Nothing may happen for days.
        sock.settimeout(None)
        with open(sock.detach()) as stream:
            status = stream.readline().split(" ")[1:2]
            for line in stream:
                if line.startswith("{"):
                    told = json.loads(line)
                    if status != ["200"]:
                        raise Refused(told.get("error", {}).get("message", f"the daemon answered {' '.join(status)}"))
                    yield told
