"""Namespaces that are kept ready: sandboxes take them, none is used twice, and none is left by a daemon that ends in any way."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import pytest

from tests.support.lab import Lab
from tests.support.user_lab import HOME, RUN_DIR, UID, UserLab, why_no_user

CONFIG = "/mnt/work/spare.toml"
OF_HOST = "readlink /proc/self/ns/net"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


def metric(lab: Lab, name: str) -> float:
    text = lab.out("curl", "-s", "--unix-socket", "/run/berth/berth.sock", "http://berth/metrics")
    found = re.search(rf"^{re.escape(name)} (.*)$", text, re.MULTILINE)
    assert found, text
    return float(found[1])


def start(lab: Lab, count: int) -> None:
    lab.write(CONFIG, f"spare = {count}\n")
    lab.start_daemon("--config", CONFIG)
    wait_until_ready(lab, count)


def wait_until_ready(lab: Lab, count: int) -> None:
    lab.wait_for(lambda: metric(lab, "berth_spare_namespaces") == count)


def hits(lab: Lab) -> float:
    return metric(lab, 'berth_spare_requests_total{result="hit"}')


def held_by(lab: Lab) -> set[str]:
    """Return the namespaces that the daemon holds sockets or descriptors of, by their descriptors of namespaces."""
    assert lab.daemon is not None
    return set(re.findall(r"net:\[\d+\]", lab.shell(f"ls -l /proc/{lab.daemon.pid}/fd")))


@pytest.mark.slow
def test_a_sandbox_takes_a_spare_and_has_names_and_a_way_out_in_it(lab: Lab) -> None:
    start(lab, 2)
    try:
        ready = held_by(lab)
        assert len(ready) == 2
        assert "2 namespaces ready for sandboxes to come" in lab.berth("status").stdout.splitlines()
        lab.berth("network", "create", "front")
        lab.berth("sandbox", "create", "--network", "front", "a")
        lab.berth("sandbox", "create", "--network", "front", "b")
        assert hits(lab) == 2
        taken = {lab.in_sandbox(name, *OF_HOST.split()) for name in ("a", "b")}
        assert taken == ready
        assert lab.in_sandbox("a", "ping", "-c", "1", "-W", "20", "-q", "b")
        wait_until_ready(lab, 2)
        # Those that come after are new.
        assert not held_by(lab) & taken
        lab.berth("rm", "-f", "a")
        lab.berth("sandbox", "create", "--network", "front", "a")
        assert lab.in_sandbox("a", *OF_HOST.split()) not in taken
    finally:
        lab.berth("rm", "-f", "a", "b", check=False)
        lab.berth("network", "rm", "front", check=False)
        lab.stop_daemon()


@pytest.mark.slow
def test_sandboxes_answer_after_a_daemon_is_killed_and_its_spares_are_gone(lab: Lab) -> None:
    start(lab, 2)
    try:
        lab.berth("network", "create", "front")
        lab.berth("sandbox", "create", "--network", "front", "a")
        wait_until_ready(lab, 2)
        spares = {name.strip("net:[]") for name in held_by(lab)}
        assert len(spares) == 2
        lab.stop_daemon(signal.SIGKILL)
        # The kernel lists each namespace that somebody has, also by a socket alone.
        lab.wait_for(lambda: not spares & set(lab.out("lsns", "-t", "net", "-n", "-o", "NS").split()))
        lab.start_daemon("--config", CONFIG)
        wait_until_ready(lab, 2)
        assert lab.in_sandbox("a", "getent", "hosts", "a")
        assert lab.shell("ls /run/netns").split() == ["berth-a", "outside"]
    finally:
        lab.berth("rm", "-f", "a", check=False)
        lab.berth("network", "rm", "front", check=False)
        lab.stop_daemon()


@pytest.mark.slow
def test_sockets_that_somebody_destroyed_in_a_spare_are_opened_again(lab: Lab) -> None:
    start(lab, 1)
    try:
        assert lab.daemon is not None
        found = lab.shell(f"for each in /proc/{lab.daemon.pid}/fd/*; do case $(readlink $each) in net:*) echo $each;; esac; done").split()
        assert len(found) == 1
        lab.shell(f"nsenter --net={found[0]} ss -K -a -u -t src 127.0.0.11")
        lab.berth("network", "create", "front")
        lab.berth("sandbox", "create", "--network", "front", "a")
        assert hits(lab) == 1
        assert lab.in_sandbox("a", "getent", "hosts", "a")
    finally:
        lab.berth("rm", "-f", "a", check=False)
        lab.berth("network", "rm", "front", check=False)
        lab.stop_daemon()


def in_spares(lab: Lab, script: str) -> None:
    """Run a script in each spare, as root of the host can."""
    assert lab.daemon is not None
    found = lab.shell(f"for each in /proc/{lab.daemon.pid}/fd/*; do case $(readlink $each) in net:*) echo $each;; esac; done").split()
    assert found
    for path in found:
        lab.run("nsenter", f"--net={path}", "sh", "-c", script)


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        "nft flush ruleset",
        "nft flush chain ip berth output",
        "ip link set lo down",
        "ip addr flush dev lo",
        "sysctl -qw net.ipv4.ip_forward=1",
    ],
)
def test_a_spare_that_somebody_changed_is_not_handed_out(lab: Lab, damage: str) -> None:
    start(lab, 2)
    try:
        in_spares(lab, damage)
        lab.berth("network", "create", "front")
        lab.berth("sandbox", "create", "--network", "front", "a")
        assert (hits(lab), metric(lab, 'berth_spare_requests_total{result="broken"}')) == (0, 2)
        assert lab.in_sandbox("a", "getent", "hosts", "a")
        assert lab.in_sandbox("a", "ping", "-c", "1", "-W", "9", "-q", "127.0.0.1")
        # Others are made in their place.
        wait_until_ready(lab, 2)
        assert len(held_by(lab)) == 2
        lab.berth("sandbox", "create", "--network", "front", "b")
        assert hits(lab) == 1
    finally:
        lab.berth("rm", "-f", "a", "b", check=False)
        lab.berth("network", "rm", "front", check=False)
        lab.stop_daemon()


@pytest.mark.slow
def test_the_setting_is_read_again(lab: Lab) -> None:
    start(lab, 1)
    try:
        assert lab.daemon is not None
        for count in (3, 0):
            lab.write(CONFIG, f"spare = {count}\n")
            lab.daemon.send_signal(signal.SIGHUP)
            wait_until_ready(lab, count)
            assert len(held_by(lab)) == count
    finally:
        lab.stop_daemon()


@pytest.mark.slow
def test_a_burst_of_a_hundred_leaves_nothing_but_new_spares(lab: Lab) -> None:
    start(lab, 20)
    try:
        lab.berth("network", "create", "front")
        lab.shell("seq 100 | xargs -P 20 -I{} berth run --rm --name burst{} --network front -- true", timeout=200)
        wait_until_ready(lab, 20)
        assert hits(lab) >= 20
        assert hits(lab) + metric(lab, 'berth_spare_requests_total{result="miss"}') == 100
        assert lab.shell("ls /run/netns").split() == ["outside"]
        assert len(held_by(lab)) == 20
    finally:
        lab.berth("network", "rm", "front", check=False)
        lab.stop_daemon()


@pytest.mark.slow
def test_an_ordinary_user_has_spares_in_his_nest() -> None:
    if why := why_no_user():
        pytest.skip(why)
    with UserLab() as lab:
        lab.serve_outside()
        lab.shell(f"mkdir -p {HOME}/.config/berth; echo 'spare = 2' > {HOME}/.config/berth/berth.toml; chown -R {UID} {HOME}/.config")

        def found(name: str) -> bool:
            metrics = lab.as_user("curl", "-s", "--unix-socket", f"{RUN_DIR}/berth.sock", "http://berth/metrics").stdout
            return name in metrics.splitlines()

        lab.berth("network", "create", "front")
        lab.wait_for(lambda: found("berth_spare_namespaces 2.0"))
        said = lab.berth(
            "run", "--network", "front", "--name", "job", "--", "sh", "-c", "getent hosts job; curl -skS -m 9 https://www.example.org/"
        )
        assert said.stdout.endswith("job\nwww.example.org www.example.org\n")
        assert found('berth_spare_requests_total{result="hit"} 1.0')
