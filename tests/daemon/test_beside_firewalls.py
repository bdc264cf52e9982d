"""Beside other firewalls: Docker's, plain drop policies, ufw, firewalld."""

import shutil

import pytest

from tests.support.lab import HOST_ADDRESS, OUTSIDE_ADDRESS, TABLES, Lab

_DOCKERD = """
mkdir -p /run/docker /run/containerd
mount -t cgroup2 none /sys/fs/cgroup
containerd > /run/containerd.log 2>&1 &
for i in $(seq 50); do [ -S /run/containerd/containerd.sock ] && break; sleep 0.1; done
exec dockerd --storage-driver=vfs > /run/dockerd.log 2>&1
"""


def start_docker(lab: Lab) -> None:
    for program in ("dockerd", "containerd", "iptables"):
        if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            pytest.skip(f"{program} is not installed")
    if lab.run(
        "sh", "-c", "mount -t sysfs sysfs /sys && mount -t cgroup2 none /sys/fs/cgroup && umount /sys/fs/cgroup", check=False
    ).returncode:
        pytest.skip("cgroups can't be mounted here, so dockerd can't run")
    lab.start("sh", "-c", _DOCKERD)
    lab.wait_for(lambda: "DOCKER-USER" in lab.shell("iptables -S FORWARD 2>/dev/null || true"), timeout=60)
    lab.wait_for(lambda: lab.run("test", "-S", "/run/docker.sock", check=False).returncode == 0, timeout=60)


_COUNTED = """#!/bin/sh
echo "$(basename "$0") $*" >> /run/asked
case "$*" in *" -D "*) while [ -e /run/hold ]; do sleep 0.02; done;; esac
exec /usr/sbin/$(basename "$0") "$@"
"""
"""In the place of iptables: notes what it is asked, and removes no rule as long as there is a file /run/hold."""


def chains_of_docker(lab: Lab) -> None:
    """Make the chains as Docker does, and have each program counted that the daemon runs on them."""
    if shutil.which("iptables", path="/usr/sbin") is None:
        pytest.skip("iptables is not installed")
    lab.shell("mount -t tmpfs tmpfs /usr/local/sbin; touch /run/asked")
    for program in ("iptables", "ip6tables"):
        lab.shell(f"{program} -P FORWARD DROP; {program} -N DOCKER-USER; {program} -A DOCKER-USER -j RETURN")
        lab.shell(f"{program} -I FORWARD -j DOCKER-USER")
        lab.write(f"/usr/local/sbin/{program}", _COUNTED)
    lab.shell("chmod +x /usr/local/sbin/*")


def asked(lab: Lab) -> list[str]:
    """Return what the daemon has run: the program and what it is to do."""
    lines = [line.split() for line in lab.out("cat", "/run/asked").splitlines()]
    return [f"{line[0]} {line[3]}" for line in lines]


def pair(lab: Lab) -> None:
    lab.berth("network", "create", "net")
    lab.berth("run", "-d", "--name", "web", "--network", "net", "-p", "8080:80", "--", "python3", "-m", "http.server", "80")


def traffic_flows(lab: Lab) -> bool:
    inward = lab.run("curl", "-s", "-o", "/dev/null", "-m", "1", f"http://{HOST_ADDRESS}:8080/", where="outside", check=False)
    outward = lab.berth("exec", "web", "ping", "-c1", "-W1", OUTSIDE_ADDRESS, check=False)
    return inward.returncode == 0 and outward.returncode == 0


def docker_rules(lab: Lab) -> str:
    return lab.out("/usr/sbin/iptables", "-S", "DOCKER-USER")


@pytest.mark.timeout(150)
def test_docker_runs_first(lab):
    start_docker(lab)
    assert "-P FORWARD DROP" in lab.shell("iptables -S FORWARD")
    lab.start_daemon()
    pair(lab)
    lab.wait_for(lambda: traffic_flows(lab))
    assert docker_rules(lab).count("berth") == 1
    assert "warning" not in lab.berth("status").stdout
    # Docker can go on with its own rules.
    lab.run("iptables", "-S")
    lab.berth("rm", "web")
    lab.berth("network", "rm", "net")
    lab.wait_for(lambda: "berth" not in docker_rules(lab))


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_docker_starts_later(lab):
    lab.start_daemon()
    pair(lab)
    lab.wait_for(lambda: traffic_flows(lab))
    start_docker(lab)
    assert "-P FORWARD DROP" in lab.shell("iptables -S FORWARD")
    lab.wait_for(lambda: docker_rules(lab).count("berth") == 1)
    lab.wait_for(lambda: traffic_flows(lab))


def test_networks_beside_others_run_no_program(lab):
    chains_of_docker(lab)
    lab.start_daemon()
    lab.berth("network", "create", "first")
    assert docker_rules(lab).count("berth") == 1
    first = ["iptables -C", "ip6tables -C", "iptables -I", "ip6tables -I"]
    # What it has put in itself is a change, after which it looks.
    lab.wait_for(lambda: asked(lab) == [*first, "iptables -C", "ip6tables -C"])
    lab.berth("network", "create", "second")
    lab.berth("run", "--network", "second", "--", "true")
    lab.berth("network", "rm", "second")
    # What is taken away behind a reply is gone before the next network is made.
    lab.berth("network", "create", "third")
    assert asked(lab)[6:] == []
    lab.berth("network", "rm", "third")
    lab.berth("network", "rm", "first")
    # Each until there is none.
    lab.wait_for(lambda: sorted(asked(lab)[6:]) == ["ip6tables -D", "ip6tables -D", "iptables -D", "iptables -D"])
    assert "berth" not in docker_rules(lab)


