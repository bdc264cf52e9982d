"""A thousand hosts on one etcd: how many requests, watches and events they cost. Gates on counts; the figures are printed.

Each host is a `Cluster` without a kernel, all of one process. Each network is on twenty hosts, and each host has two of them.
"""

import asyncio
import functools
import re
import subprocess
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface

import pytest

from netcore import limits
from netcore.cluster.cluster import Cluster
from netcore.cluster.state import Node
from netcore.model import Endpoint, Sandbox
from netcore.store.etcd import open_etcd
from netcore.store.etcd_settings import EtcdSettings
from tests.support.etcd import cluster as etcd_cluster
from tests.support.etcd import why_no_etcd
from tests.support.networks import overlay_network, pool

pytestmark = [pytest.mark.timed, pytest.mark.skipif(bool(why_no_etcd()), reason=why_no_etcd())]

SHARING = 20
"""Hosts on each network."""
EACH = 2
"""Networks of each host, and endpoints of it on each of them."""
CHURN = 100
"""Endpoints that come and go while what that costs is counted."""


@dataclass(frozen=True)
class Counts:
    """What etcd has done so far. *octets*: received by the hosts on connections that are open."""

    requests: float
    events: float
    watches: float
    octets: int

    def since(self, before):
        return Counts(self.requests - before.requests, self.events - before.events, self.watches, self.octets - before.octets)


def counts(member):
    text = urllib.request.urlopen(f"{member.url}/metrics", timeout=30).read().decode()

    def total(pattern):
        return sum(float(value) for value in re.findall(rf"^{pattern} (\S+)$", text, re.MULTILINE))

    sockets = subprocess.run(["ss", "-tinHO", f"dport = :{member.client}"], capture_output=True, text=True, check=True).stdout
    return Counts(
        requests=total(r'grpc_server_started_total\{[^}]*grpc_method="(?:Range|Txn|LeaseGrant|LeaseKeepAlive|LeaseTimeToLive)"[^}]*\}'),
        events=total(r"etcd_debugging_mvcc_events_total"),
        watches=total(r"etcd_debugging_mvcc_watcher_total"),
        octets=sum(int(octets) for octets in re.findall(r"bytes_received:(\d+)", sockets)),
    )


