"""Names of sandboxes that look like IPv4 addresses, such as `123` or `1.2`: they have no DNS records, and a warning says so. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netcore.model import Endpoint, Sandbox
from resolver.wire.name import is_address_form


def warnings(sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> tuple[str, ...]:
    """Return a line for each name that was given to *sandbox* or its *endpoints* and that no C library looks up."""
    return tuple(
        f"the name {text} has no DNS record: C libraries take it for an IPv4 address and never look it up"
        for text in dict.fromkeys(_given(sandbox, endpoints))
        if is_address_form(text)
    )


def _given(sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> Iterable[str]:
    yield sandbox.name
    if sandbox.hostname != sandbox.short_id:
        yield sandbox.hostname
    for endpoint in endpoints:
        yield from (*endpoint.aliases, *endpoint.services, *(alias for _, alias in endpoint.links))
