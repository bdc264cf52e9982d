"""A machine with a systemd of its own, in a container of systemd-nspawn in a lab: it can be booted, and booted again."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from tests.support import book, recipes
from tests.support.lab import Lab

_ROOT = "/run/machine"
_MAKE = f"""
set -e
mkdir -p {_ROOT}/etc/systemd/system {_ROOT}/usr {_ROOT}/var/lib {_ROOT}/root {_ROOT}/tmp
for name in bin sbin lib lib64; do ln -s usr/$name {_ROOT}/$name; done
cp /etc/os-release /etc/nsswitch.conf {_ROOT}/etc/
printf 'root:x:0:0::/root:/bin/sh\\n' > {_ROOT}/etc/passwd
printf 'root:x:0:\\n' > {_ROOT}/etc/group
printf '127.0.0.1 localhost\\n' > {_ROOT}/etc/hosts
: > {_ROOT}/etc/machine-id
printf '[Unit]\\nDescription=What is enabled\\n' > {_ROOT}/etc/systemd/system/multi-user.target
ln -s multi-user.target {_ROOT}/etc/systemd/system/default.target
"""

_FIND_INIT = (
    f"for pid in $(find {recipes.CGROUP} -name cgroup.procs | xargs cat); do grep -qP '^NSpid:.*\\t1$' /proc/$pid/status && echo $pid; done"
)
"""Prints the process that is the first one of its PID namespace."""


class Machine:
    """The machine of *lab*; `boot` starts it. Its programs are the host's, read-only, and `berth` is on its path."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._init = ""
        lab.shell(_MAKE)

    def boot(self) -> None:
        """Start its systemd, and wait until that has started what is enabled."""
        shown = dict.fromkeys(("/usr", sys.base_prefix, sys.prefix, str(book.ROOT)))
        self._nspawn = self.lab.start(
            "sh", "-c", recipes.IN_CGROUP, "sh", "systemd-nspawn", "-q", "--register=no", "--keep-unit", "-D", _ROOT, "--boot", "--private-network", "--capability=all",
            "--system-call-filter=@known", "--resolv-conf=off", *(f"--bind-ro={path}" for path in shown),
        )  # fmt: skip
        self.lab.wait_for(self._is_up)

    def _is_up(self) -> bool:
        self._init = self.lab.shell(_FIND_INIT, check=False)
        return bool(self._init) and self.run("systemctl is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def end(self) -> None:
        """Switch it off, as a power cut does."""
        # With the init of a PID namespace everything in it ends.
        for pid in self.lab.shell(_FIND_INIT, check=False).split():
            self.lab.run("kill", "-9", pid)
        self._nspawn.wait()

    def remove(self) -> None:
        """Switch it off, and leave nothing in the cgroups of the host."""
        self.end()
        recipes.remove_cgroup(self.lab)

    def run(self, script: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a shell script in it and return what it did."""
        path = f"PATH={sys.prefix}/bin:/usr/sbin:/usr/bin"
        return self.lab.run("nsenter", "--target", self._init, "--all", "--", "env", "-C", "/", path, "sh", "-c", script, **more)

    def out(self, script: str, **more: Any) -> str:
        """Return what a shell script prints, stripped."""
        return self.run(script, **more).stdout.strip()

    def write(self, path: str, text: str) -> None:
        """Write a file of it."""
        self.lab.write(f"{_ROOT}{path}", text)