class Hosts:
    """*size* hosts. *ttl*: of their leases, and their `store_ttl`."""

    def __init__(self, url, size, ttl):
        opened = functools.partial(open_etcd, EtcdSettings(endpoints=(url,), ttl=ttl, grace=2 * ttl))
        self.clusters = [
            Cluster(opened, Node(id=f"id-{number}", name=f"h{number}", vtep=ip_address(0x0A630001 + number)), time.time, review_period=ttl)
            for number in range(size)
        ]
        self.networks = [
            overlay_network(f"n{number}", pool(f"10.{number // 256}.{number % 256}.0/24"), vni=4096 + number)
            for number in range(max(EACH, size * EACH // SHARING))
        ]
        self.said = Counter()

    def networks_of(self, number):
        return [self.networks[(number * EACH + each) % len(self.networks)] for each in range(EACH)]

    async def start(self, number):
        await self.clusters[number].start(ignore, ignore, ignore)

    async def connect(self, number, network, identity):
        host = self.clusters[number]
        address = await host.take_address(network, 4, None)
        sandbox = Sandbox(id=identity, name=identity, hostname=identity, netns_path="/x", boot_id="")
        endpoint = Endpoint(
            origin="api", network_id=network.id, sandbox_id=identity, ifname="eth0", host_ifname="v",
            mac="02:42:" + ":".join(f"{octet:02x}" for octet in address.packed), ipv4=ip_interface(f"{address}/24"), ipv6=None,
        )  # fmt: skip
        await host.publish(sandbox, endpoint, network)
        self.said[network.id] += 1
        return endpoint

    async def disconnect(self, number, endpoint):
        await self.clusters[number].withdraw(endpoint)
        await self.clusters[number].give_address(endpoint.network_id, endpoint.ipv4.ip)
        self.said[endpoint.network_id] -= 1

    async def all_know(self):
        """Wait until each host that was started knows all endpoints of its networks."""
        await until(lambda: all(self.knows(number) for number, host in enumerate(self.clusters) if host.state.nodes))

    def knows(self, number):
        state = self.clusters[number].state
        return all(
            len(state.members(network.id)) == len(state.addresses[network.id]) == self.said[network.id]
            for network in self.networks_of(number)
        )


def ignore(*_):
    """Nobody follows: there is no kernel."""


async def gathered(work, at_once=32):
    bound = asyncio.Semaphore(at_once)

    async def one(coroutine):
        async with bound:
            return await coroutine

    return await asyncio.gather(*(one(coroutine) for coroutine in work))


async def until(condition):
    async with asyncio.timeout(600):
        while not condition():
            await asyncio.sleep(0.2)


async def measure(directory, size, monkeypatch):
    # What goes on without any change is counted by itself, with the settings as they are.
    monkeypatch.setattr(limits, "STORE_PROBE", 3600.0)
    monkeypatch.setattr(limits, "STORE_CALL", 60.0)
    monkeypatch.setattr(limits, "STORE_DEADLINE", 120.0)
    monkeypatch.setattr(limits, "STORE_FIRST_WAIT", 300.0)
    figures = {}
    with etcd_cluster(directory) as (member,):
        hosts = Hosts(member.url, size, 3600)
        try:
            await gathered(hosts.start(number) for number in range(size - 1))
            for network in hosts.networks:
                await hosts.clusters[0].catch_up()
                await hosts.clusters[0].create_network(network)
            await until(lambda: all(len(host.state.networks) == len(hosts.networks) for host in hosts.clusters[:-1]))
            pairs = [(number, network) for number in range(size - 1) for network in hosts.networks_of(number) for _ in range(EACH)]
            await gathered(hosts.connect(number, network, f"s{index}") for index, (number, network) in enumerate(pairs))
            await hosts.all_know()
            before = counts(member)
            await hosts.start(size - 1)
            figures["one host starts"] = counts(member).since(before)
            await gathered(hosts.connect(size - 1, network, f"t{network.id}") for network in hosts.networks_of(size - 1))
            await hosts.all_know()
            before = counts(member)
            numbers = [number * 7 % size for number in range(CHURN)]
            connects = (hosts.connect(number, hosts.networks_of(number)[0], f"c{index}") for index, number in enumerate(numbers))
            made = await gathered(connects, at_once=1)
            await hosts.all_know()
            await gathered(hosts.disconnect(number, endpoint) for number, endpoint in zip(numbers, made, strict=True))
            await hosts.all_know()
            figures[f"{CHURN} connects and disconnects"] = counts(member).since(before)
        finally:
            await gathered(host.close() for host in hosts.clusters)
    return figures


async def idle(directory, size, seconds):
    """Return what *size* hosts ask in *seconds* in which nothing changes, with the settings as they are."""
    with etcd_cluster(directory) as (member,):
        hosts = Hosts(member.url, size, 15)
        try:
            await gathered(hosts.start(number) for number in range(size))
            before = counts(member)
            await asyncio.sleep(seconds)
            return counts(member).since(before)
        finally:
            await gathered(host.close() for host in hosts.clusters)


def check(figures, size):
    for what, found in figures.items():
        print(f"{size} hosts, {what}: {found}", flush=True)
    churn = figures[f"{CHURN} connects and disconnects"]
    # One watch for what all share, and two for each network that a host has.
    assert churn.watches == size * (1 + 2 * EACH)
    # Two records come and go, and the hosts that share the network are told, nobody else.
    assert churn.events == CHURN * 4 * min(SHARING, size)
    # An address, an endpoint, and both again; a few more where two hosts wanted the same address.
    assert churn.requests <= CHURN * 6


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_hundred_hosts(tmp_path, monkeypatch):
    check(await measure(tmp_path, 100, monkeypatch), 100)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("size", [250, 1000])
async def test_many_hosts(tmp_path, monkeypatch, size):
    check(await measure(tmp_path, size, monkeypatch), size)


@pytest.mark.campaign
@pytest.mark.timeout(300)
async def test_hosts_without_a_change(tmp_path):
    print("20 hosts in 60 seconds:", await idle(tmp_path, 20, 60), flush=True)
