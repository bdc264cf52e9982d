"""The kernel's notifications: one descriptor that is readable once something has changed, and only then."""

import json
import sys

import pytest

from tests.support.lab import Lab

_SCRIPT = """
import select, subprocess
from netcore.kernel.netlink import ROUTE
from netcore.kernel.notifications import NFTABLES, Group, Notifications

def waits(changes, patience):
    return bool(select.select([changes], [], [], patience)[0])

link, ipv4_address = Group(ROUTE, 1), Group(ROUTE, 5)
firewall, links, addresses = Notifications(NFTABLES), Notifications(ipv4_address, link), Notifications(ipv4_address)
print("before", waits(firewall, 0), waits(links, 0), waits(addresses, 0))
subprocess.run(["nft", "add table inet mine"], check=True)
print("table", waits(firewall, 10), waits(links, 0), waits(addresses, 0))
firewall.drain()
print("drained", waits(firewall, 0))
subprocess.run(["ip", "link", "add", "noticed0", "type", "veth", "peer", "name", "noticed1"], check=True)
print("link", waits(firewall, 0), waits(links, 10), waits(addresses, 0))
subprocess.run(["ip", "addr", "add", "10.77.0.1/24", "dev", "noticed0"], check=True)
print("address", waits(firewall, 0), waits(addresses, 10))
addresses.close()
links.close()
firewall.close()
"""


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        yield made


def test_descriptor_is_readable_after_a_change_of_what_was_subscribed(lab):
    # In a namespace without links, of which the kernel would have more to say after they are up.
    assert lab.out("unshare", "--net", sys.executable, "-c", _SCRIPT).splitlines() == [
        "before False False False",
        "table True False False",
        "drained False",
        "link False True False",
        "address False True",
    ]


_BURSTS = """
import json, struct, subprocess
from netcore.kernel import bursts
from netcore.kernel.all_namespaces import AllNamespaces
from netcore.kernel.netlink import message_type
from netcore.kernel.notifications import HOST, Notifications

def ip(*lines):
    subprocess.run(["ip", "-batch", "-"], input="\\n".join(lines), text=True, check=True)

def pause():
    pauses.append(1)

calls, pauses = [], []
receive = bursts._recvmmsg
bursts._recvmmsg = lambda *arguments: calls.append(1) or receive(*arguments)
host, everything, all_namespaces = Notifications.of_host(), Notifications(*HOST), AllNamespaces.links()
ip("link add br0 type bridge", "link add v0 type veth peer name v1", "link set v0 master br0", "link set v0 up", "link del v0")
def families(of):
    return sorted({message[16] for message in of.read() if message_type(message) in (16, 17)})
said = {"families": [families(host), families(everything)]}
all_namespaces.read(pause)
ip(*(f"addr add 10.9.{n}.1/32 dev br0" for n in range(100)))
calls.clear()
said["order"] = [message[30] for message in host.read() if message_type(message) == 20]
said["calls"] = len(calls)
subprocess.run(["sh", "-ec", "ip netns add box; ip netns set box 5; ip -n box link set lo up; ip link set br0 up"], check=True)
ip(*(f"addr add 10.10.{n}.1/32 dev br0" for n in range(100)))
said["namespaces"] = sorted({str(notice.nsid) for notice in all_namespaces.read(pause)})
said["pauses"] = len(pauses)
ip(*(f"route add 11.{n >> 8}.{n & 255}.0/24 dev br0" for n in range(20000)))
said["lost"] = [host.read(), all_namespaces.read(pause)]
said["again"] = [host.read(), all_namespaces.read(pause)]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def bursts():
    with Lab() as made:
        yield json.loads(made.out(sys.executable, "-c", _BURSTS, timeout=60))


def test_of_the_host_only_what_is_said_of_links_themselves_comes(bursts):
    # AF_BRIDGE is 7.
    assert bursts["families"] == [[0], [0, 7]]


def test_a_burst_comes_in_its_order_with_few_system_calls(bursts):
    assert bursts["order"] == [*range(100)]
    # A hundred addresses, and what follows of each; 32 at once.
    assert bursts["calls"] <= 200 // 32 + 2


def test_each_message_says_which_namespace_it_is_about(bursts):
    assert bursts["namespaces"] == ["5", "None"]


def test_there_are_pauses_in_a_long_burst(bursts):
    assert bursts["pauses"] >= 200 // 32


def test_lost_ones_are_told_once(bursts):
    assert bursts["lost"] == [None, None]
    assert bursts["again"] == [[], []]


_COMMITS = """
import subprocess
from netcore.kernel import nft
from netcore.kernel.foreign_commits import ForeignCommits

def by_nft(line):
    subprocess.run(["nft", line], check=True, capture_output=True)

by_nft("flush ruleset")
commits = ForeignCommits()
print("before", commits.came())
nft.apply_text("table inet ours { }")
print("ours", commits.came())
by_nft("add table inet mine")
print("another's", commits.came(), commits.came())
by_nft("list ruleset")
print("looked at", commits.came())
nft.apply_text("table inet ours { chain a { } }")
by_nft("delete table inet mine")
nft.apply_text("table inet ours { chain b { } }")
print("among ours", commits.came(), commits.came())
# More than what waits for a reader has room for.
with nft.opened() as netlink:
    for number in range(6000):
        nft.commit(netlink, nft.ruleset.requests(f"table inet ours {{ chain c{number} {{ }} }}"))
print("lost", commits.came(), commits.came())
by_nft("add table inet mine; add chain inet mine one; add chain inet mine two")
print("read", len(commits._commits.read()))
commits.close()
"""


def test_changes_of_nftables_by_others_are_known_at_once_and_ours_are_none(lab):
    assert lab.out(sys.executable, "-c", _COMMITS).splitlines() == [
        "before False",
        "ours False",
        "another's True False",
        "looked at False",
        "among ours True False",
        "lost True False",
        # Not what was changed.
        "read 1",
    ]
