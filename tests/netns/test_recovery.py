"""One bad thing never stops the rest: what can't be restored is set aside with its reason, the others are served, and it comes back."""

import json
import signal
import sys

import pytest

from tests.support.lab import Lab

EDIT = """
import sqlite3, sys
with sqlite3.connect("/var/lib/berth/berth.db") as database:
    print(database.execute("UPDATE item SET value = ? WHERE value IS NOT NULL AND key LIKE ?", (sys.argv[2].encode(), sys.argv[1])).rowcount)
"""


@pytest.fixture
def lab():
    """A host with two parents, and three sandboxes: web and db on the network a, mac on the macvlan network lan."""
    with Lab() as made:
        made.shell("ip link add lan0 type veth peer name lan1; ip link set lan0 up; ip link set lan1 up")
        made.start_daemon()
        made.berth("network", "create", "a")
        made.berth("network", "create", "-d", "macvlan", "-o", "parent=lan0", "--subnet", "10.50.0.0/24", "lan")
        for name, network in (("web", "a"), ("db", "a"), ("mac", "lan")):
            made.berth("run", "-d", "--name", name, "--network", network, "--", "sleep", "600")
        yield made


def set_aside(lab):
    """Return name → reason of what is set aside."""
    found = json.loads(lab.berth("doctor", "--format", "json", check=False).stdout)
    return {finding["name"]: finding["problem"] for finding in found if "set aside" in finding["problem"]}


def restart(lab, between=""):
    lab.stop_daemon(signal.SIGKILL)
    if between:
        lab.shell(between)
    lab.start_daemon()


def edit(lab, key, value="{"):
    assert lab.out(sys.executable, "-c", EDIT, key, value) != "0"


def resolves(lab, who, name):
    return lab.run(sys.executable, "-m", "resolver", "exec", who, "getent", "hosts", name, check=False).returncode == 0


def works(lab):
    return resolves(lab, "db", "web") or resolves(lab, "web", "db")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_damaged_run_directory(lab):
    for damage in (
        "rm -rf /run/berth",
        "rm -rf /run/berth/sandboxes; touch /run/berth/sandboxes",
        "for d in /run/berth/sandboxes/*; do rm $d/hosts $d/hostname; mkdir -p $d/hosts $d/hostname/x; done",
        "for d in /run/berth/sandboxes/*; do rm -r $d; echo > $d; done",
        "rm -f /run/berth/berth.sock; mkdir -p /run/berth/berth.sock/x",
    ):
        restart(lab, damage)
        assert lab.berth("ps", "-q").stdout.count("\n") == 3, damage
        assert resolves(lab, "db", "web")
        assert resolves(lab, "web", "db")
        assert set_aside(lab) == {}
        assert "127.0.0.1" in lab.in_sandbox("mac", "cat", "/etc/hosts")
    for name in ("web", "db", "mac"):
        lab.berth("rm", name)
    assert lab.shell("ls /run/berth/sandboxes | grep -v set-aside; true") == ""


def test_records_that_can_not_be_read(lab):
    lab.berth("run", "-d", "--name", "more", "--network", "a", "--", "sleep", "600")
    lab.berth("run", "--network", "a", "--", "true")
    lan = json.loads(lab.berth("network", "inspect", "lan").stdout)[0]["id"]
    keys = [f"sandbox/{lab.inspect('web')['id']}", f"endpoints/{lab.inspect('more')['id']}", f"network/{lan}", "rest/%", "sysctl/%"]
    lab.stop_daemon(signal.SIGKILL)
    for key in keys:
        edit(lab, key)
    lab.start_daemon()
    aside = set_aside(lab)
    assert {"more", lan[:12]} < set(aside)
    assert len(aside) >= 5
    assert all("can't be read" in reason for reason in aside.values())
    warnings = json.loads(lab.berth("status", "--format", "json").stdout)["warnings"]
    assert len([line for line in warnings if "is set aside" in line]) == len(aside)
    # The others are as they were.
    assert resolves(lab, "db", "db")
    assert [endpoint["network"] for endpoint in lab.inspect("db")["endpoints"]] == ["a"]
    # What can be made out of a record is its name; otherwise it is known by its id.
    lab.berth("rm", "more")
    lab.berth("rm", next(key for key in keys if key.startswith("sandbox/")).removeprefix("sandbox/"))
    lab.berth("network", "rm", lan[:12])
    assert not {"more", "web", lan[:12]} & set(set_aside(lab))
    lab.berth("doctor", "--remove", check=False)
    assert set_aside(lab) == {}
    assert lab.berth("doctor", check=False).stdout == "0 problems\n"
    assert "berth-more" not in lab.shell("ls /run/netns")
    assert lab.shell("ip -o link show type veth | grep -c 'master br-'") == "1"


