"""`berth up` on what is up already, and on services that wait for others: in a lab, with commands that are small shell scripts."""

import json
import re
import signal
import sys

import pytest

from tests.support.lab import Lab


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.start_daemon()
        yield made


@pytest.fixture(autouse=True)
def clean(lab):
    yield
    lab.berth("down", "-t", "0", "-p", "shop")
    lab.shell("rm -rf /run/shop")


def write(lab, text):
    lab.shell("mkdir -p /run/shop")
    lab.write("/run/shop/compose.yaml", text)


def up(lab, *options, check=True):
    return lab.berth("up", "-f", "/run/shop/compose.yaml", *options, check=check)


def ids(lab):
    return {view["name"]: view["id"] for view in json.loads(lab.berth("ps", "-a", "--format", "json").stdout)}


def run_of(lab, name):
    return json.loads(lab.berth("inspect", name).stdout)[0]["run"]


WAIT = "while ! test -e /run/shop/{}; do sleep 0.02; done"
SHOP = """
name: shop
services:
  db: {command: sleep 600, networks: [back]}
  web: {command: sleep 600, scale: 2, depends_on: [db], networks: [front, back]}
  old: {command: sleep 600, networks: [back]}
networks: {front: {}, back: {}}
"""


@pytest.mark.slow
def test_up_again_changes_only_what_has_changed(lab):
    write(lab, SHOP)
    up(lab, "-d")
    before = ids(lab)
    assert sorted(before) == ["shop-db-1", "shop-old-1", "shop-web-1", "shop-web-2"]
    planned = up(lab, "--dry-run").stdout.splitlines()
    assert planned == ["shop-db-1 stays", "shop-web-1 stays", "shop-web-2 stays", "shop-old-1 stays"]
    up(lab, "-d")
    assert ids(lab) == before
    # One has gone by itself, one is stopped.
    lab.berth("rm", "shop-web-2")
    lab.berth("stop", "shop-db-1")
    up(lab, "-d")
    after = ids(lab)
    assert (after["shop-db-1"], after["shop-web-1"]) == (before["shop-db-1"], before["shop-web-1"])
    assert after["shop-web-2"] != before["shop-web-2"]
    assert run_of(lab, "shop-db-1")["state"] == "running"
    # A variable of one has changed, another has gone.
    lines = [line for line in SHOP.splitlines() if "old:" not in line]
    write(lab, "\n".join(lines).replace("web: {", "web: {environment: {A: 1}, "))
    assert up(lab, "--dry-run").stdout.splitlines() == [
        "shop-db-1 stays",
        "shop-web-1 is made anew: its settings have changed",
        "shop-web-2 is made anew: its settings have changed",
    ]
    assert ids(lab) == after
    kept = up(lab, "-d", "--no-recreate")
    assert ids(lab) == after
    assert "the file has no service for shop-old-1; `berth up --remove-orphans` removes" in kept.stderr
    up(lab, "-d", "--remove-orphans", "--scale", "web=1")
    now = ids(lab)
    assert sorted(now) == ["shop-db-1", "shop-web-1"]
    assert now["shop-db-1"] == after["shop-db-1"]
    assert now["shop-web-1"] != after["shop-web-1"]
    up(lab, "-d", "--force-recreate", "--scale", "web=1", "web")
    assert ids(lab)["shop-db-1"] == now["shop-db-1"]
    assert ids(lab)["shop-web-1"] != now["shop-web-1"]
    assert lab.berth("exec", "shop-web-1", "getent", "hosts", "db").stdout


def test_changed_network_is_made_anew_with_all_that_is_on_it(lab):
    write(lab, SHOP)
    up(lab, "-d")
    before = ids(lab)
    write(lab, SHOP.replace("front: {}", "front: {ipam: {config: [{subnet: 10.77.0.0/24}]}}"))
    up(lab, "-d")
    after = ids(lab)
    assert {name for name in before if before[name] != after[name]} == {"shop-web-1", "shop-web-2"}
    assert "10.77.0." in lab.berth("inspect", "shop-web-1").stdout


