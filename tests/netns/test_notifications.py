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
    assert lab.out(sys.executable, "-c", _SCRIPT).splitlines() == [
        "before False False False",
        "table True False False",
        "drained False",
        "link False True False",
        "address False True",
    ]
