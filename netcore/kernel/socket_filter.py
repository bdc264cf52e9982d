"""Filters of sockets: the kernel asks a program of classic BPF about each packet. Spec: socket(7), SO_ATTACH_FILTER."""

from __future__ import annotations

import ctypes
import socket
import struct

from netcore import classic_bpf

_ATTACH, _DETACH = 26, 27


def attach(sock: socket.socket, program: bytes) -> None:
    """Have *program* asked about what comes to *sock* from now on. Raises OSError."""
    memory = ctypes.create_string_buffer(program, len(program))
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH, struct.pack("@HP", len(program) // classic_bpf.SIZE, ctypes.addressof(memory)))


def detach(sock: socket.socket) -> None:
    """Have none asked. Raises OSError."""
    sock.setsockopt(socket.SOL_SOCKET, _DETACH, 0)
