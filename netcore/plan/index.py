"""Which objects have something in common, without going through all of them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Generic, TypeVar

_Id = TypeVar("_Id", bound=Hashable)
_Key = TypeVar("_Key", bound=Hashable)


class Index(Generic[_Id, _Key]):
    """Object → its key, and key → its objects, in the order in which they got it."""

    def __init__(self) -> None:
        self._keys: dict[_Id, _Key] = {}
        self._ids: dict[_Key, dict[_Id, None]] = {}

    def put(self, identity: _Id, key: _Key) -> None:
        """Note that the object has *key*, and none that it had before."""
        if identity in self._keys and self._keys[identity] == key:
            return
        self.drop(identity)
        self._keys[identity] = key
        self._ids.setdefault(key, {})[identity] = None

    def drop(self, identity: _Id) -> None:
        """Note that the object is gone; one that is not there is done."""
        if identity not in self._keys:
            return
        key = self._keys.pop(identity)
        del self._ids[key][identity]
        if not self._ids[key]:
            del self._ids[key]

    def of(self, key: _Key) -> Collection[_Id]:
        """Return the objects with *key*."""
        return self._ids.get(key, {}).keys()
