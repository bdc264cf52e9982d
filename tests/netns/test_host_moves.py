"""The host moves and berth follows: VPNs, DHCP, roaming, other programs' sysctls; and what was off is off again afterwards."""

import json
import signal

import pytest

from netcore import limits
from tests.support.lab import OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6, PATIENCE, Lab

FORWARDING = {4: "net/ipv4/conf/{}/forwarding", 6: "net/ipv6/conf/{}/force_forwarding"}
OUTSIDE = {4: OUTSIDE_ADDRESS, 6: OUTSIDE_ADDRESS6}
FAMILIES = pytest.mark.parametrize("family", [4, pytest.param(6, marks=pytest.mark.slow)])

_SECOND_LINK = """
ip netns add {peer}; ip link add {link} type veth peer name {link}p netns {peer}
ip link set {link} up; ip -n {peer} link set lo up; ip -n {peer} link set {link}p up
ip addr add 192.0.2.{number}2/28 dev {link}; ip addr add fd55:{number}::2/64 dev {link} nodad
ip -n {peer} addr add 192.0.2.{number}1/28 dev {link}p; ip -n {peer} addr add fd55:{number}::1/64 dev {link}p nodad
ip -n {peer} addr add 203.0.113.9/32 dev lo; ip -n {peer} addr add 2001:db8:9::9/128 dev lo nodad
"""
BEHIND = {4: "203.0.113.9", 6: "2001:db8:9::9"}
"""What is behind the second link."""


@pytest.fixture
def lab():
    """A host that is no router; the daemon is not started yet."""
    with Lab() as made:
        made.shell("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
        yield made


def second_link(lab, link="vpn0", peer="vpn", number=1):
    """Give the host one more link, to a netns of its own that has the addresses of BEHIND."""
    lab.shell("set -e; " + _SECOND_LINK.format(link=link, peer=peer, number=number))


def hop(family, number=1):
    return f"192.0.2.{number}1" if family == 4 else f"fd55:{number}::1"


def ip(family):
    return "ip -6" if family == 6 else "ip"


def sandbox(lab, *options):
    lab.berth("network", "create", "--ipv6", "both", *options)
    lab.berth("run", "-d", "--name", "web", "--network", "both", "--", "sleep", "600")


def reaches(lab, address, *, where="web"):
    if where == "web":
        return lab.berth("exec", "web", "ping", "-c1", "-W1", address, check=False).returncode == 0
    return lab.run("ping", "-c1", "-W1", address, where=where, check=False).returncode == 0


def forwards(lab, family, link="up0"):
    return lab.out("cat", f"/proc/sys/{FORWARDING[family].format(link)}")


def set_forwarding(lab, family, value, link="up0"):
    lab.shell(f"echo {value} > /proc/sys/{FORWARDING[family].format(link)}")


def status(lab):
    return lab.api("GET", "/v1/status")[1]


def subnet_of(lab, name, family):
    pools = json.loads(lab.berth("network", "inspect", name).stdout)[0]["pools"]
    return next(pool["subnet"] for pool in pools if (":" in pool["subnet"]) == (family == 6))


# --- pools --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "routes",
    [
        ("0.0.0.0/1", "128.0.0.0/1"),
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    ],
    ids=["def1", "split"],
)
def test_routes_of_a_vpn_take_no_pool(lab, routes):
    second_link(lab)
    for route in routes:
        lab.shell(f"ip route add {route} via {hop(4)}")
    lab.start_daemon()
    lab.berth("run", "--", "true")
    lab.berth("network", "create", "mine")
    assert subnet_of(lab, "mine", 4).startswith("172.")


def test_ipv6_routes_of_a_vpn_take_no_pool(lab):
    second_link(lab)
    lab.shell(f"ip -6 route add ::/1 via {hop(6)}; ip -6 route add 8000::/1 via {hop(6)}")
    lab.start_daemon()
    lab.berth("network", "create", "--ipv6", "mine")
    assert subnet_of(lab, "mine", 6).startswith("fd")


