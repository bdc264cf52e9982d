"""What the daemon's process needs at its start: capabilities, descriptors, a calm interpreter; and telling systemd."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.metadata
import logging
import os
import resource
import sys
import threading
from pathlib import Path

from netcore.errors import Unavailable
from netcore.keeper import descriptor_store
from netcore.kernel import capabilities, netns
from resolver import state_owner
from resolver.rootless import places, record

log = logging.getLogger(__name__)

_UMASK = 0o022
_SWITCH_INTERVAL = 0.0002
_COLLECT_AFTER = 20_000


def version() -> str:
    """Return the version of berth that runs."""
    try:
        return importlib.metadata.version("berth-net")
    except importlib.metadata.PackageNotFoundError:
        return "0"


def check_capabilities() -> None:
    """Raise Unavailable that names each capability which is missing, or is worth nothing here."""
    missing = capabilities.missing(Path("/proc/self/status").read_text())
    if missing:
        raise Unavailable(", ".join(missing), "run berth as root or through sudo, or as an ordinary user, who has a nest of his own")
    if not netns.may_be_changed(netns.OWN):
        raise Unavailable(
            "CAP_NET_ADMIN",
            "this shell is in a user namespace of its own (`unshare -r`, a rootless container), which does not own this network namespace; "
            "type the command outside of it, or make a network namespace too",
        )


def make_run_directory(path: str) -> None:
    """Make the run directory. If that fails what exists is served all the same; without anything the admin socket ends the start."""
    try:
        Path(path).mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        log.error("the run directory can't be made reason=%s", error)


def set_umask() -> None:
    """Have files of sandboxes readable inside for everybody, whatever the shell was set to that started us."""
    os.umask(_UMASK)


def owner(run_dir: str) -> str:
    """Return what another daemon is told of this one, if it finds its state directory taken."""
    return state_owner.words(_whose_process(run_dir), os.uname().nodename, run_dir)


def _whose_process(run_dir: str) -> str:
    if not places.is_nest():
        return f"process {os.getpid()}"
    # Outside, pids of the nest mean nothing.
    found = None
    with contextlib.suppress(OSError):
        found = record.decode(Path(run_dir, places.OUTSIDE, places.LOCK).read_bytes())
    return "a nest of this user" if found is None else f"the nest of process {found.pid}"


def raise_descriptor_limit() -> None:
    """Allow this process as many descriptors as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def shorten_thread_switches() -> None:
    """Keep worker threads from holding the interpreter for the usual 5 ms: names are answered on the event loop."""
    sys.setswitchinterval(_SWITCH_INTERVAL)


def collect_garbage_seldom() -> None:
    """Leave what exists now out of garbage collections, and collect seldom: a query makes no reference cycles.

    With Python's own thresholds collections take a sixth of the time under load, and stop the loop for up to 50 ms.
    """
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)


def collect_garbage_no_more() -> None:
    """Leave all memory to the kernel, which takes it back at once when this process ends.

    The interpreter would go through all objects once more, for 0.2 s with many answers remembered, while whoever asks waits
    for the next daemon.
    """
    gc.disable()
    gc.freeze()


def end_within(seconds: float) -> None:
    """End this process after *seconds* if it is still there: a worker thread may wait for something that never comes."""

    def end() -> None:
        log.error("daemon ends without the work that is still at hand")
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def watchdog_period() -> float | None:
    """Return how often systemd wants to hear that we are alive, in seconds; None if it doesn't (sd_watchdog_enabled(3))."""
    microseconds, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not microseconds.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(microseconds) / 2_000_000


async def feed_watchdog(period: float) -> None:
    """Tell systemd every *period* seconds that the loop runs; it restarts a daemon that falls silent."""
    while True:
        descriptor_store.notify("WATCHDOG=1")
        await asyncio.sleep(period)
