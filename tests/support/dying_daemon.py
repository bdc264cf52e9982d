"""A daemon that kills itself (SIGKILL) between two steps of an operation: run inside a lab in place of `berth daemon`.

What carries out the steps is wrapped from outside; the product has no hook for this. The file /run/die-at holds the number of the
step before which it dies, counted from when the file appears. Without the file it lives. The steps that were passed are written to
/run/steps, one name a line.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from netcore.controller.sandbox_files import SandboxFiles
from netcore.desired.diff import Step
from netcore.kernel import conntrack, files, netns, nft
from netcore.kernel.apply import Executor
from netcore.kernel.deferred_deletes import DeferredDeletes
from netcore.plugins.client import PluginClient
from netcore.relay.host_ports import HostPorts
from netcore.store.etcd import EtcdStore
from netcore.store.sqlite import SqliteStore
from resolver import cli
from resolver.daemon.registry import Registry

ORDER, STEPS = Path("/run/die-at"), Path("/run/steps")
_lock = threading.Lock()
_passed = 0


def step(name: str) -> None:
    """Pass one step boundary, or die there."""
    global _passed
    with _lock:
        try:
            at = int(ORDER.read_text())
        except (FileNotFoundError, ValueError):
            _passed = 0
            return
        if _passed >= at:
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()
        _passed += 1
        with STEPS.open("a") as file:
            file.write(f"{name}\n")


def around(owner: Any, name: str) -> None:
    """Make the call of *name* a step: the daemon may die before it and behind it."""
    original: Callable[..., Any] = getattr(owner, name)
    is_coroutine = original.__code__.co_flags & 0x80

    async def wait(*given: Any, **more: Any) -> Any:
        step(f"before {name}")
        result = await original(*given, **more)
        step(f"after {name}")
        return result

    def call(*given: Any, **more: Any) -> Any:
        step(f"before {name}")
        result = original(*given, **more)
        step(f"after {name}")
        return result

    setattr(owner, name, wait if is_coroutine else call)


def each_kernel_step() -> None:
    original = getattr(Executor, "_run")  # noqa: B009 - the one place where each step passes, whatever carries it out

    def run(executor: Executor, sockets: Any, steps: Sequence[Step]) -> Iterator[Any]:
        for one in steps:
            step(one.describe())
            yield from original(executor, sockets, [one])

    setattr(Executor, "_run", run)  # noqa: B010


def main() -> None:
    each_kernel_step()
    for name in ("make", "pin", "unpin", "unpin_and_remove", "rename", "forget_name"):
        around(SandboxFiles, name)
    around(DeferredDeletes, "delete")
    for name in ("open", "close", "update", "network_up", "network_down"):
        around(Registry, name)
    around(SqliteStore, "commit")
    around(EtcdStore, "commit")
    around(PluginClient, "call")
    around(HostPorts, "release")
    around(conntrack, "forget")
    around(nft, "apply")
    around(nft, "write_tables")
    around(files, "write_in_place")
    around(netns, "unpin")
    sys.argv = ["berth", "daemon", *sys.argv[1:]]
    sys.exit(cli.main())


main()