_POOLS = 'default_address_pools = [{base = "172.30.0.0/15", size = 16}, {base = "fd77::/63", size = 64}]\n'


_BESIDE_ROUTES = [
    (4, "172.30.0.0/16 via 10.9.0.1", "172.31.0.0/16"),
    (4, "172.30.7.0/24 via 10.9.0.1", "172.31.0.0/16"),
    (4, "172.30.0.0/15 via 10.9.0.1", "172.30.0.0/16"),
    (4, "blackhole 172.30.0.0/16", "172.31.0.0/16"),
    (4, "unreachable 172.30.0.0/16", "172.31.0.0/16"),
    (4, "prohibit 172.30.3.3/32", "172.31.0.0/16"),
    (4, "throw 172.30.0.0/16", "172.31.0.0/16"),
    (4, "198.51.100.0/24 via 172.30.0.9 dev up0 onlink", "172.31.0.0/16"),
    (6, "fd77::/64 via fd09::1", "fd77:0:0:1::/64"),
    (6, "fd77:0:0:0:5::/80 via fd09::1", "fd77:0:0:1::/64"),
    (6, "fd77::/48 via fd09::1", "fd77::/64"),
    (6, "blackhole fd77::/64", "fd77:0:0:1::/64"),
    (6, "unreachable fd77::/64", "fd77:0:0:1::/64"),
    (6, "prohibit fd77::3/128", "fd77:0:0:1::/64"),
    (6, "2001:db8:7::/64 via fd77::9 dev up0 onlink", "fd77:0:0:1::/64"),
]


@pytest.mark.parametrize(
    ("family", "route", "expected"),
    [case if case in _BESIDE_ROUTES[3::5] else pytest.param(*case, marks=pytest.mark.slow) for case in _BESIDE_ROUTES],
)
def test_pool_keeps_clear_of_narrow_and_refusing_routes_and_of_routers(lab, family, route, expected):
    lab.write("/etc/berth.toml", _POOLS)
    lab.shell(f"{ip(family)} route add {route}")
    lab.start_daemon("--config", "/etc/berth.toml")
    lab.berth("network", "create", "--ipv6", "mine")
    assert subnet_of(lab, "mine", family) == expected


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["to {} prohibit", "from {} unreachable", "to {} blackhole"])
def test_pool_keeps_clear_of_what_rules_refuse(lab, rule):
    lab.write("/etc/berth.toml", _POOLS)
    lab.shell(f"ip rule add {rule.format('172.30.0.0/16')}; ip -6 rule add {rule.format('fd77::/64')}")
    lab.start_daemon("--config", "/etc/berth.toml")
    lab.berth("network", "create", "--ipv6", "mine")
    assert [subnet_of(lab, "mine", family) for family in (4, 6)] == ["172.31.0.0/16", "fd77:0:0:1::/64"]


@FAMILIES
def test_pool_behind_a_router_is_taken_when_there_is_no_other(lab, family):
    lab.write("/etc/berth.toml", 'default_address_pools = [{base = "172.30.0.0/16", size = 16}, {base = "fd77::/64", size = 64}]\n')
    lab.start_daemon("--config", "/etc/berth.toml")
    # The route comes after the daemon has looked at the host.
    lab.shell("ip route add 172.30.7.0/24 via 10.9.0.1; ip -6 route add fd77::7:0/112 via fd09::1")
    status_, made = lab.api("POST", "/v1/networks", {"name": "mine", "ipv6": True})
    assert status_ == 201
    route = "172.30.7.0/24" if family == 4 else "fd77::7:0/112"
    assert [line for line in made["warnings"] if f"route to {route} by link up0" in line]
    assert subnet_of(lab, "mine", family) == ("172.30.0.0/16" if family == 4 else "fd77::/64")