def test_sandbox_that_broke_its_own_loopback_is_mended_and_served(lab):
    inside = ("nsenter", f"--net={lab.inspect('web')['netns']}")
    lab.run(*inside, "ip", "addr", "flush", "dev", "lo")
    restart(lab)
    lab.wait_for(lambda: set_aside(lab) == {})
    assert "127.0.0.1/8" in lab.out(*inside, "ip", "addr", "show", "dev", "lo")
    assert resolves(lab, "web", "db")
    assert resolves(lab, "db", "web")


TAKE_ALL = """
import os, resource, socket, sys
# Two processes, because one may not have so many descriptors.
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
os.setuid(65534)
taken = []
for port in range(32768, 61000):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind(("127.0.0.11", port))
    except OSError:
        continue
    taken.append(sock)
    if port == 46000 and os.fork() == 0:
        sys.stdin.read()
        sys.exit()
    if port == 46000:
        [sock.close() for sock in taken]
print("taken", flush=True)
sys.stdin.read()
"""


def test_nobody_can_keep_a_sandbox_from_its_resolver_by_taking_ports(lab):
    lab.stop_daemon(signal.SIGKILL)
    inside = lab.start("nsenter", "--net=/run/netns/berth-web", sys.executable, "-c", TAKE_ALL)
    assert inside.stdout.readline() == "taken\n"
    lab.start_daemon()
    assert set_aside(lab) == {}
    assert resolves(lab, "web", "db")


@pytest.mark.slow
def test_parent_that_is_gone_takes_only_its_network(lab):
    restart(lab, "ip link del lan0")
    assert list(set_aside(lab)) == ["lan"]
    assert "parent link lan0 is gone" in set_aside(lab)["lan"]
    assert resolves(lab, "db", "web")
    assert lab.inspect("mac")["endpoints"] == []
    lab.shell("ip link add lan0 type veth peer name lan1; ip link set lan0 up; ip link set lan1 up")
    lab.wait_for(lambda: set_aside(lab) == {})
    assert [endpoint["network"] for endpoint in lab.inspect("mac")["endpoints"]] == ["lan"]
    assert "10.50.0." in lab.in_sandbox("mac", "ip", "-4", "addr", "show", "eth0")
    # It stays through a further restart: nothing was lost in the records.
    restart(lab)
    assert [endpoint["network"] for endpoint in lab.inspect("mac")["endpoints"]] == ["lan"]


@pytest.mark.slow
def test_network_that_is_set_aside_can_be_removed_with_its_endpoints(lab):
    restart(lab, "ip link del lan0")
    lab.berth("network", "rm", "lan")
    assert set_aside(lab) == {}
    restart(lab)
    assert set_aside(lab) == {}
    assert lab.inspect("mac")["endpoints"] == []
    assert "lan" not in lab.berth("network", "ls").stdout.split()


def test_name_of_the_bridge_that_somebody_else_took(lab):
    bridge = json.loads(lab.berth("network", "inspect", "a").stdout)[0]["options"].get("com.docker.network.bridge.name") or lab.shell(
        "ip -o link show type bridge | sed 's/^[0-9]*: //; s/:.*//'"
    )
    lab.berth("network", "create", "b")
    restart(lab, f"ip link del {bridge}; ip link add {bridge} type veth peer name other0")
    assert "a" in set_aside(lab)
    assert "is not the network's own" in set_aside(lab)["a"]
    lab.berth("run", "--network", "b", "--", "true")
    lab.berth("network", "rm", "a")
    # It is not ours, so it stays.
    assert bridge in lab.shell("ip -o link show")


