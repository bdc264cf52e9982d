"""`names_from` and `names_to`: which networks' names are found where, and what is said of those that are not."""

from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from netcore.model import Stack
from resolver.daemon.config import DaemonConfig
from resolver.daemon.names_of_others import found_on, warnings
from resolver.daemon.registry import Registry
from resolver.daemon.sandbox_resolver import SandboxResolver
from resolver.dns_client import Client
from resolver.engine.answer import Addresses, Forward, Pointer, answer
from resolver.engine.view import AttachedZone, View
from resolver.reply_cache import Reply
from resolver.resolvconf import ResolvConf
from resolver.wire.message import Rcode, Type
from resolver.wire.name import from_text, reverse
from resolver.zone.build import records
from tests.support.networks import bridge_network, pool
from tests.support.zones import zone


def network(name, **more):
    given = {key: more.pop(key) for key in ("names_from", "names_to", "ttl", "forward_single_label") if key in more}
    number = sum(name.encode()) % 250
    return bridge_network(name, pool(f"10.{number}.0.0/24", f"10.{number}.0.1"), given=given, **more)


def by_name(*networks):
    return {network.name: network for network in networks}


FRONT, BACK = network("front", names_from="secret,back,front,none-such"), network("back", names_from="third")
THIRD, SECRET = network("third", names_to="back"), network("secret", internal=True)


@pytest.mark.parametrize(
    ("on", "others", "found"),
    [
        ([FRONT], [BACK, THIRD, SECRET], ["back"]),
        ([BACK], [FRONT, THIRD, SECRET], ["third"]),
        ([FRONT, BACK], [THIRD, SECRET], ["third"]),
        ([FRONT], [BACK, network("secret", internal=True, names_to="front,x")], ["secret", "back"]),
        ([FRONT], [network("back", names_to=""), SECRET], []),
        ([network("inside", internal=True, names_from="back")], [BACK], ["back"]),
        ([THIRD], [FRONT, BACK], []),
    ],
)
def test_names_are_found_where_both_networks_say_so(on, others, found):
    assert [one.name for one in found_on(on, by_name(*on, *others))] == found


def test_what_is_not_found_is_said_with_the_reason():
    told = list(warnings(FRONT, by_name(FRONT, BACK, SECRET)))
    assert told == [
        "it has no names from secret: it is internal; create secret with --opt names_to=front to allow it",
        "it has no names from none-such, which is no network of this host",
    ]
    (told,) = warnings(network("x", names_from="third"), by_name(THIRD))
    assert told.startswith("it has no names from third: its names_to is back; create")


def test_only_the_names_of_another_network_count():
    own, other = zone("front", (["web"], ["10.1.0.2"])), zone("back", (["web", "db"], ["10.2.0.2"]), ttl=1, forward_single_label=False)
    view = View(attached=(AttachedZone(own), AttachedZone(other, is_own=False)))
    assert (view.ttl, view.forwards_single_labels) == (5, True)
    found = [answer(view, from_text(name), Type.A) for name in ("web", "web.back", "db", "db.back.berth.internal")]
    assert [[str(ip_address(value)) for value in one.values] for one in found] == [["10.1.0.2"], *[["10.2.0.2"]] * 3]
    assert isinstance(answer(view, reverse(ip_address("10.2.0.2")), Type.PTR), Pointer)


ENDPOINT = SimpleNamespace(
    network_id=FRONT.id, aliases=(), services=(), links=(), ipv4=None, ipv6=None, gateway_priority=0, addresses=lambda: ()
)


@pytest.fixture
def registry():
    host = SimpleNamespace(content=ResolvConf(nameservers=("192.0.2.53",)), path="/etc/resolv.conf")
    service = SimpleNamespace(protect=lambda _: None, keep=lambda _: None, forget_replies=lambda: None)
    return Registry(DaemonConfig(gateway_resolver=False), service, None, host, lambda _: None)


def published(registry, network, name, address):
    made = records(endpoint=name, network=network.name, endpoint_names=[name], addresses=[ip_address(address)])
    registry._gateways[network.id].zone.change((), made)
    return made


