"""What root in a sandbox may send: frames made by hand, and who gets them. Each frame that must not pass is heard by nobody."""

from __future__ import annotations

import json
import signal
import struct
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import frames
from tests.support.frames import ethernet, icmpv6, ipv4, ipv6, neighbor, udp
from tests.support.lab import Lab

PROGRAM = str(Path(frames.__file__))


class Member(NamedTuple):
    name: str
    mac: str
    ipv4: str
    ipv6: str
    port: str

    @property
    def link_local(self) -> str:
        first, *rest = frames.octets(self.mac)
        high, low = bytes([first ^ 2, *rest[:2], 0xFF]), bytes([0xFE, *rest[2:]])
        digits = (high + low).hex()
        return "fe80::" + ":".join(digits[at : at + 4] for at in range(0, 16, 4))


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        # Otherwise fragments of IPv6 are put together on the way.
        made.run("sysctl", "-qw", "net.bridge.bridge-nf-call-ip6tables=0")
        made.run("ip", "link", "add", "own", "type", "bridge")
        made.run("ip", "link", "set", "own", "up")
        made.start_daemon()
        made.berth("network", "create", "--ipv6", "-o", "name=br-n", "n")
        for name, more in (("evil", ()), ("victim", ()), ("friend", ()), ("router", ("--forward",))):
            made.berth("run", "-d", "--name", name, "--network", "n", *more, "--", "sleep", "infinity")
        yield made


@pytest.fixture(scope="module")
def members(lab):
    return {name: member(lab, name) for name in ("evil", "victim", "friend", "router")}


def member(lab: Lab, name: str) -> Member:
    inspected = lab.inspect(name)
    index = lab.in_sandbox(name, "ip", "-o", "link", "show", "eth0").split("@if")[1].split(":")[0]
    (port,) = [line.split(": ")[1].split("@")[0] for line in lab.out("ip", "-o", "link").splitlines() if line.startswith(f"{index}:")]
    return Member(name, inspected["endpoints"][0]["mac"], *inspected["addresses"], port)


class Ear:
    """Hears what comes in on a link of a sandbox, or of the host with *name* None, until `heard` is asked."""

    def __init__(self, lab: Lab, name: str | None, ifname: str = "eth0") -> None:
        command = (sys.executable, PROGRAM, "hear", ifname, "that-was-all")
        self.process = lab.start(*command) if name is None else lab.start(sys.executable, "-m", "resolver", "exec", name, *command)
        assert self.process.stdout.readline() == "hearing\n"

    def heard(self) -> list[bytes]:
        """Return what was heard until the frame that says that all was sent."""
        return [bytes.fromhex(line) for line in self.process.communicate(timeout=60)[0].split()]


def send(lab: Lab, name: str, *sent: bytes, count: int = 1) -> None:
    lines = "\n".join(frame.hex() for frame in sent)
    said = lab.berth("exec", name, sys.executable, PROGRAM, "send", "eth0", str(count), stdin=lines).stdout
    assert int(said) == count * len(sent)


def that_was_all(member: Member) -> bytes:
    return ethernet(frames.BROADCAST, member.mac, frames.IPV4, ipv4(member.ipv4, "255.255.255.255", frames.UDP, udp(9, 9, b"that-was-all")))


def heard_of(lab: Lab, sender: Member, sent: list[bytes], ears: list[Ear]) -> list[list[int]]:
    """Return which of the frames *sent* each of *ears* has heard, by their number."""
    send(lab, sender.name, *sent, that_was_all(sender))
    heard = [ear.heard() for ear in ears]
    return [[number for number, frame in enumerate(sent) if any(frame in one or one in frame for one in got)] for got in heard]


def dns(member: Member) -> bytes:
    return udp(5300, 5300, b"payload of %s" % member.name.encode())


def learned(lab: Lab, bridge: str = "br-n") -> list[str]:
    """Return the entries of a bridge's table that it made by itself, from what it saw."""
    lines = lab.shell(f"bridge fdb show br {bridge}").splitlines()
    return [line for line in lines if "permanent" not in line and "static" not in line and line.split()[0][:2] not in ("33", "01")]


def test_endpoints_have_entries_that_no_frame_can_move(lab, members):
    """A frame to a link-local group never meets the firewall: the bridge learned its source before."""
    victim, friend = members["victim"], members["friend"]
    for group in (frames.LLDP, frames.STP, frames.LACP, frames.BRIDGE_ADDRESS):
        send(lab, "evil", ethernet(group, victim.mac, 0x88CC, b"\2\7\4" + frames.octets(victim.mac) + bytes(50)))
    table = [line.split() for line in lab.shell("bridge fdb show br br-n").splitlines()]
    assert [row[2] for row in table if row[0] == victim.mac] == [victim.port]
    assert learned(lab) == []
    ear, other = Ear(lab, "victim"), Ear(lab, "evil")
    wanted = ethernet(victim.mac, friend.mac, frames.IPV4, ipv4(friend.ipv4, victim.ipv4, frames.UDP, udp(7, 7, b"for the victim")))
    assert heard_of(lab, friend, [wanted], [ear, other]) == [[0], []]


