"""One client of the resolver: a sandbox, or everybody who asks a network's gateway address and is no sandbox. Pure."""

from __future__ import annotations

from resolver.engine.view import View
from resolver.reply_cache import ReplyCache
from resolver.zone.published import NameChange


class Client:
    """What belongs to one asking sandbox: its view, the replies remembered for it, its share of the upstreams, its counter.

    The one reference through which readers see a view; written by the registry. *in_flight*: its queries that wait for an
    upstream. *queries*: how many it has sent.
    """

    __slots__ = ("in_flight", "queries", "replies", "view")

    def __init__(self, view: View) -> None:
        self.view = view
        self.replies = ReplyCache()
        self.in_flight = 0
        self.queries = 0

    def show(self, view: View) -> None:
        """Answer from *view* from now on."""
        self.view = view
        self.replies.forget_all()

    def on_names_changed(self, change: NameChange) -> None:
        """Forget the replies about names that changed."""
        if not self.replies.by_octets:
            return
        if any(attached.aliases for attached in self.view.attached):
            # A private alias may lead to a changed name.
            self.replies.forget_all()
        else:
            self.replies.forget(change, self.view.suffix)
