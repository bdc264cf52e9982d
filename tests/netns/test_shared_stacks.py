"""Sandboxes that share the network stack of another one (`network_mode: service:w`): whoever stops, starts or goes, nobody is left broken."""

import json

import pytest

from tests.support.lab import Lab

FILE = 'services:\n  w: {command: sleep 500}\n  x: {command: sleep 500, network_mode: "service:w"}\n'


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.start_daemon()
        made.shell("mkdir /run/n")
        made.write("/run/n/compose.yaml", FILE)
        yield made


@pytest.fixture(autouse=True)
def clean(lab):
    yield
    for view in json.loads(lab.berth("ps", "-a", "--format", "json").stdout):
        lab.berth("rm", view["name"], check=False)
    assert json.loads(lab.berth("ps", "-a", "--format", "json").stdout) == []
    lab.berth("network", "prune", "-f")
    assert lab.shell("ls /run/netns | grep -v outside || true") == ""


def compose(lab, *arguments):
    return lab.berth("compose", "-p", "n", "-f", "/run/n/compose.yaml", *arguments)


def states(lab):
    lines = lab.berth("ps", "-a", "--format", "{{.Names}} {{.State}}").stdout.splitlines()
    return dict(line.split() for line in lines)


def both_run_in_one_stack(lab, owner="n-w-1", sharer="n-x-1"):
    assert states(lab) == {owner: "running", sharer: "running"}
    namespaces = {lab.in_sandbox(name, "readlink", "/proc/self/ns/net") for name in (owner, sharer)}
    links = {lab.shell(f"readlink /proc/{lab.inspect(name)['pid']}/ns/net") for name in (owner, sharer)}
    # Also what was there before: the commands themselves, not only what enters later.
    assert len(namespaces | links) == 1
    assert lab.in_sandbox(sharer, "getent", "hosts", owner)
    return namespaces


@pytest.mark.parametrize(
    "commands",
    [
        (("stop", "w"), ("start", "w"), ("restart", "w")),
        (("stop",), ("start",)),
        (("up", "-d", "--force-recreate", "w"), ("up", "-d")),
        pytest.param((("stop", "w"), ("start",)), marks=pytest.mark.slow),
        pytest.param((("restart",),), marks=pytest.mark.slow),
        pytest.param((("stop", "w"), ("up", "-d")), marks=pytest.mark.slow),
        pytest.param((("up", "-d", "--force-recreate"),), marks=pytest.mark.slow),
    ],
)
def test_services_that_share_a_stack_come_back_together(lab, commands):
    compose(lab, "up", "-d")
    for command in commands:
        compose(lab, *command)
    both_run_in_one_stack(lab)
    compose(lab, "down")


def test_sandboxes_that_share_a_stack(lab):
    lab.berth("run", "-d", "--name", "w", "--", "sleep", "100")
    lab.berth("run", "-d", "--name", "x", "--network", "container:w", "--", "sleep", "100")
    before = both_run_in_one_stack(lab, "w", "x"), lab.inspect("w")["addresses"]
    lab.berth("restart", "-t", "1", "w")
    assert (both_run_in_one_stack(lab, "w", "x"), lab.inspect("w")["addresses"]) == before
    lab.berth("stop", "-t", "1", "w")
    # It is stopped like any other: not among those that run, and what is not running does not share.
    assert lab.berth("ps", "--format", "{{.Names}}").stdout.split() == ["x"]
    assert states(lab)["w"] == "exited"
    assert lab.berth("inspect", "-f", "{{.State.Status}}", "w").stdout.strip() == "exited"
    assert "has ended" in lab.berth("run", "--network", "container:w", "--", "true", check=False).stderr
    lab.berth("rename", "w", "v")
    lab.berth("network", "create", "more")
    lab.berth("network", "connect", "more", "v")
    # Another daemon knows it, too.
    lab.stop_daemon()
    lab.start_daemon()
    lab.berth("start", "v")
    assert both_run_in_one_stack(lab, "v", "x") == before[0]
    assert sorted(lab.inspect("v")["networks"]) == ["default", "more"]
    assert "eth1" in lab.in_sandbox("x", "ip", "-o", "link")


def test_the_name_of_one_that_is_removed_is_free_and_its_stack_stays(lab):
    lab.berth("run", "-d", "--name", "w", "--", "sleep", "100")
    lab.berth("run", "-d", "--name", "x", "--network", "container:w", "--", "sleep", "100")
    for remove in (("rm", "-f", "w"), ("stop", "-t", "1", "w")):
        lab.berth(*remove)
        if remove[0] == "stop":
            assert "stays until y ends" in lab.berth("rm", "w").stderr
        assert lab.berth("run", "--dry-run", "--name", "w", "--", "true").returncode == 0
        lab.berth("run", "-d", "--name", "w", "--", "sleep", "100")
        assert lab.in_sandbox("w", "getent", "hosts", "w").split()[0] in lab.inspect("w")["addresses"]
        lab.berth("run", "-d", "--name", "y", "--network", "container:w", "--", "sleep", "100", check=False)
    assert lab.in_sandbox("x", "ip", "-o", "-4", "addr", "show", "eth0")
    lab.berth("rm", "x", "y", "w")
    assert json.loads(lab.berth("ps", "-a", "--format", "json").stdout) == []


