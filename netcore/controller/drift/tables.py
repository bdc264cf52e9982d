"""Our firewall tables: every chain, rule and set, and every element of every set.

Nothing is listed while the kernel's generation of the ruleset is the one that was found in order last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netcore.controller.collaborators import Collaborators
from netcore.desired.egress_rules import TimedElement
from netcore.desired.objects import Element
from netcore.errors import NetcoreError
from netcore.kernel import nft, nft_listing
from netcore.kernel.netlink import NETFILTER, NetlinkSocket
from netcore.kernel.nft_listing import ElementDrift
from netcore.plan.drift import TABLES, Concern, Damage, Key, Part

_STRUCTURE = "structure"
_GUARD = "guard"


class TableComparison:
    """See the module."""

    def __init__(self, parts: Collaborators) -> None:
        self._parts = parts
        self._state = parts.state
        self._in_order: tuple[int, int] | None = None

    def _elements(self) -> list[Element]:
        return [wanted for wanted in self._state.firewall_objects() if isinstance(wanted, Element)]

    async def find(self, concern: Concern) -> Sequence[Damage]:
        if concern.part is not Part.TABLES or not self._parts.settings.firewall or not self._state.networks:
            return ()
        state = await self._parts.workers.run(nft.generation), self._state.revision
        if state == self._in_order:
            return ()
        damages = await self._compare()
        self._in_order = state if not damages else None
        return damages

    async def _compare(self) -> list[Damage]:
        damages: list[Damage] = []
        for family, name in await self._parts.workers.run(self._parts.guard.damaged):
            damages.append(_damage((_GUARD, family, name), "table", f"table {family} {name}"))
        different = await self._parts.workers.run(nft_listing.different_parts)
        damages += [_damage((_STRUCTURE, *part), part[1], _describe(part)) for part in different]
        if any(kind == "table" for _, kind, _ in different):
            # What was in it is gone with it, and comes back with it.
            return damages
        drift = await self._drift()
        damages += [_damage(element.key, "element", element.describe()) for element in drift.missing]
        lacking = {(element.set.table, element.set.name, _key(element)) for element in drift.missing}
        for declared, key in drift.foreign:
            if (declared.table, declared.name, key) not in lacking:
                described = f"foreign element of set {declared.table} {declared.name}"
                damages.append(_damage(("foreign", declared.table, declared.name, key.hex()), "element", described))
        return damages

    async def _drift(self) -> ElementDrift:
        elements = self._elements()
        return await self._parts.workers.run(lambda: nft_listing.element_drift(elements))

    async def repair(self, concern: Concern, damages: Sequence[Damage]) -> Mapping[Key, str]:
        keys = {damage.key for damage in damages}
        elements = self._elements()
        try:
            with self._parts.names.rewriting() as openings:
                await self._parts.workers.run(lambda: self._repair(keys, elements, openings))
        except (NetcoreError, OSError) as error:
            return dict.fromkeys(keys, str(error))
        return {}

    def _repair(self, keys: set[Key], elements: list[Element], openings: Sequence[TimedElement]) -> None:
        if any(key[0] == _GUARD for key in keys):
            self._parts.guard.rewrite()
        if any(key[0] == _STRUCTURE for key in keys):
            self._parts.executor.write_tables(elements, openings)
            return
        drift = nft_listing.element_drift(elements)
        missing = [element for element in drift.missing if element.key in keys]
        chosen = {(element.set.table, element.set.name, _key(element)) for element in missing}
        foreign = [
            (declared, key)
            for declared, key in drift.foreign
            if ("foreign", declared.table, declared.name, key.hex()) in keys or (declared.table, declared.name, key) in chosen
        ]
        changes = [nft.ElementChange(element, delete=False) for element in missing]
        with NetlinkSocket(NETFILTER) as netlink:
            nft.commit(netlink, [*(nft.raw_deletion(*one) for one in foreign), *nft.element_requests(changes)])
        self._parts.executor.forget_past(missing)


def _describe(part: tuple[str, str, str]) -> str:
    family, kind, name = part
    match kind:
        case "table":
            return f"table {family} berth"
        case "rule":
            return f"rules of chain {name} of table {family} berth"
        case _:
            return f"{kind} {name} of table {family} berth"


def _damage(key: Key, kind: str, description: str) -> Damage:
    return Damage(key=key, kind=kind, description=description, concern=TABLES, owner="")


def _key(element: Element) -> bytes:
    return nft.encoded_key(element)
