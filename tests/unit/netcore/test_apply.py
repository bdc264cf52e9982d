"""The executor without a kernel: what goes as one batch, what an error stops, what is undone."""

import errno
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from netcore.desired.diff import Step, diff
from netcore.desired.firewall import BRIDGES, DNAT_ANY, PORTS, SOURCE
from netcore.desired.flows import PortMove
from netcore.desired.objects import (
    DEFAULT4,
    DEFAULT6,
    HOST,
    Address,
    Bridge,
    BridgePort,
    Element,
    EspBlock,
    Hairpin,
    HostsLines,
    LinkUp,
    Macvlan,
    Neighbor,
    Route,
    Sysctl,
    Veth,
)
from netcore.errors import KernelError, NotFound, TeardownFailed, Unavailable
from netcore.kernel import apply as executor_module
from netcore.kernel import nft
from netcore.kernel import rtnl_bodies as bodies
from netcore.kernel.apply import Executor, _batches
from netcore.kernel.deferred_deletes import DeferredDeletes
from netcore.kernel.deferred_flows import DeferredFlows
from netcore.kernel.guard import Guard
from netcore.kernel.handlers import routing, sysctls
from netcore.kernel.netlink import attr, nested

MAC = "02:42:0a:00:00:02"
GATEWAY = ip_address("10.0.0.1")


def route(destination, gateway):
    return Route(sandbox_id="s", destination=destination, gateway=ip_address(gateway), ifname="eth0")


class Netlink:
    """Answers every request with None, or with the error that the kernel is made to give for its operation."""

    def __init__(self, kernel, name):
        self.kernel = kernel
        self.name = name

    port = 0

    def run(self, requests):
        if requests:
            self.kernel.calls.append((self.name, [f"{request.operation} {request.target}" for request in requests]))
        return [self.kernel.error(request) for request in requests]

    def get(self, request):
        """Answer that a link is the other end of the one that `Kernel.link_index` tells of."""
        self.run([request])
        error = self.kernel.error(request)
        if error is not None:
            raise error
        info = nested(18, attr(1, b"veth"))
        return bytes(16) + bodies.link(bodies.text(3, request.target), bodies.number(5, self.kernel.peer), info, index=9)

    def execute(self, request):
        (error,) = self.run([request])
        if error is not None:
            raise error

    def run_transaction(self, _begin, requests, _end):
        return self.run(requests)


class Kernel:
    """In place of `NetlinkSessions`: remembers each batch. *refuse*: operation → errno. *gone*: sandboxes without a namespace."""

    def __init__(self):
        self.calls = []
        self.refuse = {}
        self.gone = set()
        self.visits = []
        self.peer = 7
        self.deferred_deletes = DeferredDeletes(lambda *_: None, None)
        self.ending = None

    def __call__(self, _netns_path, _announcements, _guard, _host_sockets, _deferred_deletes, ending, _announced):
        self.ending = ending
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def error(self, request):
        code = next((code for operation, code in self.refuse.items() if f"{request.operation} {request.target}".startswith(operation)), 0)
        return KernelError(request.operation, request.target, code) if code else None

    def rtnetlink(self, sandbox_id, visit=None):
        if sandbox_id in self.gone:
            raise NotFound("netns", sandbox_id)
        if visit is not None:
            self.visits.append(sandbox_id)
            visit()
        return Netlink(self, sandbox_id or "host")

    def nftables(self):
        return Netlink(self, "nftables")

    def xfrm(self):
        return Netlink(self, "xfrm")

    def link_index(self, _sandbox_id, ifname):
        if ifname in self.refuse:
            raise KernelError("look up link", ifname, self.refuse[ifname])
        return 7

    @contextmanager
    def netns(self, sandbox_id):
        if sandbox_id in self.gone:
            raise NotFound("netns", sandbox_id)
        yield 5


@pytest.fixture
def kernel(monkeypatch):
    made = Kernel()
    monkeypatch.setattr(executor_module, "NetlinkSessions", made)
    monkeypatch.setattr(DeferredFlows, "flush", lambda *_: None)
    return made


@pytest.fixture
def written(monkeypatch):
    values = {}
    monkeypatch.setattr(sysctls.sysctl, "write", lambda path, value, **_: values.update({path: value}))
    return values


@pytest.fixture
def forgotten(monkeypatch):
    flows = []
    monkeypatch.setattr(DeferredFlows, "flush", lambda _, forgotten: flows.append(forgotten))
    return flows


def executor(later=lambda *_: None):
    return Executor(lambda _: "/nowhere", later, Guard())


