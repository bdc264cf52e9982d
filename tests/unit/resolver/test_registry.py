"""What a change of networks costs the loop: nothing that grows with sandboxes times networks."""

from ipaddress import ip_interface
from pathlib import Path
from types import SimpleNamespace

import pytest

from netcore.keeper.kept_sockets import KeptSockets
from netcore.model import Endpoint, Sandbox
from resolver.daemon.config import DaemonConfig
from resolver.daemon.registry import Registry
from resolver.daemon.sandbox_resolver import SandboxResolver
from resolver.daemon.upstreams import UpstreamSets
from resolver.dns_client import Client
from resolver.engine.view import View
from resolver.reply_cache import Reply, ReplyMemory
from resolver.resolvconf import ResolvConf
from tests.support.lines import Lines, growth
from tests.support.networks import bridge_network, pool


def network(number, **given):
    return bridge_network(f"n{number}", pool(f"10.{number}.0.0/24", f"10.{number}.0.1"), given=given)


@pytest.fixture
def world(monkeypatch):
    made = []
    original = UpstreamSets.of_sandbox
    monkeypatch.setattr(UpstreamSets, "of_sandbox", lambda *arguments, **more: (made.append(1), original(*arguments, **more))[1])
    host = SimpleNamespace(content=ResolvConf(nameservers=("10.7.0.1",)), path="/etc/resolv.conf")
    memory = ReplyMemory(1 << 20)
    service = SimpleNamespace(protect=lambda _: None, keep=lambda _: None, forget_replies=memory.forget_all, memory=memory)
    registry = Registry(DaemonConfig(gateway_resolver=False), service, None, host, lambda _: None, KeptSockets("/nonexistent", 0))

    async def run(body):
        return body()

    registry.kernel = run
    for number in range(20):
        sandbox = SimpleNamespace(id=str(number), dns=SimpleNamespace(servers=()), stack=None)
        client = Client(View(subnets=registry._gateways.subnets))
        registry._sandboxes[str(number)] = SandboxResolver(sandbox=sandbox, client=client)
    return registry, made


async def test_network_that_comes_or_goes_makes_no_view_of_others_anew(world):
    registry, made = world
    await registry.network_up(network(1))
    await registry.network_up(network(2))
    client = registry._sandboxes["0"].client
    size = client.replies.put(b"id" + bytes(10) + b"who is 10.3.0.9?", 16, Reply([b"I don't know"]))
    registry._service.memory.take(client.replies, size)
    await registry.network_up(network(3))
    await registry.network_down(network(1))
    assert not made
    # They know of it all the same, and have forgotten what they had said before.
    assert not client.replies.by_octets
    view = client.view
    assert view.subnets.containing(pool("10.3.0.9/32").subnet) is not None
    assert view.subnets.containing(pool("10.1.0.9/32").subnet) is None


async def test_network_that_takes_the_hosts_nameserver_or_forwards_does(world):
    registry, made = world
    await registry.network_up(network(7))
    assert len(made) == 20
    await registry.network_up(network(8, forward="corp.test=10.8.0.9"))
    assert len(made) == 40


def endpoint_on(at, number):
    return Endpoint(
        origin="api", network_id=at.id, sandbox_id="x", ifname="eth0", host_ifname="v", mac="02:42:00:00:00:01",
        ipv4=ip_interface(f"10.250.{number}.2/16"), ipv6=None,
    )  # fmt: skip


async def lines_of_changes(networks, sandboxes):
    """Return what is done → the lines that it runs, beside that many networks and sandboxes, of which half have asked something."""
    config = DaemonConfig(gateway_resolver=False, host_listen="127.0.0.153:53")
    host = SimpleNamespace(content=ResolvConf(nameservers=("10.7.0.1",)), path="/etc/resolv.conf", behind_stub=lambda: None)
    memory, lines, found = ReplyMemory(1 << 20), Lines(), {}
    service = SimpleNamespace(protect=lambda _: None, keep=lambda _: None, forget_replies=memory.forget_all)
    registry = Registry(config, service, None, host, lambda sandbox: Path("/nonexistent"), KeptSockets("/nonexistent", 0))

    async def run(_):
        return None

    registry.kernel = run
    known = {one.id: one for one in (network(number, names_from="n250") for number in range(1, networks + 1))}
    large = bridge_network("large", pool("10.250.0.0/16", "10.250.0.1"))

    async def appear(name, at):
        box = Sandbox(id=name, name=name, hostname=name, netns_path=f"/{name}", boot_id="")
        registry._sandboxes[name] = SandboxResolver(sandbox=box, client=Client(View()))
        registry.files.create(box, is_new=False)
        await registry.update(box, (endpoint_on(at, len(registry._sandboxes)),), known)
        return box

    for one in (large, *known.values()):
        known[one.id] = one
        await registry.network_up(one)
    for number in range(sandboxes):
        await appear(f"s{number}", large)
    more = known["n249"] = network(249)
    changes = {
        "network comes": lambda: registry.network_up(more),
        "sandbox comes to it": lambda: appear("new", more),
        "sandbox goes": lambda: registry.close(registry._sandboxes["new"].sandbox),
        "network goes": lambda: registry.network_down(more),
    }
    for _ in range(2):
        # The first round fills caches.
        for name, change in changes.items():
            with lines.counting() as counted:
                await change()
            found[name] = counted
    return found


@pytest.mark.parametrize(("networks", "sandboxes"), [(60, 2), (2, 60)])
async def test_changes_cost_the_same_beside_many_others(networks, sandboxes):
    few, many = await lines_of_changes(2, 2), await lines_of_changes(networks, sandboxes)
    assert growth(few, many) == {}
