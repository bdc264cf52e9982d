"""What the controller works on, without a kernel: an executor, a name publisher, a clock and a host that only remember.

Beside `netcore.store.memory.MemoryStore` this is all that a test of the controller needs: no root, no namespace, no time.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_interface, ip_network
from typing import Any

from netcore.desired.diff import Step, diff
from netcore.desired.objects import KernelObject, Key
from netcore.errors import KernelError, TeardownFailed
from netcore.kernel.host import HostFacts
from netcore.kernel.rtnl import Link
from netcore.model import Endpoint, Network, NetworkId, RemoteEndpoint, Sandbox, SandboxId


class FailingStep:
    """Chooses one step that fails: *at* is its number from when it was armed, None for none. *count*: steps seen since."""

    def __init__(self) -> None:
        self.at: int | None = None
        self.count = 0

    def arm(self, at: int) -> None:
        """Let step number *at* from here on fail, once."""
        self.at, self.count = at, 0

    def disarm(self) -> None:
        self.at = None

    def error(self, step: Step) -> KernelError | None:
        """Count *step*; return the error it fails with, None if it is not the one."""
        self.count += 1
        if self.at is None or self.count - 1 != self.at:
            return None
        self.at = None
        return KernelError("test", step.describe(), errno.ENOSPC)


class RecordingExecutor:
    """An executor in place of `netcore.kernel.apply.Executor`, with its contract.

    *objects*: what the kernel would hold now, without what has no deletion of its own (sysctls, announcements).
    *steps*: every step that was carried out, those of an undo too. *failing*: lets one step fail.
    """

    def __init__(self) -> None:
        self.objects: dict[Key, KernelObject] = {}
        self.steps: list[Step] = []
        self.failing = FailingStep()

    def apply(self, steps: Sequence[Step]) -> None:
        """Carry out *steps*; when one fails, undo those done and raise its error."""
        done: list[Step] = []
        for step in steps:
            error = self.failing.error(step)
            if error is not None:
                reached = [earlier.after for earlier in done if earlier.after is not None]
                was = [earlier.before for earlier in done if earlier.before is not None]
                for undoing in diff(reached, was):
                    self._carry_out(undoing)
                raise error
            self._carry_out(step)
            done.append(step)

    def remove(self, steps: Sequence[Step], target: str) -> None:
        """Carry out *steps* without stopping at an error; raise TeardownFailed with all of them at the end."""
        reasons = []
        for step in steps:
            error = self.failing.error(step)
            if error is None:
                self._carry_out(step)
            else:
                reasons.append(str(error))
        if reasons:
            raise TeardownFailed(target, tuple(reasons))

    def forget_sandbox(self, sandbox_id: SandboxId) -> None:
        """Drop what was inside of a sandbox: its namespace is gone."""
        self.objects = {key: there for key, there in self.objects.items() if getattr(there, "sandbox_id", None) != sandbox_id}

    def _carry_out(self, step: Step) -> None:
        self.steps.append(step)
        if step.after is None:
            gone = step.subject
            self.objects = {key: there for key, there in self.objects.items() if key != gone.key and not _goes_with(there, gone)}
        elif diff((step.after,), ()):
            self.objects[step.after.key] = step.after


def _goes_with(there: KernelObject, gone: KernelObject) -> bool:
    """Return whether the kernel removes *there* by itself when *gone* is deleted: the differ then has no step for it."""
    return all(step.before != there for step in diff((gone, there), ()))


class RecordingPublisher:
    """A NamePublisher that remembers what was published. While *fails*, no sandbox can be opened.

    *names*: of each open sandbox the networks of its endpoints, in gateway order. *calls*: (method, id) in order.
    """

    def __init__(self) -> None:
        self.names: dict[SandboxId, tuple[NetworkId, ...]] = {}
        self.remotes: dict[tuple[NetworkId, str], RemoteEndpoint] = {}
        self.networks: set[NetworkId] = set()
        self.calls: list[tuple[str, str]] = []
        self.fails = False

    async def open(self, sandbox: Sandbox) -> None:
        self.calls.append(("open", sandbox.id))
        if self.fails:
            raise KernelError("test", "open", errno.ENOSPC)
        self.names[sandbox.id] = ()

    async def close(self, sandbox: Sandbox) -> None:
        self.calls.append(("close", sandbox.id))
        self.names.pop(sandbox.id, None)

    async def update(self, sandbox: Sandbox, endpoints: Sequence[Endpoint], networks: Mapping[NetworkId, Network]) -> None:
        self.calls.append(("update", sandbox.id))
        self.names[sandbox.id] = tuple(endpoint.network_id for endpoint in endpoints)

    def remote(self, network: Network, before: RemoteEndpoint | None, after: RemoteEndpoint | None) -> None:
        self.calls.append(("remote", network.id))
        if before is not None:
            self.remotes.pop((network.id, before.id), None)
        if after is not None:
            self.remotes[network.id, after.id] = after

    async def network_up(self, network: Network) -> None:
        self.calls.append(("network_up", network.id))
        self.networks.add(network.id)

    async def network_down(self, network: Network) -> None:
        self.calls.append(("network_down", network.id))
        self.networks.discard(network.id)


class Clock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Timers:
    """What is to be done later, in place of a timer: remembered until `run`."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, delay: float, body: Callable[[], None]) -> None:
        self.waiting.append((delay, body))

    def run(self) -> None:
        """Do everything that waits, the earliest first."""
        waiting, self.waiting = sorted(self.waiting, key=lambda timer: timer[0]), []
        for _, body in waiting:
            body()


def host_facts(**changes: Any) -> HostFacts:
    """Return a host with one uplink, `eth0`, at 192.0.2.10/24 and 2001:db8::10/64; *changes*: fields of HostFacts."""
    facts: dict[str, Any] = {
        "links": (
            Link(index=1, name="lo", kind="", up=True, mtu=65_536, mac="00:00:00:00:00:00", alias="", master=0),
            Link(index=2, name="eth0", kind="", up=True, mtu=1500, mac="02:00:00:00:00:10", alias="", master=0),
        ),
        "addresses": (
            ("lo", ip_interface("127.0.0.1/8")),
            ("eth0", ip_interface("192.0.2.10/24")),
            ("eth0", ip_interface("2001:db8::10/64")),
        ),
        "on_link": (ip_network("192.0.2.0/24"), ip_network("2001:db8::/64")),
        "uplinks": ("eth0",),
        "egress_mtu": 1500,
        "ipv6": True,
        "force_forwarding": True,
        "accept_ra": (),
    }
    return HostFacts(**facts | changes)
