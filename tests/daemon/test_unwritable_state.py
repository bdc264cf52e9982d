"""A state directory that can't be written, at a start and while the daemon runs: all is served, changes are refused, and it goes on."""

from __future__ import annotations

import json
import sys
from pathlib import PurePath

import pytest

from tests.support.lab import Lab

STATE = "/var/lib/berth"
BREAK = {
    # The outputs of commands are open for writing there, so that the mount itself can't be made read-only.
    "read-only": f"mount --bind {STATE} {STATE} && mount -o remount,ro,bind {STATE}",
    "full": f"head -c 100M /dev/zero > {STATE}/filler 2>/dev/null; head -c 1 /dev/zero > {STATE}/more 2>/dev/null; true",
    "immutable": f"chattr +i {STATE}/berth.db",
    "not ours": f"chown 65534:65534 {STATE} {STATE}/*; chmod 555 {STATE}; chmod 444 {STATE}/*",
}
MEND = {
    "read-only": f"mount -o remount,rw,bind {STATE}",
    "full": f"rm -f {STATE}/filler {STATE}/more",
    "immutable": f"chattr -i {STATE}/berth.db",
    "not ours": f"chmod 700 {STATE}; chmod 600 {STATE}/*; chown -R 0:0 {STATE}",
}


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.shell(f"mkdir -p {STATE} && mount -t tmpfs -o size=2M,mode=700 tmpfs {STATE}")
        made.start_daemon()
        made.berth("network", "create", "a")
        made.berth("run", "-d", "--name", "web", "--network", "a", "--", "sleep", "600")
        made.berth("run", "-d", "--name", "db", "--network", "a", "--", "sleep", "600")
        yield made


def status(lab):
    return json.loads(lab.berth("status", "--format", "json").stdout)


def unwritable(lab):
    return [line for line in status(lab)["warnings"] if "the state can't be written" in line]


def readiness(lab):
    return lab.api("GET", "/readyz")


def start_without_right_to_pass_over_modes(lab):
    """Start a daemon that is root without CAP_DAC_OVERRIDE."""
    without = "setpriv --bounding-set -dac_override,-dac_read_search"
    lab.daemon = lab.start("sh", "-c", f"exec {without} {sys.executable} -m resolver daemon >> /run/daemon.log 2>&1")
    lab.wait_for(lambda: lab.run("test", "-S", "/run/berth/berth.sock", check=False).returncode == 0 and lab.is_ready())


def is_served(lab):
    lab.in_sandbox("web", "ping", "-c1", "-W5", "db")
    assert lab.in_sandbox("web", "getent", "hosts", "db").split()[1].startswith("db")


def refused(lab):
    answers = [
        lab.api("POST", "/v1/networks", {"name": "new"}),
        lab.api("POST", "/v1/sandboxes", {"name": "new", "networks": [{"network": "a"}]}),
        lab.api("DELETE", "/v1/sandboxes/web"),
        lab.api("DELETE", "/v1/networks/left"),
        lab.api("POST", "/v1/networks/left/connect", {"sandbox": "db"}),
    ]
    return [(status, body["error"]["kind"], STATE in body["error"]["message"]) for status, body in answers]


# Who has opened the database may go on writing, unless there is no room.
CASES = [
    ("read-only", "at a start"),
    ("full", "while it runs"),
    ("full", "at a start"),
    ("immutable", "at a start"),
    ("not ours", "at a start"),
]


