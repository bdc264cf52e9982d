"""Overlay networks over three hosts: traffic, names, addresses, and what happens when a host or the store is gone."""

import json
import signal
import sys
import time

import pytest

from tests.support.etcd import why_no_etcd
from tests.support.hosts import ETCD6
from tests.support.hosts import hosts as make_hosts

pytestmark = pytest.mark.skipif(bool(why_no_etcd()), reason=why_no_etcd())


@pytest.fixture(scope="module")
def lab():
    """There are several."""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    with make_hosts(3, tmp_path_factory.mktemp("etcd")) as made:
        yield made


@pytest.fixture
def network(hosts):
    first = hosts.labs[0]
    first.berth("network", "create", "-d", "overlay", "--ipv6", "--subnet", "10.40.0.0/24", "--subnet", "fd40::/64", "far")
    yield "far"
    for lab in hosts.labs:
        for item in json.loads(lab.berth("ps", "--format", "json").stdout):
            lab.berth("rm", item["name"], check=False)
    first.wait_for(lambda: first.berth("network", "rm", "far", check=False).returncode == 0)


def sleeper(lab, name, *options, network="far"):
    lab.berth("run", "-d", "--name", name, "--network", network, *options, "--", "sleep", "300")


def finds(lab, sandbox, name):
    return lab.berth("exec", sandbox, "getent", "hosts", name, check=False).returncode == 0


def pings(lab, sandbox, name, *options):
    return lab.berth("exec", sandbox, "ping", "-c1", "-W1", *options, name, check=False).returncode == 0


def test_sandboxes_of_three_hosts_find_and_reach_each_other(hosts, network):
    for number, lab in enumerate(hosts.labs):
        lab.wait_for(lambda lab=lab: "far" in lab.berth("network", "ls").stdout)
        sleeper(lab, f"s{number}", "--network-alias", f"alias{number}")
    for number, lab in enumerate(hosts.labs):
        for other in range(3):
            lab.wait_for(lambda lab=lab, number=number, other=other: finds(lab, f"s{number}", f"alias{other}"))
            # The first packet arrives: nobody has to be asked who is where.
            assert pings(lab, f"s{number}", f"s{other}", "-4")
            assert pings(lab, f"s{number}", f"s{other}", "-6")
    addresses = [lab.inspect(f"s{number}")["addresses"] for number, lab in enumerate(hosts.labs)]
    assert len({item for pair in addresses for item in pair}) == 6
    first = hosts.labs[0]
    assert first.in_sandbox("s0", "dig", "+short", "-x", addresses[2][0]) == "s2.far."
    members = json.loads(first.berth("network", "inspect", "far").stdout)[0]
    assert (members["scope"], members["driver"], sorted(item["sandbox"] for item in members["members"])) == (
        "global",
        "overlay",
        ["s0", "s1", "s2"],
    )
    # Nothing is flooded and nothing learned.
    vxlan = first.shell("ip -d link show type vxlan")
    assert "nolearning" in vxlan
    assert "neigh_suppress on" in vxlan
    nodes = json.loads(first.berth("node", "ls", "--format", "json").stdout)
    assert sorted(item["address"] for item in nodes) == [hosts.address(number) for number in range(3)]
    assert [item["endpoints"] for item in nodes] == [1, 1, 1]


def test_events_of_other_hosts(hosts, network):
    one, two = hosts.labs[:2]
    listener = two.start("sh", "-c", f"exec {sys.executable} -m resolver events > /run/events 2>&1")
    two.wait_for(lambda: "far" in two.berth("network", "ls").stdout)
    two.shell("sleep 0.3")
    sleeper(one, "a")
    one.berth("rm", "a")
    two.wait_for(lambda: "endpoint disconnect a network=far node=" in two.shell("cat /run/events"))
    assert "endpoint connect a network=far node=" in two.shell("cat /run/events")
    listener.kill()


