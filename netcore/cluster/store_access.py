"""The store that hosts share, as far as this host can and may use it now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from netcore import limits
from netcore.errors import NetcoreError, Unavailable
from netcore.store.protocol import SharedStore
from netcore.store.upgrade import why_unreadable

log = logging.getLogger(__name__)


class StoreAccess:
    """*store*: None until it was opened. *superseded*: why this host may take no part now. *is_loaded*: the store has answered once."""

    def __init__(self, open_store: Callable[[], Awaitable[SharedStore]]) -> None:
        self.store: SharedStore | None = None
        self._open_store = open_store
        self._opening: asyncio.Task[SharedStore] | None = None
        self.superseded: str | None = None
        self.is_loaded = False
        self._unreachable: str | None = "the store has not answered yet"

    def open(self) -> None:
        """Begin to open the store, again and again until it answers."""
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> SharedStore:
        while True:
            try:
                self.store = await self._open_store()
            except NetcoreError as error:
                self.note(str(error))
                await asyncio.sleep(limits.STORE_RETRY)
            else:
                return self.store

    async def opened(self) -> SharedStore:
        """Return the store once it has been opened."""
        self.open()
        assert self._opening is not None
        return await asyncio.shield(self._opening)

    async def close(self) -> None:
        """Close the store, or open it no more."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        if self.store is not None:
            await self.store.close()

    @property
    def is_reachable(self) -> bool:
        """Whether the store answered when it was asked last."""
        return self._unreachable is None

    def apart(self) -> str | None:
        """Return why this host takes no part in the cluster now, None if it does."""
        return self._unreachable if self.superseded is None else self.superseded

    def warnings(self) -> tuple[str, ...]:
        """Return the same for the status."""
        reason = self.apart()
        return () if reason is None else (f"other hosts are not followed, and what was known of them stays as it was: {reason}",)

    def reached(self) -> SharedStore:
        """Return the store; Unavailable while it can't be reached."""
        if self.store is None or self._unreachable is not None:
            raise Unavailable("the cluster", f"{self._unreachable}; local networks are unaffected")
        return self.store

    def agreeing(self) -> SharedStore:
        """Return the store for what needs the agreement of all hosts; Unavailable if this host does not take part."""
        if self.superseded is not None:
            raise Unavailable("the cluster", f"{self.superseded}; local networks are unaffected")
        return self.reached()

    def note(self, unreachable: str | None) -> None:
        """Note that the store is reachable, or why not, and log it when that is new."""
        if unreachable is not None and self._unreachable is None:
            log.warning("cluster is not reachable reason=%s", unreachable)
        elif unreachable is None and self._unreachable is not None:
            log.warning("cluster is reachable again" if self.is_loaded else "cluster is reachable")
        self._unreachable = unreachable

    def judge(self, schema: bytes | None) -> bool:
        """Return whether this host may take part, by the value of the key `schema`; log it when that is new.

        It may not where a newer berth writes to the store. A value that is no version is written again by a host that starts; one
        that runs waits until it is right.
        """
        if schema is not None and not self.is_loaded and not _is_version(schema):
            schema = None
        before, self.superseded = self.superseded, None if schema is None else _why_not(schema)
        if self.superseded is not None and self.superseded != before:
            log.error("cluster is not followed any more reason=%s", self.superseded)
        elif self.superseded is None and before is not None:
            log.warning("cluster is followed again")
        return self.superseded is None


_MOST_DIGITS = 9


def _why_not(schema: bytes) -> str | None:
    if _is_version(schema):
        return why_unreadable(int(schema))
    shown = schema[:40].decode(errors="replace")
    return f"the key schema in the store is {shown!r}, which is no schema version; delete that key, and a host writes it again"


def _is_version(schema: bytes) -> bool:
    return schema.isdigit() and len(schema) <= _MOST_DIGITS
