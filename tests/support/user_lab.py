"""A lab whose host has an ordinary user, `ann`, who runs berth without any right of root's.

Only the lab's own /etc, /run and /mnt are written to. Who can't read the interpreter where it is (a home of root) finds it at the same
path all the same.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.lab import OUTSIDE_ADDRESS, Lab

ROOT = Path(__file__).parents[2]
UID = 12_345
RUNTIME, HOME = f"/run/user/{UID}", "/mnt/home/ann"
RUN_DIR, STATE_DIR = f"{RUNTIME}/berth", f"{HOME}/.local/state/berth"
SERVER, SERVER6 = "192.0.2.80", "2001:db8:2::80"
"""Where www.example.org is."""

_SETUP = f"""
set -e
printf 'ann:x:{UID}:{UID}::{HOME}:/bin/sh\\nbob:x:{UID + 1}:{UID + 1}::/mnt/home/bob:/bin/sh\\n' >> /etc/passwd
printf 'ann:x:{UID}:\\nbob:x:{UID + 1}:\\n' >> /etc/group
rm -f /etc/subuid /etc/subgid
for name in ann bob; do
  uid=$(id -u $name); mkdir -p /mnt/home/$name /run/user/$uid
  chown $uid:$uid /mnt/home/$name /run/user/$uid; chmod 700 /mnt/home/$name /run/user/$uid
done
echo "0 2147483647" > /proc/sys/net/ipv4/ping_group_range
# What programs of the user would leave on the real host; and podman has no place where both versions of cgroups are mounted.
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
if [ -d /sys/fs/cgroup ]; then mount -t tmpfs tmpfs /sys/fs/cgroup; fi
"""
_OUTSIDE = f"""
ip addr add {SERVER}/32 dev lo; ip -6 addr add {SERVER6}/128 dev lo nodad
cd /run; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out server.pem -days 30 \
  -subj /CN=www.example.org -addext subjectAltName=DNS:www.example.org 2>/dev/null
"""


_SHOW = """
set -e
mkdir -p "$2"
# One by one: the directory itself may keep others out too.
for entry in "$1"/* "$1"/.[!.]*; do
  target=$2/${entry##*/}
  if [ -L "$entry" ]; then cp -P "$entry" "$target"
  elif [ -d "$entry" ]; then mkdir "$target"; mount --rbind "$entry" "$target"
  elif [ -e "$entry" ]; then : > "$target"; mount --bind "$entry" "$target"
  fi
done
"""


def why_no_user() -> str:
    """Return why no lab with a user can be built here, "" if one can."""
    if os.geteuid() != 0:
        return "only root can become another user"
    if shutil.which("newuidmap") is None:
        return "newuidmap is not installed (package uidmap)"
    own = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--mount-proc", "true")
    done = subprocess.run(["setpriv", "--reuid", str(UID), "--clear-groups", *own], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"ordinary users have no namespaces here: {done.stderr.strip()}"
    private = [path for path in (Path(__file__).resolve(), Path(sys.executable).resolve()) if not path.stat().st_mode & 0o004]
    return f"{private[0]} can be read by its owner alone" if private else ""


def _hidden_by(path: Path) -> Path | None:
    """Return the highest directory above *path* that others can't pass through, None if there is none."""
    return next((part for part in reversed(path.parents) if not part.stat().st_mode & 0o001), None)


