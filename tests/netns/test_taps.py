"""Taps: virtual machines, by stand-ins, get their addresses by DHCP and router advertisements, have names and ports, and are held to them."""

import json
import shutil
import sys
from ipaddress import ip_interface
from pathlib import Path

import pytest

from tests.support.guest import DHCP_SCRIPT
from tests.support.lab import OUTSIDE_ADDRESS, Lab

GUEST = str(Path(__file__).parents[1] / "support" / "guest.py")


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
    lab.run("curl", "-sf", "-m", "5", "http://10.9.0.2:8080/", where="outside")
    lab.berth("exec", "web", "curl", "-sf", "-m", "5", "http://vm1.front/")
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
