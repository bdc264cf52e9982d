"""What others change of ours is noticed and repaired: one test for each kind of damage, and it is as it was before."""

import json
import sys
import time

import pytest

from tests.netns.conftest import upstream
from tests.support.damage import IN_THE_SANDBOX, INSIDE, ON_THE_HOST, PICTURE, VETH, make_front, picture, repairs, start_box
from tests.support.lab import OUTSIDE_ADDRESS, Lab


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        upstream(made, OUTSIDE_ADDRESS, where="outside")
        made.start_daemon()
        make_front(made)
        yield made


@pytest.fixture(scope="module")
def boxes(lab):
    """Makes the sandbox called box on the network front; *fresh*: a new one, so that no earlier damage inside counts."""
    made = {}

    def box(*, fresh):
        if fresh and made:
            # Its link would be in the picture of before as long as its deletion takes, which is behind the reply.
            lab.berth("rm", "--wait", "box")
            made.clear()
        if not made:
            start_box(lab)
            made["box"] = True

    return box


def quick_and_slow(kinds: dict[str, str]) -> list[object]:
    """Return all kinds, seven of eight of them among the slow tests: each waits for a repair, which takes one or two seconds."""
    return [pytest.param(kind, marks=() if number % 8 == 0 else pytest.mark.slow) for number, kind in enumerate(kinds)]


def damage_and_wait(lab: Lab, command: str, where: str) -> None:
    veth = lab.shell(VETH)
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
    boxes(fresh=kind in ("veth deleted", "veth with another MTU", "hosts file emptied"))
    damage_and_wait(lab, ON_THE_HOST[kind], "host")


@pytest.mark.parametrize("kind", quick_and_slow(IN_THE_SANDBOX))
def test_damage_in_a_sandbox_is_repaired(lab, boxes, kind):
    boxes(fresh=True)
    damage_and_wait(lab, IN_THE_SANDBOX[kind], INSIDE)


@pytest.mark.slow
def test_what_root_in_a_sandbox_breaks_again_is_left_until_somebody_asks(lab, boxes):
    boxes(fresh=True)
    lab.follow_events()
    before = picture(lab)
    lab.run("ip", "route", "del", "default", where=INSIDE)
    lab.wait_for(lambda: "default via 10.70.0.1" in lab.out("ip", "route", where=INSIDE))
    # It is told of behind the repair.
    lab.wait_for(lambda: "berth has repaired it once" in lab.berth("status").stdout)
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


ENDS_OF_PAIRS = {
    "another MAC": "ip link set eth0 address 02:00:00:00:00:99",
    "another MTU": "ip link set eth0 mtu 1300",
    "another name": "ip link set eth0 name stolen",
    "deleted": "ip link del eth0",
}


def said(lab: Lab, words: str) -> list[str]:
    return [line for line in lab.berth("status").stdout.splitlines() if words in line]


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=() if kind == "deleted" else pytest.mark.slow) for kind in ENDS_OF_PAIRS])
def test_the_end_of_a_pair_in_a_sandbox_is_repaired_once_like_all_there(lab, boxes, kind):
    boxes(fresh=True)
    before, count = picture(lab), repairs(lab)
    lab.shell(ENDS_OF_PAIRS[kind], where=INSIDE)
    lab.wait_for(lambda: repairs(lab) > count and picture(lab) == before)
    lab.shell(ENDS_OF_PAIRS[kind], where=INSIDE)
    lab.wait_for(lambda: said(lab, "left alone now"))
    # What goes with the link is not told of besides, nor tried.
    (line,) = said(lab, "left alone now")
    assert "(sandbox box)" in line
    assert not said(lab, "could not be repaired")
    broken = picture(lab)
    assert broken != before
    # Whatever root does to its own link, its other end is the host's and put right ten times in an hour.
    if kind != "deleted":
        veth = lab.shell(VETH)
        for _ in range(2):
            lab.shell(f"ip link set {veth} nomaster")
            lab.wait_for(lambda: picture(lab) == broken)
    lab.berth("doctor", "--fix")
    assert picture(lab) == before


def test_damage_while_no_daemon_runs_is_repaired_at_the_start(lab, boxes):
    boxes(fresh=True)
    before = lab.shell(PICTURE), lab.shell(PICTURE, where=INSIDE)
    veth = lab.shell(VETH)
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
from netcore.desired.firewall import BRIDGES, PORTS
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
assert find_damaged(objects, None).objects == ()
one = len(sent), len(received)
elements = [Element(set=BRIDGES, fields=("br0",)), *(Element(set=PORTS, fields=(f"v{i}",)) for i in range(int(sys.argv[1])))]
nft.write_tables(nft.opened(), elements)
sent.clear()
assert nft_listing.different_parts() == [] and nft_listing.element_drift(elements).missing == ()
wanted = nft_listing.wanted_structure()
sent.clear()
nft_listing.different_parts(), nft_listing.element_drift(elements)
tables = len(sent)
sent.clear()
nft.generation()
print(json.dumps({"one": one, "tables": tables, "generation": len(sent)}))
"""


def test_a_comparison_asks_for_no_more_on_a_host_with_more_links(lab):
    few, many = (json.loads(lab.run("unshare", "--net", sys.executable, "-c", COST, count).stdout) for count in ("2", "40"))
    assert few == many
    assert many["one"] == [3, 4]
    assert many["tables"] <= 90
    assert many["generation"] == 1