def test_service_of_several_hosts(hosts, network):
    one, two, three = hosts.labs
    for lab, name in ((one, "a"), (two, "b")):
        lab.wait_for(lambda lab=lab: "far" in lab.berth("network", "ls").stdout)
        sleeper(lab, name, "--service", "shop", "--expose", "80", "-p", "8053:53/udp")
    three.wait_for(lambda: "far" in three.berth("network", "ls").stdout)
    sleeper(three, "c")
    addresses = {lab.inspect(name)["addresses"][0] for lab, name in ((one, "a"), (two, "b"))}
    for name in ("shop", "tasks.shop", "shop.far"):
        three.wait_for(lambda name=name: set(three.in_sandbox("c", "dig", "+short", name).split()) == addresses)
    told = three.in_sandbox("c", "dig", "+short", "SRV", "_80._tcp.shop").splitlines()
    assert sorted(told) == ["0 0 80 a.far.", "0 0 80 b.far."]
    assert three.in_sandbox("c", "dig", "+short", "SRV", "_53._udp.a.far") == "0 0 53 a.far."
    # Every one is first now and then.
    firsts = {three.in_sandbox("c", "dig", "+short", "shop").split()[0] for _ in range(8)}
    assert firsts == addresses
    two.berth("rm", "b")
    three.wait_for(lambda: three.in_sandbox("c", "dig", "+short", "SRV", "_80._tcp.shop") == "0 0 80 a.far.")
    assert three.in_sandbox("c", "dig", "+short", "tasks.shop") == one.inspect("a")["addresses"][0]


def test_mtu_leaves_room_and_large_packets_pass(hosts, network):
    one, two = hosts.labs[:2]
    sleeper(one, "a")
    sleeper(two, "b")
    one.wait_for(lambda: finds(one, "a", "b"))
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
    one.wait_for(lambda: one.run("curl", "-sf", "-m", "1", f"http://{hosts.address(1)}:8080/", check=False).returncode == 0)


def test_late_joiner_and_name_that_goes(hosts, network):
    one, two, three = hosts.labs
    sleeper(one, "a")
    sleeper(two, "b")
    three.stop_daemon()
    hosts.start_daemon(2)
    three.wait_for(lambda: "far" in three.berth("network", "ls").stdout)
    sleeper(three, "c")
    assert pings(three, "c", "a")
    assert pings(three, "c", "b")
    one.berth("rm", "a")
    three.wait_for(lambda: not finds(three, "c", "a"))
    two.berth("rename", "b", "bee")
    three.wait_for(lambda: finds(three, "c", "bee") and not finds(three, "c", "b"))


def test_kernel_is_as_before_when_the_last_endpoint_leaves(hosts, network):
    one, two = hosts.labs[:2]
    sleeper(two, "b")
    before = one.kernel_state()
    sleeper(one, "a")
    one.wait_for(lambda: finds(one, "a", "b"))
    one.berth("rm", "a")
    assert one.kernel_state() == before


def test_vxlan_from_a_sandbox_is_dropped(hosts, network):
    one, two = hosts.labs[:2]
    sleeper(one, "a")
    sleeper(two, "b")
    one.wait_for(lambda: finds(one, "a", "b"))
    for address in (hosts.address(0), hosts.address(1), "10.40.0.1"):
        script = f"import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(bytes([8,0,0,0,0,16,0,0])+bytes(60), ('{address}', 4789))"
        one.in_sandbox("a", "python3", "-c", script)
    counted = (
        one.shell("ip -s link show vx-4096 | awk '/RX:/{getline; print $2}'"),
        two.shell("ip -s link show vx-4096 | awk '/RX:/{getline; print $2}'"),
    )
    one.in_sandbox(
        "a",
        "python3",
        "-c",
        "import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); [s.sendto(b'x', (h, 4789)) for h in ('10.99.0.1','10.99.0.2')]",
    )
    time.sleep(0.3)
    assert counted == (
        one.shell("ip -s link show vx-4096 | awk '/RX:/{getline; print $2}'"),
        two.shell("ip -s link show vx-4096 | awk '/RX:/{getline; print $2}'"),
    )


