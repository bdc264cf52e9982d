"""What one sandbox may see: the zones of its networks in search order, private aliases, where it may forward. Frozen.

Search: rules DNS-52..DNS-54, but for each family alone (W-17) and without regard to case (W-19).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from resolver import limits
from resolver.wire import name as names
from resolver.zone.policy import Policy
from resolver.zone.subnets import Subnets
from resolver.zone.upstream import Route
from resolver.zone.zone import Entry, Zone

Tail = bytes | Callable[[], bytes]
"""A rendered reply without its ID, or what returns one in turn."""


class ZoneSlot:
    """The one reference through which readers see a zone. Written by the registry; *watchers* hold rendered replies."""

    __slots__ = ("current", "watchers")

    def __init__(self, zone: Zone) -> None:
        self.current = zone
        self.watchers: set[ViewSlot] = set()

    def change(self, remove: Iterable[Entry], add: Iterable[Entry]) -> None:
        """Withdraw and publish names in one step, and forget the replies that told of them."""
        remove, add = tuple(remove), tuple(add)
        self.current = self.current.with_changes(remove, add)
        changed = {entry.name for entry in (*remove, *add)}
        qualified = {names.join(item, self.current.label) for item in changed}
        keys: dict[tuple[bytes, frozenset[Shape]], set[bytes]] = {}
        for watcher in self.watchers:
            if watcher.replies:
                watcher.forget(changed | qualified, qualified, keys)


@dataclass(frozen=True, slots=True)
class Attachment:
    """One network of a sandbox. *links*: private alias → name of its target, both wire octets (DNS-51)."""

    slot: ZoneSlot
    links: Mapping[bytes, bytes] = field(default_factory=dict)

    @property
    def zone(self) -> Zone:
        """The network's zone as it is now."""
        return self.slot.current


class Found(msgspec.Struct, frozen=True):
    """A name that exists: its values in the family asked for (none: NODATA), and where it was found."""

    values: tuple[bytes, ...]
    ttl: int
    source: str


_NOWHERE = Route()
_NO_SUBNETS = Subnets()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """*attachments* in gateway order. *route*: where foreign names go; *routes*: those below a domain, by its wire name.

    *allows_rebinding*: answers of upstreams may point into networks of this host. *policy*: see there.
    """

    attachments: tuple[Attachment, ...] = ()
    suffix: bytes = names.from_text("berth.internal")
    subnets: Subnets = _NO_SUBNETS
    route: Route = _NOWHERE
    routes: Mapping[bytes, Route] = field(default_factory=dict)
    allows_rebinding: bool = False
    policy: Policy | None = None

    @property
    def forwards_single_labels(self) -> bool:
        """Whether a name of one label that is not ours is forwarded."""
        return all(item.zone.forward_single_label for item in self.attachments)

    @property
    def ttl(self) -> int:
        """The TTL of negative answers that belong to no network."""
        return min((item.zone.ttl for item in self.attachments), default=5)

    def all_routes(self) -> Iterator[Route]:
        """Yield every route of this view."""
        yield self.route
        yield from self.routes.values()

    def route_of(self, qname: bytes) -> Route:
        """Return where the foreign name *qname* goes: the route of the longest domain it is below, else the common one."""
        at = 0
        while qname[at]:
            found = self.routes.get(qname[at:])
            if found is not None:
                return found
            at += 1 + qname[at]
        return self.route

    def find_addresses(self, qname: bytes, size: int) -> Found | None:
        """Return the addresses of *size* octets (4 or 16) of *qname*; None if the name is not ours."""
        if qname.endswith(self.suffix) and len(qname) > len(self.suffix):
            qname = qname[: -len(self.suffix)] + names.ROOT
        else:
            found = self._find(qname, self.attachments, size)
            if found is not None:
                return found
        for attachment in self.attachments:
            if qname.endswith(attachment.slot.current.label):
                return self._find_qualified(qname, size)
        return None

    def _find_qualified(self, qname: bytes, size: int) -> Found | None:
        """Return the addresses of what stands before an attached network's name, the shortest network name first."""
        matching = [item for item in self.attachments if qname.endswith(item.zone.label) and len(qname) > len(item.zone.label)]
        for item in sorted(matching, key=lambda item: len(item.zone.label)):
            found = self._find(qname[: -len(item.zone.label)] + names.ROOT, (item,), size)
            if found is not None:
                return found
        return None

    def find_service(self, qname: bytes) -> Found | None:
        """Return the ports and targets (two octets and a wire name each) of an SRV name of ours; None if there is no such name."""
        if qname.endswith(self.suffix) and len(qname) > len(self.suffix):
            qname = qname[: -len(self.suffix)] + names.ROOT
        for attachment in self.attachments:
            zone = attachment.slot.current
            short = qname[: -len(zone.label)] + names.ROOT if qname.endswith(zone.label) else qname
            for name in (qname, short):
                values = zone.find(name)
                if values:
                    return Found(values, zone.ttl, zone.source)
        return None

    def find_pointer(self, qname: bytes) -> Found | None:
        """Return the PTR target of the reverse-mapping name *qname*."""
        for attachment in self.attachments:
            zone = attachment.slot.current
            values = zone.find(qname)
            if values:
                return Found(values[:1], zone.ttl, zone.source)
        return None

    @staticmethod
    def _find(name: bytes, attachments: tuple[Attachment, ...], size: int) -> Found | None:
        """Return the first network's addresses of that size; NODATA of the first that knows the name, if none has any.

        Private aliases of any network come before names.
        """
        exists: Found | None = None
        linked = [item for item in attachments if item.links and name in item.links]
        for attachment in (*linked, *attachments):
            zone = attachment.slot.current
            registered = zone.look(attachment.links.get(name, name) if linked else name)
            if registered is not None:
                wanted = registered.of_size(size)
                if wanted:
                    return Found(wanted, zone.ttl, zone.source)
                exists = exists or Found((), zone.ttl, zone.source)
        return exists


