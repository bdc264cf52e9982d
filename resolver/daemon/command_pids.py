"""Which process is the command of a sandbox: what its first process, which is berth's own, has started."""

from __future__ import annotations

from netcore.kernel import process
from netcore.model import Owner, Sandbox, SandboxId

_KEPT_BEYOND = 64


class CommandPids:
    """Looks once for each command, as a list of sandboxes is asked for often."""

    def __init__(self) -> None:
        self._known: dict[SandboxId, tuple[Owner, int]] = {}

    def of(self, sandbox: Sandbox) -> int:
        """Return the pid of the command in *sandbox*, or of the process that it was adopted from; 0 if there is none.

        Of a command that is just being started, the pid of the process that starts it there.
        """
        leader = sandbox.leader
        if leader is None:
            self._known.pop(sandbox.id, None)
            return 0
        if sandbox.adopted:
            return leader.pid
        known = self._known.get(sandbox.id)
        if known is not None and known[0] == leader:
            return known[1]
        command = process.first_child(leader.pid)
        if command is None:
            return leader.pid
        self._known[sandbox.id] = leader, command
        return command

    def forget_all_but(self, sandboxes: int) -> None:
        """Forget those of sandboxes that are gone, once they are many. *sandboxes*: how many there are."""
        if len(self._known) > 2 * sandboxes + _KEPT_BEYOND:
            self._known.clear()
