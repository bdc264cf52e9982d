import re
from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from netcore.desired import firewall, frame_rules
from netcore.desired.objects import Element, LinkUp
from netcore.kernel import nft, ruleset
from netcore.kernel.netlink import find, walk
from netcore.kernel.ruleset.data_types import encode_fields
from netcore.model import Endpoint, GatewayMode, PortMapping, VxlanOptions
from tests.support.networks import bridge_network, pool


def network(**options):
    return bridge_network("n", pool("10.0.0.0/24", "10.0.0.1"), given=options, identity="n" * 12)


ENDPOINT = Endpoint(
    origin="api", network_id="n" * 12, sandbox_id="s", ifname="eth0", host_ifname="veth1", mac="02:42:0a:00:00:02",
    ipv4=ip_interface("10.0.0.2/24"), ipv6=ip_interface("fd00::2/64"),
    ports=(PortMapping(family=4, protocol="tcp", host_address=None, host_port=8080, sandbox_port=80),),
)  # fmt: skip


def sets(elements):
    return {element.set.name for element in elements}


def test_number_of_rules_does_not_depend_on_networks_or_ports():
    assert firewall.render_skeleton() == firewall.render_skeleton()
    assert "br-" not in firewall.render_skeleton()


def test_every_set_is_declared_and_every_element_fits_one():
    text = firewall.render_skeleton()
    for declared in firewall.SETS:
        assert f" {declared.name} {{" in text
        assert declared.table in ("inet", "bridge")
    for element in (
        *firewall.network_elements(network()),
        *firewall.endpoint_elements(network(), ENDPOINT),
        *firewall.port_elements(network(), ENDPOINT),
    ):
        assert element.set in firewall.SETS
        encode_fields(element.set.key_types, element.fields)
        if element.data:
            encode_fields(element.set.data_types, element.data)


def test_key_octets_are_padded_to_four():
    assert encode_fields(("inet_proto", "inet_service"), ("tcp", 80)) == b"\x06\0\0\0\0P\0\0"
    assert encode_fields(("ifname",), ("br0",)) == b"br0".ljust(16, b"\0")
    assert len(encode_fields(("ifname", "ether_addr", "ipv4_addr"), ("v", "02:42:0a:00:00:02", ip_address("10.0.0.2")))) == 28


def test_icc_off_takes_the_accept_away():
    assert "icc" in sets(firewall.network_elements(network()))
    assert "icc" not in sets(firewall.network_elements(network(icc="false")))
    assert "noicc" in sets(firewall.endpoint_elements(network(icc="false"), ENDPOINT))
    assert "noicc" not in sets(firewall.endpoint_elements(network(), ENDPOINT))


def test_internal_network_has_no_masquerade():
    assert sets(firewall.network_elements(replace(network(), internal=True))) == {"bridges", "same", "icc", "internal"}


def test_modes():
    assert "masquerade4" in sets(firewall.network_elements(network()))
    assert {"routed4"} <= sets(firewall.network_elements(network(gateway_mode_ipv4="routed")))
    assert "masquerade4" not in sets(firewall.network_elements(network(gateway_mode_ipv4="routed")))
    assert "unprotected4" in sets(firewall.network_elements(network(gateway_mode_ipv4="nat-unprotected")))
    assert "snat4" in sets(firewall.network_elements(network(host_ipv4="192.0.2.9")))
    assert sets(firewall.port_elements(network(gateway_mode_ipv4="routed"), ENDPOINT)) == {"open4"}
    assert network(gateway_mode_ipv4="isolated").bridge.gateway_mode_ipv4 is GatewayMode.ISOLATED


def test_link_local_address_is_the_kernels():
    assert str(frame_rules.link_local("02:42:ac:11:00:02")) == "fe80::42:acff:fe11:2"


def test_probe_senders_are_bound_to_the_port_too():
    elements = firewall.endpoint_elements(network(), ENDPOINT)
    senders = {element.fields[2] for element in elements if element.set.name in ("source4", "source6")}
    assert {ip_address("0.0.0.0"), ip_address("::"), ip_address("10.0.0.2"), ip_address("fd00::2")} <= senders


