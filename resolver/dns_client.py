"""Clients of the resolver: sandboxes, and those who ask a network's gateway address and are no sandbox. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from resolver import limits
from resolver.engine.view import View
from resolver.reply_cache import ReplyCache
from resolver.zone.published import NameChange


class OpenConnection(Protocol):
    """One TCP connection of a client."""

    def octets(self) -> int:
        """Return how many octets it keeps: read and not yet answered, written and not yet sent."""

    def end(self) -> None:
        """Close it at once."""


class Client:
    """What belongs to one asking sandbox: its view, the replies remembered for it, its share of the upstreams, its counter.

    The one reference through which readers see a view; written by the registry. *in_flight*: its queries that wait for an
    upstream. *queries*: how many it has sent. *connections*: its open TCP connections, to whichever listener.
    """

    __slots__ = ("connections", "in_flight", "queries", "replies", "view")

    def __init__(self, view: View, replies: ReplyCache | None = None) -> None:
        self.view = view
        self.replies = ReplyCache() if replies is None else replies
        self.in_flight = 0
        self.queries = 0
        self.connections: set[OpenConnection] = set()

    def show(self, view: View) -> None:
        """Answer from *view* from now on."""
        self.view = view
        self.replies.forget_all()

    def on_names_changed(self, change: NameChange) -> None:
        """Forget the replies about names that changed."""
        if not self.replies.by_octets:
            return
        view = self.view
        if change.has_wildcards or view.host is not None or any(attached.aliases for attached in view.attached):
            # A private alias may lead to a changed name, a wildcard may answer for any name, or do so no longer, and the host has names
            # that others have not.
            self.replies.forget_all()
        else:
            self.replies.forget(change, view.suffix)


class Strangers:
    """Those who ask a gateway address and are no sandbox: one view and one memory for all of *common*, a share for each address.

    Beyond `limits.STRANGERS` addresses the one that came first loses its place: what it has begun is still counted for it.
    """

    __slots__ = ("_by_address", "common")

    def __init__(self, common: Client) -> None:
        self.common = common
        self._by_address: dict[bytes, Client] = {}

    def at(self, address: bytes) -> Client:
        """Return the client that asks from the packed *address*."""
        client = self._by_address.get(address)
        if client is None:
            if len(self._by_address) >= limits.STRANGERS:
                gone = self._by_address.pop(next(iter(self._by_address)))
                self.common.queries += gone.queries
            client = self._by_address[address] = Client(self.common.view, self.common.replies)
        return client

    def show(self, view: View) -> None:
        """Answer them from *view* from now on."""
        for client in self:
            client.show(view)

    def __iter__(self) -> Iterator[Client]:
        yield self.common
        yield from self._by_address.values()
