"""What a change of networks costs the loop: nothing that grows with sandboxes times networks."""

from types import SimpleNamespace

import pytest

from netcore.keeper.kept_sockets import KeptSockets
from resolver.daemon.config import DaemonConfig
from resolver.daemon.registry import Registry
from resolver.daemon.sandbox_resolver import SandboxResolver
from resolver.daemon.upstreams import UpstreamSets
from resolver.dns_client import Client
from resolver.engine.view import View
from resolver.reply_cache import Reply
from resolver.resolvconf import ResolvConf
from tests.support.networks import bridge_network, pool


def network(number, **given):
    return bridge_network(f"n{number}", pool(f"10.{number}.0.0/24", f"10.{number}.0.1"), given=given)


@pytest.fixture
def world(monkeypatch):
    made = []
    original = UpstreamSets.of_sandbox
    monkeypatch.setattr(UpstreamSets, "of_sandbox", lambda *arguments, **more: (made.append(1), original(*arguments, **more))[1])
    host = SimpleNamespace(content=ResolvConf(nameservers=("10.7.0.1",)), path="/etc/resolv.conf")
    service = SimpleNamespace(protect=lambda _: None, keep=lambda _: None)
    registry = Registry(DaemonConfig(gateway_resolver=False), service, None, host, lambda _: None, KeptSockets("/nonexistent", 0))

    async def run(body):
        return body()

    registry.kernel = run
    for number in range(20):
        sandbox = SimpleNamespace(id=str(number), dns=SimpleNamespace(servers=()), stack=None)
        client = Client(View(subnets=registry._subnets))
        registry._sandboxes[str(number)] = SandboxResolver(sandbox=sandbox, client=client)
    return registry, made


async def test_network_that_comes_or_goes_makes_no_view_of_others_anew(world):
    registry, made = world
    await registry.network_up(network(1))
    await registry.network_up(network(2))
    client = registry._sandboxes["0"].client
    client.replies.put(b"id" + bytes(10) + b"who is 10.3.0.9?", 16, Reply([b"I don't know"]))
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
