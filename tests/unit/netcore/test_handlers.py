"""The table of handlers: total over the kinds of kernel objects, and what each reports of what exists."""

import errno
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from typing import get_args

import pytest

from netcore.desired.objects import (
    DEFAULT4,
    HOST,
    Address,
    Announcement,
    Bridge,
    Hairpin,
    KernelObject,
    LinkUp,
    Macvlan,
    Neighbor,
    Route,
    Subsystem,
    Sysctl,
    Veth,
    VethPeer,
    VxlanLink,
)
from netcore.kernel import handlers
from netcore.kernel.handlers import HANDLERS, handler_of
from netcore.kernel.handlers.handler import Handler
from netcore.kernel.inventory import NamespaceInventory
from netcore.kernel.rtnl import Link
from tests.unit.netcore.test_objects import OBJECTS

MAC = "02:42:0a:00:00:02"
S = "sandbox"
GATEWAY = ip_address("10.0.0.1")


def test_every_kind_has_a_handler():
    assert set(HANDLERS) == set(get_args(KernelObject))


def test_every_handler_is_for_one_kind():
    made = [
        each
        for module in vars(handlers).values()
        for each in (vars(module).values() if getattr(module, "__name__", "").startswith("netcore.kernel.handlers.") else ())
        if isinstance(each, Handler)
    ]
    assert sorted(map(id, made)) == sorted(map(id, HANDLERS.values()))


@pytest.mark.parametrize("wanted", OBJECTS, ids=lambda value: type(value).__name__)
def test_only_kinds_that_live_inside_a_namespace_are_visited_there(wanted):
    if handler_of(wanted).visit is not None:
        assert wanted.lane.subsystem is Subsystem.STACK


def test_only_what_follows_from_keys_may_exist_already():
    kinds = {kind.__name__ for kind, handler in HANDLERS.items() if errno.EEXIST in handler.already}
    assert kinds == {"EspState", "EspPolicy", "EspBlock", "OwnDefaultRoute"}


# --- observing ------------------------------------------------------------------------------------------------------------


class Inventory:
    """What a host with one bridge, one tunnel and one sandbox has."""

    def __init__(self, **namespaces):
        self.namespaces = namespaces

    def of(self, sandbox_id):
        return self.namespaces.get("host" if sandbox_id is HOST else sandbox_id)

    def sysctl(self, sandbox_id, path):
        return None if self.of(sandbox_id) is None else self.of(sandbox_id).sysctls.get(path)

    def link(self, sandbox_id, ifname):
        return None if self.of(sandbox_id) is None else self.of(sandbox_id).links.get(ifname)


def link(index, name, **more):
    return Link(**{"index": index, "name": name, "kind": "", "up": True, "mtu": 1500, "mac": MAC, "alias": "", "master": 0, **more})


def namespace(*links, addresses=(), routes=(), neighbors=()):
    by_name = {each.name: each for each in links}
    names = {each.index: each.name for each in links}
    return NamespaceInventory(by_name, names, frozenset(addresses), frozenset(routes), frozenset(neighbors))


ADDRESS = Address(sandbox_id=S, ifname="eth0", interface=ip_interface("10.0.0.2/24"))
ROUTE = Route(sandbox_id=S, destination=DEFAULT4, gateway=GATEWAY, ifname="eth0")
NEIGHBOR = Neighbor(sandbox_id=S, ifname="eth0", address=GATEWAY, mac=MAC)
BRIDGE = Bridge(name="br0", mac=MAC, mtu=1500, tag="berth:n")
VETH = Veth(host_ifname="v0", sandbox_id=S, ifname="eth0", mac=MAC, mtu=1500, bridge="br0")
PEER = VethPeer(host_ifname="v0", sandbox_id=S, ifname="eth0", mac=MAC, mtu=1500)
VXLAN = VxlanLink(name="vx-5", vni=5, port=4789, local=GATEWAY, bridge="br0", mtu=1450, tag="t")
UP = LinkUp(sandbox_id=S, ifname="eth0")
MACVLAN = Macvlan(sandbox_id=S, ifname="eth0", parent="lan0", mode="bridge", mac=MAC, mtu=1500)
HOST_LINKS = (link(1, "br0", kind="bridge", alias="berth:n"), link(2, "v0", master=1, peer=1), link(3, "vx-5", alias="t", master=1))
FULL = Inventory(
    host=namespace(*HOST_LINKS),
    sandbox=namespace(
        link(1, "eth0", kind="veth", peer=2),
        addresses=[("eth0", ADDRESS.interface)],
        routes=[("eth0", DEFAULT4, GATEWAY)],
        neighbors=[("eth0", GATEWAY, MAC)],
    ),
)


def exists(wanted, inventory=FULL):
    return handler_of(wanted).observe(inventory, wanted)


@pytest.mark.parametrize(
    "wanted", [ADDRESS, ROUTE, NEIGHBOR, BRIDGE, VETH, PEER, VXLAN, UP, MACVLAN], ids=lambda value: type(value).__name__
)
def test_what_is_there_is_seen(wanted):
    assert exists(wanted)
    assert not exists(wanted, Inventory(host=namespace(), sandbox=namespace()))


def test_what_is_there_otherwise_is_not_what_is_wanted():
    assert not exists(replace(ADDRESS, interface=ip_interface("10.0.0.2/16")))
    assert not exists(replace(ROUTE, gateway=None))
    assert not exists(replace(NEIGHBOR, mac="02:42:0a:00:00:09"))
    assert not exists(replace(BRIDGE, tag="berth:other"))
    assert exists(replace(BRIDGE, tag="berth:other", reused=True))
    assert not exists(replace(VETH, bridge="br1"))
    assert not exists(replace(VETH, mtu=1400))
    # The other end by another name is not the pair's fault; in another namespace it is.
    assert exists(replace(VETH, ifname="eth1"))
    assert not exists(VETH, Inventory(host=namespace(*HOST_LINKS), sandbox=namespace(link(1, "eth0", peer=9))))
    for wrong in ({"ifname": "eth1"}, {"mac": "02:42:0a:00:00:09"}, {"mtu": 1400}):
        assert not exists(replace(PEER, **wrong))
    assert not exists(PEER, Inventory(host=namespace(link(5, "v0")), sandbox=FULL.of("sandbox")))
    assert exists(PEER, Inventory(host=namespace(), sandbox=FULL.of("sandbox")))
    for index, wanted in ((0, BRIDGE), (2, VXLAN)):
        down = [replace(each, up=each is not HOST_LINKS[index]) for each in HOST_LINKS]
        assert not exists(wanted, Inventory(host=namespace(*down)))
    assert not exists(UP, Inventory(sandbox=namespace(link(1, "eth0", up=False))))


def test_nothing_is_seen_in_a_namespace_that_is_gone():
    host_only = Inventory(host=namespace(*HOST_LINKS))
    assert not [wanted for wanted in (ADDRESS, ROUTE, NEIGHBOR, VETH, UP, MACVLAN) if exists(wanted, host_only)]


def test_what_is_not_there_is_not_seen_and_what_was_said_is_not_said_again():
    assert not exists(Sysctl(sandbox_id=S, path="net/ipv4/ip_forward", value="1"))
    assert not exists(Hairpin(host_ifname="v0"))
    assert exists(Announcement(sandbox_id=S, ifname="eth0", port=None, mac=MAC, addresses=(), count=3, interval=1.0))
