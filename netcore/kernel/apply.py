"""The one executor: carries out steps of `diff`, in batches; undoes what it did when one fails. Blocking.

Neighbouring steps for the same door (rtnetlink in one namespace, one nftables transaction, one hosts file) go as one
batch. Undo of a failed `apply` is the diff between what was reached and what was there before.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import groupby
from threading import Thread
from typing import TypeVar, assert_never

from netcore import limits
from netcore.desired import hostsfile
from netcore.desired.diff import Step, diff
from netcore.desired.firewall import SETS
from netcore.desired.objects import (
    HOST,
    Address,
    Announcement,
    Bridge,
    DummyLink,
    Element,
    EspBlock,
    EspPolicy,
    EspState,
    Forwarding,
    Hairpin,
    HostLink,
    HostsLines,
    Ipvlan,
    LinkUp,
    Macvlan,
    MovedLink,
    Neighbor,
    Route,
    Sysctl,
    Veth,
    VlanLink,
    VxlanLink,
)
from netcore.errors import KernelError, NetcoreError, NotFound, TeardownFailed
from netcore.kernel import announce, conntrack, files, netns, nft, rtnl, sysctl, xfrm
from netcore.kernel.netlink import NETFILTER, ROUTE, XFRM, NetlinkSocket, Request
from netcore.model import IPAddress, NetnsPath, SandboxId

_T = TypeVar("_T")

_ABSENT = {errno.ENODEV, errno.ENOENT, errno.EADDRNOTAVAIL, errno.ESRCH, errno.ENETUNREACH, errno.ENXIO}

Later = Callable[[float, Callable[[], None]], None]
"""(seconds, what to do then on a worker thread)."""


class Executor:
    """Carries out steps. *netns_path*: sandbox id → path of its namespace. *later*: for repeated announcements."""

    def __init__(self, netns_path: Callable[[SandboxId], NetnsPath], later: Later) -> None:
        self._netns_path = netns_path
        self._later = later

    def apply(self, steps: Sequence[Step]) -> None:
        """Carry out *steps*; when one fails, undo those done and raise its error."""
        done: list[Step] = []
        try:
            with _Doors(self._netns_path) as doors:
                for lane in _lanes(steps):
                    failed: KernelError | None = None
                    for step, error in self._run(doors, lane):
                        # The kernel goes on with a batch behind an error: what it did there must be undone too.
                        if error is None:
                            done.append(step)
                        elif failed is None:
                            error.add_note(f"while: {step.describe()}")
                            failed = error
                    if failed is not None:
                        raise failed
        except BaseException as error:
            self._undo(done, error)
            raise
        if _flows(done) != (set(), set()):
            # Not waited for, nor done meanwhile: new flows are right already, and looking through the table keeps a
            # processor in the kernel for 9 ms.
            self._later(limits.FORGET_FLOWS_AFTER, lambda: _forget_flows(done))

    def remove(self, steps: Sequence[Step], target: str) -> None:
        """Carry out *steps* without stopping at an error; raise TeardownFailed with all of them at the end."""
        reasons: list[str] = []
        flows: Thread | None = None
        with _Doors(self._netns_path) as doors:
            for lane in _lanes(steps):
                if flows is None and isinstance(lane[0].subject, Veth):
                    # The removal of a link is a long wait for the kernel; flows are forgotten meanwhile.
                    flows = Thread(target=_forget_flows, args=(steps,), name="flows", daemon=True)
                    flows.start()
                try:
                    reasons += [str(error) for _, error in self._run(doors, lane) if error is not None]
                except NotFound:
                    continue
                except (NetcoreError, OSError) as error:
                    reasons.append(str(error))
        if flows is None:
            _forget_flows(steps)
        else:
            flows.join()
        if reasons:
            raise TeardownFailed(target, tuple(reasons))

    def _undo(self, done: Sequence[Step], error: BaseException) -> None:
        reached = [step.after for step in done if step.after is not None]
        was = [step.before for step in done if step.before is not None]
        try:
            self.remove(diff(reached, was), "what was done")
        except NetcoreError as second:
            error.add_note(f"undo: {second}")

    def _run(self, doors: _Doors, lane: Sequence[Step]) -> Iterator[tuple[Step, KernelError | None]]:
        match lane[0].subject:
            case Element():
                yield from _elements(doors, lane)
            case EspState() | EspPolicy() | EspBlock():
                yield from _esp(lane)
            case HostsLines():
                for step in lane:
                    _hosts(step)
                    yield step, None
            case Announcement():
                for step in lane:
                    if isinstance(step.after, Announcement):
                        self._announce(doors, step.after)
                    yield step, None
            case _:
                yield from _links(doors, lane)

    def _announce(self, doors: _Doors, item: Announcement) -> None:
        if item.port:
            _wait_until_forwarding(doors.rtnl(HOST), item.port)
        sock = doors.packet(item.sandbox_id, item.ifname)
        announce.send(sock, item.mac, item.addresses)
        self._announce_again(sock, item, item.count - 1)

    def _announce_again(self, sock: socket.socket, item: Announcement, left: int) -> None:
        def again() -> None:
            try:
                announce.send(sock, item.mac, item.addresses)
            except OSError:
                # The link went away in the meantime, and the address with it.
                sock.close()
                return
            self._announce_again(sock, item, left - 1)

        # Closing a packet socket waits for the kernel's readers, 5 to 10 ms: not on the way of a connect.
        if left <= 0:
            self._later(0.0, sock.close)
        else:
            self._later(item.interval, again)


_Addresses = set[IPAddress]
_Ports = set[tuple[int, str, int]]


def _flows(steps: Iterable[Step]) -> tuple[_Addresses, _Ports]:
    """Return the addresses that went, and the host ports that were published or unpublished: whose flows lead astray."""
    addresses: _Addresses = set()
    ports: _Ports = set()
    for step in steps:
        match step.subject:
            case Element(table="bridge", set="source4" | "target6", fields=(_, _, address)) if step.after is None:
                if not isinstance(address, str | int) and not address.is_unspecified and not address.is_link_local:
                    addresses.add(address)
            case Element(set="dnat4" | "dnat4_any" | "dnat6" | "dnat6_any" as name, fields=fields):
                ports.add((4 if "4" in name else 6, str(fields[0]), int(str(fields[-1]))))
    return addresses, ports


def _forget_flows(steps: Iterable[Step]) -> None:
    """Delete the conntrack entries of what *steps* made or took away."""
    addresses, ports = _flows(steps)
    if addresses or ports:
        with NetlinkSocket(NETFILTER) as netlink:
            try:
                conntrack.flush(netlink, addresses, ports)
            except KernelError:
                # A kernel without connection tracking has no stale entries.
                return


class _Doors:
    """Sockets opened on first need, each in its namespace, for the length of one run of steps."""

    def __init__(self, netns_path: Callable[[SandboxId], NetnsPath]) -> None:
        self._netns_path = netns_path
        self._stack = ExitStack()
        self._rtnl: dict[SandboxId | None, NetlinkSocket] = {}
        self._index: dict[tuple[SandboxId | None, str], int] = {}

    def __enter__(self) -> _Doors:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def rtnl(self, where: SandboxId | None, sysctls: Sequence[Sysctl] = ()) -> NetlinkSocket:
        """Return the rtnetlink socket of *where*, having written *sysctls* there: one visit for both."""

        def visit() -> NetlinkSocket | None:
            for item in sysctls:
                sysctl.write(item.path, item.value, optional=item.optional)
            return None if where in self._rtnl else NetlinkSocket(ROUTE)

        if where not in self._rtnl or sysctls:
            made = visit() if where is None else self._inside(where, visit)
            if made is not None:
                self._rtnl[where] = self._stack.enter_context(made)
        return self._rtnl[where]

    def nftables(self) -> NetlinkSocket:
        return self._stack.enter_context(NetlinkSocket(NETFILTER))

    def packet(self, where: SandboxId, ifname: str) -> socket.socket:
        return self._inside(where, lambda: announce.open_packet_socket(ifname))

    def index(self, where: SandboxId | None, ifname: str) -> int:
        if (where, ifname) not in self._index:
            self._index[where, ifname] = rtnl.link_index(self.rtnl(where), ifname)
        return self._index[where, ifname]

    def netns(self, where: SandboxId) -> AbstractContextManager[int]:
        return netns.opened(self._netns_path(where))

    def _inside(self, where: SandboxId, body: Callable[[], _T]) -> _T:
        with self.netns(where) as descriptor:
            return netns.run_inside(descriptor, body)


def _lane(step: Step) -> tuple[str, SandboxId | None, bool]:
    match step.subject:
        case Element():
            return "nft", HOST, False
        case EspState() | EspPolicy() | EspBlock():
            return "esp", HOST, step.after is None
        case HostsLines():
            return "hosts", HOST, False
        case Announcement():
            return "announce", HOST, False
        case Veth() | Bridge() | VlanLink() | DummyLink() | VxlanLink() | Hairpin() | Forwarding():
            return "link", HOST, step.after is None
        case Macvlan() | Ipvlan() | MovedLink() if step.after is not None:
            # Made from the host, where the parent is.
            return "link", HOST, False
        case other:
            return "rtnl", other.sandbox_id, step.after is None


def _lanes(steps: Sequence[Step]) -> Iterator[list[Step]]:
    for _, group in groupby(steps, key=_lane):
        yield list(group)


def _elements(doors: _Doors, lane: Sequence[Step]) -> Iterator[tuple[Step, KernelError | None]]:
    netlink = doors.nftables()
    try:
        nft.commit(netlink, nft.element_requests(_changes(lane), SETS))
    except KernelError as error:
        if error.errno != errno.ENOENT or any(step.after is not None for step in lane):
            yield lane[0], error
            return
        # An element is gone already: delete the others one by one.
        for step in lane:
            yield step, _absent_is_done(lambda step=step: nft.commit(netlink, nft.element_requests(_changes([step]), SETS)))  # type: ignore[misc]
        return
    for step in lane:
        yield step, None


def _changes(steps: Sequence[Step]) -> Iterator[tuple[Element, bool]]:
    """Yield each element of *steps* and whether it goes."""
    for step in steps:
        if isinstance(step.before, Element):
            yield step.before, True
        if isinstance(step.after, Element):
            yield step.after, False


def _absent_is_done(action: Callable[[], None]) -> KernelError | None:
    try:
        action()
    except KernelError as error:
        return None if error.errno in _ABSENT else error
    return None


def _hosts(step: Step) -> None:
    before = step.before.lines if isinstance(step.before, HostsLines) else ()
    after = step.after.lines if isinstance(step.after, HostsLines) else ()
    path = step.subject.path if isinstance(step.subject, HostsLines) else ""
    try:
        current = files.read(path)
    except FileNotFoundError:
        if step.after is None:
            return
        current = ""
    files.write_in_place(path, hostsfile.merge_hosts(current, before, after))


def _links(doors: _Doors, lane: Sequence[Step]) -> Iterator[tuple[Step, KernelError | None]]:
    """Carry out steps of one rtnetlink socket: sysctls at once, then links one by one, then the rest as one batch."""
    where = _lane(lane[0])[1]
    deleting = lane[0].after is None
    sysctls = [step.after for step in lane if isinstance(step.after, Sysctl)]
    try:
        netlink = doors.rtnl(where, sysctls)
    except NotFound:
        if not deleting:
            raise
        # The namespace is gone, and with it everything inside.
        for step in lane:
            yield step, None
        return
    batch: list[tuple[Step, Request]] = []
    for step in lane:
        match step.subject:
            case Bridge() | VlanLink() | DummyLink() | VxlanLink() | Veth() | Macvlan() | Ipvlan() | MovedLink():
                yield step, _link_step(doors, netlink, step)
            case Sysctl():
                yield step, None
            case _:
                try:
                    batch += [(step, request) for request in _requests(doors, step)]
                except KernelError as error:
                    if not (deleting and error.errno in _ABSENT):
                        yield step, error
                        return
                    yield step, None
    errors = netlink.run([request for _, request in batch])
    for (step, _), failed in zip(batch, errors, strict=True):
        yield step, None if failed is not None and deleting and failed.errno in _ABSENT else failed


def _esp(lane: Sequence[Step]) -> Iterator[tuple[Step, KernelError | None]]:
    """Carry out steps for encryption. What is there already is done: a state follows from its keys, so it is the same."""
    with NetlinkSocket(XFRM) as netlink:
        errors = netlink.run([xfrm.request(step.subject, create=step.after is not None) for step in lane])
    for step, failed in zip(lane, errors, strict=True):
        done = failed is not None and failed.errno in (_ABSENT if step.after is None else (errno.EEXIST,))
        yield step, None if done else failed


def _link_step(doors: _Doors, netlink: NetlinkSocket, step: Step) -> KernelError | None:
    try:
        match step.before, step.after:
            case _, Bridge(reused=True) as item:
                _first_error(netlink, [rtnl.set_link(item.name)])
            case _, Bridge() | VlanLink() | DummyLink() | VxlanLink() as item:
                rtnl.ensure_link(netlink, _creation(doors, item), item.tag)
                if isinstance(item, VxlanLink):
                    _first_error(netlink, [rtnl.set_port(item.name, **_TUNNEL_PORT)])
            case _, Veth() as item:
                _make_veth(doors, netlink, item)
            case _, Macvlan() | Ipvlan() as item:
                _make_slice(doors, netlink, item)
            case _, MovedLink() as item:
                with doors.netns(item.sandbox_id) as inside:
                    _first_error(netlink, [rtnl.move_link(item.source, doors.index(HOST, item.source), inside, item.ifname)])
                if item.mac:
                    _first_error(doors.rtnl(item.sandbox_id), [rtnl.set_mac(item.ifname, item.mac)])
            case (Bridge(reused=False) | VlanLink() | DummyLink() | VxlanLink()) as item, None:
                _first_error(netlink, [rtnl.delete_link(item.name)])
            case Veth() as item, None:
                _first_error(netlink, [rtnl.delete_link(item.host_ifname)])
            case (Macvlan() | Ipvlan()) as item, None:
                _first_error(netlink, [rtnl.delete_link(item.ifname)])
            case MovedLink() as item, None:
                with netns.opened(netns.OWN) as host:
                    _first_error(netlink, [rtnl.move_link(item.ifname, doors.index(item.sandbox_id, item.ifname), host, item.source)])
    except KernelError as error:
        return None if step.after is None and error.errno in _ABSENT else error
    return None


_TUNNEL_PORT = {"neigh_suppress": 1, "learning": 0, "unicast_flood": 0, "mcast_flood": 0, "bcast_flood": 0}
"""A tunnel's flags as bridge port: who is where is told, and ARP and ND are answered here for who is elsewhere."""


