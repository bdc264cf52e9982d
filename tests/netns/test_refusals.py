"""Every refusal of Docker's that applies here, by its rule (docs/rules.md), as a user meets it.

What concerns Swarm, config-only networks, old API versions and legacy links has no counterpart.
"""

import json

import pytest

from tests.support.lab import Lab


@pytest.fixture(scope="module")
def lab(lab):
    lab.run("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1", "netns", "outside")
    lab.shell("ip link set lan0 up; ip -n outside link set lan1 up")
    lab.berth("network", "create", "--subnet", "10.80.0.0/24", "--ip-range", "10.80.0.128/29", "front")
    lab.berth("network", "create", "--subnet", "10.81.0.0/30", "tiny")
    lab.berth("network", "create", "--ipv6", "--ipv4=false", "--subnet", "fd80::/64", "six")
    lab.berth("network", "create", "-d", "macvlan", "-o", "parent=lan0", "-o", "macvlan_mode=passthru", "--subnet", "10.82.0.0/24", "whole")
    for name, network in (("web", "front"), ("other", "front"), ("full", "tiny"), ("alone", "none")):
        options = ("--ip", "10.80.0.50", "--mac-address", "02:42:00:00:00:50", "-p", "8070:80") if name == "web" else ()
        lab.berth("run", "-d", "--name", name, "--network", network, *options, "--", "sleep", "300")
    lab.berth("run", "-d", "--name", "shared", "--network", "container:web", "--", "sleep", "300")
    return lab


def create(*options):
    return ("network", "create", *options, "new")


def run(*options):
    return ("run", *options, "--", "true")


CREATE = [
    ("IP-5", create("--subnet", "0.0.0.0/3"), "no address pool can hold a /3"),
    ("IP-6", create("--subnet", "10.80.0.0/16"), "Pool overlaps with other one on this address space"),
    ("IP-11", create("--subnet", "10.10.10.0/8"), "invalid subnet 10.10.10.0/8: it should be 10.0.0.0/8"),
    ("IP-11", create("--subnet", "10.90.0.0/16", "--ip-range", "10.90.1.1/24"), "it should be 10.90.1.0/24"),
    ("IP-12", create("--subnet", "10.90.0.0/24", "--ip-range", "10.90.0.0/16"), "CIDR block is bigger than its parent subnet"),
    ("IP-12", create("--subnet", "10.90.0.0/24", "--ip-range", "10.91.0.0/25"), "doesn't contain ip-range"),
    ("IP-12", create("--subnet", "10.90.0.0/24", "--ip-range", "fd90::/64"), "needs a --subnet of its family"),
    ("IP-13", create("--subnet", "10.90.0.0/24", "--gateway", "10.91.0.1"), "invalid gateway 10.91.0.1: parent subnet"),
    ("IP-13", create("--subnet", "10.90.0.0/24", "--gateway", "fd90::1"), "needs a --subnet of its family"),
    ("IP-13", create("--subnet", "10.90.0.0/24", "--aux-address", "r=10.91.0.1"), "invalid auxiliary address r"),
    ("IP-14", create("--subnet", "fd90::/64"), "add --ipv6"),
    ("IP-30", create("--ipv4=false"), "IPv4 or IPv6 must be enabled"),
    ("IP-34", ("network", "create", "front"), "network front already exists"),
    ("IP-34", ("network", "create", "host"), "operation is not permitted on predefined network"),
    ("IP-34", ("network", "rm", "none"), "is a pre-defined network and cannot be removed"),
    ("IP-36", ("network", "rm", "front"), 'has active endpoints (name:"web"'),
    ("BR-2", create("-o", "com.docker.network.bridge.enable_icc=maybe"), "must be true or false"),
    ("BR-2", create("-o", "com.docker.network.driver.mtu=-1"), "option mtu"),
    ("BR-2", create("-o", "com.docker.network.bridge.enable_ic=true"), "has no such option"),
    ("BR-3", create("-o", "com.docker.network.bridge.name=up0"), "existing interface up0 is not a bridge"),
    ("BR-4", create("--subnet", "10.90.0.0/24", "--subnet", "10.91.0.0/24"), "bridge driver doesn't support multiple subnets"),
    ("BR-4", create("--subnet", "10.80.0.0/24"), "Pool overlaps"),
    ("BR-5", create("--ipv6", "--subnet", "fe80::/60"), "must be fe80::/64 itself"),
    ("BR-5", create("--ipv6", "--subnet", "ff00::/64"), "multicast"),
    ("BR-7", create("-o", "com.docker.network.bridge.gateway_mode_ipv4=isolated"), "can only be used for an internal network"),
    ("BR-7", create("-o", "com.docker.network.bridge.gateway_mode_ipv6=open"), "must be one of nat, nat-unprotected, routed, isolated"),
    ("HN-1", create("-d", "host"), "only one instance of 'host' network is allowed"),
    ("HN-1", create("-d", "null"), "only one instance of 'null' network is allowed"),
    ("MV-1", create("-d", "macvlan", "-o", "parent=up0", "-o", "macvlan_mode=l2"), "must be one of bridge, private, vepa, passthru"),
    ("MV-2", create("-d", "macvlan", "-o", "parent=up0.4095"), "VLAN 1 to 4094"),
    ("MV-2", create("-d", "macvlan", "-o", "parent=gone0.10"), "neither a link gone0.10 nor gone0"),
    ("MV-3", create("-d", "macvlan", "-o", "parent=lo"), "the loopback link can't be a parent"),
    ("MV-4", create("-d", "macvlan", "-o", "parent=lan0"), "passthru needs it for itself"),
    ("IV-1", create("-d", "ipvlan", "-o", "parent=lan0"), "macvlan and ipvlan can't share one"),
    ("IV-1", create("-d", "ipvlan", "-o", "parent=up0", "-o", "ipvlan_mode=l4"), "must be one of l2, l3, l3s"),
    ("RM-1", create("-d", "nobody"), "there is no such plugin: nobody"),
]  # fmt: skip