def test_two_hosts_want_the_same(hosts, network):
    one, two = hosts.labs[:2]
    two.wait_for(lambda: "far" in two.berth("network", "ls").stdout)
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
        assert process.wait(30) == 0, process.stdout.read()
    addresses = [
        item for lab in (one, two) for sandbox in json.loads(lab.berth("ps", "--format", "json").stdout) for item in sandbox["addresses"]
    ]
    assert len(addresses) == len(set(addresses)) == 26


def test_host_that_dies_leaves_the_answers_and_its_addresses_stay(hosts, network):
    one, two, three = hosts.labs
    sleeper(one, "a")
    sleeper(three, "c")
    one.wait_for(lambda: finds(one, "a", "c"))
    address = three.inspect("c")["addresses"][0]
    three.stop_daemon(signal.SIGKILL)
    hosts.cut(2)
    one.wait_for(lambda: not finds(one, "a", "c"), timeout=8)
    # It may be cut off only, and use them still.
    two.wait_for(lambda: "far" in two.berth("network", "ls").stdout)
    assert "address already in use" in two.berth("run", "--network", "far", "--ip", address, "--", "true", check=False).stderr
    hosts.restore(2)
    hosts.start_daemon(2)
    one.wait_for(lambda: finds(one, "a", "c") and pings(one, "a", "c"), timeout=10)


def test_cut_off_host_goes_on_and_comes_back(hosts, network):
    one, two = hosts.labs[:2]
    sleeper(one, "a")
    sleeper(one, "near")
    sleeper(two, "b")
    one.wait_for(lambda: finds(one, "a", "b"))
    hosts.cut(0)
    one.wait_for(lambda: "cluster is not reachable" in one.log(), timeout=15)
    # Fail static: what was known answers, what is near is reached, what needs all is refused at once, the rest goes on.
    assert finds(one, "a", "b")
    assert pings(one, "a", "near")
    begin = time.monotonic()
    done = one.berth("run", "--network", "far", "--", "true", check=False)
    assert time.monotonic() - begin < 1.5
    assert "the cluster is not available" in done.stderr
    one.berth("network", "create", "here")
    assert one.berth("run", "--network", "here", "--", "true").returncode == 0
    one.berth("network", "rm", "here")
    one.berth("rm", "near")
    two.wait_for(lambda: not finds(two, "b", "a"), timeout=8)
    hosts.restore(0)
    two.wait_for(lambda: finds(two, "b", "a"), timeout=15)
    assert not finds(two, "b", "near")
    assert pings(two, "b", "a")
    one.wait_for(lambda: one.berth("run", "--network", "far", "--", "true", check=False).returncode == 0, timeout=10)


def test_store_that_restarts_loses_nothing(hosts, network):
    one, two = hosts.labs[:2]
    sleeper(one, "a")
    sleeper(two, "b")
    hosts.members[0].kill()
    one.wait_for(lambda: one.log().rfind("cluster is not reachable") > one.log().rfind("cluster is reachable again"), timeout=15)
    one.berth("rm", "a")
    hosts.start_etcd()
    two.wait_for(lambda: not finds(two, "b", "a"), timeout=15)
    one.wait_for(lambda: one.berth("run", "--network", "far", "--", "true", check=False).returncode == 0, timeout=10)
    one.wait_for(lambda: finds(two, "b", "b"))


