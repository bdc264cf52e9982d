"""When firewalls are checked, our own tables written again, and other programs' firewalls seen to."""

import asyncio
import logging

import pytest

from netcore import limits
from netcore.desired.other_firewalls import DockerRule, Missing
from netcore.errors import KernelError
from netcore.kernel import nft, other_firewalls
from netcore.kernel.notifications import NFTABLES, Notifications
from resolver.daemon import firewall_watch
from resolver.daemon.firewall_repair import FirewallRepair
from resolver.daemon.firewall_watch import FirewallWatch
from resolver.daemon.other_firewalls import OtherFirewalls
from tests.support.networks import bridge_network, parent_network, pool


async def run_blocking(body):
    return body()


class Monitor:
    """A monitor whose changes come through a pipe."""

    def __init__(self):
        import os

        self.reader, self.writer = os.pipe()
        self.write = lambda: os.write(self.writer, b"x")
        self.drain = lambda: os.read(self.reader, 100)
        self.close = lambda: (os.close(self.reader), os.close(self.writer))
        self.fileno = lambda: self.reader


@pytest.fixture
def monitor(monkeypatch):
    made = Monitor()
    monkeypatch.setattr(firewall_watch, "Notifications", lambda group: made)
    return made


class Checks:
    def __init__(self):
        self.done = asyncio.Queue()

    async def first(self):
        self.done.put_nowait("first")

    async def second(self):
        self.done.put_nowait("second")


async def test_change_is_followed_by_one_check_of_everything_in_order(monitor, monkeypatch):
    monkeypatch.setattr(firewall_watch, "_SETTLE", 0.01)
    checks = Checks()
    watch = FirewallWatch([checks.first, checks.second], enabled=True)
    watch.start()
    for _ in range(3):
        monitor.write()
    assert [await checks.done.get(), await checks.done.get()] == ["first", "second"]
    watch.close()
    assert checks.done.empty()


async def test_check_comes_without_a_change_too(monitor, monkeypatch):
    monkeypatch.setattr(limits, "FIREWALL_CHECK_INTERVAL", 0.01)
    checks = Checks()
    watch = FirewallWatch([checks.first], enabled=True)
    watch.start()
    for _ in range(3):
        assert await checks.done.get() == "first"
    watch.close()


async def test_only_the_interval_is_left_where_changes_cannot_be_followed(monkeypatch, caplog):
    def refused(group):
        raise OSError(93, "not supported")

    monkeypatch.setattr(firewall_watch, "Notifications", refused)
    monkeypatch.setattr(limits, "FIREWALL_CHECK_INTERVAL", 0.01)
    checks = Checks()
    watch = FirewallWatch([checks.first], enabled=True)
    watch.start()
    assert "changes of nftables are not noticed at once" in caplog.text
    assert await checks.done.get() == "first"
    watch.close()


async def test_with_firewall_none_nothing_is_checked():
    checks = Checks()
    watch = FirewallWatch([checks.first], enabled=False)
    watch.start()
    await watch.check()
    watch.close()
    assert checks.done.empty()


async def test_check_that_fails_is_logged_once_and_ends_nothing(caplog):
    async def fails():
        raise KernelError("dump", "chains", 1)

    checks = Checks()
    with caplog.at_level(logging.INFO):
        await FirewallWatch([fails, checks.first], enabled=True).check()
    assert len(caplog.records) == 1
    assert "firewalls could not be checked reason=dump chains: EPERM" in caplog.text
    assert checks.done.empty()


def test_monitor_is_drained_and_closed():
    monitor = Notifications(NFTABLES)
    assert monitor.fileno() > 0
    monitor.drain()
    monitor.close()
    assert monitor.fileno() == -1


@pytest.mark.parametrize(("count", "whole", "rewritten"), [(0, False, 0), (1, True, 0), (2, False, 1)])
async def test_own_tables_are_written_again_when_they_are_needed_and_not_whole(monkeypatch, caplog, count, whole, rewritten):
    monkeypatch.setattr(other_firewalls, "is_firewall_whole", lambda: whole)
    written = []

    async def rewrite():
        written.append(1)

    await FirewallRepair(run_blocking, lambda: count, rewrite).check()
    assert len(written) == rewritten
    assert ("written again networks=2" in caplog.text) == bool(rewritten)


