"""Egress rules in plans: what a sandbox has, what the firewall gets of it and when, and what is refused before anything happens."""

import itertools
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.desired import egress_rules
from netcore.desired.diff import diff
from netcore.desired.objects import Element, LinkUp, Veth
from netcore.desired.objects.kind import Between
from netcore.drivers.facts import Facts
from netcore.egress import read
from netcore.egress.intervals import pieces
from netcore.egress.openings import Opening
from netcore.egress.ports import NOTHING, Ports
from netcore.egress.settings import EgressSettings
from netcore.errors import InvalidRequest
from netcore.kernel import nft
from netcore.model import Endpoint, Sandbox, Stack
from netcore.plan import desired_state, egress
from tests.support.networks import bridge_network, pool

NETWORK = bridge_network("a", pool("10.0.0.0/24", "10.0.0.1"), identity="n" * 12)
SHARED = replace(bridge_network("default", pool("10.9.0.0/24", "10.9.0.1"), identity="d" * 12))
SANDBOX = Sandbox(id="s" * 64, name="job", hostname="job", netns_path="/x", boot_id="")
ENDPOINT = Endpoint(
    origin="api", network_id="n" * 12, sandbox_id="s" * 64, ifname="eth0", host_ifname="veth1", mac="02:42:0a:00:00:02",
    ipv4=ip_interface("10.0.0.2/24"), ipv6=None,
)  # fmt: skip
NETWORKS = {network.id: network for network in (NETWORK, SHARED)}
SETTINGS = EgressSettings()
FACTS = Facts(uplinks=("up0",))


def with_rules(*rules, **more):
    return replace(SANDBOX, egress=egress.checked(rules, SETTINGS), **more)


def objects(sandbox, facts=FACTS, networks=NETWORKS):
    return desired_state.desired(sandbox, [ENDPOINT], networks, facts, hosts_path="/h", loopback_ipv6=False)


def elements(sandbox, **more):
    found = {}
    for wanted in objects(sandbox, **more):
        if isinstance(wanted, Element) and wanted.set in egress_rules.SETS:
            found.setdefault(wanted.set.name, []).append(" . ".join(map(str, (*wanted.fields, *wanted.data))))
    return found


def test_without_a_rule_there_is_nothing():
    assert elements(SANDBOX) == {}
    assert egress.policy_of(SANDBOX, [ENDPOINT], NETWORKS, SETTINGS) is None


def test_who_may_reach_no_peer_does_not_search_for_peers():
    assert "confined_talkers" not in elements(with_rules("x.test"))
    assert "confined_talkers" not in elements(with_rules("public", "network:other"))
    for rule in ("none", "all", "network:a", "network:a:80"):
        assert elements(with_rules(rule))["confined_talkers"] == ["veth1"]


def test_what_the_firewall_holds_of_rules():
    found = elements(with_rules("x.test", "10.1.0.0/16:5432", "192.0.2.1", "deny:10.1.9.0/24", "host:8080-8081", "network:a:80", "public"))
    mark = found["egress_generation4"][0].split(" . ")[1]
    assert int(mark) & 0xFF00_0000 == egress_rules.ALLOWED_MARK
    assert found == {
        "confined_ports": [f"veth1 . {NETWORK.bridge.bridge_mac}"],
        "confined_macs": [f"{ENDPOINT.mac} . {NETWORK.bridge.bridge_mac}"],
        "confined4": ["10.0.0.2"],
        "confined_links": [f"veth1 . {ENDPOINT.mac}"],
        "confined_talkers": ["veth1"],
        "confined": [f"{NETWORK.bridge.bridge_name} . {ENDPOINT.mac}"],
        "egress_host": [f"{NETWORK.bridge.bridge_name} . {ENDPOINT.mac} . tcp . 8080-8081"],
        "egress_generations4": [f"10.0.0.2 . {mark}"],
        "egress_generation4": [f"10.0.0.2 . {mark}"],
        "egress_public4": ["10.0.0.2"],
        "egress_prefixes4": [
            "10.0.0.2 . 10.1.0.0-10.1.255.255 . tcp . 5432",
            *(f"10.0.0.2 . 192.0.2.1 . {protocol} . 1-65535" for protocol in ("tcp", "udp", "sctp")),
        ],
        "egress_prefixes_others4": ["10.0.0.2 . 192.0.2.1"],
        "egress_denied4": [f"10.0.0.2 . 10.1.9.0-10.1.9.255 . {protocol} . 1-65535" for protocol in ("tcp", "udp", "sctp")],
        "egress_denied_others4": ["10.0.0.2 . 10.1.9.0-10.1.9.255"],
        "egress_peers4": ["10.0.0.2 . 10.0.0.0-10.0.0.255 . tcp . 80"],
    }


