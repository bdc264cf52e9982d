"""`berth up` and `berth down` without a kernel: the plan by itself, then the session with a client that only records."""

import contextlib
import os
import re
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from resolver.cli import monitor
from resolver.cli.client import Refused
from resolver.cli.compose.project import Dependency, Restart, RestartWhen, Service
from resolver.cli.entering import EnterFailed
from resolver.cli.environment import inherited
from resolver.cli.output_log import OutputLog
from resolver.cli.sandbox_calls import delete
from resolver.cli.up import command, conditions, down, processes, shared_stacks
from resolver.cli.up.conditions import Condition, Met
from resolver.cli.up.options import Options
from resolver.cli.up.plan import Ending, check_signals, ending, environment, exit_code, plan_up, process_of, table
from resolver.cli.up.project_file import Selection, load_project
from resolver.cli.up.project_lock import ProjectLock
from resolver.cli.up.reconcile import Asked, Step, reconcile, restarts_with, stop_waves, summary
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
    return plan_up(project(text), **{"pid": 7} | more)


def labels_of(body):
    """Return the labels of a request but for the hash, which is there."""
    return {name: text for name, text in body["labels"].items() if name != "berth.config-hash" or len(text) != 64}


def test_networks_of_a_plan():
    made = plan()
    assert (made.project, made.external) == ("shop", ("old",))
    (front,) = made.networks
    assert (front["name"], front["internal"], "owner_pid" in front) == ("shop_front", True, False)
    assert labels_of(front) == {"a": "b", "berth.project": "shop"}


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
    assert labels_of(first) == {
        "team": "a", "berth.project": "shop", "berth.service": "web", "berth.depends-on": "db:service_started:false"
    }  # fmt: skip
    assert {key: first[key] for key in ("publish", "hostname", "dns_options", "forward", "sysctls", "owner_pid")} == {
        "publish": ("8080:80/tcp",),
        "hostname": "webhost",
        "dns_options": ("ndots:2",),
        "forward": True,
        "sysctls": ("net.core.somaxconn=1",),
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
    made = Session(plan(text), call, Options(detach=True), frozenset())
    made._bring_up()
    bodies = {body["name"]: body for body in client.bodies if body}
    assert bodies["case-linked-1"]["extra_hosts"] == ["store:172.17.0.9", "base-1:172.17.0.9", "case-base-1:172.17.0.9"]
    with pytest.raises(Refused, match=r"service linked links outside, which is not on the network bridge"):
        Session(plan(MODES), call, Options(detach=True), frozenset())._bring_up()


def test_a_service_whose_name_is_too_long_for_a_label_has_none():
    (made,) = plan(f"services: {{{'a' * 64}: {{image: x}}}}").services
    assert made.bodies[0]["networks"][0]["aliases"] == []


def test_what_belongs_to_the_process_of_up():
    owners = {service.service.name: service.bodies[0].get("owner_pid") for service in plan().services}
    # Until its own process has started, a sandbox with a command goes with ours.
    assert owners == {"db": None, "web": 7, "side": 7, "outer": 7}


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
    ("requests", "answered", "expected"),
    [(0, 0, Ending.NOTHING), (1, 0, Ending.STOP), (1, 1, Ending.NOTHING), (2, 1, Ending.KILL), (2, 0, Ending.KILL), (3, 3, Ending.NOTHING)],
)
def test_first_request_stops_and_the_second_kills(requests, answered, expected):
    assert ending(requests, answered) is expected


def test_exit_code_is_the_first_failure():
    assert exit_code([0, 3, 4], stopped=False) == 3
    assert exit_code([0, None], stopped=False) == 0
    assert exit_code([3], stopped=True) == 0


@pytest.mark.parametrize("name", ["SIGINT", "USR1", "3", "SIGRTMIN+3", "RTMAX-1"])
def test_stop_signal(name):
    check_signals([Service(name="a", networks=(), stop_signal=name)])


