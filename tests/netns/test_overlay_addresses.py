"""Addresses of overlay networks belong to one endpoint, whatever is restarted, cut off or deleted."""

import json
import signal
import sys

import pytest

from tests.support.etcd import why_no_etcd
from tests.support.hosts import hosts as make_hosts

pytestmark = [pytest.mark.skipif(bool(why_no_etcd()), reason=why_no_etcd()), pytest.mark.timeout(300)]

LIMIT = 100.0
"""Seconds to wait for anything that must come, see test_overlay."""
GRACE = 16
DAMAGE = """
import sqlite3, sys
with sqlite3.connect("/var/lib/berth/berth.db") as database:
    for key in sys.argv[1:]:
        assert database.execute("UPDATE item SET value = '{' WHERE key = ?", (key,)).rowcount == 1
"""


@pytest.fixture(scope="module")
def lab():
    """There are several."""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    with make_hosts(2, tmp_path_factory.mktemp("etcd"), grace=GRACE) as made:
        made.labs[0].berth("network", "create", "-d", "overlay", "--ipv6", "--subnet", "10.40.0.0/24", "--subnet", "fd40::/64", "far")
        yield made


@pytest.fixture(autouse=True)
def empty(hosts):
    yield
    for lab in hosts.labs:
        for sandbox in json.loads(lab.berth("ps", "--format", "json").stdout):
            lab.berth("rm", sandbox["name"], check=False)


def until(lab, condition):
    lab.wait_for(condition, LIMIT)


def held(hosts):
    """Address → (node, lease) of all that etcd has."""
    return {key.rpartition("/")[2]: record for key, record in hosts.stored("berth/address/").items()}


def seconds_left(hosts, lease):
    return int(hosts.post("lease/timetolive", {"ID": lease}).get("TTL", "-1"))


def start(lab, name, *options):
    lab.berth("run", "-d", "--name", name, "--network", "far", *options, "--", "sleep", "300")
    return lab.inspect(name)["addresses"]


def is_running_low(hosts, lease):
    """Less is left than a daemon leaves that renews it every third of its time."""
    return 0 < seconds_left(hosts, lease) < GRACE / 2


@pytest.mark.slow
def test_addresses_are_held_after_a_restart_without_a_connect(hosts):
    one, two = hosts.labs
    addresses = start(one, "a")
    one.stop_daemon(signal.SIGKILL)
    _, lease = held(hosts)[addresses[0]]
    until(two, lambda: is_running_low(hosts, lease))
    hosts.start_daemon(0)
    # Renewed, and renewed again: nobody connects meanwhile.
    for _ in range(2):
        until(two, lambda: seconds_left(hosts, lease) >= GRACE - 1)
        until(two, lambda: seconds_left(hosts, lease) < GRACE - 1)
    assert {*addresses} <= {*held(hosts)}
    until(two, lambda: "far" in two.berth("network", "ls").stdout)
    assert "already in use" in two.berth("run", "--network", "far", "--ip", addresses[0], "--", "true", check=False).stderr
    assert two.berth("run", "--network", "far", "--", "true").returncode == 0


@pytest.mark.slow
def test_cut_longer_than_the_grace(hosts):
    one, two = hosts.labs
    lost, kept = start(one, "lost"), start(one, "kept")
    until(two, lambda: "far" in two.berth("network", "ls").stdout)
    start(two, "other")
    hosts.cut(0)
    until(two, lambda: {*held(hosts)}.isdisjoint(lost))
    # Another host gets the address, of one family only.
    assert start(two, "new", "--ip", lost[0])[0] == lost[0]
    one.follow_events()
    hosts.restore(0)
    until(one, lambda: not one.inspect("lost")["addresses"])
    reason = f"host {two.out('uname', '-n')} took the address {lost[0]} while this host was cut off from etcd"
    until(one, lambda: one.has_logged(f"network=far reason={reason}"))
    until(one, lambda: f"sandbox lost was disconnected from network far: {reason}" in one.berth("status").stdout)
    until(one, lambda: "endpoint disconnect lost network=far" in one.events())
    # The holder is reached from this host by its name and address; what had no conflict is said again.
    until(one, lambda: one.berth("exec", "kept", "ping", "-c1", "-W10", lost[0], check=False).returncode == 0)
    until(two, lambda: two.berth("exec", "new", "ping", "-c1", "-W10", "-4", "kept", check=False).returncode == 0)
    until(two, lambda: {*kept, lost[0]} <= {*held(hosts)})
    assert held(hosts)[lost[0]][0] != held(hosts)[kept[0]][0]
    # Connected again, it has another address, and the warning is gone.
    one.berth("network", "connect", "far", "lost")
    assert lost[0] not in one.inspect("lost")["addresses"]
    assert "was disconnected" not in one.berth("status").stdout
    all_addresses = [
        address
        for lab in hosts.labs
        for sandbox in json.loads(lab.berth("ps", "--format", "json").stdout)
        for address in sandbox["addresses"]
    ]
    assert len(all_addresses) == len({*all_addresses}) == 8


