"""macvlan in real namespaces; ipvlan, VLAN and dummy links where the kernel has them, and their refusal where not."""

import json

import pytest

from tests.support.lab import Lab


@pytest.fixture(scope="module")
def lab(lab):
    # A wire whose other end plays the physical network, with a router's address on it.
    lab.shell(
        "ip link add lan0 type veth peer name lan1 netns outside; ip link set lan0 up; ip -n outside link set lan1 up;"
        "ip -n outside addr add 10.50.0.254/24 dev lan1; ip -n outside -6 addr add fd50::fe/64 dev lan1 nodad"
    )
    return lab


@pytest.fixture
def network(lab):
    made = []

    def create(*options, driver="macvlan", name="lan", check=True):
        done = lab.berth("network", "create", "-d", driver, *options, name, check=check)
        if done.returncode == 0:
            made.append(name)
        return done

    yield create
    for name in made:
        for member in json.loads(lab.berth("network", "inspect", name).stdout)[0]["members"]:
            lab.berth("rm", member["sandbox"])
        lab.berth("network", "rm", name)


def sleeper(lab: Lab, name: str, *options: str):
    lab.berth("run", "-d", "--name", name, *options, "--", "sleep", "300")


def reaches(lab: Lab, name: str, address: str) -> bool:
    return lab.berth("exec", name, "ping", "-c1", "-W1", address, check=False).returncode == 0


ADDRESSING = ("--subnet", "10.50.0.0/24", "--gateway", "10.50.0.254", "--ipv6", "--subnet", "fd50::/64", "--gateway", "fd50::fe")


def test_macvlan_bridge_has_neighbours_names_a_gateway_and_the_parents_network(lab, network):
    network(*ADDRESSING, "-o", "parent=lan0")
    sleeper(lab, "one", "--network", "lan,alias=first,ip=10.50.0.20")
    sleeper(lab, "two", "--network", "lan")
    assert "macvlan mode bridge" in lab.in_sandbox("one", "ip", "-d", "link", "show", "eth0")
    assert lab.in_sandbox("two", "getent", "hosts", "first").startswith(("fd50::", "10.50.0.20"))
    assert reaches(lab, "two", "one")
    assert reaches(lab, "two", "10.50.0.254")
    assert reaches(lab, "two", "fd50::fe")
    assert "default via 10.50.0.254" in lab.in_sandbox("two", "ip", "route")
    assert "default via fd50::fe" in lab.in_sandbox("two", "ip", "-6", "route")
    # Names of the outside come by the host's nameservers, which netavark gives up here.
    assert lab.in_sandbox("two", "dig", "+short", "www.example.test") == "192.0.2.80"
    shown = json.loads(lab.berth("network", "inspect", "lan").stdout)[0]
    assert (shown["driver"], shown["link"], len(shown["members"])) == ("macvlan", "lan0", 2)
    # Nothing of it is on the host: no link, no firewall element.
    assert "lan" not in lab.shell("nft list ruleset | grep -i lan0 || true")


@pytest.mark.parametrize("mode", ["private", "vepa", "passthru"])
def test_modes_keep_neighbours_apart_and_reach_the_outside(lab, network, mode):
    network(*ADDRESSING, "-o", "parent=lan0", "-o", f"macvlan_mode={mode}")
    sleeper(lab, "one", "--network", "lan")
    assert f"macvlan mode {mode}" in lab.in_sandbox("one", "ip", "-d", "link", "show", "eth0")
    assert reaches(lab, "one", "10.50.0.254")
    if mode == "passthru":
        assert lab.inspect("one")["endpoints"][0]["mac"] == lab.shell("ip -o link show lan0 | sed 's/.*ether //; s/ .*//'")
        refused = lab.berth("run", "--network", "lan", "--", "true", check=False)
        assert "passthru mode takes one endpoint" in refused.stderr
        return
    sleeper(lab, "two", "--network", "lan")
    assert not reaches(lab, "two", lab.inspect("one")["addresses"][0])


def test_published_ports_are_ignored_with_a_warning(lab, network):
    network(*ADDRESSING, "-o", "parent=lan0")
    done = lab.berth("run", "--name", "web", "--network", "lan", "-p", "8088:80", "--", "true")
    assert "berth: warning: web: published ports are ignored" in done.stderr
    assert "ignored" not in lab.berth("run", "--network", "lan", "-P", "--", "true").stderr