@pytest.mark.parametrize("name", ["nonsense", "", "0", "65", "RTMIN-1", "RTMIN+31", "RTMIN+x", "SIGSIGTERM"])
def test_what_is_no_stop_signal_is_refused(name, monkeypatch, tmp_path):
    (tmp_path / "compose.yaml").write_text(f"services:\n  a: {{command: x, stop_signal: '{name}'}}\n")
    client = Client()
    monkeypatch.setattr(command, "call", client)
    with pytest.raises(Refused, match=f"service a: invalid stop_signal: {re.escape(repr(name))} is no signal; one is TERM"):
        check_signals([Service(name="a", networks=(), stop_signal=name)])
    if name:
        with pytest.raises(Refused, match="service a: invalid stop_signal"):
            command.up(Selection(files=(str(tmp_path / "compose.yaml"),)), Options(detach=True))
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
def test_restart_policy_of_a_service(when, attempts, text):
    service = Service(name="a", networks=(), command=("x",), restart=Restart(when=when, attempts=attempts))
    assert process_of(service, "/case")["restart"] == text


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
        self.stops = True
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
        if path.endswith("/stop"):
            # It may have ended and been waited for by now.
            with contextlib.suppress(ProcessLookupError):
                if self.stops or body.get("signal"):
                    os.kill(self.holders[path.split("/")[3]], signal.SIGKILL)
            return {}
        name = body["name"] if body and "name" in body else path.rpartition("/")[2].removeprefix("id-")
        directory = f"{self.directory}/{name}"
        if method == "POST" and self.directory != "/nonexistent":
            Path(directory).mkdir(exist_ok=True)
        run = {"state": "running", "ended": None, "exit_code": None, "output": f"{directory}/output.log"}
        endpoints = [{"network": "front", "addresses": ["10.5.0.2/24"], "ports": []}]
        return {"id": f"id-{name}", "name": name, "warnings": [f"warn {name}"] if method == "POST" else [], "environment": {},
                "directory": directory, "endpoints": endpoints, "labels": (body or {}).get("labels", {}), "run": run}  # fmt: skip


@pytest.fixture
def commands(monkeypatch):
    """Let services run what `chosen` has in a child of ours, in no sandbox: service → (what it prints, its exit code) or an error.

    One that prints nothing and has no exit code runs until it is stopped.
    """
    chosen = {}

    def start(service, sandbox, process):
        outcome = chosen[service.name]
        if isinstance(outcome, Exception):
            raise outcome
        text, code = outcome
        log = OutputLog(sandbox["directory"])
        log.write("stdout", text.encode())
        log.flush("stdout")
        log.close()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if code is None:
                signal.pause()
            os._exit(code)
        client.holders[sandbox["id"]] = pid
        return pid

    client = Client
    client.holders = {}
    monkeypatch.setattr(processes, "start", start)
    yield chosen
    for pid in client.holders.values():
        # Only what is still our child: another process may have the pid of one that has been waited for.
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


TWO = "name: p\nservices:\n  a: {command: x, stop_signal: SIGUSR1}\n  b: {command: x, depends_on: [a]}\n"


def session_of(text, client, tmp_path, **options):
    client.directory = tmp_path
    return Session(plan(text), client, Options(**options), frozenset(project(text).name))


def test_up_creates_follows_and_removes_in_order(commands, capsys, tmp_path):
    commands |= {"a": ("hello\nrest", 3), "b": ("", 0)}
    client = Client()
    assert session_of(TWO, client, tmp_path).run() == 3
    made = [request for request in client.requests if not request.startswith("GET")]
    # Sandboxes are removed side by side, in whatever order.
    assert [*made[:3], *sorted(made[3:-1]), made[-1]] == [
        "POST /v1/networks p_default",
        "POST /v1/sandboxes p-a-1",
        "POST /v1/sandboxes p-b-1",
        "DELETE /v1/sandboxes/id-p-a-1",
        "DELETE /v1/sandboxes/id-p-b-1",
        "DELETE /v1/networks/id-p_default",
    ]
    printed = capsys.readouterr()
    assert re.search(r"^p-a-1 +front +10\.5\.0\.2$", printed.out, re.MULTILINE)
    for line in ("p-a-1 | hello", "p-a-1 | rest", "p-a-1 | exited with code 3", "p-b-1 | exited with code 0", "Ctrl-C ends everything."):
        assert line in printed.out.splitlines()
    assert "warn p-a-1" in printed.err