@pytest.mark.slow
def test_named_services_come_with_what_they_depend_on(lab):
    write(lab, SHOP.replace("old: {", "old: {profiles: [debug], "))
    up(lab, "-d", "--no-deps", "--scale", "web=1", "web")
    assert sorted(ids(lab)) == ["shop-web-1"]
    up(lab, "-d", "--scale", "web=1", "web")
    assert sorted(ids(lab)) == ["shop-db-1", "shop-web-1"]
    up(lab, "-d", "--scale", "web=1", "old")
    assert sorted(ids(lab)) == ["shop-db-1", "shop-old-1", "shop-web-1"]
    # It is switched off now, so it is no orphan.
    again = up(lab, "-d", "--remove-orphans", "--scale", "web=1")
    assert (sorted(ids(lab)), again.stderr) == (["shop-db-1", "shop-old-1", "shop-web-1"], "")
    assert "there is no service wev; there are db, web, old" in up(lab, "-d", "wev", check=False).stderr
    assert "--scale wev: there is no such service" in up(lab, "-d", "--scale", "wev=1", check=False).stderr


CHAIN = f"""
name: shop
services:
  job: {{command: [sh, -c, "{WAIT.format("go")}; exit $$CODE"], environment: {{CODE: 0}}}}
  app: {{command: sleep 600, depends_on: {{job: {{condition: service_completed_successfully}}}}}}
  free: {{command: sleep 600}}
"""


def test_a_service_waits_for_the_end_of_another_one_and_others_do_not(lab):
    write(lab, CHAIN)
    started = lab.start(sys.executable, "-m", "resolver", "up", "-d", "-f", "/run/shop/compose.yaml")
    lab.wait_for(lambda: "shop-free-1" in ids(lab))
    # A line for each service, after a second.
    lines = set()
    while "service app  waits for shop-job-1 to complete\n" not in lines:
        lines.add(started.stdout.readline())
    assert "shop-app-1" not in ids(lab)
    lab.shell("touch /run/shop/go")
    assert started.wait() == 0
    assert "shop-app-1  is started" in started.stdout.read()
    assert run_of(lab, "shop-job-1")["exit_code"] == 0
    assert run_of(lab, "shop-app-1")["state"] == "running"


def test_a_dependency_that_fails(lab):
    write(lab, CHAIN.replace("CODE: 0", "CODE: 3"))
    lab.shell("touch /run/shop/go")
    refused = up(lab, "-d", check=False)
    assert refused.returncode == 1
    reason = "dependency of service app failed to start: shop-job-1 didn't complete successfully: exit 3"
    assert f"berth: {reason}; `berth logs` shows what it has printed\n" in refused.stderr
    # What was started stays, so that one can look why.
    assert sorted(ids(lab)) == ["shop-free-1", "shop-job-1"]
    lab.berth("down", "-p", "shop")
    refused = up(lab, check=False)
    assert (refused.returncode, refused.stderr.splitlines()[-1]) == (1, f"berth: {reason}")
    assert ids(lab) == {}
    write(lab, CHAIN.replace("CODE: 0", "CODE: 3").replace("successfully}", "successfully, required: false}"))
    lab.shell("touch /run/shop/go")
    done = up(lab, "-d")
    assert "service app is started without its optional dependency: shop-job-1 didn't complete" in done.stderr
    assert "shop-app-1" in ids(lab)


def test_what_restarts_with_its_dependency(lab):
    text = SHOP.replace("depends_on: [db]", "depends_on: {db: {condition: service_started, restart: true}}")
    write(lab, text)
    up(lab, "-d")
    before, began = ids(lab), run_of(lab, "shop-web-1")["started"]
    write(lab, text.replace("db: {command: sleep 600", "db: {command: sleep 601"))
    up(lab, "-d")
    after = ids(lab)
    assert {name for name in before if before[name] != after[name]} == {"shop-db-1"}
    assert run_of(lab, "shop-web-1")["started"] > began
    began = run_of(lab, "shop-web-1")["started"]
    lab.berth("compose", "-p", "shop", "restart", "-t", "0", "db")
    assert run_of(lab, "shop-web-1")["started"] > began
    assert run_of(lab, "shop-old-1")["restarts"] == 0


