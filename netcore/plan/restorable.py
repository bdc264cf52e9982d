"""Whether a network of the last run can be made on this host as it is now. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from netcore import drivers
from netcore.desired.objects import Bridge, DummyLink, VlanLink, VxlanLink
from netcore.drivers.facts import Facts
from netcore.drivers.host_routes import HostRoutes
from netcore.errors import Conflict
from netcore.model import BridgeOptions, MadeLink, Network, ParentOptions
from netcore.plan import network as plan_network


def why_not(network: Network, facts: Facts, routes: HostRoutes, aliases: Mapping[str, str]) -> str | None:
    """Return why *network* can't be made, None if nothing is in its way. *aliases*: link of the host → its alias, "" if it has none."""
    lacking = _lacking(network, aliases)
    if lacking is not None:
        return lacking
    for wanted in drivers.of(network).network_objects(network, facts):
        if not isinstance(wanted, Bridge | VlanLink | DummyLink | VxlanLink) or (isinstance(wanted, Bridge) and wanted.reused):
            continue
        alias = aliases.get(wanted.name)
        if alias is not None and alias != wanted.tag:
            return f"this host has a link {wanted.name} that is not the network's own"
        if alias is None and isinstance(wanted, Bridge) and wanted.tag not in aliases.values():
            # Where the bridge stands already, perhaps renamed, it does not come in the way of anything now.
            try:
                plan_network.check_subnets(network, routes)
            except Conflict as error:
                return str(error)
    return None


def _lacking(network: Network, links: Collection[str]) -> str | None:
    """Return which link of the host that berth does not make itself is gone."""
    options = network.driver_options
    if isinstance(options, BridgeOptions) and options.reuse_bridge and options.bridge_name not in links:
        return f"the bridge {options.bridge_name} that it uses is gone"
    if isinstance(options, ParentOptions) and options.makes is not MadeLink.DUMMY and options.parent not in links:
        below = options.base if options.makes is MadeLink.VLAN else options.parent
        if below not in links:
            return f"its parent link {below} is gone"
    return None


def clashes(network: Network, others: Collection[Network]) -> str | None:
    """Return which network has the name or a subnet of *network* now, None if none has."""
    for other in others:
        if other.name == network.name:
            return f"network {other.id[:12]} has its name now"
        shares = drivers.of(network).shares_subnets and drivers.of(other).shares_subnets
        for pool in network.pools if not shares else ():
            for taken in other.pools:
                if pool.subnet.version == taken.subnet.version and pool.subnet.overlaps(taken.subnet):
                    return f"network {other.name} has {taken.subnet} now, which overlaps its subnet {pool.subnet}"
    return None
