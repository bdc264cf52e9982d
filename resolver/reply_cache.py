"""Replies as octets, remembered for queries that come again with the same octets. Pure.

Most queries of a sandbox are repetitions. `transport/batch.py` looks the octets behind the ID up in `ReplyCache.by_octets`
and sends what it finds: no decoding, no decision, no call of ours for each query. A hit is counted there with one addition
in the `Reply`, which was measured to cost less than any counting by a callable in the dict (10 ns; a function of ours
takes 60).

What is forgotten when:
* names change: the replies about them (`forget`); queries come in a few *shapes* (what stands before and behind the name),
  so that the keys of one name can be made from it;
* TTLs count down: replies made from cached answers, after a second (`age`);
* the view changes: all (`forget_all`);
* memory: the cache that holds most forgets all (`ReplyMemory`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

from resolver import limits
from resolver.wire import name as names
from resolver.wire.message import TC
from resolver.zone.published import NameChange

_TRUNCATED = TC >> 8

Shape = tuple[bytes, bytes]
"""What a query looks like apart from its ID and name: the octets before the name, and those behind it."""


class Reply:
    """One remembered reply, without its ID.

    *fixed*: its octets, if it is always the same and its RCODE is NOERROR. Else None, and *orders* has the octets for each
    order of the addresses, which take turns. *hits*: how often it was sent; the sender counts.
    """

    __slots__ = ("fixed", "hits", "orders", "rcode")

    def __init__(self, orders: Sequence[bytes]) -> None:
        first = orders[0]
        self.rcode = first[1] & 0xF
        is_fixed = len(orders) == 1 and not self.rcode
        self.fixed = first if is_fixed else None
        self.orders = () if is_fixed else tuple(orders)
        self.hits = 0

    def take(self) -> bytes:
        """Return the octets whose turn it is, and count the hit. `Batch.answer` does the same in its inner loop."""
        self.hits += 1
        return self.fixed if self.fixed is not None else self.orders[self.hits % len(self.orders)]

    def size(self) -> int:
        """Return how much memory its octets take."""
        return len(self.fixed) if self.fixed is not None else sum(limits.REPLY_ORDER_OVERHEAD + len(octets) for octets in self.orders)


class ReplyCache:
    """The replies to one client. *by_octets*: octets of a query behind its ID → its reply; always the same dict."""

    __slots__ = ("__weakref__", "_aging", "by_octets", "shapes", "size")

    def __init__(self) -> None:
        self.by_octets: dict[bytes, Reply] = {}
        self.size = 0
        self.shapes: frozenset[Shape] = frozenset()
        self._aging: list[tuple[bytes, Reply, Callable[[int], None]]] = []

    def find(self, octets: bytes, *, tcp: bool) -> bytes | None:
        """Return the reply to *octets* that is remembered, also if they differ in the case of letters only.

        The first zero octet ends the name in any message whose lower-case form is remembered: such a name has no zero in
        its labels, and no length octet changes with the case (they are below 64).
        """
        end = octets.find(0, 12)
        name = octets[12:end]
        lower = name.lower()
        # Also if it is in lower case: the listener sends short replies only.
        reply = self.by_octets.get(octets[2:12] + lower + octets[end:])
        if reply is None:
            return None
        reply.hits += 1
        tail = reply.fixed
        if tail is None:
            tail = reply.orders[reply.hits % len(reply.orders)]
        if tcp and tail[0] & _TRUNCATED:
            return None
        if lower == name:
            return octets[:2] + tail
        return octets[:2] + tail[:10] + name + tail[10 + len(name) :]

    def put(self, octets: bytes, name_size: int, reply: Reply) -> int:
        """Remember *reply* for the query *octets*, whose lower-case name takes *name_size* octets; return the memory it takes."""
        return self._put(octets[2:], name_size, reply)

    def put_aging(self, octets: bytes, name_size: int, reply: Reply, count: Callable[[int], None]) -> int:
        """Remember *reply* until `age`, which calls *count* with how often it was sent; return the memory it takes."""
        key = octets[2:]
        size = self._put(key, name_size, reply)
        self._aging.append((key, reply, count))
        return size

    def _put(self, key: bytes, name_size: int, reply: Reply) -> int:
        shape = (key[:10], key[10 + name_size :])
        self._drop(key)
        size = _size(key, reply)
        is_new = shape not in self.shapes
        if self.size + size > limits.REPLIES_PER_CLIENT or (is_new and len(self.shapes) >= limits.SHAPES_PER_CLIENT):
            self.forget_all()
            is_new = True
        if is_new:
            self.shapes |= {shape}
        self.by_octets[key] = reply
        self.size += size
        return size

    @property
    def is_aging(self) -> bool:
        """Whether there are replies whose TTLs count down."""
        return bool(self._aging)

    def age(self) -> None:
        """Forget the replies whose TTLs count down."""
        aging, self._aging = self._aging, []
        for key, reply, count in aging:
            if self.by_octets.get(key) is reply:
                self._drop(key)
            if reply.hits:
                count(reply.hits)

    def forget(self, change: NameChange, suffix: bytes) -> None:
        """Forget the replies about the names of *change*, whatever stands behind them: nothing, a network, or *suffix* too."""
        shapes = self.shapes

        def keys() -> frozenset[bytes]:
            every = change.names | change.qualified | {names.join(name, suffix) for name in change.qualified}
            return frozenset(head + name + rest for name in every for head, rest in shapes)

        wanted = change.derive((suffix, shapes), keys)
        if not self.by_octets.keys().isdisjoint(wanted):
            for key in self.by_octets.keys() & wanted:
                self._drop(key)

    def forget_all(self) -> None:
        """Forget every reply."""
        self.age()
        self.by_octets.clear()
        self.size = 0
        self.shapes = frozenset()

    def _drop(self, key: bytes) -> None:
        reply = self.by_octets.pop(key, None)
        if reply is not None:
            self.size -= _size(key, reply)


def _size(key: bytes, reply: Reply) -> int:
    return limits.REPLY_OVERHEAD + len(key) + reply.size()


class ReplyMemory:
    """The memory that the replies to all clients may take together. Looked at now and then: a look goes over all clients."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._caches: weakref.WeakSet[ReplyCache] = weakref.WeakSet()
        self._taken = 0

    def take(self, cache: ReplyCache, size: int) -> None:
        """Note that *cache* has grown by *size* octets. When there is no room left, the cache that holds most forgets all."""
        self._caches.add(cache)
        self._taken += size
        if self._taken > self._bound // limits.REPLIES_LOOKS:
            self._taken = 0
            while sum(each.size for each in self._caches) > self._bound:
                max(self._caches, key=lambda each: each.size).forget_all()

    def forget_all(self) -> None:
        """Have all caches forget every reply. It costs nothing for clients that have asked nothing since this was last called."""
        caches, self._caches = self._caches, weakref.WeakSet()
        for cache in caches:
            cache.forget_all()
