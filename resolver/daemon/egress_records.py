"""What sandboxes with `--egress learn` have used, as the rules that they would have needed: a file for each name, in the state directory.

It outlives the sandbox and the daemon. A file is written a moment after the last change, and at the end.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from netcore import limits
from netcore.egress import learned
from netcore.egress.openings import Openings
from netcore.errors import NotFound
from netcore.kernel.refused_packets import RefusedPacket
from netcore.model import SandboxId
from netcore.parse.names import check_object_name
from netcore.plan.host_state import HostState
from resolver.limits import EGRESS_RECORD_PAUSE

log = logging.getLogger(__name__)


class EgressRecords:
    """See the module. On the loop. *directory*: of the files."""

    def __init__(self, directory: Path, state: HostState) -> None:
        self._directory = directory
        self._state = state
        self._rules: dict[str, dict[str, None]] = {}
        self._unwritten: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, identity: str, openings: Openings, packet: RefusedPacket) -> None:
        """Note what a sandbox has used."""
        sandbox = self._state.sandboxes.get(SandboxId(identity))
        if sandbox is None or not openings.policy.learns:
            return
        known = self._read(sandbox.name)
        names = openings.noted_names(packet.address)
        for rule in learned.needed(openings.policy.around, names, packet.address, packet.protocol, packet.port):
            if rule not in known and len(known) < limits.EGRESS_RULES:
                known[rule] = None
                self._unwritten.add(sandbox.name)
        if self._unwritten and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EGRESS_RECORD_PAUSE, self._write)

    def rules(self, name: str) -> list[str]:
        """Return the rules that the sandbox called *name* has needed, in their order; NotFound if nothing is recorded of one."""
        # It is the name of a file.
        known = self._read(check_object_name("sandbox", name))
        if not known and not any(sandbox.name == name for sandbox in self._state.sandboxes.values()):
            raise NotFound("record of egress", name)
        return sorted(known)

    def forget(self, name: str) -> list[str]:
        """Forget what is recorded of the sandbox called *name*, which goes on to be recorded if it is there, and return what it was.

        NotFound as `rules`; OSError if the file can't be removed.
        """
        known = self.rules(name)
        (self._directory / name).unlink(missing_ok=True)
        self._unwritten.discard(name)
        del self._rules[name]
        return known

    def close(self) -> None:
        """Write what is not written."""
        self._write()

    def _read(self, name: str) -> dict[str, None]:
        if name not in self._rules:
            try:
                lines = (self._directory / name).read_text().splitlines()
            except (OSError, UnicodeDecodeError):
                lines = []
            self._rules[name] = dict.fromkeys(line for line in lines[: limits.EGRESS_RULES] if line)
            if len(self._rules) > limits.EGRESS_RECORDS:
                self._write()
                del self._rules[next(iter(self._rules))]
        return self._rules[name]

    def _write(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for name in tuple(self._unwritten):
            self._unwritten.discard(name)
            try:
                self._directory.mkdir(mode=0o700, exist_ok=True)
                new = self._directory / f".{name}"
                new.write_text("".join(f"{rule}\n" for rule in self._rules[name]))
                new.replace(self._directory / name)
                self._forget_oldest()
            except OSError as error:
                log.warning("what a sandbox has used is not recorded sandbox=%s reason=%s", name, error)

    def _forget_oldest(self) -> None:
        files = [file for file in self._directory.iterdir() if not file.name.startswith(".")]
        for file in sorted(files, key=lambda file: file.stat().st_mtime)[: -limits.EGRESS_RECORDS]:
            file.unlink()
