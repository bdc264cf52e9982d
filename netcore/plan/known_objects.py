"""What was worked out lately for a few sandboxes: an operation, the watch for drift and the next operation ask for the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from netcore import limits
from netcore.desired.objects import KernelObject
from netcore.drivers.facts import Facts
from netcore.model import Endpoint, Sandbox, SandboxId

Objects = tuple[KernelObject, ...]


class _Known(NamedTuple):
    """*basis*: what *objects* follow from, beside the networks."""

    networks_revision: int
    basis: tuple[object, ...]
    objects: Objects


class KnownObjects:
    """See the module. Values are compared by identity, which is quick: all of them are frozen, and a change makes another one."""

    def __init__(self) -> None:
        self._by_sandbox: dict[SandboxId, _Known] = {}

    def find(
        self,
        sandbox: Sandbox,
        endpoints: Sequence[Endpoint],
        networks_revision: int,
        facts: Facts,
        work_out: Callable[[], Objects],
    ) -> Objects:
        """Return what *work_out* returns, or has returned when it was asked with the same values.

        *networks_revision*: of all networks, as egress rules may name each of them.
        """
        basis = (sandbox, facts, *endpoints)
        known = self._by_sandbox.get(sandbox.id)
        if known is not None and known.networks_revision == networks_revision and _are_same(known.basis, basis):
            return known.objects
        objects = work_out()
        self._by_sandbox.pop(sandbox.id, None)
        self._by_sandbox[sandbox.id] = _Known(networks_revision, basis, objects)
        if len(self._by_sandbox) > limits.KNOWN_OBJECTS:
            del self._by_sandbox[next(iter(self._by_sandbox))]
        return objects

    def forget(self, sandbox_id: SandboxId) -> None:
        """Note that a sandbox is gone."""
        self._by_sandbox.pop(sandbox_id, None)


def _are_same(first: tuple[object, ...], second: tuple[object, ...]) -> bool:
    return len(first) == len(second) and all(one is other for one, other in zip(first, second, strict=True))
