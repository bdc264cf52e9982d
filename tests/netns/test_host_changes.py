"""Which notifications of the host outdate what is known of it: not those of our own links. And how often it is looked at."""

import json
import sys

import pytest

from tests.support.lab import Lab

_SCRIPT = """
import json, subprocess, sys
from netcore.kernel.host import look
from netcore.kernel.host_changes import EVERY_LINK, HostChanges

def go(text):
    subprocess.run(["sh", "-ec", text], check=True)

def look_again():
    changes.begin_look()
    changes.looked(look(), ())

go("ip link add lan0 type veth peer name lan1; ip link set lan0 up; ip link set lan1 up; ip addr add 192.0.2.1/24 dev lan0; sleep 0.5")
changes = HostChanges()
assert changes.is_outdated(()) and changes.descriptor is None
changes.start()
changes.start()
assert changes.is_outdated(())
look_again()
assert not changes.is_outdated(())
changes.changed_sysctls()
said, before = {}, set()
for name, ours, command in json.loads(sys.argv[1]):
    for link in before - {*ours}:
        changes.expect(link)
    before = {*ours}
    go(command)
    said[name] = changes.is_outdated(ours)
    assert changes.link_named("gone-1") is None, name
    if said[name]:
        look_again()
        assert not changes.is_outdated(ours), name
    said[name + " sysctls"] = sorted(changes.changed_sysctls())
links = {link.name: link.mtu for link in changes.snapshot.links.values()}
assert links == {link.name: link.mtu for link in look().links.values()}
assert links == {name: changes.link_named(name).mtu for name in links}
assert changes.link_named("br-a") is None
# More than fits: the kernel drops some, and only a look tells.
batch = "".join(f"route replace 11.{n >> 8}.{n & 255}.0/24 via 10.9.0.1\\n" for n in range(20000))
subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
said["lost"] = changes.is_outdated(())
said["lost sysctls"] = EVERY_LINK in changes.changed_sysctls()
changes.close()
print(json.dumps(said))
"""

_OURS = ["br-a"]
_STEPS = {
    # (name, own links, what happens): whether it means another look.
    ("bridge of ours", "ours", "ip link add br-a type bridge; ip addr add 10.5.0.1/24 dev br-a; ip addr add fd05::1/64 dev br-a; ip link set br-a up"): False,
    ("port of ours", "ours", "ip link add v0 type veth peer name v1; ip link set v1 up; ip link set v0 master br-a up; sleep 0.3"): False,
    ("link without addresses", "ours", "ip link add tap0 type veth peer name tap1; ip link set tap0 up; ip link set tap0 mtu 1400"): False,
    ("route over ours", "ours", "ip route add 10.6.0.0/16 via 10.5.0.9"): False,
    ("route", "ours", "ip route add 10.50.0.0/16 via 10.9.0.1"): True,
    ("route of another table", "ours", "ip route add default via 10.9.0.1 table 77"): True,
    ("blackhole", "ours", "ip route add blackhole 10.51.0.0/16"): True,
    ("IPv6 route", "ours", "ip -6 route add fd51::/48 via fd09::1"): True,
    ("rule", "ours", "ip rule add to 10.50.0.0/16 table 77"): True,
    ("IPv6 rule", "ours", "ip -6 rule add to fd51::/48 table 77"): True,
    ("address", "ours", "ip addr add 10.52.0.1/24 dev up0"): True,
    ("IPv6 address", "ours", "ip addr add fd52::1/64 dev up0 nodad; until ip -6 route show table local | grep -q fd52::1; do sleep 0.02; done"): True,
    ("link-local address", "ours", "ip addr add fe80::52/64 dev up0 nodad"): False,
    ("MTU", "ours", "ip link set up0 mtu 1400"): True,
    ("link down", "ours", "ip link set lan0 down"): True,
    ("link gone", "ours", "ip link set lan0 up; ip link del lan0"): True,
    ("port of ours gone", "ours", "ip link del v0"): False,
    # As a removal does: another network may have the name at once.
    ("bridge of ours taken down", "ours", "ip addr flush dev br-a; ip link set br-a down; ip link set br-a group 1650786561 name gone-1"): False,
    ("bridge that was taken down is not ours", "", ""): False,
    ("bridge of ours anew", "ours", "ip link add br-a type bridge; ip addr add 10.5.0.1/24 dev br-a; ip link set br-a up"): False,
    ("bridge that was taken down deleted", "ours", "ip link del group 1650786561; sleep 0.3"): False,
    ("no longer ours", "", ""): True,
    ("ours again", "ours", ""): False,
    ("bridge of ours gone", "", "ip link del br-a"): False,
}  # fmt: skip


