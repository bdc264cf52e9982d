"""Addresses of overlay networks as one host proposes them."""

from ipaddress import ip_address

import pytest

from netcore.cluster.shared_pools import SharedPools
from netcore.errors import Exhausted
from tests.support.networks import overlay_network, pool

FAR = overlay_network("far", pool("10.40.0.0/29", "10.40.0.1"), pool("fd40::/64", "fd40::1"))
FIRST, SECOND = ip_address("10.40.0.2"), ip_address("10.40.0.3")


def test_addresses_of_other_hosts_are_not_proposed():
    pools = SharedPools()
    used = [FIRST, ip_address("10.40.0.4"), ip_address("fd40::2"), ip_address("10.99.0.1")]
    assert pools.pool(FAR, 4, used).allocate(0.0) == SECOND
    assert str(pools.pool(FAR, 6, ()).allocate(0.0)) == "fd40::3"
    pools.take(FAR.id, ip_address("10.40.0.5"))
    pools.take(FAR.id, ip_address("10.40.0.5"))
    assert str(pools.pool(FAR, 4, ()).allocate(0.0)) == "10.40.0.6"
    with pytest.raises(Exhausted):
        pools.pool(FAR, 4, ()).allocate(0.0)
    pools.release(FAR.id, FIRST, 0.0)
    assert pools.pool(FAR, 4, ()).allocate(1000.0) == FIRST


def test_pools_begin_anew():
    pools = SharedPools()
    # Nothing is known of it yet: it is read from what is in use when the pool is made.
    pools.take(FAR.id, FIRST)
    pools.release(FAR.id, FIRST, 0.0)
    for forget in (lambda: pools.forget(FAR.id), pools.clear):
        assert pools.pool(FAR, 4, [FIRST]).allocate(0.0) == SECOND
        forget()
    assert pools.pool(FAR, 4, ()).allocate(0.0) == FIRST