_OF_THE_HOST = [
    ("10.9.0.0/24", "overlaps 10.9.0.0/24, the subnet of this host's link up0"),
    ("10.9.0.128/25", "overlaps 10.9.0.0/24, the subnet of this host's link up0"),
    ("10.0.0.0/8", "overlaps 10.9.0.0/24, the subnet of this host's link up0"),
    ("192.0.2.0/24", "covers 192.0.2.12, this host's own address on link lan0"),
    ("172.30.0.0/16", "covers 172.30.0.9, a router that this host uses on link up0"),
    ("fd09::/64", "overlaps fd09::/64, the subnet of this host's link up0"),
    ("fd09::8:0/112", "overlaps fd09::/64, the subnet of this host's link up0"),
    ("fd55:1::/64", "covers fd55:1::2, this host's own address on link lan0"),
    ("fd30::/64", "covers fd30::9, a router that this host uses on link up0"),
]


@pytest.mark.parametrize(
    ("subnet", "reason"), [case if case in _OF_THE_HOST[2::3] else pytest.param(*case, marks=pytest.mark.slow) for case in _OF_THE_HOST]
)
def test_subnet_of_the_host_itself_is_refused(lab, subnet, reason):
    second_link(lab, "lan0", "lan")
    lab.shell("ip route add 198.51.100.0/24 via 172.30.0.9 dev up0 onlink; ip -6 route add 2001:db8:7::/64 via fd30::9 dev up0 onlink")
    lab.start_daemon()
    family = ["--ipv6", "--ipv4=false"] if ":" in subnet else []
    done = lab.berth("network", "create", *family, "--subnet", subnet, "mine", check=False)
    assert done.returncode == 1
    assert reason in done.stderr
    # Without an address on the bridge nothing of the host is covered.
    done = lab.berth("network", "create", "--internal", *family, "--opt", "gateway_mode_ipv4=isolated", "--opt", "gateway_mode_ipv6=isolated",
                     "--subnet", subnet, "mine")  # fmt: skip
    assert done.returncode == 0


@FAMILIES
def test_subnet_over_a_route_is_a_warning(lab, family):
    route = "10.50.0.0/16" if family == 4 else "fd50::/48"
    subnet = "10.50.7.0/24" if family == 4 else "fd50:0:0:7::/64"
    lab.shell(f"{ip(family)} route add {route} via {OUTSIDE[family]}")
    lab.start_daemon()
    more = ["--ipv6"] if family == 6 else []
    done = lab.berth("network", "create", *more, "--subnet", subnet, "mine")
    assert f"subnet {subnet} overlaps this host's route to {route} by link up0" in done.stdout + done.stderr


# --- uplinks ------------------------------------------------------------------------------------------------------


def test_sandbox_gets_out_once_dhcp_gives_a_default_route(lab):
    lab.shell("ip addr flush dev up0; ip -6 route flush default; sysctl -qw net.ipv6.conf.up0.accept_dad=0")
    assert not lab.out("ip", "route")
    lab.start_daemon()
    sandbox(lab)
    assert not reaches(lab, OUTSIDE_ADDRESS)
    lab.shell("ip addr add 10.9.0.2/24 dev up0; ip route add default via 10.9.0.1")
    lab.wait_for(lambda: forwards(lab, 4) == "1", PATIENCE)
    lab.wait_for(lambda: reaches(lab, OUTSIDE_ADDRESS), PATIENCE)
    lab.shell("ip -6 addr add fd09::2/64 dev up0 nodad; ip -6 route add default via fd09::1")
    lab.wait_for(lambda: forwards(lab, 6) == "1", PATIENCE)
    lab.wait_for(lambda: reaches(lab, OUTSIDE_ADDRESS6), PATIENCE)
    lab.wait_for(lambda: status(lab)["warnings"] == [], PATIENCE)


@FAMILIES
def test_sandbox_follows_when_the_host_roams(lab, family):
    second_link(lab, "wlan0", "air")
    lab.start_daemon()
    sandbox(lab)
    assert reaches(lab, OUTSIDE[family])
    assert not reaches(lab, BEHIND[family])
    lab.shell(f"{ip(family)} route replace default via {hop(family)} dev wlan0")
    lab.wait_for(lambda: forwards(lab, family, "wlan0") == "1", PATIENCE)
    lab.wait_for(lambda: reaches(lab, BEHIND[family]), PATIENCE)
    # What was off on the link that is left is off again.
    lab.wait_for(lambda: forwards(lab, family) == "0", PATIENCE)
    lab.wait_for(lambda: status(lab)["warnings"] == [], PATIENCE)


