"""What a command in a sandbox with egress rules does not have: rights that lead out of its namespaces, and paths to other ones.

Without SYS_ADMIN it enters no other namespace and uncovers nothing that is covered; in a user namespace of its own it has that right
over nothing of ours. Without SYS_PTRACE it reaches no process that has more rights, SYS_MODULE and BPF change the kernel.

Spec: capabilities(7), capset(2), PR_CAPBSET_DROP and PR_CAP_AMBIENT in prctl(2), mount_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Mapping
from typing import Any

from resolver.cli import mounts
from resolver.cli.system_calls import check

_GIVEN_UP = {"SYS_MODULE": 16, "SYS_PTRACE": 19, "SYS_ADMIN": 21, "BPF": 39}
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _CLEAR_ALL = 23, 24, 47, 4
_VERSION_3 = 0x2008_0522

_libc = ctypes.CDLL(None, use_errno=True)


def hide(sandbox: Mapping[str, Any]) -> None:
    """Hide from this mount namespace what *sandbox* must not see of the host; EnterFailed."""
    if sandbox.get("hides"):
        mounts.hide(sandbox["hides"], (sandbox["files"], sandbox["directory"]))


def give_up_rights(sandbox: Mapping[str, Any]) -> None:
    """Give up, for good, what a command in *sandbox* must not have; EnterFailed."""
    if not sandbox.get("hides"):
        return
    for name, number in _GIVEN_UP.items():
        # Negative: this kernel has no such right.
        if _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) == 1:
            check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), f"giving up CAP_{name}")
    check(_libc.prctl(_PR_CAP_AMBIENT, _CLEAR_ALL, 0, 0, 0), "giving up ambient capabilities")
    header = struct.pack("=Ii", _VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    check(_libc.capget(header, data), "reading capabilities")
    given_up = sum(1 << number for number in _GIVEN_UP.values())
    kept = (~given_up & 0xFFFF_FFFF, ~given_up >> 32 & 0xFFFF_FFFF)
    words = struct.unpack("=6I", data.raw)
    check(_libc.capset(header, struct.pack("=6I", *(word & kept[at // 3] for at, word in enumerate(words)))), "giving up capabilities")


def give_up_rights_or_report(sandbox: Mapping[str, Any], report: int, code: int) -> None:
    """As `give_up_rights`, for a child: a failure is written to *report*, and ends the process with *code*."""
    try:
        give_up_rights(sandbox)
    except BaseException as error:
        os.write(report, str(error).encode())
        os._exit(code)