def _creation(doors: _Doors, item: HostLink) -> Request:
    match item:
        case Bridge():
            return rtnl.add_bridge(item.name, item.mac, item.mtu)
        case VlanLink():
            return rtnl.add_vlan(item.name, base=doors.index(HOST, item.base), vid=item.vid)
        case DummyLink():
            return rtnl.add_dummy(item.name, item.mtu)
        case VxlanLink():
            master = doors.index(HOST, item.bridge)
            return rtnl.add_vxlan(item.name, vni=item.vni, port=item.port, local=item.local, master=master, mtu=item.mtu)
    assert_never(item)


def _make_slice(doors: _Doors, netlink: NetlinkSocket, item: Macvlan | Ipvlan) -> None:
    parent = doors.index(HOST, item.parent)
    with doors.netns(item.sandbox_id) as inside:
        match item:
            case Macvlan():
                request = rtnl.add_macvlan(item.ifname, parent=parent, netns=inside, mode=item.mode, mac=item.mac, mtu=item.mtu)
            case Ipvlan():
                request = rtnl.add_ipvlan(item.ifname, parent=parent, netns=inside, mode=item.mode, flag=item.flag, mtu=item.mtu)
        _first_error(netlink, [request])


def _make_veth(doors: _Doors, netlink: NetlinkSocket, item: Veth) -> None:
    with doors.netns(item.sandbox_id) as peer:
        requests = [
            rtnl.add_veth(
                item.host_ifname,
                master=doors.index(HOST, item.bridge),
                mtu=item.mtu,
                peer_ifname=item.ifname,
                peer_mac=item.mac,
                peer_netns=peer,
            )
        ]
        _first_error(netlink, requests)


