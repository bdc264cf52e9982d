"""Other programs' firewalls are seen to, and notifications are drained."""

from netcore.desired.other_firewalls import DockerRule, Missing
from netcore.kernel import other_firewalls
from netcore.kernel.host_sockets import HostSockets
from netcore.kernel.notifications import NFTABLES, Notifications
from netcore.plan.known_networks import KnownNetworks
from resolver.daemon import other_firewalls as daemon_side
from resolver.daemon.other_firewalls import OtherFirewalls
from tests.support.networks import bridge_network, parent_network, pool


async def run_blocking(body):
    return body()


def test_monitor_is_drained_and_closed():
    monitor = Notifications(NFTABLES)
    assert monitor.fileno() > 0
    monitor.drain()
    monitor.close()
    assert monitor.fileno() == -1


FRONT, INTERNAL = bridge_network("front", pool("10.1.0.0/24")), bridge_network("inside", pool("10.2.0.0/24"), internal=True)
LAN = parent_network("lan", "macvlan", pool("10.3.0.0/24"), given={"parent": "eth0"})
RULE, MISSING = DockerRule("iptables"), Missing("chain forward", "nft insert rule x")


class Kernel:
    """Plays `netcore.kernel.other_firewalls`."""

    def __init__(self, monkeypatch):
        self.wanted, self.failed, self.calls = (), [], []
        monkeypatch.setattr(other_firewalls, "look", self.look)
        monkeypatch.setattr(other_firewalls, "apply", lambda wanted: (self.calls.append(("apply", wanted)), self.failed)[1])
        monkeypatch.setattr(other_firewalls, "withdraw", lambda gone: self.calls.append(("withdraw", gone)))
        monkeypatch.setattr(daemon_side, "HostSockets", lambda: HostSockets(Socket))
        Socket.opened, Socket.closed = 0, 0

    def look(self, bridges, host_sockets):
        with host_sockets.lent(0):
            self.calls.append(("look", bridges))
        return self.wanted


class Socket:
    """Plays a netlink socket."""

    opened, closed = 0, 0
    is_broken = False

    def __init__(self, _):
        Socket.opened += 1

    def close(self):
        Socket.closed += 1


async def test_rule_comes_with_the_first_network_and_goes_with_the_last(monkeypatch):
    kernel, networks = Kernel(monkeypatch), [FRONT, INTERNAL, LAN]
    known = KnownNetworks(networks)
    others = OtherFirewalls(run_blocking, lambda: networks, known.routed_links.values, enabled=True)
    kernel.wanted = (RULE,)
    await others.check()
    assert kernel.calls == [("look", (FRONT.bridge.bridge_name,)), ("apply", (RULE,))]
    kernel.calls.clear()
    known.drop(FRONT.id)
    await others.check()
    # Nobody is asked where no bridge leads outside.
    assert kernel.calls == [("apply", ()), ("withdraw", (RULE,))]
    kernel.calls.clear()
    await others.withdraw()
    assert kernel.calls == []


async def test_rule_is_withdrawn_at_an_idle_exit(monkeypatch):
    kernel = Kernel(monkeypatch)
    kernel.wanted = (RULE,)
    others = OtherFirewalls(run_blocking, lambda: [FRONT], KnownNetworks([FRONT]).routed_links.values, enabled=True)
    await others.check()
    await others.withdraw()
    assert kernel.calls[-1] == ("withdraw", (RULE,))


async def test_checks_share_a_socket_because_closing_one_waits(monkeypatch):
    Kernel(monkeypatch)
    others = OtherFirewalls(run_blocking, lambda: [FRONT], KnownNetworks([FRONT]).routed_links.values, enabled=True)
    for _ in range(3):
        await others.check()
    assert (Socket.opened, Socket.closed) == (1, 0)
    await others.withdraw()
    assert (Socket.opened, Socket.closed) == (1, 1)


async def test_what_only_its_owner_can_do_is_a_warning_that_is_logged_once(monkeypatch, caplog):
    kernel = Kernel(monkeypatch)
    kernel.wanted, kernel.failed = (MISSING, RULE), ["iptables: no rule could be put into DOCKER-USER"]
    others = OtherFirewalls(run_blocking, lambda: [FRONT], KnownNetworks([FRONT]).routed_links.values, enabled=True)
    assert others.warnings() == ()
    for _ in range(2):
        await others.check()
    assert others.warnings() == (kernel.failed[0], "chain forward drops what berth forwards; add: nft insert rule x")
    assert len(caplog.records) == 2


def test_with_firewall_none_the_warnings_say_what_the_host_needs():
    others = OtherFirewalls(run_blocking, lambda: [FRONT, INTERNAL, LAN], tuple, enabled=False)
    lines = others.warnings()
    assert all(line.startswith('firewall = "none": ') for line in lines)
    assert any("saddr 10.1.0.0/24" in line and "masquerade" in line for line in lines)
    assert f'firewall = "none": drop forwarding from and to {INTERNAL.bridge.bridge_name}' in lines
    assert 'firewall = "none": drop what comes to this host from br-inside, but for replies, ICMP, port 53 of the gateway' in lines
    assert len(lines) == 4
