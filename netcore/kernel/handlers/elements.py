"""Firewall elements: changes that go as one nftables transaction. At a start the whole ruleset is written anew instead."""

from __future__ import annotations

from netcore.desired.objects import Element
from netcore.kernel.handlers.handler import Handler, set_again
from netcore.kernel.nft import ElementChange

ELEMENT: Handler[Element, ElementChange] = Handler(
    create=lambda _, element: [ElementChange(element, delete=False)],
    delete=lambda _, element: [ElementChange(element, delete=True)],
    replace=lambda _, before, after: [ElementChange(before, delete=True), ElementChange(after, delete=False)],
    observe=set_again,
)
