"""What tests must leave alone: the state of the real host, and no process of theirs that outlives them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

SESSION_VARIABLE = "BERTH_TEST_SESSION"
"""In the environment of everything that a session starts, so that what it leaves behind can be told from other processes."""

_COMMANDS = (
    ("ip", "-o", "link", "show"),
    ("ip", "-o", "addr", "show"),
    ("ip", "-4", "route", "show", "table", "all"),
    ("ip", "-6", "route", "show", "table", "all"),
    ("ip", "-4", "rule", "show"),
    ("ip", "-6", "rule", "show"),
    ("ip", "-4", "neigh", "show", "nud", "permanent"),
    ("ip", "-6", "neigh", "show", "nud", "permanent"),
    ("ip", "xfrm", "state"),
    ("ip", "xfrm", "policy"),
    ("tc", "qdisc", "show"),
    ("nft", "-s", "list", "ruleset"),
    # Rules of the old kernel interface; those of the new one are part of the ruleset above.
    ("iptables-legacy-save",),
    ("ip6tables-legacy-save",),
)
_DIRECTORIES = ("/run/netns", "/run/berth", "/run/docker", "/run/docker/plugins", "/var/lib/berth")
_FILES = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/nsswitch.conf",
    "/etc/berth.toml",
    "/etc/nftables.conf",
    "/etc/sysctl.conf",
)
_FOLDERS = ("/etc/netns", "/etc/docker", "/etc/ufw", "/etc/sysctl.d", "/etc/iproute2")

_VOLATILE_SYSCTLS = ("net/netfilter/nf_conntrack_count",)
_COUNTERS = re.compile(r"\[\d+:\d+\]|^# (Generated|Completed).*")
PATIENCE = 30.0
"""Seconds that processes which were told to end may take on a busy machine."""


def host_state() -> dict[str, str]:
    """Return what tests must leave as it was: a text for each command, directory, file and sysctl."""
    state = {}
    for command in _COMMANDS:
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            state[" ".join(command)] = "\n".join(_COUNTERS.sub("", line) for line in done.stdout.splitlines() if not _is_volatile(line))
    for directory in map(Path, _DIRECTORIES):
        state[f"files in {directory}"] = "\n".join(sorted(entry.name for entry in _entries(directory)))
    for path in _files():
        state[str(path)] = _fingerprint(path)
    # Fields 4 and 5 of a line: the root of the mount, and where it is mounted.
    mounts = [line.split()[3:5] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    state["mounts"] = "\n".join(sorted(" ".join(mount) for mount in mounts))
    state["hostname"] = os.uname().nodename
    return state | _sysctls()


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return one line for each thing that differs, with the lines that came and went.

    A sysctl that wasn't there before comes from a kernel module, not from a test.
    """
    found = []
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) == after.get(key) or (key.startswith("/proc/sys/") and key not in before):
            continue
        old, new = (set(state.get(key, "absent").splitlines()) for state in (before, after))
        found.append(f"{key}: {[*(f'- {line}' for line in sorted(old - new)), *(f'+ {line}' for line in sorted(new - old))]}")
    return found


def processes_of(session: str) -> list[str]:
    """Return "pid command" of each process that *session* started, directly or not, and that still runs."""
    marker = f"{SESSION_VARIABLE}={session}".encode()
    left = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if directory.name != str(os.getpid()) and marker in (directory / "environ").read_bytes().split(bytes(1)):
                command = (directory / "cmdline").read_bytes().replace(bytes(1), b" ").decode(errors="replace").strip()
                left.append(f"{directory.name} {command}")
    return left


def processes_left_by(session: str) -> list[str]:
    """Return the processes of *session* that do not end."""
    end = time.monotonic() + PATIENCE
    while (left := processes_of(session)) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def _is_volatile(line: str) -> bool:
    """Return whether a line changes by itself: the lifetime of an address, a route that expires."""
    return "valid_lft" in line or "expires" in line or "proto ra" in line


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _files() -> Iterator[Path]:
    yield from map(Path, _FILES)
    for folder in _FOLDERS:
        for root, _, names in os.walk(folder):
            yield from (Path(root, name) for name in names)


def _fingerprint(path: Path) -> str:
    """Return what a file is: its inode, mode, owner and content. A file that was replaced by its copy is another file."""
    try:
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return type(error).__name__
    return f"inode {status.st_ino} mode {status.st_mode:o} owner {status.st_uid}:{status.st_gid} sha256 {content}"


def _sysctls() -> dict[str, str]:
    """Return every readable sysctl of the network: those of all links, and those of the host as a whole."""
    values = {}
    for root, _, names in os.walk("/proc/sys/net"):
        for path in (Path(root, name) for name in names):
            if str(path).endswith(_VOLATILE_SYSCTLS):
                continue
            with contextlib.suppress(OSError, UnicodeDecodeError):
                values[str(path)] = path.read_text()
    return values
