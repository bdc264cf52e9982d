"""How the two ends of an endpoint's link are named: eth0, eth1 … in the sandbox, veth and seven hex digits on the host. Pure.

The links of a network, like `br-…`, are named by its driver.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from netcore.errors import Conflict


def in_sandbox(sandbox_name: str, exact: str | None, prefix: str, used: Collection[str]) -> str:
    """Return *exact*, or *prefix* with the lowest number that is free; Conflict if *exact* is in use."""
    if exact is not None:
        if exact in used:
            raise Conflict("link", exact, f"exists in sandbox {sandbox_name} already; choose another ifname")
        return exact
    return next(name for number in range(len(used) + 1) if (name := f"{prefix}{number}") not in used)


def on_host(random_hex: Callable[[int], str]) -> str:
    """Return a random name for the host's end of a veth pair; 28 bits, as Docker's."""
    return f"veth{random_hex(4)[:7]}"
