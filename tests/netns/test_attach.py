"""`berth attach` with every option that it shares with `berth run`, on a namespace that somebody else made."""

import json
import signal
import sys

import pytest

from tests.support.lab import PATIENCE


@pytest.fixture
def adopted(lab):
    """A namespace of somebody else, at /run/netns/theirs."""
    lab.run("ip", "netns", "add", "theirs")
    lab.run("ip", "-n", "theirs", "link", "set", "lo", "up")
    lab.berth("network", "create", "--ipv6", "--subnet", "10.71.0.0/24", "--subnet", "fd71::/64", "front")
    lab.berth("network", "create", "--subnet", "10.72.0.0/24", "back")
    yield "/run/netns/theirs"
    lab.berth("detach", "guest", check=False)
    lab.berth("rm", "peer", check=False)
    lab.berth("network", "rm", "front", "back")
    lab.run("ip", "netns", "del", "theirs")


def inside(lab, *command):
    return lab.out("ip", "netns", "exec", "theirs", *command)


def test_every_option_of_run_works_for_attach(lab, adopted):
    lab.berth("run", "-d", "--name", "peer", "--network", "front", "--", "sleep", "300")
    attached = lab.berth(
        "attach", "--netns", adopted, "--name", "guest", "--network", "front,ifname=lan0", "--net", "back",
        "--ip", "10.71.0.50", "--ip6", "fd71::50", "--mac-address", "02:42:00:00:00:71", "--link-local-ip", "169.254.71.1",
        "--gw-priority", "-1", "--network-alias", "visitor", "--service", "guests", "--link", "peer:friend",
        "--hostname", "guesthost", "--domainname", "example.org", "--add-host", "extra:10.1.1.1", "--label", "team=a",
        "--sysctl", "net.ipv4.ip_default_ttl=41", "--forward",
        "--dns-search", "corp.test", "--dns-opt", "ndots:2", "-p", "8071:80", "-P", "--expose", "53/udp",
    )  # fmt: skip
    guest = lab.inspect("guest")
    assert attached.stdout.strip() == guest["id"]
    assert guest["by_name"] in attached.stderr
    front, back = guest["endpoints"]
    assert (front["network"], front["ifname"], front["mac"], back["network"]) == ("front", "lan0", "02:42:00:00:00:71", "back")
    addresses = inside(lab, "ip", "-o", "addr", "show", "dev", "lan0")
    for address in ("10.71.0.50/24", "fd71::50/64", "169.254.71.1/"):
        assert address in addresses
    assert "link/ether 02:42:00:00:00:71" in inside(lab, "ip", "link", "show", "dev", "lan0")
    # The lower priority of front gives the default gateway to back.
    assert "via 10.72.0.1" in inside(lab, "ip", "route", "show", "default")
    assert inside(lab, "cat", "/proc/sys/net/ipv4/ip_default_ttl") == "41"
    assert inside(lab, "cat", "/proc/sys/net/ipv4/ip_forward") == "1"
    assert guest["labels"] == {"team": "a"}
    published = {
        (port["protocol"], port["sandbox_port"]): port["host_port"] for endpoint in guest["endpoints"] for port in endpoint["ports"]
    }
    assert published[("tcp", 80)] == 8071
    assert published[("udp", 53)] > 0
    hosts = lab.shell(f"cat {guest['files']}/hosts")
    assert "guesthost.example.org guesthost" in hosts
    assert "10.1.1.1\textra" in hosts
    resolv_conf = lab.shell(f"cat {guest['files']}/resolv.conf")
    assert "search corp.test" in resolv_conf
    assert "ndots:2" in resolv_conf
    for name in ("guest", "visitor", "guesthost", "guests"):
        assert lab.in_sandbox("peer", "dig", "+short", name) == "10.71.0.50", name
    peer = lab.inspect("peer")["addresses"][0]
    assert inside(lab, "dig", "+short", "@127.0.0.11", "friend") == peer
    lab.berth("detach", "guest")
    assert "lan0" not in inside(lab, "ip", "-o", "link")


def test_dry_run_of_attach_changes_nothing(lab, adopted):
    before = lab.kernel_state()
    steps = lab.berth("attach", "--netns", adopted, "--name", "guest", "--network", "front", "--ip", "10.71.0.50", "--dry-run").stdout
    assert "veth" in steps
    assert lab.kernel_state() == before
    assert json.loads(lab.berth("ps", "--format", "json").stdout) == []


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (("--env", "A=1"), 2, "--env is for a command that berth starts, and attach starts none"),
        (("-w", "/"), 2, "-w is for a command that berth starts"),
        (("-d",), 2, "-d is for a command that berth starts"),
        (("--network-alias", "x"), 2, "--network-alias needs a --network"),
        (("--gw-priority", "high"), 2, "gw-priority must be a number"),
        (("--", "sleep"), 2, "attach starts no command"),
        (("--network", "host"), 1, "an adopted namespace has a stack of its own"),
        (("--network", "front", "--ip", "203.0.113.9"), 1, "203.0.113.9"),
    ],
)
def test_what_attach_refuses(lab, adopted, options, code, text):
    refused = lab.berth("attach", "--netns", adopted, "--name", "guest", *options, check=False)
    assert refused.returncode == code
    assert text in refused.stderr


def test_attach_needs_a_name_and_a_namespace(lab):
    for options, text in ((("--netns", "/run/netns/x"), "--name is required"), (("--name", "x"), "give --pid, --netns or --follow")):
        refused = lab.berth("attach", *options, check=False)
        assert refused.returncode == 2
        assert text in refused.stderr


SYSCTLS = {
    "net.ipv4.ip_default_ttl": "41",
    "net.ipv4.ip_local_port_range": "20000 30000",
    "net.ipv6.conf.all.hop_limit": "42",
    "net.ipv4.conf.lo.log_martians": "1",
}
FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")