def test_stop_is_in_the_reverse_order_and_the_second_one_kills(commands, capsys, tmp_path):
    commands |= {"a": ("ready\n", None), "b": ("", None)}
    client = Client()
    client.stops = False
    made = session_of(TWO, client, tmp_path)
    original = client.__call__

    def call(method, path, body=None, **more):
        answer = original(method, path, body, **more)
        if path == "/v1/sandboxes/id-p-b-1/stop" and body == {"timeout": None}:
            # It takes its time; the user does not.
            client.stops = True
            made.on_stop()
        return answer

    made._call = made._follower._call = call
    pump = made._follower.pump

    def pump_and_stop():
        if made._following and not made._stop_requests:
            made.on_stop()
        return pump()

    made._follower.pump = pump_and_stop
    assert made.run() == 0
    printed = capsys.readouterr().out
    assert "berth: stopping" in printed
    stops = [(path, body) for path, body in zip(client.requests, client.bodies, strict=True) if path.endswith("/stop")]
    assert stops[0] == ("POST /v1/sandboxes/id-p-b-1/stop", {"timeout": None})
    assert ("POST /v1/sandboxes/id-p-b-1/stop", {"signal": "KILL", "timeout": 0.0}) in stops
    assert f"p-b-1 | exited with code {128 + signal.SIGKILL}" in printed


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
    commands |= {"a": ("", 0), "b": Refused("service b: not found")}
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


def test_external_network_must_exist(tmp_path):
    client = Client(GET__v1_networks_old=Refused("no such network", "not-found"))
    with pytest.raises(Refused, match="external network old: no such network; create it with `berth network create`"):
        session_of(TEXT, client, tmp_path).run()
    assert client.requests == ["GET /v1/networks/old"]


def test_detached_returns_when_everything_is_up(monkeypatch, capsys, tmp_path):
    started = []
    monkeypatch.setattr(monitor, "start", lambda sandbox, process: started.append((sandbox["id"], process)))
    client = Client()
    text = TWO.replace(
        "stop_signal: SIGUSR1", "stop_signal: SIGUSR1, restart: 'on-failure:3', working_dir: sub, environment: {A: own, B: }"
    )
    assert session_of(text, client, tmp_path, detach=True).run() == 0
    (identity, process), _ = started
    body = client.bodies[client.requests.index("POST /v1/sandboxes p-a-1")]
    assert (identity, body["process"]) == ("id-p-a-1", process)
    assert {name: value for name, value in process.items() if name != "environment"} == {
        "command": ["x"], "explicit": {"A": "own"}, "directory": "/case/sub", "directory_required": True, "stop_signal": "USR1",
        "stop_timeout": 10.0, "restart": "on-failure:3", "remove": False,
    }  # fmt: skip
    assert process["environment"] == inherited()
    assert not [request for request in client.requests if request.startswith("DELETE")]
    assert "Ctrl-C" not in capsys.readouterr().out


def test_project_with_images_stays_until_it_is_stopped(tmp_path, capsys):
    client = Client()
    made = session_of("name: p\nservices:\n  a: {image: x}\n", client, tmp_path)
    turns = []

    def stop_at_the_third_turn():
        turns.append(made._following)
        if len(turns) == 3:
            made.on_stop()
        return []

    made._follower.pump = stop_at_the_third_turn
    assert made.run() == 0
    assert turns == [True, True, True]
    assert client.requests[-2:] == ["DELETE /v1/sandboxes/id-p-a-1", "DELETE /v1/networks/id-p_default"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"abort_on_exit": True}, 0), ({"abort_on_failure": True}, 5), ({"abort_on_exit": True, "exit_code_from": "c"}, 137)],
)
def test_whose_end_ends_everything(commands, tmp_path, options, expected):
    commands |= {"a": ("", 0), "b": ("", 5), "c": ("", None)}
    text = "name: p\nservices:\n  a: {command: x}\n  c: {command: x}\n"
    text += "  b: {command: x}\n" if "abort_on_failure" in options else ""
    assert session_of(text, Client(), tmp_path, **options).run() == expected


# --- what is there already ----------------------------------------------------------------------------------------


def there(made, **changes):
    """Return the sandboxes that a plan makes as they are when they run. *changes*: name → fields that are others."""
    views = []
    for service in made.services:
        for body in service.bodies:
            run = {"state": "running", "exit_code": None} if "process" in body else None
            views.append({"id": f"id-{body['name']}", "name": body["name"], "labels": body["labels"], "run": run})
            views[-1] |= changes.get(body["name"].replace("-", "_"), {})
    return views


