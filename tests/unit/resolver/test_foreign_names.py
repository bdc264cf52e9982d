"""Names of networks that the asking sandbox is not on: they don't exist for it, and no upstream hears of them."""

from ipaddress import ip_address
from types import SimpleNamespace

import dns.rcode
import pytest

from netcore.model import Stack
from resolver.daemon.config import DaemonConfig
from resolver.daemon.registry import Registry
from resolver.dns_client import Client
from resolver.engine.answer import Forward, answer
from resolver.engine.view import View
from resolver.resolvconf import ResolvConf
from resolver.wire.message import Rcode, Type
from resolver.wire.name import from_text
from resolver.zone.build import records
from resolver.zone.known_zones import KnownZones
from tests.support.networks import bridge_network, pool
from tests.support.zones import view, zone
from tests.unit.resolver.test_service import World

FRONT = zone("front", (["web"], ["10.1.0.2"]))
BACK = zone("back", (["db", "two.parts"], ["10.2.0.2"]))
DEV = zone("dev", (["api"], ["10.3.0.2"]))
DOTTED = zone("my.net", (["app"], ["10.4.0.2"]))
KNOWN = KnownZones([FRONT, BACK, DEV, DOTTED])
ON_FRONT, ON_DEV = view(FRONT, known=KNOWN), view(DEV, known=KNOWN)


@pytest.mark.parametrize("qtype", [Type.A, Type.AAAA, Type.TXT, Type.SRV, Type.ANY, Type.SOA])
@pytest.mark.parametrize("name", ["db.back", "two.parts.back", "api.dev", "app.my.net"])
def test_name_of_another_network_does_not_exist(name, qtype):
    found = answer(ON_FRONT, from_text(name), qtype)
    assert (found.rcode, found.is_foreign) == (Rcode.NXDOMAIN, True)
    assert from_text(name).endswith(found.apex)


@pytest.mark.parametrize(
    "name", ["go.dev", "pkg.go.dev", "api.go.dev", "x.api.dev", "nobody.back", "db.back.example", "back", "net", "my.net", "xdb.back"]
)
def test_a_network_takes_no_other_name_from_anybody(name):
    for asking in (ON_FRONT, ON_DEV, view(BACK, known=KNOWN)):
        assert isinstance(answer(asking, from_text(name), Type.A), Forward)


@pytest.mark.parametrize("name", ["db.back.berth.internal", "api.dev.berth.internal", "x.y.berth.internal"])
def test_names_below_our_domain_never_leave(name):
    assert answer(ON_FRONT, from_text(name), Type.A).rcode is Rcode.NXDOMAIN


def test_who_is_on_the_network_gets_it():
    assert answer(ON_DEV, from_text("api.dev"), Type.A).values == (ip_address("10.3.0.2").packed,)
    assert answer(ON_DEV, from_text("api.dev"), Type.TXT).rcode is Rcode.NOERROR


async def test_what_is_said_of_another_network_is_not_remembered():
    back = zone("back", (["db"], ["10.2.0.2"]))
    world = World(known=KnownZones([back]))
    assert world.ask("db.back").rcode() == dns.rcode.NXDOMAIN
    assert world.ask("new.back") is None
    assert not world.client.replies.by_octets
    back.change((), records(endpoint="e", network="back", endpoint_names=["new"], addresses=[ip_address("10.2.0.3")]))
    assert world.ask("new.back").rcode() == dns.rcode.NXDOMAIN
    back.change(records(endpoint="back0", network="back", endpoint_names=["db"], addresses=[ip_address("10.2.0.2")]), ())
    assert world.ask("db.back") is None
    await world.service.close()


# --- what the registry makes of networks ----------------------------------------------------------------------------


@pytest.fixture
def registry():
    made = []
    host = SimpleNamespace(content=ResolvConf(nameservers=("192.0.2.53",), search=("corp.test", "not a name..")), path="/etc/resolv.conf")
    service = SimpleNamespace(protect=made.append, keep=lambda _: None, forget_replies=lambda: None)
    registry = Registry(DaemonConfig(gateway_resolver=False), service, None, host, lambda _: None)
    registry.made = made
    return registry


async def test_views_know_every_network_that_there_is(registry):
    for made in (bridge_network("front", pool("10.1.0.0/24", "10.1.0.1")), bridge_network("back", pool("10.2.0.0/24", "10.2.0.1"))):
        await registry.network_up(made)
    (front, back) = registry._gateways.values()
    back.zone.change((), records(endpoint="e", network="back", endpoint_names=["db"], addresses=[ip_address("10.2.0.3")]))
    asked = front.strangers.at(b"\1\2\3\4").view
    assert answer(asked, from_text("db.back"), Type.A).rcode is Rcode.NXDOMAIN
    await registry.network_down(back.network)
    assert isinstance(answer(asked, from_text("db.back"), Type.A), Forward)


async def test_hosts_private_addresses_and_search_domains_are_protected(registry):
    registry.host_addresses([ip_address("192.168.7.10"), ip_address("127.0.0.1"), ip_address("8.8.8.8")])
    await registry.network_up(bridge_network("front", pool("10.1.0.0/24", "10.1.0.1")))
    protected = registry.made[-1]
    assert protected.holds(ip_address("10.1.0.9").packed)
    assert protected._hosts4 == {int(ip_address("192.168.7.10"))}
    assert protected.excuses(from_text("a.corp.test"))


@pytest.mark.parametrize(("internal", "forwards", "lends"), [(True, True, False), (True, False, True), (False, True, True)])
async def test_router_on_an_internal_network_asks_as_a_stranger(registry, internal, forwards, lends):
    network = bridge_network("front", pool("10.1.0.0/24", "10.1.0.1"), internal=internal)
    await registry.network_up(network)
    registry._networks = {network.id: network}
    address = ip_address("10.1.0.2")
    endpoint = SimpleNamespace(network_id=network.id, addresses=lambda: [address])
    sandbox = SimpleNamespace(id="s", forwards=forwards, stack=Stack.OWN)
    resolver = SimpleNamespace(sandbox=sandbox, client=Client(View()), published={}, addresses=[])
    registry._publish(resolver, (endpoint,), {}, is_confined=False)
    assert (registry._at_gateways.at(network.id)(address.packed) is resolver.client) is lends
