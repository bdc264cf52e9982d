"""With the ruleset flushed nothing passes between networks, to the host or from outside, until the tables are back."""

import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.netns.conftest import upstream
from tests.support.lab import HOST_ADDRESS, OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6, Lab

SERVER = ("python3", "-m", "http.server", "80", "--bind", "::")


@pytest.fixture(scope="module", params=["0", pytest.param("1", marks=pytest.mark.slow)], ids=["nf-call=0", "nf-call=1"])
def lab(request):
    with Lab() as made:
        made.set_bridge_nf_call(request.param)
        upstream(made, OUTSIDE_ADDRESS, where="outside")
        made.start_daemon()
        for name, options in (
            ("a", ("--ipv6",)),
            ("b", ()),
            ("inside", ("--internal",)),
            ("routed", ("-o", "gateway_mode_ipv4=routed", "--subnet", "10.66.0.0/24")),
            ("apart", ("-o", "icc=false")),
        ):
            made.berth("network", "create", "-o", f"name=br-{name}", *options, name)
        for name, network, more in (
            ("a1", "a", ("-p", "8081:80")),
            ("l1", "a", ()),
            ("b1", "b", ()),
            ("i1", "inside", ()),
            ("r1", "routed", ("-p", "80")),
            ("s1", "apart", ("-p", "8082:80")),
            ("s2", "apart", ()),
        ):
            made.berth("run", "-d", "--name", name, "--network", network, *more, "--", *SERVER)
        # A sandbox that sends packets for 127.0.0.1 to the host.
        gateway = made.in_sandbox("l1", "sh", "-c", "ip route show default | cut -d' ' -f3")
        made.shell(
            "sysctl -qw net.ipv4.conf.eth0.route_localnet=1; ip route flush table local root 127.0.0.0/8;"
            f"ip route add 127.0.0.1 via {gateway}; ip route add local 127.0.0.11 dev lo table local",
            where="berth-l1",
        )
        made.run("ip", "route", "add", "10.66.0.0/24", "via", HOST_ADDRESS, where="outside")
        made.start("python3", "-m", "http.server", "9000", "--bind", "127.0.0.1")
        made.start("python3", "-m", "http.server", "9001", "--bind", "0.0.0.0")
        made.start("python3", "-m", "http.server", "9002", "--bind", "::", where="outside")
        made.wait_for(lambda: all(made.listens(name, 80) for name in ("a1", "l1", "b1", "i1", "r1")))
        made.wait_for(lambda: all(f":{port} " in made.shell("ss -Hlnt") for port in (9000, 9001)))
        made.wait_for(lambda: ":9002 " in made.shell("ss -Hlnt", where="outside"))
        yield made


def address(lab: Lab, name: str, family: int = 4) -> str:
    return next(a for a in lab.inspect(name)["addresses"] if (":" in a) == (family == 6))


def reaches(lab: Lab, who: str, url: str, seconds: int = 15) -> bool:
    return lab.run("curl", "-s", "-o", "/dev/null", "-m", str(seconds), url, where=who, check=False).returncode == 0


def paths(lab: Lab, addresses: dict[str, str], wanted: dict[str, bool]) -> dict[str, bool]:
    """Return which of all paths are open. What is *wanted* has time, whatever else there is to do; the others have a second."""
    probes = {
        "network to network": ("berth-a1", addresses["b1"]),
        "internal to network": ("berth-i1", addresses["b1"]),
        "to a peer without icc": ("berth-s2", addresses["s1"]),
        "to a peer's published port without icc": ("berth-s2", f"{HOST_ADDRESS}:8082"),
        "to the host's loopback": ("berth-l1", "127.0.0.1:9000"),
        "to the gateway": ("berth-a1", f"{addresses['gateway']}:9001"),
        "to the host": ("berth-b1", f"{HOST_ADDRESS}:9001"),
        "outside": ("berth-a1", f"{OUTSIDE_ADDRESS}:9002"),
        "outside by IPv6": ("berth-a1", f"[{OUTSIDE_ADDRESS6}]:9002"),
        "published port": ("outside", f"{HOST_ADDRESS}:8081"),
        "from outside to a routed network": ("outside", "10.66.0.2"),
        "from outside to a closed port": ("outside", "10.66.0.2:81"),
    }
    with ThreadPoolExecutor() as pool:
        found = {
            name: pool.submit(reaches, lab, who, f"http://{target}/", 15 if wanted[name] else 1) for name, (who, target) in probes.items()
        }
    return {name: future.result() for name, future in found.items()}


def closed(lab: Lab, addresses: dict[str, str]) -> bool:
    nothing = dict.fromkeys(WITH_RULES, False)
    return paths(lab, addresses, nothing) == nothing