def sysctls(lab):
    return inside(lab, "sysctl", *SYSCTLS, *FORWARDING)


def attach(lab, adopted, *more, **options):
    given = [text for key, value in SYSCTLS.items() for text in ("--sysctl", f"{key}={value}")]
    return lab.berth("attach", "--netns", adopted, "--name", "guest", *given, "--forward", *more, **options)


def test_sysctls_are_put_back_on_detach(lab, adopted):
    before = sysctls(lab)
    attach(lab, adopted, "--network", "front")
    during = sysctls(lab)
    assert "ip_default_ttl = 41" in during
    assert "ip_local_port_range = 20000\t30000" in during
    assert "conf.all.forwarding = 1" in during
    lab.berth("network", "disconnect", "front", "guest")
    assert sysctls(lab) == during
    # Also by a daemon that did not set them.
    lab.stop_daemon()
    lab.start_daemon()
    lab.berth("detach", "guest")
    assert sysctls(lab) == before


def test_sysctl_that_somebody_changed_meanwhile_is_theirs(lab, adopted):
    attach(lab, adopted)
    inside(lab, "sysctl", "-qw", "net.ipv4.ip_default_ttl=43")
    lab.berth("detach", "guest")
    assert inside(lab, "sysctl", "-n", "net.ipv4.ip_default_ttl") == "43"
    inside(lab, "sysctl", "-qw", "net.ipv4.ip_default_ttl=64")


def test_sysctls_are_put_back_when_the_attach_fails(lab, adopted):
    before = sysctls(lab)
    refused = attach(lab, adopted, "--sysctl", "net.ipv4.no_such_switch=1", "--network", "front", check=False)
    assert refused.returncode == 1
    assert "no such sysctl" in refused.stderr
    assert sysctls(lab) == before


@pytest.fixture
def hanging_plugin(lab, adopted):
    """A network of a plugin that hangs once everything in the kernel is done, called plugged."""
    lab.shell("rm -f /run/plugin-test/calls")
    lab.start_plugin()
    lab.berth("network", "create", "-d", "weave", "--subnet", "10.73.0.0/24", "plugged")
    lab.write("/run/plugin-test/answers", json.dumps({"NetworkDriver.ProgramExternalConnectivity": "hang"}))
    yield lambda: "ProgramExternalConnectivity" in lab.shell("cat /run/plugin-test/calls", check=False)
    lab.run("rm", "/run/plugin-test/answers", check=False)
    lab.berth("detach", "guest", check=False)
    lab.berth("network", "rm", "plugged", check=False)


@pytest.mark.parametrize("operation", ["attach", "connect"])
def test_default_routes_and_sysctls_come_back_after_a_crash(lab, adopted, hanging_plugin, operation):
    lab.run("ip", "link", "add", "own0", "type", "veth", "peer", "name", "own1", "netns", "theirs")
    lab.run("ip", "link", "set", "own0", "up")
    inside(lab, "ip", "link", "set", "own1", "up")
    inside(lab, "ip", "addr", "add", "10.79.0.2/24", "dev", "own1")
    inside(lab, "ip", "-6", "addr", "add", "fd79::2/64", "dev", "own1", "nodad")
    before = sysctls(lab)
    if operation == "connect":
        attach(lab, adopted, "--gateway")
        before = sysctls(lab)
    inside(lab, "ip", "route", "add", "default", "via", "10.79.0.1", "metric", "5")
    inside(lab, "ip", "-6", "route", "add", "default", "via", "fd79::1", "metric", "5")
    own = [inside(lab, "ip", family, "route", "show", "default") for family in ("-4", "-6")]
    command = ["network", "connect", "plugged", "guest"] if operation == "connect" else None
    if command is None:
        given = [text for key, value in SYSCTLS.items() for text in ("--sysctl", f"{key}={value}")]
        command = ["attach", "--netns", adopted, "--name", "guest", *given, "--forward", "--gateway", "--network", "plugged"]
    waiting = lab.start(sys.executable, "-m", "resolver", *command)
    lab.wait_for(hanging_plugin)
    assert "10.79.0.1" not in inside(lab, "ip", "route", "show", "default")
    lab.stop_daemon(signal.SIGKILL)
    waiting.wait(PATIENCE)
    lab.start_daemon()
    assert [inside(lab, "ip", family, "route", "show", "default") for family in ("-4", "-6")] == own
    assert sysctls(lab) == before
    lab.run("ip", "link", "del", "own0")


def test_default_route_of_its_own_that_somebody_deletes_comes_back_once(lab, adopted):
    lab.run("ip", "link", "add", "own0", "type", "veth", "peer", "name", "own1", "netns", "theirs")
    lab.run("ip", "link", "set", "own0", "up")
    inside(lab, "ip", "link", "set", "own1", "up")
    inside(lab, "ip", "addr", "add", "10.79.0.2/24", "dev", "own1")
    inside(lab, "ip", "route", "add", "default", "via", "10.79.0.1", "metric", "5")
    attach(lab, adopted, "--gateway")
    # Its own network manager may choose another way.
    inside(lab, "ip", "route", "replace", "default", "via", "10.79.0.9", "metric", "5")
    assert lab.berth("doctor").stdout == "0 problems\n"
    inside(lab, "ip", "route", "del", "default")
    lab.wait_for(lambda: "default via 10.79.0.1 dev own1 metric 5" in inside(lab, "ip", "route"))
    inside(lab, "ip", "route", "del", "default")
    lab.wait_for(lambda: lab.is_left_alone("default route via 10.79.0.1"))
    assert "10.79.0.1" not in inside(lab, "ip", "route")
    lab.berth("detach", "guest")
    lab.run("ip", "link", "del", "own0")
