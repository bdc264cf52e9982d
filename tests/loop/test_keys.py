"""Keys between hosts: made once, followed by newer ones, and what the kernel is told of them."""

import asyncio
import functools
from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace

import pytest
import pytest_asyncio

from netcore import limits
from netcore.cluster import encryption
from netcore.cluster.cluster import Cluster
from netcore.cluster.encryption import Key
from netcore.cluster.state import ClusterState, KeysChanged, Node
from netcore.controller.assembly import assemble
from netcore.controller.settings import Settings
from netcore.desired.objects import EspBlock, EspPolicy, EspState
from netcore.errors import KernelError
from netcore.kernel import xfrm
from netcore.model import RemoteEndpoint, VxlanOptions
from netcore.store.etcd import EtcdSettings, open_etcd
from tests.support.etcd import cluster, why_no_etcd
from tests.support.networks import bridge_network, pool

OWN, PEER, OTHER = (ip_address(f"10.99.0.{number}") for number in (1, 2, 3))


def remote(name, vtep):
    return RemoteEndpoint(id=name, network_id="secret", node=name, names=(name,), vtep=vtep, mac="02:42:0a:28:00:02", addresses=())


def overlay(name, port, *, encrypted):
    made = bridge_network(name, pool("10.40.0.0/24", "10.40.0.1"))
    return replace(
        made, driver="overlay", driver_options=replace(made.bridge, vxlan=VxlanOptions(vni=4096, port=port, encrypted=encrypted))
    )


class FakeCluster:
    def __init__(self):
        self.state = ClusterState()
        self.state.keys = {1: Key(number=1, secret="ab" * 32)}

    def sending_key(self):
        return max(self.state.keys.values(), key=lambda key: key.number)


@pytest_asyncio.fixture
async def host(monkeypatch):
    """The encryption of one host, its state, and the steps that its executor was given."""
    made = assemble(Settings(run_directory="/nowhere", vtep=OWN), None, None, reserved=lambda: (), clock=lambda: 0.0)
    made.overlays.join(FakeCluster())
    applied = []
    monkeypatch.setattr(made.parts.executor, "apply", applied.append)
    monkeypatch.setattr(xfrm, "read_own", lambda request_id: ())
    for network in (overlay("secret", 4790, encrypted=True), overlay("open", 4789, encrypted=False)):
        made.parts.writer.put_network(network)
        made.parts.writer.activate(network.id, {})
    return SimpleNamespace(
        encryption=made.overlays.encryption, writer=made.parts.writer, cluster=made.cluster, applied=applied, executor=made.parts.executor
    )


def changes(steps):
    return sorted((type(step.subject).__name__, step.before is None) for step in steps)


async def test_kernel_follows_hosts_and_keys(host):
    await host.encryption.follow()
    assert changes(host.applied.pop()) == [("EspBlock", True)] * 2
    # A host on an open network only is none of this.
    host.writer.put_remote("open", remote("x", OTHER))
    host.writer.put_remote("secret", remote("y", PEER))
    await host.encryption.follow()
    made = host.applied.pop()
    assert changes(made) == [("EspPolicy", True)] * 2 + [("EspState", True)] * 2
    assert {address for step in made for address in (step.subject.source, step.subject.target)} == {OWN, PEER}
    assert {step.subject.port for step in made if isinstance(step.subject, EspPolicy)} == {4790}
    # States first: nothing is ever demanded that can't be done.
    assert [type(step.subject) for step in made[:2]] == [EspState] * 2
    await host.encryption.follow()
    assert host.applied == []
    host.cluster.state.keys[2] = Key(number=2, secret="cd" * 32)
    await host.encryption.follow()
    assert changes(host.applied.pop()) == [("EspState", False)] + [("EspState", True)] * 2
    host.writer.drop_remote("secret", "y")
    await host.encryption.follow()
    assert {step.after for step in host.applied.pop()} == {None}
    host.writer.deactivate("secret")
    await host.encryption.follow()
    assert changes(host.applied.pop()) == [("EspBlock", False)] * 2


