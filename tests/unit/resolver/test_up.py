"""`berth up` and `berth down` without a kernel: the plan by itself, then the session with a client that only records."""

import os
import re
import signal
import subprocess
import threading

import pytest

from resolver.cli import enter, monitor
from resolver.cli.client import Refused
from resolver.cli.compose.project import Restart, RestartWhen, Service
from resolver.cli.sandbox_calls import delete
from resolver.cli.system_calls import EnterFailed
from resolver.cli.up import down, processes, session
from resolver.cli.up.plan import Ending, ending, environment, exit_code, plan_up, table
from resolver.cli.up.processes import ServiceProcess, stop_signal
from resolver.cli.up.project_file import Selection, load_project
from resolver.cli.up.session import Session
from tests.support.compose_files import project

TEXT = """
name: shop
services:
  web:
    command: serve
    scale: 2
    depends_on: [db]
    links: ["db:store", db]
    networks:
      front: {aliases: [www], ipv4_address: 10.5.0.9, gw_priority: 3, x-routes: {10.9.0.0/16: 10.5.0.1}}
      old:
    ports: ["8080:80"]
    hostname: webhost
    dns_opt: [ndots:2]
    x-forward: true
    sysctls: [net.core.somaxconn=1]
    labels: [team=a]
  db: {image: postgres, container_name: the-db, networks: [front]}
  side: {command: x, network_mode: "service:db"}
  outer: {command: x, network_mode: host}
networks:
  front: {labels: {a: b}, internal: true}
  old: {external: true}
"""


def plan(text=TEXT, **more):
    return plan_up(project(text), **{"pid": 7, "detach": False} | more)


def test_networks_of_a_plan():
    made = plan()
    assert (made.project, made.external) == ("shop", ("old",))
    (front,) = made.networks
    assert (front["name"], front["internal"], front["owner_pid"]) == ("shop_front", True, 7)
    assert front["labels"] == {"a": "b", "berth.project": "shop"}


def test_sandboxes_of_a_plan():
    by_name = {service.service.name: service.bodies for service in plan().services}
    assert list(by_name) == ["db", "web", "side", "outer"]
    first, second = by_name["web"]
    assert (first["name"], second["name"]) == ("shop-web-1", "shop-web-2")
    links = {"store": "the-db", "db": "the-db"}
    assert first["networks"] == [
        {
            "network": "shop_front",
            "aliases": ["web", "www"],
            "ip": "10.5.0.9",
            "gw_priority": 3,
            "routes": ("10.9.0.0/16=10.5.0.1",),
            "links": links,
        },
        {"network": "old", "aliases": ["web"], "links": links},
    ]
    assert {key: first[key] for key in ("publish", "hostname", "dns_options", "forward", "sysctls", "labels", "owner_pid")} == {
        "publish": ("8080:80/tcp",),
        "hostname": "webhost",
        "dns_options": ("ndots:2",),
        "forward": True,
        "sysctls": ("net.core.somaxconn=1",),
        "labels": {"team": "a", "berth.project": "shop", "berth.service": "web"},
        "owner_pid": 7,
    }
    assert not first.keys() & {"dns", "domainname", "expose"}
    assert by_name["db"][0]["name"] == "the-db"
    assert by_name["side"][0]["networks"] == [{"network": "container:the-db"}]
    assert by_name["outer"][0]["networks"] == [{"network": "host"}]


MODES = """
services:
  base: {image: x, network_mode: bridge}
  linked: {image: x, network_mode: bridge, links: ["base:store"], external_links: ["outside:there"]}
  default: {image: x, network_mode: default}
  named: {image: x, network_mode: theirs, links: [base]}
  outside: {image: x, external_links: ["legacy:db"]}
"""


