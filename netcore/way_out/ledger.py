"""What the way out carries and has refused: counted, logged once for each client, and written for the daemon. On the loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from netcore import limits
from netcore.relay.told import Told
from netcore.way_out.report import Kind, Report, encode

log = logging.getLogger(__name__)


class Ledger:
    """*path*: the file. *most*: as many as there is room for."""

    def __init__(self, path: str, most: Mapping[Kind, int]) -> None:
        self._path = Path(path)
        self._most = most
        self._counts: dict[Kind, Callable[[], int]] = {}
        self._refused = dict.fromkeys(Kind, 0)
        self._client, self._kind, self._at = "", Kind.CONNECTIONS, 0.0
        self._told: Told[tuple[Kind, str]] = Told(limits.WAY_OUT_TOLD_AGAIN)
        self._loop = asyncio.get_running_loop()
        self._clock: asyncio.TimerHandle | None = None
        self.changed()

    def count(self, kind: Kind, carried: Callable[[], int]) -> None:
        """Have *carried* say how much of *kind* there is."""
        self._counts[kind] = carried

    def changed(self) -> None:
        """Note that something began or ended."""
        if self._clock is None:
            self._clock = self._loop.call_later(limits.WAY_OUT_REPORT, self._write)

    def refused(self, kind: Kind, client: str) -> None:
        """Note that something of *client* was refused, because it has as much as it may have."""
        self._refused[kind] += 1
        self._client, self._kind, self._at = client, kind, self._loop.time()
        self.changed()
        if self._told.is_due((kind, client), self._at):
            log.warning("a sandbox has its share of the way out client=%s %s=%d", client, kind.value, self._most[kind])

    def _write(self) -> None:
        self._clock = None
        carried = {kind: self._counts[kind]() if kind in self._counts else 0 for kind in Kind}
        # Nobody reads half of it.
        with contextlib.suppress(OSError):
            new = self._path.with_suffix(".new")
            new.write_bytes(encode(Report(carried, self._most, self._refused, self._client, self._kind, self._at)))
            new.replace(self._path)
