"""nftables: rulesets and elements, each change one nfnetlink transaction. Blocking.

Spec: Linux include/uapi/linux/netfilter/nf_tables.h, nfnetlink.h.
"""

from __future__ import annotations

import errno
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from typing import NamedTuple

from netcore.desired.firewall import render_skeleton
from netcore.desired.objects import Element, FirewallSet, KernelObject, Scalar
from netcore.desired.objects.kind import Between
from netcore.errors import KernelError, Unavailable
from netcore.kernel import nf_tables, ruleset
from netcore.kernel.netlink import CREATE, NETFILTER, NetlinkSocket, Request, attr, find, nested, walk
from netcore.kernel.ruleset.data_types import encode_fields

_BATCH_BEGIN, _BATCH_END = 16, 17
_FAMILY_NAMES = {number: family for family, number in nf_tables.FAMILIES.items()}
_ELEMENTS = 3
_LIST_ELEM, _KEY, _DATA, _VALUE = 1, 1, 2, 1
_KEY_END = 10
_OWN_TABLE = nf_tables.OURS.encode() + b"\0"
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 1, 3, 4, 5, 7
_HOOK_NUM, _HOOK_PRIORITY = 1, 2
_DROP = 0
_MOST_ELEMENTS, _MOST_LARGE_ELEMENTS = 500, 150
"""Elements in one request: an attribute has 65,535 octets at most, an element takes up to 100, with two ends or a comment up to 400."""
_NO_NFTABLES = "this kernel has none; load the module nf_tables, or take a kernel with CONFIG_NF_TABLES"


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


class ElementChange(NamedTuple):
    """One element, to be added or deleted."""

    element: Element
    delete: bool


def element_requests(changes: Iterable[ElementChange]) -> list[Request]:
    """Return the requests that carry out *changes* in this order, one for many of one set."""
    result = []
    for (changed, delete), group in groupby(changes, key=lambda change: (change.element.set, change.delete)):
        data_types = () if delete else changed.data_types
        encoded = [_list_element(change.element, data_types) for change in group]
        most = _MOST_LARGE_ELEMENTS if changed.interval else _MOST_ELEMENTS
        for start in range(0, len(encoded), most):
            result.append(_request(changed.table, nf_tables.OURS, changed.name, encoded[start : start + most], delete=delete))
    return result


def _request(family: str, table: str, name: str, elements: Sequence[bytes], *, delete: bool) -> Request:
    """Return the request that adds *elements*, or deletes them."""
    type_, flags, operation = (nf_tables.DELELEM, 0, "delete element") if delete else (nf_tables.NEWELEM, CREATE, "add element")
    body = nf_tables.of_set(family, name, table, elements=nested(_ELEMENTS, *elements))
    return Request(type_, flags, body, operation, f"{family} {name}")


def _list_element(element: Element, data_types: Sequence[str]) -> bytes:
    parts = [element_key(element)]
    if element.data and data_types:
        parts.append(nested(_DATA, attr(_VALUE, encode_fields(data_types, element.data))))
    return nested(_LIST_ELEM, *parts)


def _key(encoded: bytes) -> bytes:
    return nested(_KEY, attr(_VALUE, encoded))


def element_key(element: Element) -> bytes:
    """Return the attributes with the key of an element: of a set of intervals where each field begins, and where it ends."""
    key_types = element.set.key_types
    if not element.set.interval:
        return _key(encode_fields(key_types, element.fields))
    first, last = interval_fields(element.fields)
    return _key(encode_fields(key_types, first)) + nested(_KEY_END, attr(_VALUE, encode_fields(key_types, last)))


def raw_requests(table: str, name: str, elements: Sequence[bytes], *, destroy: bool) -> list[Request]:
    """Return the requests that add *elements* (their attributes, encoded) to one of our sets, or destroy those that are there."""
    nested_elements = [nested(_LIST_ELEM, element) for element in elements]
    groups = [nested_elements[start : start + _MOST_LARGE_ELEMENTS] for start in range(0, len(elements), _MOST_LARGE_ELEMENTS)]
    type_, flags, operation = (nf_tables.DESTROYELEM, 0, "destroy element") if destroy else (nf_tables.NEWELEM, CREATE, "add element")
    return [
        Request(type_, flags, nf_tables.of_set(table, name, elements=nested(_ELEMENTS, *group)), operation, f"{table} {name}")
        for group in groups
    ]


def interval_fields(fields: Sequence[Scalar]) -> tuple[list[Scalar], list[Scalar]]:
    """Return the first and the last value of each field."""
    first: list[Scalar] = [field.first if isinstance(field, Between) else field for field in fields]
    last: list[Scalar] = [field.last if isinstance(field, Between) else field for field in fields]
    return first, last


def encoded_key(element: Element) -> bytes:
    """Return the key of an element as `raw_deletion` takes it: of a set of intervals both ends, one behind the other."""
    types = element.set.key_types
    if not element.set.interval:
        return encode_fields(types, element.fields)
    return b"".join(encode_fields(types, fields) for fields in interval_fields(element.fields))


