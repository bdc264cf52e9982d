"""The filter of system calls that keeps a command from typing into the terminal that it was started from. Pure.

A command shares its caller's terminal. By the ioctl TIOCSTI it could put a command line there that the caller's shell runs afterwards, with
the caller's rights; by TIOCLINUX it could paste one on a console. Both get EPERM, by each way into the kernel that a processor has;
nothing else is looked at.

Spec: Linux Documentation/userspace-api/seccomp_filter.rst; struct seccomp_data and sock_filter; ioctl_tty(2).
"""

from __future__ import annotations

import errno
import struct
import sys

from resolver.light import NamedTuple

TIOCSTI, TIOCLINUX = 0x5412, 0x541C
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _AND, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
_COMMAND = 24 if sys.byteorder == "little" else 28
"""Where the lower half of the second argument is. The kernel looks at no more of it."""
ALLOW, DENY = 0x7FFF_0000, 0x0005_0000 | errno.EPERM
"""SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO."""
_ALL_BITS = 0xFFFF_FFFF


class _WayIn(NamedTuple):
    """*architecture*: AUDIT_ARCH_…; *numbers*: of ioctl, in those bits of a call's number that are in *mask*."""

    architecture: int
    numbers: tuple[int, ...]
    mask: int = _ALL_BITS


X32 = 0x4000_0000
"""The bit of calls in x32, where ioctl has the number 514. Older kernels take the usual one too."""
_WAYS_IN = (
    _WayIn(0xC000_003E, (16, 514), _ALL_BITS ^ X32),  # x86-64
    _WayIn(0x4000_0003, (54,)),  # i386
    _WayIn(0xC000_00B7, (29,)),  # arm64
    _WayIn(0x4000_0028, (54,)),  # arm
    _WayIn(0xC000_00F3, (29,)),  # riscv64
    _WayIn(0x4000_00F3, (29,)),  # riscv32
    _WayIn(0xC000_0102, (29,)),  # loongarch64
    _WayIn(0xC000_0015, (54,)),  # ppc64le
    _WayIn(0x8000_0016, (54,)),  # s390x
    _WayIn(0x0000_0016, (54,)),  # s390
)


def program() -> bytes:
    """Return the instructions (struct sock_filter)."""
    blocks = [_block(way_in) for way_in in _WAYS_IN]
    return _instruction(_LOAD, _ARCHITECTURE) + b"".join(blocks) + _instruction(_RETURN, ALLOW)


def _block(way_in: _WayIn) -> bytes:
    """Return what decides the calls of one architecture, and passes those of others on. It begins with the architecture loaded."""
    count = len(way_in.numbers)
    decided = b"".join(
        (
            _instruction(_LOAD, _NUMBER),
            _instruction(_AND, way_in.mask),
            # Over the numbers that are left, and what allows the rest.
            *(_instruction(_JUMP_IF_EQUAL, number, equal=count - at) for at, number in enumerate(way_in.numbers)),
            _instruction(_RETURN, ALLOW),
            _instruction(_LOAD, _COMMAND),
            _instruction(_JUMP_IF_EQUAL, TIOCSTI, equal=2),
            _instruction(_JUMP_IF_EQUAL, TIOCLINUX, equal=1),
            _instruction(_RETURN, ALLOW),
            _instruction(_RETURN, DENY),
        )
    )
    return _instruction(_JUMP_IF_EQUAL, way_in.architecture, other=len(decided) // _INSTRUCTION.size) + decided


def _instruction(code: int, operand: int, *, equal: int = 0, other: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, equal, other, operand)