def has_tables(lab: Lab) -> bool:
    return all(lab.run("nft", "list", "table", family, "berth", check=False).returncode == 0 for family in ("inet", "bridge"))


WITH_RULES = {
    "network to network": False,
    "internal to network": False,
    "to a peer without icc": False,
    "to a peer's published port without icc": True,
    "to the host's loopback": False,
    "to the gateway": True,
    "to the host": True,
    "outside": True,
    "outside by IPv6": True,
    "published port": True,
    "from outside to a routed network": True,
    "from outside to a closed port": False,
}


@pytest.fixture(scope="module")
def addresses(lab):
    gateway = json.loads(lab.berth("network", "inspect", "a").stdout)[0]["pools"][0]["gateway"]
    return {"gateway": gateway, **{name: address(lab, name) for name in ("a1", "b1", "r1", "s1")}}


@pytest.mark.slow
def test_all_is_closed_from_the_flush_until_the_tables_are_back(lab, addresses):
    assert paths(lab, addresses, WITH_RULES) == WITH_RULES
    lab.daemon.send_signal(signal.SIGSTOP)
    try:
        lab.shell("nft flush ruleset")
        assert closed(lab, addresses)
        assert lab.run("nft", "delete", "table", "inet", "berth_guard", check=False).returncode != 0
    finally:
        lab.daemon.send_signal(signal.SIGCONT)
    lab.wait_for(lambda: has_tables(lab))
    assert paths(lab, addresses, WITH_RULES) == WITH_RULES


@pytest.mark.slow
@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGTERM])
def test_the_bridges_stay_closed_without_a_daemon(lab, addresses, ended_by):
    lab.stop_daemon(ended_by)
    assert paths(lab, addresses, WITH_RULES) == WITH_RULES
    lab.shell("nft flush ruleset")
    assert closed(lab, addresses)
    assert lab.run("nft", "delete", "table", "inet", "berth_guard", check=False).returncode != 0
    lab.start_daemon()
    assert paths(lab, addresses, WITH_RULES) == WITH_RULES
    assert "guard lasting" in lab.berth("status").stdout
    # The new daemon owns the table that the old one left.
    lab.shell("nft flush ruleset")
    assert "br-a" in lab.shell("nft list table inet berth_guard")
    lab.wait_for(lambda: has_tables(lab))


IN_ORDER = (
    ("bridge", "prerouting"),
    ("bridge", "forward"),
    *(("inet", hook) for hook in ("prerouting", "forward", "input", "postrouting")),
)
"""The hooks that what a sandbox sends may come to, in the order in which it does."""


def chains_in_order(lab: Lab) -> list[str]:
    """Return family, table and name of each of our chains that the kernel calls, in the order in which a packet comes to them."""
    listed = [one["chain"] for one in json.loads(lab.shell("nft -j list chains"))["nftables"] if "chain" in one]
    ours = [one for one in listed if one["table"] == "berth" and (one["family"], one.get("hook")) in IN_ORDER]
    ours.sort(key=lambda one: (IN_ORDER.index((one["family"], one["hook"])), one["prio"]))
    return [f"{one['family']} berth {one['name']}" for one in ours]


SEND = """
import contextlib, os, socket, sys
# All on one processor: what comes back over the loopback then is behind what was sent before, which goes over a few links.
os.sched_setaffinity(0, {0})
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    for address in sys.argv[1:]:
        # One without a way there has none.
        with contextlib.suppress(OSError):
            sender.sendto(b"on its way", (address, 9999))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as itself:
    itself.bind(("127.0.0.11", 0))
    for _ in range(16):
        itself.sendto(b"", itself.getsockname())
        itself.recv(1)
"""
COUNTER = """
table inet arrived {
  counter arrived { }
  chain prerouting { type filter hook prerouting priority -400; %s }
  chain input { type filter hook input priority 500; %s }
}
"""
COUNTED = "udp dport 9999 counter name arrived;"


def counter(where: str) -> str:
    """Return the rules that count what arrives in a namespace: at its links, or, on the host, in what takes packets for itself."""
    return COUNTER % (("", COUNTED) if where == "host" else (COUNTED, ""))