def test_five_thousand_addresses_leave_the_table_as_it_was(lab, members):
    before = lab.shell("bridge fdb show br br-n | wc -l")
    sources = [f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}" for number in range(5000)]
    send(lab, "evil", *(ethernet(frames.LLDP, source, 0x88CC, bytes(50)) for source in sources))
    send(lab, "evil", *(ethernet(frames.BROADCAST, source, 0x88CC, bytes(50)) for source in sources))
    assert learned(lab) == []
    assert lab.shell("bridge fdb show br br-n | wc -l") == before


def forbidden(evil: Member, victim: Member, gateway: str, gateway_mac: str) -> dict[str, bytes]:
    """Return what *evil* must not send, by what it tries."""
    everybody, nodes = frames.BROADCAST, "33:33:00:00:00:01"
    own, theirs = evil.mac, victim.mac
    group = "ff02::1"
    routing = bytes([frames.ICMPV6, 2, 0, 1]) + bytes(4) + bytes(16)
    whole = bytes([frames.ICMPV6, 0]) + struct.pack("!HI", 0, 5)
    hidden = bytes([frames.DESTINATION_OPTIONS, 0]) + struct.pack("!HI", 1, 6)
    padding = bytes([frames.ICMPV6, 0, 1, 4]) + bytes(4)
    offer = bytes([2, 1, 6, 0]) + bytes(240)
    advertised = frames.router_advertisement(evil.link_local, own, "fd66::")
    lsrr, ssrr = (bytes([kind, 7, 4]) + bytes(map(int, gateway.split("."))) for kind in (131, 137))
    redirect = b"\5\1" + bytes(2) + bytes(map(int, evil.ipv4.split("."))) + ipv4(victim.ipv4, "8.8.8.8", frames.UDP, dns(victim))
    return {
        "another's address": ethernet(theirs, own, frames.IPV4, ipv4(gateway, victim.ipv4, frames.UDP, dns(evil))),
        "another's MAC": ethernet(theirs, gateway_mac, frames.IPV4, ipv4(evil.ipv4, victim.ipv4, frames.UDP, dns(evil))),
        "ARP for another": ethernet(everybody, own, frames.ARP, frames.arp(2, own, gateway, everybody, gateway)),
        "ARP that lies of a MAC": ethernet(everybody, own, frames.ARP, frames.arp(2, theirs, evil.ipv4, everybody, evil.ipv4)),
        "gratuitous ARP for another": ethernet(everybody, own, frames.ARP, frames.arp(1, own, victim.ipv4, everybody, victim.ipv4)),
        "advertisement for another": ethernet(
            nodes, own, frames.IPV6, neighbor(frames.NEIGHBOR_ADVERTISEMENT, evil.ipv6, group, victim.ipv6, own)
        ),
        "the same, in a fragment": ethernet(
            nodes, own, frames.IPV6,
            neighbor(frames.NEIGHBOR_ADVERTISEMENT, evil.ipv6, group, victim.ipv6, own, before=whole, first=frames.FRAGMENT),
        ),
        "duplicate detection for another": ethernet(
            "33:33:ff:00:00:01", own, frames.IPV6, neighbor(frames.NEIGHBOR_SOLICITATION, "::", "ff02::1:ff00:1", victim.ipv6, own)
        ),
        "router advertisement": ethernet(nodes, own, frames.IPV6, advertised),
        "router advertisement behind options": ethernet(
            nodes, own, frames.IPV6,
            frames.router_advertisement(evil.link_local, own, "fd66::", before=padding, first=frames.DESTINATION_OPTIONS),
        ),
        "router advertisement in a fragment": ethernet(
            nodes, own, frames.IPV6, frames.router_advertisement(evil.link_local, own, "fd66::", before=whole, first=frames.FRAGMENT)
        ),
        "first fragment without its header": ethernet(
            nodes, own, frames.IPV6, ipv6(evil.link_local, group, frames.FRAGMENT, hidden + bytes([frames.ICMPV6, 0, 1, 4, 0, 0, 0, 0]))
        ),
        "redirect, IPv6": ethernet(
            theirs, own, frames.IPV6, icmpv6(evil.link_local, victim.ipv6, frames.REDIRECT, bytes(4) + bytes(16) + bytes(15) + b"\1")
        ),
        "redirect, IPv4": ethernet(theirs, own, frames.IPV4, ipv4(evil.ipv4, victim.ipv4, frames.ICMP, redirect)),
        "router advertisement, IPv4": ethernet(
            everybody, own, frames.IPV4, ipv4(evil.ipv4, "224.0.0.1", frames.ICMP, b"\x09\0\0\0\1\2\0\x1e" + bytes(8))
        ),
        "DHCP offer": ethernet(everybody, own, frames.IPV4, ipv4(evil.ipv4, "255.255.255.255", frames.UDP, udp(67, 68, offer))),
        "DHCP offer from any port": ethernet(theirs, own, frames.IPV4, ipv4(evil.ipv4, victim.ipv4, frames.UDP, udp(9, 68, offer))),
        "DHCPv6 advertisement": ethernet(
            theirs, own, frames.IPV6, ipv6(evil.link_local, victim.link_local, frames.UDP, udp(547, 546, b"\2abc" + bytes(30)))
        ),
        "IGMP query": ethernet(everybody, own, frames.IPV4, ipv4(evil.ipv4, "224.0.0.1", frames.IGMP, b"\x11\x64\xee\x9b\0\0\0\0")),
        "MLD query": ethernet(nodes, own, frames.IPV6, icmpv6(evil.link_local, group, frames.MLD_QUERY, bytes(20), hops=1)),
        "VLAN": ethernet(
            theirs, own, frames.IPV4, ipv4(evil.ipv4, victim.ipv4, frames.UDP, dns(evil)), tags=((frames.VLAN, 7),)
        ),
        "VLAN 0": ethernet(
            theirs, own, frames.IPV4, ipv4(evil.ipv4, victim.ipv4, frames.UDP, dns(evil)), tags=((frames.VLAN, 0),)
        ),
        "two tags": ethernet(
            theirs, own, frames.IPV4, ipv4(evil.ipv4, victim.ipv4, frames.UDP, dns(evil)),
            tags=((frames.SERVICE_VLAN, 7), (frames.VLAN, 8)),
        ),
        "ARP in a VLAN": ethernet(everybody, own, frames.ARP, frames.arp(1, own, evil.ipv4, everybody, gateway), tags=((frames.VLAN, 9),)),
        "loose source route": ethernet(
            theirs, own, frames.IPV4, ipv4(evil.ipv4, victim.ipv4, frames.UDP, dns(evil), options=lsrr)
        ),
        "strict source route": ethernet(
            theirs, own, frames.IPV4, ipv4(evil.ipv4, victim.ipv4, frames.UDP, dns(evil), options=ssrr)
        ),
        "routing header": ethernet(
            theirs, own, frames.IPV6, icmpv6(evil.ipv6, victim.ipv6, 128, b"\0\1\0\1", before=routing, first=frames.ROUTING)
        ),
        "STP": ethernet(frames.STP, own, 38, b"\x42\x42\3" + bytes(35)),
        "LLDP": ethernet(frames.LLDP, own, 0x88CC, b"\2\7\4" + frames.octets(own) + bytes(50)),
        "IP in a frame that bridges keep": ethernet(
            frames.LLDP, own, frames.IPV4, ipv4(evil.ipv4, gateway, frames.UDP, dns(evil))
        ),
        "router advertisement in a frame that bridges keep": ethernet(frames.BRIDGE_ADDRESS, own, frames.IPV6, advertised),
        "neither IP nor ARP": ethernet(everybody, own, 0x88B5, b"experiment" + bytes(50)),
        "PPPoE": ethernet(theirs, own, 0x8864, b"\x11\0\0\1\0\x16\0\x21" + ipv4(gateway, victim.ipv4, frames.UDP, dns(evil))),
    }  # fmt: skip