ENDS = f"""
name: shop
services:
  test: {{command: [sh, -c, "echo tested; exit 4"]}}
  fine: {{command: "true"}}
  server: {{command: [sh, -c, "trap 'echo bye; exit 0' TERM; echo ready; {WAIT.format("never")}"]}}
"""


def test_what_ends_everything(lab):
    write(lab, ENDS.replace('  fine: {command: "true"}\n', ""))
    done = up(lab, "--exit-code-from", "test", check=False)
    assert done.returncode == 4
    assert "shop-test-1   | tested" in done.stdout
    assert ids(lab) == {}
    write(lab, ENDS)
    assert up(lab, "--abort-on-container-failure", check=False).returncode == 4
    write(lab, ENDS.replace("exit 4", "exit 0"))
    assert up(lab, "--abort-on-container-exit").returncode == 0
    refused = up(lab, "-d", "--exit-code-from", "test", check=False)
    assert (refused.returncode, "--exit-code-from can't go with -d" in refused.stderr) == (2, True)


def test_foreground_up_of_what_is_up_already(lab):
    write(lab, ENDS)
    up(lab, "-d", "server")
    lab.wait_for(lambda: "ready" in lab.berth("logs", "shop-server-1").stdout)
    before = ids(lab)
    followed = lab.start(sys.executable, "-m", "resolver", "up", "-f", "/run/shop/compose.yaml")
    lines = []
    while not lines or "exited with code 4" not in lines[-1]:
        lines.append(followed.stdout.readline())
        assert lines[-1], lines
    followed.send_signal(signal.SIGINT)
    assert followed.wait() == 0
    said = "".join(lines) + followed.stdout.read()
    # What it printed before is not repeated.
    assert ("shop-server-1 | bye" in said, "shop-server-1 | ready" in said) == (True, False)
    # What was there before is stopped, and what was made is removed.
    assert ids(lab) == before
    assert run_of(lab, "shop-server-1")["state"] == "exited"


def test_wait(lab):
    write(lab, CHAIN.replace("free: {command: sleep 600}", "free: {command: sleep 600}\n  later: {command: 'false'}"))
    lab.shell("touch /run/shop/go")
    refused = up(lab, "--wait", check=False)
    assert refused.returncode == 1
    assert "shop-later-1 has exited (1)" in refused.stderr
    assert up(lab, "--wait", "app").returncode == 0


def test_wait_never_takes_what_fails_at_once_for_running(lab):
    for command, code in (("false", 1), ("true", 0), ("false", 1)):
        write(lab, f"name: shop\nservices: {{a: {{command: '{command}'}}, b: {{command: sleep 600}}}}\n")
        refused = up(lab, "-d", "--wait", "--force-recreate", check=False)
        assert (refused.returncode, f"shop-a-1 has exited ({code})" in refused.stderr) == (1, True)


MIXED = """
name: shop
services:
  a: {command: sleep 600, scale: 3}
  r: {command: sleep 600, depends_on: [a]}
  shared: {command: sleep 600, network_mode: "service:r"}
  image: {image: nginx}
"""


def compose(lab, *words, check=True):
    return lab.berth("compose", "-f", "/run/shop/compose.yaml", *words, check=check)


def names(lab, *services):
    return compose(lab, "ps", "-a", "--format", "{{.Name}}", *services).stdout.split()


def test_one_more_command_leaves_the_number_of_replicas_alone(lab):
    write(lab, MIXED)
    shown = compose(lab, "up", "-d", "--scale", "a=4").stdout
    # What has no address of its own is up too.
    assert re.search(r"^shop-shared-1 +container:shop-r-1$", shown, re.MULTILINE)
    before = ids(lab)
    lab.berth("stop", "shop-a-2")
    assert compose(lab, "run", "--rm", "r", "echo", "hi").stdout == "hi\n"
    assert run_of(lab, "shop-a-2")["state"] == "running"
    compose(lab, "scale", "r=2")
    assert (len(names(lab, "a")), names(lab, "r")) == (4, ["shop-r-1", "shop-r-2"])
    assert {name: identity for name, identity in ids(lab).items() if before.get(name) != identity}.keys() == {"shop-r-2"}


