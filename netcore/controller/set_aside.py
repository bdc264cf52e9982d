"""What could not be restored, or not completely: each thing with the reason. It is tried again, and keeps nothing else waiting.

A network that is set aside is not part of `HostState`, nor is a sandbox whose record can't be read. A sandbox that lacks something
is part of it, and what is whole of it works.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from netcore.errors import Conflict
from netcore.model import Endpoint, Network, NetworkId
from netcore.store.records import Unreadable

log = logging.getLogger(__name__)

OnSetAside = Callable[[str, str, str], None]
"""(kind, `set-aside` or `restored`, name)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """*kind*: network, sandbox, record, … *network*: one that is recorded. *unreadable*: a record that can't be read."""

    kind: str
    id: str
    name: str
    reason: str
    network: Network | None = None
    endpoints: tuple[Endpoint, ...] = ()
    unreadable: Unreadable | None = None

    def known_endpoints(self) -> tuple[Endpoint, ...]:
        """Return the endpoints of a sandbox that is not part of the state, as far as they can be read."""
        return self.unreadable.endpoints if self.unreadable is not None else self.endpoints

    def describe(self) -> str:
        """Return one line for the status."""
        return f"{self.kind} {self.name} is set aside: {self.reason}"


class SetAside:
    """See the module. *on_event* is told what is set aside, and what is restored."""

    def __init__(self) -> None:
        self._asides: dict[tuple[str, str], Aside] = {}
        self.on_event: OnSetAside = lambda _kind, _action, _name: None

    def put(self, aside: Aside) -> None:
        """Set something aside, or note another reason."""
        before = self._asides.get((aside.kind, aside.id))
        self._asides[aside.kind, aside.id] = aside
        if before is None or before.reason != aside.reason:
            log.warning("set aside kind=%s name=%s id=%s reason=%s", aside.kind, aside.name, aside.id[:12], aside.reason)
        if before is None:
            self.on_event(aside.kind, "set-aside", aside.name)

    def put_unreadable(self, unreadable: Unreadable) -> None:
        """Set a record aside that can't be read."""
        name = unreadable.name or unreadable.id[:12] if unreadable.kind != "record" else unreadable.key
        self.put(Aside(kind=unreadable.kind, id=unreadable.id, name=name, reason=unreadable.reason, unreadable=unreadable))

    def restored(self, kind: str, identity: str) -> None:
        """Something is whole again; what was not set aside is done."""
        aside = self._asides.pop((kind, identity), None)
        if aside is not None:
            log.info("restored kind=%s name=%s", kind, aside.name)
            self.on_event(kind, "restored", aside.name)

    def drop(self, kind: str, identity: str) -> None:
        """Something has been removed; what was not set aside is done."""
        self._asides.pop((kind, identity), None)

    def all(self, kind: str | None = None) -> list[Aside]:
        """Return all that is set aside, by kind and name; *kind*: of one kind."""
        return sorted(
            (aside for aside in self._asides.values() if kind in (None, aside.kind)), key=lambda aside: (aside.kind, aside.name, aside.id)
        )

    def find(self, kind: str, reference: str) -> Aside | None:
        """Return what is set aside with this id, name or unique id prefix, None if there is nothing; Conflict if it is ambiguous."""
        candidates = self.all(kind)
        for matches in (
            [aside for aside in candidates if aside.id == reference],
            [aside for aside in candidates if aside.name == reference],
            [aside for aside in candidates if reference and aside.id.startswith(reference)],
        ):
            if len(matches) > 1:
                raise Conflict(kind, reference, f"is ambiguous: it can be {', '.join(aside.id[:12] for aside in matches)}")
            if matches:
                return matches[0]
        return None

    def uses(self, network_id: NetworkId) -> bool:
        """Return whether a sandbox that is not part of the state is on a network, or may be."""
        return self.is_incomplete() or any(
            endpoint.network_id == network_id for aside in self.all("sandbox") for endpoint in aside.known_endpoints()
        )

    def is_incomplete(self) -> bool:
        """Return whether a record of a network or a sandbox can't be read, so that it is not known which endpoints there are."""
        return any(aside.unreadable is not None for aside in self._asides.values() if aside.kind != "record")

    def warnings(self) -> tuple[str, ...]:
        """Return one line for each thing, for the status."""
        return tuple(aside.describe() for aside in self.all())
