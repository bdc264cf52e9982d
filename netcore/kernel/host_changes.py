"""What changes on the host, from its rtnetlink notifications: which of them make the last look at it outdated.

Our own networks and sandboxes cause most notifications, and those say nothing new. Links are taken over from the
notifications themselves; whatever else concerns a link that is not ours means another look.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from netcore.drivers.host_routes import HostRoute, is_ignored
from netcore.kernel import rtnl
from netcore.kernel.deferred_deletes import is_leaving
from netcore.kernel.host import HostSnapshot
from netcore.kernel.netlink import message_type, walk
from netcore.kernel.notifications import Notifications
from netcore.kernel.routing_tables import is_link_local, read_routes

log = logging.getLogger(__name__)

_NEWLINK, _DELLINK, _NEWADDR, _DELADDR, _NEWROUTE, _DELROUTE, _NEWRULE, _DELRULE, _NEWNETCONF = 16, 17, 20, 21, 24, 25, 32, 33, 80
_AF_UNSPEC = 0
_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")
_NETCONF_HEADER = 4
_NETCONF_IFINDEX = 1
_ALL_LINKS, _FUTURE_LINKS = -1, -2
_LINK_LOCAL_SCOPE = 253

EVERY_LINK = ""
"""In place of the name of a link whose sysctls have changed."""

_LastWords = dict[int, tuple[str, bytes]]
"""Index of a link, of which nothing but what it is in the end counts → its name, and the last message of it so far."""


@dataclass(slots=True)
class Noticed:
    """What came since it was last asked for. *is_outdated*: another look is needed. *sysctls*: links that had some changed.

    *renamed*: (old name, new name) of links, in the order in which it happened.
    """

    is_outdated: bool = True
    sysctls: set[str] = field(default_factory=set)
    renamed: list[tuple[str, str]] = field(default_factory=list)


class HostChanges:
    """A subscription to what changes on the host, in the namespace of the calling thread. Used by one thread."""

    def __init__(self) -> None:
        self._notifications: Notifications | None = None
        self._snapshot: HostSnapshot | None = None
        self._by_name: dict[str, int] = {}
        self._with_part: frozenset[int] | None = None
        self._ours: Collection[str] = ()
        self._expected: set[str] = set()
        self._noticed = Noticed()

    def start(self) -> None:
        """Subscribe, unless that was done. Where the kernel refuses, every look is outdated at once."""
        if self._notifications is not None:
            return
        try:
            self._notifications = Notifications.of_host()
        except OSError as error:
            log.warning("changes of this host are not noticed at once reason=%s", error)

    @property
    def descriptor(self) -> int | None:
        """What is readable once something has changed, None without a subscription."""
        return self._notifications.fileno() if self._notifications is not None else None

    @property
    def snapshot(self) -> HostSnapshot | None:
        """The last look, links brought up to date; without what says nothing of the host, which grows with our networks."""
        return self._snapshot

    def link_named(self, name: str) -> rtnl.Link | None:
        """Return the link called *name*, as it is now, None if there is none."""
        index = self._by_name.get(name)
        return self._snapshot.links[index] if self._snapshot is not None and index is not None else None

    def looked(self, snapshot: HostSnapshot, ours: Collection[str]) -> None:
        """Take *snapshot* for what is there now. The look began after the last `is_outdated`, with links of *ours*."""
        self._by_name = {link.name: index for index, link in snapshot.links.items()}
        self._with_part = None
        own = {self._by_name[name] for name in ours if name in self._by_name}
        self._snapshot = replace(
            snapshot,
            addresses=tuple((index, address) for index, address in snapshot.addresses if index not in own),
            routes=tuple(route for route in snapshot.routes if route.link not in own and not _says_nothing(route)),
        )

    def expect(self, link: str) -> None:
        """At the next `is_outdated` *link* is ours in any case: it was, or will be, and what is told of it until then is no news."""
        self._expected.add(link)

    def begin_look(self) -> None:
        """Note that a look begins: what comes from now on outdates it."""
        self._noticed.is_outdated = False

    def look_failed(self) -> None:
        """Note that a look came to nothing."""
        self._noticed.is_outdated = True

    def is_outdated(self, ours: Collection[str]) -> bool:
        """Return whether another look is needed. *ours*: names of links that exist for our networks; it may change in place.

        Who takes a name out of it says so by `expect`: the link goes, or is no longer ours.
        """
        if self._notifications is None:
            return True
        came = self._notifications.read()
        self._ours = ours
        if came is None or self._snapshot is None:
            self._noticed.is_outdated = True
            self._noticed.sysctls.add(EVERY_LINK)
            self._expected.clear()
            return True
        last: _LastWords = {}
        for message in came:
            self._take(self._snapshot, message, last)
        for name, message in last.values():
            self._take_new_link(self._snapshot, message, name)
        # What happened to a link while it was ours was not looked at.
        if any(name in self._by_name for name in self._expected if name not in ours):
            self._noticed.is_outdated = True
        self._expected.clear()
        return self._noticed.is_outdated

    def changed_sysctls(self) -> set[str]:
        """Return the links that had sysctls changed since this was last called; EVERY_LINK among them: any of them."""
        changed, self._noticed.sysctls = self._noticed.sysctls, set()
        return changed

    def renamed_links(self) -> list[tuple[str, str]]:
        """Return (old name, new name) of the links that were renamed since this was last called, in their order."""
        renamed, self._noticed.renamed = self._noticed.renamed, []
        return renamed

    def _take(self, snapshot: HostSnapshot, message: bytes, last: _LastWords) -> None:
        """Take one message over. *last*: what is taken over at the end."""
        match message_type(message):
            case type_ if type_ in (_NEWLINK, _DELLINK):
                self._take_link(snapshot, message, last, is_gone=type_ == _DELLINK)
            case type_ if type_ in (_NEWADDR, _DELADDR):
                _, _, _, scope, index = _IFADDR.unpack_from(message, 16)
                if scope != _LINK_LOCAL_SCOPE and not self._is_ours(snapshot, last, index):
                    self._noticed.is_outdated = True
            case type_ if type_ in (_NEWROUTE, _DELROUTE):
                if is_link_local(message):
                    return
                # A route of a kind that does not count here has nothing to say.
                for route in read_routes(message):
                    if not self._is_ours(snapshot, last, route.link) and not is_ignored(route.destination):
                        self._noticed.is_outdated = True
            case type_ if type_ in (_NEWRULE, _DELRULE):
                self._noticed.is_outdated = True
            case type_ if type_ == _NEWNETCONF:
                self._take_netconf(snapshot, last, message)

    def _take_link(self, snapshot: HostSnapshot, message: bytes, last: _LastWords, *, is_gone: bool) -> None:
        family, _, index, _, _ = _IFINFO.unpack_from(message, 16)
        if family != _AF_UNSPEC:
            # Of the port of a bridge: what comes of it is not the link's.
            return
        before, known = snapshot.links.get(index), self._name(snapshot, last, index)
        last.pop(index, None)
        is_of_part = before is not None and not self._is_own(before.name) and self._has_part(snapshot, index)
        if is_gone:
            self._drop(snapshot, index)
            # Its IPv4 routes go without notifications of their own.
            self._noticed.is_outdated |= is_of_part
            return
        name = rtnl.link_name(message)
        if not is_of_part and known in (name, None):
            # A connect causes a dozen of these for each end.
            last[index] = name, message
        else:
            self._take_new_link(snapshot, message, known)

    def _take_new_link(self, snapshot: HostSnapshot, message: bytes, known: str | None) -> None:
        """Read a message of a link in full. *known*: the name that the link had until now, None if it is new."""
        _, _, index, _, _ = _IFINFO.unpack_from(message, 16)
        before = self._drop(snapshot, index)
        if is_leaving(rtnl.link_group(message)):
            # It is gone for everybody; that it is still there is news of nothing.
            return
        after = rtnl.read_link(message)
        snapshot.links[index] = after
        self._by_name[after.name] = index
        if known is not None and known != after.name:
            self._noticed.renamed.append((known, after.name))
        if before is None or self._is_own(after.name):
            return
        if replace(before, alias="", mac="", master=0) != replace(after, alias="", mac="", master=0) and self._has_part(snapshot, index):
            self._noticed.is_outdated = True

    def _drop(self, snapshot: HostSnapshot, index: int) -> rtnl.Link | None:
        """Forget a link and return what it was, None if it was not known."""
        known = snapshot.links.pop(index, None)
        if known is not None and self._by_name.get(known.name) == index:
            del self._by_name[known.name]
        return known

    def _has_part(self, snapshot: HostSnapshot, index: int) -> bool:
        """Return whether a link has addresses or routes that count, as far as was seen."""
        if self._with_part is None:
            found = {link for link, interface in snapshot.addresses if not is_ignored(interface.network)}
            for route in snapshot.routes:
                # There may be a million of them over one link.
                if route.link not in found and not is_ignored(route.destination):
                    found.add(route.link)
            self._with_part = frozenset(found)
        return index in self._with_part

    def _is_ours(self, snapshot: HostSnapshot, last: _LastWords, index: int) -> bool:
        return self._is_own(self._name(snapshot, last, index))

    @staticmethod
    def _name(snapshot: HostSnapshot, last: _LastWords, index: int) -> str | None:
        link = snapshot.links.get(index)
        return last[index][0] if index in last else link.name if link is not None else None

    def _is_own(self, name: str | None) -> bool:
        return name is not None and (name in self._ours or name in self._expected)

    def _take_netconf(self, snapshot: HostSnapshot, last: _LastWords, message: bytes) -> None:
        attributes = dict(walk(message[16 + _NETCONF_HEADER :]))
        (index,) = struct.unpack("=i", attributes.get(_NETCONF_IFINDEX, b"\0\0\0\0"))
        if index == _ALL_LINKS:
            self._noticed.sysctls.add(EVERY_LINK)
        elif index != _FUTURE_LINKS and (name := self._name(snapshot, last, index)) is not None:
            self._noticed.sysctls.add(name)

    def close(self) -> None:
        """End the subscription."""
        if self._notifications is not None:
            self._notifications.close()
            self._notifications = None


def _says_nothing(route: HostRoute) -> bool:
    """Return whether *route* is one that every link has by itself with IPv6, also the thousand ends of sandboxes' links."""
    return route.gateway is None and route.destination.version == 6 and is_ignored(route.destination)