def test_up_brings_back_one_that_has_ended_and_one_that_was_removed(lab):
    # It ends once the other one is in its stack, and stays when it is started again.
    command = "test -e /run/again && exec sleep 500; until test -e /run/once; do sleep 0.05; done"
    lab.write("/run/n/compose.yaml", FILE.replace("w: {command: sleep 500}", f"w: {{command: [sh, -c, {json.dumps(command)}]}}"))
    compose(lab, "up", "-d")
    lab.shell("touch /run/once")
    lab.wait_for(lambda: states(lab)["n-w-1"] == "exited")
    lab.shell("touch /run/again")
    compose(lab, "up", "-d")
    before = both_run_in_one_stack(lab)
    lab.berth("rm", "n-w-1")
    compose(lab, "up", "-d")
    assert both_run_in_one_stack(lab) != before
    compose(lab, "down")
    lab.write("/run/n/compose.yaml", FILE)


@pytest.mark.slow
def test_one_whose_end_no_daemon_saw_is_stopped_with_its_stack(lab):
    lab.berth("run", "-d", "--name", "w", "--", "sh", "-c", "while ! test -e /run/end; do sleep 0.01; done; exit 7")
    lab.berth("run", "-d", "--name", "x", "--network", "container:w", "--", "sleep", "100")
    lab.stop_daemon()
    lab.shell("touch /run/end")
    lab.wait_for(lambda: lab.run("sh", "-c", "ls /var/lib/berth/sandboxes/*/exit", check=False).returncode == 0)
    lab.start_daemon()
    assert lab.berth("wait", "w").stdout == "7\n"
    lab.berth("start", "w")
    lab.wait_for(lambda: states(lab)["w"] == "exited")
    lab.berth("prune", "-f")
    assert lab.berth("ps", "--format", "{{.Names}} {{.State}}", "--filter", "status=running").stdout.split() == ["x", "running"]


SHARED_FROM_OUTSIDE = "services: {w: {command: sleep 500, container_name: web, ports: ['8080:80']}}"


def test_one_that_is_made_anew_has_its_ports_and_names_though_another_project_shares_its_stack(lab):
    lab.write("/run/n/compose.yaml", SHARED_FROM_OUTSIDE)
    compose(lab, "up", "-d")
    lab.berth("run", "-d", "--name", "x", "--network", "container:web", "--", "sleep", "500")
    compose(lab, "up", "-d", "--force-recreate")
    assert "8080" in lab.berth("port", "web", "80").stdout
    # What is left of the first one, which x is in, is no part of the service any more.
    addresses = {line.split()[0] for line in lab.in_sandbox("web", "getent", "ahostsv4", "w").splitlines()}
    assert addresses == set(lab.inspect("web")["addresses"])
    assert states(lab)["x"] == "running"
    # `up` brings one of a project into the new one.
    lab.shell("mkdir -p /run/side")
    lab.write("/run/side/compose.yaml", "services: {cap: {command: sleep 500, network_mode: 'container:web'}}")
    lab.berth("compose", "-f", "/run/side/compose.yaml", "up", "-d")
    compose(lab, "up", "-d", "--force-recreate")
    lab.berth("compose", "-f", "/run/side/compose.yaml", "up", "-d")
    assert lab.inspect("side-cap-1")["shared_with"] == "web"


@pytest.mark.slow
def test_one_that_is_stopped_frees_its_ports_and_has_them_again_though_another_shares_its_stack(lab):
    lab.berth("run", "-d", "--name", "web", "-p", "8080:80", "--", "sleep", "500")
    lab.berth("run", "-d", "--name", "y", "--network", "container:web", "--", "sleep", "500")
    lab.berth("stop", "-t", "1", "web")
    lab.berth("run", "-d", "--name", "v", "-p", "8080:80", "--", "sleep", "500")
    assert "8080/tcp: port is already allocated by v" in lab.berth("start", "web", check=False).stderr
    assert states(lab) == {"web": "exited", "y": "running", "v": "running"}
    lab.stop_daemon()
    lab.start_daemon()
    lab.berth("rm", "v")
    lab.berth("start", "web")
    assert "8080" in lab.berth("port", "web", "80").stdout
    both_run_in_one_stack(lab, "web", "y")
