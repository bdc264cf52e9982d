"""Other programs' firewalls are seen to, and notifications are drained."""

import asyncio
import threading
from dataclasses import replace

import pytest

from netcore.desired.other_firewalls import Chain, DockerRule, FirewalldZone, Seen
from netcore.kernel import other_firewalls
from netcore.kernel.host_sockets import HostSockets
from netcore.kernel.notifications import NFTABLES, Notifications
from netcore.plan.known_networks import KnownNetworks
from resolver.daemon import other_firewalls as daemon_side
from resolver.daemon.other_firewalls import OtherFirewalls
from tests.support.networks import bridge_network, parent_network, pool


def test_monitor_is_drained_and_closed():
    monitor = Notifications(NFTABLES)
    assert monitor.fileno() > 0
    monitor.drain()
    monitor.close()
    assert monitor.fileno() == -1


FRONT, INTERNAL = bridge_network("front", pool("10.1.0.0/24")), bridge_network("inside", pool("10.2.0.0/24"), internal=True)
BACK = bridge_network("back", pool("10.4.0.0/24"))
LAN = parent_network("lan", "macvlan", pool("10.3.0.0/24"), given={"parent": "eth0"})
RULE, OTHER_RULE = DockerRule("iptables"), DockerRule("ip6tables")
DOCKER = Seen(docker_user=("iptables",))
DROPS = Chain(family="inet", table="mine", name="forward", hook=2, drops=True)


class Kernel:
    """Plays `netcore.kernel.other_firewalls` and `foreign_commits`."""

    def __init__(self, monkeypatch):
        self.seen, self.failed, self.calls = Seen(), [], []
        self.stays = frozenset()
        self.is_changed, self.is_silent, self.is_refused = False, False, False
        self.held = threading.Event()
        self.held.set()
        monkeypatch.setattr(other_firewalls, "look", self.look)
        monkeypatch.setattr(other_firewalls, "is_silent", lambda: self.is_silent)
        monkeypatch.setattr(other_firewalls, "put", lambda rules: (self.calls.append(("put", *rules)), self.failed)[1])
        monkeypatch.setattr(other_firewalls, "withdraw", self.withdraw)
        monkeypatch.setattr(daemon_side, "HostSockets", lambda: HostSockets(Socket))
        monkeypatch.setattr(daemon_side, "ForeignCommits", self.subscribe)
        Socket.opened, Socket.closed = 0, 0

    def look(self, host_sockets):
        with host_sockets.lent(0):
            self.calls.append(("look",))
        return self.seen

    def withdraw(self, rules):
        assert self.held.wait(10)
        self.calls.append(("withdraw", *rules))
        return self.stays

    def subscribe(self):
        if self.is_refused:
            raise PermissionError
        return self

    def came(self):
        """Once for each change, as the kernel tells."""
        changed, self.is_changed = self.is_changed, False
        return changed

    def close(self):
        self.calls.append(("unsubscribe",))

    def taken(self):
        calls, self.calls = self.calls, []
        return calls


class Socket:
    """Plays a netlink socket."""

    opened, closed = 0, 0
    is_broken = False

    def __init__(self, _):
        Socket.opened += 1

    def close(self):
        Socket.closed += 1


def firewalls(*networks):
    """Return what sees to firewalls, and what it knows of *networks*."""
    known = KnownNetworks(networks)
    return OtherFirewalls(asyncio.to_thread, lambda: networks, known.routed_links.values, enabled=True), known


async def test_rule_comes_with_the_first_network_and_goes_with_the_last(monkeypatch):
    kernel = Kernel(monkeypatch)
    others, known = firewalls(FRONT, INTERNAL, LAN)
    kernel.seen = DOCKER
    await others.check()
    assert kernel.taken() == [("look",), ("put", RULE)]
    known.drop(FRONT.id)
    await others.check()
    await others.close()
    # Nobody is asked where no bridge leads outside.
    assert kernel.taken() == [("withdraw", RULE), ("unsubscribe",)]
    await others.withdraw()
    assert kernel.taken() == []


