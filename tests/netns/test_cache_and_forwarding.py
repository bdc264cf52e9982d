"""The cache, routes by domain, loops and rebinding, as a person meets them; names that change under full load."""

import json
import os
import select
import sys
from pathlib import Path

import pytest

from tests.netns.conftest import upstream
from tests.support.lab import OUTSIDE_ADDRESS, Lab

CORPORATE = "10.9.0.53"
SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.run("ip", "addr", "add", f"{CORPORATE}/24", "dev", "up1", where="outside")
        made.log_of = {address: upstream(made, address) for address in (OUTSIDE_ADDRESS, CORPORATE)}
        made.write("/run/berth.toml", f'forward = {{ "corp.example.test" = ["{CORPORATE}"] }}\n')
        made.start_daemon("--config", "/run/berth.toml")
        made.berth("network", "create", "net")
        made.berth("run", "-d", "--name", "asker", "--network", "net", "--", "sleep", "infinity")
        yield made


def asked(lab: Lab, address: str) -> list[str]:
    """Return the names that the name server at *address* was asked for since the last call. It says a name before it answers."""
    stream = lab.log_of[address].stdout
    octets = b""
    while select.select([stream], [], [], 0)[0]:
        octets += os.read(stream.fileno(), 65_536)
    return [line.split()[1].lower() for line in octets.decode().splitlines() if line.startswith(("udp", "tcp")) and "_loop" not in line]


def test_remembered_answers_are_listed_and_flushed(lab):
    lab.berth("cache", "flush")
    asked(lab, OUTSIDE_ADDRESS)
    for _ in range(3):
        assert lab.in_sandbox("asker", "dig", "+short", "one.example.test") == "192.0.2.80"
    assert lab.in_sandbox("asker", "getent", "ahostsv4", "two.example.test").startswith("192.0.2.80")
    assert asked(lab, OUTSIDE_ADDRESS).count("one.example.test.") == 1
    shown = {(item["name"], item["type"]): item for item in json.loads(lab.berth("cache", "ls", "--format", "json").stdout)["entries"]}
    assert shown["one.example.test.", "A"]["rcode"] == "NOERROR"
    assert 0 < shown["one.example.test.", "A"]["ttl"] <= 60
    assert shown["one.example.test.", "A"]["upstreams"] == [OUTSIDE_ADDRESS]
    table = lab.berth("cache", "ls").stdout
    assert "one.example.test." in table
    assert "UPSTREAMS" in table
    assert "two.example" not in lab.berth("cache", "ls", "one.example.test").stdout
    few = lab.berth("cache", "ls", "--limit", "1")
    assert len(few.stdout.splitlines()) == 2
    assert "more; give a name" in few.stderr
    assert lab.berth("cache", "ls", "--limit", "0", check=False).returncode == 1
    assert "s left, told" in lab.berth("resolve", "two.example.test", "--from", "asker", "--explain").stdout
    assert lab.berth("cache", "flush", "one.example.test").stdout.strip() == "1"
    assert lab.in_sandbox("asker", "dig", "+short", "one.example.test") == "192.0.2.80"
    assert asked(lab, OUTSIDE_ADDRESS).count("one.example.test.") == 1
    assert int(lab.berth("cache", "flush").stdout) >= 2
    assert lab.berth("cache", "flush", "a..b", check=False).returncode == 1
    metrics = lab.api("GET", "/metrics")[1]
    assert 'berth_cache_requests_total{result="hits"}' in metrics


def test_domain_of_the_configuration_goes_to_its_own_nameserver(lab):
    asked(lab, CORPORATE)
    assert lab.in_sandbox("asker", "dig", "+short", "intra.corp.example.test") == "192.0.2.80"
    assert asked(lab, CORPORATE) == ["intra.corp.example.test."]
    said = lab.berth("resolve", "x.corp.example.test", "--from", "asker", "--explain").stdout
    assert f"forwarded to {CORPORATE}" in said