def test_every_element_can_be_encoded_and_has_two_ends_in_a_set_of_intervals():
    for wanted in objects(with_rules("10.1.0.0/16:5432", "host", "network:a", "deny:public:9")):
        if isinstance(wanted, Element) and wanted.set in egress_rules.SETS:
            size = len(nft.encode_fields(wanted.set.key_types, nft.interval_fields(wanted.fields)[0]))
            assert len(nft.encoded_key(wanted)) == size * (2 if wanted.set.interval else 1)
            assert nft.element_requests([nft.ElementChange(wanted, delete=False), nft.ElementChange(wanted, delete=True)])


def test_other_rules_are_another_generation_and_the_same_are_the_same():
    def generation(sandbox):
        policy = egress.policy_of(sandbox, [ENDPOINT], NETWORKS, SETTINGS)
        return egress.firewall_part(policy, sandbox).generation

    one, same, other = (generation(with_rules(*rules)) for rules in (("x.test",), ("x.test",), ("x.test", "y.test")))
    assert one == same != other
    assert one < egress_rules.GENERATIONS


def test_a_sandbox_is_confined_before_its_link_is_there_and_until_it_is_gone():
    wanted = objects(with_rules("x.test"))
    made = [step.subject for step in diff((), wanted)]
    confined = [made.index(one) for one in made if isinstance(one, Element) and one.set in egress_rules.SETS]
    links = [made.index(one) for one in made if isinstance(one, Veth | LinkUp)]
    assert confined
    assert max(confined) < min(links)
    gone = [step.subject for step in diff(wanted, ())]
    confined = [gone.index(one) for one in gone if isinstance(one, Element) and one.set in egress_rules.SETS]
    assert min(confined) > max(gone.index(one) for one in gone if isinstance(one, Veth))


def test_whose_rules_hold():
    ruled = replace(NETWORK, egress=("n.test",))
    settings = EgressSettings(default=read.rules(["d.test"]), ceiling=read.rules(["c.test", "@set"]), sets={"set": read.rules(["s.test"])})

    def titles(sandbox, networks, given=settings):
        return [(layer.title, [str(rule) for rule in layer.rules]) for layer in egress.layers_of(sandbox, networks, given)]

    ceiling = ("the ceiling of this host", ["c.test", "s.test"])
    assert titles(with_rules("x.test"), [ruled]) == [("sandbox job", ["x.test"]), ceiling]
    assert titles(SANDBOX, [ruled, SHARED]) == [("network a", ["n.test"]), ceiling]
    assert titles(SANDBOX, [SHARED]) == [("the default of this host", ["d.test"]), ceiling]
    assert titles(SANDBOX, [SHARED], SETTINGS) == []


def test_rules_that_are_changed():
    assert egress.changed(("a.test", "b.test"), ["C.test", "a.test"], ["b.test"]) == ("a.test", "c.test")
    assert egress.changed(None, ["a.test"], []) == ("a.test",)
    for now, add, remove, says in (
        (("a.test",), [], ["b.test"], "is not among the rules of the sandbox: a.test"),
        (("a.test",), [], ["a.test"], "no rule would be left"),
    ):
        with pytest.raises(InvalidRequest, match=says):
            egress.changed(now, add, remove)


def test_rules_as_they_are_stored():
    assert egress.checked(["X.test,y.test", "x.test"], SETTINGS) == ("x.test", "y.test")
    for texts, says in (([], "no rule is given"), (["x.test", "learn:80"], "learn stands alone"), (["@gone"], "there is no list gone")):
        with pytest.raises(InvalidRequest, match=says):
            egress.checked(texts, SETTINGS)