def permitted(member: Member, victim: Member) -> dict[str, bytes]:
    """Return what anybody may send of what looks alike."""
    everybody, theirs, own = frames.BROADCAST, victim.mac, member.mac
    whole = bytes([frames.ICMPV6, 0]) + struct.pack("!HI", 0, 9)
    return {
        "datagram": ethernet(theirs, own, frames.IPV4, ipv4(member.ipv4, victim.ipv4, frames.UDP, dns(member))),
        "broadcast": ethernet(everybody, own, frames.IPV4, ipv4(member.ipv4, "255.255.255.255", frames.UDP, dns(member))),
        "DHCP request": ethernet(everybody, own, frames.IPV4, ipv4("0.0.0.0", "255.255.255.255", frames.UDP, udp(68, 67, bytes(240)))),
        "ARP": ethernet(everybody, own, frames.ARP, frames.arp(1, own, member.ipv4, everybody, victim.ipv4)),
        "duplicate detection": ethernet(
            "33:33:ff:00:00:01", own, frames.IPV6, neighbor(frames.NEIGHBOR_SOLICITATION, "::", "ff02::1:ff00:1", member.ipv6, own)
        ),
        "advertisement": ethernet(
            theirs, own, frames.IPV6, neighbor(frames.NEIGHBOR_ADVERTISEMENT, member.ipv6, victim.ipv6, member.ipv6, own)
        ),
        "echo in fragments": ethernet(
            theirs, own, frames.IPV6, icmpv6(member.ipv6, victim.ipv6, 128, bytes(12), before=whole, first=frames.FRAGMENT)
        ),
        "IGMP report": ethernet(
            "01:00:5e:00:00:fb", own, frames.IPV4, ipv4(member.ipv4, "224.0.0.251", frames.IGMP, b"\x16\0\x09\4\xe0\0\0\xfb")
        ),
        "timestamp option": ethernet(
            theirs, own, frames.IPV4, ipv4(member.ipv4, victim.ipv4, frames.UDP, dns(member), options=b"\x44\x08\x05\0" + bytes(4))
        ),
    }  # fmt: skip


