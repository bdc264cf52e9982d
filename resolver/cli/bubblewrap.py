"""`--confine`: a command under bubblewrap, with the host's files read-only, and one directory that it may write to.

Spec: bwrap(1). A user namespace of its own, so that it has no right over the sandbox's network stack either.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from resolver.cli.entering import EnterFailed
from resolver.cli.kernel_files import MASKED
from resolver.cli.users import Identity
from resolver.isolation import rights
from resolver.isolation.files import check_confined, tmpfs_of, volume_of
from resolver.isolation.told import isolation_of

PROGRAM = "bwrap"
_PRIVATE = ("/tmp", "/var/tmp", "/run")  # noqa: S108 (each is covered by an empty one)
_SANDBOX_FILES = ("resolv.conf", "hosts")


def program() -> str:
    """Return the path of bubblewrap; EnterFailed names its package."""
    found = shutil.which(PROGRAM)
    if found is None:
        raise EnterFailed(
            "--confine: bwrap is not on the PATH; install the package bubblewrap (`apt install bubblewrap`, `dnf install bubblewrap`)"
        )
    return found


def confined(
    sandbox: Mapping[str, Any],
    bubblewrap: str,
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    directory: str,
    kept: int,
    identity: Identity | None,
) -> list[str]:
    """Return the words that run *command* under *bubblewrap*.

    *kept*: bits of the capabilities that were asked for. *directory*: where it runs. Called in the process that executes them: it leaves
    descriptors of files in memory open for it.
    """
    isolation = isolation_of(sandbox)
    who = identity or Identity(os.geteuid(), os.getegid())
    home = os.path.normpath(environment.get("HOME") or "/")
    name = who.name or ("root" if who.uid == 0 else "user")
    shell = environment.get("SHELL") or who.shell or "/bin/sh"
    words = [
        bubblewrap, "--unshare-user", "--uid", str(who.uid), "--gid", str(who.gid), "--unshare-pid", "--die-with-parent", "--new-session",
        "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc",
    ]  # fmt: skip
    own = os.path.realpath(isolation["confine"])
    check_confined(own)
    places = (*_PRIVATE, *(() if home == "/" else (home,)))
    private = [path for path in dict.fromkeys(map(os.path.realpath, places)) if os.path.isdir(path) and path != own]
    below = [path for path in private if path.startswith(f"{own}/")]
    for path in private:
        words += [] if path in below else ["--tmpfs", path]
    words += ["--ro-bind" if isolation["read_only"] else "--bind", own, own]
    for path in below:
        words += ["--tmpfs", path]
    for masked in filter(os.path.exists, MASKED):
        words += ["--tmpfs", masked, "--remount-ro", masked] if os.path.isdir(masked) else ["--ro-bind", "/dev/null", masked]
    words += ["--ro-bind-data", str(_in_memory(f"{name}:x:{who.uid}:{who.gid}::{home}:{shell}\n")), "/etc/passwd"]
    words += ["--ro-bind-data", str(_in_memory(f"{name}:x:{who.gid}:\n")), "/etc/group"]
    for file in _SANDBOX_FILES:
        # What /etc has there may lead to /run.
        words += ["--ro-bind", f"/etc/{file}", os.path.realpath(f"/etc/{file}")] if os.path.exists(f"/etc/{file}") else []
    for text in isolation["tmpfs"]:
        tmpfs = tmpfs_of(text)
        size = next((part.removeprefix("size=") for part in tmpfs.data.split(",") if part.startswith("size=")), "")
        words += [*(["--size", size] if size.isdigit() else []), "--tmpfs", tmpfs.target]
    for text in isolation["volumes"]:
        volume = volume_of(text)
        words += ["--ro-bind" if volume.read_only else "--bind", volume.source, volume.target]
    words += ["--chdir", directory, "--cap-drop", "ALL"]
    for number, capability in enumerate(rights.NAMES):
        if kept >> number & 1:
            words += ["--cap-add", f"CAP_{capability}"]
    return [*words, "--", *command]


def _in_memory(text: str) -> int:
    descriptor = os.memfd_create("berth", 0)
    os.write(descriptor, text.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
