"""What the configuration says of egress rules. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv6Network

from netcore.egress.rules import Rule
from netcore.egress.sets import RuleSets

HOLD = 300
"""Seconds for which an answer opens an address at least: a JVM or nginx keeps addresses for some minutes, whatever their TTL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressSettings:
    """*default*: rules of sandboxes for which nobody gave any; *ceiling*: what no rule exceeds; None: there is none of these.

    *sets*: the lists that rules may name. *hold*: seconds. *new_names*: a minute, below wildcards.
    """

    default: tuple[Rule, ...] | None = None
    ceiling: tuple[Rule, ...] | None = None
    sets: RuleSets = field(default_factory=dict)
    hold: int = HOLD
    new_names: int = 600
    nat64: tuple[IPv6Network, ...] = ()


NO_SETTINGS = EgressSettings()