def test_networks_by_mode():
    made = plan(MODES)
    by_name = {service.service.name: service for service in made.services}
    networks = {name: service.bodies[0]["networks"] for name, service in by_name.items()}
    assert networks == {
        "base": [{"network": "bridge"}],
        "linked": [{"network": "bridge"}],
        "default": [{"network": "bridge"}],
        "named": [{"network": "theirs", "links": {"base": "case-base-1"}}],
        "outside": [{"network": "case_default", "aliases": ["outside"], "links": {"db": "legacy"}}],
    }
    assert made.external == ("theirs",)
    # Nobody has a name on `bridge`: what is linked there stands in the hosts file.
    assert dict(by_name["linked"].linked_hosts) == {
        "store": "case-base-1", "there": "outside", "base-1": "case-base-1", "case-base-1": "case-base-1"
    }  # fmt: skip
    assert by_name["named"].linked_hosts == ()


def test_links_on_bridge_get_the_addresses_of_what_was_created():
    client = Client()
    at = {"network": "bridge", "addresses": ["172.17.0.9/16"], "ports": []}
    sandboxes = {"GET /v1/sandboxes/case-base-1": {"endpoints": [at]}, "GET /v1/sandboxes/outside": {"endpoints": [{**at, "network": "n"}]}}

    def call(method, path, body=None, **more):
        return sandboxes.get(f"{method} {path}") or client(method, path, body, **more)

    text = MODES.replace(', external_links: ["outside:there"]', "")
    made = Session(plan(text), call, "/", detach=True)
    made._bring_up()
    bodies = {body["name"]: body for body in client.bodies if body}
    assert bodies["case-linked-1"]["extra_hosts"] == ["store:172.17.0.9", "base-1:172.17.0.9", "case-base-1:172.17.0.9"]
    with pytest.raises(Refused, match=r"service linked links outside, which is not on the network bridge"):
        Session(plan(MODES), call, "/", detach=True)._bring_up()


def test_a_service_whose_name_is_too_long_for_a_label_has_none():
    (made,) = plan(f"services: {{{'a' * 64}: {{image: x}}}}").services
    assert made.bodies[0]["networks"][0]["aliases"] == []


def test_what_belongs_to_the_process_of_up():
    detached = plan(detach=True)
    assert "owner_pid" not in detached.networks[0]
    owners = {service.service.name: service.bodies[0].get("owner_pid") for service in detached.services}
    # Until its own process has started, a sandbox with a command goes with ours.
    assert owners == {"db": None, "web": 7, "side": 7, "outer": 7}
    assert plan().services[0].bodies[0]["owner_pid"] == 7


def test_environment_of_a_service():
    service = Service(name="a", networks=(), environment={"A": "own", "B": None, "C": ""})
    assert environment(service) == {"A": "own", "C": ""}


def test_table_has_a_row_for_each_endpoint():
    port = {"protocol": "tcp", "host_address": "::", "host_port": 8080, "sandbox_port": 80}
    endpoints = [
        {"network": "front", "addresses": ["10.5.0.9/24", "fd05::9/64"], "ports": [port, {**port, "host_port": 0}]},
        {"network": "back", "addresses": [], "ports": []},
    ]
    assert table([{"name": "web", "endpoints": endpoints}])[1:] == [
        ("web", "front", "10.5.0.9 fd05::9", "[::]:8080->80/tcp 80/tcp"),
        ("", "back", "", ""),
    ]


@pytest.mark.parametrize(
    ("requests", "stopped", "expected"),
    [
        (0, False, Ending.NOTHING),
        (1, False, Ending.STOP),
        (1, True, Ending.NOTHING),
        (2, False, Ending.KILL),
        (2, True, Ending.KILL),
    ],
)
def test_first_request_stops_and_the_second_kills(requests, stopped, expected):
    assert ending(requests, stopped=stopped) is expected


def test_exit_code_is_the_first_failure():
    assert exit_code([0, 3, 4], stopped=False) == 3
    assert exit_code([0, None], stopped=False) == 0
    assert exit_code([3], stopped=True) == 0


@pytest.mark.parametrize(
    ("name", "number"), [("SIGINT", signal.SIGINT), ("USR1", signal.SIGUSR1), ("3", signal.SIGQUIT), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)]
)
def test_stop_signal(name, number):
    assert stop_signal(Service(name="a", networks=(), stop_signal=name)) == number


