"""The host resolves sandboxes: the listener for it alone, and what leads there."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest

from tests.support.lab import HOST_ADDRESS, OUTSIDE_ADDRESS, Lab

CONFIG = 'host_listen = "127.0.0.153:53"\nhost_short_names = true\n'


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.write("/run/berth.toml", CONFIG)
        made.start_daemon("--config", "/run/berth.toml")
        made.berth("network", "create", "--ipv6", "front")
        made.berth("network", "create", "--internal", "inside")
        made.berth("run", "-d", "--name", "web", "--network", "front", "--network", "inside", "--", "sleep", "600")
        yield made


def asked(lab: Lab, *words: str) -> list[str]:
    return lab.out("dig", "+short", "+tries=1", "+time=5", "@127.0.0.153", *words).split()


def addresses(lab: Lab) -> dict[str, list[str]]:
    return {one["network"]: [text.partition("/")[0] for text in one["addresses"]] for one in lab.inspect("web")["endpoints"]}


def test_the_host_is_answered_and_nobody_else(lab: Lab):
    (v4, v6), (hidden,) = addresses(lab)["front"], addresses(lab)["inside"]
    assert asked(lab, "web.front.berth.internal", "web.front.berth.internal", "AAAA", "web.berth.internal", "-x", v4) == [
        v4, v6, v4, "web.front.berth.internal.",
    ]  # fmt: skip
    assert asked(lab, "+tcp", "web.front.berth.internal") == [v4]
    assert "status: REFUSED" in lab.out("dig", "@127.0.0.153", "example.com")
    assert "status: REFUSED" in lab.out("dig", "@127.0.0.153", "-x", hidden)
    assert "status: NXDOMAIN" in lab.out("dig", "@127.0.0.153", "web.inside.berth.internal")
    assert lab.out("ss", "-Hltun").count("127.0.0.153%lo:53 ") == 2
    # Where a link lets packets for 127.0.0.0/8 in, those behind it still reach nobody there.
    lab.shell("sysctl -qw net.ipv4.conf.up0.route_localnet=1 net.ipv4.conf.up0.rp_filter=0")
    prepare = "sysctl -qw net.ipv4.conf.up1.route_localnet=1 net.ipv4.conf.up1.rp_filter=0; ip addr del 127.0.0.1/8 dev lo"
    lab.run("sh", "-c", prepare, where="outside")
    lab.run("ip", "route", "add", "127.0.0.153", "via", HOST_ADDRESS, where="outside")
    for more in ("+notcp", "+tcp"):
        attempt = ("dig", "+tries=1", "+time=1", more, "-b", OUTSIDE_ADDRESS, "@127.0.0.153", "web.front.berth.internal")
        assert lab.run(*attempt, where="outside", check=False).returncode == 9


def test_the_host_is_answered_again_after_a_restart(lab: Lab):
    lab.stop_daemon(signal.SIGKILL)
    waiting = lab.start("dig", "+short", "+tries=1", "+time=20", "@127.0.0.153", "web.front.berth.internal")
    lab.start_daemon("--config", "/run/berth.toml")
    assert waiting.communicate()[0].split() == addresses(lab)["front"][:1]


def test_a_port_that_is_held_is_said_and_taken_once_it_is_free(lab: Lab):
    lab.stop_daemon()
    lab.write("/run/other.toml", 'host_listen = "127.0.0.154:5399"\n')
    holder = lab.start(
        "python3", "-c", "import socket, time; s = socket.socket(); s.bind(('127.0.0.154', 5399)); s.listen(); time.sleep(600)"
    )
    lab.wait_for(lambda: "5399" in lab.out("ss", "-Hltn"))
    lab.start_daemon("--config", "/run/other.toml")
    warnings = json.loads(lab.berth("status", "--format", "json").stdout)["warnings"]
    assert any("the host's names are not answered at 127.0.0.154: port 5399 is held by" in text for text in warnings)
    holder.kill()
    attempt = ("dig", "+short", "+tries=1", "+time=1", "@127.0.0.154", "-p", "5399", "web.front.berth.internal")
    lab.wait_for(lambda: lab.run(*attempt, check=False).stdout.split() == addresses(lab)["front"][:1])
