"""xfrm: requests for the states and policies of IPsec ESP between hosts, and which of ours exist. `netlink` sends them.

Transport mode, AES-GCM with 128-bit keys and extended sequence numbers (RFC 4303, RFC 4106).

Spec: Linux include/uapi/linux/xfrm.h; the octets are those of `ip xfrm`.
"""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import ip_address

from netcore.desired.objects import Esp, EspBlock, EspPolicy, EspState
from netcore.errors import KernelError, Unavailable
from netcore.kernel import netns
from netcore.kernel.netlink import XFRM, NetlinkSocket, Request, attr, walk
from netcore.model import IPAddress

_NEWSA, _DELSA, _GETSA = 0x10, 0x11, 0x12
_UPDPOLICY, _DELPOLICY, _GETPOLICY = 0x19, 0x14, 0x15
_IN, _OUT = 0, 1
_ALLOW, _BLOCK = 0, 1
_BLOCK_PRIORITY = 0x6274
"""Behind 0, the priority of policies that name both ends: those are matched first. It also tells our blocks from others' policies."""
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


def _selector(source: IPAddress | None, target: IPAddress | None, port: int) -> bytes:
    """Return a `struct xfrm_selector`: UDP from *source* to *port* of *target*; one of them may be None, which is any."""
    known = source or target
    assert known is not None
    packed = [bytes(16) if end is None else _packed(end) for end in (target, source)]
    bits = known.max_prefixlen
    ends = _SELECTOR.pack(*packed, port, 0xFFFF, 0, 0)
    return ends + struct.pack("=HBBBxxxiI", _family(known), bits if target else 0, bits if source else 0, _UDP, 0, 0)


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
    """Require ESP for UDP from *source* to *port* of *target*: outgoing is encrypted, incoming in clear text is dropped."""
    template = (
        struct.pack("!16sIBxxx", _packed(target), 0, _ESP)
        + struct.pack("=Hxx", _family(target))
        + _packed(source)
        + struct.pack("=IBBBxIII", request_id, 0, 0, 0, *(0xFFFF_FFFF,) * 3)
    )
    body = _policy(_selector(source, target, port), 0, _ALLOW, outgoing=outgoing) + attr(_TEMPLATE, template)
    return Request(_UPDPOLICY, 0, body, "set ESP policy", f"{source} to {target} port {port}")


def _policy(selector: bytes, priority: int, action: int, *, outgoing: bool) -> bytes:
    """Return a `struct xfrm_userpolicy_info`."""
    return selector + _NO_LIMIT + bytes(32) + struct.pack("=IIBBBB4x", priority, 0, _OUT if outgoing else _IN, action, 0, 0)


def block(own: IPAddress, *, port: int, outgoing: bool) -> Request:
    """Drop UDP from *own* to *port* of anyone, or from anyone to *port* of *own*, unless another policy matches first."""
    selector = _selector(own, None, port) if outgoing else _selector(None, own, port)
    body = _policy(selector, _BLOCK_PRIORITY, _BLOCK, outgoing=outgoing)
    return Request(_UPDPOLICY, 0, body, "set ESP policy", f"block {own} port {port}")


def unblock(own: IPAddress, *, port: int, outgoing: bool) -> Request:
    selector = _selector(own, None, port) if outgoing else _selector(None, own, port)
    body = selector + struct.pack("=IBxxx", 0, _OUT if outgoing else _IN)
    return Request(_DELPOLICY, 0, body, "delete ESP policy", f"block {own} port {port}")


def delete_policy(source: IPAddress, target: IPAddress, *, port: int, outgoing: bool) -> Request:
    body = _selector(source, target, port) + struct.pack("=IBxxx", 0, _OUT if outgoing else _IN)
    return Request(_DELPOLICY, 0, body, "delete ESP policy", f"{source} to {target} port {port}")


def read_own(request_id: int) -> tuple[Esp, ...]:
    """Return the states and policies in this namespace that carry *request_id*; none where the kernel has no xfrm. Blocking."""
    try:
        with NetlinkSocket(XFRM) as netlink:
            states = netlink.dump(Request(_GETSA, 0, b"", "list", "ESP states"))
            policies = netlink.dump(Request(_GETPOLICY, 0, b"", "list", "ESP policies"))
    except OSError:
        return ()
    parsed: list[Esp | None] = [parse_state(message[16:], request_id) for message in states]
    parsed += [parse_policy(message[16:], request_id) for message in policies]
    return tuple(esp for esp in parsed if esp is not None)


def _address(octets: bytes, family: int) -> IPAddress:
    return ip_address(octets[:4] if family == socket.AF_INET else octets)


def parse_state(body: bytes, request_id: int) -> EspState | None:
    """Return the state in a `struct xfrm_usersa_info` with attributes, None if it is somebody else's."""
    target, spi, protocol = struct.unpack_from("!16sIB", body, 56)
    _, owner, family = struct.unpack_from("=IIH", body, 56 + 24 + 16 + 64 + 32 + 12)
    aead = dict(walk(body[56 + 24 + 16 + 64 + 32 + 12 + 20 :])).get(_AEAD)
    if protocol != _ESP or owner != request_id or aead is None:
        return None
    source = _address(body[80:96], family)
    return EspState(source=source, target=_address(target, family), spi=spi, key_material=aead[72:].hex(), request_id=request_id)


def parse_policy(body: bytes, request_id: int) -> EspPolicy | EspBlock | None:
    """Return the policy in a `struct xfrm_userpolicy_info` with attributes, None if it is somebody else's."""
    target, source, port = struct.unpack_from("!16s16sH", body)
    (family,) = struct.unpack_from("=H", body, 40)
    priority, _, direction, action = struct.unpack_from("=IIBB", body, 56 + 64 + 32)
    outgoing = direction == _OUT
    if action == _BLOCK and priority == _BLOCK_PRIORITY:
        return EspBlock(own=_address(source if outgoing else target, family), port=port, outgoing=outgoing)
    template = dict(walk(body[56 + 64 + 32 + 16 :])).get(_TEMPLATE)
    if template is None or direction > _OUT or struct.unpack_from("=I", template, 44)[0] != request_id:
        return None
    ends = _address(source, family), _address(target, family)
    return EspPolicy(source=ends[0], target=ends[1], port=port, outgoing=outgoing, request_id=request_id)


def check_esp(address: IPAddress) -> None:
    """Raise Unavailable if this kernel has no ESP with AES-GCM; tried in a temporary namespace. Blocking."""

    def attempt() -> KernelError | None:
        with NetlinkSocket(XFRM) as netlink:
            return netlink.run([add_state(address, address, spi=0x1000, request_id=1, key=bytes(20))])[0]

    try:
        error = netns.run_in_temporary(attempt)
    except OSError as refused:
        error = KernelError("open", "xfrm", refused.errno or errno.EPROTONOSUPPORT)
    if error is not None:
        module = "esp4" if address.version == 4 else "esp6"
        raise Unavailable(f"kernel module {module}", f"traffic can't be encrypted ({error}); try `modprobe -a {module} gcm`") from error