def test_slow_way_to_one_host_delays_and_loses_nothing(hosts, network):
    one, two, three = hosts.labs
    sleeper(one, "a")
    sleeper(two, "b")
    one.wait_for(lambda: finds(one, "a", "b"))
    # 4 KB a second to host 0: each notice takes its time, and answers come later than a call may take.
    hosts.slow(0, 32_000)
    try:
        for number in range(20):
            sleeper(two, f"n{number}")
        for number in range(0, 20, 2):
            two.berth("rm", f"n{number}")
        # Others are not kept waiting.
        three.wait_for(lambda: "n19" in three.berth("network", "inspect", "far").stdout)
        assert finds(one, "a", "b")
    finally:
        hosts.quicken(0)
    asked = " ".join(f"n{number}" for number in range(20))
    one.wait_for(lambda: len(one.in_sandbox("a", "sh", "-c", f"dig +short {asked}", timeout=40).split()) == 10, timeout=20)
    assert not finds(one, "a", "n2")
    assert pings(one, "a", "n19")
    one.wait_for(lambda: one.berth("run", "--network", "far", "--", "true", check=False).returncode == 0, timeout=10)


def test_daemon_that_is_killed_and_back(hosts, network):
    one, two = hosts.labs[:2]
    sleeper(one, "a")
    sleeper(two, "b")
    sleeper(two, "gone")
    one.wait_for(lambda: finds(one, "a", "b") and finds(one, "a", "gone"))
    fdb = "bridge fdb show | grep -c 'dst 10.99' || true"
    assert one.shell(fdb) == "2"
    neighbors = one.shell("ip neigh show nud permanent | grep -c ' dev br-' || true")
    one.stop_daemon(signal.SIGKILL)
    two.wait_for(lambda: not finds(two, "b", "a"), timeout=8)
    two.berth("rm", "gone")
    assert one.shell(fdb) == "2"
    hosts.start_daemon(0)
    two.wait_for(lambda: finds(two, "b", "a"), timeout=10)
    one.wait_for(lambda: finds(one, "a", "b"))
    # What went meanwhile is not remembered for ever: one of two, with an address of each family.
    one.wait_for(lambda: one.shell(fdb) == "1")
    assert int(neighbors) - int(one.shell("ip neigh show nud permanent | grep -c ' dev br-' || true")) == 2
    assert pings(one, "a", "b")
    assert pings(two, "b", "a")


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


def test_history_that_is_compacted_while_a_host_is_away(hosts, network):
    one, two = hosts.labs[:2]
    sleeper(one, "a")
    sleeper(two, "b")
    sleeper(two, "gone")
    one.wait_for(lambda: finds(one, "a", "b") and finds(one, "a", "gone"))
    hosts.cut(0)
    two.berth("rm", "gone")
    sleeper(two, "fresh")
    revision = hosts.post("kv/range", {"key": "AA=="})["header"]["revision"]
    hosts.post("kv/compaction", {"revision": revision, "physical": True})
    hosts.restore(0)
    one.wait_for(lambda: finds(one, "a", "fresh") and not finds(one, "a", "gone"), timeout=15)
    assert finds(one, "a", "b")
    assert pings(one, "a", "fresh")


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_daemon_that_is_killed_in_any_step_of_a_connect(hosts, network):
    one, two = hosts.labs[:2]
    two.wait_for(lambda: "far" in two.berth("network", "ls").stdout)
    sleeper(two, "b")
    before = one.kernel_state()
    for delay in range(0, 44, 4):
        body = json.dumps({"name": "a", "networks": [{"network": "far"}]})
        # Not `berth run`, which would start a daemon of its own.
        connecting = one.start("curl", "-s", "-d", body, "--unix-socket", "/run/berth/berth.sock", "http://berth/v1/sandboxes")
        time.sleep(0.01 + delay / 1000)
        one.stop_daemon(signal.SIGKILL)
        connecting.wait(10)
        hosts.start_daemon(0)
        one.berth("rm", "a", check=False)
        one.wait_for(lambda: json.loads(one.berth("ps", "--format", "json").stdout) == [])
        one.wait_for(lambda: one.kernel_state() == before)
        # Nobody else is kept from an address by what came of nothing.
        two.wait_for(lambda: [pool["in_use"] for pool in json.loads(two.berth("network", "inspect", "far").stdout)[0]["pools"]] == [2, 2])
        assert [item["sandbox"] for item in json.loads(two.berth("network", "inspect", "far").stdout)[0]["members"]] == ["b"]


