"""nftables: elements by our own nfnetlink batches, skeletons as text through libnftables or the `nft` program.

libnftables looks at every chain of the host on each command; an element batch costs the same on any host. It also
calls `exit` when it finds no free descriptor, and `abort` when it gets one above 1023 (it uses select); so it runs
where low descriptors are free.

Spec: Linux include/uapi/linux/netfilter/nf_tables.h; libnftables(3).
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import struct
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from netcore.desired.objects import Element, FirewallSet, Scalar
from netcore.errors import KernelError, Unavailable
from netcore.kernel import netns, nf_tables
from netcore.kernel.netlink import CREATE, NetlinkSocket, Request, attr, find, nested

_BATCH_BEGIN, _BATCH_END = 16, 17
_FAMILY_NAMES = {number: family for family, number in nf_tables.FAMILIES.items()}
_ELEMENTS = 3
_LIST_ELEM, _KEY, _DATA, _VALUE = 1, 1, 2, 1
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 1, 3, 4, 5, 7
_HOOK_NUM, _HOOK_PRIORITY = 1, 2
_NFPROTO = {"ipv4": b"\2", "ipv6": b"\n"}
_PROTOCOLS = {"tcp": b"\6", "udp": b"\x11", "sctp": b"\x84"}
_DROP = 0
_MOST_ELEMENTS = 500
"""Elements in one request: an attribute has 65,535 octets at most, an element takes up to 100."""


class BaseChain:
    """A chain of any table that is hooked into packet flow."""

    __slots__ = ("drops", "family", "hook", "name", "priority", "table")

    def __init__(self, family: str, table: str, name: str, hook: int, priority: int, *, drops: bool) -> None:
        self.family = family
        self.table = table
        self.name = name
        self.hook = hook
        self.priority = priority
        self.drops = drops


def encode_fields(types: Sequence[str], fields: Sequence[Scalar]) -> bytes:
    """Return a key or datum of a set with *types*: each field padded to four octets if there are several."""
    parts = [_ENCODERS[kind](value) for kind, value in zip(types, fields, strict=True)]
    if len(parts) == 1:
        return parts[0]
    return b"".join([part + _PADDING[len(part) & 3] for part in parts])


_PADDING = (b"", bytes(3), bytes(2), bytes(1))
_SERVICE = struct.Struct("!H")
# A range of a thousand ports is encoded in one go: a table, not a chain of comparisons for each field.
_ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "ifname": lambda value: value.encode().ljust(16, b"\0"),
    "ether_addr": lambda value: bytes.fromhex(value.replace(":", "")),
    "nf_proto": lambda value: _NFPROTO[value],
    "inet_proto": lambda value: _PROTOCOLS[value],
    "inet_service": _SERVICE.pack,
    "ipv4_addr": lambda value: value.packed,
    "ipv6_addr": lambda value: value.packed,
    "payload128": lambda value: value.packed,
}


class ElementChange(NamedTuple):
    """One element, to be added or deleted."""

    element: Element
    delete: bool


def element_requests(changes: Iterable[ElementChange]) -> list[Request]:
    """Return the requests that carry out *changes* in this order, one for many of one set."""
    result = []
    for (changed, delete), group in groupby(changes, key=lambda change: (change.element.set, change.delete)):
        data_types = () if delete else changed.data_types
        encoded = [_list_element(change.element, changed.key_types, data_types) for change in group]
        for start in range(0, len(encoded), _MOST_ELEMENTS):
            result.append(_request(changed.table, nf_tables.OURS, changed.name, encoded[start : start + _MOST_ELEMENTS], delete=delete))
    return result


def _request(family: str, table: str, name: str, elements: Sequence[bytes], *, delete: bool) -> Request:
    """Return the request that adds *elements*, or deletes them."""
    type_, flags, operation = (nf_tables.DELELEM, 0, "delete element") if delete else (nf_tables.NEWELEM, CREATE, "add element")
    body = nf_tables.of_set(family, name, table, elements=nested(_ELEMENTS, *elements))
    return Request(type_, flags, body, operation, f"{family} {name}")


def _list_element(element: Element, key_types: Sequence[str], data_types: Sequence[str]) -> bytes:
    parts = [_key(encode_fields(key_types, element.fields))]
    if element.data and data_types:
        parts.append(nested(_DATA, attr(_VALUE, encode_fields(data_types, element.data))))
    return nested(_LIST_ELEM, *parts)


def _key(encoded: bytes) -> bytes:
    return nested(_KEY, attr(_VALUE, encoded))


def link_element_request(table: str, set_name: str, ifname: str, *, delete: bool) -> Request:
    """Return the request that adds the name of a link to a set of *table* of the family inet, or deletes it."""
    element = nested(_LIST_ELEM, _key(encode_fields(("ifname",), (ifname,))))
    return _request("inet", table, set_name, [element], delete=delete)


def raw_deletion(changed: FirewallSet, key: bytes) -> Request:
    """Return the request that deletes the element with the encoded *key*."""
    return _request(changed.table, nf_tables.OURS, changed.name, [nested(_LIST_ELEM, _key(key))], delete=True)


def has_table(netlink: NetlinkSocket, family: str, name: str) -> bool:
    """Return whether the namespace has this table."""
    try:
        netlink.get(Request(nf_tables.GETTABLE, 0, nf_tables.of_table(family, name), "look up", f"table {family} {name}"))
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def commit(netlink: NetlinkSocket, requests: Sequence[Request]) -> None:
    """Carry out *requests* as one transaction; raises the first KernelError, and then nothing has changed."""
    if not requests:
        return
    _own_ports.append(netlink.port)
    mark = nf_tables.head(resource=nf_tables.SUBSYSTEM)
    begin = Request(_BATCH_BEGIN, 0, mark, "begin", "nftables transaction")
    end = Request(_BATCH_END, 0, mark, "end", "nftables transaction")
    for error in netlink.run_transaction(begin, requests, end):
        if error is not None:
            raise error


_own_ports: deque[int] = deque(maxlen=256)


def own_ports() -> set[int]:
    """Return the netlink addresses of the sockets that this process last changed elements by: what they changed is no news."""
    return set(_own_ports)


def base_chains(netlink: NetlinkSocket) -> list[BaseChain]:
    """Return the base chains of all tables of the namespace."""
    request = Request(nf_tables.GETCHAIN, 0, nf_tables.head(), "list", "chains")
    chains = []
    for message in netlink.dump(request):
        family, body = message[16], message[nf_tables.BODY :]
        hook = find(body, _CHAIN_HOOK)
        number = find(hook, _HOOK_NUM) if hook is not None else None
        priority = find(hook, _HOOK_PRIORITY) if hook is not None else None
        if number is None or priority is None:
            continue
        policy = find(body, _CHAIN_POLICY)
        chains.append(
            BaseChain(
                _FAMILY_NAMES.get(family, str(family)),
                (find(body, _CHAIN_TABLE) or b"").rstrip(b"\0").decode(),
                (find(body, _CHAIN_NAME) or b"").rstrip(b"\0").decode(),
                struct.unpack("!I", number)[0],
                struct.unpack("!i", priority)[0],
                drops=policy is not None and struct.unpack("!I", policy)[0] == _DROP,
            )
        )
    return chains


def apply_text(text: str) -> None:
    """Apply *text* in the namespace of the calling thread, as one transaction; raises KernelError or Unavailable."""
    run = _library()
    if run is not None:
        run(text)
        return
    program = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")
    if program is None:
        raise Unavailable("nftables", "install libnftables1 (or the nft program)")
    done = subprocess.run([program, "-f", "-"], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError("apply", "nftables rules", errno.EINVAL, done.stderr.strip().split("\n")[0])


def have_nftables() -> bool:
    """Return whether this host has libnftables or the `nft` program."""
    return _library() is not None or shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


_loaded: list[ctypes.CDLL | None] = []


def _library() -> Callable[[str], None] | None:
    if not _loaded:
        try:
            library = ctypes.CDLL("libnftables.so.1")
            library.nft_ctx_new.restype = ctypes.c_void_p
            library.nft_ctx_new.argtypes = [ctypes.c_uint32]
            library.nft_ctx_free.argtypes = [ctypes.c_void_p]
            library.nft_ctx_buffer_output.argtypes = [ctypes.c_void_p]
            library.nft_ctx_buffer_error.argtypes = [ctypes.c_void_p]
            library.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
            library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
            library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
            _loaded.append(library)
        except OSError:
            _loaded.append(None)
    libnftables = _loaded[0]
    if libnftables is None:
        return None

    def run(text: str) -> None:
        context = libnftables.nft_ctx_new(0)
        try:
            libnftables.nft_ctx_buffer_output(context)
            libnftables.nft_ctx_buffer_error(context)
            if libnftables.nft_run_cmd_from_buffer(context, text.encode()):
                detail = (libnftables.nft_ctx_get_error_buffer(context) or b"").decode(errors="replace").strip()
                raise KernelError("apply", "nftables rules", errno.EINVAL, detail.split("\n")[0])
        finally:
            libnftables.nft_ctx_free(context)

    return lambda text: netns.with_low_descriptors(lambda: run(text))
