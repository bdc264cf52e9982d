"""Static routes: what a user may ask for, and which of them a sandbox gets. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network

from netcore.desired.objects import Route
from netcore.errors import InvalidRequest
from netcore.model import Endpoint, IPNetwork, Network, NetworkId, Pool, Sandbox, StaticRoute
from netcore.parse import addresses
from netcore.parse.problems import Problems
from netcore.plan import gateway


def parse(texts: Sequence[str], pools: Iterable[Pool]) -> tuple[StaticRoute, ...]:
    """Return the routes that *texts* (`DESTINATION=VIA`) mean on a network with *pools*; InvalidRequest names every wrong one."""
    problems = Problems()
    result = read(texts, [pool.subnet for pool in pools], problems)
    problems.refuse()
    return result


def read(texts: Sequence[str], subnets: Sequence[IPNetwork] | None, problems: Problems) -> tuple[StaticRoute, ...]:
    """Return the routes of *texts* that are right on a network with *subnets*; None: those are not known."""
    result: dict[str, StaticRoute] = {}
    for text in texts:
        with problems.noted():
            route = _route(text, subnets)
            if str(route.destination) in result:
                raise InvalidRequest(f"route {text}", f"{route.destination} is given twice")
            result[str(route.destination)] = route
    return tuple(result.values())


def _route(text: str, subnets: Sequence[IPNetwork] | None) -> StaticRoute:
    field = f"route {text}"
    destination_text, equals, via_text = text.partition("=")
    try:
        destination, via = ip_network(destination_text.strip()), addresses.read(via_text.strip())
    except ValueError as error:
        reason = f": {error}" if equals else ""
        raise InvalidRequest(field, f"it should be DESTINATION=VIA, like 10.2.0.0/16=172.18.0.9{reason}") from error
    if addresses.is_mapped(destination):
        raise InvalidRequest(field, f"{destination} holds IPv4-mapped addresses only; give the IPv4 subnet")
    if destination.version != via.version:
        raise InvalidRequest(field, "destination and via are of different families")
    if not destination.prefixlen:
        raise InvalidRequest(field, "the default route comes from the network's --gateway and from --gw-priority")
    if subnets is not None and not any(via.version == subnet.version and via in subnet for subnet in subnets):
        raise InvalidRequest(field, f"{via} is not on the network ({', '.join(map(str, subnets))})")
    if any(destination.version == subnet.version and destination.overlaps(subnet) for subnet in subnets or ()):
        raise InvalidRequest(field, "the destination is on the network itself")
    return StaticRoute(destination=destination, via=via)


def of_sandbox(sandbox: Sandbox, endpoints: Iterable[Endpoint], networks: Mapping[NetworkId, Network]) -> Iterator[Route]:
    """Yield the routes of a sandbox: in gateway order, an endpoint's own before its network's, each destination once.

    A sandbox that is the next hop of a route does not get that route.
    """
    seen: set[str] = set()
    for endpoint in gateway.ordered(endpoints, networks):
        own = endpoint.addresses()
        for route in (*endpoint.routes, *networks[endpoint.network_id].routes):
            if route.via not in own and str(route.destination) not in seen:
                seen.add(str(route.destination))
                yield Route(sandbox_id=sandbox.id, destination=route.destination, gateway=route.via, ifname=endpoint.ifname)