@pytest.mark.parametrize("name", ["nonsense", "", "0", "65", "RTMIN-1", "RTMIN+31", "RTMIN+x", "SIGSIGTERM"])
def test_what_is_no_stop_signal_is_refused(name, monkeypatch, tmp_path):
    (tmp_path / "compose.yaml").write_text(f"services:\n  a: {{command: x, stop_signal: '{name}'}}\n")
    client = Client()
    monkeypatch.setattr(session, "call", client)
    with pytest.raises(Refused, match=f"service a: invalid stop_signal: {re.escape(repr(name))} is no signal; one is TERM"):
        stop_signal(Service(name="a", networks=(), stop_signal=name))
    if name:
        with pytest.raises(Refused, match="service a: invalid stop_signal"):
            session.up(Selection(files=(str(tmp_path / "compose.yaml"),)), detach=True)
    assert client.requests == []


@pytest.mark.parametrize(
    ("when", "attempts", "text"),
    [
        (RestartWhen.NEVER, 0, "no"),
        (RestartWhen.ON_FAILURE, 0, "on-failure"),
        (RestartWhen.ON_FAILURE, 4, "on-failure:4"),
        (RestartWhen.ALWAYS, 4, "always"),
        (RestartWhen.UNLESS_STOPPED, 0, "unless-stopped"),
    ],
)
def test_restart_policy_of_a_service(when, attempts, text, tmp_path):
    service = Service(name="a", networks=(), command=("x",), restart=Restart(when=when, attempts=attempts))
    assert processes.process_body(service, tmp_path)["restart"] == text


@pytest.fixture(autouse=True)
def own_run_directory(monkeypatch, tmp_path):
    """Keep what detached services leave behind out of the host's run directory."""
    monkeypatch.setenv("BERTH_RUN_DIR", str(tmp_path))


# --- the session --------------------------------------------------------------------------------------------------


class Client:
    """Stands in for the admin API: records requests and makes up responses; *refusals*: what to refuse, by the start of a request."""

    def __init__(self, **refusals):
        self.requests = []
        self.bodies = []
        self.refusals = {key.replace("_", " ", 1).replace("_", "/"): error for key, error in refusals.items()}
        self.listed = []
        self.directory = "/nonexistent"
        self._lock = threading.Lock()

    def __call__(self, method, path, body=None, *, autostart=None, patience=None):
        with self._lock:
            request = f"{method} {path}" + (f" {body['name']}" if body and "name" in body else "")
            self.requests.append(request)
            self.bodies.append(body)
        for start, error in self.refusals.items():
            if request.startswith(start):
                raise error
        if method == "GET" and path in ("/v1/networks", "/v1/sandboxes", "/v1/sandboxes?all=1"):
            return self.listed
        name = body["name"] if body and "name" in body else path.rpartition("/")[2].removeprefix("id-")
        endpoints = [{"network": "front", "addresses": ["10.5.0.2/24"], "ports": []}]
        return {"id": f"id-{name}", "name": name, "warnings": [f"warn {name}"] if method == "POST" else [], "environment": {},
                "directory": self.directory, "endpoints": endpoints, "labels": {}}  # fmt: skip


@pytest.fixture
def commands(monkeypatch):
    """Let services run shell commands as plain children, in no sandbox: service → command."""
    chosen = {}
    children = []

    def start(service, sandbox, directory, call):
        command = chosen[service.name]
        if isinstance(command, Exception):
            raise command
        child = subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        children.append(child)
        return ServiceProcess(service, sandbox["name"], child.pid, os.dup(child.stdout.fileno()))

    monkeypatch.setattr(processes, "start", start)
    yield chosen
    for child in children:
        child.stdout.close()
        # The session has waited for it.
        child.returncode = 0


TWO = "name: p\nservices:\n  a: {command: x, stop_signal: SIGUSR1}\n  b: {command: x, depends_on: [a]}\n"


def session_of(text, client, tmp_path, *, detach=False):
    return Session(plan(text, detach=detach), client, tmp_path, detach=detach)