def link_element_request(family: str, table: str, set_name: str, ifname: str, *, delete: bool) -> Request:
    """Return the request that adds the name of a link to a set of *table*, or deletes it."""
    element = nested(_LIST_ELEM, _key(encode_fields(("ifname",), (ifname,))))
    return _request(family, table, set_name, [element], delete=delete)


def raw_deletion(changed: FirewallSet, key: bytes) -> Request:
    """Return the request that deletes the element with the encoded *key*, see `encoded_key`."""
    ends = [_key(key)]
    if changed.interval:
        half = len(key) // 2
        ends = [_key(key[:half]), nested(_KEY_END, attr(_VALUE, key[half:]))]
    return _request(changed.table, nf_tables.OURS, changed.name, [nested(_LIST_ELEM, *ends)], delete=True)


def has_table(netlink: NetlinkSocket, family: str, name: str) -> bool:
    """Return whether the namespace has this table."""
    return _is_there(netlink, Request(nf_tables.GETTABLE, 0, nf_tables.of_table(family, name), "look up", f"table {family} {name}"))


def has_chain(netlink: NetlinkSocket, family: str, table: str, name: str) -> bool:
    """Return whether a table has this chain."""
    body = nf_tables.of_table(family, table) + attr(_CHAIN_NAME, name.encode() + b"\0")
    return _is_there(netlink, Request(nf_tables.GETCHAIN, 0, body, "look up", f"chain {name} of table {family} {table}"))


def _is_there(netlink: NetlinkSocket, request: Request) -> bool:
    try:
        netlink.get(request)
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
    for request, error in zip(requests, netlink.run_transaction(begin, requests, end), strict=True):
        if error is None:
            continue
        kind = nf_tables.expression_at(request.body, error.place) if request.type == nf_tables.NEWRULE and error.place else None
        if kind is None:
            raise error
        raise KernelError(error.operation, error.target, error.errno, f"{error.detail}, at `{kind}`")


_own_ports: deque[int] = deque(maxlen=256)


def own_ports() -> set[int]:
    """Return the netlink addresses of the sockets that this process last changed something by: what they changed is no news."""
    return set(_own_ports)


def base_chains(netlink: NetlinkSocket) -> list[BaseChain]:
    """Return the base chains of all tables of the namespace but ours, which have dozens of chains."""
    request = Request(nf_tables.GETCHAIN, 0, nf_tables.head(), "list", "chains")
    chains = []
    for message in netlink.dump(request):
        family, body = message[16], message[nf_tables.BODY :]
        if find(body, _CHAIN_TABLE) == _OWN_TABLE:
            continue
        given = dict(walk(body))
        hook = dict(walk(given.get(_CHAIN_HOOK, b"")))
        if _HOOK_NUM not in hook or _HOOK_PRIORITY not in hook:
            continue
        chains.append(
            BaseChain(
                _FAMILY_NAMES.get(family, str(family)),
                given.get(_CHAIN_TABLE, b"").rstrip(b"\0").decode(),
                given.get(_CHAIN_NAME, b"").rstrip(b"\0").decode(),
                struct.unpack("!I", hook[_HOOK_NUM])[0],
                struct.unpack("!i", hook[_HOOK_PRIORITY])[0],
                drops=_CHAIN_POLICY in given and struct.unpack("!I", given[_CHAIN_POLICY])[0] == _DROP,
            )
        )
    return chains


def apply(requests: Sequence[Request]) -> None:
    """Carry out *requests* in the namespace of the calling thread, as one transaction; raises KernelError or Unavailable."""
    with opened() as netlink:
        commit(netlink, requests)


def apply_text(text: str) -> None:
    """Carry out the ruleset *text*; else as `apply`."""
    apply(ruleset.requests(text))


def write_tables(netlink: NetlinkSocket, desired: Iterable[KernelObject], further: Sequence[Request] = ()) -> None:
    """Make both firewall tables anew with exactly the elements of *desired*, and what *further* adds, in one transaction.

    To close a socket behind it takes 10 ms, while the kernel frees what was deleted.
    """
    elements = [wanted for wanted in desired if isinstance(wanted, Element)]
    ordered = sorted(elements, key=lambda element: (element.set.table, element.set.name))
    filled = element_requests(ElementChange(element, delete=False) for element in ordered)
    commit(netlink, [*_skeleton(), *filled, *further])


@cache
def _skeleton() -> tuple[Request, ...]:
    return ruleset.requests(render_skeleton())


def opened() -> NetlinkSocket:
    """Return a socket for nftables in the namespace of the calling thread; raises Unavailable."""
    try:
        return NetlinkSocket(NETFILTER)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise Unavailable("a file descriptor", "the limit is reached; raise LimitNOFILE or `ulimit -n`") from error
        raise Unavailable("nftables", _NO_NFTABLES) from error


def generation() -> int:
    """Return a number that is another one after each change of nftables on this host; raises Unavailable if its kernel has none."""
    with opened() as netlink:
        try:
            answer = netlink.get(Request(nf_tables.GETGEN, 0, nf_tables.head(), "look up", "generation of nftables"))
        except KernelError as error:
            if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
                raise Unavailable("nftables", _NO_NFTABLES) from error
            raise
    found = find(answer[nf_tables.BODY :], 1)
    return struct.unpack("!I", found)[0] if found is not None else 0
