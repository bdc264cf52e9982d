"""What all networks together are follows each one that comes or goes."""

from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from resolver.daemon.gateway_resolver import GatewayResolver
from resolver.daemon.served_networks import ServedNetworks
from resolver.engine.rebinding import OwnNetworks
from resolver.wire.name import from_text
from resolver.zone.build import records
from resolver.zone.published import PublishedZone
from resolver.zone.zone import Zone
from tests.support.networks import bridge_network, pool


def gateway(name, *subnets, names_from=""):
    network = bridge_network(name, *map(pool, subnets), given={"names_from": names_from} if names_from else None)
    made = records(endpoint=name, network=name, endpoint_names=["db"], addresses=[ip_address("10.1.0.9")])
    zone = PublishedZone(Zone(name, from_text(name), 5).with_changes((), made))
    return GatewayResolver(network, zone, SimpleNamespace(), (f"gateway of {subnets[0]}",))


# Two have one subnet, as networks on a parent may, and two names differ in the case of a letter only.
POSSIBLE = [
    gateway("a", "10.1.0.0/16", "fd01::/64", names_from="b,x"),
    gateway("A", "10.1.0.0/16", "fd01::/64"),
    gateway("b", "10.2.0.0/24", names_from="a"),
    gateway("c", "10.2.1.0/24", "fd01:0:0:1::/64", names_from="a,a"),
    gateway("d", "172.16.0.0/12", "fd02::/60"),
]


@given(st.lists(st.tuples(st.sampled_from(range(len(POSSIBLE))), st.booleans())))
def test_what_all_of_them_are(actions):
    made, known = ServedNetworks(), {}
    for number, comes in actions:
        one = POSSIBLE[number]
        gone = made.drop(one.network.id)
        assert gone is known.pop(one.network.id, None)
        if comes:
            known[one.network.id] = one
            made.put(one)
        subnets = [each.subnet for served in known.values() for each in served.network.pools]
        fresh = OwnNetworks(subnets)
        assert (made.own.by_shift, made.own.first_octets()) == (fresh.by_shift, fresh.first_octets())
        assert {size: {key: {*value} for key, value in of_size.items()} for size, of_size in made.own.by_prefix.items()} == {
            size: {key: {*value} for key, value in of_size.items()} for size, of_size in fresh.by_prefix.items()
        }
        for other in POSSIBLE:
            for each in other.network.pools:
                assert (made.subnets.containing(each.subnet) is not None) is any(
                    each.subnet.version == subnet.version and each.subnet.subnet_of(subnet) for subnet in subnets
                )
            alike = [served.zone.current for served in known.values() if served.network.name.lower() == other.network.name.lower()]
            found = made.zones.holding(from_text(f"db.{other.network.name}"))
            assert (found in alike) if alike else found is None
            wanted = any(other.network.name in served.network.common.names_from for served in known.values())
            assert made.names_are_wanted_of([other]) is wanted
        assert dict(made) == known
        assert {*made.addresses} == {address for served in known.values() for address in served.addresses}
        assert made.by_name == {served.network.name: served.network for served in known.values()}


def test_one_that_shares_its_name_takes_nothing_along():
    local = gateway("a", "10.1.0.0/16")
    overlay = GatewayResolver(replace(local.network, id="overlay"), local.zone, SimpleNamespace(), ("other",))
    made = ServedNetworks()
    made.put(local)
    made.put(overlay)
    assert made.by_name == {"a": overlay.network}
    made.drop("overlay")
    assert made.by_name == {"a": local.network}
    made.drop(local.network.id)
    assert made.by_name == {}
