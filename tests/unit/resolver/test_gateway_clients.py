"""Who asks at gateways while sandboxes with egress rules come and go."""

from types import SimpleNamespace

from netcore.egress import read
from netcore.egress.settings import EgressSettings
from netcore.model import Stack
from resolver.daemon.gateway_clients import GatewayClients
from resolver.dns_client import Client
from resolver.engine.view import View

ONE, TWO = b"\n\0\0\2", b"\n\0\0\3"


RULED = SimpleNamespace(name="s", stack=Stack.OWN, egress=("ok.test",))
FREE = SimpleNamespace(name="f", stack=Stack.OWN, egress=None)


def on(*keys):
    """Endpoints with these addresses."""
    return [SimpleNamespace(network_id=network, addresses=lambda one=one: [SimpleNamespace(packed=one)]) for network, one in keys]


def refuses(client):
    return client is not None and client.view.policy is not None and client.view.policy.verdict(b"\1x\0", 1).rcode == 5


def test_who_has_rules_is_no_stranger_before_and_after_it_is_known():
    clients, sandbox = GatewayClients(b"\0", EgressSettings), Client(View(suffix=b"\0"))
    at = clients.at("net")
    assert at(ONE) is None
    clients.expect(FREE, on(("net", ONE)), {})
    assert at(ONE) is None
    clients.expect(RULED, on(("net", ONE)), {})
    assert refuses(at(ONE))
    clients.move(sandbox, (), [("net", ONE)], is_confined=True)
    assert (at(ONE), clients.at("other")(ONE), at(TWO)) == (sandbox, None, None)
    clients.expect(RULED, on(("net", ONE), ("net", TWO)), {})
    assert at(ONE) is sandbox
    clients.move(sandbox, [("net", ONE)], (), is_confined=True)
    assert refuses(at(ONE))
    other = Client(View(suffix=b"\0"))
    clients.move(other, (), [("net", ONE)], is_confined=False)
    assert at(ONE) is other
    clients.move(other, [("net", ONE)], (), is_confined=False)
    assert at(ONE) is None


def test_one_whose_rules_make_no_sense_any_more_is_taken_for_one_that_has_some():
    clients = GatewayClients(b"\0", EgressSettings)
    clients.expect(SimpleNamespace(name="s", stack=Stack.OWN, egress=("@gone",)), on(("net", ONE)), {})
    assert refuses(clients.at("net")(ONE))
    clients = GatewayClients(b"\0", lambda: EgressSettings(default=tuple(read.rules(["none"]))))
    clients.expect(FREE, on(("net", TWO)), {})
    assert refuses(clients.at("net")(TWO))


def test_one_that_keeps_its_address_is_known_by_it_all_the_time():
    clients, sandbox = GatewayClients(b"\0", EgressSettings), Client(View(suffix=b"\0"))
    clients.move(sandbox, (), [("net", ONE), ("net", TWO)], is_confined=True)
    clients.move(sandbox, [("net", ONE), ("net", TWO)], [("net", TWO)], is_confined=True)
    assert refuses(clients.at("net")(ONE))
    assert clients.at("net")(TWO) is sandbox


def test_addresses_of_a_network_that_is_gone_are_forgotten():
    clients, sandbox = GatewayClients(b"\0", EgressSettings), Client(View(suffix=b"\0"))
    clients.expect(RULED, on(("net", ONE), ("other", ONE)), {})
    clients.move(sandbox, (), [("net", TWO)], is_confined=True)
    clients.drop("net")
    assert clients.at("net")(ONE) is None
    assert clients.at("net")(TWO) is sandbox
    assert refuses(clients.at("other")(ONE))
