"""Taps: virtual machines, by stand-ins, get their addresses by DHCP and router advertisements, have names and ports, and are held to them."""

import json
import shutil
import signal
import sys
from ipaddress import ip_interface
from pathlib import Path

import pytest

from tests.netns.test_follow import go_down
from tests.support.guest import DHCP_SCRIPT
from tests.support.lab import OUTSIDE_ADDRESS, Lab
from tests.support.user_lab import HOME, SERVER, UID, UserLab, why_no_user

ROOT = Path(__file__).parents[2]
GUEST = str(ROOT / "tests" / "support" / "guest.py")


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.shell(f"cat > /mnt/dhcp.sh <<'END'\n{DHCP_SCRIPT}END\nchmod +x /mnt/dhcp.sh")
        made.start_daemon()
        made.berth("network", "create", "--ipv6", "front")
        made.berth("run", "-d", "--name", "web", "--network", "front", "--", sys.executable, "-m", "http.server", "80", "-d", "/mnt/work")
        made.shell("ip netns add vm1; ip netns add vm2; ip -n vm1 link set lo up; ip -n vm2 link set lo up")
        yield made


def create(lab, *more, name="vm1", network="front"):
    """Make a tap and return its MAC."""
    return lab.berth("tap", "create", *more, network, name).stdout.strip()


def boot(lab, mac, name="vm1"):
    """Start the stand-in of a virtual machine, and bring its card up."""
    guest = lab.start(sys.executable, GUEST, name, name)
    assert guest.stdout.readline() == "there\n"
    lab.shell(f"ip -n {name} link set eth0 address {mac} up")
    return guest


