"""Choosing host ports for published ports, and conflicts. Pure; which ports are free comes as a function.

Rules CL-19..CL-23 of docs/rules.md. The registry of host ports is the set of mappings of all endpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from netcore import limits
from netcore.errors import Conflict, InvalidRequest
from netcore.model import IPAddress, PortMapping, PortRequest

FALLBACK_EPHEMERAL = (49_153, 65_535)

Binding = tuple[int, IPAddress | None]
"""(family of the host, address or None for all) that a port is published on."""

FindBusy = Callable[[Sequence[Binding], str, int], Binding | None]
"""(bindings, protocol, port) → the one where a program of the host has the port; None if the port is free on all of them."""


def allocate_ports(
    requests: Sequence[PortRequest],
    *,
    families: tuple[int, ...],
    default_binding: Sequence[IPAddress],
    taken: Iterable[tuple[str, PortMapping]],
    find_busy: FindBusy,
    ephemeral: tuple[int, int],
    start: int,
) -> tuple[PortMapping, ...]:
    """Return the mappings for *requests*; Conflict names the holder of a busy port.

    *families*: 4, 6 or both, those of the host that can be published on. *taken*: (holder, mapping) of what is published already.
    *start*: where the search for an ephemeral port begins. Exact ports are served before ranges (CL-21), and the
    same port is used for all addresses of one request (CL-19).
    """
    held = _Held(taken)
    chosen: dict[int, list[PortMapping]] = {}
    order = sorted(range(len(requests)), key=lambda position: _searches(requests[position]))
    for position in order:
        request = requests[position]
        bindings = _bindings(request, families, default_binding)
        chosen[position] = []
        for offset in range(request.sandbox_last - request.sandbox_first + 1):
            port = _choose(request, offset, bindings, held, find_busy, ephemeral, start)
            made = [
                PortMapping(
                    family=family,
                    protocol=request.protocol,
                    host_address=address,
                    host_port=port,
                    sandbox_port=request.sandbox_first + offset,
                )
                for family, address in bindings
            ]
            chosen[position] += made
            for mapping in made:
                held.add("this sandbox", mapping)
    mappings = tuple(mapping for position in range(len(requests)) for mapping in chosen[position])
    if len(mappings) > 2 * limits.PUBLISHED_PORTS_PER_SANDBOX:
        raise InvalidRequest("publish", f"at most {limits.PUBLISHED_PORTS_PER_SANDBOX} ports can be published")
    return mappings


def _searches(request: PortRequest) -> bool:
    """Return whether a host port is looked for, rather than fixed by the request."""
    same_length = request.host_last - request.host_first == request.sandbox_last - request.sandbox_first
    return request.host_first == 0 or not same_length


def _bindings(request: PortRequest, families: tuple[int, ...], default_binding: Sequence[IPAddress]) -> list[Binding]:
    """Return (family, address or None for all) for each host address of *request* (rule CL-19)."""
    addresses = [request.host_address] if request.host_address is not None else [*default_binding]
    if not addresses:
        return [(family, None) for family in families]
    result: list[Binding] = []
    for address in addresses:
        if address.version not in families:
            if request.host_address is not None:
                raise InvalidRequest(f"publish {request.text}", f"nothing can be published on IPv{address.version} for the sandbox")
            continue
        result.append((address.version, None if address.is_unspecified else address))
    return result


def _choose(
    request: PortRequest,
    offset: int,
    bindings: Sequence[Binding],
    held: _Held,
    find_busy: FindBusy,
    ephemeral: tuple[int, int],
    start: int,
) -> int:
    if not _searches(request):
        port = request.host_first + offset
        for family, address in bindings:
            holder = held.holder(family, request.protocol, address, port)
            if holder is not None:
                because = f"port is already allocated by {holder}; choose another port of the host"
                raise Conflict("publish", _text(family, address, port, request.protocol), because=because)
        busy = find_busy(bindings, request.protocol, port)
        if busy is not None:
            raise Conflict("publish", _text(*busy, port, request.protocol), because="address already in use by a program of the host")
        return port
    candidates: list[int]
    if request.host_first:
        candidates = [*range(request.host_first, request.host_last + 1)]
    else:
        low, high = ephemeral
        begin = min(max(start, low), high)
        candidates = [*range(begin, high + 1), *range(low, begin)]  # upwards from the last one handed out
    for port in candidates:
        if any(held.holder(family, request.protocol, address, port) for family, address in bindings):
            continue
        if find_busy(bindings, request.protocol, port) is None:
            return port
    raise Conflict("publish", request.text, because=f"no free {request.protocol} host port in {candidates[0]} to {candidates[-1]}")


class _Held:
    """Who holds which host port, found by family, protocol and number."""

    def __init__(self, taken: Iterable[tuple[str, PortMapping]]) -> None:
        self._by_port: dict[tuple[int, str, int], list[tuple[str, PortMapping]]] = {}
        for holder, mapping in taken:
            self.add(holder, mapping)

    def add(self, holder: str, mapping: PortMapping) -> None:
        self._by_port.setdefault((mapping.family, mapping.protocol, mapping.host_port), []).append((holder, mapping))

    def holder(self, family: int, protocol: str, address: IPAddress | None, port: int) -> str | None:
        """Return who holds the port: an unspecific binding conflicts with every address of its family (CL-23)."""
        for holder, mapping in self._by_port.get((family, protocol, port), ()):
            if address is None or mapping.host_address in (None, address):
                return holder
        return None


def _text(family: int, address: IPAddress | None, port: int, protocol: str) -> str:
    if address is None:
        return f"{'0.0.0.0' if family == 4 else '[::]'}:{port}/{protocol}"
    return f"{address if family == 4 else f'[{address}]'}:{port}/{protocol}"
