"""Health checks of sandboxes: from inside, with and without a daemon; what names, lists and `up` make of them."""

import json
import signal
import sys

import pytest

from tests.support.lab import Lab

QUICK = ("--health-interval", "20ms", "--health-retries", "1")


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.start_daemon()
        made.berth("network", "create", "--subnet", "10.5.0.0/24", "front")
        made.berth("run", "-d", "--name", "asker", "--network", "front", "sleep", "600")
        yield made


@pytest.fixture(autouse=True)
def clean(lab):
    yield
    for name in (view["name"] for view in json.loads(lab.berth("ps", "-a", "--format", "json").stdout)):
        if name != "asker":
            lab.berth("rm", name)
    lab.shell("rm -f /mnt/well* /mnt/probed")


def health_of(lab, name):
    return json.loads(lab.berth("inspect", name).stdout)[0].get("health")


def wait_for_health(lab, name, health):
    lab.wait_for(lambda: health_of(lab, name) == health)


def answers(lab, name):
    return lab.berth("exec", "asker", "dig", "+short", name).stdout.split()


def test_an_unhealthy_sandbox_leaves_the_answers_of_names_that_others_have(lab):
    lab.shell("touch /mnt/well1 /mnt/well2")
    for number in (1, 2):
        network = f"front,alias=web,ip=10.5.0.10{number}"
        check = ("--health-cmd", f"test -e /mnt/well{number}", *QUICK)
        lab.berth("run", "-d", "--name", f"w{number}", "--network", network, *check, "--", "sleep", "600")
        wait_for_health(lab, f"w{number}", "healthy")
    assert sorted(answers(lab, "web")) == ["10.5.0.101", "10.5.0.102"]
    lab.shell("rm /mnt/well1")
    wait_for_health(lab, "w1", "unhealthy")
    lab.wait_for(lambda: answers(lab, "web") == ["10.5.0.102"])
    # Its own names have nobody else.
    assert answers(lab, "w1") == ["10.5.0.101"]
    shown = lab.berth("ps", "--filter", "health=unhealthy", "--format", "{{.Names}} {{.Status}}").stdout
    assert shown.startswith("w1 Up ")
    assert shown.endswith("(unhealthy)\n")
    assert 'berth_sandboxes_health{health="unhealthy"} 1' in lab.out(
        "curl", "-s", "--unix-socket", "/run/berth/berth.sock", "http://b/metrics"
    )
    # Never the last one.
    lab.shell("rm /mnt/well2")
    wait_for_health(lab, "w2", "unhealthy")
    lab.wait_for(lambda: sorted(answers(lab, "web")) == ["10.5.0.101", "10.5.0.102"])
    lab.shell("touch /mnt/well1")
    wait_for_health(lab, "w1", "healthy")
    lab.wait_for(lambda: answers(lab, "web") == ["10.5.0.101"])
    events = ("events", "--since", "10m", "--until", "0s", "--filter", "event=health_status", "--format", "{{.Action}}")
    lab.wait_for(lambda: lab.berth(*events).stdout.splitlines()[-1] == "health_status: healthy")


@pytest.mark.slow
def test_checks_go_on_without_a_daemon_and_the_next_one_knows(lab):
    lab.shell("touch /mnt/well1 /mnt/well2")
    for number in (1, 2):
        check = ("--health-cmd", f"test -e /mnt/well{number}", *QUICK)
        lab.berth("run", "-d", "--name", f"w{number}", "--network", "front,alias=web", *check, "--", "sleep", "600")
        wait_for_health(lab, f"w{number}", "healthy")
    lab.shell("rm /mnt/well1")
    wait_for_health(lab, "w1", "unhealthy")
    left = answers(lab, "web")
    assert len(left) == 1
    lab.stop_daemon(signal.SIGKILL)
    lab.shell("rm /mnt/well2")
    lab.start_daemon()
    wait_for_health(lab, "w2", "unhealthy")
    assert health_of(lab, "w1") == "unhealthy"
    assert len(answers(lab, "web")) == 2
    lab.shell("touch /mnt/well2")
    wait_for_health(lab, "w2", "healthy")
    assert answers(lab, "web") == left