def lease(lab, name="vm1", *more):
    """Have udhcpc get a lease, and return what it was told."""
    lab.shell("rm -f /mnt/lease.*")
    lab.run("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "20", "-T", "1", "-s", "/mnt/dhcp.sh", *more, where=name)
    text = lab.shell("cat /mnt/lease.bound")
    return dict(line.split("=", 1) for line in text.splitlines())


def end(lab, guest, *names):
    guest.kill()
    guest.wait()
    lab.berth("tap", "rm", *(names or ("vm1",)))


@pytest.mark.slow
def test_a_guest_has_what_a_sandbox_has(lab):
    before = lab.kernel_state()
    mac = create(lab, "-p", "8080:80", "--network-alias", "machine")
    shown = lab.inspect("vm1")
    address, address6 = (ip_interface(text) for text in shown["endpoints"][0]["addresses"])
    guest = boot(lab, mac)
    (front,) = json.loads(lab.berth("network", "inspect", "front").stdout)
    told = lease(lab)
    assert told["ip"] == str(address.ip)
    assert told["mask"] == str(address.network.prefixlen)
    assert (told["hostname"], told["mtu"]) == ("vm1", "1500")
    assert told["router"] == told["dns"] == told["serverid"]
    assert told["router"] == front["pools"][0]["gateway"]
    # IPv6 by itself, with a default route, and no lease.
    lab.wait_for(lambda: str(address6.ip) in lab.out("ip", "-n", "vm1", "-6", "addr", "show", "dev", "eth0", "-tentative"))
    lab.wait_for(lambda: "default via fe80::" in lab.out("ip", "-n", "vm1", "-6", "route"))
    # Names both ways, by the network's resolver.
    web = lab.inspect("web")["addresses"]
    for kind, wanted in (("A", web[0]), ("AAAA", web[1])):
        assert lab.out("dig", "+short", f"@{told['dns']}", "web", kind, where="vm1").strip() == wanted
    for name in ("vm1", "machine", "vm1.front"):
        assert lab.in_sandbox("web", "dig", "+short", name).strip() == str(address.ip)
        assert lab.in_sandbox("web", "dig", "+short", name, "AAAA").strip() == str(address6.ip)
    lab.shell(
        f"ip netns exec vm1 ping -c 1 -W 5 {web[0]}; ip netns exec vm1 ping -c 1 -W 5 {web[1]}; ip netns exec vm1 ping -c 1 -W 5 {OUTSIDE_ADDRESS}"
    )
    # A published port, from the host and from outside.
    lab.start(sys.executable, "-m", "http.server", "80", "--bind", "::", "-d", "/mnt/work", where="vm1")
    lab.wait_for(lambda: lab.run("curl", "-sf", "-m", "5", "http://127.0.0.1:8080/", check=False).returncode == 0)
    lab.run("curl", "-sf", "-m", "20", "http://10.9.0.2:8080/", where="outside")
    lab.berth("exec", "web", "curl", "-sf", "-m", "20", "http://vm1.front/")
    ps = json.loads(lab.berth("ps", "--format", "json").stdout)
    assert "vm1" in [one["name"] for one in ps]
    end(lab, guest)
    assert lab.in_sandbox("web", "dig", "+short", "vm1").strip() == ""
    assert lab.kernel_state() == before


@pytest.mark.slow
def test_dhclient_gets_the_same(lab):
    if shutil.which("dhclient") is None:
        pytest.skip("dhclient is not installed (package isc-dhcp-client)")
    mac = create(lab, "--ip", "172.17.0.77", "--mac-address", "02:42:00:00:00:77")
    assert mac == "02:42:00:00:00:77"
    guest = boot(lab, mac)
    lab.shell("printf '#!/bin/sh\\nenv | grep ^new_ > /mnt/dhclient.env\\n' > /mnt/dhclient.sh; chmod +x /mnt/dhclient.sh")
    lab.run(
        "dhclient", "-1", "-v", "-sf", "/mnt/dhclient.sh", "-lf", "/mnt/dhclient.leases", "-pf", "/mnt/dhclient.pid", "eth0", where="vm1"
    )
    told = dict(line.split("=", 1) for line in lab.shell("cat /mnt/dhclient.env").splitlines())
    assert told["new_ip_address"] == "172.17.0.77"
    assert told["new_domain_name_servers"] == told["new_routers"]
    lab.shell("kill $(cat /mnt/dhclient.pid)")
    end(lab, guest)


def reaches(lab, address, name="vm1"):
    return lab.run("ping", "-c", "1", "-W", "1", address, where=name, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_leaves_the_guest_its_link(lab, how):
    mac = create(lab)
    shown = lab.inspect("vm1")
    guest = boot(lab, mac)
    lease(lab)
    lab.stop_daemon(how)
    address = lab.shell("ip -n vm1 -4 -o addr show dev eth0").split()[3].partition("/")[0]
    assert reaches(lab, OUTSIDE_ADDRESS)
    lab.start_daemon()
    after = lab.inspect("vm1")
    assert [(one["mac"], one["addresses"], one["tap"]) for one in after["endpoints"]] == [
        (one["mac"], one["addresses"], one["tap"]) for one in shown["endpoints"]
    ]
    assert lease(lab)["ip"] == address
    assert lab.in_sandbox("web", "dig", "+short", "vm1").strip() == address
    # A reboot ends it, as it ends whatever waits without --persist.
    end(lab, guest)


@pytest.mark.slow
def test_a_tap_that_somebody_deletes_or_renames_is_there_again(lab):
    mac = create(lab, "--user", "nobody")
    guest = boot(lab, mac)
    address = lease(lab)["ip"]
    lab.shell("ip link set vm1 down; ip link set vm1 name other")
    lab.wait_for(lambda: " master br-" in lab.run("ip", "-o", "link", "show", "vm1", check=False).stdout)
    # It is the same one, so the virtual machine goes on.
    lab.wait_for(lambda: reaches(lab, OUTSIDE_ADDRESS))
    lab.shell("ip link del vm1")
    guest.wait()
    lab.wait_for(lambda: " master br-" in lab.run("ip", "-o", "link", "show", "vm1", check=False).stdout)
    assert "user nobody" in lab.shell("ip -d link show vm1") or "user 65534" in lab.shell("ip -d link show vm1")
    again = boot(lab, mac)
    assert lease(lab)["ip"] == address
    end(lab, again)


@pytest.mark.slow
def test_egress_rules_hold_a_guest(lab):
    mac = create(lab, "--egress", "example.org")
    web = lab.inspect("web")["addresses"][0]
    guest = boot(lab, mac)
    gateway = lease(lab)["router"]
    assert not reaches(lab, web)
    assert not reaches(lab, OUTSIDE_ADDRESS)
    assert lab.out("dig", "+short", f"@{gateway}", "web", where="vm1").strip() == ""
    lab.berth("egress", "add", "vm1", "network:front")
    assert lab.out("dig", "+short", f"@{gateway}", "web", where="vm1").strip() == web
    assert reaches(lab, web)
    assert not reaches(lab, OUTSIDE_ADDRESS)
    # A name opens what its answer has, to this guest.
    lab.shell(f"ip -n outside addr add {SERVER}/32 dev lo")
    lab.start_listening("upstream.py", OUTSIDE_ADDRESS, "ok", "quiet", where="outside")
    lab.start(sys.executable, "-m", "http.server", "8000", "-d", "/mnt/work", where="outside")
    fetch = ("curl", "-sf", "-m", "5", "-o", "/dev/null", "--resolve", f"www.example.org:8000:{SERVER}", "http://www.example.org:8000/")
    lab.wait_for(lambda: lab.run(*fetch, where="outside", check=False).returncode == 0)
    lab.berth("egress", "add", "vm1", "www.example.org:8000")
    assert lab.run(*fetch, where="vm1", check=False).returncode != 0
    assert lab.out("dig", "+short", f"@{gateway}", "www.example.org", where="vm1").strip() == SERVER
    lab.run(*fetch, where="vm1")
    end(lab, guest)


@pytest.mark.slow
def test_an_internal_network_leads_nowhere(lab):
    lab.berth("network", "create", "--internal", "back")
    mac = create(lab, network="back")
    guest = boot(lab, mac)
    told = lease(lab)
    assert "router" not in told
    assert lab.out("dig", "+short", f"@{told['dns']}", "vm1", where="vm1").strip() == told["ip"]
    assert not reaches(lab, OUTSIDE_ADDRESS)
    end(lab, guest)
    lab.berth("network", "rm", "back")


FORGED = """
import socket, struct, sys
from tests.support.frames import BROADCAST, IPV4, IPV6, UDP, ethernet, ipv4, ipv6, router_advertisement, udp
mac, own, gateway, victim = sys.argv[1:]
offer = bytes([2, 1, 6, 0]) + bytes(232) + bytes.fromhex("63825363350105ff")
frames = [
    # As another: by IP, by MAC.
    ethernet(BROADCAST, mac, IPV4, ipv4(victim, "255.255.255.255", UDP, udp(9, 9, b"MARKED"))),
    ethernet(BROADCAST, "02:42:de:ad:be:ef", IPV4, ipv4(own, "255.255.255.255", UDP, udp(9, 9, b"MARKED"))),
    # As a server of DHCP, and as a router.
    ethernet(BROADCAST, mac, IPV4, ipv4(own, "255.255.255.255", UDP, udp(67, 68, offer + b"MARKED"))),
    ethernet("33:33:00:00:00:01", mac, IPV6, router_advertisement("fe80::1", mac, "2001:db8:bad::")),
    # The last one comes, so whoever hears it has missed nothing.
    ethernet(BROADCAST, mac, IPV4, ipv4(own, "255.255.255.255", UDP, udp(9, 9, b"LAST"))),
]
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
    sock.bind(("eth0", 0))
    for frame in frames:
        sock.send(frame)
"""


@pytest.mark.slow
def test_a_hostile_guest_is_held_to_its_own(lab):
    first, second = create(lab), create(lab, name="vm2")
    guests = boot(lab, first), boot(lab, second, "vm2")
    own, other = lease(lab), lease(lab, "vm2")
    # Each is answered alone, although a question is sent to everybody.
    assert own["ip"] != other["ip"]
    program = str(ROOT / "tests" / "support" / "frames.py")
    hears = lab.start(sys.executable, program, "hear", "eth0", "LAST", where="vm2")
    assert hears.stdout.readline() == "hearing\n"
    # It asks for answers to everybody: they reach it, and nobody else.
    assert lease(lab, "vm1", "-B")["ip"] == own["ip"]
    lab.run("env", f"PYTHONPATH={ROOT}", sys.executable, "-c", FORGED, first, own["ip"], own["router"], other["ip"], where="vm1")
    heard = hears.communicate(timeout=30)[0]
    ports = [frame[68:76] for frame in heard.split() if frame[24:28] == "0800" and frame[46:48] == "11"]
    assert f"{9:04x}{9:04x}" in ports
    assert f"{67:04x}{68:04x}" not in ports
    assert b"LAST".hex() in heard
    assert b"MARKED".hex() not in heard
    assert "20010db80bad" not in heard
    for guest in guests:
        guest.kill()
        guest.wait()
    lab.berth("tap", "rm", "vm1", "vm2")


FLOOD = """
import select, socket, sys
from tests.support.frames import BROADCAST, IPV4, IPV6, ROUTER_ADVERTISEMENT, UDP, ethernet, icmpv6, ipv4, octets, udp
mac, what = sys.argv[1:]
if what == "DHCP":
    question = bytes([1, 1, 6, 0]) + b"ABCD" + bytes(20) + octets(mac) + bytes(10 + 192) + bytes.fromhex("63825363350101ff")
    kind, frame = IPV4, ethernet(BROADCAST, mac, IPV4, ipv4("0.0.0.0", "255.255.255.255", UDP, udp(68, 67, question)))
else:
    kind, frame = IPV6, ethernet("33:33:00:00:00:02", mac, IPV6, icmpv6("::", "ff02::2", 133, bytes(4)))
heard = 0
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind)) as sock:
    sock.bind(("eth0", kind))
    for number in range(20000):
        sock.send(frame)
        while select.select([sock], [], [], 20 if number == 19999 and not heard else 0)[0]:
            data, (_, _, direction, *_) = sock.recvfrom(2000)
            answers = data[34:38] == b"\\0\\x43\\0\\x44" if kind == IPV4 else data[54] == ROUTER_ADVERTISEMENT
            heard += direction != 4 and answers
print(heard)
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["DHCP", "router solicitations"])
def test_a_flood_of_questions_is_not_answered_one_by_one(lab, what):
    mac = create(lab)
    guest = boot(lab, mac)
    heard = int(lab.run("env", f"PYTHONPATH={ROOT}", sys.executable, "-c", FLOOD, mac, what, where="vm1").stdout)
    # Twenty at once and five a second: what a busy machine takes for 20,000 does not come near this.
    assert 0 < heard < 2000
    assert lease(lab)["ip"]
    end(lab, guest)


def refusal(lab, *words):
    done = lab.berth(*words, check=False)
    assert done.returncode != 0
    return done.stderr


@pytest.mark.slow
def test_what_is_refused(lab):
    before = lab.kernel_state()
    lab.shell("ip link add taken type bridge")
    assert "taken exists and is not of this sandbox" in refusal(lab, "tap", "create", "front", "taken")
    lab.shell("ip link del taken")
    assert "at most 15 characters" in refusal(lab, "tap", "create", "front", "a-name-that-is-too-long")
    assert "are for links that berth names" in refusal(lab, "tap", "create", "front", "br-x")
    assert "there is no such user" in refusal(lab, "tap", "create", "--user", "nobody-else", "front", "vm1")
    assert "web has no tap" in refusal(lab, "tap", "rm", "web")
    lab.berth("network", "create", "--ipv6", "--subnet", "fd77::/80", "narrow")
    assert "must be a /64" in refusal(lab, "tap", "create", "narrow", "vm1")
    lab.berth("network", "rm", "narrow")
    lab.berth("network", "create", "-d", "macvlan", "-o", "parent=up0", "flat")
    assert "a tap needs one of the driver bridge" in refusal(lab, "tap", "create", "flat", "vm1")
    lab.berth("network", "rm", "flat")
    lab.shell("mkdir -p /mnt/empty; mount --bind /mnt/empty /dev/net")
    assert "modprobe tun" in refusal(lab, "tap", "create", "front", "vm1")
    lab.shell("umount /dev/net")
    assert lab.kernel_state() == before


@pytest.mark.slow
def test_a_user_without_root_is_told_what_a_tap_needs():
    if why := why_no_user():
        pytest.skip(why)
    with UserLab(tun=False) as lab:
        lab.berth("network", "create", "front")
        assert "modprobe tun" in refusal(lab, "tap", "create", "front", "vm1")


IN_NEST = """
set -e
mkdir -p $HOME/leases; export LEASES=$HOME/leases
ip link set lo up; ip link set eth0 address $1 up
busybox udhcpc -i eth0 -n -q -t 20 -T 1 -s $HOME/dhcp.sh
cat $LEASES/lease.bound
ping -c 1 -W 5 $2
dig +short @$(sed -n s/^dns=//p $LEASES/lease.bound) box
address=$(dig +short @$(sed -n s/^dns=//p $LEASES/lease.bound) www.example.org)
curl -sS -m 10 -k --resolve www.example.org:443:$address https://www.example.org/
! curl -sS -m 10 -k --resolve other.example.org:443:$address https://other.example.org/
"""


@pytest.mark.slow
def test_a_user_without_root_has_taps_in_his_nest():
    if why := why_no_user():
        pytest.skip(why)
    with UserLab() as lab:
        # As most hosts have it.
        lab.shell("mkdir -p /mnt/dev; mknod -m 666 /mnt/dev/tun c 10 200; mount --bind /mnt/dev /dev/net")
        lab.serve_outside()
        lab.berth("network", "create", "front")
        mac = create(lab, "--egress", "www.example.org,network:front")
        lab.berth("run", "-d", "--name", "box", "--network", "front", "--", "sleep", "infinity")
        box = lab.inspect("box")["addresses"][0]
        lab.shell(f"cat > {HOME}/dhcp.sh <<'END'\n{DHCP_SCRIPT}END\nchmod 755 {HOME}/dhcp.sh; chown {UID} {HOME}/dhcp.sh")
        said = lab.berth("unshare", "--", sys.executable, GUEST, "vm1", "-", "sh", "-c", IN_NEST, "sh", mac, box).stdout
        assert f"ip={lab.inspect('vm1')['addresses'][0]}" in said
        assert f"\n{box}\n" in said
        assert said.endswith("www.example.org www.example.org\n")
        lab.berth("tap", "rm", "vm1")
        assert "vm1" not in lab.in_nest("ip -o link")


@pytest.mark.slow
def test_one_that_persists_is_there_after_a_reboot(lab):
    mac = create(lab, "--persist", "-p", "8081:80")
    create(lab, name="vm2")
    before = lab.inspect("vm1")
    go_down(lab)
    # What else a reboot takes.
    lab.shell("ip link del vm1; ip link del vm2")
    lab.start_daemon()
    lab.wait_for(lambda: lab.berth("inspect", "vm1", check=False).returncode == 0)
    after = lab.inspect("vm1")
    for field in ("id", "addresses", "mac_addresses", "ports"):
        assert after.get(field) == before.get(field), field
    assert "vm2" not in lab.berth("ps", "-a").stdout
    assert lab.run("ip", "link", "show", "vm2", check=False).returncode != 0
    guest = boot(lab, mac)
    assert lease(lab)["ip"] == before["addresses"][0]
    end(lab, guest)