@pytest.fixture(scope="module")
def said():
    with Lab() as lab:
        steps = [(name, _OURS if whose else [], command) for name, whose, command in _STEPS]
        yield json.loads(lab.out(sys.executable, "-c", _SCRIPT, json.dumps([*steps, *_SYSCTLS]), timeout=60))


_SYSCTLS = [
    ("forwarding", [], "echo 1 > /proc/sys/net/ipv4/conf/up0/forwarding"),
    ("IPv6 forwarding", [], "echo 1 > /proc/sys/net/ipv6/conf/up0/force_forwarding"),
    ("all", [], "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.ip_forward=0"),
    ("others", [], "sysctl -qw net.ipv4.conf.default.forwarding=1"),
]


@pytest.mark.parametrize(("name", "expected"), [(name, expected) for (name, _, _), expected in _STEPS.items()])
def test_only_news_of_the_host_itself_mean_another_look(said, name, expected):
    assert said[name] is expected


def test_changed_sysctls_are_told_by_link(said):
    assert said["forwarding sysctls"] == said["IPv6 forwarding sysctls"] == ["up0"]
    assert "" in said["all sysctls"]
    assert said["others sysctls"] == []
    assert not said["forwarding"]


def test_lost_notifications_mean_another_look(said):
    assert said["lost"]
    assert said["lost sysctls"]


_COUNT = """
import asyncio, json, subprocess, sys, time
from ipaddress import ip_network
from netcore.controller.assembly import assemble
from netcore.controller.recovery import recall, restore
from netcore.controller.settings import Settings
from netcore.kernel import host
from netcore.model import EndpointRequest, NetworkRequest, SandboxRequest
from tests.support.memory_store import MemoryStore
from netcore.store.records import Records
from tests.support.fakes import Failing, FakeNames

looks = []
look = host.look
host.look = lambda: looks.append(1) or look()

async def main():
    records = Records(MemoryStore(), "boot")
    settings = Settings(run_directory="/run/berth", pools6=((ip_network("fd00::/48"), 64),))
    controller = assemble(settings, records, FakeNames(Failing()), reserved=lambda: [], clock=time.time)
    await restore(controller, records, await recall(controller, records), time.time())
    events = []
    async def settled(): pass
    controller.follow_host(lambda action, name: events.append(name), settled)
    counts = {"start": len(looks)}
    looks.clear()
    for name in ("a", "b", "c"):
        await controller.networks.create(NetworkRequest(name=name, ipv6=True))
        await controller.sandboxes.create(SandboxRequest(name=name, networks=(EndpointRequest(network=name),)))
    for name in ("b", "c"):
        await controller.sandboxes.connect("a", EndpointRequest(network=name))
    for _ in range(3):
        # Gone again before anything of it has been read.
        await controller.networks.create(NetworkRequest(name="d", ipv6=True))
        await controller.networks.remove("d")
    # Whatever came of that has been read by the time that a real change is known.
    counts["operations"] = len(looks)
    subprocess.run(["ip", "route", "replace", "default", "via", "192.0.2.11", "dev", "lan0"], check=True)
    while not events:
        await asyncio.sleep(0.02)
    counts["operations and one change"] = len(looks)
    await controller.close()
    print(json.dumps(counts))

asyncio.run(main())
"""


def test_host_is_looked_at_once_for_each_change_and_not_for_operations():
    with Lab() as lab:
        lab.shell("ip link add lan0 type veth peer name lan1; ip link set lan0 up; ip link set lan1 up; ip addr add 192.0.2.1/24 dev lan0")
        counts = json.loads(lab.out(sys.executable, "-c", _COUNT, timeout=60).splitlines()[-1])
    assert counts == {"start": 1, "operations": 0, "operations and one change": 1}
