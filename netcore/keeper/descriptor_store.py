"""systemd's descriptor store: what outlives even the keeper, if systemd runs the daemon. Nothing happens without systemd.

Only few descriptors go there, because systemd hands their names over as one short environment variable.

Spec: sd_notify(3) (FDSTORE, FDSTOREREMOVE, FDNAME), sd_listen_fds(3); `FileDescriptorStoreMax=` in systemd.service(5).
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections.abc import Mapping, MutableMapping

_FIRST = 3


def received(environment: MutableMapping[str, str] = os.environ) -> dict[str, int]:
    """Return name → descriptor of what was stored by an earlier run. Once only: the variables that say so are taken away."""
    pid, count, names = (environment.pop(f"LISTEN_{word}", "") for word in ("PID", "FDS", "FDNAMES"))
    if pid != str(os.getpid()) or not count.isdigit():
        return {}
    found: dict[str, int] = {}
    for descriptor, name in zip(range(_FIRST, _FIRST + int(count)), names.split(":"), strict=False):
        os.set_inheritable(descriptor, False)
        if name in found:
            os.close(descriptor)
        else:
            found[name] = descriptor
    return found


def store(name: str, descriptor: int) -> None:
    """Have systemd keep a copy of *descriptor* by *name*, in place of what it has by that name."""
    remove(name)
    _tell(f"FDSTORE=1\nFDNAME={name}", descriptor)


def remove(name: str) -> None:
    """Have systemd close what it keeps by *name*, if there is anything."""
    _tell(f"FDSTOREREMOVE=1\nFDNAME={name}")


def notify(state: str) -> None:
    """Tell systemd of *state*."""
    _tell(state)


def _tell(state: str, *descriptors: int, environment: Mapping[str, str] = os.environ) -> None:
    path = environment.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        # Not `socket.send_fds`, which forgets the address.
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        sock.sendmsg([state.encode()], rights, 0, address)