def test_up_creates_follows_and_removes_in_order(commands, capsys, tmp_path):
    commands |= {"a": "echo hello; printf rest; exit 3", "b": "true"}
    client = Client()
    assert session_of(TWO, client, tmp_path).run() == 3
    # Sandboxes are removed side by side, in whatever order.
    assert [*client.requests[:5], *sorted(client.requests[5:-1]), client.requests[-1]] == [
        "POST /v1/networks p_default",
        "POST /v1/sandboxes p-a-1",
        "POST /v1/sandboxes p-b-1",
        "GET /v1/sandboxes/id-p-a-1",
        "GET /v1/sandboxes/id-p-b-1",
        "DELETE /v1/sandboxes/id-p-a-1",
        "DELETE /v1/sandboxes/id-p-b-1",
        "DELETE /v1/networks/id-p_default",
    ]
    printed = capsys.readouterr()
    assert re.search(r"^p-a-1 +front +10\.5\.0\.2$", printed.out, re.MULTILINE)
    for line in ("p-a-1 | hello", "p-a-1 | rest", "p-a-1 | exited with code 3", "p-b-1 | exited with code 0", "Ctrl-C ends everything."):
        assert line in printed.out.splitlines()
    assert "warn p-a-1" in printed.err


def test_stop_sends_each_service_its_own_signal(commands, capsys, tmp_path):
    commands |= {"a": "trap 'echo bye; exit 0' USR1; echo ready; while :; do sleep 0.01; done", "b": "exec sleep 100"}
    made = session_of(TWO, Client(), tmp_path)
    original = made._print

    def stop_when_ready(selector, process, width):
        original(selector, process, width)
        if not made._stop_requests:
            made.on_stop()

    made._print = stop_when_ready
    assert made.run() == 0
    printed = capsys.readouterr().out
    assert "berth: stopping" in printed
    assert "p-a-1 | bye" in printed
    assert f"p-b-1 | exited with code {128 + signal.SIGTERM}" in printed


def test_a_service_is_killed_when_its_own_grace_is_over(commands, capsys, tmp_path):
    commands |= {
        "a": "trap '' TERM; echo ready; while :; do sleep 0.01; done",
        "b": "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.01; done",
    }
    text = "name: p\nservices:\n  a: {command: x, stop_grace_period: 1ms}\n  b: {command: x, stop_grace_period: 10m}\n"
    made = session_of(text, Client(), tmp_path)
    original = made._print
    ready = set()

    def stop_when_ready(selector, process, width):
        original(selector, process, width)
        ready.add(process.name)
        if len(ready) == 2 and not made._stop_requests:
            made.on_stop()

    made._print = stop_when_ready
    assert made.run() == 0
    printed = capsys.readouterr().out
    assert "p-a-1 | exited with code 137" in printed
    assert "p-b-1 | exited with code 4" in printed


def test_services_are_started_again_by_their_policy(commands, capsys, tmp_path):
    commands |= {"a": "echo once; exit 3", "b": "echo twice; exit 0", "c": "echo thrice; exit 0"}
    text = (
        "name: p\nservices:\n  a: {command: x, restart: 'on-failure:2'}\n  b: {command: x, restart: on-failure}\n"
        "  c: {command: x, restart: always}\n"
    )
    made = session_of(text, Client(), tmp_path)
    original = made._collect

    def stop_in_the_end(width, *, wait=False):
        original(width, wait=wait)
        a, _, c = sorted(made._processes, key=lambda process: process.name)
        if a.code is not None and a not in made._due and c.restarts.count > 1 and not made._stop_requests:
            made.on_stop()

    made._collect = stop_in_the_end
    assert made.run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("p-a-1 |")] == [
        "p-a-1 | once", "p-a-1 | exited with code 3 (restarting)",
        "p-a-1 | once", "p-a-1 | exited with code 3 (restarting)",
        "p-a-1 | once", "p-a-1 | exited with code 3",
    ]  # fmt: skip
    assert [line for line in lines if line.startswith("p-b-1 |")] == ["p-b-1 | twice", "p-b-1 | exited with code 0"]
    assert lines.count("p-c-1 | thrice") >= 2


