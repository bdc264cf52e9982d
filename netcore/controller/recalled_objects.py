"""What must exist for the sandboxes of the last run, worked out once at a start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from netcore.desired.objects import KernelObject
from netcore.drivers.facts import Facts
from netcore.model import Endpoint, Network, Sandbox, SandboxId
from netcore.plan.host_state import HostState


class _Basis(NamedTuple):
    """What the objects of a sandbox follow from."""

    sandbox: Sandbox
    endpoints: tuple[Endpoint, ...]
    networks: tuple[Network, ...]
    facts: Facts


class RecalledObjects:
    """Objects of sandboxes as `HostState.objects_of` has them, kept for as long as what they follow from stays the same.

    A start asks for them three times: before names are published, before anything is taken, and to make what is missing.
    """

    def __init__(self, state: HostState) -> None:
        self._state = state
        self._found: dict[SandboxId, tuple[_Basis, tuple[KernelObject, ...]]] = {}

    def of(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> tuple[KernelObject, ...]:
        """Return what must exist in the kernel and in files for *sandbox* with *endpoints*."""
        state = self._state
        # All networks, as egress rules may name each of them.
        basis = _Basis(sandbox, tuple(endpoints), tuple(state.networks.values()), state.facts.of_sandboxes())
        found = self._found.get(sandbox.id)
        if found is None or found[0] != basis:
            found = self._found[sandbox.id] = (basis, state.objects_of(sandbox, endpoints))
        return found[1]
