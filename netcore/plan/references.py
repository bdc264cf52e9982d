"""What a user may call an object by: its id, its name, or the beginning of its id. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from netcore.errors import InvalidRequest, NotFound
from netcore.model import Network, NetworkId, Sandbox, SandboxId

_Named = TypeVar("_Named", Network, Sandbox)
_Id = TypeVar("_Id", NetworkId, SandboxId)


def find(kind: str, reference: str, items: Mapping[_Id, _Named]) -> _Named:
    """Return the one of *items* (by id) called *reference* (docker-behaviour IP-35); NotFound, InvalidRequest if ambiguous."""
    for identity, item in items.items():
        if identity == reference:
            return item
    for item in items.values():
        if item.name == reference:
            return item
    matches = [item for key, item in items.items() if reference and key.startswith(reference)]
    if len(matches) > 1:
        raise InvalidRequest(kind, f"{reference} is ambiguous: it begins the ids of {', '.join(item.name for item in matches)}")
    if not matches:
        raise NotFound(kind, reference)
    return matches[0]