async def test_own_tables_are_removed_whether_they_are_there_or_not(monkeypatch):
    applied = []
    monkeypatch.setattr(nft, "apply_text", applied.append)
    await FirewallRepair(run_blocking, lambda: 0, None).remove()
    assert applied == ["table inet berth {\n}\ndelete table inet berth\ntable bridge berth {\n}\ndelete table bridge berth\n"]


FRONT, INTERNAL = bridge_network("front", pool("10.1.0.0/24")), bridge_network("inside", pool("10.2.0.0/24"), internal=True)
LAN = parent_network("lan", "macvlan", pool("10.3.0.0/24"), given={"parent": "eth0"})
RULE, MISSING = DockerRule("iptables"), Missing("chain forward", "nft insert rule x")


class Kernel:
    """Plays `netcore.kernel.other_firewalls`."""

    def __init__(self, monkeypatch):
        self.wanted, self.failed, self.calls = (), [], []
        monkeypatch.setattr(other_firewalls, "look", lambda bridges: (self.calls.append(("look", bridges)), self.wanted)[1])
        monkeypatch.setattr(other_firewalls, "apply", lambda wanted: (self.calls.append(("apply", wanted)), self.failed)[1])
        monkeypatch.setattr(other_firewalls, "withdraw", lambda gone: self.calls.append(("withdraw", gone)))


async def test_rule_comes_with_the_first_network_and_goes_with_the_last(monkeypatch):
    kernel, networks = Kernel(monkeypatch), [FRONT, INTERNAL, LAN]
    others = OtherFirewalls(run_blocking, lambda: networks, enabled=True)
    kernel.wanted = (RULE,)
    await others.check()
    assert kernel.calls == [("look", (FRONT.bridge.bridge_name,)), ("apply", (RULE,))]
    kernel.calls.clear()
    networks.remove(FRONT)
    await others.check()
    # Nobody is asked where no bridge leads outside.
    assert kernel.calls == [("apply", ()), ("withdraw", (RULE,))]
    kernel.calls.clear()
    await others.withdraw()
    assert kernel.calls == []


async def test_rule_is_withdrawn_at_an_idle_exit(monkeypatch):
    kernel = Kernel(monkeypatch)
    kernel.wanted = (RULE,)
    others = OtherFirewalls(run_blocking, lambda: [FRONT], enabled=True)
    await others.check()
    await others.withdraw()
    assert kernel.calls[-1] == ("withdraw", (RULE,))


async def test_what_only_its_owner_can_do_is_a_warning_that_is_logged_once(monkeypatch, caplog):
    kernel = Kernel(monkeypatch)
    kernel.wanted, kernel.failed = (MISSING, RULE), ["iptables: no rule could be put into DOCKER-USER"]
    others = OtherFirewalls(run_blocking, lambda: [FRONT], enabled=True)
    assert others.warnings() == ()
    for _ in range(2):
        await others.check()
    assert others.warnings() == (kernel.failed[0], "chain forward drops what berth forwards; add: nft insert rule x")
    assert len(caplog.records) == 2


def test_with_firewall_none_the_warnings_say_what_the_host_needs():
    others = OtherFirewalls(run_blocking, lambda: [FRONT, INTERNAL, LAN], enabled=False)
    lines = others.warnings()
    assert all(line.startswith('firewall = "none": ') for line in lines)
    assert any("saddr 10.1.0.0/24" in line and "masquerade" in line for line in lines)
    assert f'firewall = "none": drop forwarding from and to {INTERNAL.bridge.bridge_name}' in lines
    assert 'firewall = "none": drop what comes to this host from br-inside, but for replies, ICMP, port 53 of the gateway' in lines
    assert len(lines) == 4


async def test_checks_never_overlap():
    """Two at once would each find our rule missing and put it in."""
    under_way, most = 0, 0

    async def check():
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    watch = FirewallWatch([check], enabled=True)
    await asyncio.gather(*(watch.check() for _ in range(3)))
    assert most == 1