SYSCTLS = [Sysctl(sandbox_id="s", path=f"net/ipv4/conf/eth0/{name}", value="1") for name in ("log_martians", "rp_filter")]
VETH = Veth(host_ifname="v0", sandbox_id="s", ifname="eth0", mac=MAC, mtu=1500, bridge="br0")
ADDRESSES = [Address(sandbox_id="s", ifname="eth0", interface=ip_interface(text)) for text in ("10.0.0.2/24", "fd00::2/64")]
UP = LinkUp(sandbox_id="s", ifname="eth0")
NEIGHBOR = Neighbor(sandbox_id=HOST, ifname="br0", address=ip_address("10.0.0.2"), mac=MAC)
ELEMENTS = [Element(set=PORTS, fields=("v0",)), Element(set=SOURCE[4], fields=("v0", MAC, ip_address("10.0.0.2")))]
PORT = BridgePort(host_ifname="v0", mac=MAC)
DOWN = ["change link 7", "take off its bridge 7"]
INSIDE = [("s", ["look up link eth0"]), ("s", ["change link 9", "rename link gone-9"])]
"""What frees the name in a sandbox that lives on."""
ENDPOINT = [VETH, PORT, Hairpin(host_ifname="v0"), *SYSCTLS, *ADDRESSES, UP, NEIGHBOR, *ELEMENTS]


def test_each_lane_is_one_batch(kernel, written):
    executor().apply(diff((), ENDPOINT))
    assert kernel.calls == [
        ("nftables", ["add element bridge ports", "add element bridge source4"]),
        ("host", ["create veth v0"]),
        ("host", ["change bridge port v0", f"set forwarding {MAC} static", "change bridge port v0"]),
        ("s", ["add address 10.0.0.2/24", "add address fd00::2/64", "change link eth0"]),
        ("host", [f"set neighbor 10.0.0.2 lladdr {MAC}"]),
    ]
    # One visit for all sysctls and for the socket.
    assert kernel.visits == ["s"]
    assert written == {sysctl.path: "1" for sysctl in SYSCTLS}


def test_deletion_is_as_short(kernel, forgotten):
    executor().remove(diff(ENDPOINT, ()), "endpoint")
    assert kernel.calls == [
        ("host", DOWN),
        *INSIDE,
        ("host", [f"delete neighbor 10.0.0.2 lladdr {MAC}"]),
        ("nftables", ["delete element bridge ports", "delete element bridge source4"]),
    ]
    assert kernel.visits == []
    assert [flows.addresses for flows in forgotten] == [{ip_address("10.0.0.2")}]


def test_what_ends_with_its_namespace_is_not_tidied_inside(kernel, forgotten):
    executor().remove(diff(ENDPOINT, ()), "sandbox", ending="s")
    assert [name for name, _ in kernel.calls] == ["host", "host", "nftables"]


def test_a_name_that_somebody_inside_gave_to_another_link_is_left_alone(kernel, forgotten):
    kernel.peer = 8
    executor().remove(diff(ENDPOINT, ()), "endpoint")
    assert kernel.calls[:3] == [("host", DOWN), INSIDE[0], ("host", [f"delete neighbor 10.0.0.2 lladdr {MAC}"])]


def test_a_pair_whose_new_name_is_taken_on_the_host_is_deleted_at_once(kernel, forgotten):
    kernel.refuse = {"take off its bridge": errno.EEXIST}
    executor().remove(diff(ENDPOINT, ()), "endpoint")
    assert kernel.calls[:2] == [("host", DOWN), ("host", ["delete link v0"])]


def test_a_link_whose_new_name_is_taken_inside_is_deleted_at_once(kernel, forgotten):
    kernel.refuse = {"rename link": errno.EEXIST}
    deleted = []
    kernel.deferred_deletes.delete = deleted.append
    executor().remove(diff(ENDPOINT, ()), "endpoint")
    assert len(deleted) == 1


def test_many_elements_of_one_set_are_one_request_and_added_and_deleted_ones_one_transaction(kernel):
    before = [Element(set=BRIDGES, fields=(f"old{number}",)) for number in range(3)]
    after = [Element(set=BRIDGES, fields=(f"new{number}",)) for number in range(700)]
    executor().apply(diff(before, after))
    assert kernel.calls == [("nftables", ["delete element inet bridges"] + ["add element inet bridges"] * 2)]