RUN = [
    ("HO-11", run("--add-host", "name"), "bad format"),
    ("HO-11", run("--add-host", ":10.0.0.1"), "bad format"),
    ("HO-11", run("--add-host", "name:nowhere"), "is not an IP address"),
    ("HO-16", run("--hostname", "x" * 65), "is too long (maximum 64 bytes)"),
    ("IP-20", run("--network", "front", "--ip", "10.80.0.50"), "address already in use"),
    ("IP-20", run("--network", "front", "--ip", "10.99.0.1"), "no configured subnet contains IP address 10.99.0.1"),
    ("IP-21", run("--network", "tiny"), "no available IPv4 addresses on this network's address pools"),
    ("IP-26", run("--network", "bridge", "--ip", "172.17.0.9"), "user-specified IP address is supported on user-defined networks only"),
    ("IP-26", run("--network", "bridge", "--network-alias", "x"), "network-scoped aliases are only supported for user-defined networks"),
    ("IP-26", run("--network", "host", "--ip", "10.0.0.1"), "user specified IP address is supported on user defined networks only"),
    ("IP-27", run("--network", "front", "--ip", "0.0.0.0"), "invalid IPv4 address: 0.0.0.0"),
    ("IP-27", run("--network", "front", "--ip", "fd00::1"), "invalid IPv4 address: fd00::1"),
    ("IP-27", run("--network", "six", "--ip6", "::"), "invalid IPv6 address: ::"),
    ("IP-27", run("--network", "six", "--ip6", "::ffff:10.0.0.1"), "invalid IPv6 address"),
    ("IP-27", run("--network", "six", "--ip6", "fe80::1%eth0"), "invalid IPv6 address"),
    ("IP-27", run("--network", "front", "--link-local-ip", "10.0.0.1"), "invalid link-local IP address: 10.0.0.1"),
    ("IP-29", run("--network", "front,ip=0.0.0.0,ip6=fd99::1"), "invalid IPv4 address: 0.0.0.0; ip6 fd99::1"),
    ("BR-9", run("--network", "front,ifname=eth7", "--network", "six,ifname=eth7"), "exists in sandbox"),
    ("BR-13", run("--network", "front,driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.x"), "unrecognised network interface sysctl"),
    ("HN-1", run("--network", "none", "--network", "front"), "one of the networks in private (none) mode"),
    ("CL-3", ("network", "connect", "front", "shared"), "sharing network namespace with another sandbox or host"),
    ("CL-4", ("network", "connect", "host", "web"), "is no network but a mode of a whole sandbox"),
    ("CL-4", ("network", "disconnect", "host", "web"), "is no network but a mode of a whole sandbox"),
    ("CL-4", ("network", "connect", "front", "alone"), "one of the networks in private (none) mode"),
    ("CL-5", ("network", "disconnect", "six", "web"), "sandbox web is not connected to network six"),
    ("CL-7", run("--network", "bridge", "--network", "front"), "cannot attach both user-defined and non-user-defined network-modes"),
    ("CL-8", ("network", "connect", "front", "web"), "is already attached to network front"),
    ("CL-9", run("--network", "container:"), "invalid container format container:<name|id>"),
    ("CL-10", run("--network", "container:web", "--hostname", "x"), "conflicting options: hostname and the network mode"),
    ("CL-10", run("--network", "container:web", "--link", "other:o"), "container type network can't be used with links"),
    ("CL-10", run("--network", "container:web", "--dns", "10.0.0.1"), "conflicting options: dns and the network mode"),
    ("CL-10", run("--network", "container:web", "--add-host", "x:10.0.0.1"), "custom host-to-IP mapping and the network mode"),
    ("CL-10", run("--network", "container:web", "-p", "80"), "port publishing and the container type network mode"),
    ("CL-10", run("--network", "container:web", "-P"), "port publishing and the container type network mode"),
    ("CL-10", run("--network", "container:web", "--expose", "80"), "port exposing and the container type network mode"),
    ("CL-11", run("--network", "container:web", "--dns-search", "x.test"), "dns-search and the network mode"),
    ("CL-11", run("--network", "container:web", "--dns-opt", "ndots:2"), "dns-opt and the network mode"),
    ("CL-11", run("--network", "container:web", "--mac-address", "02:42:00:00:00:01"), "mac-address and the network mode"),
    ("CL-12", run("--name", "self", "--network", "container:self"), "no such sandbox: self"),
    ("CL-12", run("--network", "container:gone"), "no such sandbox: gone"),
    ("CL-13", run("--network", "host", "--link", "web:w"), "host type networking can't be used with links"),
    ("CL-16", run("--network", "front", "--mac-address", "02:42:00:00:00:50"), "is in use on network front"),
    ("CL-16", run("--network", "front", "--mac-address", "01:42:00:00:00:50"), "is a multicast address"),
    ("CL-17", run("-p", "::1:80:80"), "an IPv6 address must be in brackets"),
    ("CL-17", run("-p", "80/icmp"), "is not one of tcp, udp, sctp"),
    ("CL-18", run("-p", "8000-8001:80-82"), "3 sandbox ports need as many host ports, not 2"),
    ("CL-18", run("-p", "localhost:80:80"), "host names are not taken here"),
    ("CL-18", run("-p", "80:0"), "port 0 of the sandbox can't be published"),
    ("CL-22", run("--network", "front", "-p", "8070:80"), "port is already allocated by web"),
    ("CL-22", run("--network", "front", "-p", "9:80"), "address already in use by a program of the host"),
    ("CL-23", run("--network", "front", "-p", "10.9.0.2:8070:80"), "port is already allocated by web"),
]  # fmt: skip


