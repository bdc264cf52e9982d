"""The registry of drivers: which one a network has. What a driver is, see `protocol`; each other module here is one."""

from __future__ import annotations

from collections.abc import Iterable

from netcore.desired.objects import KernelObject
from netcore.drivers.bridge import BridgeDriver
from netcore.drivers.facts import Facts
from netcore.drivers.ipvlan import IpvlanDriver
from netcore.drivers.macvlan import MacvlanDriver
from netcore.drivers.overlay import OverlayDriver
from netcore.drivers.plugin import PluginDriver
from netcore.drivers.protocol import Driver
from netcore.errors import Unavailable
from netcore.model import Endpoint, IPInterface, Network, PluginOptions, RemoteEndpoint
from netcore.parse.options import COMMON

__all__ = [
    "Facts",
    "endpoint_objects",
    "host_addresses",
    "host_link",
    "link_kinds",
    "named",
    "names",
    "network_objects",
    "of",
    "only_of",
    "own_link",
    "register",
    "remote_objects",
    "short_names",
]

_DRIVERS: dict[str, Driver] = {}


def register(driver: Driver) -> None:
    """Make *driver* one that networks can have, in this process; ValueError if there is one with its name."""
    if driver.name in _DRIVERS:
        raise ValueError(f"a driver named {driver.name} is registered already")
    _DRIVERS[driver.name] = driver


def named(name: str) -> Driver | None:
    """Return the driver called *name*; None if there is none, but for a plugin perhaps."""
    return _DRIVERS.get(name)


def names() -> tuple[str, ...]:
    """Return the names of all drivers but plugins."""
    return tuple(_DRIVERS)


def of(network: Network) -> Driver:
    """Return the driver of *network*; Unavailable if it was made by one that is not registered in this process."""
    if isinstance(network.driver_options, PluginOptions):
        return PluginDriver(network.driver_options)
    driver = _DRIVERS.get(network.driver)
    if driver is None:
        reason = f"it made network {network.name}; start the daemon with it registered (docs/write-a-driver.md)"
        raise Unavailable(f"driver {network.driver}", reason)
    return driver


def short_names() -> dict[str, str]:
    """Return short name → label of the options of all drivers."""
    options = (*COMMON, *(option for driver in _DRIVERS.values() for option in driver.options))
    return {option.name: option.label for option in options}


for _driver in (BridgeDriver(), MacvlanDriver(), IpvlanDriver(), OverlayDriver()):
    register(_driver)


# --- for the controller, until it asks the driver itself -------------------------------------------------------------


def network_objects(network: Network, facts: Facts, remotes: Iterable[RemoteEndpoint] = ()) -> tuple[KernelObject, ...]:
    """See `Driver.network_objects`."""
    return of(network).network_objects(network, facts, remotes)


def endpoint_objects(network: Network, endpoint: Endpoint, facts: Facts, *, forwards: bool = False) -> tuple[KernelObject, ...]:
    """See `Driver.endpoint_objects`."""
    return of(network).endpoint_objects(network, endpoint, facts, forwards=forwards)


def remote_objects(network: Network, remotes: Iterable[RemoteEndpoint]) -> tuple[KernelObject, ...]:
    """See `Driver.remote_objects`."""
    return of(network).remote_objects(network, remotes)


def only_of(network: Network, others: Iterable[Network], facts: Facts, remotes: Iterable[RemoteEndpoint] = ()) -> tuple[KernelObject, ...]:
    """See `Driver.exclusive_objects`."""
    return of(network).exclusive_objects(network, others, facts, remotes)


def link_kinds(network: Network) -> tuple[str, ...]:
    """See `Driver.link_kinds`."""
    return of(network).link_kinds(network)


def host_addresses(network: Network) -> tuple[IPInterface, ...]:
    """See `Driver.host_addresses`."""
    return of(network).host_addresses(network)


def host_link(network: Network) -> str:
    """Return the name of `Driver.host_link`, "" if there is none."""
    attached = of(network).host_link(network)
    return attached.name if attached is not None else ""


def own_link(network: Network) -> str:
    """Return the name of `Driver.host_link` if it was made for networks, "" otherwise."""
    attached = of(network).host_link(network)
    return attached.name if attached is not None and attached.made else ""
