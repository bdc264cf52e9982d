"""What the host finds: names of networks below the suffix and their addresses, as a zone of the world's DNS; nothing else."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from types import SimpleNamespace

import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from resolver.daemon.config import DaemonConfig, parse
from resolver.daemon.gateway_resolver import GatewayResolver
from resolver.daemon.host_names import HostNames, are_shown
from resolver.errors import ConfigError
from resolver.wire.name import from_text
from resolver.zone.build import records
from resolver.zone.published import PublishedZone
from resolver.zone.static_names import by_name
from resolver.zone.zone import Zone
from tests.support.networks import bridge_network, pool
from tests.unit.resolver.test_service import World
from tests.unit.resolver.test_static_names import record


def gateway(name, subnet, *registrations, static=(), given=None, **more):
    """A network with endpoints (names, addresses) and static records."""
    network = bridge_network(name, pool(subnet), given=given, **more)
    zone = Zone(name, from_text(name), 5).with_static(by_name([record(*one) for one in static], 5))
    for number, (given_names, addresses) in enumerate(registrations):
        made = records(
            endpoint=f"{name}{number}", network=name, endpoint_names=given_names, addresses=map(ip_address, addresses), ports=[(80, "tcp")]
        )
        zone = zone.with_changes((), made)
    return GatewayResolver(network, PublishedZone(zone), SimpleNamespace())


FRONT = gateway(
    "front", "10.1.0.0/24", (["web", "www"], ["10.1.0.2"]), (["two.parts", "*.app"], ["10.1.0.3"]),
    static=[("out", "CNAME", "example.com."), ("in", "CNAME", "web"), ("hidden", "CNAME", "vault.secret.berth.internal"), ("10.1.0.77", "PTR", "printer")],
)  # fmt: skip
BACK = gateway("back", "10.2.0.0/24", (["web", "db", "front"], ["10.2.0.2"]), (["web.front"], ["10.2.0.9"]))
SECRET = gateway("secret", "10.3.0.0/24", (["vault"], ["10.3.0.2"]), internal=True)


class Host(World):
    """A service whose client is the host."""

    def __init__(self, *gateways, **config):
        super().__init__()
        self.names = HostNames(DaemonConfig(host_listen="127.0.0.153:53", **config))
        self.names.change((), gateways or (FRONT, BACK, SECRET))
        self.client = self.names.client

    def reply(self, name, rtype="A", *, tcp=False, **more):
        octets = self.service.on_query(self.client, dns.message.make_query(name, rtype, **more).to_wire(), self, b"", tcp=tcp)
        return dns.message.from_wire(octets)

    def found(self, name, rtype="A"):
        """The RCODE, or the data of the answers."""
        reply = self.reply(name, rtype)
        data = [str(rdata) for rrset in reply.answer for rdata in rrset]
        return data or dns.rcode.to_text(reply.rcode())


@pytest.mark.parametrize(
    ("name", "rtype", "found"),
    [
        ("web.front.berth.internal.", "A", ["10.1.0.2"]),
        ("WWW.Front.Berth.Internal.", "A", ["10.1.0.2"]),
        ("web.back.berth.internal.", "A", ["10.2.0.2"]),
        ("two.parts.front.berth.internal.", "A", ["10.1.0.3"]),
        ("any.app.front.berth.internal.", "A", ["10.1.0.3"]),
        ("web.front.berth.internal.", "AAAA", "NOERROR"),
        ("web.front.berth.internal.", "TXT", "NOERROR"),
        ("front.berth.internal.", "A", "NOERROR"),
        ("berth.internal.", "A", "NOERROR"),
        ("parts.front.berth.internal.", "A", "NOERROR"),
        ("_tcp.web.front.berth.internal.", "A", "NOERROR"),
        ("nobody.front.berth.internal.", "A", "NXDOMAIN"),
        ("none.berth.internal.", "A", "NXDOMAIN"),
        # Short names are not asked for.
        ("web.berth.internal.", "A", "NXDOMAIN"),
        # Internal networks are not shown.
        ("vault.secret.berth.internal.", "A", "NXDOMAIN"),
        ("hidden.front.berth.internal.", "A", ["vault.secret.berth.internal."]),
        ("in.front.berth.internal.", "A", ["web.front.berth.internal.", "10.1.0.2"]),
        # Whoever asks goes on by himself.
        ("out.front.berth.internal.", "A", ["example.com."]),
        ("2.0.1.10.in-addr.arpa.", "PTR", ["web.front.berth.internal."]),
        ("77.0.1.10.in-addr.arpa.", "PTR", ["printer.front.berth.internal."]),
        ("9.0.1.10.in-addr.arpa.", "PTR", "NXDOMAIN"),
        ("0.1.10.in-addr.arpa.", "PTR", "NOERROR"),
        ("_80._tcp.web.front.berth.internal.", "SRV", ["0 1 80 web.front.berth.internal."]),
        ("berth.internal.", "NS", ["ns.berth.internal."]),
        ("ns.berth.internal.", "A", ["127.0.0.153"]),
        ("ns.berth.internal.", "AAAA", "NOERROR"),
        # Everything else is for another name server.
        ("web.", "A", "REFUSED"),
        ("web.front.", "A", "REFUSED"),
        ("example.com.", "A", "REFUSED"),
        ("xberth.internal.", "A", "REFUSED"),
        ("localhost.", "A", "REFUSED"),
        ("2.0.3.10.in-addr.arpa.", "PTR", "REFUSED"),
        ("10.in-addr.arpa.", "PTR", "REFUSED"),
    ],
)
def test_the_host_finds_its_zone_and_nothing_else(name, rtype, found):
    host = Host()
    # The second time the reply may be a remembered one.
    assert [host.found(name, rtype), host.found(name, rtype)] == [found, found]
    assert not host.pool.asked


def test_refusal_says_why():
    (error,) = Host().reply("example.com.", use_edns=0).options
    assert "only names below berth.internal." in error.text


@pytest.mark.parametrize("name", ["nobody.front.berth.internal.", "web.front.berth.internal.", "front.berth.internal.", "berth.internal."])
def test_negative_answers_name_the_zone(name):
    reply = Host().reply(name, "MX")
    (soa,) = reply.authority
    assert (str(soa.name), soa.rdtype, soa.ttl) == ("berth.internal.", dns.rdatatype.SOA, 5)


def test_the_zone_has_one_soa():
    host = Host()
    (soa,) = host.reply("berth.internal.", "SOA").answer
    assert (str(soa.name), soa.rdtype) == ("berth.internal.", dns.rdatatype.SOA)
    assert host.reply("web.front.berth.internal.", "SOA").answer == []


def test_addresses_come_with_a_service():
    reply = Host().reply("_80._tcp.web.front.berth.internal.", "SRV")
    assert [str(rrset.name) for rrset in reply.additional] == ["web.front.berth.internal."]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        # The first network by name that has it.
        ("web.berth.internal.", ["10.2.0.2"]),
        ("www.berth.internal.", ["10.1.0.2"]),
        ("any.app.berth.internal.", ["10.1.0.3"]),
        ("parts.berth.internal.", "NOERROR"),
        ("none.berth.internal.", "NXDOMAIN"),
        ("front.berth.internal.", ["10.2.0.2"]),
        # What is below a network's name is looked for there only.
        ("web.front.berth.internal.", ["10.1.0.2"]),
        ("web.berth.internal.berth.internal.", "NXDOMAIN"),
    ],
)
def test_short_names(name, found):
    assert Host(host_short_names=True).found(name) == found


def test_networks_and_names_that_change_are_followed():
    host = Host(FRONT, host_short_names=True)
    assert [host.found(name) for name in ("web.front.berth.internal.", "web.berth.internal.")] == [["10.1.0.2"]] * 2
    added = records(endpoint="x", network="front", endpoint_names=["web"], addresses=[ip_address("10.1.0.9")])
    FRONT.zone.change((), added)
    assert [len(host.found(name)) for name in ("web.front.berth.internal.", "web.berth.internal.")] == [2, 2]
    FRONT.zone.change(added, ())
    assert [len(host.found(name)) for name in ("web.front.berth.internal.", "web.berth.internal.")] == [1, 1]
    host.names.change([FRONT], [BACK])
    assert host.found("www.front.berth.internal.") == "NXDOMAIN"
    assert host.client not in FRONT.zone.watchers


def test_of_two_networks_with_one_name_the_one_that_goes_is_forgotten():
    local = gateway("twice", "10.4.0.0/24", (["local"], ["10.4.0.2"]))
    other = gateway("twice", "10.5.0.0/24", (["far"], ["10.5.0.2"]))
    other.network = replace(other.network, id="zzz")
    for first, second, gone, stays in ((local, other, local, ["far"]), (other, local, other, ["local"]), (local, other, other, ["local"])):
        host = Host(first, second)
        host.names.change([gone], [])
        assert [name for name in ("local", "far") if host.found(f"{name}.twice.berth.internal.") != "NXDOMAIN"] == stays


def test_a_probe_for_loops_that_comes_by_the_hosts_name_server_is_none():
    host = Host()
    name = host.pool.probes.domain
    assert host.service.on_query(
        host.client, dns.message.make_query(dns.name.from_wire(b"\x01x" + name, 0)[0], "A").to_wire(), host, b"", tcp=False
    )
    assert host.pool.loops == []


@pytest.mark.parametrize(
    ("given", "internal", "shown"),
    [({}, False, True), ({}, True, False), ({"host_names": "true"}, True, True), ({"host_names": "false"}, False, False)],
)
def test_networks_say_whether_they_are_shown(given, internal, shown):
    assert are_shown(bridge_network("front", given=given, internal=internal)) is shown
    assert not are_shown(bridge_network("bridge", given={"host_names": "true"}))


def test_other_suffix():
    host = Host(suffix="lan.test")
    assert host.found("web.front.lan.test.") == ["10.1.0.2"]
    assert host.found("lan.test.", "NS") == ["ns.lan.test."]
    assert host.found("web.front.berth.internal.") == "REFUSED"


def test_nothing_is_made_for_a_host_that_is_not_answered():
    names = HostNames(DaemonConfig())
    names.change((), [FRONT])
    assert names.client.view.attached == ()


@pytest.mark.parametrize(("text", "kept"), [("127.0.0.153", 1), ("127.0.0.153:5353", 1), ("[::1]:53", 1), ("::1", 1), ("", 1)])
def test_addresses_of_the_loopback_are_taken(text, kept):
    assert parse({"host_listen": text}, "x").host_listen == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [("192.0.2.1:53", "no loopback address"), ("0.0.0.0", "no loopback address"), ("127.0.0.1:0", "is not like"), ("x", "x")],
)
def test_other_addresses_are_refused(text, reason):
    with pytest.raises(ConfigError, match=reason):
        parse({"host_listen": text}, "x")


def test_subnets_are_those_of_shown_networks():
    view = Host().client.view
    assert view.subnets.containing(ip_network("10.1.0.9/32")) is not None
    assert view.subnets.containing(ip_network("10.3.0.9/32")) is None
