"""What a look at other programs' firewalls costs and finds: netlink requests and programs that are run."""

import json
import shutil
import sys

import pytest

from tests.support.lab import Lab

_BEGIN = """
import json, subprocess
from netcore.desired.other_firewalls import DockerRule
from netcore.kernel import other_firewalls
from netcore.kernel.host_sockets import HostSockets
from netcore.kernel.netlink import NetlinkSocket

class Counted(NetlinkSocket):
    asked = []
    def get(self, request):
        Counted.asked.append("get")
        return super().get(request)
    def dump(self, request):
        Counted.asked.append("dump")
        return super().dump(request)

ran, run = [], other_firewalls._run
other_firewalls._run = lambda program, arguments: (ran.append([program, arguments[0]]), run(program, arguments))[1]
sockets = HostSockets(Counted)

def look():
    Counted.asked.clear(), ran.clear()
    seen = other_firewalls.look(sockets)
    in_place = sorted(rule.program for rule in seen.in_place)
    print(json.dumps([Counted.asked, ran, list(seen.docker_user), in_place]))
    return seen

def sh(text):
    subprocess.run(["sh", "-ec", text], check=True)
"""
_CHAINS = """
look()
sh("iptables -N DOCKER-USER")
# Without a base chain nothing is sent there.
look()
sh("iptables -I FORWARD -j DOCKER-USER; ip6tables -N DOCKER-USER; ip6tables -I FORWARD -j DOCKER-USER")
seen = look()
print(json.dumps(other_firewalls.put([DockerRule(program) for program in seen.docker_user])))
look()
sh("ip6tables -F DOCKER-USER; iptables -D FORWARD -j DOCKER-USER; iptables -F DOCKER-USER; iptables -X DOCKER-USER")
look()
"""
_LEGACY = """
sh("iptables-legacy -N DOCKER-USER; iptables-legacy -P FORWARD DROP")
print(other_firewalls.is_silent())
seen = look()
print([(chain.name, chain.drops) for chain in seen.chains])
print(other_firewalls.put([DockerRule("iptables-legacy")]))
look()
other_firewalls.withdraw([DockerRule("iptables-legacy")])
look()
"""
_WITHDRAW = """
rule = DockerRule("iptables")
def withdraw():
    print(len(other_firewalls.withdraw([rule])), subprocess.run(["/usr/sbin/iptables", "-S"], capture_output=True).stdout.count(b"berth"))

def stub(text):
    sh(f"printf '#!/bin/sh\\\\n{text}\\\\n' > /usr/local/sbin/iptables; chmod +x /usr/local/sbin/iptables")

withdraw()
sh("mount -t tmpfs tmpfs /usr/local/sbin; iptables -N DOCKER-USER")
withdraw()
other_firewalls.put([rule, rule])
for text in ("exit 4", "kill -9 $$"):
    stub(text)
    withdraw()
sh("rm /usr/local/sbin/iptables")
withdraw()
"""


@pytest.fixture
def lab():
    with Lab() as made:
        yield made


def test_a_look_asks_for_chains_once_and_runs_a_program_for_each_chain_of_docker(lab):
    if shutil.which("iptables", path="/usr/sbin") is None:
        pytest.skip("iptables is not installed")
    lines = [json.loads(line) for line in lab.out(sys.executable, "-c", _BEGIN + _CHAINS).splitlines()]
    both = ["iptables", "ip6tables"]
    checks = [["iptables", "-C"], ["ip6tables", "-C"]]
    assert lines == [
        [["dump"], [], [], []],
        [["dump"], [], [], []],
        [["dump", "get", "get"], checks, both, []],
        [],
        [["dump", "get", "get"], checks, both, sorted(both)],
        [["dump", "get", "get"], checks[1:], both[1:], []],
    ]


def test_what_could_not_be_withdrawn_is_said_and_what_is_gone_is_not(lab):
    if shutil.which("iptables", path="/usr/sbin") is None:
        pytest.skip("iptables is not installed")
    # Without the chain; without the rule; locked by somebody; ended from outside; as it should be.
    lines = lab.out(sys.executable, "-c", _BEGIN + _WITHDRAW).splitlines()
    assert lines == ["0 0", "0 0", "1 2", "1 2", "0 0"]


def test_of_changes_of_iptables_legacy_nobody_is_told(lab):
    if lab.run("sh", "-c", "iptables-legacy -S", check=False).returncode:
        pytest.skip("iptables-legacy is not installed, or this kernel has no tables for it")
    lines = lab.out(sys.executable, "-c", _BEGIN + _LEGACY).splitlines()
    programs = [["iptables-legacy", "-S"], ["iptables-legacy", "-C"]]
    assert lines[0] == "True"
    assert json.loads(lines[1]) == [["dump"], programs, ["iptables-legacy"], []]
    assert lines[2:4] == ["[('INPUT', False), ('FORWARD', True)]", "[]"]
    assert [json.loads(line)[3] for line in lines[4:]] == [["iptables-legacy"], []]
