"""Which of the desired objects the kernel has now: the "before" of the diff at a start. Blocking; reads only.

Kinds that can't be observed are reported as absent, and so are set once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from netcore.desired.objects import Announcement, KernelObject, Key, Sysctl, Veth
from netcore.kernel.handlers import handler_of, links
from netcore.kernel.handlers.handler import set_again
from netcore.kernel.inventory import Inventory, NamespaceInventory
from netcore.model import NetnsPath, SandboxId


def observe(
    desired: Iterable[KernelObject], netns_path: Callable[[SandboxId], NetnsPath], host: NamespaceInventory | None = None
) -> tuple[KernelObject, ...]:
    """Return those of *desired* that exist as they should. *host*: what the host holds, if it has been read."""
    objects = tuple(desired)
    inventory = Inventory(netns_path, objects, host=host)
    return tuple(wanted for wanted in objects if handler_of(wanted).observe(inventory, wanted))


class Damaged(NamedTuple):
    """*objects*: those that are not as they should be. *gone*: keys of those of them that are links which are not there at all."""

    objects: tuple[KernelObject, ...] = ()
    gone: frozenset[Key] = frozenset()


def find_damaged(desired: Iterable[KernelObject], netns_path: Callable[[SandboxId], NetnsPath]) -> Damaged:
    """Return what of *desired* is not as it should be, as far as its kind can be observed; asks for nothing else.

    Elements are compared set by set instead (`nft_listing`), and what was sent is not compared.
    """
    objects = tuple(wanted for wanted in desired if _is_compared(wanted))
    inventory = Inventory(netns_path, objects, only_wanted=True)
    damaged = tuple(wanted for wanted in objects if not handler_of(wanted).observe(inventory, wanted))
    return Damaged(damaged, frozenset(pair.key for pair in damaged if isinstance(pair, Veth) and not links.is_pair_there(inventory, pair)))


def _is_compared(wanted: KernelObject) -> bool:
    match wanted:
        case Announcement():
            return False
        case Sysctl():
            # Where /proc/sys is read-only it may have another value for good.
            return not wanted.dispensable
        case _:
            return handler_of(wanted).observe is not set_again
