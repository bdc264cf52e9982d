"""The shapes of the admin API that are about the cache. Pure."""

from __future__ import annotations

import msgspec


class CachedView(msgspec.Struct, frozen=True):
    """One cached answer. *flags*: of the query, those for which answers are cached apart (DO, CD, AD).

    *stale*: its TTL has run out; it is served only while all upstreams fail.
    """

    name: str
    type: str
    flags: str
    rcode: str
    ttl: int
    stale: bool
    records: int
    hits: int
    size: int
    upstreams: list[str]


class CacheView(msgspec.Struct, frozen=True):
    """*size* and *bound* in octets. *found*: how many cached answers match; *entries*: those of them that were served most."""

    found: int
    size: int
    bound: int
    hits: int
    misses: int
    entries: list[CachedView]


class FlushView(msgspec.Struct, frozen=True):
    """*removed*: how many cached answers."""

    removed: int


class FlushBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """*name*: remove the answers for it and for names below it; null: all answers."""

    name: str | None = None
