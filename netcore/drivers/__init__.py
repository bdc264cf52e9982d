"""The registry of drivers: which one a network has. What a driver is, see `protocol`; each other module here is one."""

from __future__ import annotations

from netcore.drivers.bridge import BridgeDriver
from netcore.drivers.ipvlan import IpvlanDriver
from netcore.drivers.macvlan import MacvlanDriver
from netcore.drivers.overlay import OverlayDriver
from netcore.drivers.plugin import PluginDriver
from netcore.drivers.protocol import Driver
from netcore.errors import Unavailable
from netcore.model import Network, PluginOptions
from netcore.parse.options import COMMON

__all__ = [
    "named",
    "names",
    "of",
    "register",
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
