"""The tap of a virtual machine, as it is asked for and recorded. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """What a virtual machine has as its link: a tap of the host, which the user *owner* and the group *group* may open, by number."""

    owner: int | None = None
    group: int | None = None