def networks_of(made):
    return [{"id": f"id-{body['name']}", "name": body["name"], "labels": body["labels"]} for body in made.networks]


def steps(text, before, known=("a", "b", "c"), networks=None, asked=None, **more):
    made = plan(text, **more)
    found = networks_of(made) if networks is None else networks
    changes = reconcile(made, before, found, asked or Asked(), known=known)
    return changes, {one.name: one.step for change in changes.services for one in change.replicas}


ABC = "name: p\nservices:\n  a: {command: x}\n  b: {command: x, depends_on: [a]}\n  c: {image: x}\n"
KEPT = {"p-a-1": Step.KEEP, "p-b-1": Step.KEEP, "p-c-1": Step.KEEP}


def test_what_has_not_changed_stays():
    before = there(plan(ABC))
    changes, found = steps(ABC, before)
    assert (found, changes.removed(), changes.orphans, changes.networks[0].stays) == (KEPT, [], (), True)
    # What others must be there first, and how many there are, is not what one is made of.
    _, found = steps(ABC.replace("depends_on: [a]", "depends_on: [a, c], scale: 2"), before)
    assert found == KEPT | {"p-b-2": Step.CREATE}
    # Neither are the variables of who calls.
    assert "environment" not in plan(ABC).services[0].bodies[0]["process"]


@pytest.mark.parametrize(
    "change",
    ["command: y", "command: x, environment: {A: 1}", "command: x, ports: [80]", "command: x, restart: always",
     "command: x, stop_grace_period: 3s", "command: x, labels: [a=b]", "command: x, networks: {default: {aliases: [z]}}"],
)  # fmt: skip
def test_what_has_changed_is_made_anew(change):
    changes, found = steps(ABC.replace("a: {command: x}", f"a: {{{change}}}"), there(plan(ABC)))
    assert found == KEPT | {"p-a-1": Step.RECREATE}
    assert [view["name"] for view in changes.removed()] == ["p-a-1"]
    _, found = steps(ABC.replace("a: {command: x}", f"a: {{{change}}}"), there(plan(ABC)), asked=Asked(keep=True))
    assert found == KEPT


def test_what_is_missing_stopped_or_too_much():
    before = there(plan(ABC, scale={"b": 3}), p_a_1={"run": {"state": "exited", "exit_code": 0}})
    before = [view for view in before if view["name"] != "p-b-1"]
    changes, found = steps(ABC, before)
    assert found == KEPT | {"p-a-1": Step.START, "p-b-1": Step.CREATE}
    assert [view["name"] for view in changes.removed()] == ["p-b-2", "p-b-3"]
    assert summary(changes, remove_orphans=True) == [
        "p-b-2 is removed: it is one too many",
        "p-b-3 is removed: it is one too many",
        "p-a-1 is started",
        "p-b-1 is created",
        "p-c-1 stays",
    ]


def test_orphans_are_of_services_that_the_files_do_not_have():
    others = "name: p\nservices:\n  gone: {command: x}\n  off: {command: x}\n"
    changes, _ = steps(ABC, [*there(plan(ABC)), *there(plan(others))], known=("a", "b", "c", "off"))
    assert [view["name"] for view in changes.orphans] == ["p-gone-1"]
    assert summary(changes, remove_orphans=True)[0] == "p-gone-1 is removed: it is an orphan"
    # One of another project is none of ours.
    changes, found = steps(ABC, there(plan(ABC.replace("name: p", "name: q"))))
    assert (changes.orphans, set(found.values())) == ((), {Step.CREATE})


def test_force_means_the_services_that_are_named():
    before = there(plan(ABC))
    assert set(steps(ABC, before, asked=Asked(force=True))[1].values()) == {Step.RECREATE}
    assert steps(ABC, before, asked=Asked(services=("b",), force=True))[1] == {"p-a-1": Step.KEEP, "p-b-1": Step.RECREATE}
    asked = Asked(services=("b",), force=True, always_recreate_deps=True)
    assert steps(ABC, before, asked=asked)[1] == {"p-a-1": Step.RECREATE, "p-b-1": Step.RECREATE}
    assert steps(ABC, before, asked=Asked(services=("b",), no_deps=True))[1] == {"p-b-1": Step.KEEP}
    with pytest.raises(Refused, match="there is no service d; there are a, "):
        steps(ABC, before, asked=Asked(services=("d",)))