async def test_a_new_host_is_known_to_the_kernel_before_it_is_spoken_to(host):
    await host.encryption.settle({"secret": [remote("y", PEER)]})
    assert changes(host.applied.pop()) == [("EspBlock", True)] * 2 + [("EspPolicy", True)] * 2 + [("EspState", True)] * 2


async def test_what_an_earlier_run_left_is_kept_or_taken_away(host, monkeypatch):
    gone = EspState(source=OTHER, target=OWN, spi=999, key_material="00" * 20, request_id=encryption.REQUEST_ID)
    host.writer.put_remote("secret", remote("y", PEER))
    there = encryption.objects(OWN, {4790: [PEER]}, [*host.cluster.state.keys.values()], host.cluster.sending_key())
    monkeypatch.setattr(xfrm, "read_own", lambda request_id: (gone, *there))
    await host.encryption.follow()
    assert [(step.before, step.after) for step in host.applied.pop()] == [(gone, None)]


async def test_what_the_kernel_lacks_of_states_and_policies_is_found(host, monkeypatch):
    host.writer.put_remote("secret", remote("y", PEER))
    assert (await host.encryption.find_lost(), host.encryption.is_used) == ((), False)
    await host.encryption.follow()
    wanted = encryption.objects(OWN, {4790: [PEER]}, [*host.cluster.state.keys.values()], host.cluster.sending_key())
    state = next(esp for esp in wanted if isinstance(esp, EspState))
    assert host.encryption.is_used

    async def lost(*there):
        monkeypatch.setattr(xfrm, "read_own", lambda request_id: there)
        return await host.encryption.find_lost()

    assert await lost(*wanted) == ()
    assert await lost(*(esp for esp in wanted if esp is not state)) == (state,)
    assert await lost(*(replace(esp, key_material="11" * 20) if esp is state else esp for esp in wanted)) == (state,)
    # A kernel that is locked down shows no keys.
    assert await lost(*(replace(esp, key_material="00" * 20) if isinstance(esp, EspState) else esp for esp in wanted)) == ()
    assert set(await lost()) == set(wanted)


async def test_a_kernel_that_refuses_is_asked_again(host, monkeypatch, caplog):
    def refuse(steps):
        raise KernelError("add ESP state", "x", 22)

    monkeypatch.setattr(host.executor, "apply", refuse)
    await host.encryption.follow()
    assert "keys between hosts could not be changed" in caplog.text
    monkeypatch.setattr(host.executor, "apply", host.applied.append)
    await host.encryption.follow()
    assert all(isinstance(step.subject, EspBlock) for step in host.applied.pop())


@pytest.mark.skipif(bool(why_no_etcd()), reason=why_no_etcd())
@pytest.mark.timed
async def test_hosts_make_one_key_and_follow_it_by_newer_ones(tmp_path, monkeypatch):
    for name, value in (("KEY_SETTLE", 0.3), ("KEY_LIFE", 0.8), ("STORE_PROBE", 0.05)):
        monkeypatch.setattr(limits, name, value)
    with cluster(tmp_path) as members:
        told = []
        open_store = functools.partial(open_etcd, EtcdSettings(endpoints=(members[0].url,)))
        hosts = [Cluster(open_store, Node(id=name, name=name, vtep=vtep), lambda: 0.0) for name, vtep in (("a", OWN), ("b", PEER))]
        for host in hosts:
            await host.start(told.append, lambda *_: None)
            await asyncio.wait_for(host._loaded.wait(), 10)
        assert [host.sending_key() for host in hosts] == [None, None]
        await asyncio.gather(*(host.ensure_key() for host in hosts))
        used = set()
        async with asyncio.timeout(15):
            while not all((key := host.sending_key()) is not None and key.number >= 3 for host in hosts):
                await asyncio.sleep(0.01)
                for host in hosts:
                    key = host.sending_key()
                    if key is not None:
                        used.add(key)
                        # Whoever sends, all accept it.
                        assert all(key.number in other.state.keys or not other.state.keys for other in hosts)
                assert all(len(host.state.keys) <= 3 for host in hosts)
        assert len({key.secret for key in used}) == len({key.number for key in used}) >= 3
        assert {KeysChanged()} in told
        for host in hosts:
            await host.close()