@pytest.mark.parametrize(("how", "when"), [case if case in CASES[:1] else pytest.param(*case, marks=pytest.mark.slow) for case in CASES])
def test_all_is_served_and_changes_are_refused_until_it_can_be_written(lab, how, when):
    lab.berth("network", "create", "left")
    client = lab.start(sys.executable, "-m", "resolver", "run", "--name", "ends", "--network", "a", "--", "sleep", "600")
    lab.wait_for(lambda: "ends" in lab.berth("ps").stdout and lab.inspect("ends")["leader"])
    lab.follow_events()
    if when == "at a start":
        lab.stop_daemon()
    lab.shell(BREAK[how])
    if when == "at a start":
        start_without_right_to_pass_over_modes(lab) if how == "not ours" else lab.start_daemon()
        lab.start("sh", "-c", f"exec {sys.executable} -m resolver events --since 1h >> /run/events 2>&1")
        assert unwritable(lab), lab.log()
    is_served(lab)
    before = lab.berth("ps", "-q").stdout
    assert refused(lab) == [(503, "unavailable", True)] * 5, lab.log()
    # A removal that is refused has ended nothing.
    is_served(lab)
    assert lab.berth("ps", "-q").stdout == before
    (line,) = unwritable(lab)
    assert "names and traffic go on, changes are refused" in line
    # At which file it is noticed is another one once berth has tried again, which may be between the two.
    lab.wait_for(lambda: unwritable(lab)[0] in lab.berth("status").stdout)
    doctor = lab.berth("doctor", check=False)
    assert doctor.returncode == 1
    assert f"state in {STATE} can't be written (" in doctor.stdout, doctor.stdout
    assert readiness(lab) == (200, {"status": "read-only"})
    assert "berth_state_writable 0.0" in lab.api("GET", "/metrics")[1]
    assert "the state can't be written, changes are refused" in lab.out("cat", "/run/daemon.log")
    # What ends meanwhile is removed once that can be recorded.
    client.kill()
    lab.wait_for(lambda: client.poll() is not None)
    lab.shell(MEND[how])
    lab.wait_for(lambda: not unwritable(lab))
    assert readiness(lab) == (200, {"status": "ok"})
    lab.wait_for(lambda: "ends" not in lab.berth("ps").stdout)
    lab.berth("network", "create", "new")
    lab.berth("network", "rm", "new", "left")
    lab.wait_for(lambda: "state read-only" in lab.events() and "state writable" in lab.events())
    # Nothing was lost, and what was done since is in the directory.
    lab.stop_daemon()
    lab.start_daemon()
    assert sorted(lab.berth("ps", "--format", "{{.Names}}").stdout.split()) == ["db", "web"]
    assert unwritable(lab) == []
    assert lab.berth("doctor").stdout == "0 problems\n"
    is_served(lab)


def answers(lab):
    """Return whether the resolver in web answers and its traffic flows; nothing is asked of the daemon's API."""
    inside = ("nsenter", "--net=/run/netns/berth-web")
    address = lab.out(*inside, "dig", "+short", "+time=2", "+tries=5", "@127.0.0.11", "db")
    return lab.run(*inside, "ping", "-c1", "-W5", address, check=False).returncode == 0


@pytest.mark.slow
def test_a_run_directory_that_can_not_be_written_costs_the_admin_sockets_only(lab):
    lab.stop_daemon()
    lab.shell("mount --bind /run/berth /run/berth; mount -o remount,ro,bind /run/berth; : > /run/daemon.log")
    lab.start_daemon(wait=False)
    lab.wait_for(lambda: "daemon started" in lab.out("cat", "/run/daemon.log"))
    assert "admin socket can't be made path=/run/berth/berth.sock" in lab.out("cat", "/run/daemon.log").replace('"', "")
    assert answers(lab)
    lab.shell("umount /run/berth")
    lab.wait_for(lambda: lab.run("test", "-S", "/run/berth/berth.sock", check=False).returncode == 0 and lab.is_ready())
    lab.berth("network", "create", "new")
    lab.berth("network", "rm", "new")


@pytest.mark.slow
def test_files_of_a_sandbox_that_can_not_be_written_cost_it_nothing_else(lab):
    hosts = lab.inspect("web")["files"] + "/hosts"
    lab.stop_daemon()
    lab.shell(f"rm {hosts}; chattr +i {PurePath(hosts).parent}")
    lab.start_daemon()
    assert answers(lab)
    assert [line for line in status(lab)["warnings"] if "sandbox web is set aside: its files can't be written: " in line], (
        status(lab),
        lab.log(),
    )
    lab.shell(f"chattr -i {PurePath(hosts).parent}")
    lab.wait_for(lambda: not [line for line in status(lab)["warnings"] if "set aside" in line])
    assert "localhost" in lab.shell(f"cat {hosts}")