async def test_networks_beside_others_cost_no_look_and_no_program(monkeypatch):
    kernel = Kernel(monkeypatch)
    others, known = firewalls(FRONT)
    kernel.seen = replace(DOCKER, in_place=frozenset({RULE}))
    await others.check()
    # It is there already.
    assert kernel.taken() == [("look",)]
    known.put(BACK)
    await others.check()
    known.drop(BACK.id)
    await others.check()
    assert kernel.taken() == []


async def test_a_bridge_that_comes_or_goes_is_all_that_firewalld_is_asked_about(monkeypatch):
    kernel = Kernel(monkeypatch)
    others, known = firewalls(FRONT)
    front, back = (FirewalldZone(network.bridge.bridge_name) for network in (FRONT, BACK))
    kernel.seen = Seen(firewalld=True)
    await others.check()
    for _ in range(2):
        known.put(BACK)
        await others.check()
        known.drop(BACK.id)
        await others.check()
    await others.close()
    assert kernel.taken() == [("look",), ("put", front), *[("put", back), ("withdraw", back)] * 2, ("unsubscribe",)]


async def test_changes_by_others_lead_to_a_look_and_to_what_is_missing(monkeypatch):
    kernel = Kernel(monkeypatch)
    others, _ = firewalls(FRONT)
    kernel.seen = replace(DOCKER, docker_user=("iptables", "ip6tables"), in_place=frozenset({RULE}))
    await others.check()
    assert kernel.taken() == [("look",), ("put", OTHER_RULE)]
    kernel.seen, kernel.is_changed = replace(kernel.seen, in_place=frozenset()), True
    await others.check()
    assert kernel.taken() == [("look",), ("put", RULE, OTHER_RULE)]
    # Docker is gone, with its chain.
    kernel.seen, kernel.is_changed = Seen(), True
    await others.check()
    await others.check()
    await others.close()
    assert kernel.taken() == [("look",), ("withdraw", *frozenset({RULE, OTHER_RULE})), ("unsubscribe",)]


@pytest.mark.parametrize("reason", ["is_silent", "is_refused"])
async def test_who_may_miss_a_change_looks_each_time(monkeypatch, reason):
    kernel = Kernel(monkeypatch)
    others, _ = firewalls(FRONT)
    setattr(kernel, reason, True)
    for _ in range(3):
        await others.check()
    assert kernel.taken() == [("look",)] * 3


async def test_now_and_then_everything_is_looked_at_anew(monkeypatch):
    kernel = Kernel(monkeypatch)
    others, _ = firewalls(FRONT)
    await others.check()
    await others.check(anew=True)
    await others.check()
    assert kernel.taken() == [("look",)] * 2


async def test_what_failed_is_looked_at_and_tried_again(monkeypatch):
    kernel = Kernel(monkeypatch)
    others, _ = firewalls(FRONT)
    kernel.seen, kernel.failed = DOCKER, ["iptables: no rule could be put into DOCKER-USER"]
    await others.check()
    await others.check()
    assert kernel.taken() == [("look",), ("put", RULE)] * 2
    assert others.warnings() == tuple(kernel.failed)
    kernel.failed = []
    for _ in range(2):
        await others.check()
    assert kernel.taken() == [("look",), ("put", RULE)]
    assert others.warnings() == ()


