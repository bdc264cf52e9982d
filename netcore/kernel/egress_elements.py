"""What answers open in the firewall: elements with a time, written in one transaction before the answer leaves. Blocking, 50 us.

Adding an element changes no chain, so it costs the same on any host. An element that is there already gets its time by being added
again; on kernels before 6.12, which would leave its time as it is, it is destroyed and made again in the same transaction, which no
packet sees.

Spec: Linux include/uapi/linux/netfilter/nf_tables.h (NFT_MSG_DESTROYSETELEM since 6.3).
"""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from operator import attrgetter
from threading import Lock
from typing import NamedTuple

from netcore.desired.egress_rules import ALLOWED_MARK, ASKED, GENERATIONS_OF, TimedElement
from netcore.desired.look_rules import FOLLOWED, NUMBER
from netcore.desired.objects import Element
from netcore.errors import KernelError
from netcore.kernel import flow_filter, flow_marks, nf_tables, nft
from netcore.kernel.netlink import NETFILTER, NetlinkSocket, Request, attr, find, nested, walk
from netcore.model import IPAddress

_KEY, _VALUE, _TIMEOUT, _EXPIRATION, _USERDATA = 1, 1, 4, 5, 6
_MILLISECONDS = struct.Struct("!Q")
_COMMENT = 0
"""Type of the one entry of an element's user data (libnftnl: NFTNL_UDATA_SET_ELEM_COMMENT)."""
_MARK, _MARK_MASK = 8, 21


@dataclass(frozen=True, slots=True)
class Asked:
    """That *name* was answered with *address* to who has the address *source*, and still counts for *left* seconds."""

    source: IPAddress
    address: IPAddress
    name: str
    left: float