def gateway_of(lab: Lab) -> tuple[str, str]:
    link = json.loads(lab.out("ip", "-j", "addr", "show", "br-n"))[0]
    return next(address["local"] for address in link["addr_info"] if address["family"] == "inet"), link["address"]


def test_what_a_sandbox_must_not_send_is_heard_by_nobody(lab, members):
    evil, victim = members["evil"], members["victim"]
    tried = forbidden(evil, victim, *gateway_of(lab))
    names = [*tried]
    ears = [Ear(lab, "victim"), Ear(lab, "router"), Ear(lab, None, "br-n")]
    heard = heard_of(lab, evil, [*tried.values()], ears)
    assert [[names[number] for number in got] for got in heard] == [[], [], []]


def test_what_looks_alike_and_is_right_is_heard(lab, members):
    evil, victim = members["evil"], members["victim"]
    right = permitted(evil, victim)
    names = [*right]
    (heard,) = heard_of(lab, evil, [*right.values()], [Ear(lab, "victim")])
    assert [names[number] for number in heard] == names


def test_frames_that_bridges_keep_do_not_reach_the_host_by_the_port(lab, members):
    """The bridge hands them to the port's own link, where neither source binding nor the rules for bridges meet them."""
    evil, gateway = members["evil"], gateway_of(lab)[0]
    lab.run("sysctl", "-qw", "net.ipv6.conf.all.accept_ra=2", f"net.ipv6.conf.{evil.port}.accept_ra=2", check=False)
    said = lab.start(sys.executable, "-c", _UDP_LISTENER, "5300")
    assert said.stdout.readline() == "listening\n"
    groups = [f"01:80:c2:00:00:{number:02x}" for number in range(16)]
    packets = [
        (frames.IPV4, ipv4("192.0.2.99", gateway, frames.UDP, udp(1, 5300, b"by a group"))),
        (frames.IPV6, frames.router_advertisement(evil.link_local, evil.mac, "fd66::")),
    ]
    send(lab, "evil", *(ethernet(group, evil.mac, kind, packet) for group in groups for kind, packet in packets))
    good = ethernet(gateway_of(lab)[1], evil.mac, frames.IPV4, ipv4(evil.ipv4, gateway, frames.UDP, udp(1, 5300, b"by the bridge")))
    send(lab, "evil", good)
    assert said.stdout.readline() == "by the bridge\n"
    said.kill()
    assert "fd66" not in lab.shell("ip -6 route show table all; ip -6 addr")
    assert evil.port not in lab.shell("ip -6 route show default")


_UDP_LISTENER = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", int(sys.argv[1])))
print("listening", flush=True)
while True:
    print(sock.recv(100).decode(), flush=True)
