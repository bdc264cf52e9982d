"""What one step of an operation costs by itself, beside the way it was done before or is done where the kernel lacks something.

Each pair is measured in turns in the same process, so that only the ratio counts.
Name parts to run only these: `python -m benchmarks.steps records`.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Any

from benchmarks.report import chosen, machine, table, write
from netcore.controller.state_writer import StateWriter
from netcore.desired.firewall import render_skeleton
from netcore.desired.flows import Flows
from netcore.drivers.facts import Facts
from netcore.kernel import conntrack, flow_filter, link_kinds, netns, nft, rtnl, ruleset
from netcore.kernel.host_sockets import HostSockets
from netcore.kernel.netlink import NETFILTER, ROUTE, NetlinkSocket, Request
from netcore.model import Endpoint, NetnsPath, NetworkId, Sandbox, SandboxId
from netcore.plan import ipam
from netcore.plan.host_state import SandboxState
from netcore.store import codec
from netcore.store.records import EndpointsRecord
from resolver.daemon import redirect
from tests.support.rtnetlink_codec import encode

Row = tuple[str, float, float]
"""(what, microseconds before, microseconds now)."""


def in_turns(before: Callable[[], object], now: Callable[[], object], rounds: int, each: int = 1) -> tuple[float, float]:
    """Return the quickest round of both, in microseconds for one call: whatever else runs only ever adds to it."""
    samples: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for action, collected in ((before, samples[0]), (now, samples[1])):
            begun = time.perf_counter()
            for _ in range(each):
                action()
            collected.append((time.perf_counter() - begun) * 1e6 / each)
    return min(samples[0]), min(samples[1])


_ENDPOINT = Endpoint(
    origin="bench", network_id=NetworkId("n" * 64), sandbox_id=SandboxId("s" * 64), ifname="eth0", host_ifname="veth0",
    mac="02:42:00:00:00:01", ipv4=IPv4Interface("10.1.0.2/16"), ipv6=IPv6Interface("fd00::2/64"),
)  # fmt: skip


def records() -> list[Row]:
    """A record of a sandbox with one endpoint, read from the store."""
    octets = codec.encode(EndpointsRecord(endpoints=(_ENDPOINT,)))

    def decode() -> object:
        return codec.decode(EndpointsRecord, octets)

    def resolving() -> object:
        codec._fields.cache_clear()
        return decode()

    return [("read a record", *in_turns(resolving, decode, 50, 20))]


def flows() -> list[Row]:
    """An IPv4 address's flows are forgotten: the table dumped and looked through here, and deleted by the kernel's filter."""
    address = Flows(addresses=frozenset({ip_address("10.3.0.2")}))
    honoured = flow_filter.honoured()

    def fill(count: int) -> None:
        lines = "".join(
            f"-I -p udp -s 10.9.{number >> 8}.{number & 255} -d 192.0.2.1 --sport 9 --dport 53 -t 600\n" for number in range(count)
        )
        subprocess.run(["conntrack", "-R", "-"], input=lines, text=True, check=True, capture_output=True)

    def measure(count: int) -> Row:
        fill(count)
        with NetlinkSocket(NETFILTER) as netlink, NetlinkSocket(ROUTE) as routes:
            before, now = (partial(conntrack.flush, netlink, routes, address, choices) for choices in (frozenset(), honoured))
            return f"forget an address, {count:,} other flows", *in_turns(before, now, 20)

    return [netns.run_in_temporary(partial(measure, count)) for count in (0, 5000)]


def sockets() -> list[Row]:
    """An element is added to a set of nftables and deleted, by a socket of its own and by one that is kept."""
    requests = [[nft.link_element_request("inet", "bench", "links", "eth0", delete=delete)] for delete in (False, True)]

    def change(netlink: NetlinkSocket) -> None:
        for batch in requests:
            nft.commit(netlink, batch)

    def measure() -> Row:
        subprocess.run(["nft", "add table inet bench; add set inet bench links { type ifname; }"], check=True)
        kept = HostSockets()

        def with_own() -> None:
            with NetlinkSocket(NETFILTER) as netlink:
                change(netlink)

        def with_kept() -> None:
            with kept.lent(NETFILTER) as netlink:
                change(netlink)

        measured = in_turns(with_own, with_kept, 20)
        kept.close()
        return "add and delete an element of nftables", *measured

    return [netns.run_in_temporary(measure)]


def rulesets() -> list[Row]:
    """The tables of the host and the redirect of a sandbox are made in new namespaces: by libnftables in this process, and by us."""
    library = ctypes.CDLL("libnftables.so.1")
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_free.argtypes = [ctypes.c_void_p]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]

    def by_library(text: str, _: NetlinkSocket) -> None:
        context = library.nft_ctx_new(0)
        assert library.nft_run_cmd_from_buffer(context, text.encode()) == 0
        library.nft_ctx_free(context)

    def inside(action: Callable[[NetlinkSocket], object]) -> float:
        def timed() -> float:
            with nft.opened() as kept:
                begun = time.perf_counter()
                action(kept)
                return (time.perf_counter() - begun) * 1e6

        return netns.run_in_temporary(timed)

    skeleton, text = render_skeleton(), redirect.render(40_000, 40_001, replace=False)
    form = ruleset.Form(partial(redirect.render, replace=False), 2)
    pairs: list[tuple[str, str, Callable[[NetlinkSocket], object]]] = [
        ("the tables of the host, read anew", skeleton, lambda kept: nft.commit(kept, ruleset.requests(skeleton))),
        ("the tables of the host", skeleton, lambda kept: nft.write_tables(kept, ())),
        ("the redirect of a sandbox", text, lambda _: nft.apply(form.requests(40_000, 40_001))),
    ]
    rows = []
    for what, given, now in pairs:
        samples = [(inside(partial(by_library, given)), inside(now)) for _ in range(30)]
        rows.append((what, min(one for one, _ in samples), min(one for _, one in samples)))
    return rows


def answers() -> list[Row]:
    """Thirty requests are sent at once and answered: room for the largest answer is made for each, and once."""
    batch = [rtnl.delete_link(f"nothing{number}") for number in range(30)]
    receive_into_kept = NetlinkSocket._receive

    def receive_into_new(netlink: NetlinkSocket) -> Iterator[tuple[int, int, int, bytes]]:
        octets = netlink._socket.recv(1 << 20)
        size, type_, flags, sequence, _ = struct.unpack_from("=IHHII", octets)
        yield type_, flags, sequence, octets[16:size]

    def measure() -> Row:
        with NetlinkSocket(ROUTE) as netlink:

            def allocating() -> None:
                changed: Any = NetlinkSocket
                changed._receive = receive_into_new
                try:
                    netlink.run(batch)
                finally:
                    changed._receive = receive_into_kept

            return "thirty requests and answers", *in_turns(allocating, lambda: netlink.run(batch), 50)

    return [netns.run_in_temporary(measure)]


_MAC = "02:42:0a:00:00:02"


def requests() -> list[Row]:
    """Requests of a connect are written: by a codec that is told by names what to write, and by hand."""
    flags = {"learning": 0, "unicast_flood": 0, "mcast_max_groups": 1000, "group_fwd_mask": 0xFFFD, "multicast_router": 1}
    port = {"attrs": [(f"IFLA_BRPORT_{name.upper()}", value) for name, value in flags.items()]}
    port_attributes = [
        ("IFLA_IFNAME", "veth0"),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", port)]}),
    ]
    address, gateway, default = ip_interface("10.1.0.2/16"), ip_address("10.1.0.1"), ip_network("0.0.0.0/0")
    own = [("IFA_ADDRESS", "10.1.0.2"), ("IFA_LOCAL", "10.1.0.2"), ("IFA_BROADCAST", "10.1.255.255")]
    way = {"family": 2, "dst_len": 0, "table": 254, "proto": 4, "scope": 0, "type": 1}
    pairs: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        ("write: create a veth pair", partial(encode, "link", {}, _veth_attributes()), _add_veth),
        ("write: change a bridge port", partial(encode, "link", {}, port_attributes), partial(rtnl.set_port, "veth0", **flags)),
        (
            "write: add an address",
            partial(encode, "address", {"family": 2, "prefixlen": 16, "index": 4}, own),
            partial(rtnl.add_address, address, 4),
        ),
        (
            "write: set a route",
            partial(encode, "route", way, [("RTA_OIF", 4), ("RTA_GATEWAY", "10.1.0.1")]),
            partial(rtnl.replace_route, default, gateway, 4),
        ),
    ]
    return [(what, *in_turns(before, now, 50, 20)) for what, before, now in pairs]


def _add_veth(netns_descriptor: int = 9, master: int = 3) -> Request:
    return link_kinds.add_veth("veth0", master=master, mtu=1500, peer_ifname="eth0", peer_mac=_MAC, peer_netns_descriptor=netns_descriptor)


def _veth_attributes(netns_descriptor: int = 9, master: int = 3) -> list[tuple[str, Any]]:
    """Return what creates a pair with a queue for each processor."""
    peer = [("IFLA_IFNAME", "eth0"), ("IFLA_ADDRESS", _MAC), ("IFLA_MTU", 1500), ("IFLA_NET_NS_FD", netns_descriptor)]
    info = {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", {"attrs": peer})]})]}
    return [("IFLA_IFNAME", "veth0"), ("IFLA_MTU", 1500), ("IFLA_MASTER", master), ("IFLA_LINKINFO", info)]


def queues() -> list[Row]:
    """The kernel makes a pair into another namespace and onto a bridge: with a queue for each processor, and with one."""

    def measure() -> Row:
        with NetlinkSocket(ROUTE) as netlink:
            inside = netns.run_in_temporary(lambda: os.open(netns.OWN, os.O_RDONLY))
            netlink.execute(link_kinds.add_bridge("br0", _MAC, 1500))
            master = rtnl.link_index(netlink, "br0")
            by_hand = _add_veth(inside, master)
            each = replace(by_hand, body=encode("link", {}, _veth_attributes(inside, master)))
            samples: tuple[list[float], list[float]] = ([], [])
            for _ in range(30):
                for request, collected in ((each, samples[0]), (by_hand, samples[1])):
                    begun = time.perf_counter()
                    netlink.execute(request)
                    collected.append((time.perf_counter() - begun) * 1e6)
                    netlink.execute(rtnl.delete_link("veth0"))
            os.close(inside)
        return "kernel: create a veth pair", min(samples[0]), min(samples[1])

    return [netns.run_in_temporary(measure)]


def pools() -> list[Row]:
    """A pool is chosen beside a thousand others: each compared with every candidate, as it was, and each looked at once."""
    block, taken = ip_network("10.64.0.0/10"), [*ip_network("10.64.0.0/14").subnets(new_prefix=24)][:1000]

    def comparing() -> object:
        candidate, size = int(block.network_address), 256
        while ends := [
            int(subnet.broadcast_address)
            for subnet in taken
            if int(subnet.network_address) < candidate + size and int(subnet.broadcast_address) >= candidate
        ]:
            candidate = (max(ends) // size + 1) * size
        return ip_network((candidate, 24))

    return [("choose a pool, 1,000 there", *in_turns(comparing, partial(ipam.choose_subnet, [(block, 24)], taken), 20))]


def lookups() -> list[Row]:
    """A thousand sandboxes on 200 networks: the members of a network and a sandbox by its name, by going through all and by index."""
    writer = StateWriter("/run/berth", Facts(uplinks=()))
    for number in range(1000):
        identity, network = SandboxId(f"{number:064x}"), NetworkId(f"{number % 200:064x}")
        sandbox = Sandbox(id=identity, name=f"s{number}", hostname="s", netns_path=NetnsPath(f"/run/netns/{number}"), boot_id="")
        endpoint = replace(_ENDPOINT, sandbox_id=identity, network_id=network)
        writer.put_sandbox(SandboxState(sandbox, (endpoint,)))
    state, network = writer.state, NetworkId(f"{7:064x}")

    def all_members() -> object:
        return [
            (state.sandboxes[identity], endpoint)
            for identity, endpoints in state.endpoints.items()
            for endpoint in endpoints
            if endpoint.network_id == network
        ]

    def all_sandboxes() -> object:
        return next(sandbox for sandbox in state.sandboxes.values() if sandbox.name == "s900")

    assert all_members() == state.members(network)
    return [
        ("members of one of 200 networks, 1,000 sandboxes", *in_turns(all_members, partial(state.members, network), 50, 10)),
        ("find one of 1,000 sandboxes by its name", *in_turns(all_sandboxes, partial(state.find_sandbox, "s900"), 50, 10)),
    ]


PARTS: dict[str, Callable[[], list[Row]]] = {
    "records": records, "flows": flows, "sockets": sockets, "rulesets": rulesets, "answers": answers, "requests": requests,
    "queues": queues, "pools": pools, "lookups": lookups,
}  # fmt: skip


def main() -> None:
    rows = [row for name in chosen(PARTS, sys.argv[1:]) for row in PARTS[name]()]
    cells = [[what, f"{before:.1f}", f"{now:.1f}", f"{before / now:.1f}"] for what, before, now in rows]
    print(table(["", "before, us", "now, us", "ratio"], cells))
    print(write("steps", {"machine": machine(), "rows": rows}))


if __name__ == "__main__":
    main()