class EgressElements:
    """Writes and reads them, in the namespace of the thread that first does. *open_socket*: of nfnetlink.

    *renews*: whether the kernel gives an element that is added again its new time; None: as its version says.
    """

    def __init__(self, open_socket: Callable[[], NetlinkSocket] = lambda: NetlinkSocket(NETFILTER), *, renews: bool | None = None) -> None:
        self._open_socket = open_socket
        self._renews = _kernel_renews(os.uname().release) if renews is None else renews
        self._socket: NetlinkSocket | None = None
        self._lock = Lock()

    def write(self, opened: Iterable[TimedElement], closed: Iterable[TimedElement] = (), fresh: Iterable[TimedElement] = ()) -> None:
        """Remove *closed* and add *opened*, or give these another time, and add *fresh*, none of which is there; all or nothing.

        Raises KernelError.
        """
        before = [*opened]
        added = _encoded([*before, *fresh])
        removed = _encoded([*closed])
        for where, elements in _encoded(before).items() if not self._renews else ():
            removed.setdefault(where, {}).update(elements)
        changes = [*_requests(removed, destroy=True), *_requests(added, destroy=False)]
        with self._lock:
            try:
                nft.commit(self._opened(), changes)
            except OSError as error:
                self.close_socket()
                raise KernelError("open", "addresses of an answer", error.errno or errno.EIO) from error

    def asked(self) -> list[Asked]:
        """Return what the kernel holds from before; nothing where there are no tables."""
        with self._lock:
            try:
                return [one for family in (4, 6) for one in self._asked(family)]
            except KernelError as error:
                if error.errno == errno.ENOENT:
                    return []
                raise

    def _asked(self, family: int) -> Iterable[Asked]:
        size = 4 if family == 4 else 16
        for element in nf_tables.list_elements(self._opened(), ASKED[family].table, ASKED[family].name):
            # There may be hundreds of thousands.
            attributes = dict(walk(element))
            key, left, data = find(attributes.get(_KEY, b""), _VALUE), attributes.get(_EXPIRATION), attributes.get(_USERDATA)
            if key is None or left is None or data is None or len(data) < 2 or data[0] != _COMMENT:
                continue
            name = data[2 : 2 + data[1]].rstrip(b"\0").decode("ascii", errors="replace")
            yield Asked(ip_address(key[:size]), ip_address(key[size : 2 * size]), name, _MILLISECONDS.unpack(left)[0] / 1000)

    def live(self, sources: Sequence[IPAddress]) -> frozenset[IPAddress]:
        """Return the addresses that *sources* have tracked connections to which rules have allowed."""
        mark = attr(_MARK, struct.pack("!I", ALLOWED_MARK)) + attr(_MARK_MASK, struct.pack("!I", ALLOWED_MARK))
        found: set[IPAddress] = set()
        with self._open_socket() as netlink:
            for family in {source.version for source in sources}:
                packed = {source.packed for source in sources if source.version == family}
                source_end, target_end = flow_filter.ends(family)
                request = Request(flow_filter.GET, 0, flow_filter.head(family) + mark, "list", "conntrack entries")
                for message in netlink.dump(request):
                    ends = find(message[20:], flow_filter.TUPLE_ORIG, flow_filter.TUPLE_IP) or b""
                    target = find(ends, target_end)
                    if find(ends, source_end) in packed and target is not None:
                        found.add(ip_address(target))
        return frozenset(found)

    def move_flows(self, moves: Sequence[Move]) -> None:
        """Have connections go on, or be known to no rule any more, as *moves* say. The table of connections is walked once for all."""
        marked = [
            TimedElement(element=Element(set=GENERATIONS_OF[source.version], fields=(source, move.after)), left=0)
            for move in moves
            for source in move.sources
        ]
        with self._lock:
            nft.commit(self._opened(), requests(marked))
        asking = [move for move in moves if move.may_go_on is not None]
        by_source = {source: move for move in asking for source in move.sources}
        if not by_source:
            return
        whole = ALLOWED_MARK if len(asking) > 1 else 0xFFFF_FFFF
        with self._open_socket() as netlink:
            for family in sorted({source.version for source in by_source}):
                allowed = _marked(netlink, family, asking[0].before & whole, whole)
                # By what the kernel finds a connection by: a walk may tell of one twice, and a mark that is exchanged twice is as before.
                changes: dict[tuple[bytes, bytes], Request] = {}
                for mark, flow in allowed:
                    move = by_source.get(flow.source)
                    if move is not None and move.before == mark and move.may_go_on is not None and move.may_go_on(flow):
                        changes[flow.tuple, flow.zone] = _remark(family, flow, mark, move.after)
                # HTTP connections that are followed have no generation.
                for mark, flow in _marked(netlink, family, FOLLOWED, ~NUMBER & 0xFFFF_FFFF):
                    move = by_source.get(flow.source)
                    if move is not None and move.may_go_on is not None and not move.may_go_on(flow):
                        changes[flow.tuple, flow.zone] = _remark(family, flow, mark, 0)
                netlink.run([*changes.values()])

    def _opened(self) -> NetlinkSocket:
        if self._socket is None:
            self._socket = self._open_socket()
        return self._socket

    def close_socket(self) -> None:
        """Close the socket; the next use opens another one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _kernel_renews(release: str) -> bool:
    major, _, rest = release.partition(".")
    minor = re.match(r"\d*", rest)
    return (int(major or 0), int((minor and minor[0]) or 0)) >= _RENEWS_SINCE if major.isdigit() else False


_RENEWS_SINCE = 6, 12


class TrackedFlow(NamedTuple):
    """A tracked connection as it began. *tuple*: its octets; *zone*: the attribute, nothing if it has none."""

    source: IPAddress
    source_port: int
    address: IPAddress
    protocol: str
    port: int
    tuple: bytes
    zone: bytes


class Move(NamedTuple):
    """Other rules for who sends from *sources*: what had the mark *before* is to have the mark *after*, if it may go on.

    *may_go_on*: None: what is allowed by its address alone goes on, which its next packet finds.
    """

    sources: tuple[IPAddress, ...]
    before: int
    after: int
    may_go_on: Callable[[TrackedFlow], bool] | None


def _marked(netlink: NetlinkSocket, family: int, mark: int, mask: int) -> Iterator[tuple[int, TrackedFlow]]:
    """Yield the connections of a family with this mark, each with its own."""
    wanted = attr(_MARK, struct.pack("!I", mark)) + attr(_MARK_MASK, struct.pack("!I", mask))
    for message in netlink.dump(Request(flow_filter.GET, 0, flow_filter.head(family) + wanted, "list", "conntrack entries")):
        flow = _flow(message[20:], family)
        if flow is not None:
            yield int.from_bytes(find(message[20:], _MARK) or b"", "big"), flow


def _remark(family: int, flow: TrackedFlow, before: int, after: int) -> Request:
    """Return the request that gives *flow* the mark *after*. What has begun between its ends since it was listed has another mark, mostly
    that of what is held until it names its server; it must not be allowed by what was said about *flow* (`flow_marks`).
    """
    return flow_marks.exchange_of_tuple(family, flow.tuple, before, after, zone=flow.zone, target="conntrack entry")


def _flow(body: bytes, family: int) -> TrackedFlow | None:
    original, reply = find(body, flow_filter.TUPLE_ORIG), find(body, flow_filter.TUPLE_REPLY)
    if original is None or reply is None:
        return None
    source_end, target_end = flow_filter.ends(family)
    source = find(original, flow_filter.TUPLE_IP, source_end)
    # Behind translation: what rules are about is who answers.
    address = find(reply, flow_filter.TUPLE_IP, source_end)
    number = find(original, flow_filter.TUPLE_PROTO, flow_filter.PROTO_NUM)
    port = find(reply, flow_filter.TUPLE_PROTO, flow_filter.SOURCE_PORT)
    source_port = find(original, flow_filter.TUPLE_PROTO, flow_filter.SOURCE_PORT)
    if source is None or address is None or number is None or find(original, flow_filter.TUPLE_IP, target_end) is None:
        return None
    protocol = flow_filter.PROTOCOL_NAMES.get(number[0], str(number[0]))
    zone = find(body, flow_filter.ZONE)
    return TrackedFlow(
        ip_address(source), int.from_bytes(source_port or b"", "big"), ip_address(address), protocol,
        int.from_bytes(port or b"", "big"), original,
        attr(flow_filter.ZONE, zone) if zone is not None else b"",
    )  # fmt: skip


def requests(timed: Sequence[TimedElement]) -> list[Request]:
    """Return the requests that add *timed*."""
    return _requests(_encoded(timed), destroy=False)


_Encoded = dict[tuple[str, str], dict[bytes, TimedElement]]
"""(table, set) → encoded keys."""


def _encoded(timed: Sequence[TimedElement]) -> _Encoded:
    by_set: _Encoded = {}
    # An address that several names have is open for the longest of them.
    for one in sorted(timed, key=attrgetter("left")):
        wanted = one.element.set
        by_set.setdefault((wanted.table, wanted.name), {})[_key(one.element)] = one
    return by_set


def _key(element: Element) -> bytes:
    """Return the attributes with the key of *element*, quickly if it is of an address and a port."""
    match element.fields:
        case (IPv4Address() | IPv6Address() as source, IPv4Address() | IPv6Address() as address, str(protocol), int(port)):
            encoded = source.packed + address.packed + _PROTOCOL_OF[protocol] + _PORT.pack(port)
            return _KEY_HEADS[len(encoded)] + encoded
        case _:
            return nft.element_key(element)


_PORT = struct.Struct("!Hxx")
_PROTOCOL_OF = {name: bytes([flow_filter.PROTOCOLS[name], 0, 0, 0]) for name in ("tcp", "udp", "sctp")}
_KEY_HEADS = {length: nested(_KEY, attr(_VALUE, bytes(length)))[:-length] for length in (16, 40)}


def _requests(encoded: _Encoded, *, destroy: bool) -> list[Request]:
    return [
        request
        for (table, name), elements in encoded.items()
        for request in nft.raw_requests(
            table, name, [key if destroy else key + _time(one) for key, one in elements.items()], destroy=destroy
        )
    ]


_TIMEOUT_HEAD, _EXPIRATION_HEAD = attr(_TIMEOUT, bytes(8))[:4], attr(_EXPIRATION, bytes(8))[:4]


def _time(timed: TimedElement) -> bytes:
    if not timed.left:
        return b""
    left = _MILLISECONDS.pack(timed.left)
    made = _TIMEOUT_HEAD + left + _EXPIRATION_HEAD + left
    if timed.comment:
        text = timed.comment.encode() + b"\0"
        made += attr(_USERDATA, bytes([_COMMENT, len(text)]) + text)
    return made
