"""What a user may call an object by: its id, its name, or the beginning of its id. Pure."""

from __future__ import annotations

import difflib
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from netcore.errors import InvalidRequest, NotFound
from netcore.model import Network, NetworkId, Sandbox, SandboxId
from netcore.plan.index import Index

_Named = TypeVar("_Named", Network, Sandbox)
_Id = TypeVar("_Id", NetworkId, SandboxId)
_CLOSE = 0.65
"""How alike two names are (difflib) of which one may be meant for the other: two letters of three changed places."""
_LISTED = 5
COMPARED = 200
"""Beyond this nothing is guessed: it would take milliseconds."""


class References(Generic[_Id, _Named]):
    """The objects *known* (by id) of one *kind* by what they may be called. Whoever changes *known* says so by `changed`."""

    def __init__(self, kind: str, known: Mapping[_Id, _Named]) -> None:
        self._kind = kind
        self._known: Mapping[_Id, _Named] = known
        self._names: Index[_Id, str] = Index()
        self._ids: list[_Id] = []
        for identity in known:
            self.changed(identity)

    def changed(self, identity: _Id) -> None:
        """Take note that the object with *identity* came, went, or has another name."""
        at = bisect_left(self._ids, identity)
        is_listed = at < len(self._ids) and self._ids[at] == identity
        if identity in self._known:
            self._names.put(identity, self._known[identity].name)
            if not is_listed:
                insort(self._ids, identity)
        else:
            self._names.drop(identity)
            if is_listed:
                del self._ids[at]

    def named(self, name: str) -> _Named | None:
        """Return the object called exactly *name*, None if there is none."""
        return next((self._known[identity] for identity in self._names.of(name)), None)

    def find(self, reference: str) -> _Named:
        """Return the one object called *reference* (rule IP-35); NotFound, InvalidRequest if ambiguous."""
        at = bisect_left(self._ids, reference)
        if at < len(self._ids) and self._ids[at] == reference:
            return self._known[self._ids[at]]
        named = self.named(reference)
        if named is not None:
            return named
        matches: list[_Named] = []
        while reference and at < len(self._ids) and self._ids[at].startswith(reference):
            matches.append(self._known[self._ids[at]])
            at += 1
        if len(matches) > 1:
            called = ", ".join(match.name for match in matches)
            raise InvalidRequest(self._kind, f"{reference} is ambiguous: the ids of {called} begin with it")
        if not matches:
            raise NotFound(self._kind, reference, self._hint(reference))
        return matches[0]

    def _hint(self, reference: str) -> str | None:
        return hint(reference, [named.name for named in self._known.values() if named.name]) if len(self._known) <= COMPARED else None


def hint(reference: str, names: Sequence[str]) -> str | None:
    """Return what may have been meant: a name that is a slip away, or which names there are if these are few."""
    near = difflib.get_close_matches(reference, names, n=1, cutoff=_CLOSE)
    if near:
        return f"did you mean {near[0]}?"
    if len(names) > _LISTED:
        return None
    return f"there is {', '.join(sorted(names))}" if names else "there is none"