def restart_damaged(hosts, *keys):
    """Kill the daemon of the first host, damage records, start it, and wait until it has compared everything with etcd."""
    one = hosts.labs[0]
    one.stop_daemon(signal.SIGKILL)
    one.run(sys.executable, "-c", DAMAGE, *keys)
    hosts.start_daemon(0)
    until(one, lambda: one.berth("run", "--network", "far", "--", "true", check=False).returncode == 0)


def is_refused(hosts, address):
    two = hosts.labs[1]
    until(two, lambda: "far" in two.berth("network", "ls").stdout)
    return "already in use" in two.berth("run", "--network", "far", "--ip", address, "--", "true", check=False).stderr


@pytest.mark.slow
def test_addresses_of_sandboxes_that_are_set_aside_are_held_until_they_are_removed(hosts):
    one = hosts.labs[0]
    addresses = {name: start(one, name) for name in ("record", "endpoints")}
    ids = {name: one.inspect(name)["id"] for name in addresses}
    restart_damaged(hosts, f"sandbox/{ids['record']}", f"endpoints/{ids['endpoints']}")
    for address in addresses.values():
        assert {*address} <= {*held(hosts)}
        assert is_refused(hosts, address[0])
    one.berth("rm", ids["record"][:12])
    until(one, lambda: {*held(hosts)}.isdisjoint(addresses["record"]))
    assert {*addresses["endpoints"]} <= {*held(hosts)}
    one.berth("rm", "endpoints")
    until(one, lambda: {*held(hosts)}.isdisjoint(addresses["endpoints"]))


@pytest.mark.slow
def test_addresses_on_a_network_that_is_set_aside_are_held_until_it_is_back(hosts):
    one, two = hosts.labs
    start(two, "other")
    addresses = start(one, "a")
    (link,) = json.loads(one.shell("ip -j link show type vxlan"))
    tunnel = link["ifname"]
    one.stop_daemon(signal.SIGKILL)
    one.shell(f"ip link del {tunnel}; ip link add {tunnel} type bridge")
    hosts.start_daemon(0)
    until(one, lambda: "network far is set aside" in one.berth("status").stdout)
    for _ in range(2):
        until(two, lambda: seconds_left(hosts, held(hosts)[addresses[0]][1]) >= GRACE - 1)
        until(two, lambda: seconds_left(hosts, held(hosts)[addresses[0]][1]) < GRACE - 1)
    assert {*addresses} <= {*held(hosts)}
    assert is_refused(hosts, addresses[0])
    one.shell(f"ip link del {tunnel}")
    until(one, lambda: "set aside" not in one.berth("status").stdout)
    assert one.inspect("a")["addresses"] == addresses
    until(one, lambda: one.berth("exec", "a", "ping", "-c1", "-W10", "other", check=False).returncode == 0)
    until(two, lambda: two.berth("exec", "other", "ping", "-c1", "-W10", "a", check=False).returncode == 0)


@pytest.mark.slow
def test_a_network_whose_record_can_not_be_read_comes_back_from_etcd(hosts):
    one, two = hosts.labs
    start(two, "other")
    addresses = start(one, "a")
    network = json.loads(one.berth("network", "inspect", "far").stdout)[0]["id"]
    one.stop_daemon(signal.SIGKILL)
    one.run(sys.executable, "-c", DAMAGE, f"network/{network}")
    hosts.start_daemon(0)
    until(one, lambda: "set aside" not in one.berth("status").stdout)
    assert {*addresses} <= {*held(hosts)}
    assert one.inspect("a")["addresses"] == addresses
    until(two, lambda: two.berth("exec", "other", "ping", "-c1", "-W10", "a", check=False).returncode == 0)


def test_what_is_deleted_from_etcd_comes_back(hosts):
    one = hosts.labs[0]
    addresses = start(one, "a")
    assert {*addresses} <= {*held(hosts)}
    hosts.delete_stored("berth/")
    until(one, lambda: {*addresses} <= {*held(hosts)})
    until(hosts.labs[1], lambda: "far" in hosts.labs[1].berth("network", "ls").stdout)
    assert one.has_logged('is made known again" network=far')
