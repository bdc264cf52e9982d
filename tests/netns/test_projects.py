"""Compose files of the kinds that people publish (`examples/projects`): each is brought up, looked at from inside, and taken down."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.lab import Lab

PROJECTS = Path(__file__).parents[2] / "examples" / "projects"
NODE = str(PROJECTS / "node.py")


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.start_daemon()
        yield made


class Project:
    """A project that is up. *name*: of its file."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name

    def exec(self, service, *command, index=1):
        """Run a command in a replica of a service; return what it prints, None if it fails."""
        options = ("--project", self.name, "--index", str(index))
        done = self.lab.berth("exec", *options, service, *command, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    def node(self, service, *words):
        return self.exec(service, sys.executable, NODE, *words)

    def wait(self, condition):
        self.lab.wait_for(condition)

    def addresses(self, service, name):
        return self.exec(service, "dig", "+short", name).split()


def web_database_cache(up):
    up.wait(lambda: up.node("web", "get", "http://localhost:8000/") == "the shop")
    assert up.node("web", "call", "database:5432", "get", "tables") == "users"
    up.wait(lambda: up.node("web", "call", "cache:6379", "put", "a", "b") == "ok")
    up.wait(lambda: up.lab.out("curl", "-s", "http://127.0.0.1:8080/", check=False) == "the shop")
    # Nobody comes out of the back network.
    assert up.exec("database", "ping", "-c1", "-W1", "10.9.0.1") is None


def reverse_proxy(up):
    up.wait(lambda: up.lab.out("curl", "-s", "http://127.0.0.1:8081/", check=False).split() == ["proxy", "blue", "green"])
    assert up.exec("blue", "ping", "-c1", "-W1", "10.9.0.1") is None
    assert up.exec("proxy", "ping", "-c1", "-W5", "10.9.0.1") is not None


def queue(up):
    up.wait(lambda: up.node("broker", "call", "localhost:5672", "size", "done") == "6")
    assert len(up.addresses("broker", "worker")) == 3


def metrics(up):
    expected = {"up=1", "node_up=1", "database_up=1"}
    up.wait(lambda: set(up.lab.out("curl", "-s", "http://127.0.0.1:9090/", check=False).split()) == expected)
    assert len(up.addresses("prometheus", "node-exporter")) == 2
    assert "9100" in up.exec("prometheus", "dig", "+short", "SRV", "_metrics._tcp.node-exporter")
    assert up.addresses("prometheus", "database") == []
    assert up.node("database-exporter", "call", "database:5432", "size", "x") == "0"


def dns_filter(up):
    up.wait(lambda: up.addresses("client", "ads.example") == ["0.0.0.0"])
    assert up.addresses("client", "news.example") == ["192.0.2.80"]
    assert up.addresses("client", "filter") == ["10.53.0.53"]
    assert "NXDOMAIN" in up.exec("client", "dig", "other.example")


def mail(up):
    assert up.exec("smtp", "hostname", "-f") == "mx.example.org"
    up.wait(lambda: up.node("webmail", "call", "mx.example.org:25", "push", "box", "hello") == "ok")
    up.wait(lambda: up.node("smtp", "call", "imap:143", "push", "box", "hello") == "ok")
    assert up.exec("webmail", "getent", "hosts", "autodiscover.example.org").split()[0] == "192.0.2.25"
    assert up.exec("storage", "ping", "-c1", "-W1", "10.9.0.1") is None


def ci_runner(up):
    up.wait(lambda: up.node("job", "call", "localhost:9252", "size", "x") == "0")
    assert up.exec("job", "hostname", "-I") == up.exec("runner", "hostname", "-I")
    assert up.exec("debug", "true") is None


def agents(up):
    up.wait(lambda: up.node("planner", "call", "hub:7000", "push", "todo", "plan") == "ok")
    up.wait(lambda: up.node("reviewer", "call", "hub:7000", "get", "done") == "plan")
    assert len(up.addresses("hub", "coder")) == 3
    assert up.exec("coder", "ping", "-c1", "-W1", "10.9.0.1", index=3) is None


def replicated(up):
    assert len(up.addresses("client", "api")) == 3
    sick = f"/run/sick-{up.exec('api', 'hostname')}"
    up.lab.shell(f"touch {sick}")
    up.wait(lambda: len(up.addresses("client", "api")) == 2)
    up.lab.shell(f"rm {sick}")
    up.wait(lambda: len(up.addresses("client", "api")) == 3)


def many_networks(up):
    for number in (1, 2, 3, 4):
        up.wait(lambda: up.node(f"desk{number}", "get", "http://gate/") == "gateway")  # noqa: B023 (called at once)
    assert up.addresses("desk1", "desk2") == []
    assert up.exec("desk1", "ping", "-c1", "-W1", "10.9.0.1") is None
    assert up.exec("gateway", "ping", "-c1", "-W5", "10.9.0.1") is not None


CHECKS = [
    web_database_cache, reverse_proxy, queue, metrics, dns_filter, mail, ci_runner, agents, replicated, many_networks,
]  # fmt: skip


def test_every_project_is_here():
    assert {path.stem for path in PROJECTS.glob("*.yaml")} == {check.__name__.replace("_", "-") for check in CHECKS}


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_project(lab, check):
    name = check.__name__.replace("_", "-")
    file = str(PROJECTS / f"{name}.yaml")
    up = Project(lab, name)
    assert "warning" not in lab.berth("up", "-d", "-f", file).stderr
    check(up)
    again = lab.berth("up", "-d", "--dry-run", "-f", file).stdout.splitlines()
    assert all(line.endswith((" stays", " is started")) or "is started, as soon as" in line for line in again), again
    lab.berth("down", "-t", "1", "-f", file)
    assert json.loads(lab.berth("ps", "-a", "--format", "json").stdout) == []
    assert json.loads(lab.berth("network", "ls", "--format", "json").stdout) == []
