"""Options of bridge networks, families, and the rarer options of `run`, with real traffic."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.lab import HOST_ADDRESS, HOST_ADDRESS6, OUTSIDE_ADDRESS, Lab

SERVER = ("python3", "-m", "http.server", "80", "--bind", "::")


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.start_daemon()
        yield made


def fetch(lab: Lab, url: str, where: str = "outside", seconds: int = 15) -> bool:
    return lab.run("curl", "-s", "-o", "/dev/null", "-m", str(seconds), url, where=where, check=False).returncode == 0


def served(lab: Lab, name: str, network: str, *more: str) -> None:
    lab.berth("run", "-d", "--name", name, "--network", network, *more, "--", *SERVER)
    lab.wait_for(lambda: lab.berth("exec", name, "curl", "-s", "-o", "/dev/null", "http://127.0.0.1/", check=False).returncode == 0)


def test_existing_bridge_is_used_and_left(lab):
    lab.run("ip", "link", "add", "mybr", "type", "bridge")
    lab.berth("network", "create", "--opt", "name=mybr", "--subnet", "10.50.0.0/24", "reuse")
    assert "1 received" in lab.berth("run", "--network", "reuse", "--", "ping", "-c1", "-W2", "10.50.0.1").stdout
    lab.berth("network", "rm", "reuse")
    assert lab.out("ip", "-o", "link", "show", "mybr")
    assert "10.50.0.1" not in lab.out("ip", "addr", "show", "mybr")


def test_isolated_network_has_no_address_on_the_host(lab):
    lab.berth("network", "create", "--internal", "-o", "gateway_mode_ipv4=isolated", "-o", "name=briso", "iso")
    served(lab, "i1", "iso")
    assert "Directory" in lab.berth("run", "--network", "iso", "--", "curl", "-s", "-m", "15", "http://i1/").stdout
    assert "inet " not in lab.out("ip", "addr", "show", "briso")
    lab.berth("rm", "i1")
    lab.berth("network", "rm", "iso")
    refused = lab.berth("network", "create", "-o", "gateway_mode_ipv4=isolated", "open", check=False)
    assert "can only be used for an internal network" in refused.stderr


def test_auxiliary_default_gateway_is_the_next_hop(lab):
    lab.berth("network", "create", "--subnet", "10.51.0.0/24", "--aux-address", "DefaultGatewayIPv4=10.51.0.254", "aux")
    assert "default via 10.51.0.254" in lab.berth("run", "--network", "aux", "--", "ip", "route").stdout
    lab.berth("network", "rm", "aux")


def test_own_source_address(lab):
    lab.run("ip", "addr", "add", "10.9.0.77/24", "dev", "up0")
    lab.berth("network", "create", "-o", "host_ipv4=10.9.0.77", "snat")
    server = lab.start("python3", "-u", "-m", "http.server", "8000", where="outside")
    lab.wait_for(lambda: fetch(lab, f"http://{OUTSIDE_ADDRESS}:8000/", where="host"))
    lab.berth("run", "--network", "snat", "--", "curl", "-s", "-m", "15", f"http://{OUTSIDE_ADDRESS}:8000/from-the-sandbox")
    server.kill()
    assert any(line.startswith("10.9.0.77") and "from-the-sandbox" in line for line in server.stdout)
    lab.berth("network", "rm", "snat")


@pytest.mark.parametrize(
    ("option", "subnet", "reached"),
    [
        ("gateway_mode_ipv4=nat", "10.52.0", False),
        ("gateway_mode_ipv4=nat-unprotected", "10.53.0", True),
        ("trusted_interfaces=up0", "10.54.0", True),
    ],
)
def test_who_reaches_a_sandbox_by_its_own_address(lab, option, subnet, reached):
    lab.berth("network", "create", "-o", option, "--subnet", f"{subnet}.0/24", "direct")
    served(lab, "d1", "direct")
    lab.run("ip", "route", "add", f"{subnet}.0/24", "via", HOST_ADDRESS, where="outside")
    assert fetch(lab, f"http://{subnet}.2/", seconds=15 if reached else 2) is reached
    lab.berth("rm", "d1")
    lab.berth("network", "rm", "direct")


def test_network_without_ipv4(lab):
    lab.berth("network", "create", "--ipv6", "--ipv4=false", "six")
    served(lab, "s1", "six", "-p", "8086:80")
    said = lab.berth(
        "run", "--network", "six", "--", "sh", "-c", "getent ahosts s1; curl -s http://s1/; ip -4 -o addr show scope global"
    ).stdout
    assert "Directory" in said
    assert "inet " not in said
    assert fetch(lab, f"http://[{HOST_ADDRESS6}]:8086/")
    assert fetch(lab, f"http://{HOST_ADDRESS}:8086/")  # by a relay
    lab.berth("rm", "s1")
    lab.berth("network", "rm", "six")
    refused = lab.berth("network", "create", "--ipv4=false", "neither", check=False)
    assert "IPv4 or IPv6 must be enabled" in refused.stderr


def test_mtu_follows_the_egress_route_or_the_option(lab):
    lab.run("ip", "link", "set", "up0", "mtu", "1400")
    lab.berth("network", "create", "--opt", "ifname_prefix=net", "small")
    lab.berth("network", "create", "--opt", "mtu=1300", "given")
    assert "mtu 1400" in lab.berth("run", "--network", "small", "--", "ip", "link", "show", "net0").stdout
    assert "mtu 1300" in lab.berth("run", "--network", "given", "--", "ip", "link", "show", "eth0").stdout
    lab.run("ip", "link", "set", "up0", "mtu", "1500")
    lab.berth("network", "rm", "small", "given")


def test_links_names_and_hosts_of_run(lab):
    lab.berth("network", "create", "n")
    lab.berth("run", "-d", "--name", "db", "--network", "n", "--", "sleep", "100")
    assert lab.berth("run", "--network", "n", "--link", "db:store", "--", "dig", "+short", "store").stdout.strip()
    said = lab.berth(
        "run",
        "--network",
        "n",
        "--hostname",
        "hh",
        "--domainname",
        "ex.org",
        "--add-host",
        "gate:host-gateway",
        "--",
        "sh",
        "-c",
        "cat /etc/hosts; hostname -f",
    ).stdout
    assert "hh.ex.org hh" in said
    assert said.splitlines()[-1] == "hh.ex.org"
    assert "172.17.0.1\tgate" in said
    published = lab.berth(
        "run", "-d", "--name", "pub", "--network", "n", "-P", "--expose", "80", "--expose", "53/udp", "--", "sleep", "100"
    )
    assert published.returncode == 0
    ports = lab.inspect("pub")["endpoints"][0]["ports"]
    assert {(port["protocol"], port["sandbox_port"]) for port in ports} == {("tcp", 80), ("udp", 53)}
    for options in (("-P",), ("--network", "n", "-P")):
        # Nothing is exposed, so nothing is missed.
        assert lab.berth("run", *options, "--", "true").stderr == ""
    lab.berth("rm", "db", "pub")
    lab.berth("network", "rm", "n")


def test_options_of_an_endpoint_without_a_network_are_about_the_default_one(lab):
    lab.berth("network", "prune", "-f")
    mac = "02:42:0a:00:00:77"
    lab.berth("run", "-d", "--rm", "--name", "db", "--network-alias", "store", "--mac-address", mac, "--", "sleep", "100")
    assert [(one["network"], one["mac"]) for one in lab.inspect("db")["endpoints"]] == [("default", mac)]
    found = lab.berth("run", "--link", "db:mine", "--", "sh", "-c", "for name in store mine db; do getent hosts $name; done").stdout
    assert [line.split()[0] for line in found.splitlines()] == [lab.inspect("db")["addresses"][0]] * 3
    member = lab.berth("network", "inspect", "-f", "{{range .Containers}}{{.IPv4Address}}{{end}}", "default").stdout.strip()
    assert member == lab.inspect("db")["endpoints"][0]["addresses"][0]
    connected = lab.berth("events", "--since", "1h", "--until", "0s", "-f", "event=connect", "--format", "{{.Actor.ID}}").stdout.split()
    assert json.loads(lab.berth("network", "inspect", "default").stdout)[0]["id"] in connected
    refused = lab.berth("run", "--link", "nobody", "--", "true", check=False)
    assert (refused.returncode, "nobody" in refused.stderr) == (125, True), refused.stderr
    lab.berth("rm", "db")


def test_given_addresses_order_and_mac(lab):
    lab.berth("network", "create", "--subnet", "10.61.0.0/24", "--ip-range", "10.61.0.128/25", "one")
    lab.berth("network", "create", "--subnet", "10.62.0.0/24", "two")
    said = lab.berth(
        "run",
        "--network",
        "two,ip=10.62.0.9,mac-address=02:42:00:00:00:99",
        "--network",
        "one",
        "--",
        "sh",
        "-c",
        "ip -o -4 addr; ip link show eth0",
    ).stdout
    assert "eth0    inet 10.62.0.9/24" in said
    assert "eth1    inet 10.61.0.12" in said
    assert "02:42:00:00:00:99" in said
    lab.berth("network", "rm", "one", "two")


def test_adopt_by_descriptor(lab):
    lab.berth("network", "create", "n")
    process = lab.start("unshare", "--net", "sleep", "100")
    lab.wait_for(lambda: lab.shell(f"readlink /proc/{process.pid}/ns/net") != lab.shell("readlink /proc/self/ns/net"))
    holder = lab.start("sh", "-c", f"exec 9</proc/{process.pid}/ns/net; exec sleep 100")
    lab.wait_for(lambda: Path(f"/proc/{holder.pid}/fd/9").exists())
    lab.berth("attach", "--pid", str(holder.pid), "--fd", "9", "--name", "byfd", "--network", "n")
    assert lab.inspect("byfd")["addresses"][0] in lab.shell(f"nsenter --net -t {process.pid} ip addr")
    subprocess.run(["kill", "-9", str(holder.pid)], check=True)
    lab.wait_for(lambda: "byfd" not in lab.berth("ps").stdout)
    lab.berth("network", "rm", "n")


def test_name_of_a_renamed_sandbox_can_be_used_again(lab):
    lab.berth("network", "create", "n")
    lab.berth("run", "-d", "--name", "first", "--network", "n", "--", "sleep", "100")
    lab.berth("rename", "first", "second")
    lab.berth("run", "-d", "--name", "first", "--network", "n", "--", "sleep", "100")
    assert lab.in_sandbox("first", "dig", "+short", "second") == lab.inspect("second")["addresses"][0]
    lab.berth("rm", "first", "second")
    lab.berth("network", "rm", "n")


def test_somebody_elses_namespace_at_our_path_is_left_alone(lab):
    lab.run("ip", "netns", "add", "berth-theirs")
    before = lab.shell("stat -Lc %i /run/netns/berth-theirs")
    refused = lab.berth("run", "--name", "theirs", "--", "true", check=False)
    assert "exists already and is not ours" in refused.stderr
    assert lab.shell("stat -Lc %i /run/netns/berth-theirs") == before
    lab.run("ip", "netns", "del", "berth-theirs")


def test_sysctls_of_links_and_sandboxes(lab):
    lab.berth("network", "create", "--ipv6", "tuned")
    sysctls = "sysctls=net.ipv4.conf.IFNAME.log_martians=1"
    run = ("run", "-d", "--name", "tuned1", "--sysctl", "net.ipv4.ip_default_ttl=40")
    lab.berth(*run, "--network", f"tuned,ifname=lan0,driver-opt={sysctls}", "--", "sleep", "60")
    assert lab.in_sandbox("tuned1", "cat", "/proc/sys/net/ipv4/conf/lan0/log_martians") == "1"
    assert lab.in_sandbox("tuned1", "cat", "/proc/sys/net/ipv4/ip_default_ttl") == "40"
    # A link without IPv6 has no address of it, in no place.
    lab.berth("run", "-d", "--name", "tuned2", "--", "sleep", "60")
    lab.berth("network", "connect", "--driver-opt", "sysctls=net.ipv6.conf.IFNAME.disable_ipv6=1", "tuned", "tuned2")
    endpoint = next(item for item in lab.inspect("tuned2")["endpoints"] if item["network"] == "tuned")
    assert not [item for item in endpoint["addresses"] if ":" in item]
    assert lab.in_sandbox("tuned1", "dig", "+short", "AAAA", "tuned2") == ""
    before = lab.kernel_state()
    for options in (
        ("--network", "tuned,driver-opt=sysctls=net.ipv4.conf.IFNAME.no_such_switch=1"),
        ("--network", "tuned,driver-opt=sysctls=nonsense"),
        ("--network", "tuned,driver-opt=nothing=1"),
        ("--network", "tuned", "--sysctl", "kernel.panic=1"),
        ("--network", "host", "--sysctl", "net.ipv4.ip_default_ttl=40"),
    ):
        assert lab.berth("run", *options, "--", "true", check=False).returncode == 125
    lab.wait_for(lambda: lab.kernel_state() == before)
    lab.berth("rm", "tuned1", "tuned2")
    lab.berth("network", "rm", "tuned")


def test_networks_are_listed_and_pruned_by_filter(lab):
    for name, label in (("p1", "team=a"), ("p2", "team=b"), ("p3", "keep=yes")):
        lab.berth("network", "create", "-l", label, name)
    lab.berth("run", "-d", "--name", "user", "--network", "p3", "--", "sleep", "60")

    def names(*filters):
        arguments = [text for item in filters for text in ("--filter", item)]
        return {item["name"] for item in json.loads(lab.berth("network", "ls", "--format", "json", *arguments).stdout)} & {"p1", "p2", "p3"}

    assert names("label=team") == {"p1", "p2"}
    assert names("label=team=a") == {"p1"}
    assert names("dangling=true") == {"p1", "p2"}
    assert names("type=builtin") == set()
    assert lab.berth("network", "ls", "--filter", "x=y", check=False).returncode == 2
    assert lab.berth("network", "prune", "-f", "--filter", "label=team", "--filter", "until=1h").stdout == ""
    assert lab.berth("network", "prune", "-f", "--filter", "label=team", "--filter", "label!=team=b").stdout.split() == ["p1"]
    assert "p3" not in lab.berth("network", "prune", "-f", "--filter", "label=team", "--filter", "until=0s").stdout
    assert names() == {"p3"}
    assert lab.berth("network", "prune", "-f", "--filter", "until=soon", check=False).returncode == 2
    lab.berth("rm", "user")
    lab.berth("network", "rm", "p3")


@pytest.fixture
def dual(lab):
    """A network of both families, called dual."""
    lab.berth("network", "create", "--ipv6", "--subnet", "10.57.0.0/24", "--subnet", "fd57::/64", "dual")
    yield
    lab.berth("rm", "four", "other", check=False)
    lab.berth("network", "rm", "dual")


@pytest.mark.parametrize("link", ["all", "default", "eth0"])
def test_sysctl_that_switches_ipv6_off_leaves_ipv4_only(lab, dual, link):
    lab.berth("run", "-d", "--name", "other", "--network", "dual", "--", "sleep", "300")
    served(lab, "four", "dual", "-p", "8057:80", "--sysctl", f"net.ipv6.conf.{link}.disable_ipv6=1")
    addresses = lab.inspect("four")["addresses"]
    assert len(addresses) == 1
    assert "." in addresses[0]
    assert "inet6" not in lab.in_sandbox("four", "ip", "-6", "-o", "addr", "show", "dev", "eth0")
    assert "fd57" not in lab.in_sandbox("four", "cat", "/etc/hosts")
    assert ("::1" in lab.in_sandbox("four", "cat", "/etc/hosts")) is (link != "all")
    assert lab.in_sandbox("other", "dig", "+short", "four", "AAAA") == ""
    assert lab.in_sandbox("other", "dig", "+short", "four", "A") == addresses[0]
    assert fetch(lab, f"http://{HOST_ADDRESS}:8057/")
    assert fetch(lab, f"http://[{HOST_ADDRESS6}]:8057/")  # by a relay
    # The link that comes later, and the one that comes back, are treated the same.
    lab.berth("network", "disconnect", "dual", "four")
    lab.berth("network", "connect", "dual", "four")
    assert len(lab.inspect("four")["addresses"]) == 1
    assert lab.in_sandbox("four", "cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6") == "1"


def test_one_link_may_keep_ipv6_while_all_others_have_none(lab, dual):
    given = ("--sysctl", "net.ipv6.conf.all.disable_ipv6=1", "--sysctl", "net.ipv6.conf.eth0.disable_ipv6=0")
    assert "fd57::" in lab.berth("run", "--network", "dual", *given, "--", "ip", "-6", "addr", "show", "dev", "eth0").stdout
    for options, text in (
        (("--ip6", "fd57::9", "--sysctl", "net.ipv6.conf.all.disable_ipv6=1"), "fd57::9 can't be had while a sysctl switches IPv6 off"),
        (("--sysctl", "net.ipv6.conf.eth7.disable_ipv6=1"), "the sandbox has no link eth7; it has eth0, lo"),
    ):
        refused = lab.berth("run", "--network", "dual", *options, "--", "true", check=False)
        assert refused.returncode == 125
        assert text in refused.stderr


def test_compose_sysctls_switch_ipv6_off(lab):
    lab.run("mkdir", "-p", "/run/off")
    lab.write(
        "/run/off/compose.yaml",
        """
networks: {both: {enable_ipv6: true}}
services:
  app:
    command: sleep 100
    networks: [both]
    sysctls: {net.ipv6.conf.all.disable_ipv6: 1}
""",
    )
    lab.berth("up", "-d", "-f", "/run/off/compose.yaml")
    (app,) = json.loads(lab.berth("ps", "--format", "json").stdout)
    assert len(app["addresses"]) == 1
    lab.berth("down", "-f", "/run/off/compose.yaml")