def test_ports_and_urls_are_asked_inside(lab):
    lab.shell("mkdir -p /mnt/www; touch /mnt/www/up")
    serve = (sys.executable, "-m", "http.server", "8000", "-d", "/mnt/www")
    lab.berth("run", "-d", "--name", "url", "--health-http", "8000/up", *QUICK, "--", *serve)
    lab.berth("run", "-d", "--name", "missing", "--health-http", "8000/down", *QUICK, "--", *serve)
    lab.berth("run", "-d", "--name", "port", "--health-tcp", "8000", *QUICK, "--", *serve)
    lab.berth("run", "-d", "--name", "closed", "--health-tcp", "8000", *QUICK, "--", "sleep", "600")
    for name, health in (("url", "healthy"), ("missing", "unhealthy"), ("port", "healthy"), ("closed", "unhealthy")):
        wait_for_health(lab, name, health)
    template = "{{(index .State.Health.Log 0).Output}}"
    lab.wait_for(lambda: lab.berth("inspect", "-f", template, "missing").stdout == "HTTP 404\n")
    assert "Connection refused" in lab.berth("inspect", "-f", template, "closed").stdout


def test_a_check_that_takes_too_long_is_killed_with_what_it_started(lab):
    command = "sleep 3181 & echo began; sleep 3181"
    lab.berth("run", "-d", "--name", "slow", "--health-cmd", command, "--health-timeout", "50ms", *QUICK, "--", "sleep", "600")
    wait_for_health(lab, "slow", "unhealthy")
    log = json.loads(lab.berth("inspect", "slow").stdout)[0]["health_log"]["log"]
    assert {(entry["exit_code"], entry["output"]) for entry in log} == {(-1, "Health check exceeded timeout (0.05s)")}
    lab.berth("rm", "slow")
    assert not lab.runs("sleep 3181")


def test_a_check_in_the_foreground_has_variables_and_directory_of_the_command(lab):
    check = 'test "$WHO" = me && test "$PWD" = /mnt && test -e well'
    options = ("-e", "WHO=me", "-w", "/mnt", "--health-cmd", check, *QUICK)
    runner = lab.start(sys.executable, "-m", "resolver", "run", "--name", "front", *options, "--", "sleep", "600")
    lab.wait_for(lambda: lab.berth("inspect", "front", check=False).returncode == 0)
    wait_for_health(lab, "front", "unhealthy")
    lab.shell("touch /mnt/well")
    wait_for_health(lab, "front", "healthy")
    lab.berth("rm", "front")
    runner.wait()
    assert not lab.runs("--name front")


@pytest.mark.slow
def test_a_command_that_is_started_again_is_starting(lab):
    lab.shell("touch /mnt/well")
    check = ("--health-cmd", "echo >> /mnt/probed; test -e /mnt/well", "--health-interval", "20ms")
    lab.berth(
        "run", "-d", "--name", "again", *check, "--restart", "always", "--", "sh", "-c", "while test -e /mnt/well; do sleep 0.02; done"
    )
    wait_for_health(lab, "again", "healthy")
    lab.shell("rm /mnt/well")
    lab.wait_for(lambda: json.loads(lab.berth("inspect", "again").stdout)[0]["run"]["restarts"] > 1)
    lab.wait_for(lambda: health_of(lab, "again") in ("starting", "unhealthy"))
    lab.berth("stop", "again")
    assert health_of(lab, "again") is None
    lab.shell("touch /mnt/well")
    lab.berth("start", "again")
    wait_for_health(lab, "again", "healthy")


SHOP = """
name: shop
services:
  db:
    command: sleep 600
    healthcheck: {test: [CMD, test, -e, /mnt/well], interval: 20ms, retries: RETRIES}
  web: {command: sleep 600, depends_on: {db: {condition: service_healthy}}}
"""


def test_a_service_waits_for_the_health_of_another_one(lab):
    lab.write("/mnt/shop.yaml", SHOP.replace("RETRIES", "100000"))
    up = lab.start(sys.executable, "-m", "resolver", "up", "-d", "-f", "/mnt/shop.yaml")
    line = ""
    while line != "service web  waits for shop-db-1 to be healthy\n":
        line = up.stdout.readline()
        assert line
    assert lab.berth("ps", "--filter", "name=shop", "--format", "{{.Names}}").stdout == "shop-db-1\n"
    lab.shell("touch /mnt/well")
    assert up.wait() == 0
    assert health_of(lab, "shop-db-1") == "healthy"
    assert lab.berth("up", "--wait", "-f", "/mnt/shop.yaml").returncode == 0
    lab.shell("rm /mnt/well")
    lab.berth("down", "-p", "shop")
    lab.write("/mnt/shop.yaml", SHOP.replace("RETRIES", "1"))
    refused = lab.berth("up", "-d", "-f", "/mnt/shop.yaml", check=False)
    reason = "dependency of service web failed to start: shop-db-1 is unhealthy; `berth logs` shows what it has printed"
    assert (refused.returncode, refused.stderr.splitlines()[-1]) == (1, f"berth: {reason}")
    lab.berth("down", "-p", "shop")