def test_network_that_has_changed_takes_with_it_what_is_on_it():
    text = "name: p\nservices:\n  a: {command: x, networks: [n]}\n  b: {command: x, networks: [m]}\nnetworks: {n: {}, m: {}, unused: {}}\n"
    before = plan(text)
    changes, found = steps(text.replace("n: {},", "n: {internal: true},"), there(before), networks=networks_of(before))
    assert found == {"p-a-1": Step.RECREATE, "p-b-1": Step.KEEP}
    assert {change.body["name"]: change.stays for change in changes.networks} == {"p_n": False, "p_m": True}
    assert "network p_n is made anew: its settings have changed" in summary(changes, remove_orphans=False)
    # One of an older version says nothing of what it was made by.
    old = [{**network, "labels": {"berth.project": "p"}} for network in networks_of(before)]
    assert all(change.stays for change in steps(text, there(before), networks=old)[0].networks)


def test_what_goes_with_another_one():
    text = "name: p\nservices:\n  a: {command: x}\n  b: {command: x, network_mode: 'service:a'}\n"
    text += "  c: {command: x, depends_on: {a: {condition: service_started, restart: true}}}\n"
    changes, found = steps(text.replace("a: {command: x}", "a: {command: y}"), there(plan(text)))
    assert found == {"p-a-1": Step.RECREATE, "p-b-1": Step.RECREATE, "p-c-1": Step.RESTART}
    assert [view["name"] for view in changes.restarted()] == ["p-c-1"]
    views = there(plan(text))
    assert {view["name"]: restarts_with(view) for view in views} == {"p-a-1": set(), "p-b-1": {"a"}, "p-c-1": {"a"}}
    assert [sorted(view["name"] for view in wave) for wave in stop_waves(views)] == [["p-b-1", "p-c-1"], ["p-a-1"]]
    assert [view["name"] for wave in stop_waves(views[:1]) for view in wave] == ["p-a-1"]


def test_who_shares_a_stack_that_is_made_anew_is_too_though_nobody_named_it():
    text = "name: p\nservices:\n  a: {command: x}\n  b: {command: x, network_mode: 'service:a'}\n"
    before = there(plan(text))
    asked = Asked(services=("a",), force=True)
    assert steps(text, before, asked=asked)[1] == {"p-a-1": Step.RECREATE, "p-b-1": Step.RECREATE}
    assert steps(text, before, asked=Asked(services=("a",)))[1] == {"p-a-1": Step.KEEP}
    # One that was not up stays away.
    assert steps(text, before[:1], asked=asked)[1] == {"p-a-1": Step.RECREATE}


def test_what_was_removed_but_for_its_stack_is_made_anew_with_those_that_share_it():
    text = "name: p\nservices:\n  a: {command: x}\n  b: {command: x, network_mode: 'service:a'}\n"
    before = there(plan(text))
    before[0] = {**before[0], "ended": True, "run": None}
    changes, found = steps(text, before)
    assert found == {"p-a-1": Step.RECREATE, "p-b-1": Step.RECREATE}
    assert "p-a-1 is made anew: only its network stack is left" in summary(changes, remove_orphans=False)


def test_what_others_that_stay_share_is_made_anew_unless_its_stack_keeps_what_the_new_one_needs():
    def check(text, *others, asked=None):
        before = [*there(plan(text), p_a_1={"networks": ["p_default"]}), *others]
        changes, _ = steps(text, before, asked=asked or Asked(force=True))
        shared_stacks.check(changes, before)

    text = "name: p\nservices:\n  a: {command: x%s}\n"
    fixed = text % ", networks: {default: {ipv4_address: 10.9.0.5}}"
    cap = {"id": "id-cap", "name": "cap", "labels": {}, "run": {"state": "running"}, "shared_with": "p-a-1"}
    check(text % ", ports: ['80:80']", cap)
    check(fixed)
    check(fixed, cap | {"run": {"state": "exited"}})
    check(fixed, cap, asked=Asked())
    with pytest.raises(Refused, match=r"service a: p-a-1 can't be made anew: cap shares its .* keeps 10\.9\.0\.5; remove cap first$"):
        check(fixed, cap)
    before = plan(text % "")
    old = [{**network, "labels": {**network["labels"], "berth.config-hash": "another"}} for network in networks_of(before)]
    views = [*there(before, p_a_1={"networks": ["p_default"]}), cap]
    changes, _ = steps(text % "", views, networks=old)
    with pytest.raises(Refused, match="stays on network p_default, whose settings have changed; remove cap first"):
        shared_stacks.check(changes, views)