@pytest.fixture(scope="module")
def busy(lab):
    lab.start("python3", "-c", "import socket,time; s=socket.create_server(('0.0.0.0', 9)); time.sleep(300)")
    lab.wait_for(lambda: ":9 " in lab.shell("ss -Hlnt"))


def refused(lab: Lab, command, text):
    before = lab.kernel_state()
    done = lab.berth(*command, check=False)
    assert done.returncode in (1, 125), done
    assert text in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, "one line that says what and why"
    assert lab.kernel_state() == before


@pytest.mark.parametrize(
    ("command", "text"), [item[1:] for item in CREATE], ids=[f"{item[0]}-{number}" for number, item in enumerate(CREATE)]
)
def test_networks(lab, command, text):
    refused(lab, command, text)


@pytest.mark.parametrize(("command", "text"), [item[1:] for item in RUN], ids=[f"{item[0]}-{number}" for number, item in enumerate(RUN)])
def test_sandboxes_and_endpoints(lab, busy, command, text):
    if "bridge" in command and not any(
        item["name"] == "bridge" for item in json.loads(lab.berth("network", "ls", "--format", "json").stdout)
    ):
        lab.berth(*run("--network", "bridge"))
    if not any(word in command for word in ("--network", "network")) and "default" not in lab.berth("network", "ls").stdout:
        lab.berth(*run())
    refused(lab, command, text)


def test_ambiguous_and_ended(lab):
    """IP-35: a prefix of several ids; CL-12: a sandbox that has ended."""
    networks = json.loads(lab.berth("network", "ls", "--format", "json").stdout)
    first = {}
    for number in range(40):
        lab.berth("network", "create", "--subnet", f"10.200.{number}.0/24", f"many{number}")
        networks = json.loads(lab.berth("network", "ls", "--format", "json").stdout)
        first = {}
        for item in networks:
            first.setdefault(item["id"][0], []).append(item["name"])
        if any(len(names) > 1 for names in first.values()):
            break
    prefix = next(key for key, names in first.items() if len(names) > 1)
    assert "ambiguous" in lab.berth("network", "inspect", prefix, check=False).stderr
    lab.berth("rm", "web")
    assert "has ended" in lab.berth("run", "--network", "container:web", "--", "true", check=False).stderr
