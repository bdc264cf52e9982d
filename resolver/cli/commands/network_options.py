"""What the help of `berth network create` and the documentation say of drivers and options, from the tables of netcore."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from resolver.cli.reference.model import Section, sentence

if TYPE_CHECKING:
    from netcore.parse.options import Option

_DRIVERS = {
    "bridge": "A veth pair to a bridge of the host, NAT to the outside, published ports.",
    "macvlan": "A sub-interface of a link of the host, with a MAC address of its own.",
    "ipvlan": "A sub-interface of a link of the host, with the link's MAC address.",
    "overlay": "A bridge on each host of a cluster, and VXLAN between them.",
}
_PLUGIN = ("NAME, plugin:NAME", "What a Docker network plugin of that name provides.")


def driver_names() -> tuple[str, ...]:
    """Return the names of all drivers but plugins."""
    from netcore import drivers

    return drivers.names()


def sections() -> tuple[Section, ...]:
    """Return the drivers, the options of every driver, and those of each; an option as (short name, meaning, default and label)."""
    from netcore import drivers
    from netcore.parse.options import COMMON

    made = [
        Section(title="Drivers", rows=(*((name, _DRIVERS.get(name, "")) for name in driver_names()), _PLUGIN)),
        Section(title="Options of every driver", rows=_rows(COMMON)),
    ]
    bridge = drivers.named("bridge")
    assert bridge is not None
    for name in driver_names():
        driver = drivers.named(name)
        assert driver is not None
        # An overlay is a bridge on each host, and has its options.
        shared = bridge.options if name == "overlay" else ()
        title = f"Options of {name}, in addition to those of bridge" if shared else f"Options of {name}"
        made.append(Section(title=title, rows=_rows(option for option in driver.options if option not in shared)))
    return tuple(made)


def _rows(options: Iterable[Option[Any]]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (option.name, sentence(option.described()) + (f" [{option.label}]" if option.label != option.name else "")) for option in options
    )
