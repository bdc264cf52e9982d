"""Which clients of a published port are relayed."""

from ipaddress import ip_address

import pytest

from netcore.relay.clients import Clients, RelayRule

TARGET = ip_address("10.70.0.2"), 80


def rule(*clients):
    return RelayRule((TARGET,), frozenset(clients))


@pytest.mark.parametrize(
    ("peer", "groups"),
    [
        (("127.0.0.1", 5), {Clients.IPV4}),
        (("10.9.0.1", 5), {Clients.IPV4}),
        # A socket of both families sees an IPv4 client like this.
        (("::ffff:10.9.0.1", 5, 0, 0), {Clients.IPV4}),
        (("::1", 5, 0, 0), {Clients.IPV6, Clients.LOOPBACK}),
        (("fd09::1", 5, 0, 0), {Clients.IPV6}),
        (("fe80::1%up0", 5, 0, 3), {Clients.IPV6}),
    ],
)
def test_groups_of_clients(peer, groups):
    accepted = {group for group in Clients if rule(group).accepts(peer, lambda address, scope: False)}
    assert accepted == groups
    assert rule(*Clients).accepts(peer, lambda address, scope: False)
    assert not rule().accepts(peer, lambda address, scope: False)


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (("10.1.0.5", 5), ("10.1.0.5", 0)),
        (("::ffff:10.1.0.5", 5, 0, 0), ("10.1.0.5", 0)),
        (("fe80::1%br-1", 5, 0, 7), ("fe80::1", 7)),
    ],
)
def test_clients_of_internal_networks_are_not_relayed(peer, expected):
    asked = []

    def is_internal(address, scope):
        asked.append((str(address), scope))
        return True

    assert not rule(*Clients).accepts(peer, is_internal)
    assert asked == [expected]
