"""Sysctls."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from netcore.desired.objects.kind import HOST, Key, Kind, Lane, LinkReference, Order, Subsystem, where
from netcore.model import SandboxId


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl(Kind):
    """A file under /proc/sys. It needs no deletion if what it governs goes with its link.

    *path*: with slashes, below /proc/sys. *optional*: a kernel without it will do.
    *dispensable*: where /proc/sys is read-only, another value will do. *original*: what the host, or an adopted namespace,
    had before, which is put back when the object goes; None: nothing is put back.
    """

    sandbox_id: SandboxId | None
    path: str
    value: str
    optional: bool = False
    dispensable: bool = False
    original: str | None = None

    @property
    def order(self) -> Order:
        return Order.HOST_SYSCTL if self.sandbox_id is HOST else Order.SANDBOX_SYSCTL

    @property
    def lane(self) -> Lane:
        return Lane(Subsystem.STACK, self.sandbox_id)

    @property
    def key(self) -> Key:
        return ("sysctl", self.sandbox_id, self.path)

    def goes_with(self, links: Collection[LinkReference]) -> bool:
        return self.original is None

    def describe(self) -> str:
        return f"sysctl {self.path}={self.value}{where(self.sandbox_id)}"
