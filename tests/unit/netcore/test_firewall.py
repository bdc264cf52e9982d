from dataclasses import replace
from ipaddress import ip_address, ip_interface

from netcore.desired import firewall
from netcore.kernel.nft import encode_fields
from netcore.model import Endpoint, GatewayMode, PortMapping
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
    assert str(firewall.link_local("02:42:ac:11:00:02")) == "fe80::42:acff:fe11:2"


def test_probe_senders_are_bound_to_the_port_too():
    elements = firewall.endpoint_elements(network(), ENDPOINT)
    senders = {element.fields[2] for element in elements if element.set.name in ("source4", "source6")}
    assert {ip_address("0.0.0.0"), ip_address("::"), ip_address("10.0.0.2"), ip_address("fd00::2")} <= senders


def test_base_chains_are_those_of_the_skeleton():
    chains, family = set(), ""
    lines = firewall.render_skeleton().splitlines()
    for i, line in enumerate(lines):
        if line.startswith("table "):
            family = line.split()[1]
        if line.strip().startswith("chain ") and "hook" in lines[i + 1]:
            chains.add((family, line.split()[1]))
    assert chains == firewall.BASE_CHAINS