def _first_error(netlink: NetlinkSocket, requests: Sequence[Request]) -> None:
    for error in netlink.run(requests):
        if error is not None:
            raise error


def _requests(doors: _Doors, step: Step) -> list[Request]:
    item, create = step.subject, step.after is not None
    match item:
        case Forwarding():
            index = doors.index(HOST, item.ifname)
            return rtnl.forwarding(item.mac, item.vtep, index, create=create)
        case Hairpin():
            return [rtnl.set_port(item.host_ifname, mode=int(create))]
        case Address():
            index = doors.index(item.sandbox_id, item.ifname)
            return [(rtnl.add_address if create else rtnl.delete_address)(item.interface, index)]
        case LinkUp():
            return [rtnl.set_link(item.ifname, up=create)]
        case Neighbor():
            index = doors.index(item.sandbox_id, item.ifname)
            return [(rtnl.replace_neighbor if create else rtnl.delete_neighbor)(item.address, item.mac, index)]
        case Route():
            index = doors.index(item.sandbox_id, item.ifname)
            return [(rtnl.replace_route if create else rtnl.delete_route)(item.destination, item.gateway, index)]
        case (
            Bridge()
            | VlanLink()
            | DummyLink()
            | VxlanLink()
            | EspState()
            | EspPolicy()
            | EspBlock()
            | Veth()
            | Macvlan()
            | Ipvlan()
            | MovedLink()
            | Sysctl()
            | Element()
            | HostsLines()
            | Announcement()
        ):
            return []
    assert_never(item)


def _wait_until_forwarding(netlink: NetlinkSocket, host_ifname: str) -> None:
    """Wait until the port passes frames; otherwise the first packet of a new sandbox is lost and costs a second."""
    end = time.monotonic() + limits.FORWARDING_WAIT
    pause = 0.0002
    while time.monotonic() < end:
        if rtnl.is_forwarding(netlink, host_ifname):
            return
        time.sleep(pause)
        pause = min(pause * 1.5, 0.005)
    raise KernelError("wait for", f"bridge port {host_ifname}", errno.ETIMEDOUT, "it does not reach the forwarding state")
