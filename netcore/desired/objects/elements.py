"""Elements of the sets and maps in our firewall tables. The sets themselves are values of `desired.firewall`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from netcore.desired.objects.kind import Key, Kind, Lane, Order, Scalar, Subsystem, joined


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallSet:
    """A named set of table `berth` in the nftables family *table*; a map if it has *data_types*.

    *key_types*, *data_types*: nftables data types of each field. *family*: 4 or 6 if it is about one of them only.
    *order*: when its elements are created. *interval*: fields may be ranges (`Between`); its elements must not overlap.
    """

    table: str
    name: str
    key_types: tuple[str, ...]
    data_types: tuple[str, ...] = ()
    family: int | None = None
    order: Order = Order.FIREWALL_ELEMENT
    interval: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Element(Kind):
    """One element of a set or map in our firewall tables. *fields*: its key. *data*: of a map only."""

    set: FirewallSet
    fields: tuple[Scalar, ...]
    data: tuple[Scalar, ...] = ()
    lane: ClassVar[Lane] = Lane(Subsystem.NFTABLES)

    @property
    def order(self) -> Order:
        return self.set.order

    @property
    def key(self) -> Key:
        return ("element", self.set.table, self.set.name, *map(str, self.fields))

    def describe(self) -> str:
        data = f" : {joined(self.data)}" if self.data else ""
        return f"element {self.set.table} {self.set.name} {{ {joined(self.fields)}{data} }}"
