"""Run in a namespace of its own: which UDP in clear passes while what encryption demands is in the kernel. Prints JSON."""

import json
import socket
from ipaddress import ip_address

from netcore.cluster import encryption
from netcore.desired.diff import diff
from netcore.kernel import xfrm
from netcore.kernel.apply import Executor
from netcore.kernel.guard import Guard
from netcore.model import NetnsPath

OWN, PEER = ip_address("127.0.0.1"), ip_address("127.0.0.2")


def passes(source: str, target: str, port: int, patience: float) -> bool:
    """Return whether one datagram arrives."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        listener.bind((target, port))
        listener.settimeout(patience)
        sender.bind((source, 0))
        try:
            sender.sendto(b"x", (target, port))
            return listener.recv(9) == b"x"
        except OSError:
            return False


def see(patience: float = 20.0) -> dict[str, bool]:
    """Return what passes. *patience*: for what encryption is demanded of; what is to pass has time on a busy machine too."""
    return {
        "to a peer": passes("127.0.0.1", "127.0.0.2", 4790, patience),
        "to a stranger": passes("127.0.0.1", "127.0.0.9", 4790, patience),
        "from a stranger": passes("127.0.0.9", "127.0.0.1", 4790, patience),
        "to another port": passes("127.0.0.1", "127.0.0.2", 4789, 20.0),
        "between others": passes("127.0.0.8", "127.0.0.9", 4790, 20.0),
    }


# The policies only: there need be no ESP in this kernel.
wanted = encryption.objects(OWN, {4790: [PEER]}, [], None)
executor = Executor(NetnsPath, lambda *_: None, Guard())
before = see()
executor.apply(diff((), wanted))
under = see(patience=0.3)
in_kernel = xfrm.read_own(encryption.REQUEST_ID)
# Again is no error: after a restart it may be there already.
executor.apply(diff((), wanted))
executor.apply(diff(in_kernel, ()))
print(json.dumps({
    "before": before, "under": under, "read back": sorted(in_kernel, key=str) == sorted(wanted, key=str),
    "left": len(xfrm.read_own(encryption.REQUEST_ID)), "after": see(),
}))  # fmt: skip