@pytest.mark.parametrize(
    ("sandbox", "network", "more", "says"),
    [
        (with_rules("x.test"), NETWORK, {"firewall": False}, "berth writes no firewall here"),
        (with_rules("x.test", forwards=True), NETWORK, {}, "would send in the name of others"),
        (with_rules("x.test"), replace(NETWORK, driver_options=replace(NETWORK.bridge, reuse_bridge=True)), {}, "of the host's own"),
        (with_rules("x.test"), replace(NETWORK, driver_options=replace(NETWORK.bridge, allow_unknown_ports=True)), {}, "unknown_ports=allow"),
        (with_rules("x.test"), NETWORK, {"foreign": ["lo", "wg0", "tunl0"]}, "links that berth did not make: wg0;"),
        (with_rules("x.test", stack=Stack.NONE), NETWORK, {}, "mode none has no network"),
        (with_rules("x.test", stack=Stack.HOST), NETWORK, {}, "mode host has the host's own"),
        (with_rules("x.test", stack=Stack.SHARED), NETWORK, {}, "another's"),
        (replace(SANDBOX, stack=Stack.HOST), NETWORK, {"settings": EgressSettings(ceiling=read.rules(["none"]))}, "this host has a ceiling"),
    ],
)  # fmt: skip
def test_where_rules_can_not_be_kept_they_are_refused(sandbox, network, more, says):
    given = {"settings": SETTINGS, "firewall": True, **more}
    with pytest.raises(InvalidRequest) as caught:
        egress.check_possible(sandbox, [network], **given)
    assert says in str(caught.value)
    assert says in next(egress.not_kept([(sandbox, [network])], given["settings"], firewall=given["firewall"]), says)


def test_where_they_can_be_kept_nothing_is_said():
    egress.check_possible(with_rules("x.test"), [NETWORK, SHARED], SETTINGS, firewall=True, foreign=["lo", "sit0"])
    egress.check_possible(replace(SANDBOX, forwards=True), [NETWORK], SETTINGS, firewall=False, foreign=["wg0"])
    assert not [*egress.not_kept([(SANDBOX, [NETWORK])], SETTINGS, firewall=True)]


# --- what answers open ----------------------------------------------------------------------------------------------


def test_openings_are_elements_with_a_time_and_a_name():
    opening = Opening("x.test", ip_address("192.0.2.1"), Ports.of("tcp", 80, 443), 110.0)
    made = [*egress_rules.opening_elements(ip_address("10.0.0.2"), opening, 100.0)]
    assert [(one.element.set.name, one.left, one.comment) for one in made] == [
        ("egress_named4", 10_000, ""), ("egress_named4", 10_000, ""), ("egress_asked4", 10_000, "x.test"),
    ]  # fmt: skip
    assert not [*egress_rules.opening_elements(ip_address("fd00::2"), opening, 100.0)]
    wide = Opening("x.test", ip_address("192.0.2.1"), Ports.of("tcp", (1, 1000)), 110.0)
    (ranged, asked) = egress_rules.opening_elements(ip_address("10.0.0.2"), wide, 100.0)
    assert (ranged.element.set.name, ranged.element.fields[3], asked.element.set.name) == (
        "egress_named_ranges4", Between(1, 1000), "egress_asked4",
    )  # fmt: skip


# --- ranges that don't overlap --------------------------------------------------------------------------------------

_prefixes = st.tuples(st.integers(0, 255), st.integers(26, 32)).map(lambda one: ip_network(f"192.0.2.{one[0]}/{one[1]}", strict=False))
_ports = st.sets(st.integers(1, 5), min_size=1).map(lambda ports: Ports.of("tcp", *ports))


@given(st.lists(st.tuples(_prefixes, _ports), max_size=8))
def test_pieces_are_the_union_and_never_overlap(parts):
    made = [*pieces(parts)]
    assert all(one.last < other.first for one, other in itertools.pairwise(made))
    for last in range(0, 256, 3):
        address = ip_address(f"192.0.2.{last}")
        wanted = NOTHING
        for network, ports in parts:
            wanted |= ports if address in network else NOTHING
        found = [piece.ports for piece in made if piece.first <= address <= piece.last]
        assert (found[0] if found else NOTHING) == wanted