def test_who_shares_what_is_left_of_a_container_that_was_made_anew_is_made_anew_too():
    text = "name: p\nservices: {tor: {command: x, network_mode: 'container:vpn'}}"
    for shared, step in (("vpn", Step.KEEP), ("60ae1c34b538", Step.RECREATE), (None, Step.KEEP)):
        _, found = steps(text, there(plan(text), p_tor_1={"shared_with": shared}))
        assert found == {"p-tor-1": step}


def test_stop_of_services_that_depend_on_each_other_in_a_circle():
    views = [{"id": one, "labels": {"berth.service": one, "berth.depends-on": f"{other}:x:false"}} for one, other in ("ab", "ba")]
    assert stop_waves(views) == [views]


# --- what is waited for -------------------------------------------------------------------------------------------


def view_of(state="running", code=None, health=None):
    return {"name": "n", "run": {"state": state, "exit_code": code}, "health": health}


HEALTHY, COMPLETED = Condition.HEALTHY, Condition.COMPLETED


@pytest.mark.parametrize(
    ("condition", "views", "met", "text"),
    [
        (Condition.STARTED, [view_of("exited", 3)], Met.YES, ""),
        (HEALTHY, [], Met.YES, ""),
        (HEALTHY, [view_of(health="healthy")], Met.YES, ""),
        (HEALTHY, [view_of(health="healthy"), view_of(health="starting")], Met.NOT_YET, "n to be healthy"),
        (HEALTHY, [view_of("restarting", 1, "starting")], Met.NOT_YET, "n to be healthy"),
        (HEALTHY, [view_of(health="starting"), view_of(health="unhealthy")], Met.NEVER, "n is unhealthy"),
        (HEALTHY, [view_of("exited", 0, "healthy")], Met.NEVER, "n has exited (0)"),
        (HEALTHY, [view_of()], Met.NEVER, "n has no health check; give it one, or wait for service_started"),
        (COMPLETED, [view_of()], Met.NOT_YET, "n to complete"),
        (COMPLETED, [view_of("restarting", 1)], Met.NOT_YET, "n to complete"),
        (COMPLETED, [view_of("exited", 0)], Met.YES, ""),
        (COMPLETED, [view_of(), view_of("exited", 4)], Met.NEVER, "n didn't complete successfully: exit 4"),
        # What runs in it is somebody else's.
        (HEALTHY, [{"name": "n", "run": None}], Met.YES, ""),
        (COMPLETED, [{"name": "n", "run": None}], Met.YES, ""),
    ],
)
def test_conditions(condition, views, met, text):
    found = conditions.verdict(Dependency(service="a", condition=condition), views)
    assert (found.met, found.text) == (met, text)


def test_what_wait_waits_for():
    a, b = Service(name="a", networks=()), Service(name="b", networks=(), depends_on=(Dependency(service="a", condition=COMPLETED),))
    asked = []

    def ready(service, view, services, *, runs=True):
        return conditions.readiness(service, [view], services, lambda view: asked.append(view) or runs)

    assert ready(a, view_of("exited", 0), [a, b]).met is Met.YES
    assert ready(a, view_of("exited", 0), [a]).text == "n has exited (0)"
    assert ready(b, view_of(), [a, b]).met is Met.YES
    # One that has just been started may fail at once.
    assert ready(b, view_of(), [a, b], runs=False).text == "n to run"
    assert ready(b, view_of(health="starting"), [a, b]).met is Met.NOT_YET
    assert ready(b, view_of("restarting", 1), [a, b]).text == "n to run"
    assert len(asked) == 2


