"""Endpoints whose address another host has: they are disconnected, so that no two have it, and everybody is told."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from netcore.cluster.announcements import Lost
from netcore.cluster.cluster import OnEvent
from netcore.controller.collaborators import Collaborators
from netcore.controller.sandboxes import SandboxOperations
from netcore.errors import NetcoreError, TeardownFailed
from netcore.kernel import remains
from netcore.model import Endpoint, NetworkId, SandboxId

log = logging.getLogger(__name__)


class LostEndpoints:
    """See the module."""

    def __init__(self, parts: Collaborators, sandboxes: SandboxOperations) -> None:
        self._parts = parts
        self._state = parts.state
        self._sandboxes = sandboxes
        self._under_way: set[tuple[SandboxId, NetworkId]] = set()
        self._refused: set[tuple[SandboxId, NetworkId]] = set()
        self._given_up: dict[tuple[SandboxId, NetworkId], Lost] = {}

    def give_up(self, lost: Lost, on_event: OnEvent) -> None:
        """Begin to disconnect an endpoint, unless that is under way; the cluster asks again until it is done."""
        key = (lost.sandbox_id, lost.network_id)
        if key in self._under_way:
            return
        self._under_way.add(key)
        self._parts.workers.in_background(self._disconnect(lost, on_event))

    async def _disconnect(self, lost: Lost, on_event: OnEvent) -> None:
        key = (lost.sandbox_id, lost.network_id)
        sandbox = self._state.sandboxes.get(lost.sandbox_id)
        aside = self._parts.set_aside.find("sandbox", lost.sandbox_id)
        name = sandbox.name if sandbox is not None else aside.name if aside is not None else lost.sandbox_id[:12]
        if key not in self._refused:
            log.error("sandbox is disconnected from a network sandbox=%s network=%s reason=%s", name, lost.network, lost.reason)
        try:
            if self._is_missing(*key) or sandbox is None:
                await self._drop_aside(*key)
            else:
                await self._sandboxes.disconnect(lost.sandbox_id, lost.network_id)
        except TeardownFailed as error:
            log.error("parts of the endpoint could not be removed sandbox=%s network=%s reason=%s", name, lost.network, error)
        except NetcoreError as error:
            if key not in self._refused:
                log.error("sandbox could not be disconnected; it is tried again sandbox=%s network=%s reason=%s", name, lost.network, error)
            self._refused.add(key)
            return
        finally:
            self._under_way.discard(key)
        self._refused.discard(key)
        self._given_up[key] = lost
        on_event("endpoint", "disconnect", name, lost.network, None)
        self._parts.overlays.look_again(lost.network_id)

    async def _drop_aside(self, sandbox_id: SandboxId, network_id: NetworkId) -> None:
        """Cut off and forget what is set aside: an endpoint whose network is, or one of a sandbox that is no part of the state."""
        parts, overlays, records = self._parts, self._parts.overlays, self._parts.records
        async with parts.locks.hold([f"sandbox:{sandbox_id}", f"network:{network_id}"]):
            waiting = records.kept_aside().get(sandbox_id, ())
            aside = parts.set_aside.find("sandbox", sandbox_id)
            known = aside.known_endpoints() if aside is not None and sandbox_id not in self._state.sandboxes else ()
            gone = {endpoint.id: endpoint for endpoint in (*waiting, *known) if endpoint.network_id == network_id}
            links = [endpoint.host_ifname for endpoint in gone.values() if endpoint.host_ifname.startswith("veth")]
            await parts.workers.run(lambda: remains.remove_links(links))
            records.keep_aside(sandbox_id, _without(waiting, gone))
            if waiting and sandbox_id in self._state.sandboxes:
                before = self._state.sandbox_state(sandbox_id)
                await records.put_back(before.sandbox, before.endpoints)
            if aside is not None and known:
                unreadable = aside.unreadable and replace(aside.unreadable, endpoints=_without(aside.unreadable.endpoints, gone))
                parts.set_aside.put(replace(aside, endpoints=_without(aside.endpoints, gone), unreadable=unreadable))
            await overlays.give_up(gone.values())

    def warnings(self) -> tuple[str, ...]:
        """Return what was disconnected, for the status: as long as the sandbox is there, and until it is connected again."""
        for key in [key for key in self._given_up if not self._is_missing(*key)]:
            del self._given_up[key]
        return tuple(
            f"sandbox {self._state.sandboxes[lost.sandbox_id].name} was disconnected from network {lost.network}: {lost.reason};"
            f" `berth network connect` gives it another address"
            for lost in self._given_up.values()
        )

    def _is_missing(self, sandbox_id: SandboxId, network_id: NetworkId) -> bool:
        return sandbox_id in self._state.sandboxes and self._state.sandbox_state(sandbox_id).endpoint_on(network_id) is None


def _without(endpoints: Iterable[Endpoint], gone: dict[str, Endpoint]) -> tuple[Endpoint, ...]:
    return tuple(endpoint for endpoint in endpoints if endpoint.id not in gone)
