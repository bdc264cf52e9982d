"""What one sandbox may see: the zones of its networks in search order, private aliases, where it may forward. Frozen.

Search: docker-behaviour DNS-52..DNS-54, but for each family alone (W-17) and without regard to case (W-19).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from resolver.wire import name as names
from resolver.zone.zone import Zone


@dataclass(frozen=True, slots=True)
class Upstream:
    """A nameserver to forward to. *netns*: sandbox id from whose namespace it is asked, "" for the host's."""

    address: str
    port: int = 53
    netns: str = ""


class ZoneSlot:
    """The one reference through which readers see a zone. Written by the registry; *watchers* hold rendered replies."""

    __slots__ = ("current", "watchers")

    def __init__(self, zone: Zone) -> None:
        self.current = zone
        self.watchers: set[ViewSlot] = set()

    def swap(self, zone: Zone) -> None:
        """Let readers see *zone* from now on, and forget what was rendered from the old one."""
        self.current = zone
        for watcher in self.watchers:
            watcher.answers = {}


@dataclass(frozen=True, slots=True)
class Attachment:
    """One network of a sandbox. *links*: private alias → name of its target, both wire octets (DNS-51)."""

    slot: ZoneSlot
    links: Mapping[bytes, bytes] = field(default_factory=dict)

    @property
    def zone(self) -> Zone:
        """The network's zone as it is now."""
        return self.slot.current


@dataclass(frozen=True, slots=True)
class Found:
    """A name that exists: its values in the family asked for (none: NODATA), and where it was found."""

    values: tuple[bytes, ...]
    ttl: int
    network: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """*attachments* in gateway order. *upstreams* are those it may use now; *no_upstream* says why there are none."""

    attachments: tuple[Attachment, ...] = ()
    suffix: bytes = names.from_text("berth.internal")
    subnets: tuple[IPv4Network | IPv6Network, ...] = ()
    upstreams: tuple[Upstream, ...] = ()
    no_upstream: str = "no nameserver is configured"

    @property
    def forwards_single_labels(self) -> bool:
        """Whether a name of one label that is not ours is forwarded."""
        return all(item.zone.forward_single_label for item in self.attachments)

    @property
    def ttl(self) -> int:
        """The TTL of negative answers that belong to no network."""
        return min((item.zone.ttl for item in self.attachments), default=5)

    def find_addresses(self, qname: bytes, size: int) -> Found | None:
        """Return the addresses of *size* octets (4 or 16) of *qname*; None if the name is not ours."""
        exists: Found | None = None
        for candidate, attachments in self._candidates(qname):
            for attachment, values in self._values(candidate, attachments):
                wanted = tuple(value for value in values if len(value) == size)
                found = Found(wanted, attachment.zone.ttl, names.to_text(attachment.zone.label))
                if wanted:
                    return found
                exists = exists or found
            if exists is not None:
                return exists
        return exists

    def find_pointer(self, qname: bytes) -> Found | None:
        """Return the PTR target of the reverse-mapping name *qname*."""
        for attachment in self.attachments:
            values = attachment.zone.find(qname)
            if values:
                return Found(values[:1], attachment.zone.ttl, names.to_text(attachment.zone.label))
        return None

    def _candidates(self, qname: bytes) -> Iterator[tuple[bytes, tuple[Attachment, ...]]]:
        """Yield (name, where to look): the whole name anywhere, then what stands before each attached network's name."""
        if qname.endswith(self.suffix) and len(qname) > len(self.suffix):
            inner = qname[: -len(self.suffix)] + names.ROOT
            yield from self._qualified(inner)
            return
        yield qname, self.attachments
        yield from self._qualified(qname)

    def _qualified(self, qname: bytes) -> Iterator[tuple[bytes, tuple[Attachment, ...]]]:
        matching = [item for item in self.attachments if qname.endswith(item.zone.label) and len(qname) > len(item.zone.label)]
        for item in sorted(matching, key=lambda item: len(item.zone.label)):
            yield qname[: -len(item.zone.label)] + names.ROOT, (item,)

    @staticmethod
    def _values(name: bytes, attachments: tuple[Attachment, ...]) -> Iterator[tuple[Attachment, tuple[bytes, ...]]]:
        for attachment in attachments:
            target = attachment.links.get(name)
            values = attachment.zone.find(target) if target is not None else None
            if values is not None:
                yield attachment, values
        for attachment in attachments:
            if name not in attachment.links:
                values = attachment.zone.find(name)
                if values is not None:
                    yield attachment, values


class ViewSlot:
    """The one reference through which readers see a view, and the replies rendered from it. Written by the registry."""

    __slots__ = ("answers", "current", "in_flight", "queries", "sandbox")

    def __init__(self, sandbox: str, view: View) -> None:
        self.sandbox = sandbox
        self.current = view
        self.answers: dict[bytes, list[bytes]] = {}
        self.in_flight = 0
        self.queries = 0

    def swap(self, view: View) -> None:
        """Let readers see *view* from now on."""
        self.current = view
        self.answers = {}
