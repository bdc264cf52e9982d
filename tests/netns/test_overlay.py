"""Overlay networks over several hosts: traffic, names, addresses; and hosts of several versions, members of etcd, families."""

import base64
import json
import sys

import pytest

from netcore.store.upgrade import SCHEMA_VERSION
from tests.support.etcd import why_no_etcd
from tests.support.hosts import ETCD6
from tests.support.hosts import hosts as make_hosts

pytestmark = [pytest.mark.skipif(bool(why_no_etcd()), reason=why_no_etcd()), pytest.mark.timeout(300)]

LIMIT = 100.0
"""Seconds to wait for anything that must come. Wide: the machine may be busy, and what comes is not waited for longer than it takes."""


def until(lab, condition):
    lab.wait_for(condition, LIMIT)


@pytest.fixture(scope="module")
def lab():
    """There are several."""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    # No host is taken for dead because the machine has stood still for some seconds; `test_overlay_outages` is about those that are.
    with make_hosts(3, tmp_path_factory.mktemp("etcd"), ttl=20) as made:
        yield made


@pytest.fixture
def network(hosts):
    first = hosts.labs[0]
    first.berth("network", "create", "-d", "overlay", "--ipv6", "--subnet", "10.40.0.0/24", "--subnet", "fd40::/64", "far")
    yield "far"
    for lab in hosts.labs:
        for sandbox in json.loads(lab.berth("ps", "--format", "json").stdout):
            lab.berth("rm", sandbox["name"], check=False)
    until(first, lambda: first.berth("network", "rm", "far", check=False).returncode == 0)


def knows(lab, network="far"):
    return network in [known["name"] for known in json.loads(lab.berth("network", "ls", "--format", "json").stdout)]


def is_cut_off(lab):
    """Return whether the daemon has noticed that etcd does not answer."""
    log = lab.out("cat", "/run/daemon.log")
    return log.rfind("cluster is not reachable") > log.rfind("cluster is reachable")


def sleeper(lab, name, *options, network="far"):
    until(lab, lambda: knows(lab, network))
    lab.berth("run", "-d", "--name", name, "--network", network, *options, "--", "sleep", "300")


def finds(lab, sandbox, name):
    return lab.berth("exec", sandbox, "getent", "hosts", name, check=False).returncode == 0


def pings(lab, sandbox, name, *options):
    return lab.berth("exec", sandbox, "ping", "-c1", "-W10", *options, name, check=False).returncode == 0


def members(lab, network):
    """The names of the sandboxes that a host knows on a network, its own and those of other hosts."""
    (shown,) = json.loads(lab.berth("network", "inspect", network).stdout)
    return {member["sandbox"] for member in shown["members"]}


def test_sandboxes_of_three_hosts_find_and_reach_each_other(hosts, network):
    for number, lab in enumerate(hosts.labs):
        sleeper(lab, f"s{number}", "--network-alias", f"alias{number}")
    for number, lab in enumerate(hosts.labs):
        for other in range(3):
            until(lab, lambda lab=lab, number=number, other=other: finds(lab, f"s{number}", f"alias{other}"))
            # The first packet arrives: nobody has to be asked who is where.
            assert pings(lab, f"s{number}", f"s{other}", "-4")
            assert pings(lab, f"s{number}", f"s{other}", "-6")
    addresses = [lab.inspect(f"s{number}")["addresses"] for number, lab in enumerate(hosts.labs)]
    assert len({address for pair in addresses for address in pair}) == 6
    first = hosts.labs[0]
    assert first.in_sandbox("s0", "dig", "+short", "-x", addresses[2][0]) == "s2.far."
    members = json.loads(first.berth("network", "inspect", "far").stdout)[0]
    assert (members["scope"], members["driver"], sorted(member["sandbox"] for member in members["members"])) == (
        "global",
        "overlay",
        ["s0", "s1", "s2"],
    )
    # Nothing is flooded and nothing learned.
    vxlan = first.shell("ip -d link show type vxlan")
    assert "nolearning" in vxlan
    assert "neigh_suppress on" in vxlan
    nodes = json.loads(first.berth("node", "ls", "--format", "json").stdout)
    assert sorted(node["address"] for node in nodes) == [hosts.address(number) for number in range(3)]
    assert [node["endpoints"] for node in nodes] == [1, 1, 1]


def test_events_of_other_hosts(hosts, network):
    one, two = hosts.labs[:2]
    two.follow_events()
    # A host hears of the endpoints on networks that it has.
    sleeper(two, "b")
    sleeper(one, "a")
    one.berth("rm", "a")
    until(two, lambda: "endpoint disconnect a network=far node=" in two.events())
    assert "endpoint connect a network=far node=" in two.events()


