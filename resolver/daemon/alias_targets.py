"""Where an alias of ours leads, for egress rules: whoever is asked for the alias by name is the server of its target."""

from __future__ import annotations

from resolver.dns_client import Client
from resolver.engine.answer import target_outside
from resolver.errors import BadName
from resolver.wire import name as names


def of(client: Client | None, name: str) -> str | None:
    """Return the name outside that *name* leads to in the view of *client*; None if it is no alias there, or leads to no such name."""
    try:
        target = None if client is None else target_outside(client.view, names.from_text(name))
    except BadName:
        return None
    return None if target is None else names.to_text(target)[:-1]