def test_what_was_changed_a_moment_ago_is_seen_before_the_reply(lab):
    chains_of_docker(lab)
    lab.start_daemon()
    lab.berth("network", "create", "first")
    for number, change in enumerate(("-F DOCKER-USER", "-D DOCKER-USER 1")):
        lab.run("/usr/sbin/iptables", *change.split())
        assert "berth" not in docker_rules(lab)
        lab.berth("network", "create", f"n{number}")
        assert docker_rules(lab).count("berth") == 1


def test_the_last_network_goes_before_the_rule(lab):
    chains_of_docker(lab)
    lab.start_daemon()
    lab.berth("network", "create", "net")
    lab.shell("touch /run/hold")
    lab.berth("network", "rm", "net")
    assert docker_rules(lab).count("berth") == 1
    lab.shell("rm /run/hold")
    lab.wait_for(lambda: "berth" not in docker_rules(lab))
    # A rule that is about to go is no reason not to put it in.
    lab.berth("network", "create", "net")
    lab.shell("touch /run/hold")
    lab.berth("network", "rm", "net")
    lab.start("sh", "-c", "sleep 0.5; rm /run/hold")
    lab.berth("network", "create", "net")
    assert docker_rules(lab).count("berth") == 1


@pytest.mark.slow
def test_plain_drop_policy_is_named_with_the_missing_rule(lab):
    lab.start_daemon()
    lab.shell("nft 'add table inet mine; add chain inet mine forward { type filter hook forward priority 0; policy drop; }'")
    said = lab.berth("network", "create", "net").stderr
    assert "chain forward of table inet mine" in said
    rule = next(line for line in lab.berth("status").stdout.splitlines() if "table inet mine" in line).partition("add: ")[2]
    assert rule.startswith("nft insert rule inet mine forward")
    lab.berth("run", "-d", "--name", "web", "--network", "net", "-p", "8080:80", "--", "python3", "-m", "http.server", "80")
    assert not traffic_flows(lab)
    # The named rule is the right one.
    lab.shell(rule)
    lab.wait_for(lambda: traffic_flows(lab))


def test_input_drop_policy_is_named_for_the_gateway_resolver(lab):
    lab.start_daemon()
    lab.shell("nft 'add table inet mine; add chain inet mine input { type filter hook input priority 0; policy drop; }'")
    lab.berth("network", "create", "net")
    lab.berth("run", "-d", "--name", "me", "--network", "net", "--", "sleep", "100")
    gateway = lab.in_sandbox("me", "ip", "route", "show", "default").split()[2]
    assert lab.berth("exec", "me", "dig", "+tries=1", "+time=1", f"@{gateway}", "me", check=False).returncode != 0
    # The sandbox's own resolver needs nothing.
    assert lab.in_sandbox("me", "dig", "+short", "me")
    rule = next(line for line in lab.berth("status").stdout.splitlines() if "chain input" in line).partition("add: ")[2]
    lab.shell(rule)
    assert lab.in_sandbox("me", "dig", "+short", f"@{gateway}", "me")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_ufw_is_named_with_the_missing_rule(lab):
    if shutil.which("ufw", path="/usr/sbin") is None:
        pytest.skip("ufw is not installed")
    lab.shell(
        "mkdir -p /run/ufw /var/lib/ufw; sed -i 's/ENABLED=no/ENABLED=yes/' /etc/ufw/ufw.conf; /usr/lib/ufw/ufw-init force-reload || true"
    )
    if "-P FORWARD DROP" not in lab.shell("iptables -S FORWARD"):
        pytest.skip("ufw can't be switched on in the lab")
    lab.start_daemon()
    said = lab.berth("network", "create", "net").stderr
    assert "chain FORWARD of table ip filter" in said
    lab.berth("run", "-d", "--name", "web", "--network", "net", "-p", "8080:80", "--", "python3", "-m", "http.server", "80")
    assert not traffic_flows(lab)
    rule = next(line for line in lab.berth("status").stdout.splitlines() if "FORWARD of table ip filter" in line).partition("add: ")[2]
    lab.shell(rule)
    lab.wait_for(lambda: traffic_flows(lab))


def test_firewalld_gets_our_bridges_in_its_trusted_zone(lab):
    # A stand-in that notes what it is asked: the real one needs a system bus.
    lab.shell("mount -t tmpfs tmpfs /usr/local/sbin")
    lab.write("/usr/local/sbin/firewall-cmd", '#!/bin/sh\necho "$*" >> /run/asked\ncase "$*" in *query*) exit 1;; esac\n')
    lab.shell("chmod +x /usr/local/sbin/firewall-cmd")
    lab.shell(
        "nft 'add table inet firewalld; add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; policy drop; }'"
    )
    lab.start_daemon()
    lab.berth("network", "create", "--opt", "name=brwall", "net")
    lab.wait_for(lambda: "--zone=trusted --change-interface=brwall" in lab.out("cat", "/run/asked"))
    lab.berth("network", "rm", "net")
    lab.wait_for(lambda: "--zone=trusted --remove-interface=brwall" in lab.out("cat", "/run/asked"))


def test_flushed_rules_come_back(lab):
    lab.start_daemon()
    pair(lab)
    lab.wait_for(lambda: traffic_flows(lab))
    before = lab.shell(TABLES)
    lab.shell("nft flush ruleset")
    lab.wait_for(lambda: traffic_flows(lab))
    lab.wait_for(lambda: lab.shell(TABLES) == before)