_VPNS = {
    "def1": {4: ("0.0.0.0/1", "128.0.0.0/1"), 6: ("::/1", "8000::/1")},
    "split": {4: ("203.0.113.0/24",), 6: ("2001:db8:9::/48",)},
}


@FAMILIES
@pytest.mark.parametrize("kind", [*_VPNS, "wg-quick", "second default route"])
def test_sandbox_uses_a_vpn_that_comes_up(lab, family, kind):
    lab.start_daemon()
    sandbox(lab)
    assert reaches(lab, OUTSIDE[family])
    second_link(lab)
    via = f"via {hop(family)} dev vpn0"
    if kind == "wg-quick":
        lab.shell(
            f"{ip(family)} route add default {via} table 51820; {ip(family)} rule add not fwmark 51820 table 51820;"
            f"{ip(family)} rule add table main suppress_prefixlength 0"
        )
    elif kind == "second default route":
        lab.shell(f"{ip(family)} route add default {via} metric 5000; {ip(family)} route add {BEHIND[family]} {via} table 77;"
                  f"{ip(family)} rule add to {BEHIND[family]} table 77")  # fmt: skip
    else:
        for route in _VPNS[kind][family]:
            lab.shell(f"{ip(family)} route add {route} {via}")
    lab.wait_for(lambda: forwards(lab, family, "vpn0") == "1", PATIENCE)
    lab.wait_for(lambda: reaches(lab, BEHIND[family]), PATIENCE)
    # Published ports and the VPN's own packets still come by the old link.
    assert forwards(lab, family) == "1"
    lab.shell("ip link del vpn0")
    lab.wait_for(lambda: "vpn0" not in lab.shell("nft list table inet berth"), PATIENCE)
    if kind == "wg-quick":
        lab.shell(f"{ip(family)} rule del table main suppress_prefixlength 0")
    lab.wait_for(lambda: reaches(lab, OUTSIDE[family]), PATIENCE)


# --- other programs -----------------------------------------------------------------------------------------------


@FAMILIES
def test_forwarding_that_another_program_changes_is_set_again_and_said(lab, family):
    lab.start_daemon()
    sandbox(lab)
    path = FORWARDING[family].format("up0")
    lab.follow_events()
    set_forwarding(lab, family, 0)
    lab.wait_for(lambda: forwards(lab, family) == "1", PATIENCE)
    assert reaches(lab, OUTSIDE[family])
    lab.wait_for(lambda: path in lab.events(), PATIENCE)
    repaired = f"sysctl {path}=1 was changed by another program; berth has repaired it once in the last hour"
    lab.wait_for(lambda: status(lab)["warnings"] == [repaired], PATIENCE)


