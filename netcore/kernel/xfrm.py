"""xfrm: the states and policies of IPsec ESP between hosts. The requests only; see `netlink`.

Transport mode, AES-GCM with 128-bit keys and extended sequence numbers (RFC 4303, RFC 4106).

Spec: Linux include/uapi/linux/xfrm.h; the octets are those of `ip xfrm`.
"""

from __future__ import annotations

import errno
import socket
import struct

from netcore.errors import KernelError, Unavailable
from netcore.kernel import netns
from netcore.kernel.netlink import XFRM, NetlinkSocket, Request, attr
from netcore.model import IPAddress

_NEWSA, _DELSA, _UPDPOLICY, _DELPOLICY = 0x10, 0x11, 0x19, 0x14
_IN, _OUT = 0, 1
_ESP, _UDP = 50, 17
_FLAG_ESN, _REPLAY_WINDOW = 128, 128
_AEAD, _TEMPLATE, _SOURCE, _ESN = 18, 5, 13, 23
_NO_LIMIT = b"\xff" * 32 + bytes(32)
_NAME, _ICV_BITS = b"rfc4106(gcm(aes))", 128
_SELECTOR = struct.Struct("!16s16sHHHH")


def _packed(address: IPAddress) -> bytes:
    return address.packed.ljust(16, b"\0")


def _family(address: IPAddress) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _selector(source: IPAddress, target: IPAddress, port: int) -> bytes:
    """Return a `struct xfrm_selector`: UDP from *source* to *port* of *target*."""
    bits = source.max_prefixlen
    ends = _SELECTOR.pack(_packed(target), _packed(source), port, 0xFFFF, 0, 0)
    return ends + struct.pack("=HBBBxxxiI", _family(target), bits, bits, _UDP, 0, 0)


def add_state(source: IPAddress, target: IPAddress, *, spi: int, request_id: int, key: bytes) -> Request:
    """Add a security association from *source* to *target*; *key*: 16 octets of key and 4 of salt."""
    body = (
        bytes(56)
        + struct.pack("!16sIBxxx", _packed(target), spi, _ESP)
        + _packed(source)
        + _NO_LIMIT
        + bytes(32 + 12)
        + struct.pack("=IIHBBB7x", 0, request_id, _family(target), 0, 0, _FLAG_ESN)
        + attr(_AEAD, struct.pack("=64sII", _NAME, len(key) * 8, _ICV_BITS) + key)
        + attr(_ESN, struct.pack("=IIIIII", _REPLAY_WINDOW // 32, 0, 0, 0, 0, _REPLAY_WINDOW))
    )
    return Request(_NEWSA, 0, body, "add ESP state", f"{source} to {target}")


def delete_state(source: IPAddress, target: IPAddress, *, spi: int) -> Request:
    body = struct.pack("!16sI", _packed(target), spi) + struct.pack("=HBx", _family(target), _ESP) + attr(_SOURCE, _packed(source))
    return Request(_DELSA, 0, body, "delete ESP state", f"{source} to {target}")


def set_policy(source: IPAddress, target: IPAddress, *, port: int, outgoing: bool, request_id: int) -> Request:
    """Demand ESP for UDP from *source* to *port* of *target*: what goes is encrypted, what comes in clear is dropped."""
    template = (
        struct.pack("!16sIBxxx", _packed(target), 0, _ESP)
        + struct.pack("=Hxx", _family(target))
        + _packed(source)
        + struct.pack("=IBBBxIII", request_id, 0, 0, 0, *(0xFFFF_FFFF,) * 3)
    )
    body = (
        _selector(source, target, port)
        + _NO_LIMIT
        + bytes(32)
        + struct.pack("=IIBBBB4x", 0, 0, _OUT if outgoing else _IN, 0, 0, 0)
        + attr(_TEMPLATE, template)
    )
    return Request(_UPDPOLICY, 0, body, "set ESP policy", f"{source} to {target} port {port}")


def delete_policy(source: IPAddress, target: IPAddress, *, port: int, outgoing: bool) -> Request:
    body = _selector(source, target, port) + struct.pack("=IBxxx", 0, _OUT if outgoing else _IN)
    return Request(_DELPOLICY, 0, body, "delete ESP policy", f"{source} to {target} port {port}")


def check_esp(address: IPAddress) -> None:
    """Raise Unavailable if this kernel has no ESP with AES-GCM; tried in a namespace that goes with the try. Blocking."""

    def attempt() -> KernelError | None:
        with NetlinkSocket(XFRM) as netlink:
            return netlink.run([add_state(address, address, spi=0x1000, request_id=1, key=bytes(20))])[0]

    try:
        error = netns.run_in_passing(attempt)
    except OSError as refused:
        error = KernelError("open", "xfrm", refused.errno or errno.EPROTONOSUPPORT)
    if error is not None:
        module = "esp4" if address.version == 4 else "esp6"
        raise Unavailable(f"kernel module {module}", f"traffic can't be encrypted ({error}); try `modprobe {module} gcm`") from error
