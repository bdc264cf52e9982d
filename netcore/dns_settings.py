"""What the user said of name resolution in a sandbox. A value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsSettings:
    """What the user said of name resolution; empty tuples mean "as the host"."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