# --- processes, files, down ---------------------------------------------------------------------------------------


def test_start_that_fails_names_the_service(monkeypatch):
    def fail(*_):
        raise EnterFailed(text)

    monkeypatch.setattr(monitor, "start", fail)
    service = Service(name="a", networks=(), command=("serve",))
    text = "127:serve: command not found"
    with pytest.raises(Refused, match="service a: serve: command not found"):
        processes.start(service, {}, {})
    text = "126:serve: Permission denied"
    with pytest.raises(processes.NotExecutable, match="service a: serve: Permission denied"):
        processes.start(service, {}, {})


def test_process_of_a_service():
    service = Service(name="a", networks=(), command=("serve",), environment={"FROM": "file"}, working_dir="/srv")
    made = process_of(service, "/case")
    assert (made["command"], made["explicit"], made["directory"], made["stop_signal"]) == (["serve"], {"FROM": "file"}, "/srv", "TERM")


def test_file_is_found_with_its_variables(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused, match=r"there is no compose.yaml here"):
        load_project(Selection())
    (tmp_path / "compose.yml").write_text(
        "services:\n  a: {command: 'x ${WHAT} $UNSET', cgroup_parent: x}\n  b: {command: y, profiles: [debug]}\n"
    )
    (tmp_path / ".env").write_text("WHAT=that\nCOMPOSE_PROFILES=debug\nCOMPOSE_PROJECT_NAME=named\n")
    loaded = load_project(Selection())
    assert (loaded.project.name, loaded.project.directory) == ("named", str(tmp_path))
    assert [service.command for service in loaded.project.services] == [("x", "that"), ("y",)]
    assert loaded.warnings == ("variable UNSET is not set; it counts as empty", "ignored, not about networking: cgroup_parent")
    (tmp_path / "bad.yaml").write_text("services:\n  a: {command: '${X:?must}'}\n")
    with pytest.raises(Refused, match=r"bad.yaml:2: services.a.command: variable X is required: must"):
        load_project(Selection(files=("bad.yaml",)))
    with pytest.raises(Refused, match="No such file"):
        load_project(Selection(files=("none.yaml",)))


