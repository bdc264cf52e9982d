"""What this process may do as root: everything that it does not need is given up, for good and for what it starts.

Spec: capabilities(7), capset(2), PR_CAPBSET_DROP in prctl(2).
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping

NEEDED: Mapping[str, int] = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21}
"""Without these nothing works: links, rules and sysctls; frames that announce addresses; namespaces and their pins."""

USED: Mapping[str, int] = {
    **NEEDED,
    "CAP_CHOWN": 0,  # the group of the admin sockets
    "CAP_DAC_OVERRIDE": 1,  # the state directory and files of sandboxes, whoever owns them
    "CAP_DAC_READ_SEARCH": 2,  # namespaces of other users' processes
    "CAP_FOWNER": 3,  # the mode of a socket in a directory of somebody else
    "CAP_KILL": 5,  # the processes of a sandbox that is removed
    "CAP_NET_BIND_SERVICE": 10,  # port 53 of gateways, and published ports below 1024
    "CAP_NET_BROADCAST": 11,  # notifications of what changes inside sandboxes
    "CAP_SYS_PTRACE": 19,  # the namespaces of a process of another user
}
"""All that some feature needs, with the reason. `docs/security.md` has the same list."""

_HIGHEST = 63
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_VERSION_3 = 0x2008_0522
_libc = ctypes.CDLL(None, use_errno=True)


def missing(status: str) -> list[str]:
    """Return the names of the needed capabilities that a process lacks, by the text of its /proc/PID/status."""
    effective = int(next(line for line in status.splitlines() if line.startswith("CapEff:")).split()[1], 16)
    return [name for name, number in NEEDED.items() if not effective >> number & 1]


def give_up_the_rest() -> None:
    """Keep what `USED` lists, as far as this thread has it; threads and programs that it starts later have no more either.

    What can't be given up is kept: a container may have taken away the right to do so.
    """
    wanted = sum(1 << number for number in USED.values())
    for number in range(_HIGHEST + 1):
        if not wanted >> number & 1 and _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) == 1:
            _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    header = struct.pack("=Ii", _VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    if _libc.capget(header, data) == 0:
        _libc.capset(header, without_others(data.raw, wanted))


def without_others(data: bytes, wanted: int) -> bytes:
    """Return the sets of *data* (two of effective, permitted, inheritable: low and high halves) without what is not *wanted*."""
    halves = (wanted & 0xFFFF_FFFF, wanted >> 32)
    words = struct.unpack("=6I", data)
    # Nothing is inheritable: what the daemon starts gets its rights as root does.
    return struct.pack("=6I", *(0 if at % 3 == 2 else word & halves[at // 3] for at, word in enumerate(words)))