def test_whole_host_switched_off_is_set_again_for_bridges_and_uplinks(lab):
    lab.shell("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    lab.start_daemon()
    sandbox(lab)
    bridge = json.loads(lab.berth("network", "inspect", "both").stdout)[0]["link"]
    # As by `sysctl --system` with a file that says so.
    lab.shell("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
    for link in ("up0", bridge):
        for family in (4, 6):
            lab.wait_for(lambda family=family, link=link: forwards(lab, family, link) == "1", PATIENCE)
    assert reaches(lab, OUTSIDE_ADDRESS)
    assert reaches(lab, OUTSIDE_ADDRESS6)


@FAMILIES
def test_switching_off_what_is_off_already_is_noticed_too(lab, family):
    lab.start_daemon()
    sandbox(lab)
    bridge = json.loads(lab.berth("network", "inspect", "both").stdout)[0]["link"]
    # As by a hardening file. For IPv6 this takes forwarding from every link, and nothing is announced.
    lab.shell("sysctl -qw net.ipv4.conf.all.forwarding=0 net.ipv6.conf.all.forwarding=0")
    for link in ("up0", bridge):
        # Sooner than by the look that is taken now and then at all there is.
        lab.wait_for(lambda link=link: forwards(lab, family, link) == "1", limits.HOST_POLL / 2)
    assert reaches(lab, OUTSIDE[family])


@pytest.mark.slow
@FAMILIES
def test_no_endless_fight_with_another_program(lab, family):
    lab.start_daemon()
    sandbox(lab)
    path = FORWARDING[family].format("up0")
    for _ in range(limits.DRIFT_ATTEMPTS):
        set_forwarding(lab, family, 0)
        lab.wait_for(lambda: forwards(lab, family) == "1", PATIENCE)
    set_forwarding(lab, family, 0)
    lab.wait_for(lambda: lab.is_left_alone(path), PATIENCE)
    assert forwards(lab, family) == "0"
    # Put right by hand, there is nothing to warn of any more.
    set_forwarding(lab, family, 1)
    lab.wait_for(lambda: not lab.is_left_alone(path), PATIENCE)
    assert lab.has_logged(path)


# --- what was off is off again ------------------------------------------------------------------------------------


def test_link_that_is_renamed_is_guarded_and_put_back_by_its_new_name(lab):
    lab.start_daemon()
    sandbox(lab)
    lab.shell(
        "ip link set up0 down; ip link set up0 name wan9; ip link set wan9 up; ip -6 addr replace fd09::2/64 dev wan9 nodad;"
        "ip route replace default via 10.9.0.1; ip -6 route replace default via fd09::1"
    )
    for family in (4, 6):
        lab.wait_for(lambda family=family: "wan9" in lab.shell(f"nft list set inet berth closed{family}"), PATIENCE)
        lab.wait_for(lambda family=family: reaches(lab, OUTSIDE[family]), PATIENCE)
        assert forwards(lab, family, "wan9") == "1"
    lab.wait_for(lambda: status(lab)["warnings"] == [], PATIENCE)
    lab.berth("rm", "web")
    lab.berth("network", "rm", "both")
    assert (forwards(lab, 4, "wan9"), forwards(lab, 6, "wan9")) == ("0", "0")


@pytest.mark.parametrize("end", ["last network", "crash"])
def test_what_was_off_is_off_again_with_the_last_network(lab, end):
    lab.start_daemon()
    sandbox(lab)
    lab.berth("network", "create", "--ipv6", "other")
    assert (forwards(lab, 4), forwards(lab, 6)) == ("1", "1")
    if end == "crash":
        lab.stop_daemon(signal.SIGKILL)
        lab.start_daemon()
    lab.berth("rm", "web")
    lab.berth("network", "rm", "both")
    assert (forwards(lab, 4), forwards(lab, 6)) == ("1", "1")
    lab.berth("network", "rm", "other")
    assert (forwards(lab, 4), forwards(lab, 6)) == ("0", "0")


@pytest.mark.slow
def test_daemon_that_ends_when_idle_leaves_no_router_behind(lab):
    lab.berth("run", "--", "true")
    lab.wait_for(lambda: lab.run("test", "-S", "/run/berth/berth.sock", check=False).returncode != 0)
    lab.wait_for(lambda: (forwards(lab, 4), forwards(lab, 6)) == ("0", "0"))


def _make_lan(lab):
    """Make a LAN beside the outside, with default routes by both and the host as the router that each tries."""
    second_link(lab, "lan0", "lan")
    lab.shell(
        f"ip route add default via {hop(4)} dev lan0 metric 500; ip -6 route add default via {hop(6)} dev lan0 metric 5000;"
        "ip -n lan route add default via 192.0.2.12; ip -n lan -6 route add default via fd55:1::2;"
        "ip -n outside route add 192.0.2.0/24 via 10.9.0.2; ip -n outside -6 route add fd55::/16 via fd09::2"
    )


@pytest.mark.slow
def test_host_that_was_no_router_is_none_for_others(lab):
    _make_lan(lab)
    assert not reaches(lab, OUTSIDE_ADDRESS, where="lan")
    lab.start_daemon()
    sandbox(lab)
    assert (forwards(lab, 4, "lan0"), forwards(lab, 6, "lan0")) == ("1", "1")
    assert reaches(lab, OUTSIDE_ADDRESS)
    assert reaches(lab, OUTSIDE_ADDRESS6)
    assert not reaches(lab, OUTSIDE_ADDRESS, where="lan")
    assert not reaches(lab, OUTSIDE_ADDRESS6, where="lan")
    assert not reaches(lab, hop(4), where="outside")
    assert not reaches(lab, hop(6), where="outside")
    # The guard is there after the tables were flushed, too.
    lab.shell("nft flush ruleset")
    lab.wait_for(lambda: "closed4" in lab.shell("nft list tables; nft list table inet berth", check=False), PATIENCE)
    assert not reaches(lab, OUTSIDE_ADDRESS, where="lan")
    # Somebody makes it a router (Docker, libvirt): berth is not in the way, and leaves it one.
    lab.shell("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    lab.wait_for(lambda: reaches(lab, OUTSIDE_ADDRESS, where="lan"), PATIENCE)
    lab.wait_for(lambda: reaches(lab, OUTSIDE_ADDRESS6, where="lan"), PATIENCE)
    lab.berth("rm", "web")
    lab.berth("network", "rm", "both")
    assert forwards(lab, 4) == "1"
    assert reaches(lab, OUTSIDE_ADDRESS, where="lan")
    assert reaches(lab, OUTSIDE_ADDRESS6, where="lan")


@pytest.mark.slow
def test_router_stays_a_router(lab):
    _make_lan(lab)
    lab.shell("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    # IPv6 is there a moment later: addresses are tentative, and neighbours are found.
    lab.wait_for(lambda: reaches(lab, OUTSIDE_ADDRESS6, where="lan"), PATIENCE)
    lab.start_daemon()
    sandbox(lab)
    for _ in range(2):
        assert reaches(lab, OUTSIDE_ADDRESS, where="lan")
        assert reaches(lab, OUTSIDE_ADDRESS6, where="lan")
        lab.berth("rm", "web", check=False)
        lab.berth("network", "rm", "both", check=False)
    assert forwards(lab, 4) == "1"


# --- /proc/sys ----------------------------------------------------------------------------------------------------

_READ_ONLY = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"


def test_main_job_where_sysctls_are_read_only(lab):
    if lab.out("unshare", "--net", "cat", "/proc/sys/net/ipv4/ip_forward") != "0":
        pytest.skip("new namespaces of this machine forward, which only a writable /proc/sys can change")
    lab.shell(_READ_ONLY)
    lab.start_daemon()
    lab.berth("run", "--", "ping", "-c1", "-W2", OUTSIDE_ADDRESS)
    lab.berth("network", "create", "mine")
    lab.berth("run", "-d", "--name", "web", "-p", "8080:80", "--network", "mine", "--", "python3", "-m", "http.server", "80")
    lab.wait_for(lambda: lab.run("curl", "-sf", "http://127.0.0.1:8080/", check=False).returncode == 0, PATIENCE)
    # IPv6 can't be switched off by netlink: it stays on, but leads nowhere.
    assert lab.has_logged("sysctl=net/ipv6/conf/eth0/disable_ipv6 value=0 wanted=1")
    # Nobody is accused of having changed it.
    assert status(lab)["warnings"] == []
    lab.berth("rm", "web")
    lab.berth("network", "rm", "mine", "default")
    assert forwards(lab, 4) == "0"


def test_read_only_sysctl_that_is_wrong_is_named_with_a_remedy(lab):
    lab.shell(_READ_ONLY)
    lab.start_daemon()
    done = lab.berth("network", "create", "--ipv6", "mine", check=False)
    assert done.returncode == 1
    assert "/proc/sys is read-only here, and net/ipv6/conf/" in done.stderr
    assert "mount -o remount,rw /proc/sys" in done.stderr
    assert lab.api("GET", "/v1/networks")[1] == []
    # What is right already is not written, and needs no writable file.
    lab.berth("run", "--network", "none", "--", "true")