def test_changed_datum_is_deleted_and_added_in_one_transaction(kernel):
    one, two = (Element(set=DNAT_ANY[4], fields=("tcp", 80), data=(GATEWAY, port)) for port in (80, 81))
    executor().apply(diff([one], [two]))
    assert kernel.calls == [("nftables", ["delete element inet dnat4_any", "add element inet dnat4_any"])]


def test_sub_interface_is_made_from_the_host_and_deleted_inside(kernel):
    link = Macvlan(sandbox_id="s", ifname="eth1", parent="lan0", mode="bridge", mac=MAC, mtu=1500)
    executor().apply(diff((), [link]))
    executor().remove(diff([link], ()), "endpoint")
    assert kernel.calls == [("host", ["create macvlan eth1"]), ("s", ["delete link eth1"])]


def test_creations_and_deletions_in_one_namespace_are_two_batches():
    steps = [Step(None, route(DEFAULT4, "10.0.0.1")), Step(route(DEFAULT6, "fd00::1"), None)]
    assert list(_batches(steps)) == [steps[:1], steps[1:]]


def test_what_a_batch_did_behind_an_error_is_undone_too(monkeypatch):
    steps = [
        Step(route(DEFAULT4, "10.0.0.1"), route(DEFAULT4, "10.0.0.9")),
        Step(route(DEFAULT6, "fd00::1"), route(DEFAULT6, "fd00::9")),
    ]
    tried = executor()
    undone = []
    refused = KernelError("set route", "default", errno.EINVAL)
    monkeypatch.setattr(tried, "_run", lambda _sessions, batch: iter([(batch[0], refused), (batch[1], None)]))
    monkeypatch.setattr(tried, "remove", lambda undo, _target: undone.extend(undo))
    with pytest.raises(KernelError):
        tried.apply(steps)
    assert undone == [Step(steps[1].after, steps[1].before)]


def test_failed_step_is_named_and_what_was_done_is_undone(kernel, written):
    kernel.refuse = {"add address fd00::2/64": errno.EINVAL}
    with pytest.raises(KernelError) as raised:
        executor().apply(diff((), ENDPOINT))
    assert raised.value.__notes__ == ["while: create address fd00::2/64 dev eth0 in s"]
    # Everything else of the namespace goes with the link.
    assert kernel.calls[-4:] == [
        ("host", DOWN),
        *INSIDE,
        ("nftables", ["delete element bridge ports", "delete element bridge source4"]),
    ]


def test_undo_that_fails_is_noted_on_the_error(kernel, written):
    kernel.refuse = {"set neighbor": errno.EINVAL, "take off its bridge": errno.EBUSY}
    with pytest.raises(KernelError, match="set neighbor") as raised:
        executor().apply(diff((), ENDPOINT))
    assert raised.value.__notes__[-1].startswith("undo: removed what was done")
    assert "EBUSY" in raised.value.__notes__[-1]


def test_link_that_can_not_be_made_fails_its_step(kernel, written):
    kernel.refuse = {"create veth": errno.ENOSPC}
    with pytest.raises(KernelError, match="ENOSPC") as raised:
        executor().apply(diff((), ENDPOINT))
    assert raised.value.__notes__[0].startswith("while: create link v0 type veth")
    # Nothing of the next lane was begun, and what the kernel took is taken back.
    assert [name for name, _ in kernel.calls] == ["nftables", "host", "host", "host", "nftables"]


def test_element_transaction_fails_as_a_whole(kernel):
    kernel.refuse = {"add element bridge source4": errno.EINVAL}
    with pytest.raises(KernelError):
        executor().apply(diff((), ELEMENTS))
    assert len(kernel.calls) == 1


def test_absent_element_does_not_keep_the_others(kernel, forgotten):
    kernel.refuse = {"delete element bridge ports": errno.ENOENT}
    executor().remove(diff(ELEMENTS, ()), "elements")
    assert [operations for _, operations in kernel.calls] == [
        ["delete element bridge ports", "delete element bridge source4"],
        ["delete element bridge ports"],
        ["delete element bridge source4"],
    ]


def test_what_is_gone_already_is_no_error(kernel, forgotten):
    for refuse in (
        {"v0": errno.ENODEV},
        {"change link 7": errno.ENODEV},
        {"look up link eth0": errno.ENODEV},
        {"delete neighbor": errno.ENOENT},
    ):
        kernel.refuse = refuse
        executor().remove(diff(ENDPOINT, ()), "endpoint")
    kernel.gone = {"s"}
    executor().remove(diff(ENDPOINT, ()), "endpoint")
    kernel.gone = set()
    kernel.refuse = {"eth0": errno.ENODEV}
    executor().remove([Step(ADDRESSES[0], None)], "address")
    kernel.gone = {"s"}
    executor().remove([Step(ADDRESSES[0], None), Step(UP, None)], "address")