async def test_networks_come_and_go_and_names_change(registry):
    await registry.network_up(FRONT)
    sandbox = SimpleNamespace(
        id="s", name="s", hostname="s", short_id="s", dns=SimpleNamespace(servers=()), stack=Stack.OWN, shared_with=None, egress=None
    )
    resolver = SandboxResolver(sandbox=sandbox, client=Client(View()), endpoints=(ENDPOINT,))
    registry._sandboxes["s"] = resolver
    registry._networks = {FRONT.id: FRONT}
    registry._rebuild(resolver)
    stranger = registry._gateways[FRONT.id].strangers.at(b"\1\2\3\4")
    everybody = [resolver.client, stranger]
    assert all(isinstance(answer(client.view, from_text("db"), Type.A), Forward) for client in everybody)
    await registry.network_up(BACK)
    made = published(registry, BACK, "db", "10.2.0.9")
    for client in everybody:
        found = answer(client.view, from_text("db"), Type.A)
        assert isinstance(found, Addresses)
        client.replies.put(b"id" + bytes(10) + from_text("db") + b"\0\1\0\1", 4, Reply([b"12"]))
    registry._gateways[BACK.id].zone.change(made, ())
    # Who was told of the name hears that it is gone.
    assert not any(client.replies.by_octets for client in everybody)
    await registry.network_down(BACK)
    assert len(resolver.client.view.attached) == len(stranger.view.attached) == 1
    await registry.network_up(BACK)
    published(registry, BACK, "db", "10.2.0.10")
    assert all(isinstance(answer(client.view, from_text("db"), Type.A), Addresses) for client in everybody)
    registry.files = SimpleNamespace(edited=list)
    assert any("none-such" in line for line in registry.warnings())


async def test_internal_names_are_as_if_they_did_not_exist(registry):
    for one in (SECRET, FRONT):
        await registry.network_up(one)
    published(registry, SECRET, "vault", "10.9.0.9")
    view = registry._gateways[FRONT.id].strangers.common.view
    assert answer(view, from_text("vault.secret"), Type.A).rcode is Rcode.NXDOMAIN
    assert isinstance(answer(view, from_text("vault"), Type.A), Forward)


# --- under egress rules -------------------------------------------------------------------------------------------


class Elements:
    """The kernel's part of egress rules, which has nothing open."""

    def write(self, opened, closed=()):
        assert not [*opened, *closed]

    def move_flows(self, moves):
        pass


@pytest.mark.parametrize(
    ("rules", "found", "lacks"),
    [
        (("network:front", "network:back"), True, None),
        (("all",), True, None),
        (("none",), False, "network:back"),
        (("network:front", "db", "db.back", "back"), False, "network:back"),
        (("all", "deny:network:back"), False, None),
        # Whose names are kept from it has none to give it either.
        (("network:back",), False, None),
    ],
)
async def test_rules_say_which_of_the_other_networks_are_known(registry, rules, found, lacks):
    registry.egress.elements, refused = Elements(), []
    registry.egress.on_refused = lambda _identity, name, _reason, missing: refused.append((name, missing))
    for one in (FRONT, BACK):
        await registry.network_up(one)
    published(registry, BACK, "db", "10.2.0.9")
    sandbox = SimpleNamespace(
        id="s", name="s", hostname="s", short_id="s", dns=SimpleNamespace(servers=()), stack=Stack.OWN, shared_with=None, egress=rules
    )
    resolver = SandboxResolver(sandbox=sandbox, client=Client(View()), endpoints=(ENDPOINT,))
    registry._sandboxes["s"] = resolver
    registry._networks = {FRONT.id: FRONT, BACK.id: BACK}
    registry._rebuild(resolver)
    view = resolver.client.view
    for name in ("db", "db.back", "db.back.berth.internal"):
        assert isinstance(answer(view, from_text(name), Type.A), Addresses) is found, name
    assert isinstance(answer(view, reverse(ip_address("10.2.0.9")), Type.PTR), Pointer) is found
    assert (resolver.client in registry._gateways[BACK.id].zone.watchers) is found
    if lacks is not None:
        kept = ["db", "db.back.berth.internal", "9.0.2.10.in-addr.arpa"]
        assert [view.policy.hidden(from_text(name)).rcode for name in kept] == [Rcode.NXDOMAIN] * 3
        assert refused == [(name, lacks) for name in kept]
