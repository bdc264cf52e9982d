"""A default route of a namespace that berth has not made. Frozen, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultRoute:
    """A default route that an adopted namespace has by itself. *message*: as the kernel tells it, in hexadecimal.

    *gateway* None: it has several, or none.
    """

    family: int
    gateway: IPv4Address | IPv6Address | None
    message: str

    def describe(self) -> str:
        """Return it in one line, for the user."""
        via = f" via {self.gateway}" if self.gateway is not None else ""
        return f"default route{via} of its own (IPv{self.family})"