def test_service_of_several_hosts(hosts, network):
    one, two, three = hosts.labs
    for lab, name in ((one, "a"), (two, "b")):
        sleeper(lab, name, "--service", "shop", "--expose", "web=80", "-p", "8053:53/udp")
    sleeper(three, "c")
    addresses = {lab.inspect(name)["addresses"][0] for lab, name in ((one, "a"), (two, "b"))}
    for name in ("shop", "tasks.shop", "shop.far"):
        until(three, lambda name=name: set(three.in_sandbox("c", "dig", "+short", name).split()) == addresses)
    told = three.in_sandbox("c", "dig", "+short", "SRV", "_80._tcp.shop").splitlines()
    assert sorted(told) == ["0 1 80 a.far.", "0 1 80 b.far."]
    assert sorted(three.in_sandbox("c", "dig", "+short", "SRV", "_web._tcp.shop").splitlines()) == sorted(told)
    assert three.in_sandbox("c", "dig", "+short", "SRV", "_53._udp.a.far") == "0 1 53 a.far."
    # Every one is first now and then, by chance.
    firsts = set()

    def was_each_first() -> bool:
        firsts.update(three.in_sandbox("c", "dig", "+short", "shop").split()[:1])
        return firsts == addresses

    until(three, was_each_first)
    two.berth("rm", "b")
    until(three, lambda: three.in_sandbox("c", "dig", "+short", "SRV", "_80._tcp.shop") == "0 1 80 a.far.")
    assert three.in_sandbox("c", "dig", "+short", "tasks.shop") == one.inspect("a")["addresses"][0]


def test_mtu_leaves_room_and_large_packets_pass(hosts, network):
    one, two = hosts.labs[:2]
    sleeper(one, "a")
    sleeper(two, "b")
    until(one, lambda: finds(one, "a", "b"))
    assert "mtu 1450" in one.in_sandbox("a", "ip", "link", "show", "eth0")
    assert pings(one, "a", "b", "-4", "-M", "do", "-s", "1422")


def test_outside_by_the_own_host(hosts, network):
    one = hosts.labs[0]
    sleeper(one, "a")
    assert pings(one, "a", "10.9.0.1")
    done = one.berth("run", "--network", "far", "-p", "8077:80", "--", "true")
    assert done.returncode == 0


def test_published_port_is_reached_from_another_host(hosts, network):
    one, two = hosts.labs[:2]
    two.berth("run", "-d", "--name", "web", "--network", "far", "-p", "8080:80", "--", sys.executable, "-m", "http.server", "80")
    until(one, lambda: one.run("curl", "-sf", "-m", "1", f"http://{hosts.address(1)}:8080/", check=False).returncode == 0)


def test_late_joiner_and_name_that_goes(hosts, network):
    one, two, three = hosts.labs
    sleeper(one, "a")
    sleeper(two, "b")
    three.stop_daemon()
    hosts.start_daemon(2)
    sleeper(three, "c")
    until(three, lambda: finds(three, "c", "a") and finds(three, "c", "b"))
    assert pings(three, "c", "a")
    assert pings(three, "c", "b")
    one.berth("rm", "a")
    until(three, lambda: not finds(three, "c", "a"))
    two.berth("rename", "b", "bee")
    until(three, lambda: finds(three, "c", "bee") and not finds(three, "c", "b"))


def test_kernel_is_as_before_when_the_last_endpoint_leaves(hosts, network):
    one, two = hosts.labs[:2]
    sleeper(two, "b")
    before = one.kernel_state()
    sleeper(one, "a")
    until(one, lambda: finds(one, "a", "b"))
    one.berth("rm", "a")
    assert one.kernel_state() == before


def test_vxlan_from_a_sandbox_is_dropped(hosts, network):
    one, two = hosts.labs[:2]
    sleeper(one, "a")
    sleeper(two, "b")
    until(one, lambda: finds(one, "a", "b"))
    targets = (hosts.address(0), hosts.address(1))
    received = "ip -s link show vx-4096 | awk '/RX:/{getline; print $2}'"
    counted = [lab.shell(received) for lab in (one, two)]
    for address in (*targets, "10.40.0.1"):
        for octets in ("bytes([8,0,0,0,0,16,0,0])+bytes(60)", "b'x'"):
            script = f"import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto({octets}, ('{address}', 4789))"
            one.in_sandbox("a", "python3", "-c", script)
    # What is sent behind them by the same way has arrived, so they would have.
    for address in targets:
        assert pings(one, "a", address)
    assert counted == [lab.shell(received) for lab in (one, two)]


def test_two_hosts_want_the_same(hosts, network):
    one, two = hosts.labs[:2]
    until(two, lambda: knows(two))
    sleeper(one, "a", "--ip", "10.40.0.77")
    done = two.berth("run", "--network", "far", "--ip", "10.40.0.77", "--", "true", check=False)
    assert "address already in use on network far" in done.stderr
    assert "network far already exists" in two.berth("network", "create", "-d", "overlay", "far", check=False).stderr
    refused = two.berth("network", "rm", "far", check=False)
    assert 'has active endpoints (name:"a" on' in refused.stderr
    # Many connects at once on both: no address twice.
    started = [
        lab.start("sh", "-c", f"for i in 1 2 3 4 5 6; do berth run -d --name {name}$i --network far -- sleep 300; done")
        for lab, name in ((one, "x"), (two, "y"))
    ]
    for process in started:
        assert process.wait(LIMIT) == 0, process.stdout.read()
    addresses = [
        address
        for lab in (one, two)
        for sandbox in json.loads(lab.berth("ps", "--format", "json").stdout)
        for address in sandbox["addresses"]
    ]
    assert len(addresses) == len(set(addresses)) == 26


