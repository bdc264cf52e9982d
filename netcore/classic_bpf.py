"""Instructions of classic BPF, in which socket filters are written. Pure.

Spec: Linux Documentation/networking/filter.rst; struct sock_filter in include/uapi/linux/filter.h.
"""

from __future__ import annotations

import struct

LOAD, LOAD_HALF, LOAD_OCTET = 0x20, 0x28, 0x30
LOAD_HALF_BEHIND, LOAD_HEADER_LENGTH = 0x48, 0xB1
"""At the offset plus the index register; of an IPv4 header, into the index register."""
JUMP_IF_EQUAL, JUMP_IF_SET, RETURN = 0x15, 0x45, 0x06
SIZE = 8
"""Octets of an instruction."""


def instruction(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    """Return one instruction. *then*, *otherwise*: how many a jump skips."""
    return struct.pack("=HBBI", code, then, otherwise, value)
