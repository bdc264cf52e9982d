"""What a user may call an object by: its id, its name, or the beginning of its id. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TypeVar

from netcore.errors import InvalidRequest, NotFound
from netcore.model import Network, NetworkId, Sandbox, SandboxId

_Named = TypeVar("_Named", Network, Sandbox)
_Id = TypeVar("_Id", NetworkId, SandboxId)
_CLOSE = 0.65
"""How alike two names are (difflib) of which one may be meant for the other: two letters of three changed places."""
_LISTED = 5


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
        raise NotFound(kind, reference, _hint(reference, [named.name for named in known.values() if named.name]))
    return matches[0]


def _hint(reference: str, names: Sequence[str]) -> str | None:
    """Return what may have been meant: a name that is a slip away, or which names there are if these are few."""
    near = difflib.get_close_matches(reference, names, n=1, cutoff=_CLOSE)
    if near:
        return f"did you mean {near[0]}?"
    if len(names) > _LISTED:
        return None
    return f"there is {', '.join(sorted(names))}" if names else "there is none"