"""


def test_a_router_may_advertise_itself_and_pass_on_what_others_sent(lab, members):
    router, victim = members["router"], members["victim"]
    may = {
        "router advertisement": ethernet(
            "33:33:00:00:00:01", router.mac, frames.IPV6, frames.router_advertisement(router.link_local, router.mac, "fd77::")
        ),
        "another's address": ethernet(victim.mac, router.mac, frames.IPV4, ipv4("192.0.2.7", victim.ipv4, frames.UDP, dns(router))),
        "DHCP offer": ethernet(
            frames.BROADCAST, router.mac, frames.IPV4, ipv4(router.ipv4, "255.255.255.255", frames.UDP, udp(67, 68, bytes(240)))
        ),
    }  # fmt: skip
    may_not = {
        "another's router advertisement": ethernet(
            "33:33:00:00:00:01", router.mac, frames.IPV6, frames.router_advertisement("fe80::1", router.mac, "fd78::")
        ),
        "another's MAC": ethernet(victim.mac, victim.mac, frames.IPV4, ipv4("192.0.2.7", victim.ipv4, frames.UDP, dns(router))),
        "VLAN": ethernet(
            victim.mac, router.mac, frames.IPV4, ipv4(router.ipv4, victim.ipv4, frames.UDP, dns(router)), tags=((frames.VLAN, 7),)
        ),
    }
    names = [*may, *may_not]
    (heard,) = heard_of(lab, router, [*may.values(), *may_not.values()], [Ear(lab, "victim")])
    assert [names[number] for number in heard] == [*may]


@pytest.mark.slow
@pytest.mark.parametrize("bridge", ["made", "the host's own"])
def test_nothing_passes_while_a_sandbox_is_connected_and_disconnected(lab, bridge):
    """What binds a port must be there before the port is, and until it is gone. The sandbox brings its link up itself."""
    name = "w" if bridge == "made" else "o"
    lab.berth("network", "create", *(() if bridge == "made" else ("-o", "name=own")), name)
    lab.berth("run", "-d", "--name", f"{name}-victim", "--network", name, "--", "sleep", "infinity")
    victim_mac = lab.inspect(f"{name}-victim")["endpoints"][0]["mac"]
    (address,) = lab.inspect(f"{name}-victim")["addresses"]
    gateway = address.rpartition(".")[0] + ".1"
    lied = ethernet(
        frames.BROADCAST, "02:00:00:00:66:66", frames.ARP, frames.arp(2, "02:00:00:00:66:66", gateway, frames.BROADCAST, gateway)
    )
    ear = Ear(lab, f"{name}-victim")
    insisting = lab.start_talking("evil", Path(PROGRAM).read_text(), "insist", "eth1", lied.hex())
    for _ in range(5):
        lab.berth("network", "connect", name, "evil")
        lab.berth("network", "disconnect", name, "evil")
    sent = int(insisting.communicate("", timeout=60)[0])
    lab.berth("network", "connect", name, "friend")
    lab.berth("exec", "friend", sys.executable, PROGRAM, "send", "eth1", stdin=that_was_all(second(lab, "friend")).hex())
    heard = ear.heard()
    assert sent > 0
    assert len([frame for frame in heard if lied in frame]) == 0
    assert victim_mac not in lab.shell("ip neigh show nud reachable")
    lab.berth("network", "disconnect", name, "friend")
    lab.berth("rm", f"{name}-victim")
    lab.berth("network", "rm", name)


def second(lab: Lab, name: str) -> Member:
    """Return the second endpoint of a sandbox."""
    endpoint = lab.inspect(name)["endpoints"][1]
    address = json.loads(lab.in_sandbox(name, "ip", "-j", "-4", "addr", "show", "eth1"))[0]["addr_info"][0]["local"]
    return Member(name, endpoint["mac"], address, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_nothing_passes_while_the_daemon_is_started_again(lab, members, how):
    """A port that lost its link meanwhile is made anew, and is bound from the first frame on."""
    evil = members["evil"]
    gateway, _ = gateway_of(lab)
    lied = ethernet(
        frames.BROADCAST, "02:00:00:00:66:67", frames.ARP, frames.arp(2, "02:00:00:00:66:67", gateway, frames.BROADCAST, gateway)
    )
    ear = Ear(lab, "victim")
    insisting = lab.start_talking("evil", Path(PROGRAM).read_text(), "insist", "eth0", lied.hex())
    lab.stop_daemon(signal.SIGTERM if how == "stopped" else signal.SIGKILL)
    # As an earlier version, or somebody else, left it.
    lab.run("bridge", "link", "set", "dev", members["friend"].port, "learning", "on", "flood", "on")
    lab.run("ip", "link", "del", evil.port)
    lab.start_daemon()
    sent = int(insisting.communicate("", timeout=60)[0])
    send(lab, "friend", that_was_all(members["friend"]))
    heard = ear.heard()
    assert sent > 0
    assert len([frame for frame in heard if lied in frame]) == 0
    for name in ("evil", "friend"):
        flags = lab.shell(f"bridge -d link show dev {members[name].port}")
        assert "learning off flood off" in flags
        assert f"{members[name].mac} dev {members[name].port}" in lab.shell("bridge fdb show br br-n")
