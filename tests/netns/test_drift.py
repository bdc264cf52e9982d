"""What others change of ours is noticed and repaired: one test for each kind of damage, and it is as it was before."""

import json
import sys
import time

import pytest

from tests.netns.conftest import upstream
from tests.support.lab import OUTSIDE_ADDRESS, TABLES, Lab

INSIDE = "berth-box"


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.run("mount", "-o", "remount,rw", "/proc/sys", check=False)
        upstream(made, OUTSIDE_ADDRESS, where="outside")
        made.start_daemon()
        made.berth("network", "create", "--ipv6", "-o", "name=br-front", "--subnet", "10.70.0.0/24", "--subnet", "fd70::/64", "front")
        yield made


@pytest.fixture(scope="module")
def boxes(lab):
    """Makes the sandbox called box on the network front; *fresh*: a new one, so that no earlier damage inside counts."""
    made = {}

    def box(*, fresh):
        if fresh and made:
            lab.berth("rm", "box")
            made.clear()
        if not made:
            options = ("--network", "front", "--ip", "10.70.0.2", "--ip6", "fd70::2", "-p", "8070:80")
            lab.berth("run", "-d", "--name", "box", *options, "--", "sleep", "600")
            made["box"] = True

    return box


PICTURE = """
ip -d -o link show | sed 's/^[0-9]*: //; s/@if[0-9]*//; s/link-netns [^ ]*//; s/NO-CARRIER,//; s/,LOWER_UP//; s/state [A-Z]*//; s/qlen [0-9]*//' \
  | grep -e br-front -e veth -e 'lo:' -e eth0 | grep -v up0 \
  | sed 's/\\\\.* \\(link.ether [^ ]*\\)/ \\1/; s/\\(min\\|max\\)mtu [0-9]*//g; s/bridge_slave.*hairpin on.*/hairpin on/; s/^\\(veth.*link.ether\\) [^ ]*/\\1/; s/ bridge .*alias/ alias/; s/ bridge_slave.*//; s/ bridge .*//' | sort
ip -o addr show | awk '{print $2,$4}' | grep -v fe80 | sort
ip route show | sed 's/ proto [a-z]*//; s/ scope link//; s/ src [^ ]*//; s/ linkdown//; s/ *$//' | sort
ip -6 route show | sed 's/ proto [a-z]*//; s/ metric [0-9]*//; s/ pref [a-z]*//; s/ linkdown//' | grep -v -e fe80 -e multicast -e '^::1 dev lo' | sort
ip neigh show nud permanent | sort
"""
GUARD = "nft -s list table inet berth_guard | grep -v handle"
FILES = "cd /run/berth/sandboxes/*/ && head -100 hosts hostname resolv.conf; ls; ls /run/netns"


def picture(lab: Lab) -> str:
    """Return everything that any of the damages changes, as text."""
    host = lab.shell(f"{PICTURE}\n{TABLES}\n{GUARD}\n{FILES}\nss -Hlntu | awk '{{print $1,$5}}' | sort", check=False)
    inside = lab.shell(f"{PICTURE}\nnft -s list table ip berth\ncat /proc/sys/net/ipv4/conf/eth0/rp_filter", where=INSIDE, check=False)
    return f"{host}\n--- inside\n{inside}"


