"""The store that hosts share, as far as this host can and may use it now."""

from __future__ import annotations

import logging

from netcore.errors import Unavailable
from netcore.store.protocol import SharedStore
from netcore.store.upgrade import why_unreadable

log = logging.getLogger(__name__)


class StoreAccess:
    """*store*: None until it was opened. *superseded*: why this host takes no part any more. *is_loaded*: it has answered once."""

    def __init__(self) -> None:
        self.store: SharedStore | None = None
        self.superseded: str | None = None
        self.is_loaded = False
        self._unreachable: str | None = "the store has not answered yet"

    @property
    def is_reachable(self) -> bool:
        """Whether the store answered when it was asked last."""
        return self._unreachable is None

    def warnings(self) -> tuple[str, ...]:
        """Return why this host takes no part in the cluster now, for the status."""
        if self.superseded is not None:
            return (f"this host follows other hosts no more: {self.superseded}",)
        if self._unreachable is not None:
            return (f"other hosts are not followed, and what was known of them stays as it was: {self._unreachable}",)
        return ()

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

    def supersede(self, schema: bytes | None) -> bool:
        """Return whether a newer berth writes to the store, as the value of the key `schema` says; from then on nothing is followed."""
        try:
            reason = why_unreadable(int(schema)) if schema is not None else None
        except ValueError:
            # It is replaced, as any record of this host's that can't be read.
            return False
        if reason is not None:
            log.error("cluster is not followed any more reason=%s", reason)
            self.superseded = reason
        return reason is not None
