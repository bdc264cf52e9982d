"""Networks as values, for tests of pure modules."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

from netcore import drivers
from netcore.drivers import bridge
from netcore.drivers.parent import ParentDriver
from netcore.model import Network, Pool, VxlanOptions
from netcore.parse import options


def pool(subnet, gateway=None, **more):
    return Pool(subnet=ip_network(subnet), gateway=ip_address(gateway) if gateway else None, **more)


def bridge_network(name, *pools, given=None, identity=None, **more):
    """Return a bridge network with *pools* and the driver options *given*."""
    identity = identity or name
    labels = bridge.BridgeDriver().read_options(given or {})
    return Network(
        id=identity, name=name, driver="bridge", common=options.parse_common(labels, mtu=1500),
        driver_options=bridge.parse_options(identity, labels), pools=pools,
        ipv6=any(pool.subnet.version == 6 for pool in pools), **more,
    )  # fmt: skip


def parent_network(name, driver, *pools, given=None, **more):
    """Return a macvlan or ipvlan network."""
    made: object = drivers.named(driver)
    assert isinstance(made, ParentDriver)
    labels = made.read_options(given or {})
    return Network(
        id=name, name=name, driver=driver, common=options.parse_common(labels, mtu=1500),
        driver_options=made.parse_options(name, labels), pools=pools,
        ipv6=any(pool.subnet.version == 6 for pool in pools), **more,
    )  # fmt: skip


def overlay_network(name, *pools, vni=4096, port=4789, encrypted=False, **more):
    """Return an overlay network."""
    made = bridge_network(name, *pools, **more)
    return replace(made, driver="overlay", driver_options=replace(made.bridge, vxlan=VxlanOptions(vni=vni, port=port, encrypted=encrypted)))
