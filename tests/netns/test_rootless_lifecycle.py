"""What an ordinary user leaves running: it is stopped, started and restarted as root's is, also when his daemon or his nest is killed."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.lab import HOST_ADDRESS, OUTSIDE_ADDRESS
from tests.support.user_lab import RUN_DIR, UserLab, why_no_user

WHY_NOT = why_no_user()
if WHY_NOT:
    pytest.skip(WHY_NOT, allow_module_level=True)

SUPPORT = Path(__file__).parents[1] / "support"
ASK = (sys.executable, str(SUPPORT / "who_are_you.py"), "ask")
SERVE = (sys.executable, str(SUPPORT / "who_are_you.py"), "0.0.0.0")


@pytest.fixture(scope="module")
def lab():
    with UserLab() as made:
        made.serve_outside()
        made.berth("network", "create", "--subnet", "10.5.0.0/24", "front")
        yield made


@pytest.fixture(autouse=True)
def clean(lab):
    yield
    for name in (view["name"] for view in json.loads(lab.berth("ps", "-a", "--format", "json").stdout)):
        lab.berth("rm", "-f", name)


def run_of(lab, name):
    return json.loads(lab.berth("inspect", name).stdout)[0]["run"]


def is_running(lab, name):
    return run_of(lab, name)["state"] == "running"


def answers(lab, port):
    return lab.out(*ASK, HOST_ADDRESS, str(port), where="outside") == OUTSIDE_ADDRESS


@pytest.mark.slow
def test_what_is_stopped_starts_again_as_it_was(lab):
    lab.berth("run", "-d", "--name", "web", "--network", "front,ip=10.5.0.77", "-p", "8080:7000", "--", *SERVE)
    lab.wait_for(lambda: answers(lab, 8080))
    lab.berth("stop", "-t", "0", "web")
    assert run_of(lab, "web")["state"] == "exited"
    assert lab.out(*ASK, HOST_ADDRESS, "8080") == "ECONNREFUSED"
    for again in ("start", "restart"):
        lab.berth(again, "web")
        lab.wait_for(lambda: answers(lab, 8080))
        assert is_running(lab, "web")
        assert lab.berth("exec", "web", "hostname", "-I").stdout.split() == ["10.5.0.77"]
    assert lab.berth("logs", "web").stdout == "listening\n" * 3


@pytest.mark.slow
def test_restart_policies_hold_when_the_whole_nest_is_killed(lab):
    lab.berth("run", "-d", "--name", "always", "--restart", "always", "-p", "8080:7000", "--", *SERVE)
    lab.berth("run", "-d", "--name", "stopped", "--restart", "unless-stopped", "--", "sleep", "infinity")
    lab.berth("run", "-d", "--name", "once", "--", "sleep", "infinity")
    lab.wait_for(lambda: answers(lab, 8080))
    lab.berth("stop", "-t", "0", "stopped")
    holder = lab.holder()
    lab.run("kill", "-9", str(holder))
    lab.wait_for(lambda: not lab.processes("resolver.rootless.holder|resolver daemon|who_are_you"))
    # Nothing starts by itself; the next command starts the daemon, and that what is due.
    assert "front" in lab.berth("network", "ls").stdout
    lab.wait_for(lambda: is_running(lab, "always") and answers(lab, 8080))
    assert (run_of(lab, "stopped")["state"], run_of(lab, "once")["state"]) == ("exited", "exited")
    lab.berth("start", "once", "stopped")
    assert is_running(lab, "once")
    assert is_running(lab, "stopped")


@pytest.mark.slow
def test_what_runs_goes_on_when_the_daemon_is_killed_and_what_ends_meanwhile_is_started_again(lab):
    lab.berth("run", "-d", "--name", "goes-on", "-p", "8081:7000", "--", *SERVE)
    lab.berth("run", "-d", "--name", "ever", "--restart", "always", "--", "sh", "-c", "echo go; exec sleep 4715")
    lab.wait_for(lambda: answers(lab, 8081) and lab.processes("^sleep 4715"))
    (sleeps,), (daemon,) = lab.processes("^sleep 4715"), lab.processes("resolver daemon")
    lab.run("kill", "-9", str(daemon), str(sleeps))
    lab.wait_for(lambda: lab.processes("^sleep 4715") not in ([], [sleeps]))
    lab.wait_for(lambda: answers(lab, 8081))
    lab.wait_for(lambda: is_running(lab, "ever") and lab.berth("logs", "ever").stdout == "go\n" * 2)
    assert lab.berth("logs", "goes-on").stdout == "listening\n"


@pytest.mark.slow
def test_commands_at_the_same_time_have_one_nest_and_one_daemon(lab):
    lab.end_nest_of_bob()
    words = [("run", "--name", f"n{number}", "--", "echo", str(number)) for number in range(3)]
    started = [lab.start_berth(*one, name="bob") for one in (*words, ("network", "create", "first"))]
    said = [one.communicate(timeout=60)[0] for one in started]
    assert [text.splitlines()[-1] for text in said[:3]] == ["0", "1", "2"]
    assert [one.returncode for one in started] == [0] * 4
    assert "first" in lab.berth("network", "ls", name="bob").stdout
    lab.berth("network", "rm", "first", name="bob")
    lab.end_nest_of_bob()


@pytest.mark.slow
def test_a_nest_with_another_run_directory_is_told_which_one_has_the_state(lab):
    lab.berth("run", "-d", "--name", "web", "--network", "front", "--", "sleep", "infinity")
    holder = lab.holder()
    other = {"XDG_RUNTIME_DIR": "/mnt/home/ann/other"}
    refused = lab.as_user(sys.executable, "-m", "resolver", "network", "create", "back", environment=other, check=False)
    assert refused.returncode
    because = f"another berth daemon is using it: the nest of process {holder} on "
    assert because in refused.stderr
    assert f"(BERTH_RUN_DIR={RUN_DIR} has commands go to it); stop that one, or" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    # As it says.
    found = lab.as_user(sys.executable, "-m", "resolver", "ps", environment={**other, "BERTH_RUN_DIR": RUN_DIR})
    assert "web" in found.stdout
    # What could not start leaves nothing.
    lab.wait_for(lambda: len(lab.processes("resolver.rootless.holder")) == 1)