ON_THE_HOST = {
    "bridge deleted": "ip link del br-front",
    "bridge renamed": "ip link set br-front name stolen",
    "bridge down": "ip link set br-front down",
    "bridge with another MAC": "ip link set br-front address 02:00:00:00:00:99",
    "bridge without its alias": "ip link set br-front alias ''",
    "veth off its bridge": "ip link set $VETH nomaster",
    "veth on another bridge": "ip link add other type bridge; ip link set $VETH master other",
    "veth down": "ip link set $VETH down",
    "veth renamed": "ip link set $VETH name stolen",
    "veth deleted": "ip link del $VETH",
    "veth with another MTU": "ip link set $VETH mtu 1300",
    "hairpin off": "ip link set $VETH type bridge_slave hairpin off",
    "gateway address deleted": "ip addr del 10.70.0.1/24 dev br-front",
    "gateway address deleted, IPv6": "ip addr del fd70::1/64 dev br-front",
    "all addresses flushed": "ip addr flush dev br-front",
    "route to the subnet deleted": "ip route del 10.70.0.0/24",
    "neighbour deleted": "ip neigh del 10.70.0.2 dev br-front",
    "neighbour with another MAC": "ip neigh replace 10.70.0.2 lladdr 02:00:00:00:00:99 dev br-front",
    "neighbour no longer permanent": "ip neigh replace 10.70.0.2 lladdr 02:00:00:00:00:99 dev br-front nud reachable",
    "ruleset flushed": "nft flush ruleset",
    "table deleted": "nft delete table bridge berth",
    "table flushed": "nft flush table inet berth",
    "table dormant": "nft 'add table inet berth { flags dormant; }'",
    "chain flushed": "nft flush chain inet berth forward",
    "rule deleted": "nft delete rule inet berth forward handle $(nft -a list chain inet berth forward | grep -o 'handle [0-9]*' | tail -1 | cut -d' ' -f2)",
    "foreign rule in a chain of ours": "nft insert rule inet berth forward accept",
    "foreign chain in a table of ours": "nft add chain inet berth mine",
    "policy of a chain changed": "nft 'add chain inet berth forward { policy drop ; }'",
    "set flushed": "nft flush set inet berth bridges",
    "map flushed": "nft flush map inet berth dnat4_any",
    "element deleted": 'nft delete element bridge berth ports "{ $VETH }"',
    "foreign element": "nft add element inet berth internal '{ br-front }'",
    "element that leads elsewhere": "nft 'delete element inet berth dnat4_any { tcp . 8070 }; add element inet berth dnat4_any { tcp . 8070 : 10.70.0.9 . 80 }'",
    "pin unmounted": "umount -l /run/netns/berth-box; rm -f /run/netns/berth-box",
    "pin that is another namespace": "umount -l /run/netns/berth-box; rm /run/netns/berth-box; ip netns add berth-box",
    "hosts file deleted": "rm /run/berth/sandboxes/*/hosts",
    "hosts file emptied": ": > $(echo /run/berth/sandboxes/*/hosts)",
    "resolv.conf deleted": "rm /run/berth/sandboxes/*/resolv.conf",
    "hostname deleted": "rm /run/berth/sandboxes/*/hostname",
}
IN_THE_SANDBOX = {
    "lo down": "ip link set lo down",
    "127.0.0.1 deleted": "ip addr del 127.0.0.1/8 dev lo",
    "link down": "ip link set eth0 down",
    "link with another MAC": "ip link set eth0 address 02:00:00:00:00:99",
    "link renamed": "ip link set eth0 name stolen",
    "link deleted": "ip link del eth0",
    "address deleted": "ip addr del 10.70.0.2/24 dev eth0",
    "address deleted, IPv6": "ip addr del fd70::2/64 dev eth0",
    "default route deleted": "ip route del default",
    "default route elsewhere": "ip route replace default via 10.70.0.77",
    "route to the subnet deleted": "ip route del 10.70.0.0/24",
    "neighbour deleted": "ip neigh del 10.70.0.1 dev eth0",
    "sysctl changed": "sysctl -qw net.ipv4.conf.eth0.rp_filter=1",
    "ruleset flushed": "nft flush ruleset",
    "redirect changed": "nft flush chain ip berth output",
}


def quick_and_slow(kinds: dict[str, str]) -> list[object]:
    """Return all kinds, seven of eight of them among the slow tests: each waits for a repair, which takes one or two seconds."""
    return [pytest.param(kind, marks=() if number % 8 == 0 else pytest.mark.slow) for number, kind in enumerate(kinds)]


def repairs(lab: Lab) -> float:
    text = lab.out("curl", "-s", "--unix-socket", "/run/berth/berth.sock", "http://berth/metrics")
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("berth_drift_repairs_total{"))


def damage_and_wait(lab: Lab, command: str, where: str) -> None:
    veth = lab.shell("ip -o link show master br-front | cut -d: -f2 | cut -d@ -f1 | tr -d ' '")
    before, count = picture(lab), repairs(lab)
    lab.shell(f"VETH={veth}; {command}", where=where)
    start = time.monotonic()
    try:
        lab.wait_for(lambda: repairs(lab) > count)
        # With `-s` this is the figure of docs/figures.md.
        print(f"{where}: {command}: repaired after {time.monotonic() - start:.2f} s")
        lab.wait_for(lambda: picture(lab) == before)
    except AssertionError as error:
        now = picture(lab).splitlines()
        error.add_note(
            "\n".join(
                [f"- {line}" for line in before.splitlines() if line not in now] + [f"+ {line}" for line in now if line not in before]
            )
        )
        raise
    assert "changed by another program; berth has repaired it" in lab.out(
        "curl", "-s", "--unix-socket", "/run/berth/berth.sock", "http://berth/v1/status"
    )
    for server in ("127.0.0.11", "10.70.0.1"):
        assert lab.out("dig", "+short", f"@{server}", "box", where=INSIDE) == "10.70.0.2"


@pytest.mark.parametrize("kind", quick_and_slow(ON_THE_HOST))
def test_damage_on_the_host_is_repaired(lab, boxes, kind):
    boxes(fresh=kind in ("veth with another MTU", "hosts file emptied"))
    damage_and_wait(lab, ON_THE_HOST[kind], "host")


@pytest.mark.parametrize("kind", quick_and_slow(IN_THE_SANDBOX))
def test_damage_in_a_sandbox_is_repaired(lab, boxes, kind):
    boxes(fresh=True)
    damage_and_wait(lab, IN_THE_SANDBOX[kind], INSIDE)


