"""The cache of upstreams' answers: a partition for each upstream set, so that sandboxes with different upstreams share nothing. Pure.

Bounded in octets over all partitions. When it is full the largest partition gives way, so that one sandbox with name servers
of its own can't push out what others use. Within a partition it is S3-FIFO (Yang et al., SOSP 2023): new entries wait in a
small queue, a tenth of the whole, and get into the main queue only if they were asked for again meanwhile; one that comes
back soon after its eviction gets there at once. So a scan of names that are asked for once flows through the small queue
and evicts none of the popular ones, which LRU (Unbound, dnsmasq) would lose. A hit is one addition.

| RFC | what | status |
|---|---|---|
| 2308 | negative answers, for the lesser of the SOA's TTL and MINIMUM, an hour at most | done |
| 8767 | expired answers are kept for `serve_stale` seconds, for when the upstreams fail; no negative ones | done |
| 9520 | failures are remembered, 1 s and then 2 s; they never replace an answer | done |
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import msgspec

from resolver import limits
from resolver.engine.rebinding import Finding, Protected
from resolver.engine.received import Received, is_negative
from resolver.engine.upstream import Upstream, UpstreamSet
from resolver.wire import name as names
from resolver.wire.message import AD, CD, IN


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """*size* in octets, 0: no cache. TTLs of answers are brought between *least_ttl* and *most_ttl*, in seconds.

    *serve_stale*: seconds for which an expired answer may still be served when all upstreams fail.
    """

    size: int = 16 << 20
    least_ttl: int = 0
    most_ttl: int = 86_400
    serve_stale: int = 86_400


class CacheEntry(msgspec.Struct, gc=False, eq=False):
    """One answer. *key*: see `cache_key`; *stored* and *expires* are in the clock's seconds; *is_trusted*: it may point to our networks.

    *looked*: what `Protected.look` has found in it, and who it was that looked.

    Invisible to the garbage collector, which would walk through all of them again and again (50 ms at 16 MB).
    """

    key: bytes
    received: Received
    lifetime: int
    stored: float
    expires: float
    size: int
    is_trusted: bool
    hits: int = 0
    frequency: int = 0
    is_main: bool = False
    is_dead: bool = False
    refreshing: bool = False
    looked: tuple[Protected, Finding] | None = None

    def is_popular(self, now: float) -> bool:
        """Return whether it should be fetched again before it expires."""
        return self.hits >= limits.PREFETCH_HITS and self.expires - now <= limits.PREFETCH * self.lifetime and not self.refreshing


_NOTHING = Received(0, False, (0, 0, 0), b"", (), 0, b"")
"""What is left of an entry that was removed: its place in a queue takes no octets."""


class Failure(msgspec.Struct, frozen=True):
    """Why a query failed, and until when it is not sent again. *size*: the octets that it takes with its key."""

    until: float
    delay: float
    reason: str
    size: int


class _Partition:
    """What is remembered for one upstream set."""

    __slots__ = ("entries", "failures", "failures_size", "ghost_order", "ghosts", "main", "main_size", "small", "small_size")

    def __init__(self) -> None:
        self.entries: dict[bytes, CacheEntry] = {}
        self.failures: dict[bytes, Failure] = {}
        self.failures_size = 0
        self.ghosts: set[int] = set()
        self.ghost_order: deque[int] = deque(maxlen=limits.CACHE_GHOSTS)
        self.small: deque[CacheEntry] = deque()
        self.main: deque[CacheEntry] = deque()
        self.small_size = 0
        self.main_size = 0

    def add(self, entry: CacheEntry) -> None:
        self.entries[entry.key] = entry
        ghost = hash(entry.key)
        if ghost in self.ghosts:
            self.ghosts.discard(ghost)
            entry.is_main = True
            self.main.append(entry)
            self.main_size += entry.size
        else:
            self.small.append(entry)
            self.small_size += entry.size

    def remove(self, entry: CacheEntry) -> None:
        """Take *entry* out; its place in a queue is skipped when its turn comes."""
        if self.entries.get(entry.key) is entry:
            del self.entries[entry.key]
        if not entry.is_dead:
            entry.is_dead = True
            entry.received = _NOTHING
            if entry.is_main:
                self.main_size -= entry.size
            else:
                self.small_size -= entry.size

    def add_failure(self, key: bytes, failure: Failure) -> None:
        """Remember *failure*; the oldest ones give way."""
        self.failures[key] = failure
        self.failures_size += failure.size
        while self.failures_size > limits.FAILURES:
            self.drop_failure(next(iter(self.failures)))

    def drop_failure(self, key: bytes) -> Failure | None:
        """Forget the failure of one query and return it, if there is one."""
        failure = self.failures.pop(key, None)
        if failure is not None:
            self.failures_size -= failure.size
        return failure

    def evict(self, size: int) -> None:
        """Evict entries until they take no more than *size* octets."""
        while self.small_size + self.main_size > size:
            if self.small and (self.small_size * 9 > self.main_size or not self.main):
                self._evict_small(size)
            else:
                self._evict_main()

    def _evict_small(self, size: int) -> None:
        """Move entries out of the small queue: into the main one if they were asked for again, else out of the cache."""
        small, entries, ghosts, order = self.small, self.entries, self.ghosts, self.ghost_order
        while small and self.small_size + self.main_size > size and self.small_size * 9 > self.main_size:
            entry = small.popleft()
            if entry.is_dead:
                continue
            self.small_size -= entry.size
            if entry.frequency > 1:
                entry.is_main, entry.frequency = True, 0
                self.main.append(entry)
                self.main_size += entry.size
                continue
            entry.is_dead = True
            del entries[entry.key]
            if len(order) == limits.CACHE_GHOSTS:
                ghosts.discard(order[0])
            ghost = hash(entry.key)
            order.append(ghost)
            ghosts.add(ghost)

    def _evict_main(self) -> None:
        entry = self.main.popleft()
        if entry.is_dead:
            return
        if entry.frequency:
            entry.frequency -= 1
            self.main.append(entry)
        else:
            self.remove(entry)

    def tidy(self) -> None:
        """Drop dead entries from the queues when most are dead."""
        if len(self.small) + len(self.main) > 2 * len(self.entries) + 64:
            self.small = deque(entry for entry in self.small if not entry.is_dead)
            self.main = deque(entry for entry in self.main if not entry.is_dead)


class Cache:
    """See the module."""

    def __init__(self, settings: CacheSettings) -> None:
        self.settings = settings
        self._partitions: dict[UpstreamSet, _Partition] = {}
        self.size = 0

    def get(self, upstreams: UpstreamSet, key: bytes) -> CacheEntry | None:
        """Return the entry, expired or not, and count the hit."""
        partition = self._partitions.get(upstreams)
        if partition is None:
            return None
        entry = partition.entries.get(key)
        if entry is not None:
            entry.hits += 1
            if entry.frequency < 3:
                entry.frequency += 1
        return entry

    def put(self, upstreams: UpstreamSet, key: bytes, received: Received, now: float, *, trusted: bool) -> CacheEntry | None:
        """Remember *received* if it may be cached, in place of what was there; return the entry."""
        partition = self._partitions.get(upstreams)
        if partition is None:
            partition = self._partitions[upstreams] = _Partition()
        if partition.failures:
            partition.drop_failure(key)
        lifetime = self._lifetime(received)
        old = partition.entries.get(key)
        if old is not None:
            old.refreshing = False
        if not lifetime:
            if old is not None and received.rcode in (0, 3):
                # It has changed: what was cached is known to be wrong.
                self._remove(partition, old)
            return None
        size = received.size() + 2 * len(key) + limits.CACHE_OVERHEAD
        if size > self.settings.size // 8:
            return None
        entry = CacheEntry(key, received, lifetime, now, now + lifetime, size, trusted)
        if old is not None:
            entry.hits, entry.frequency = old.hits, old.frequency
            self._remove(partition, old)
            partition.tidy()
        partition.add(entry)
        self.size += entry.size
        if self.size > self.settings.size:
            self._give_way()
        return None if entry.is_dead else entry

    def _give_way(self) -> None:
        """Evict entries from the largest partitions; many at a time, which costs less than one for each new entry."""
        wanted = self.settings.size - min(limits.CACHE_ROOM, self.settings.size // 16)
        while self.size > wanted:
            fullest = max(self._partitions.values(), key=_size)
            before = _size(fullest)
            fullest.evict(max(0, before - (self.size - wanted)) if len(self._partitions) == 1 else before - 1)
            self.size -= before - _size(fullest)

    def _lifetime(self, received: Received) -> int:
        lifetime, settings = received.lifetime, self.settings
        if not lifetime or not settings.size:
            return 0
        most = settings.most_ttl
        if lifetime > limits.NEGATIVE_TTL and is_negative(received):
            most = min(most, limits.NEGATIVE_TTL)
        return max(settings.least_ttl, lifetime if lifetime < most else most)

    def _remove(self, partition: _Partition, entry: CacheEntry) -> None:
        if not entry.is_dead:
            self.size -= entry.size
        partition.remove(entry)

    def can_be_stale(self, entry: CacheEntry, now: float) -> bool:
        """Return whether *entry* may be served although it has expired: never a negative one, which would hide a new name."""
        return now <= entry.expires + self.settings.serve_stale and not is_negative(entry.received)

    # --- failures -----------------------------------------------------------------------------------------------

    def failed(self, upstreams: UpstreamSet, key: bytes, reason: str, now: float) -> None:
        """Remember that the query failed."""
        partition = self._partitions.setdefault(upstreams, _Partition())
        before = partition.drop_failure(key)
        is_first = before is None or now - before.until > limits.FAILURE_LONGEST
        delay = limits.FAILURE_FIRST if is_first else min(2 * before.delay, limits.FAILURE_LONGEST)  # type: ignore[union-attr]
        partition.add_failure(key, Failure(now + delay, delay, reason, len(key) + len(reason) + limits.FAILURE_OVERHEAD))
        entry = partition.entries.get(key)
        if entry is not None:
            entry.refreshing = False

    def forget_failures(self, upstreams: Collection[Upstream]) -> None:
        """Forget which queries failed at sets with one of *upstreams*: it is reached in another way now."""
        for known, partition in self._partitions.items():
            if any(upstream in upstreams for upstream in known.servers):
                partition.failures.clear()
                partition.failures_size = 0

    def failure(self, upstreams: UpstreamSet, key: bytes, now: float) -> str | None:
        """Return why the query failed, if that was a moment ago."""
        partition = self._partitions.get(upstreams)
        if partition is None or not partition.failures:
            return None
        failure = partition.failures.get(key)
        return failure.reason if failure is not None and failure.until > now else None

    # --- looking and forgetting ---------------------------------------------------------------------------------

    def entries(self) -> Iterator[tuple[UpstreamSet, CacheEntry]]:
        """Yield all entries."""
        for upstreams, partition in self._partitions.items():
            for entry in partition.entries.values():
                yield upstreams, entry

    def known(self, upstreams: UpstreamSet, qname: bytes, rtype: int) -> list[CacheEntry]:
        """Return the entries for a name and type, with whatever flags; no hit is counted."""
        partition = self._partitions.get(upstreams)
        if partition is None:
            return []
        question = qname + rtype.to_bytes(2, "big") + IN.to_bytes(2, "big")
        return [entry for flags in _FLAGS.values() if (entry := partition.entries.get(question + flags)) is not None]

    def forget(self, name: bytes | None = None) -> int:
        """Forget the answers for *name* (lower-case wire form) and below it, None: all of them; return how many."""
        if name is None:
            count = sum(len(partition.entries) for partition in self._partitions.values())
            self._partitions.clear()
            self.size = 0
            return count
        count = 0
        for partition in self._partitions.values():
            forgotten = [entry for key, entry in partition.entries.items() if is_below(key, name)]
            for entry in forgotten:
                self._remove(partition, entry)
            for key in [key for key in partition.failures if is_below(key, name)]:
                partition.drop_failure(key)
            partition.tidy()
            count += len(forgotten)
        return count

    def keep(self, used: Iterable[UpstreamSet]) -> None:
        """Forget the answers of any upstream set that is not among *used*."""
        for upstreams in self._partitions.keys() - set(used):
            self.size -= _size(self._partitions.pop(upstreams))


def _size(partition: _Partition) -> int:
    return partition.small_size + partition.main_size


def cache_key(qname: bytes, question: bytes, flags: int, *, do: bool) -> bytes:
    """Return the key for a question: answers with and without DNSSEC data are kept apart (DO, and CD and AD of *flags*)."""
    return qname + question[-4:] + _FLAGS[flags & _KEPT | do]


_KEPT = CD | AD
_FLAGS = {flags | do: bytes((flags | do,)) for flags in (0, CD, AD, CD | AD) for do in (0, 1)}


def name_of(key: bytes) -> bytes:
    """Return the name in a key."""
    return key[:-5]


def type_of(key: bytes) -> int:
    """Return the record type in a key."""
    return int.from_bytes(key[-5:-3], "big")


def flags_of(key: bytes) -> str:
    """Return the flags in a key as text: DO, CD, AD."""
    flags = key[-1]
    return " ".join(text for bit, text in ((1, "DO"), (CD, "CD"), (AD, "AD")) if flags & bit)


def is_below(key: bytes, name: bytes) -> bool:
    """Return whether the name in a key is *name* or below it."""
    return names.is_below(name_of(key), name)
