"""A lab whose daemon is restarted in every way, while clients in its sandboxes ask without a pause."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.lab import OUTSIDE_ADDRESS, Lab

ROOT = Path(__file__).parents[2]
ASKER = (ROOT / "tests/support/steady_asker.py").read_text()
COPY = "/mnt/newer"
INSTALLED = "env -u PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX=/mnt/bytecode"
"""Modules are compiled once, as where berth is installed: compiling them takes longer than the rest of a start."""
KINDS = ("stop", "kill", "upgrade")


@dataclass
class Told:
    """What all askers together were told. *longest*: seconds that an answer took at most."""

    asked: int = 0
    errors: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    ended: int = 0

    @property
    def longest(self) -> float:
        return max(self.waits, default=0.0)


class Restarts:
    """See the module. *sandboxes*: how many there are. The first asks by UDP, the last by TCP."""

    def __init__(self, lab: Lab, sandboxes: int) -> None:
        self.lab = lab
        self._is_newer = False
        self._askers: list[subprocess.Popen[str]] = []
        lab.start_listening("upstream.py", OUTSIDE_ADDRESS, "ok", "quiet", where="outside")
        # Another version of berth, as far as a restart can tell: other files, another environment.
        lab.shell(f"mkdir {COPY} && cp -r {ROOT}/netcore {ROOT}/resolver {COPY} && {sys.executable} -m venv --without-pip {COPY}/venv")
        self._site = lab.out(sys.executable, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])")
        for is_newer in (False, True):
            lab.shell(f"{self._interpreter(is_newer=is_newer)} -c 'import resolver.cli, resolver.daemon.app, resolver.daemon.admin_half'")
        lab.start_daemon()
        lab.berth("network", "create", "net")
        self.addresses = {}
        for number in range(sandboxes):
            _, made = lab.api("POST", "/v1/sandboxes", {"name": f"s{number}", "networks": [{"network": "net"}]})
            self.addresses[f"s{number}"] = made["addresses"][0]

    def _interpreter(self, *, is_newer: bool) -> str:
        if is_newer:
            return f"{INSTALLED} PYTHONPATH={COPY}:{self._site} {COPY}/venv/bin/python"
        return f"{INSTALLED} {sys.executable}"

    def begin(self) -> None:
        """Start the askers: for names of sandboxes, and for outside names that are new each time."""
        known = [f"{name}={address}" for name, address in self.addresses.items()]
        gateway = [f"{name}.net={address}" for name, address in [*self.addresses.items()][:2]]
        first, last = next(iter(self.addresses)), [*self.addresses][-1]
        for sandbox, transport, names in (
            (first, "udp", known),
            (last, "tcp", [*known, *gateway]),
            (last, "udp", ["*.example.test=192.0.2.80", *known[:1]]),
        ):
            self._askers.append(self.lab.start_talking(sandbox, ASKER, transport, *names))

    def end(self) -> Told:
        """Stop the askers and return what they were told."""
        told = Told()
        for asker in self._askers:
            out, _ = asker.communicate("")
            one: dict[str, Any] = json.loads(out.splitlines()[-1])
            told.asked += one["asked"]
            told.errors += one["errors"]
            told.wrong += one["wrong"]
            told.waits += one["waits"]
            told.ended += one["ended"]
        self._askers.clear()
        return told

    def restart(self, kind: str, *, wait: bool = True) -> float:
        """End the daemon as *kind* says and start one; return the seconds until it was ready, all told. Not *wait*: at once."""
        lab, begun = self.lab, time.monotonic()
        lab.stop_daemon(signal.SIGKILL if kind == "kill" else signal.SIGTERM)
        if kind == "upgrade":
            self._is_newer = not self._is_newer
        # A socket that is left of a killed daemon says nothing.
        lab.run("rm", "-f", "/run/berth/berth.sock")
        lab.start_daemon(program=f"{self._interpreter(is_newer=self._is_newer)} -m resolver daemon", wait=wait)
        return time.monotonic() - begun

    def keeper(self) -> list[int]:
        """Return the pids of the keepers of this lab's daemon."""
        lines = self.lab.shell("grep -la netcore/keeper/program /proc/[0-9]*/cmdline 2>/dev/null || true").split()
        return [pid for pid in (int(line.split("/")[2]) for line in lines) if self._is_here(pid)]

    def _is_here(self, pid: int) -> bool:
        ours, theirs = (Path(f"/proc/{one}/ns/mnt") for one in (self.lab.pid, pid))
        try:
            return ours.readlink() == theirs.readlink()
        except OSError:
            return False