def test_what_root_in_a_sandbox_breaks_again_is_left_until_somebody_asks(lab, boxes):
    boxes(fresh=True)
    lab.follow_events()
    before = picture(lab)
    lab.run("ip", "route", "del", "default", where=INSIDE)
    lab.wait_for(lambda: "default via 10.70.0.1" in lab.out("ip", "route", where=INSIDE))
    assert "berth has repaired it once" in lab.berth("status").stdout
    lab.run("ip", "route", "del", "default", where=INSIDE)
    lab.wait_for(lambda: "it is left alone now" in lab.berth("status").stdout)
    assert "default via 10.70.0.1" not in lab.out("ip", "route", where=INSIDE)
    told = lab.berth("doctor", check=False)
    assert (told.returncode, told.stdout.count("route 0.0.0.0/0 via 10.70.0.1 dev eth0")) == (1, 1)
    assert "mended: route" in lab.berth("doctor", "--fix").stdout
    assert picture(lab) == before
    assert lab.berth("doctor").stdout == "0 problems\n"

    def actions() -> list[str]:
        return [line.split()[2] for line in lab.events().splitlines() if " drift " in line]

    lab.wait_for(lambda: len(actions()) >= 3)
    assert actions() == ["repair", "leave", "repair"]


def test_damage_while_no_daemon_runs_is_repaired_at_the_start(lab, boxes):
    boxes(fresh=True)
    before = lab.shell(PICTURE), lab.shell(PICTURE, where=INSIDE)
    veth = lab.shell("ip -o link show master br-front | cut -d: -f2 | cut -d@ -f1 | tr -d ' '")
    lab.stop_daemon()
    lab.shell(f"ip link set {veth} nomaster down; ip link set br-front name stolen; ip link set stolen address 02:00:00:00:00:99 down")
    lab.shell("ip link set lo down; ip link set eth0 address 02:00:00:00:00:99 down; ip addr flush dev eth0", where=INSIDE)
    lab.start_daemon()
    assert (lab.shell(PICTURE), lab.shell(PICTURE, where=INSIDE)) == before
    assert lab.out("dig", "+short", "@127.0.0.11", "box", where=INSIDE) == "10.70.0.2"


COST = """
import json, subprocess, sys
from ipaddress import ip_address, ip_interface
from netcore.desired.objects import HOST, Address, Bridge, Neighbor, Sysctl
from netcore.desired.firewall import BRIDGES, PORTS, render_firewall
from netcore.desired.objects import Element
from netcore.kernel import netlink, nft, nft_listing
from netcore.kernel.observe import find_damaged
sent, received = [], []
message, receive = netlink.NetlinkSocket._message, netlink.NetlinkSocket._receive
netlink.NetlinkSocket._message = lambda self, request, flags: (sent.append(request.operation), message(self, request, flags))[1]
def counted(self):
    for one in receive(self):
        received.append(len(one[3]))
        yield one
netlink.NetlinkSocket._receive = counted
mac = "02:42:00:00:00:01"
subprocess.run("ip link add br0 type bridge; ip link set br0 address " + mac + " up alias tag; ip addr add 10.0.0.1/24 dev br0;"
               "ip neigh add 10.0.0.2 lladdr " + mac + " dev br0 nud permanent; for i in $(seq " + sys.argv[1] + ");"
               "do ip link add v$i master br0 type veth peer name w$i; ip neigh add 10.0.1.$i lladdr " + mac + " dev br0 nud permanent; done",
               shell=True, check=True)
objects = [Bridge(name="br0", mac=mac, mtu=1500, tag="tag"), Address(sandbox_id=HOST, ifname="br0", interface=ip_interface("10.0.0.1/24")),
           Neighbor(sandbox_id=HOST, ifname="br0", address=ip_address("10.0.0.2"), mac=mac)]
assert find_damaged(objects, None) == ()
one = len(sent), len(received)
elements = [Element(set=BRIDGES, fields=("br0",)), *(Element(set=PORTS, fields=(f"v{i}",)) for i in range(int(sys.argv[1])))]
nft.apply_text(render_firewall(elements))
sent.clear()
assert nft_listing.different_parts() == [] and nft_listing.element_drift(elements).missing == ()
wanted = nft_listing.wanted_structure()
sent.clear()
nft_listing.different_parts(), nft_listing.element_drift(elements)
tables = len(sent)
sent.clear()
nft_listing.generation()
print(json.dumps({"one": one, "tables": tables, "generation": len(sent)}))
"""


def test_a_comparison_asks_for_no_more_on_a_host_with_more_links(lab):
    few, many = (json.loads(lab.run("unshare", "--net", sys.executable, "-c", COST, count).stdout) for count in ("2", "40"))
    assert few == many
    assert many["one"] == [4, 5]
    assert many["tables"] <= 60
    assert many["generation"] == 1
