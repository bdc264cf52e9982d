"""When records are written: at once, or behind the reply of the operation that they belong to.

What a removal ends with has happened and can't be undone, so nobody has to wait until it is written. It goes with the next record,
or by itself a moment later. If the store does not take it then, it goes with a later one.

One value of a key is never written over by an older one: what is late is numbered, and so is each commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from itertools import count
from typing import NamedTuple

from netcore import limits
from netcore.errors import NetcoreError
from netcore.store.protocol import Store, Transaction

log = logging.getLogger(__name__)


class _Late(NamedTuple):
    """What is to be written of a key. *number*: it grows with each that is put there, and with each commit."""

    number: int
    value: bytes | None


class RecordWrites:
    """Writes records into *store*. All but those of networks end with the *session*."""

    def __init__(self, store: Store, session: str) -> None:
        self._store = store
        self._session = session
        self._late: dict[str, _Late] = {}
        self._numbers = count()
        # Of the commits under way: number → keys. They end in the order in which they began.
        self._under_way: dict[int, Collection[str]] = {}
        self._writing: asyncio.Task[None] | None = None

    async def commit(self, writes: dict[str, bytes | None]) -> None:
        """Write *writes*, and what is to be written late of other keys; what is in the store's queue first is written first."""
        number = next(self._numbers)
        # What is being written of a key is newer, if it comes through.
        late = {key: one for key, one in self._late.items() if not self._is_outdated(key, one)}
        self._late = {key: one for key, one in self._late.items() if key not in late}
        together = {key: one.value for key, one in late.items()} | writes
        lasting = frozenset(key for key in together if key.startswith("network/"))
        self._under_way[number] = together.keys()
        try:
            await self._store.commit(Transaction(together, session=self._session, lasting=lasting))
        except BaseException:
            # If it was cancelled it may have been written all the same, which does no harm.
            newer = {key: one for key, one in self._late.items() if key not in late or one.number > late[key].number}
            self._late = late | newer
            raise
        else:
            # What an earlier commit that failed gave back of these keys is outdated now. What was put there since is newer.
            self._late = {key: one for key, one in self._late.items() if key not in together or one.number > number}
        finally:
            del self._under_way[number]

    def _is_outdated(self, key: str, late: _Late) -> bool:
        """Return whether a newer value of *key* than *late* is being written."""
        return any(number > late.number and key in keys for number, keys in self._under_way.items())

    @property
    def is_overdue(self) -> bool:
        """Whether there is something that could not be written."""
        return bool(self._late) and self._writing is None

    async def settle(self) -> None:
        """Return when all that removals have left to be written is written."""
        held_back = {key: one for key, one in self._late.items() if self._is_outdated(key, one)}
        if self._late or self._under_way:
            # What is written now comes behind all that is being written.
            await self.commit({})
        if any(self._late.get(key) is one for key, one in held_back.items()):
            # The newer value came to nothing.
            await self.commit({})

    async def write_late(self) -> None:
        """As `settle`, but what the store does not take now is written later."""
        try:
            await self.settle()
        except NetcoreError as error:
            log.warning("the end of a removal is recorded later keys=%s reason=%s", ",".join(self._late), error)

    async def close(self) -> None:
        """Write what is left, as far as the store takes it."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])
        await self.write_late()

    async def finish(self, writes: dict[str, bytes | None]) -> None:
        """Write what a removal ends with. It has happened and can't be undone: what the store does not take now is written later."""
        self._put_late(writes)
        await self.write_late()

    def finish_soon(self, writes: dict[str, bytes | None]) -> None:
        """Have what a removal ends with written with the next commit, or by itself in a moment: nobody has to wait for it."""
        self._put_late(writes)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_soon())

    def _put_late(self, writes: Mapping[str, bytes | None]) -> None:
        number = next(self._numbers)
        self._late |= {key: _Late(number, value) for key, value in writes.items()}

    async def _write_soon(self) -> None:
        await asyncio.sleep(limits.RECORD_REMOVALS_AFTER)
        self._writing = None
        await self.write_late()
