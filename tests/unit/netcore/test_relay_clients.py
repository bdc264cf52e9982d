"""Which clients of a published port are relayed, and where to."""

from ipaddress import ip_address

import pytest

from netcore.relay.clients import Clients, RelayRule

TARGET = ip_address("10.70.0.2"), 80
OTHER = ip_address("fd70::2"), 80


def rule(*clients):
    return RelayRule(tuple((group, (TARGET,)) for group in clients))


def is_outside(address, scope):
    return False


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
    accepted = {group for group in Clients if rule(group).targets(peer, is_outside)}
    assert accepted == groups
    assert rule(*Clients).targets(peer, is_outside) == (TARGET,)
    assert rule().targets(peer, is_outside) == ()


@pytest.mark.parametrize("loopback", [Clients.IPV6, Clients.LOOPBACK])
@pytest.mark.parametrize("is_turned", [False, True])
def test_each_group_of_clients_has_its_own_targets(loopback, is_turned):
    groups = (Clients.IPV4, (TARGET, OTHER)), (loopback, (OTHER,))
    both = RelayRule(groups[::-1] if is_turned else groups)
    for peer in (("10.9.0.1", 5), ("::ffff:10.9.0.1", 5, 0, 0)):
        assert both.targets(peer, is_outside) == (TARGET, OTHER)
    assert both.targets(("::1", 5, 0, 0), is_outside) == (OTHER,)


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

    assert rule(*Clients).targets(peer, is_internal) == ()
    assert asked == [expected]
