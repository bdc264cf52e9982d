"""Which of the desired objects the kernel has now: the "before" of the diff at a start. Blocking; reads only.

Objects that are cheap to set again (sysctls, flags) are reported as absent and so are written once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from netcore.desired.objects import KernelObject
from netcore.kernel.handlers import handler_of
from netcore.kernel.inventory import Inventory
from netcore.model import NetnsPath, SandboxId


def observe(desired: Iterable[KernelObject], netns_path: Callable[[SandboxId], NetnsPath]) -> tuple[KernelObject, ...]:
    """Return those of *desired* that exist as they should."""
    inventory = Inventory(netns_path)
    return tuple(wanted for wanted in desired if handler_of(wanted).observe(inventory, wanted))