@pytest.mark.slow
def test_subnet_that_the_host_has_now(lab):
    pool = json.loads(lab.berth("network", "inspect", "a").stdout)[0]["pools"][0]
    bridge = lab.shell("ip -o link show type bridge | sed 's/^[0-9]*: //; s/:.*//'")
    address = pool["subnet"].replace(".0/16", ".77/24").replace(".0/24", ".77/24")
    restart(lab, f"ip link del {bridge}; ip addr add {address} dev up0")
    assert "own address on link up0" in set_aside(lab)["a"] or "subnet of this host's link up0" in set_aside(lab)["a"]
    lab.shell(f"ip addr del {address} dev up0")
    lab.wait_for(lambda: set_aside(lab) == {})
    lab.wait_for(lambda: resolves(lab, "db", "web"))
    assert lab.inspect("web")["endpoints"][0]["network"] == "a"
    lab.in_sandbox("db", "ping", "-c1", "-W5", "web")


def test_process_that_ended_while_the_daemon_was_away(lab):
    client = lab.start(sys.executable, "-m", "resolver", "run", "--name", "gone", "--network", "lan", "--", "sleep", "600")
    lab.wait_for(lambda: "gone" in lab.berth("ps").stdout and lab.inspect("gone")["leader"])
    lab.stop_daemon(signal.SIGKILL)
    client.kill()
    client.wait()
    lab.start_daemon()
    assert "gone" not in lab.berth("ps").stdout
    assert set_aside(lab) == {}


@pytest.mark.slow
def test_state_that_was_lost_says_so_and_what_is_left_can_be_removed(lab):
    before = lab.berth("ps", "-q").stdout
    lab.stop_daemon()
    lab.shell("printf garbage > /var/lib/berth/berth.db")
    lab.start_daemon()
    # The copy has everything.
    assert lab.berth("ps", "-q").stdout == before
    warnings = json.loads(lab.berth("status", "--format", "json").stdout)["warnings"]
    assert [line for line in warnings if "the state was damaged" in line]
    assert "damaged-" in lab.shell("ls /var/lib/berth")
    lab.stop_daemon()
    lab.shell("rm -rf /var/lib/berth/*")
    lab.start_daemon()
    assert lab.berth("ps", "-q").stdout == ""
    warnings = json.loads(lab.berth("status", "--format", "json").stdout)["warnings"]
    assert [line for line in warnings if "are in no record" in line]
    shown = lab.berth("doctor", check=False)
    assert shown.returncode == 1
    assert "berth-web" in shown.stdout
    # The networks and sandboxes are back as they were, by a copy that nobody lost.
    lab.berth("doctor", "--adopt")
    assert lab.berth("ps", "-q").stdout == before
    lab.wait_for(lambda: set_aside(lab) == {})
    assert resolves(lab, "db", "web")
    lab.in_sandbox("db", "ping", "-c1", "-W5", "web")
    assert [endpoint["network"] for endpoint in lab.inspect("mac")["endpoints"]] == ["lan"]
    assert lab.berth("doctor").stdout == "0 problems\n"
    restart(lab)
    assert lab.berth("doctor").stdout == "0 problems\n"
    lab.stop_daemon()
    lab.shell("rm -rf /var/lib/berth/* /run/berth/berth.db.*")
    lab.start_daemon()
    assert lab.berth("doctor", "--remove").returncode == 0
    lab.wait_for(lambda: lab.shell("ls /run/netns | grep berth-; ip -o link show type bridge; ls /run/berth/sandboxes", check=False) == "")


@pytest.mark.slow
def test_more_sandboxes_than_descriptors(lab):
    for number in range(8):
        lab.berth("run", "-d", "--name", f"s{number}", "--network", "a", "--", "sleep", "600")
    lab.stop_daemon()
    lab.start_daemon(program=f"prlimit --nofile=96 {sys.executable} -m resolver daemon")
    aside = set_aside(lab)
    assert 0 < len(aside) < 11
    assert all("file descriptor" in reason for reason in aside.values())
    served = [name for name in ("web", "db", *(f"s{number}" for number in range(8))) if name not in aside]
    assert resolves(lab, served[0], served[-1])
    restart(lab)
    assert set_aside(lab) == {}