def test_a_restart_that_fails_is_told_and_tried_again_unless_the_sandbox_is_gone(commands, capsys, tmp_path):
    commands |= {"a": "exit 3", "b": "exit 3"}
    text = "name: p\nservices:\n  a: {command: x, restart: 'on-failure:2'}\n  b: {command: x, restart: always}\n"
    made = session_of(text, Client(), tmp_path)
    original = made._collect

    def fail_from_now_on(width, *, wait=False):
        original(width, wait=wait)
        commands["a"], commands["b"] = Refused("service a: x: command not found"), Refused("no such sandbox: p-b-1", "not-found")

    made._collect = fail_from_now_on
    assert made.run() == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("p-a-1 | service a: x: command not found") == 2
    assert lines.count("p-b-1 | no such sandbox: p-b-1") == 1


def test_output_ends_with_the_sandbox_whoever_has_the_other_end(commands, capsys, tmp_path):
    # A process outside of the sandbox, which was handed the descriptor.
    commands |= {"a": "echo said; sleep 600 & echo $!", "b": "true"}
    assert session_of(TWO, Client(), tmp_path).run() == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("p-a-1 |")]
    assert (lines[0], lines[2:]) == ("p-a-1 | said", ["p-a-1 | exited with code 0"])
    os.kill(int(lines[1].rpartition(" ")[2]), signal.SIGKILL)


def test_second_stop_kills(commands, capsys, tmp_path):
    commands |= {"a": "trap '' USR1; echo ready; while :; do sleep 0.01; done", "b": "true"}
    made = session_of(TWO, Client(), tmp_path)
    original = made._print

    def stop_twice(selector, process, width):
        original(selector, process, width)
        if process.name == "p-a-1" and not made._stop_requests:
            made.on_stop()
            made.on_stop()

    made._print = stop_twice
    assert made.run() == 0
    assert f"p-a-1 | exited with code {128 + signal.SIGKILL}" in capsys.readouterr().out


def test_stop_before_anything_runs_gives_up(tmp_path):
    client = Client()
    made = session_of(TWO, client, tmp_path)

    def interrupted(*arguments, **more):
        result = client(*arguments, **more)
        made.on_stop()
        return result

    made._call = interrupted
    # The network exists by then, and the interruption is not lost.
    assert made.run() == 130


def test_failure_takes_everything_down(commands, tmp_path):
    commands |= {"a": "exec sleep 100", "b": Refused("service b: not found")}
    client = Client()
    with pytest.raises(Refused, match="service b: not found"):
        session_of(TWO, client, tmp_path).run()
    assert {request for request in client.requests if request.startswith("DELETE")} == {
        "DELETE /v1/sandboxes/id-p-a-1", "DELETE /v1/sandboxes/id-p-b-1", "DELETE /v1/networks/id-p_default",
    }  # fmt: skip


def test_refused_replica_removes_the_others(commands, tmp_path):
    client = Client()
    client.refusals["POST /v1/sandboxes p-a-2"] = Refused("no address is free", "exhausted")
    with pytest.raises(Refused, match="service a: no address is free"):
        session_of("name: p\nservices:\n  a: {command: x, scale: 3}\n", client, tmp_path).run()
    removed = {request for request in client.requests if request.startswith("DELETE /v1/sandboxes")}
    assert removed == {"DELETE /v1/sandboxes/id-p-a-1", "DELETE /v1/sandboxes/id-p-a-3"}


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        ([{"labels": {"berth.project": "p"}}], "project p is up already; `berth down` ends it"),
        ([{"labels": {}}], "network p_default exists"),
    ],
)
def test_network_that_exists(listed, text, tmp_path):
    client = Client(POST__v1_networks=Refused("network p_default exists", "conflict"))
    client.listed = listed
    with pytest.raises(Refused, match=text):
        session_of(TWO, client, tmp_path).run()


