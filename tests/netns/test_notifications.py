"""The kernel's notifications: one descriptor that is readable once something has changed, and only then."""

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
firewall, links = Notifications(NFTABLES), Notifications(link, ipv4_address)
print(waits(firewall, 0), waits(links, 0))
subprocess.run(["nft", "add table inet mine"], check=True)
print(waits(firewall, 10), waits(links, 0))
firewall.drain()
print(waits(firewall, 0))
subprocess.run(["ip", "link", "add", "noticed0", "type", "veth", "peer", "name", "noticed1"], check=True)
print(waits(firewall, 0), waits(links, 10))
links.drain()
print(waits(links, 0))
subprocess.run(["ip", "addr", "add", "10.77.0.1/24", "dev", "noticed0"], check=True)
print(waits(links, 10))
links.close()
firewall.close()
"""


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        yield made


def test_descriptor_is_readable_after_a_change_of_what_was_subscribed(lab):
    assert lab.out(sys.executable, "-c", _SCRIPT).splitlines() == ["False False", "True False", "False", "False True", "False", "True"]
