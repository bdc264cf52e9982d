"""What our firewall dropped: counters by reason, and by the sandbox's port or MAC. Blocking; reads only.

Spec: Linux include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from netcore.desired.firewall import COUNTERS, EXCEEDING, OFFENDERS
from netcore.errors import KernelError
from netcore.kernel import nf_tables
from netcore.kernel.netlink import NETFILTER, NetlinkSocket, Request, find, walk

_OBJ_NAME, _OBJ_DATA = 2, 4
_KEY, _VALUE, _EXPRESSION, _EXPRESSION_DATA, _PACKETS = 1, 1, 7, 2, 2
_IFNAME, _MAC = 16, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """Packets and frames dropped since the tables were written. *reasons*: by name of the counter. *ports*: by bridge port.

    *senders*: by (bridge, MAC), of those over a bound.
    """

    reasons: dict[str, int] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    senders: dict[tuple[str, str], int] = field(default_factory=dict)


def read() -> Dropped:
    """Return what was dropped until now; nothing where our tables are not there."""
    with NetlinkSocket(NETFILTER) as netlink:
        try:
            reasons: dict[str, int] = {}
            for family, names in COUNTERS.items():
                counted = _counters(netlink, family)
                reasons |= {name: counted.get(name, 0) for name in names}
            ports = {_text(key): packets for key, packets in _elements(netlink, "bridge", OFFENDERS)}
            senders = {
                (_text(key[:_IFNAME]), key[_IFNAME : _IFNAME + _MAC].hex(":")): packets
                for key, packets in _elements(netlink, "inet", EXCEEDING)
            }
        except KernelError:
            return Dropped(reasons={name: 0 for names in COUNTERS.values() for name in names})
    return Dropped(reasons=reasons, ports=ports, senders=senders)


def _counters(netlink: NetlinkSocket, family: str) -> dict[str, int]:
    result = {}
    for message in netlink.dump(Request(nf_tables.GETOBJ, 0, nf_tables.of_table(family), "list", "counters")):
        attributes = dict(walk(message[nf_tables.BODY :]))
        packets = find(attributes.get(_OBJ_DATA, b""), _PACKETS)
        if packets is not None:
            result[_text(attributes[_OBJ_NAME])] = int.from_bytes(packets, "big")
    return result


def _elements(netlink: NetlinkSocket, family: str, name: str) -> list[tuple[bytes, int]]:
    """Return (key, packets) of each element of a set whose elements have counters."""
    result = []
    for element in nf_tables.list_elements(netlink, family, name):
        key = find(element, _KEY, _VALUE)
        packets = find(element, _EXPRESSION, _EXPRESSION_DATA, _PACKETS)
        if key is not None and packets is not None:
            result.append((key, int.from_bytes(packets, "big")))
    return result


def _text(octets: bytes) -> str:
    return octets.rstrip(b"\0").decode(errors="replace")
