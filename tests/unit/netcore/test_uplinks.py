"""Forwarding on uplinks, without a kernel: recorded before it is changed, put back with the last network, also by a later run."""

from dataclasses import replace

import pytest

from netcore import limits
from netcore.desired.objects import Element, Sysctl
from netcore.drivers.uplinks import ALL4, SwitchedSysctl
from netcore.errors import KernelError
from netcore.kernel import sysctl
from netcore.model import NetworkRequest
from tests.support.fakes import world

UP4 = "net/ipv4/conf/eth0/forwarding"


class Sysctls:
    """The sysctls of a host, and in which order they and the store were written."""

    def __init__(self, made, monkeypatch):
        self.made = made
        self.values = {UP4: "0", ALL4: "0"}
        self.writes = []
        made.writer.set_facts(replace(made.controller.state.facts, sysctls=dict(self.values)))
        apply, remove = made.executor.apply, made.executor.remove
        made.executor.apply = lambda steps: (apply(steps), [self.do(step) for step in steps])
        made.executor.remove = lambda steps, target: (remove(steps, target), [self.do(step) for step in steps])
        monkeypatch.setattr(sysctl, "read", self.values.get)

    def do(self, step):
        if isinstance(step.after, Sysctl) and step.after.path in self.values and self.values[step.after.path] != step.after.value:
            assert step.after.original is None or step.after.path in self.made.controller.state.switched
            self.writes.append((step.after.path, step.after.value))
            self.values[step.after.path] = step.after.value
        if step.after is None and isinstance(step.before, Sysctl):
            self.values[step.before.path] = step.before.original


async def stored(made):
    return [key for key in (await made.store.load()).items if key.startswith("sysctl/")]


def guards(made):
    return [one.fields for one in made.executor.objects.values() if isinstance(one, Element) and one.set.name.startswith("closed")]


async def test_shared_by_networks_and_put_back_with_the_last(monkeypatch):
    async with world() as made:
        host = Sysctls(made, monkeypatch)
        for name in ("a", "b"):
            await made.controller.networks.create(NetworkRequest(name=name))
        assert host.writes == [(UP4, "1")]
        assert (await stored(made), guards(made)) == ([f"sysctl/{UP4}"], [("eth0",)])
        await made.controller.networks.remove("a")
        assert (host.values[UP4], guards(made)) == ("1", [("eth0",)])
        await made.controller.networks.remove("b")
        assert (host.values[UP4], await stored(made), guards(made)) == ("0", [], [])


async def test_internal_network_needs_nothing(monkeypatch):
    async with world() as made:
        host = Sysctls(made, monkeypatch)
        await made.controller.networks.create(NetworkRequest(name="a", internal=True))
        assert (host.writes, guards(made)) == ([], [])


async def test_dry_run_says_what_a_network_needs_of_uplinks(monkeypatch):
    async with world() as made:
        host = Sysctls(made, monkeypatch)
        _, outcome = await made.controller.networks.create(NetworkRequest(name="a"), dry_run=True)
        assert f"create sysctl {UP4}=1" in [step.describe() for step in outcome.steps]
        assert (host.writes, await stored(made)) == ([], [])


async def test_uplinks_that_come_and_go(monkeypatch):
    async with world() as made:
        host = Sysctls(made, monkeypatch)
        await made.controller.networks.create(NetworkRequest(name="a"))
        host.values["net/ipv4/conf/wlan0/forwarding"] = "0"
        made.writer.set_facts(replace(made.controller.state.facts, uplinks=("wlan0",), sysctls=dict(host.values)))
        await made.uplinks.settle()
        assert (host.values[UP4], host.values["net/ipv4/conf/wlan0/forwarding"], guards(made)) == ("0", "1", [("wlan0",)])
        assert await stored(made) == ["sysctl/net/ipv4/conf/wlan0/forwarding"]


async def test_whole_host_made_a_router_by_somebody_stays_one(monkeypatch):
    async with world() as made:
        host = Sysctls(made, monkeypatch)
        await made.controller.networks.create(NetworkRequest(name="a"))
        host.values[ALL4] = "1"
        made.writer.set_facts(replace(made.controller.state.facts, sysctls=dict(host.values)))
        await made.uplinks.settle()
        assert (guards(made), await stored(made)) == ([], [])
        await made.controller.networks.remove("a")
        assert host.values[UP4] == "1"


@pytest.mark.parametrize("has_network", [True, False])
async def test_later_run_goes_on_from_the_records_of_one_that_crashed(monkeypatch, has_network):
    async with world() as made:
        host = Sysctls(made, monkeypatch)
        host.values[UP4] = "1"
        left = SwitchedSysctl(path=UP4, value="1", original="0", everywhere="0")
        await made.records.put_switched([left])
        everything = await made.records.load()
        assert everything.switched == (left,)
        made.writer.put_switched(left)
        made.writer.set_facts(replace(made.controller.state.facts, sysctls=dict(host.values)))
        networks = []
        if has_network:
            network, _ = await made.controller.networks.create(NetworkRequest(name="a"), dry_run=True)
            networks.append(network)
        await made.uplinks.restore(everything.switched, networks)
        assert host.values[UP4] == ("1" if has_network else "0")
        assert bool(await stored(made)) is has_network


async def test_what_can_not_be_set_leaves_no_record(monkeypatch):
    async with world() as made:
        Sysctls(made, monkeypatch)

        def refuse(steps):
            raise KernelError("write", UP4, 30)

        made.executor.apply = refuse
        with pytest.raises(KernelError):
            await made.controller.networks.create(NetworkRequest(name="a"))
        assert (await stored(made), dict(made.controller.state.switched)) == ([], {})


async def test_set_again_a_bounded_number_of_times(monkeypatch):
    async with world() as made:
        host, said = Sysctls(made, monkeypatch), []
        made.uplinks.on_set_again = said.append
        await made.controller.networks.create(NetworkRequest(name="a"))
        for _ in range(limits.DRIFT_ATTEMPTS + 3):
            host.values[UP4] = "0"
            await made.uplinks.check({"eth0"})
        assert said == [UP4] * limits.DRIFT_ATTEMPTS
        assert host.values[UP4] == "0"
        (line,) = made.repairs.warnings(1000.0)
        assert line.startswith(f"sysctl {UP4}=1 was changed again after berth had repaired it 10 times; it is left alone now; traffic")
        assert made.repairs.counts == {"sysctl": limits.DRIFT_ATTEMPTS}
        host.values[UP4] = "1"
        await made.uplinks.check({"lan0"})
        assert made.repairs.warnings(1000.0) == ()


async def test_forwarding_that_was_on_and_is_switched_off_is_set_and_said(monkeypatch):
    async with world() as made:
        host, said = Sysctls(made, monkeypatch), []
        made.uplinks.on_set_again = said.append
        host.values[UP4] = "1"
        made.writer.set_facts(replace(made.controller.state.facts, sysctls=dict(host.values)))
        await made.controller.networks.create(NetworkRequest(name="a"))
        assert (guards(made), await stored(made)) == ([], [])
        host.values[UP4] = "0"
        made.writer.set_facts(replace(made.controller.state.facts, sysctls=dict(host.values)))
        await made.uplinks.settle()
        assert (host.values[UP4], said, guards(made)) == ("1", [UP4], [("eth0",)])
        (line,) = made.repairs.warnings(1000.0)
        assert line == f"sysctl {UP4}=1 was changed by another program; berth has repaired it once in the last hour"
        await made.controller.networks.remove("a")
        assert (host.values[UP4], made.repairs.warnings(1000.0)) == ("0", ())
