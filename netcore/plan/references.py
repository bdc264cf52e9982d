"""What a user may call an object by: its id, its name, or the beginning of its id. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from netcore.errors import InvalidRequest, NotFound
from netcore.model import Network, NetworkId, Sandbox, SandboxId

_Named = TypeVar("_Named", Network, Sandbox)
_Id = TypeVar("_Id", NetworkId, SandboxId)


def find(kind: str, reference: str, known: Mapping[_Id, _Named]) -> _Named:
    """Return the one of *known* (by id) called *reference* (rule IP-35); NotFound, InvalidRequest if ambiguous."""
    for identity, named in known.items():
        if identity == reference:
            return named
    for named in known.values():
        if named.name == reference:
            return named
    matches = [named for identity, named in known.items() if reference and identity.startswith(reference)]
    if len(matches) > 1:
        raise InvalidRequest(kind, f"{reference} is ambiguous: the ids of {', '.join(named.name for named in matches)} begin with it")
    if not matches:
        raise NotFound(kind, reference)
    return matches[0]
