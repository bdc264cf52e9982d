"""Containers of podman and runc in a lab, with every capability that their starter has, and no network: `berth attach` gives them one.

Their files are the host's own, read-only, so that they can run the tests. What podman and runc keep is in the lab's /run and /var/lib. Of
control groups they are shown a hierarchy that is empty (podman), or the unified one, where runc makes a group that `close` takes away.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.support.lab import Lab

_ROOT = """
set -e
into=$1
shift
test ! -d "$into" || exit 0
mkdir -p "$into"
cd "$into"
for folder in usr etc root work opt home; do
  test -d /$folder || continue
  mkdir $folder
  mount --rbind /$folder $folder
  mount -o remount,bind,ro $folder
done
for link in bin sbin lib lib64; do ln -s usr/$link $link; done
mkdir -p proc sys dev run tmp var/tmp mnt
# The checkout and its Python, wherever they are.
for folder in "$@"; do
  test ! -d "$PWD$folder" || continue
  mkdir -p "$PWD$folder"
  mount --rbind "$folder" "$PWD$folder"
  mount -o remount,bind,ro "$PWD$folder"
done
"""
_SEEN = (str(Path(__file__).parents[2]), sys.prefix, sys.base_prefix)
_PODMAN = """
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "crun"
"""
_GROUP = f"berth-escape-{os.getpid()}"


def _with_groups(kind: str, command: Iterable[str]) -> list[str]:
    """Return a command that sees control groups of *kind* alone, in a mount namespace of its own."""
    script = f'umount -l /sys/fs/cgroup && mount -t {kind} none /sys/fs/cgroup && exec "$@"'
    return ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", script, "sh", *command]


def podman(*arguments: str) -> list[str]:
    return _with_groups("tmpfs", ("env", "CONTAINERS_CONF=/run/containers.conf", "podman", "--storage-driver", "vfs", *arguments))


def runc(*arguments: str) -> list[str]:
    return _with_groups("cgroup2", ("runc", *arguments))


def make_root(lab: Lab, into: str = "/run/root") -> None:
    """Make the directory that containers have as their root, unless it is there."""
    lab.run("sh", "-c", _ROOT, "sh", into, *_SEEN)


def start_podman(lab: Lab, name: str = "podman") -> int:
    """Start a container and return the pid of its first process."""
    make_root(lab)
    lab.write("/run/containers.conf", _PODMAN)
    options = (
        "--network",
        "none",
        "--privileged",
        "--cgroups",
        "disabled",
        "--no-hosts",
        "--ulimit",
        "nofile=4096:4096",
        "--ulimit",
        "nproc=4096:4096",
    )
    lab.shell(
        f"{_quoted(podman('run', '-d', '--name', name, *options, '--rootfs', '/run/root', 'sleep', 'infinity'))} < /dev/null > /run/podman.out 2>&1"
    )
    return int(lab.out(*podman("inspect", "-f", "{{.State.Pid}}", name)))


def start_runc(lab: Lab, name: str = "runc") -> int:
    """Start a container and return the pid of its first process."""
    make_root(lab)
    lab.shell("rm -rf /run/bundle; mkdir /run/bundle; cd /run/bundle; runc spec")
    config = json.loads(lab.shell("cat /run/bundle/config.json"))
    held = int(next(line.split()[1] for line in lab.shell("cat /proc/self/status").splitlines() if line.startswith("CapEff")), 16)
    capabilities = [f"CAP_{name}" for number, name in enumerate(_CAPABILITIES) if held >> number & 1]
    config["process"] |= {"args": ["sleep", "infinity"], "terminal": False, "noNewPrivileges": False, "rlimits": []}
    config["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), capabilities)
    config["root"] = {"path": "/run/root", "readonly": False}
    config["mounts"] = [mount for mount in config["mounts"] if mount["type"] != "cgroup"]
    config["linux"] |= {"cgroupsPath": f"/{_GROUP}-{name}", "maskedPaths": [], "readonlyPaths": []}
    config["linux"].pop("resources", None)
    lab.write("/run/bundle/config.json", json.dumps(config))
    lab.shell(f"cd /run/bundle; {_quoted(runc('run', '-d', name))} < /dev/null > /run/runc.out 2>&1 || {{ cat /run/runc.out; exit 1; }}")
    return int(json.loads(lab.out(*runc("state", name)))["pid"])


def end(lab: Lab, runtime: str, name: str) -> None:
    """End a container. One of runc has a control group, which is not the lab's own: it must not stay."""
    lab.run(*(podman("rm", "-f", "-t", "0", name) if runtime == "podman" else runc("delete", "-f", name)), check=False)


def _quoted(command: Iterable[str]) -> str:
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in command)


_CAPABILITIES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
]