def test_refusals(hosts, network):
    one = hosts.labs[0]
    before = one.kernel_state()
    for options, reason in (
        (("-o", "encrypted", "-o", "vxlan_port=4789"), "is the port of network far, which is not encrypted"),
        (("-o", "vxlan_port=80"), "must be 1024 to 49151"),
        (("-o", "vni=4096"), "in use by another overlay network"),
        (("--subnet", "10.40.0.0/25"), "Pool overlaps"),
    ):
        done = one.berth("network", "create", "-d", "overlay", *options, "other", check=False)
        assert reason in done.stderr, (options, done.stderr)
    assert one.kernel_state() == before
    done = one.berth("network", "create", "-d", "overlay", "-o", "encrypted", "secret", check=False)
    if done.returncode:
        # This kernel has no ESP: found out before anything was made, on any host.
        assert "kernel module esp4 is not available: traffic can't be encrypted" in done.stderr
        assert "secret" not in one.berth("network", "ls").stdout
        assert one.kernel_state() == before
    else:
        one.berth("network", "rm", "secret")


@pytest.mark.slow
def test_leader_of_three_members_dies(tmp_path):
    with make_hosts(2, tmp_path, members=3) as hosts:
        one, two = hosts.labs
        one.berth("network", "create", "-d", "overlay", "far")
        sleeper(one, "a")
        until(two, lambda: knows(two))
        sleeper(two, "b")
        for round_ in range(2):
            leader = hosts.leader()
            hosts.members[leader].kill()
            assert finds(one, "a", "b")
            # Another leads within seconds: what was refused meanwhile was refused at once and goes then.
            until(
                two,
                lambda name=f"c{round_}": (
                    two.berth("run", "-d", "--name", name, "--network", "far", "--", "sleep", "300", check=False).returncode == 0
                ),
            )
            until(one, lambda name=f"c{round_}": finds(one, "a", name))
            assert pings(one, "a", f"c{round_}")
            hosts.start_etcd(leader)
            until(one, lambda leader=leader: hosts.is_healthy(leader))
        # Nobody was taken for dead: leases outlive a change of the leader.
        assert finds(one, "a", "b")
        assert finds(two, "b", "a")


@pytest.mark.slow
def test_hosts_of_an_older_version_than_one_that_joins(tmp_path):
    reason = f"schema version 99, written by a newer berth; this berth reads up to version {SCHEMA_VERSION}"
    with make_hosts(2, tmp_path) as hosts:
        one, two = hosts.labs
        one.berth("network", "create", "-d", "overlay", "far")
        sleeper(one, "a")
        sleeper(two, "b")
        until(one, lambda: finds(one, "a", "b"))
        # What a newer berth does first.
        key, value = (base64.b64encode(text).decode() for text in (b"berth/schema", b"99"))
        hosts.post("kv/put", {"key": key, "value": value})
        until(one, lambda: one.has_logged("cluster is not followed any more"))
        assert one.has_logged(reason)
        assert reason in one.berth("network", "create", "-d", "overlay", "other", check=False).stderr
        assert reason in one.berth("run", "--network", "far", "--", "true", check=False).stderr
        # All goes on as it was.
        assert finds(one, "a", "b")
        assert pings(one, "a", "b")
        # Nor does it join after a restart; its own networks are unaffected.
        two.stop_daemon()
        hosts.start_daemon(1)
        refused = two.berth("network", "create", "-d", "overlay", "other", check=False)
        assert refused.returncode == 1
        assert f"{reason}: upgrade it; local networks are unaffected" in refused.stderr
        two.berth("network", "create", "here")
        two.berth("run", "--network", "here", "--", "true")
        # Both go on by themselves once the key is right again.
        hosts.post("kv/put", {"key": key, "value": base64.b64encode(str(SCHEMA_VERSION).encode()).decode()})
        for lab in hosts.labs:
            until(lab, lambda lab=lab: lab.has_logged("cluster is followed again"))
        sleeper(two, "late")
        until(one, lambda: finds(one, "a", "late"))


@pytest.mark.slow
def test_hosts_that_reach_each_other_by_ipv6(tmp_path):
    with make_hosts(2, tmp_path, "--store", f"etcd://{ETCD6}:2379") as hosts:
        one, two = hosts.labs
        assert "fd99::1" in one.berth("node", "ls").stdout
        one.berth("network", "create", "-d", "overlay", "--ipv6", "far")
        sleeper(one, "a")
        until(two, lambda: knows(two))
        sleeper(two, "b")
        until(one, lambda: finds(one, "a", "b"))
        # 1500 less 70, and packets of that size pass by both families.
        assert "mtu 1430" in one.in_sandbox("a", "ip", "link", "show", "eth0")
        assert pings(one, "a", "b", "-4", "-s", "1402", "-M", "do")
        assert pings(one, "a", "b", "-6", "-s", "1382", "-M", "do")