def _parent(pid: int) -> int:
    """Return the parent of a process, 0 if that process is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


class UserLab(Lab):
    """*sub_ids*: ann has subordinate ids. *tun*: /dev/net/tun is there, for everybody, as udev makes it."""

    def __init__(self, *, sub_ids: bool = True, tun: bool = True) -> None:
        super().__init__()
        self._show_interpreter()
        self.shell(_SETUP)
        if sub_ids:
            self.shell("echo ann:100000:65536 > /etc/subuid; echo ann:100000:65536 > /etc/subgid")
        # One of the lab's own: on the real host it may be missing, or root's.
        self.shell("if [ -d /dev/net ]; then mount -t tmpfs tmpfs /dev/net; fi")
        if tun:
            self.shell("test ! -d /dev/net || { mknod /dev/net/tun c 10 200; chmod 666 /dev/net/tun; }")
        self.shell(_OUTSIDE, where="outside")

    def _show_interpreter(self) -> None:
        """Have users find the interpreter and the checkout where they are, whatever directories above keep others out."""
        paths = sorted({Path(path).resolve() for path in (sys.base_prefix, sys.prefix, ROOT)})
        places = [path for path in paths if not any(path != other and path.is_relative_to(other) for other in paths)]
        hidden = [(path, top) for path in places if (top := _hidden_by(path / "x")) is not None]
        for number, (path, _) in enumerate(hidden):
            self.shell(f"set -e; mkdir /mnt/shown{number}; mount --rbind {path} /mnt/shown{number}")
        for top in {top for _, top in hidden}:
            self.shell(f"mount -t tmpfs -o mode=755 tmpfs {top}")
        for number, (path, _) in enumerate(hidden):
            self.run("sh", "-c", _SHOW, "sh", f"/mnt/shown{number}", str(path))

    def serve_outside(self) -> None:
        """Start the name server, and the server of www.example.org."""
        self.start_listening("upstream.py", OUTSIDE_ADDRESS, "ok", "quiet", where="outside")
        self.start_listening("looked_at_server.py", "/run/server.pem", "/run/key.pem", "/run/server.log", SERVER, SERVER6, where="outside")
        self.start_listening("who_are_you.py", OUTSIDE_ADDRESS, SERVER6, where="outside")

    def as_user(
        self, *command: str, name: str = "ann", environment: dict[str, str] | None = None, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run *command* as a user with a login session, and return what it did."""
        return self.run(*self.prefix_of(name, environment), *command, **more)

    def prefix_of(self, name: str = "ann", environment: dict[str, str] | None = None) -> list[str]:
        uid = UID if name == "ann" else UID + 1
        variables = {
            "HOME": f"/mnt/home/{name}", "USER": name, "LOGNAME": name, "XDG_RUNTIME_DIR": f"/run/user/{uid}", **(environment or {}),
        }  # fmt: skip
        return [
            "setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--inh-caps=-all", "env", "-C", f"/mnt/home/{name}",
            *(f"{key}={value}" for key, value in variables.items()),
        ]  # fmt: skip

    def berth(self, *arguments: str, name: str = "ann", **more: Any) -> subprocess.CompletedProcess[str]:
        """Run berth as a user."""
        return self.as_user(sys.executable, "-m", "resolver", *arguments, name=name, **more)

    def start_berth(self, *arguments: str, name: str = "ann") -> subprocess.Popen[str]:
        """Start berth as a user, and go on."""
        return self.start(*self.prefix_of(name), sys.executable, "-m", "resolver", *arguments)

    def processes(self, pattern: str, uid: int = UID) -> list[int]:
        """Return the pids of a user's processes in this lab, ann's if nobody is named, whose command line has *pattern*."""
        found = self.out("pgrep", "-u", str(uid), "-f", pattern, check=False).split()
        members = set(self._members())
        return [int(pid) for pid in found if int(pid) in members]

    def serving(self, pattern: str) -> int | None:
        """Return the pid of the process that serves ann's nest; of two, the one that the other keeps running. None while there is none."""
        found = self.processes(pattern)
        return next((pid for pid in found if len(found) == 1 or _parent(pid) in found), None)

    def end_nest_of_bob(self) -> None:
        """End everything of bob's, if there is anything."""
        for holder in self.processes("resolver.rootless.holder", UID + 1):
            self.run("kill", "-9", str(holder), check=False)
        self.wait_for(lambda: not self.processes("resolver", UID + 1))

    def holder(self) -> int:
        """Return the pid of the first process of ann's nest."""
        (pid,) = self.processes("resolver.rootless.holder")
        return pid

    def in_nest(self, script: str) -> str:
        """Return the output of a shell script in ann's nest."""
        enter = ("nsenter", "-t", str(self.holder()), "-U", "-m", "-n", "-p", "-i", "-u", "--preserve-credentials")
        return self.out(*self.prefix_of(), *enter, "sh", "-c", script)

    def log(self) -> str:
        """Return the end of the logs in ann's nest."""
        holders = self.processes("resolver.rootless.holder")
        if not holders:
            return super().log()
        logs = [Path(f"/proc/{holders[0]}/root{RUN_DIR}/{name}.log") for name in ("daemon", "way-out")]
        return "".join(path.read_text()[-4000:] for path in logs if path.exists())

    def pool(self, network: str) -> str:
        """Return the IPv4 subnet of a network of ann's."""
        found: list[dict[str, Any]] = json.loads(self.berth("network", "inspect", network).stdout)
        return str(found[0]["pools"][0]["subnet"])

    def quoted(self, *arguments: str) -> str:
        """Return a command line of berth as a user would type it in a script."""
        return shlex.join([sys.executable, "-m", "resolver", *arguments])