def test_removal_goes_on_at_errors_and_names_them_all(kernel, forgotten):
    kernel.refuse = {"delete neighbor": errno.EBUSY, "take off its bridge": errno.EPERM}
    with pytest.raises(TeardownFailed) as raised:
        executor().remove(diff(ENDPOINT, ()), "endpoint")
    assert len(raised.value.reasons) == 2
    assert forgotten


def test_namespace_that_is_gone_fails_a_creation_but_not_a_removal(kernel):
    kernel.gone = {"s"}
    with pytest.raises(NotFound):
        executor().apply([Step(None, UP)])
    executor().remove([Step(None, UP)], "link")


def test_link_that_is_missing_fails_what_needs_its_index(kernel):
    kernel.refuse = {"eth0": errno.ENODEV}
    with pytest.raises(KernelError, match="ENODEV"):
        executor().apply([Step(None, ADDRESSES[0])])


def test_sysctl_that_can_not_be_written_is_raised(kernel, monkeypatch):
    def refuse(*_, **__):
        raise Unavailable("writing", "read-only")

    monkeypatch.setattr(sysctls.sysctl, "write", refuse)
    with pytest.raises(Unavailable):
        executor().apply([Step(None, SYSCTLS[0])])
    with pytest.raises(TeardownFailed, match="read-only"):
        executor().remove([Step(None, SYSCTLS[0])], "sysctl")


def test_esp_that_exists_is_the_same(kernel):
    blocks = [EspBlock(own=GATEWAY, port=port, outgoing=True) for port in (4789, 4790)]
    kernel.refuse = {"set ESP policy": errno.EEXIST}
    executor().apply(diff((), blocks))
    assert [(name, len(operations)) for name, operations in kernel.calls] == [("xfrm", 2)]
    kernel.refuse = {"add address": errno.EEXIST}
    with pytest.raises(KernelError):
        executor().apply([Step(None, ADDRESSES[0])])


def test_hosts_lines_are_merged_and_taken_back(kernel, tmp_path):
    path = tmp_path / "hosts"
    path.write_text("mine\n")
    one, two = (HostsLines(path=str(path), lines=lines) for lines in (("a",), ("a", "b")))
    executor().apply(diff((), [one]))
    assert path.read_text() == "mine\na\n"
    executor().apply(diff([one], [two]))
    assert path.read_text() == "mine\na\nb\n"
    executor().remove(diff([two], ()), "sandbox")
    assert path.read_text() == "mine\n"
    path.unlink()
    executor().remove(diff([two], ()), "sandbox")
    assert not path.exists()
    executor().apply(diff((), [one]))
    assert path.read_text() == "a\n"
    assert kernel.calls == []


def test_flows_are_forgotten_later_when_a_port_is_published(kernel, forgotten):
    later = []
    tried = executor(lambda delay, body: later.append((delay, body)))
    tried.apply([Step(None, Element(set=DNAT_ANY[4], fields=("tcp", 80), data=(GATEWAY, 80)))])
    assert forgotten == []
    ((delay, body),) = later
    assert delay > 0
    body()
    assert [flows.ports for flows in forgotten] == [{PortMove(4, "tcp", None, 80, None, (GATEWAY, 80))}]
    tried.apply([Step(None, ELEMENTS[0])])
    assert len(later) == 1


class Lends:
    """Lends what nobody uses."""

    @contextmanager
    def lent(self, _protocol):
        yield None


def test_flows_past_a_port_are_forgotten_when_its_element_is_there_again(kernel, forgotten, monkeypatch):
    monkeypatch.setattr(nft, "write_tables", lambda *_: None)
    element = Element(set=DNAT_ANY[4], fields=("tcp", 80), data=(GATEWAY, 80))
    for restore in (lambda tried: tried.write_tables([*ELEMENTS, UP, element]), lambda tried: tried.forget_past([ELEMENTS[0], element])):
        later = []
        tried = executor(lambda _, body, later=later: later.append(body))
        monkeypatch.setattr(tried, "_host_sockets", Lends())
        restore(tried)
        (body,) = later
        body()
        assert [flows.ports for flows in forgotten] == [{PortMove(4, "tcp", None, 80, None, (GATEWAY, 80))}]
        forgotten.clear()


OTHER = ip_address("10.0.0.9")