def test_domain_of_a_network_is_asked_from_its_sandboxes(lab):
    lab.berth("network", "create", "--internal", "-o", "forward=lab.example.test=10.99.0.53", "--subnet", "10.99.0.0/24", "closed")
    lab.berth(
        "run", "-d", "--name", "ns", "--network", "closed,ip=10.99.0.53", "--", sys.executable, str(SUPPORT / "upstream.py"), "10.99.0.53"
    )
    lab.wait_for(lambda: "10.99.0.53:53 " in lab.in_sandbox("ns", "ss", "-Hlnt"))
    lab.berth("run", "-d", "--name", "inner", "--network", "closed", "--", "sleep", "infinity")
    assert lab.in_sandbox("inner", "dig", "+short", "a.lab.example.test") == "192.0.2.80"
    # Everything else still has no way out.
    assert "EDE: 18" in lab.in_sandbox("inner", "dig", "a.example.test")
    lab.berth("rm", "ns", "inner")
    lab.berth("network", "rm", "closed")


@pytest.mark.parametrize(
    "option", ["forward=nonsense", "forward=a.test=not-an-address", "forward=a..b=10.0.0.1", "allow_rebinding=perhaps"]
)
def test_bad_options_are_refused(lab, option):
    done = lab.berth("network", "create", "-o", option, "bad", check=False)
    assert done.returncode == 1
    assert option.partition("=")[0] in done.stderr


@pytest.mark.parametrize("server", ["dns.example", "10.0.0.1#5353", "ftp://10.0.0.1", "tls://dns.example", "10.0.0.1:99999"])
def test_bad_nameservers_are_refused(lab, server):
    done = lab.berth("run", "--network", "net", "--dns", server, "--", "true", check=False)
    assert done.returncode == 125
    assert server in done.stderr


def test_upstream_that_leads_back_is_dropped_and_the_others_serve(lab):
    gateway = json.loads(lab.berth("network", "inspect", "net").stdout)[0]["pools"][0]["gateway"]
    said = lab.berth(
        "run",
        "--network",
        "net",
        "--dns",
        gateway,
        "--dns",
        OUTSIDE_ADDRESS,
        "--",
        "dig",
        "+tries=1",
        "+time=15",
        "+short",
        "loop.example.test",
    ).stdout
    assert said.strip() == "192.0.2.80"
    lab.berth("run", "-d", "--name", "looped", "--network", "net", "--dns", gateway, "--", "sleep", "infinity")
    lab.in_sandbox("looped", "dig", "+tries=1", "+time=15", "first.example.test")
    said = lab.in_sandbox("looped", "dig", "+tries=1", "+time=15", "second.example.test")
    assert "SERVFAIL" in said
    assert "leads back to this resolver" in said
    assert "looping" in lab.berth("status").stdout
    lab.berth("rm", "looped")


def test_answer_that_points_to_a_network_of_ours_is_refused(lab):
    lab.berth("network", "create", "--subnet", "192.0.2.0/24", "victim")
    assert "REFUSED" in lab.berth("resolve", "--explain", "www.example.test", check=False).stdout
    lab.berth("network", "create", "-o", "allow_rebinding=true", "trusting")
    # Nobody in particular is on every network, as for names.
    assert "192.0.2.80" in lab.berth("resolve", "www.example.test").stdout
    said = lab.in_sandbox("asker", "dig", "www.example.test")
    assert "REFUSED" in said
    assert "rebinding" in said
    assert lab.berth("run", "--network", "trusting", "--", "dig", "+short", "www.example.test").stdout.strip() == "192.0.2.80"
    lab.berth("network", "rm", "victim", "trusting")
    assert lab.in_sandbox("asker", "dig", "+short", "www.example.test") == "192.0.2.80"


@pytest.mark.slow
def test_no_answer_is_stale_while_names_change_under_load(lab):
    done = lab.run(sys.executable, str(SUPPORT / "names_under_load.py"), timeout=90)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert found["replies"] > 20_000
    assert found["changes"] > 100
    assert found["moved"] > 20