def test_services_with_an_image_only_are_no_failure(lab):
    write(lab, MIXED.replace("scale: 3", "scale: 1").replace('  shared: {command: sleep 600, network_mode: "service:r"}\n', ""))
    compose(lab, "up", "-d")
    for command in ("stop", "start", "kill"):
        assert compose(lab, command).stdout.split() == ["shop-a-1", "shop-r-1"]
        named = compose(lab, command, "image", check=False)
        assert (named.returncode, named.stdout) == (1, "")
        assert "shop-image-1: service image has no `command` in the file, so nothing of it was started by berth" in named.stderr
    assert compose(lab, "--dry-run", "start").stdout == "shop-a-1 is started\nshop-r-1 is started\n"
    assert compose(lab, "start", "--wait").returncode == 0
    assert run_of(lab, "shop-a-1")["state"] == "running"
    assert compose(lab, "down", "r").stdout == "r of project shop is down: removed 1 sandbox and 0 networks\n"
    assert names(lab) == ["shop-a-1", "shop-image-1"]
    done = lab.start(sys.executable, "-m", "resolver", "compose", "-p", "shop", "wait", "--down-project", "a")
    lab.berth("kill", "-s", "TERM", "shop-a-1")
    assert (done.wait(), done.stdout.read(), ids(lab)) == (143, "143\n", {})


def test_several_at_once_wait_for_each_other(lab):
    write(
        lab,
        MIXED
        + "  late: {command: sleep 600, depends_on: {once: {condition: service_completed_successfully}}}\n  once: {command: 'true'}\n",
    )
    for others in ([["up", "-d"], ["up", "-d"]], [["up", "-d"], ["down", "-t", "0"]]):
        started = [lab.start(sys.executable, "-m", "resolver", *words, "-f", "/run/shop/compose.yaml") for words in [["up", "-d"], *others]]
        for one in started:
            said = one.communicate()
            assert one.returncode == 0 or "was removed meanwhile by another command on the project" in said[1], said
    compose(lab, "down", "-t", "0")
    assert ids(lab) == {}


@pytest.mark.slow
def test_what_is_up_is_shown_before_it_prints_anything(lab):
    write(
        lab,
        "name: shop\nservices:\n  a: {command: echo one}\n  b: {command: echo two, depends_on: {a: {condition: service_completed_successfully}}}\n",
    )
    lines = up(lab, "--timestamps").stdout.splitlines()
    first = {line.split()[0]: line for line in reversed(lines) if line}
    assert {name: "shop_default" in first[name] for name in ("shop-a-1", "shop-b-1")} == {"shop-a-1": True, "shop-b-1": True}, lines
    assert [line.split()[0] for line in lines[:3]] == ["NAME", "shop-a-1", "Ctrl-C"]
    assert re.fullmatch(r"shop-a-1 \| \d{4}-\d\d-\d\dT\S+ one", next(line for line in lines if line.endswith(" one")))
    # Whose output is printed.
    for options, shown in (
        (["b"], ["two"]), (["--attach-dependencies", "b"], ["one", "two"]), (["--attach", "a"], ["one"]), (["--no-attach", "a"], ["two"])
    ):  # fmt: skip
        said = up(lab, *options).stdout
        assert [line.rpartition(" ")[2] for line in said.splitlines() if line.endswith((" one", " two"))] == shown, said
    assert "--attach c: there is no such service; there are a, b" in up(lab, "--attach", "c", check=False).stderr


def test_restart_policy_of_a_service(lab):
    write(lab, "name: shop\nservices: {a: {command: [sh, -c, 'exit 3'], restart: 'on-failure:1'}}\n")
    up(lab, "-d")
    lab.wait_for(lambda: run_of(lab, "shop-a-1")["state"] == "exited")
    assert (run_of(lab, "shop-a-1")["restarts"], run_of(lab, "shop-a-1")["exit_code"]) == (1, 3)


def test_down_of_what_is_not_up(lab):
    done = lab.berth("down", "-p", "shop")
    assert (done.returncode, done.stdout) == (0, "")
    assert "project shop is not up, so there is nothing to remove" in done.stderr