@pytest.mark.slow
def test_what_is_on_its_way_during_a_flush_does_not_get_through(lab, addresses):
    """It has met the chains up to some point, and none behind it; for each such point."""
    assert paths(lab, addresses, WITH_RULES) == WITH_RULES
    lab.berth("run", "-d", "--name", "e1", "--network", "a", "--egress", "www.allowed.test", "--", *SERVER)
    # To a peer itself, not by the host that answers for it.
    peer = lab.shell("cat /sys/class/net/eth0/address", where="berth-a1").strip()
    lab.run("ip", "neigh", "replace", addresses["a1"], "lladdr", peer, "dev", "eth0", "nud", "permanent", where="berth-e1")
    sent = {
        "e1": [addresses["a1"], addresses["gateway"], HOST_ADDRESS, OUTSIDE_ADDRESS, addresses["b1"]],
        "a1": [addresses["b1"]],
        "i1": [addresses["b1"], OUTSIDE_ADDRESS],
        "l1": ["127.0.0.1"],
        "s2": [addresses["s1"]],
    }
    places = ("host", "outside", "berth-a1", "berth-b1", "berth-s1")
    for where in places:
        lab.run("nft", "-f", "-", where=where, stdin=counter(where))

    def arrived() -> list[str]:
        for name, to in sent.items():
            lab.run(sys.executable, "-c", SEND, *to, where=f"berth-{name}")
        return [where for where in places if "packets 0 " not in lab.shell("nft reset counter inet arrived arrived", where=where)]

    chains = chains_in_order(lab)
    assert len(chains) > 10
    lab.run(sys.executable, "-c", SEND, OUTSIDE_ADDRESS, addresses["gateway"], addresses["a1"], where="berth-l1")
    assert [where for where in places if "packets 1 " in lab.shell("nft reset counter inet arrived arrived", where=where)] == [*places[:3]]
    lab.daemon.send_signal(signal.SIGSTOP)
    try:
        assert not arrived()
        got_through = {}
        for last in reversed(range(len(chains))):
            lab.shell(f"nft flush chain {chains[last]}")
            if found := arrived():
                got_through[f"without {chains[last]}"] = found
        assert not got_through
    finally:
        lab.shell("nft flush ruleset")
        lab.daemon.send_signal(signal.SIGCONT)
    lab.wait_for(lambda: has_tables(lab))
    lab.berth("rm", "-f", "e1")
    assert paths(lab, addresses, WITH_RULES) == WITH_RULES


def test_other_programs_never_see_the_mark(lab, addresses):
    lab.shell(
        "nft 'add table inet mine; add chain inet mine f { type filter hook forward priority -20; }; "
        "add rule inet mine f meta mark & 0x40000000 != 0 counter'; ip rule add fwmark 0x40000000/0x40000000 prohibit"
    )
    try:
        lab.wait_for(lambda: reaches(lab, "berth-a1", f"http://{OUTSIDE_ADDRESS}:9002/"))
        assert "packets 0" in lab.shell("nft list chain inet mine f")
    finally:
        lab.shell("nft delete table inet mine; ip rule del fwmark 0x40000000/0x40000000")


def test_the_guard_goes_with_the_last_network(lab):
    for name in ("a1", "l1", "b1", "i1", "r1", "s1"):
        lab.berth("rm", name)
    port = json.loads(lab.berth("inspect", "s2").stdout)[0]["endpoints"][0]["host_ifname"]
    assert port in lab.shell("nft list table bridge berth_guard_icc")
    lab.berth("rm", "s2")
    assert lab.run("nft", "list", "table", "bridge", "berth_guard_icc", check=False).returncode != 0
    for name in ("a", "b", "inside", "apart"):
        lab.berth("network", "rm", name)
        assert f'"br-{name}"' not in lab.shell("nft list table inet berth_guard")
    lab.berth("network", "rm", "routed")
    assert "guard" not in lab.berth("status").stdout
    assert lab.run("nft", "list", "table", "inet", "berth_guard", check=False).returncode != 0


HELD = """
import os, subprocess
from netcore.kernel.guard import Guard, Protection
def flushed(guard):
    subprocess.run("nft flush ruleset", shell=True, check=True)
    left = subprocess.run("nft list table inet berth_guard", shell=True, capture_output=True).returncode == 0
    print(left, guard.protection.name)
kept = []
first = Guard(keep=lambda descriptor: kept.append(os.dup(descriptor)))
first.write(["br-a"])
first.close()
flushed(first)
second = Guard()
second.write(["br-b"])
print(second.protection.name)
third = Guard()
third.adopt(*kept)
third.write(["br-b", "br-c"])
flushed(third)
third.close()
flushed(third)
"""


def test_who_holds_the_socket_keeps_the_table(lab):
    """The socket outlives the daemon by whoever holds its descriptor, and goes back to the next daemon."""
    told = lab.run("unshare", "--net", sys.executable, "-c", HELD).stdout.split("\n")
    assert told[:4] == ["True LASTING", "HELD", "True LASTING", "False LASTING"]
