"""Answers of upstreams, remembered. For each route alone, so that nothing passes between sandboxes with other upstreams. Pure.

Bounded in octets over all routes; when full, the route that holds most gives way, so that one sandbox with nameservers of
its own can't push out what others use. Within a route it is S3-FIFO (Yang et al., SOSP 2023): what is new waits in a
small queue, a tenth of the whole, and gets into the main queue only if it was asked for again meanwhile; what comes back
soon after it was thrown out gets there at once. So a scan of names that are asked once flows through the small queue
and takes nothing from the popular ones, which LRU (Unbound, dnsmasq) would lose. A hit is one addition.

| RFC | what | status |
|---|---|---|
| 2308 | negative answers, for the lesser of the SOA's TTL and MINIMUM, an hour at most | done |
| 8767 | answers past their time are kept for `serve_stale` seconds, for when the upstreams fail; no negative ones | done |
| 9520 | failures are remembered, 1 s to 5 s, doubling; they never replace an answer | done |
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from resolver import limits
from resolver.engine.received import Received, is_negative
from resolver.wire.message import AD, CD, IN
from resolver.zone.upstream import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """*size* in octets, 0: no cache. TTLs of answers are brought between *least_ttl* and *most_ttl*, in seconds.

    *serve_stale*: seconds for which an answer may be told after its time when all upstreams fail.
    """

    size: int = 16 << 20
    least_ttl: int = 0
    most_ttl: int = 86_400
    serve_stale: int = 86_400


class Entry(msgspec.Struct, gc=False, eq=False):
    """One answer. *question*: see `question_of`; times are the clock's; *is_trusted*: it may point to addresses of ours.

    Not looked at by the garbage collector, which would walk through all of them again and again (for 50 ms at 16 MB).
    """

    question: bytes
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

    def is_popular(self, now: float) -> bool:
        """Return whether it should be fetched anew before its time is over."""
        return self.hits >= limits.PREFETCH_HITS and self.expires - now <= limits.PREFETCH * self.lifetime and not self.refreshing


class Failure(msgspec.Struct, frozen=True):
    """Why a question failed, and until when it is not asked again."""

    until: float
    delay: float
    reason: str


class _Partition:
    """What is remembered for one route."""

    __slots__ = ("entries", "failures", "ghost_order", "ghosts", "main", "main_size", "small", "small_size")

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.failures: dict[bytes, Failure] = {}
        self.ghosts: set[int] = set()
        self.ghost_order: deque[int] = deque(maxlen=limits.CACHE_GHOSTS)
        self.small: deque[Entry] = deque()
        self.main: deque[Entry] = deque()
        self.small_size = 0
        self.main_size = 0

    def add(self, entry: Entry) -> None:
        self.entries[entry.question] = entry
        ghost = hash(entry.question)
        if ghost in self.ghosts:
            self.ghosts.discard(ghost)
            entry.is_main = True
            self.main.append(entry)
            self.main_size += entry.size
        else:
            self.small.append(entry)
            self.small_size += entry.size

    def remove(self, entry: Entry) -> None:
        """Take *entry* out; its place in a queue is passed over when its turn comes."""
        if self.entries.get(entry.question) is entry:
            del self.entries[entry.question]
        if not entry.is_dead:
            entry.is_dead = True
            if entry.is_main:
                self.main_size -= entry.size
            else:
                self.small_size -= entry.size

    def evict(self, size: int) -> None:
        """Throw entries out until they take no more than *size* octets."""
        while self.small_size + self.main_size > size:
            if self.small and (self.small_size * 9 > self.main_size or not self.main):
                self._evict_small(size)
            else:
                self._evict_main()

    def _evict_small(self, size: int) -> None:
        """Take what waits in the small queue: into the main one if it was asked for again, else out."""
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
            del entries[entry.question]
            if len(order) == limits.CACHE_GHOSTS:
                ghosts.discard(order[0])
            ghost = hash(entry.question)
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
        """Drop dead entries from the queues when they are the most of them."""
        if len(self.small) + len(self.main) > 2 * len(self.entries) + 64:
            self.small = deque(item for item in self.small if not item.is_dead)
            self.main = deque(item for item in self.main if not item.is_dead)


class Cache:
    """See the module."""

    def __init__(self, settings: CacheSettings) -> None:
        self.settings = settings
        self._partitions: dict[Route, _Partition] = {}
        self.size = 0

    def get(self, route: Route, question: bytes) -> Entry | None:
        """Return what is remembered, also past its time, and count the hit."""
        partition = self._partitions.get(route)
        if partition is None:
            return None
        entry = partition.entries.get(question)
        if entry is not None:
            entry.hits += 1
            if entry.frequency < 3:
                entry.frequency += 1
        return entry

    def put(self, route: Route, question: bytes, received: Received, now: float, *, trusted: bool) -> Entry | None:
        """Remember *received* if it may be, in place of what was there; return the entry."""
        partition = self._partitions.get(route)
        if partition is None:
            partition = self._partitions[route] = _Partition()
        partition.failures.pop(question, None)
        lifetime = self._lifetime(received)
        old = partition.entries.get(question)
        if old is not None:
            old.refreshing = False
        if not lifetime:
            if old is not None and received.rcode in (0, 3):
                # It has changed; what was known is known to be wrong.
                self._remove(partition, old)
            return None
        size = len(received.body) + 2 * len(question) + 8 * len(received.ttls) + limits.CACHE_OVERHEAD
        if size > self.settings.size // 8:
            return None
        entry = Entry(question, received, lifetime, now, now + lifetime, size, trusted)
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
        """Throw entries out of the routes that hold most; some at a time, which costs less than one for each that comes."""
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

    def _remove(self, partition: _Partition, entry: Entry) -> None:
        if not entry.is_dead:
            self.size -= entry.size
        partition.remove(entry)

    def can_be_stale(self, entry: Entry, now: float) -> bool:
        """Return whether *entry* may be told although its time is over: never a negative one, which would hide a new name."""
        return now <= entry.expires + self.settings.serve_stale and not is_negative(entry.received)

    # --- failures -----------------------------------------------------------------------------------------------

    def failed(self, route: Route, question: bytes, reason: str, now: float) -> None:
        """Remember that *question* failed."""
        partition = self._partitions.setdefault(route, _Partition())
        before = partition.failures.pop(question, None)
        is_first = before is None or now - before.until > limits.FAILURE_LONGEST
        delay = limits.FAILURE_FIRST if is_first else min(2 * before.delay, limits.FAILURE_LONGEST)  # type: ignore[union-attr]
        partition.failures[question] = Failure(now + delay, delay, reason)
        if len(partition.failures) > limits.FAILURES:
            del partition.failures[next(iter(partition.failures))]
        entry = partition.entries.get(question)
        if entry is not None:
            entry.refreshing = False

    def failure(self, route: Route, question: bytes, now: float) -> str | None:
        """Return why *question* failed, if that was a moment ago."""
        partition = self._partitions.get(route)
        if partition is None or not partition.failures:
            return None
        found = partition.failures.get(question)
        return found.reason if found is not None and found.until > now else None

    # --- looking and forgetting ---------------------------------------------------------------------------------

    def entries(self) -> Iterator[tuple[Route, Entry]]:
        """Yield everything that is remembered."""
        for route, partition in self._partitions.items():
            for entry in partition.entries.values():
                yield route, entry

    def known(self, route: Route, qname: bytes, rtype: int) -> list[Entry]:
        """Return what is remembered for a name and type, with whatever flags; no hit is counted."""
        partition = self._partitions.get(route)
        if partition is None:
            return []
        question = qname + rtype.to_bytes(2, "big") + IN.to_bytes(2, "big")
        return [entry for flags in _APART.values() if (entry := partition.entries.get(question + flags)) is not None]

    def forget(self, name: bytes | None = None) -> int:
        """Forget what is known of *name* (lower-case wire form) and below it, None: everything; return how many answers."""
        if name is None:
            count = sum(len(partition.entries) for partition in self._partitions.values())
            self._partitions.clear()
            self.size = 0
            return count
        count = 0
        for partition in self._partitions.values():
            gone = [entry for question, entry in partition.entries.items() if is_below(question, name)]
            for entry in gone:
                self._remove(partition, entry)
            for question in [item for item in partition.failures if is_below(item, name)]:
                del partition.failures[question]
            partition.tidy()
            count += len(gone)
        return count

    def keep(self, routes: Iterable[Route]) -> None:
        """Forget what was remembered for any route that is not among *routes*."""
        wanted = set(routes)
        for route in [item for item in self._partitions if item not in wanted]:
            self.size -= _size(self._partitions.pop(route))


def _size(partition: _Partition) -> int:
    return partition.small_size + partition.main_size


def question_of(qname: bytes, question: bytes, do: bool, flags: int) -> bytes:
    """Return the key for a question: answers with and without DNSSEC data are kept apart (DO, and CD and AD of *flags*)."""
    return qname + question[-4:] + _APART[flags & _KEPT | do]


_KEPT = CD | AD
_APART = {flags | do: bytes((flags | do,)) for flags in (0, CD, AD, CD | AD) for do in (0, 1)}


def name_of(question: bytes) -> bytes:
    """Return the name in a key."""
    return question[:-5]


def flags_of(question: bytes) -> str:
    """Return the flags that are kept apart in a key, as text: DO, CD, AD."""
    flags = question[-1]
    return " ".join(text for bit, text in ((1, "DO"), (CD, "CD"), (AD, "AD")) if flags & bit)


def is_below(question: bytes, name: bytes) -> bool:
    """Return whether the name in a key is *name* or below it."""
    if not question.endswith(name, 0, -5):
        return False
    found = name_of(question)
    at = 0
    while len(found) - at > len(name):
        at += 1 + found[at]
    return found[at:] == name
