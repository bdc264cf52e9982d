"""An ordinary user's own podman and bubblewrap, started in the nest, with every capability that root has there, and no network."""

from __future__ import annotations

import os
import shlex
import sys
import zlib
from pathlib import Path

from tests.escape.containers import make_root
from tests.support.user_lab import UID, UserLab

_ROOT = "/mnt/root"
_PODMAN = ("podman", "--cgroup-manager=cgroupfs", "--storage-driver=vfs")
_OPTIONS = (
    "--network", "none", "--privileged", "--cgroups", "disabled", "--no-hosts", "--ulimit", "nofile=4096:4096", "--rootfs", _ROOT,
)  # fmt: skip


def _inside(lab: UserLab, *command: str) -> tuple[str, ...]:
    """Return what runs *command* in the nest, from the lab's host."""
    return (*lab.prefix_of(), sys.executable, "-m", "resolver", "unshare", "--", *command)


def _sleep(name: str) -> tuple[str, str]:
    """Return a command by whose arguments the first process of *name* is found, also beside those of other labs."""
    return "sleep", f"{os.getpid()}{zlib.crc32(name.encode()):010}"


def prepare(lab: UserLab) -> None:
    """Make what containers have as their root. There must be no nest yet: it would not see later mounts."""
    make_root(lab, _ROOT)
    # What podman makes itself there is the user's, so /etc is a copy.
    lab.shell(
        f"set -e; cd {_ROOT}; umount etc; cp -r --preserve=mode,links /etc/. etc 2>/dev/null || true; "
        f"chown {UID}:{UID} . etc proc sys dev run tmp mnt"
    )


def _processes(lab: UserLab, name: str) -> list[int]:
    return [int(pid) for pid in lab.out("pgrep", "-u", str(UID), "-fx", " ".join(_sleep(name)), check=False).split()]


def _first_process(lab: UserLab, name: str) -> int:
    lab.wait_for(lambda: _processes(lab, name))
    (pid,) = _processes(lab, name)
    return pid


def why_no_podman(lab: UserLab) -> str:
    """Return why this user has no containers of podman here, "" if he has."""
    done = lab.run(*_inside(lab, *_PODMAN, "run", "--rm", *_OPTIONS, "true"), check=False, timeout=120)
    return f"podman: {(done.stderr.strip().splitlines() or ['it failed'])[-1]}" if done.returncode else ""


def why_no_bwrap(lab: UserLab) -> str:
    """Return why this user has no sandboxes of bubblewrap here, "" if he has."""
    done = lab.run(*_inside(lab, *_BWRAP, "true"), check=False)
    return f"bubblewrap: {(done.stderr.strip().splitlines() or ['it failed'])[-1]}" if done.returncode else ""


def start_podman(lab: UserLab, name: str) -> tuple[int, tuple[str, ...]]:
    """Start a container. Return the pid of its first process, in the lab, and what runs a command in it."""
    # Not by its output: what watches the container keeps that open.
    run = _inside(lab, *_PODMAN, "run", "-d", "--name", name, *_OPTIONS, *_sleep(name))
    lab.shell(f"{shlex.join(run)} < /dev/null > /run/podman.out 2>&1 || {{ cat /run/podman.out >&2; exit 1; }}", timeout=120)
    return _first_process(lab, name), _inside(lab, *_PODMAN, "exec", "-i", name)


_BWRAP = ("bwrap", "--dev-bind", "/", "/", "--unshare-user", "--uid", "0", "--gid", "0", "--unshare-net", "--cap-add", "ALL")


def start_bwrap(lab: UserLab, name: str) -> tuple[int, tuple[str, ...]]:
    """Start a sandbox in a user namespace of its own. Return as `start_podman` does."""
    lab.start(*_inside(lab, *_BWRAP, *_sleep(name)))
    pid = _first_process(lab, name)
    # The last of its pids is that in the nest.
    inner = Path(f"/proc/{pid}/status").read_text().split("NSpid:")[1].splitlines()[0].split()[-1]
    return pid, _inside(lab, "nsenter", "-t", inner, "-U", "-m", "-n", "--preserve-credentials")


def end(lab: UserLab, runtime: str, name: str) -> None:
    if runtime == "podman":
        lab.run(*_inside(lab, *_PODMAN, "rm", "-f", "-t", "0", name), check=False, timeout=60)
        return
    for pid in _processes(lab, name):
        lab.run("kill", "-9", str(pid), check=False)
