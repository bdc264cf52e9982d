"""Which other networks' names are found on a network: `names_from` of the one, as far as `names_to` of the other allows it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from netcore.model import Network


def shows_names_to(network: Network, other: Network) -> bool:
    """Return whether the names of *network* may be found on *other*."""
    allowed = network.common.names_to
    return network.has_names and (not network.internal if allowed is None else other.name in allowed)


def found_on(networks: Collection[Network], by_name: Mapping[str, Network]) -> tuple[Network, ...]:
    """Return the networks whose names are found by who is on all of *networks*, without those, in the order in which they are named."""
    own = {network.id for network in networks}
    found: dict[Network, None] = {}
    for network in networks:
        for name in network.common.names_from:
            other = by_name.get(name)
            if other is not None and other.id not in own and shows_names_to(other, network):
                found[other] = None
    return tuple(found)


def warnings(network: Network, by_name: Mapping[str, Network]) -> Iterator[str]:
    """Yield a line for each network that *network* wants names from and has none."""
    for name in network.common.names_from:
        other = by_name.get(name)
        if other is None:
            yield f"it has no names from {name}, which is no network of this host"
        elif not shows_names_to(other, network):
            why = "it is internal" if other.common.names_to is None else f"its names_to is {','.join(other.common.names_to)}"
            yield f"it has no names from {name}: {why}; create {name} with --opt names_to={network.name} to allow it"
