"""The console examples of Docker's "Networking overview", with `berth` for `docker` and host programs for images.

The commands between the fences of docs/docker-overview.md are run here, word for word, in a clone of the repository; then what
the overview says of them is checked.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.lab import OUTSIDE_ADDRESS, Lab

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "docker-overview.md"


@pytest.fixture(scope="module")
def lab(lab):
    lab.run("mkdir", "-p", "/run/bin")
    lab.write("/run/bin/berth", f'#!/bin/sh\nexec {sys.executable} -m resolver "$@"\n')
    lab.run("chmod", "+x", "/run/bin/berth")
    lab.environment["PATH"] = f"/run/bin:{lab.environment['PATH']}"
    return lab


def example(title: str) -> str:
    """Return the commands of one example of the page."""
    block = re.search(rf"\*\*{re.escape(title)}\*\*.*?```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block, title
    return block[1]


def do(lab: Lab, title: str) -> str:
    return lab.shell(f"cd {ROOT}\nset -e\n{example(title)}", timeout=60)


def clean(lab: Lab) -> None:
    lab.shell("berth ps -q | xargs -r berth rm; berth network ls -q | xargs -r berth network rm")


@pytest.fixture(autouse=True)
def tidy(lab):
    yield
    clean(lab)
    assert json.loads(lab.berth("network", "ls", "--format", "json").stdout) == []


def test_user_defined_network(lab):
    said = do(lab, "A network of your own")
    assert "Directory listing" in said
    assert lab.inspect("container3")["networks"] == ["my-net"]


def test_several_networks_and_the_gateway_by_priority(lab):
    do(lab, "Several networks, the default gateway by priority")
    shown = lab.inspect("myctr")
    assert shown["networks"] == ["gwnet", "anet1", "anet2"]
    route = lab.in_sandbox("myctr", "ip", "route", "show", "default")
    gateway = json.loads(lab.berth("network", "inspect", "gwnet").stdout)[0]["pools"][0]["gateway"]
    assert f"default via {gateway}" in route


def test_ipv6_only_network(lab):
    do(lab, "A network with IPv6 only")
    assert all(":" in address for address in lab.inspect("six")["addresses"])
    assert lab.in_sandbox("six", "ip", "-4", "-o", "addr", "show", "eth0") == ""


def test_network_of_another_sandbox(lab):
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    assert "PONG" in do(lab, "The network of another sandbox")


def test_front_end_on_an_external_and_an_internal_network(lab):
    do(lab, "A front end on an external and an internal network")
    assert lab.in_sandbox("frontend", "ping", "-c1", "-W2", OUTSIDE_ADDRESS)
    lab.wait_for(lambda: "Directory" in lab.in_sandbox("frontend", "curl", "-s", "-m", "3", "http://backend/", check=False))
    assert lab.berth("exec", "backend", "ping", "-c1", "-W1", OUTSIDE_ADDRESS, check=False).returncode
    lab.wait_for(lambda: "Directory" in lab.out("curl", "-s", "-m", "15", "http://10.9.0.2:8088/", where="outside", check=False))


def test_published_on_the_loopback_only(lab):
    do(lab, "A port for this host only")
    lab.wait_for(lambda: "Directory" in lab.run("curl", "-s", "-m", "3", "http://127.0.0.1:8089/", check=False).stdout)
    assert lab.run("curl", "-s", "-m", "1", "http://10.9.0.2:8089/", where="outside", check=False).returncode


def test_dns_on_the_sandboxs_own_loopback(lab):
    assert do(lab, "A name server in the sandbox itself").splitlines()[-1] == "192.0.2.80"
    # Nobody else asks there.
    lab.berth("run", "-d", "--name", "other", "--dns", "127.0.0.1", "--", "sleep", "60")
    assert "SERVFAIL" in lab.in_sandbox("other", "dig", "+tries=1", "www.example.test")


def test_own_host_lines_and_not_the_hosts(lab):
    said = do(lab, "Host lines of its own")
    assert "10.180.0.1\tbuild-server" in said
    assert "only-on-the-host" not in said
    assert "only-on-the-host" in lab.shell("cat /etc/hosts")


def test_host_name_and_addresses_by_hand(lab):
    assert do(lab, "Address and host name by hand").split()[-2:] == ["inner", "172.28.5.9"]