def test_flows_of_a_port_that_leads_back_are_spared(kernel, forgotten):
    one, two = (Element(set=DNAT_ANY[4], fields=("tcp", 80), data=(address, 80)) for address in (GATEWAY, OTHER))
    there, back = [Step(one, two)], [Step(two, one)]
    for lead_back in (lambda tried: tried.apply(back), lambda tried: tried.remove(back, "x"), lambda tried: tried.take_back(there)):
        later = []
        tried = executor(lambda _, body, later=later: later.append(body))
        tried.apply(there)
        lead_back(tried)
        for body in later:
            body()
        moves = {move for flows in forgotten for move in flows.ports}
        assert moves == {PortMove(4, "tcp", None, 80, (OTHER, 80), (GATEWAY, 80))}
        forgotten.clear()


def test_flows_are_forgotten_all_the_same_if_the_port_can_not_be_led_back(kernel, forgotten):
    one, two = (Element(set=DNAT_ANY[4], fields=("tcp", 80), data=(address, 80)) for address in (GATEWAY, OTHER))
    later = []
    tried = executor(lambda _, body: later.append(body))
    tried.apply([Step(one, two)])
    kernel.refuse = {"add element inet dnat4_any": errno.EINVAL}
    with pytest.raises(KernelError):
        tried.apply([Step(two, one)])
    for body in later:
        body()
    assert PortMove(4, "tcp", None, 80, (GATEWAY, 80), (OTHER, 80)) in {move for flows in forgotten for move in flows.ports}


def test_flows_are_forgotten_when_no_element_can_begin_them_anew(kernel, monkeypatch):
    monkeypatch.setattr(DeferredFlows, "flush", lambda *_: kernel.calls.append(("flows", [])))
    executor().remove(diff(ENDPOINT, ()), "endpoint")
    assert [name for name, _ in kernel.calls[-2:]] == ["nftables", "flows"]


def test_flows_of_addresses_that_rest_are_forgotten_later_or_before_somebody_has_them(kernel, monkeypatch):
    monkeypatch.setattr(DeferredFlows, "flush", lambda _, flows: kernel.calls.append(("flows", [*flows.addresses, *flows.ports])))
    later = []
    tried = executor(lambda delay, body: later.append(body))
    steps = [*diff([Element(set=DNAT_ANY[4], fields=("tcp", 80), data=(GATEWAY, 80))], ()), *diff(ENDPOINT, ())]
    tried.remove(steps, "endpoint", addresses_rest=True)
    # What leads nowhere from now on has gone when the answer is there.
    assert kernel.calls[-1] == ("flows", [PortMove(4, "tcp", None, 80, (GATEWAY, 80), None)])
    kernel.calls.clear()
    tried.apply(diff((), [*ELEMENTS, UP]))
    assert [name for name, _ in kernel.calls] == ["flows", "nftables", "s"]
    later[-1]()
    assert [name for name, _ in kernel.calls].count("flows") == 1


def test_flows_of_addresses_that_no_record_has_rest_are_forgotten_at_once(kernel, forgotten):
    bound = ELEMENTS[1]
    tried = executor()
    # The same address behind another port keeps its flows.
    tried.apply([Step(bound, None), Step(None, replace(bound, fields=("v1", *bound.fields[1:])))])
    assert forgotten == []
    tried.apply([Step(bound, None)])
    assert [flows.addresses for flows in forgotten] == [{ip_address("10.0.0.2")}]


def test_replaced_bridge_is_taken_as_it_is(kernel):
    bridge = Bridge(name="br0", mac=MAC, mtu=1500, tag="t", reused=True)
    executor().apply(diff((), [bridge]))
    executor().remove(diff([bridge], ()), "network")
    assert kernel.calls == [("host", ["change link br0"])]


def test_route_moves_by_one_request(kernel):
    executor().apply(diff([route(DEFAULT4, "10.0.0.1")], [route(DEFAULT4, "10.0.0.9")]))
    assert kernel.calls == [("s", ["set route 0.0.0.0/0 via 10.0.0.9"])]
    assert routing.ROUTE.replace is None


def test_route_over_a_link_that_is_down_waits_and_is_no_error_where_something_goes(kernel, written, forgotten):
    kernel.refuse = {"set route": errno.ENETUNREACH}
    (step,) = diff([route(DEFAULT4, "10.0.0.9")], [route(DEFAULT4, "10.0.0.1")])
    assert executor().remove([step], "endpoint") == [step]
    with pytest.raises(KernelError, match="ENETUNREACH"):
        executor().apply([step])
    kernel.refuse = {"set route": errno.EINVAL}
    with pytest.raises(TeardownFailed):
        executor().remove([step], "endpoint")