async def test_a_change_is_not_forgotten_if_the_look_is_broken_off(monkeypatch):
    kernel = Kernel(monkeypatch)
    others, _ = firewalls(FRONT)
    await others.check()
    kernel.is_changed = True
    monkeypatch.setattr(other_firewalls, "look", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await others.check()
    monkeypatch.setattr(other_firewalls, "look", kernel.look)
    await others.check()
    assert kernel.taken() == [("look",), ("look",)]


async def test_the_last_network_does_not_wait_until_the_rule_is_gone_but_the_next_one_does(monkeypatch):
    kernel = Kernel(monkeypatch)
    others, known = firewalls(FRONT)
    kernel.seen = DOCKER
    await others.check()
    kernel.held.clear()
    known.drop(FRONT.id)
    await others.check()
    known.put(FRONT)
    # Taking away is a change by another program.
    kernel.is_changed = True
    again = asyncio.create_task(others.check())
    await asyncio.sleep(0.01)
    assert kernel.taken() == [("look",), ("put", RULE)]
    kernel.held.set()
    await again
    assert kernel.taken() == [("withdraw", RULE), ("look",), ("put", RULE)]


async def test_who_needs_nothing_of_what_is_taken_away_does_not_wait_for_it(monkeypatch):
    kernel = Kernel(monkeypatch)
    others, known = firewalls(FRONT)
    front, back = (FirewalldZone(network.bridge.bridge_name) for network in (FRONT, BACK))
    kernel.seen = Seen(firewalld=True)
    known.put(BACK)
    await others.check()
    kernel.held.clear()
    for network in (FRONT, BACK):
        known.drop(network.id)
        # The network's own check may come behind one of a change that somebody saw.
        for _ in range(2):
            await others.check()
    kernel.held.set()
    await others.close()
    assert kernel.taken() == [("look",), ("put", front, back), ("withdraw", front), ("withdraw", back), ("unsubscribe",)]


async def test_what_could_not_be_taken_away_is_tried_again(monkeypatch, caplog):
    kernel = Kernel(monkeypatch)
    others, known = firewalls(FRONT)
    kernel.seen = DOCKER
    await others.check()
    kernel.stays = frozenset({RULE})
    known.drop(FRONT.id)
    await others.check()
    while len(caplog.records) < 1:
        await asyncio.sleep(0)
    kernel.stays = frozenset()
    await others.check()
    await others.close()
    assert kernel.taken() == [("look",), ("put", RULE), ("withdraw", RULE), ("withdraw", RULE), ("unsubscribe",)]


async def test_rule_is_withdrawn_at_an_idle_exit(monkeypatch):
    kernel = Kernel(monkeypatch)
    others, _ = firewalls(FRONT)
    kernel.seen = DOCKER
    await others.check()
    await others.withdraw()
    assert kernel.calls[-1] == ("withdraw", RULE)


async def test_looks_share_a_socket_because_closing_one_waits(monkeypatch):
    Kernel(monkeypatch)
    others, _ = firewalls(FRONT)
    for _ in range(3):
        await others.check(anew=True)
    assert (Socket.opened, Socket.closed) == (1, 0)
    await others.close()
    assert (Socket.opened, Socket.closed) == (1, 1)


async def test_what_only_its_owner_can_do_is_a_warning_that_is_logged_once(monkeypatch, caplog):
    kernel = Kernel(monkeypatch)
    others, _ = firewalls(FRONT)
    kernel.seen, kernel.failed = replace(DOCKER, chains=(DROPS,)), ["iptables: no rule could be put into DOCKER-USER"]
    assert others.warnings() == ()
    for _ in range(2):
        await others.check()
    failed, missing = others.warnings()
    assert failed == kernel.failed[0]
    assert missing.startswith("chain forward of table inet mine (policy drop) drops what berth forwards; add: nft insert rule")
    assert len(caplog.records) == 2


def test_with_firewall_none_the_warnings_say_what_the_host_needs():
    others = OtherFirewalls(asyncio.to_thread, lambda: [FRONT, INTERNAL, LAN], tuple, enabled=False)
    lines = others.warnings()
    assert all(line.startswith('firewall = "none": ') for line in lines)
    assert any("saddr 10.1.0.0/24" in line and "masquerade" in line for line in lines)
    assert f'firewall = "none": drop forwarding from and to {INTERNAL.bridge.bridge_name}' in lines
    assert 'firewall = "none": drop what comes to this host from br-inside, but for replies, ICMP, port 53 of the gateway' in lines
    assert len(lines) == 4