Shape = tuple[bytes, bytes]
"""What a question looks like but for its ID and name: the octets before the name, and those behind it."""


class ViewSlot:
    """The one reference through which readers see a view, and the replies rendered from it. Written by the registry.

    *replies*: octets of a query behind its ID → its reply. They come in a few *shapes*, so that those about one name can
    be found again when it changes. *aged*: the keys of those whose TTL counts down.
    """

    __slots__ = ("__weakref__", "aged", "current", "in_flight", "queries", "replies", "sandbox", "shapes")

    def __init__(self, sandbox: str, view: View) -> None:
        self.sandbox = sandbox
        self.current = view
        self.replies: dict[bytes, Tail] = {}
        self.aged: list[bytes] = []
        self.shapes: frozenset[Shape] = frozenset()
        self.in_flight = 0
        self.queries = 0

    def swap(self, view: View) -> None:
        """Let readers see *view* from now on."""
        self.current = view
        self.forget_all()

    def remember(self, octets: bytes, size: int, tail: Tail) -> None:
        """Remember *tail* for the query *octets*, whose lower-case name takes *size* octets."""
        shape = (octets[2:12], octets[12 + size :])
        if shape not in self.shapes:
            if len(self.shapes) >= limits.SHAPES_PER_VIEW:
                self.forget_all()
            self.shapes |= {shape}
        self.replies[octets[2:]] = tail

    def forget(self, changed: set[bytes], qualified: set[bytes], keys: dict[tuple[bytes, frozenset[Shape]], set[bytes]]) -> None:
        """Forget the replies about names that changed. *keys* is shared by all who are told of one change."""
        view = self.current
        if any(attachment.links for attachment in view.attachments):
            # A private alias may lead to a changed name.
            self.forget_all()
            return
        wanted = keys.get((view.suffix, self.shapes))
        if wanted is None:
            every = changed | {names.join(item, view.suffix) for item in qualified}
            wanted = {head + name + rest for name in every for head, rest in self.shapes}
            keys[view.suffix, self.shapes] = wanted
        replies = self.replies
        if not replies.keys().isdisjoint(wanted):
            for key in replies.keys() & wanted:
                del replies[key]

    def forget_aged(self) -> None:
        """Forget the replies whose TTL counts down."""
        replies = self.replies
        for key in self.aged:
            replies.pop(key, None)
        self.aged = []

    def forget_all(self) -> None:
        """Forget every rendered reply."""
        self.replies = {}
        self.aged = []
        self.shapes = frozenset()