def test_external_network_must_exist(tmp_path):
    client = Client(GET__v1_networks_old=Refused("no such network", "not-found"))
    with pytest.raises(Refused, match="external network old: no such network; create it with `berth network create`"):
        session_of(TEXT, client, tmp_path).run()
    assert client.requests == ["GET /v1/networks/old"]


def test_detached_returns_when_everything_is_up(monkeypatch, capsys, tmp_path):
    started = []
    monkeypatch.setattr(monitor, "start", lambda sandbox, process: started.append((sandbox["id"], process)))
    client = Client()
    assert session_of(TWO, client, tmp_path, detach=True).run() == 0
    (identity, process), _ = started
    body = client.bodies[client.requests.index("POST /v1/sandboxes p-a-1")]
    assert (identity, body["process"]) == ("id-p-a-1", process)
    assert (process["stop_signal"], process["restart"], process["remove"], process["directory"]) == ("USR1", "no", False, str(tmp_path))
    assert not [request for request in client.requests if request.startswith("DELETE")]
    assert "Ctrl-C" not in capsys.readouterr().out


def test_project_with_images_stays_until_it_is_stopped(tmp_path, capsys):
    client = Client()
    made = session_of("name: p\nservices:\n  a: {image: x}\n", client, tmp_path)
    original = made._collect
    turns = []

    def stop_at_the_third_turn(width, *, wait=False):
        original(width, wait=wait)
        turns.append(wait)
        if len(turns) == 3:
            made.on_stop()

    made._collect = stop_at_the_third_turn
    assert made.run() == 0
    assert turns == [False, False, False, True]
    assert client.requests[-2:] == ["DELETE /v1/sandboxes/id-p-a-1", "DELETE /v1/networks/id-p_default"]


# --- processes, files, down ---------------------------------------------------------------------------------------


def test_start_of_a_process(monkeypatch, tmp_path):
    started = {}

    def fake_start(sandbox, command, *, environment, directory, register, prepare):
        started.update(command=command, environment=environment, directory=directory)
        return 4711

    monkeypatch.setattr(enter, "start", fake_start)
    service = Service(name="a", networks=(), command=("serve",), environment={"FROM": "file"}, working_dir="sub")
    sandbox = {"name": "p-a-1", "directory": str(tmp_path), "environment": {"HTTP_PROXY": "x"}}
    process = processes.start(service, sandbox, tmp_path, Client())
    assert (process.name, process.code) == ("p-a-1", None)
    assert process.read() is None
    process.close()
    assert started["command"] == ("serve",)
    assert started["directory"] == enter.WorkingDirectory(f"{tmp_path}/sub", required=True)
    assert {name: started["environment"].get(name) for name in ("FROM", "HTTP_PROXY")} == {"FROM": "file", "HTTP_PROXY": "x"}
    body = processes.process_body(service, tmp_path)
    assert (body["command"], body["explicit"], body["directory"]) == (["serve"], {"FROM": "file"}, f"{tmp_path}/sub")


def test_start_that_fails_names_the_service(monkeypatch, tmp_path):
    def fail(*_, **__):
        raise EnterFailed("127:serve: command not found")

    monkeypatch.setattr(enter, "start", fail)
    sandbox = {"name": "p-a-1", "directory": str(tmp_path), "environment": {}}
    with pytest.raises(Refused, match="service a: serve: command not found"):
        processes.start(Service(name="a", networks=(), command=("serve",)), sandbox, tmp_path, Client())


def test_what_runs_in_the_command_before_it_starts(monkeypatch, tmp_path):
    def run_prepare(sandbox, command, *, environment, directory, register, prepare):
        pid = os.fork()
        if pid == 0:
            prepare()
            os.write(2, f"{os.getpid() == os.getpgid(0)} {os.read(0, 1)!r}\n".encode())
            os._exit(0)
        return pid

    monkeypatch.setattr(enter, "start", run_prepare)
    process = processes.start(
        Service(name="a", networks=(), command=("x",)), {"name": "a", "directory": "/", "environment": {}}, tmp_path, Client()
    )
    assert process.wait()
    assert not process.wait()
    assert process.read() == ["True b''"]
    process.close()