def test_several_subnets_and_ranges_of_one_subnet(lab, network):
    network("--subnet", "10.51.0.0/30", "--subnet", "10.52.0.0/24", "-o", "parent=lan0", name="two")
    for name in ("a", "b", "c"):
        sleeper(lab, name, "--network", "two")
    assert [lab.inspect(name)["addresses"] for name in ("a", "b", "c")] == [["10.51.0.1"], ["10.51.0.2"], ["10.52.0.1"]]
    network("--subnet", "10.53.0.0/24", "--ip-range", "10.53.0.0/29", "-o", "parent=lan0", name="low")
    network("--subnet", "10.53.0.0/24", "--ip-range", "10.53.0.8/29", "-o", "parent=lan0", name="high")
    sleeper(lab, "d", "--network", "low,ip=10.53.0.9")
    sleeper(lab, "e", "--network", "high")
    sleeper(lab, "f", "--network", "high")
    assert [lab.inspect(name)["addresses"][0] for name in ("d", "e", "f")] == ["10.53.0.9", "10.53.0.8", "10.53.0.10"]
    assert "in use" in lab.berth("run", "--network", "low,ip=10.53.0.8", "--", "true", check=False).stderr


def test_without_a_gateway_it_is_the_way_out_by_priority_only(lab, network):
    """GW-7: a parent network without a gateway takes the place of the gateway, but gives no route."""
    network("--subnet", "10.50.0.0/24", "-o", "parent=lan0")
    lab.berth("network", "create", "front")
    sleeper(lab, "one", "--network", "lan", "--network", "front")
    assert "dev eth1" in lab.in_sandbox("one", "ip", "route", "show", "default")
    lab.berth("network", "disconnect", "lan", "one")
    lab.berth("network", "connect", "--gw-priority", "5", "lan", "one")
    assert lab.in_sandbox("one", "ip", "route", "show", "default") == ""
    assert lab.in_sandbox("one", "dig", "+short", "www.example.test") == "192.0.2.80"
    lab.berth("rm", "one")
    lab.berth("network", "rm", "front")


def test_internal_asks_no_nameserver_of_the_host(lab, network):
    network(*ADDRESSING, "--internal", "-o", "parent=lan0")
    sleeper(lab, "one", "--network", "lan")
    assert lab.in_sandbox("one", "ip", "route", "show", "default") == ""
    assert "SERVFAIL" in lab.in_sandbox("one", "dig", "www.example.test")
    assert lab.in_sandbox("one", "dig", "+short", "one") == lab.inspect("one")["addresses"][0]


def test_daemon_restart_keeps_links_and_names(lab, network):
    network(*ADDRESSING, "-o", "parent=lan0")
    sleeper(lab, "one", "--network", "lan")
    before = lab.in_sandbox("one", "ip", "-o", "addr")
    lab.stop_daemon()
    lab.start_daemon()
    assert lab.in_sandbox("one", "ip", "-o", "addr") == before
    assert lab.in_sandbox("one", "getent", "hosts", "one")
    lab.berth("network", "disconnect", "lan", "one")
    assert "eth0" not in lab.in_sandbox("one", "ip", "-o", "link")


def lacks(lab: Lab, kind: str, *words: str) -> bool:
    made = lab.run("ip", "link", "add", "probe0", *words, "type", kind, *(("id", "3") if kind == "vlan" else ()), check=False)
    lab.run("ip", "link", "del", "probe0", check=False)
    return "Unknown device type" in made.stderr


@pytest.mark.parametrize(
    ("driver", "options", "kind", "module"),
    [
        ("ipvlan", ("-o", "parent=lan0"), "ipvlan", "ipvlan"),
        ("macvlan", ("-o", "parent=lan0.10"), "vlan", "8021q"),
        ("macvlan", (), "dummy", "dummy"),
    ],
)
def test_kinds_of_links_that_the_kernel_may_lack(lab, network, driver, options, kind, module):
    before = lab.kernel_state()
    done = network(*options, driver=driver, name="kind", check=False)
    if lacks(lab, kind, *(("link", "lan0") if kind != "dummy" else ())):
        assert done.returncode == 1
        assert f"kernel module {module} is not available" in done.stderr
        assert lab.kernel_state() == before
        assert "kind" not in lab.berth("network", "ls").stdout
        return
    assert done.returncode == 0, done.stderr
    sleeper(lab, "one", "--network", "kind")
    sleeper(lab, "two", "--network", "kind")
    assert reaches(lab, "two", "one")


def test_refusals_reach_the_user(lab, network):
    network(*ADDRESSING, "-o", "parent=lan0")
    for options, text in (
        (("-o", "parent=lan0", "-o", "macvlan_mode=passthru"), "passthru needs it for itself"),
        (("-o", "parent=lo"), "loopback"),
        (("-o", "parent=nowhere"), "no link nowhere"),
        (("-o", "parent=lan0", "--subnet", "10.50.0.0/24"), "Pool overlaps"),
    ):
        done = network(*options, name="wrong", check=False)
        assert done.returncode == 1
        assert text in done.stderr, (options, done.stderr)
    # A parent that is a bridge's port takes no slices.
    lab.shell("ip link add br9 type bridge; ip link add port0 type veth peer name port1; ip link set port0 master br9")
    assert "is a port of a bridge" in network("-o", "parent=port0", name="wrong", check=False).stderr
    lab.shell("ip link del port0; ip link del br9")
