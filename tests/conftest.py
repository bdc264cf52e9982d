"""Markers and guards: nothing of the host may change, whatever the tests do in their namespaces."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/etc/nsswitch.conf")
_COMMANDS = (
    ("ip", "-o", "link", "show"),
    ("ip", "-o", "addr", "show"),
    ("ip", "route", "show", "table", "all"),
    ("ip", "rule", "show"),
    ("nft", "list", "tables"),
    ("ls", "/run/netns"),
    ("ls", "/run/berth"),
    ("ls", "/var/lib/berth"),
)


def _volatile(line: str) -> bool:
    """Lines that change by themselves: the lifetime of an address, an expiring route."""
    return "valid_lft" in line or "expires" in line or "proto ra" in line


def host_state() -> dict[str, str]:
    """Return what tests must leave as it was."""
    state = {}
    for command in _COMMANDS:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            continue
        state[" ".join(command)] = "\n".join(line for line in done.stdout.splitlines() if not _volatile(line))
    for name in _FILES:
        path = Path(name)
        state[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "absent"
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    state["mounts"] = "\n".join(sorted(mounts))
    for root, _, names in os.walk("/proc/sys/net/ipv4/conf"):
        for name in names:
            if name in ("forwarding", "route_localnet", "rp_filter"):
                state[f"{root}/{name}"] = Path(root, name).read_text()
    return state


@pytest.fixture(scope="session", autouse=True)
def host_is_left_alone() -> Iterator[None]:
    """Fail the session if links, routes, rules, mounts, switches or files of the host differ afterwards."""
    before = host_state()
    yield
    after = host_state()
    changed = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
    assert not changed, f"the tests changed the host: {changed}"
