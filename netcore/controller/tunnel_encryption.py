"""ESP between the hosts of encrypted overlay networks: states and policies follow the hosts and the keys."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from netcore.cluster import encryption
from netcore.cluster.cluster import Cluster
from netcore.controller.locks import KeyedLocks
from netcore.controller.workers import Workers
from netcore.desired.diff import diff
from netcore.desired.objects import EspState, KernelObject
from netcore.errors import NetcoreError
from netcore.kernel import xfrm
from netcore.kernel.apply import Executor
from netcore.model import IPAddress, Network, NetworkId, RemoteEndpoint, VxlanOptions
from netcore.plan.host_state import HostState

log = logging.getLogger(__name__)


def encrypted(network: Network) -> VxlanOptions | None:
    """Return the VXLAN of *network* if its traffic between hosts must be encrypted."""
    vxlan = network.bridge.vxlan if network.is_overlay else None
    return vxlan if vxlan is not None and vxlan.encrypted else None


LOCK = "esp"
"""Held while states and policies are changed."""


class TunnelEncryption:
    """See the module. *vtep*: this host's address in the tunnels; without one, or without a *cluster*, nothing is encrypted."""

    def __init__(self, state: HostState, workers: Workers, executor: Executor, locks: KeyedLocks, vtep: IPAddress | None) -> None:
        self._state = state
        self._workers = workers
        self._executor = executor
        self._locks = locks
        self._vtep = vtep
        self._present: tuple[KernelObject, ...] | None = None
        self.cluster: Cluster | None = None

    async def check(self, network: Network) -> None:
        """Raise Unavailable if this host can't encrypt what *network* wants encrypted."""
        vtep = self._vtep
        if encrypted(network) is not None and vtep is not None:
            await self._workers.run(lambda: xfrm.check_esp(vtep))

    async def follow(self) -> None:
        """Bring the kernel to the keys and hosts as they are now; a failure is logged, and mended by the next change."""
        try:
            await self.settle()
        except (NetcoreError, OSError) as error:
            log.error("keys between hosts could not be changed reason=%s", error)

    async def settle(self, coming: Mapping[NetworkId, Iterable[RemoteEndpoint]] | None = None) -> None:
        """Bring the kernel's ESP states and policies to the hosts that encrypted networks lead to.

        *coming*: endpoints on other hosts that traffic is about to be sent to.
        """
        async with self._locks.hold([LOCK]):
            cluster, vtep = self.cluster, self._vtep
            if cluster is None or vtep is None:
                return
            if self._present is None:
                # An earlier run of the daemon may have left some, in use.
                self._present = await self._workers.run(lambda: xfrm.read_own(encryption.REQUEST_ID))
            wanted = encryption.objects(vtep, self._peers(coming or {}), [*cluster.state.keys.values()], cluster.sending_key())
            steps = diff(self._present, wanted)
            if steps:
                await self._workers.run(lambda: self._executor.apply(steps))
            self._present = wanted

    @property
    def is_used(self) -> bool:
        """Return whether anything of ESP must be there."""
        return bool(self._present)

    async def find_lost(self) -> tuple[KernelObject, ...]:
        """Return the states and policies that must be there and are not, or have another key or action."""
        if not self._present:
            return ()
        there = {esp.key: esp for esp in await self._workers.run(lambda: xfrm.read_own(encryption.REQUEST_ID))}
        return tuple(wanted for wanted in self._present if (esp := there.get(wanted.key)) != wanted and not _has_hidden_key(esp))

    def _peers(self, coming: Mapping[NetworkId, Iterable[RemoteEndpoint]]) -> dict[int, set[IPAddress]]:
        """Return port → hosts of the encrypted networks that are active here, or about to be."""
        peers: dict[int, set[IPAddress]] = {}
        for network in self._state.networks.values():
            vxlan = encrypted(network)
            if vxlan is not None and (network.id in self._state.remotes or network.id in coming):
                remotes = (*self._state.remotes.get(network.id, {}).values(), *coming.get(network.id, ()))
                peers.setdefault(vxlan.port, set()).update(remote.vtep for remote in remotes)
        return peers


def _has_hidden_key(esp: KernelObject | None) -> bool:
    """Return whether the kernel does not show the key of a state: a locked-down one shows zeros."""
    return isinstance(esp, EspState) and not esp.key_material.strip("0")