def test_sets_are_told_apart_and_each_is_used_by_a_rule_of_its_table():
    text = firewall.render_skeleton()
    tables = dict(zip(("inet", "bridge"), text.split("table bridge berth {\n}\n"), strict=True))
    names = [(declared.table, declared.name) for declared in firewall.SETS]
    assert len(set(names)) == len(names)
    for table, rules in tables.items():
        # Sets that only rules or answers fill are no objects, nor are those that are written out.
        filled = set(re.findall(r"set (\w+) {[^}]* (?:flags (?:dynamic|(?:interval,)?timeout)|elements =)", rules))
        used = set(re.findall(r"@([a-z]\w+)", rules)) - {"th", "nh"} - filled
        assert used == {declared.name for declared in firewall.SETS if declared.table == table}


@pytest.mark.parametrize("family", [4, 6])
def test_sets_of_one_family_have_addresses_of_that_family(family):
    for declared in firewall.SETS:
        types = {*declared.key_types, *declared.data_types}
        assert f"ipv{family}_addr" not in types or declared.family == family
        # The name is for people who read the ruleset; nothing is read out of it.
        assert (str(family) in declared.name) == (declared.family == family)
    assert [declared.key_types for declared in firewall.SETS if declared.name == f"open{family}"] == [
        (f"ipv{family}_addr", "inet_proto", "inet_service")
    ]


def test_sets_and_maps_are_declared_by_their_types():
    lines = [line.strip() for line in firewall.render_skeleton().splitlines()]
    assert "set bridges { type ifname; }" in lines
    assert "map dnat4_any { type inet_proto . inet_service : ipv4_addr . inet_service; }" in lines
    assert "set target6 { typeof iifname . ether saddr . @th,64,128; }" in lines


def test_trusted_and_overlay_networks():
    trusted = network(trusted_interfaces="wg0:wg1")
    elements = list(firewall.network_elements(trusted))
    bridge = trusted.bridge.bridge_name
    assert [element.fields for element in elements if element.set == firewall.TRUSTED] == [("wg0", bridge), ("wg1", bridge)]
    overlay = replace(trusted, driver_options=replace(trusted.bridge, vxlan=VxlanOptions(vni=5, port=4790)))
    assert [element.fields for element in firewall.network_elements(overlay) if element.set == firewall.TUNNELS] == [(4790,)]


def test_router_may_send_what_has_other_senders():
    elements = list(firewall.endpoint_elements(network(), ENDPOINT, forwards=True))
    assert [element.fields for element in elements if element.set == firewall.ROUTERS] == [("veth1", ENDPOINT.mac)]
    assert "routers" not in sets(firewall.endpoint_elements(network(), ENDPOINT))


def published(**more):
    mapping = replace(ENDPOINT.ports[0], **more)
    return [(e.set.name, e.fields, e.data) for e in firewall.port_elements(network(), replace(ENDPOINT, ports=(mapping,)))]


def test_published_ports():
    four, six = ip_address("10.0.0.2"), ip_address("fd00::2")
    assert published() == [("dnat4_any", ("tcp", 8080), (four, 80))]
    assert published(family=6) == [("dnat6_any", ("tcp", 8080), (six, 80))]
    host = ip_address("192.0.2.1")
    assert published(host_address=host, protocol="udp") == [("dnat4", ("udp", host, 8080), (four, 80))]
    assert published(proxied=True) == []
    only4 = replace(ENDPOINT, ipv6=None, ports=(replace(ENDPOINT.ports[0], family=6),))
    assert list(firewall.port_elements(network(), only4)) == []


def test_tables_are_written_with_one_request_for_each_set(monkeypatch):
    sent = []
    monkeypatch.setattr(nft, "commit", lambda _, requests: sent.extend(requests))
    endpoint = replace(ENDPOINT, ports=tuple(replace(ENDPOINT.ports[0], host_port=port) for port in (8080, 8081)))
    nft.write_tables(None, [
        *firewall.endpoint_elements(network(), endpoint),
        LinkUp(sandbox_id="s", ifname="eth0"),
        *firewall.port_elements(network(), endpoint),
    ])  # fmt: skip
    skeleton = ruleset.requests(firewall.render_skeleton())
    assert tuple(sent[: len(skeleton)]) == skeleton
    added = sent[len(skeleton) :]
    assert [request.target for request in added] == [
        "bridge exclusive_ports", "bridge members", "bridge ports", "bridge source4", "bridge source6", "bridge target6", "inet dnat4_any",
    ]  # fmt: skip
    assert [len(list(walk(find(request.body[4:], 3)))) for request in added] == [1, 1, 1, 2, 3, 2, 2]


def test_element_that_does_not_fit_its_set_is_refused():
    with pytest.raises(ValueError, match="zip"):
        nft.write_tables(None, [Element(set=firewall.SAME, fields=("br0",))])
