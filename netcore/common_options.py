"""The value of the options that networks of every driver have. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonOptions:
    """What `--opt` says of a network of any driver. *forward*: (domain, its name servers) of each.

    *names_from*: networks whose names are found on this one too. *names_to*: those that may find this one's; None: all, or none if
    it is internal. *host_names*: whether the host finds this one's names; None: unless it is internal.
    """

    mtu: int
    ifname_prefix: str = "eth"
    announcements: int = 3
    announcement_interval_ms: int = 1000
    ttl: int = 5
    forward_single_label: bool = True
    allow_rebinding: bool = False
    forward: tuple[tuple[str, tuple[str, ...]], ...] = ()
    names_from: tuple[str, ...] = ()
    names_to: tuple[str, ...] | None = None
    host_names: bool | None = None