def test_leader_of_three_members_dies(tmp_path):
    with make_hosts(2, tmp_path, members=3) as hosts:
        one, two = hosts.labs
        one.berth("network", "create", "-d", "overlay", "far")
        sleeper(one, "a")
        two.wait_for(lambda: "far" in two.berth("network", "ls").stdout)
        sleeper(two, "b")
        for round_ in range(2):
            leader = hosts.leader()
            hosts.members[leader].kill()
            assert finds(one, "a", "b")
            # Another leads within seconds: what was refused meanwhile was refused at once and goes then.
            two.wait_for(
                lambda name=f"c{round_}": (
                    two.berth("run", "-d", "--name", name, "--network", "far", "--", "sleep", "300", check=False).returncode == 0
                ),
                timeout=20,
            )
            one.wait_for(lambda name=f"c{round_}": finds(one, "a", name), timeout=15)
            assert pings(one, "a", f"c{round_}")
            hosts.start_etcd(leader)
            one.wait_for(lambda leader=leader: hosts.is_healthy(leader), 20)
        # Nobody was taken for dead: leases outlive a change of the leader.
        assert finds(one, "a", "b")
        assert finds(two, "b", "a")


def test_hosts_that_reach_each_other_by_ipv6(tmp_path):
    with make_hosts(2, tmp_path, "--store", f"etcd://{ETCD6}:2379") as hosts:
        one, two = hosts.labs
        assert "fd99::1" in one.berth("node", "ls").stdout
        one.berth("network", "create", "-d", "overlay", "--ipv6", "far")
        sleeper(one, "a")
        two.wait_for(lambda: "far" in two.berth("network", "ls").stdout)
        sleeper(two, "b")
        one.wait_for(lambda: finds(one, "a", "b"))
        # 1500 less 70, and packets of that size pass by both families.
        assert "mtu 1430" in one.in_sandbox("a", "ip", "link", "show", "eth0")
        assert pings(one, "a", "b", "-4", "-s", "1402", "-M", "do")
        assert pings(one, "a", "b", "-6", "-s", "1382", "-M", "do")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_thousand_endpoints_know_each_other(hosts, network):
    one = hosts.labs[0]
    one.berth("network", "create", "-d", "overlay", "--subnet", "10.44.0.0/16", "wide")
    script = "for i in $(seq 334); do berth run -d --name {0}$i --network wide -- sleep 300 > /dev/null || exit 1; done"
    for lab in hosts.labs[1:]:
        lab.wait_for(lambda lab=lab: "wide" in lab.berth("network", "ls").stdout)
    started = [lab.start("sh", "-c", script.format(name)) for lab, name in zip(hosts.labs, ("one", "two", "six"), strict=True)]
    for process in started:
        assert process.wait(200) == 0, process.stdout.read()
    one.wait_for(lambda: one.shell("bridge fdb show | grep -c 'dst 10.99' || true") == "668")
    asked = " ".join(f"{name}{number}" for name in ("one", "two", "six") for number in range(1, 335))
    one.wait_for(lambda: len(set(one.in_sandbox("one1", "sh", "-c", f"dig +short {asked}").split())) == 1002)
    assert pings(one, "one1", "six277")
    for lab in hosts.labs:
        lab.shell(
            "for n in $(berth ps --format json | python3 -c 'import json,sys; print(*[i[\"name\"] for i in json.load(sys.stdin)])'); do echo $n; done | xargs -n 20 -P 4 berth rm > /dev/null",
            timeout=60,
        )
    one.wait_for(lambda: one.berth("network", "rm", "wide", check=False).returncode == 0)