def test_up_reads_the_file_and_runs_a_session(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compose.yaml").write_text("services:\n  a: {image: x, tty: true}\n")
    client = Client()
    monkeypatch.setattr(command, "call", client)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        assert command.up(Selection(project_name="p"), Options(detach=True)) == 0
        assert signal.getsignal(signal.SIGTERM).__name__ == "on_stop"
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    made = [request for request in client.requests if request.startswith("POST")]
    assert made == ["POST /v1/networks p_default", "POST /v1/sandboxes p-a-1"]
    assert "ignored, not about networking: tty" in capsys.readouterr().err


def test_down_removes_what_has_the_label(monkeypatch, capsys, tmp_path):
    client = Client()
    monkeypatch.setattr(down, "call", client)
    assert down.down(Selection(project_name="p")) == 0
    assert "project p is not up, so there is nothing to remove" in capsys.readouterr().err
    client.listed = [
        {"id": "1", "name": "n1", "labels": {"berth.project": "p"}, "directory": "/nonexistent"},
        {"id": "2", "name": "n2", "labels": {}, "directory": "/nonexistent"},
        {"id": "3", "name": "n3", "labels": {"berth.project": "p"}, "directory": "/nonexistent", "run": {"state": "running"}},
        {"id": "4", "name": "n4", "labels": {"berth.project": "p"}, "directory": "/nonexistent", "run": {"state": "exited"}},
    ]
    child = subprocess.Popen(["sleep", "600"])
    client.holders = {"3": child.pid}
    assert down.down(Selection(project_name="p"), timeout=3.0) == 0
    child.wait()
    removed = [request for request in client.requests if request.startswith("DELETE")]
    assert sorted(removed[:3]) == [f"DELETE /v1/sandboxes/{one}" for one in (1, 3, 4)]
    assert removed[3] == "DELETE /v1/networks/1"
    # Each with its own signal and grace, before it is removed.
    assert [request for request in client.requests if request.endswith("/stop")] == ["POST /v1/sandboxes/3/stop"]
    assert client.requests.index("POST /v1/sandboxes/3/stop") < client.requests.index("DELETE /v1/sandboxes/3")
    assert client.bodies[client.requests.index("POST /v1/sandboxes/3/stop")] == {"timeout": 3.0}
    assert capsys.readouterr().out == "project p is down: removed 3 sandboxes and 3 networks\n"


def test_down_names_who_shares_what_is_left_and_keeps_a_network(monkeypatch, capsys):
    project_of = {"labels": {"berth.project": "p"}, "networks": ["p_default"]}
    left = project_of | {"id": "1", "name": "p-vpn-1", "ended": True}
    tor = {"id": "2", "name": "tor", "labels": {}, "networks": [], "shared_with": "p-vpn-1"}
    deleted = []

    def client(method, path, *_, **__):
        if method == "DELETE":
            deleted.append(path)
            return {"warnings": []}
        return (
            [left, tor]
            if "sandboxes" in path
            else [project_of | {"id": "n1", "name": "p_default"}, project_of | {"id": "n2", "name": "p_b"}]
        )

    monkeypatch.setattr(down, "call", client)
    assert down.down(Selection(project_name="p")) == 0
    shown = capsys.readouterr()
    assert deleted == ["/v1/sandboxes/1", "/v1/networks/n2"]
    assert "network p_default stays: tor shares the network stack of what is removed; remove tor and then p_default" in shown.err
    assert shown.out == "project p is down: removed 1 sandbox and 1 network\n"


def test_deleting_what_is_gone_is_no_failure():
    assert delete("/x", Client(DELETE__x=Refused("gone", "not-found"))) == []
    with pytest.raises(Refused):
        delete("/x", Client(DELETE__x=Refused("kernel", "kernel")))


def test_more_replicas_than_a_host_may_have_are_refused():
    with pytest.raises(Refused, match="service web: 999999999 replicas are more than the 10000"):
        plan("services: {web: {command: x, scale: 999999999}}")
    with pytest.raises(Refused, match="service web: it has the container_name one, so it can have one replica only, not 2"):
        plan("services: {web: {command: x, container_name: one}}", scale={"web": 2})
    with pytest.raises(Refused, match="--scale wev: there is no such service; there are web"):
        plan("services: {web: {command: x}}", scale={"wev": 2})


def test_egress_rules_of_services_and_networks():
    made = plan(
        "name: app\nservices:\n  job:\n    command: x\n    networks: [back]\n"
        "    x-egress: [packages.example.org, 'network:back:5432', deny:network:other]\n"
        "  none:\n    command: x\n    x-egress: none\n  free:\n    command: x\nnetworks:\n  back:\n    x-egress: '*.example.org,network:back'\n"
    )
    bodies = {service.service.name: service.bodies[0] for service in made.services}
    assert bodies["job"]["egress"] == ["packages.example.org", "network:app_back:5432", "deny:network:other"]
    assert bodies["none"]["egress"] == ["none"]
    assert "egress" not in bodies["free"]
    networks = {network["name"]: network for network in made.networks}
    assert networks["app_back"]["egress"] == ["*.example.org", "network:app_back"]
    assert "egress" not in networks["app_default"]


@pytest.mark.parametrize("given", ["[]", "{a: b}", "", "[1]", "['']"])
def test_egress_rules_that_are_none_are_refused(given):
    with pytest.raises(Exception, match="x-egress must be a list of rules"):
        plan(f"name: app\nservices:\n  job:\n    command: x\n    x-egress: {given}\n")


def test_one_at_a_time_changes_a_project():
    mine, held, let_go = ProjectLock("p"), threading.Event(), threading.Event()
    with mine, ProjectLock("q"):
        assert mine.is_ours_since is False
    with mine:
        assert mine.is_ours_since
    # Another process; a lock is a process's own.
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with ProjectLock("p"):
            os.write(writing, b"x")
            signal.pause()
        os._exit(0)
    os.read(reading, 1)

    def end_it():
        held.wait()
        os.kill(pid, signal.SIGKILL)
        let_go.set()

    thread = threading.Thread(target=end_it)
    thread.start()
    held.set()
    with mine:
        assert let_go.wait(60)
        assert not mine.is_ours_since
    thread.join()
    os.waitpid(pid, 0)
    for descriptor in (reading, writing):
        os.close(descriptor)