def test_signal_to_a_process_that_has_just_ended(monkeypatch):
    def gone(pid, number):
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", gone)
    process = ServiceProcess(Service(name="a", networks=()), "a", 4711, os.open("/dev/null", os.O_RDONLY))
    process.stop()
    process.kill()
    process.close()
    assert process.code is None


def test_file_is_found_with_its_variables(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match=r"there is no compose.yaml here"):
        load_project(Selection())
    (tmp_path / "compose.yml").write_text(
        "services:\n  a: {command: 'x ${WHAT} $UNSET', tty: true}\n  b: {command: y, profiles: [debug]}\n"
    )
    (tmp_path / ".env").write_text("WHAT=that\nCOMPOSE_PROFILES=debug\nCOMPOSE_PROJECT_NAME=named\n")
    loaded = load_project(Selection())
    assert (loaded.project.name, loaded.project.directory) == ("named", str(tmp_path))
    assert [service.command for service in loaded.project.services] == [("x", "that"), ("y",)]
    assert loaded.warnings == ("variable UNSET is not set; it counts as empty", "ignored, not about networking: tty")
    (tmp_path / "bad.yaml").write_text("services:\n  a: {command: '${X:?must}'}\n")
    with pytest.raises(Refused, match=r"bad.yaml:2: services.a.command: variable X is required: must"):
        load_project(Selection(files=("bad.yaml",)))
    with pytest.raises(Refused, match="No such file"):
        load_project(Selection(files=("none.yaml",)))


def test_up_reads_the_file_and_runs_a_session(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compose.yaml").write_text("services:\n  a: {image: x, tty: true}\n")
    client = Client()
    monkeypatch.setattr(session, "call", client)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        assert session.up(Selection(project_name="p"), detach=True) == 0
        assert signal.getsignal(signal.SIGTERM).__name__ == "on_stop"
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert client.requests[:2] == ["POST /v1/networks p_default", "POST /v1/sandboxes p-a-1"]
    assert "ignored, not about networking: tty" in capsys.readouterr().err


def test_down_removes_what_has_the_label(monkeypatch, capsys, tmp_path):
    client = Client()
    monkeypatch.setattr(down, "call", client)
    with pytest.raises(Refused, match="project p is not up"):
        down.down(Selection(project_name="p"))
    client.listed = [
        {"id": "1", "labels": {"berth.project": "p"}, "directory": "/nonexistent"},
        {"id": "2", "labels": {}, "directory": "/nonexistent"},
        {"id": "3", "labels": {"berth.project": "p"}, "directory": "/nonexistent", "run": {"state": "running"}},
        {"id": "4", "labels": {"berth.project": "p"}, "directory": "/nonexistent", "run": {"state": "exited"}},
    ]
    assert down.down(Selection(project_name="p"), timeout=3.0) == 0
    removed = [request for request in client.requests if request.startswith("DELETE")]
    assert sorted(removed[:3]) == [f"DELETE /v1/sandboxes/{one}" for one in (1, 3, 4)]
    assert removed[3] == "DELETE /v1/networks/1"
    # Each with its own signal and grace, before it is removed.
    assert [request for request in client.requests if request.endswith("/stop")] == ["POST /v1/sandboxes/3/stop"]
    assert client.requests.index("POST /v1/sandboxes/3/stop") < client.requests.index("DELETE /v1/sandboxes/3")
    assert client.bodies[client.requests.index("POST /v1/sandboxes/3/stop")] == {"timeout": 3.0}
    assert capsys.readouterr().out == "project p is down: removed 3 sandboxes and 3 networks\n"


def test_deleting_what_is_gone_is_no_failure():
    assert delete("/x", Client(DELETE__x=Refused("gone", "not-found"))) == []
    with pytest.raises(Refused):
        delete("/x", Client(DELETE__x=Refused("kernel", "kernel")))


def test_more_replicas_than_a_host_may_have_are_refused():
    with pytest.raises(Refused, match="service web: 999999999 replicas are more than the 10000"):
        plan_up(project("services: {web: {command: x, scale: 999999999}}"), pid=1, detach=False)
