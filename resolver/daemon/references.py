"""Which network or sandbox a reference means: one that exists, one that is set aside, or one that is stopped."""

from __future__ import annotations

from collections.abc import Iterable

from netcore.controller import Controller
from netcore.controller.set_aside import Aside
from netcore.errors import Conflict, NotFound
from netcore.model import Network, Sandbox
from netcore.plan import references
from resolver.daemon.lasting import LastingSandboxes
from resolver.daemon.runs import Run, Runs


class References:
    """A reference is a name, an id, or the unique beginning of an id."""

    def __init__(self, controller: Controller, runs: Runs, lasting: LastingSandboxes) -> None:
        self._controller = controller
        self._runs = runs
        self._lasting = lasting

    def check_name(self, name: str, identity: str | None = None) -> None:
        """Raise Conflict if *name* is that of a sandbox that is stopped, or can't be made again, unless it has the id *identity*."""
        self._runs.check_name(name, identity)
        lasting = self._lasting.named(name)
        if lasting is not None and lasting.id != identity and lasting.id not in self._controller.state.sandboxes:
            raise Conflict("sandbox", name, "exists already and can't be made again now; see `berth doctor`, or remove it with `berth rm`")

    def find_network(self, reference: str) -> Network:
        """Return the network that *reference* means."""
        self._refuse_aside("network", reference)
        return self._controller.state.find_network(reference)

    def find_running(self, reference: str) -> Sandbox:
        """Return the sandbox that *reference* means; Conflict if it is stopped."""
        found = self.find(reference)
        if isinstance(found, Run):
            raise Conflict("sandbox", found.name, "is not running; start it with `berth start`")
        return found

    def find(self, reference: str) -> Sandbox | Run:
        """Return the sandbox that *reference* means, or the run that is left of it while it is stopped."""
        self._refuse_aside("sandbox", reference)
        run = self._runs.find_stopped(reference)
        try:
            sandbox = self._controller.state.find_sandbox(reference)
        except NotFound as error:
            if run is not None:
                return run
            stopped, sandboxes = self._runs.stopped(), self._controller.state.sandboxes
            if not stopped or len(stopped) + len(sandboxes) > references.COMPARED:
                raise
            # Those that are stopped may have been meant, too.
            names = {sandbox.name for sandbox in sandboxes.values()} | {run.name for run in stopped}
            raise NotFound("sandbox", reference, references.hint(reference, sorted(names))) from error
        left = self._runs.get(sandbox.id) if sandbox.ended else None
        if left is not None and left.ended is not None:
            # It is stopped, and others share its network stack.
            return left
        # A name goes before the beginning of another one's id.
        return run if run is not None and run.id != sandbox.id and reference == run.name else sandbox

    def find_aside(self, kind: str, reference: str) -> Aside | None:
        """Return the thing that is set aside and called *reference*, unless another of this kind has that name or id.

        A name goes before the beginning of another one's id.
        """
        state = self._controller.state
        known, named = (state.networks, state.network_named) if kind == "network" else (state.sandboxes, state.sandbox_named)
        if reference in known or named(reference) is not None:
            return None
        aside = self._controller.set_aside.find(kind, reference)
        if aside is None:
            return None
        things: Iterable[Network | Sandbox] = state.networks.values() if kind == "network" else state.sandboxes.values()
        is_exact = reference in (aside.id, aside.name)
        others = [thing for thing in things if thing.id.startswith(reference) or thing.id == aside.id]
        return None if any(other.id == aside.id or not is_exact for other in others) else aside

    def _refuse_aside(self, kind: str, reference: str) -> None:
        aside = self.find_aside(kind, reference)
        if aside is not None:
            raise NotFound(kind, f"{reference} is set aside: {aside.reason}")
