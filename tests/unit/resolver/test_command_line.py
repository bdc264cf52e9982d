"""Commands against an admin socket with prepared responses: what they send, print and return."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from resolver import cli
from resolver.cli import client, compose_command, docker_words, enter, entering, monitor, output, ps, run
from resolver.cli.client import NoDaemon, Refused
from resolver.cli.entering import EnterFailed
from resolver.cli.output_log import OutputLog
from resolver.cli.users import Identity
from resolver.signal_names import START_NO_MORE
from tests.support.fake_daemon import FakeDaemon

CREATED = 1_764_115_200.0
PORT = {"protocol": "tcp", "host_address": "0.0.0.0", "host_port": 8080, "sandbox_port": 80}
WEB = {
    "id": "w" * 64, "name": "web", "pid": 7, "stack": "own", "shared_with": "", "ended": False, "adopted": False, "leader": None, "networks": ["front"],
    "addresses": ["10.5.0.2"], "endpoints": [{"network": "front", "network_id": "f" * 64, "ports": [PORT]}], "labels": {"berth.service": "shop"},
    "directory": "/nonexistent", "by_name": "/nonexistent/by-name/web", "environment": {}, "warnings": ["mind this"], "netns": "/nonexistent", "created": CREATED,
}  # fmt: skip
FRONT = {"id": "f" * 64, "name": "front", "driver": "bridge", "scope": "local", "internal": True, "pools": [{"subnet": "10.5.0.0/24"}],
         "labels": {"team": "a"}, "members": [], "warnings": [], "created": CREATED, "ipv4": True, "ipv6": False}  # fmt: skip


@pytest.fixture
def daemon(monkeypatch, tmp_path):
    monkeypatch.setenv("BERTH_RUN_DIR", str(tmp_path))
    with FakeDaemon(tmp_path) as made:
        made.responses |= {
            "GET /v1/sandboxes": [WEB], "GET /v1/sandboxes?all=1": [WEB], "GET /v1/sandboxes/web": WEB, "GET /v1/networks": [FRONT], "GET /v1/networks/front": FRONT,
            f"DELETE /v1/sandboxes/{WEB['id']}": {"warnings": ["its stack stays"]},
        }  # fmt: skip
        yield made


@pytest.fixture
def berth(monkeypatch, capsys):
    """Runs a command line and returns (exit code, standard output, standard error)."""
    # Nothing is entered here, so it need not be root's.
    monkeypatch.setattr(entering, "check_privilege", lambda: None)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["berth", *arguments])
        try:
            code = cli.main()
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    return call


def body(daemon, request):
    """Return the body of the last *request*, "METHOD /path"."""
    return next(sent for method, path, sent in reversed(daemon.requests) if f"{method} {path}" == request)


def test_version(berth):
    assert berth("--version") == (0, "berth, version 0.3.0\n", "")


def test_ps_has_a_column_for_everything(daemon, berth, monkeypatch):
    monkeypatch.setattr(ps.time, "time", lambda: CREATED + 45)
    monkeypatch.setenv("COLUMNS", "200")
    daemon.responses["GET /v1/sandboxes"] = [
        WEB,
        WEB | {"name": "side", "stack": "container", "shared_with": "web", "pid": None, "endpoints": []},
        WEB | {"name": "host", "stack": "host", "adopted": True, "endpoints": []},
        WEB | {"name": "old", "ended": True, "networks": [], "endpoints": []},
    ]
    daemon.responses["GET /v1/sandboxes?all=1"] = daemon.responses["GET /v1/sandboxes"]
    code, shown, _ = berth("ps")
    assert code == 0
    assert [line.split() for line in shown.splitlines()] == [
        ["SANDBOX", "ID", "NAME", "COMMAND", "STATUS", "AGE", "NETWORKS", "ADDRESSES", "PORTS"],
        ["w" * 12, "web", "created", "45s", "front", "10.5.0.2", "0.0.0.0:8080->80/tcp"],
        ["w" * 12, "side", "created", "45s", "container:web", "10.5.0.2"],
        ["w" * 12, "host", "adopted", "45s", "host", "10.5.0.2"],
        ["w" * 12, "old", "ended", "45s", "10.5.0.2"],
    ]
    assert berth("ps", "-q")[1].split() == ["w" * 12] * 4
    assert berth("ps", "-aq", "--no-trunc", "-l")[1].split() == ["w" * 64]
    assert berth("ps", "--services")[1] == "shop\n"
    assert json.loads(berth("ps", "--format", "json")[1])[0] == WEB


def test_table_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    output.print_table(("A", "B"), [("one", "two")])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["A", "B"], ["one", "two"]]


def test_network_ls_filters(daemon, berth):
    for text, shown in (
        ("name=ron", True), ("id=ff", True), ("driver=bridge", True), ("scope=global", False), ("internal=true", True), ("dangling=1", True),
        ("type=builtin", False), ("label=team", True), ("label=team=b", False),
    ):  # fmt: skip
        assert bool(berth("network", "ls", "-q", "-f", text)[1]) is shown, text
    assert berth("network", "ls", "-f", "x=y")[0] == 2
    assert berth("network", "ls")[1].splitlines()[1].split() == ["f" * 12, "front", "bridge", "local", "10.5.0.0/24", "internal"]


def test_static_names(daemon, berth):
    daemon.responses["POST /v1/networks/front/records"] = daemon.responses["POST /v1/networks"] = FRONT | {"warnings": []}
    assert berth("network", "record", "add", "front", "_sip._udp", "SRV", "0", "5", "5060", "pbx", "--ttl", "60") == (0, "", "")
    assert body(daemon, "POST /v1/networks/front/records") == {"name": "_sip._udp", "type": "SRV", "data": "0 5 5060 pbx", "ttl": 60}
    shown = [{"name": "www", "ttl": 5, "type": "CNAME", "data": "web.front."}]
    daemon.responses["GET /v1/networks/front/records"] = daemon.responses[
        "DELETE /v1/networks/front/records?name=www&type=CNAME&data=web%20x"
    ] = shown
    assert [line.split() for line in berth("network", "record", "ls", "front")[1].splitlines()][1:] == [["www", "5", "CNAME", "web.front."]]
    assert json.loads(berth("network", "record", "ls", "--format", "json", "front")[1]) == shown
    assert berth("network", "record", "remove", "front", "www", "CNAME", "web", "x")[1] == "www CNAME web.front.\n"
    assert berth("network", "create", "--record", "a 60 TXT two  words", "--record", "b A 10.0.0.1", "front")[0] == 0
    assert body(daemon, "POST /v1/networks")["records"] == [
        {"name": "a", "type": "TXT", "data": "two  words", "ttl": 60}, {"name": "b", "type": "A", "data": "10.0.0.1", "ttl": None},
    ]  # fmt: skip
    code, _, said = berth("network", "create", "--record", "b A", "front")
    assert (code, "--record 'b A': it should be 'NAME TYPE VALUE'" in said) == (2, True)


def test_network_create_and_dry_run(daemon, berth):
    daemon.responses["POST /v1/networks"] = FRONT | {"warnings": ["mind this"]}
    assert berth("network", "create", "--ipv6", "-o", "icc=false", "--subnet", "10.5.0.0/24", "front") == (
        0,
        "f" * 64 + "\n",
        "berth: warning: mind this\n",
    )
    sent = body(daemon, "POST /v1/networks")
    assert (sent["ipv6"], sent["ipv4"], sent["options"], sent["subnets"], sent["driver"]) == (
        True,
        None,
        {"icc": "false"},
        ["10.5.0.0/24"],
        "bridge",
    )
    daemon.responses["POST /v1/networks?dry_run=1"] = {"steps": ["create link"], "warnings": []}
    assert berth("network", "create", "--dry-run", "front")[1] == "create link\n"


def test_network_connect_sends_what_was_given(daemon, berth):
    daemon.responses["POST /v1/networks/front/connect"] = WEB
    arguments = ("--alias", "a", "--alias", "b", "--ip", "10.5.0.9", "--gw-priority", "-2", "--link", "db:store", "--driver-opt", "sysctls=x=1",
                 "--ifname", "lan0", "--route", "10.9.0.0/16=10.5.0.1")  # fmt: skip
    assert berth("network", "connect", *arguments, "front", "web")[0] == 0
    assert body(daemon, "POST /v1/networks/front/connect") == {
        "sandbox": WEB["id"], "aliases": ["a", "b"], "ip": "10.5.0.9", "gw_priority": -2, "links": {"store": "db"},
        "driver_opts": {"sysctls": "x=1"}, "ifname": "lan0", "routes": ["10.9.0.0/16=10.5.0.1"],
    }  # fmt: skip
    daemon.responses["POST /v1/networks/front/disconnect?dry_run=1"] = {"steps": ["delete link"], "warnings": []}
    assert berth("network", "disconnect", "--dry-run", "front", "web")[1] == "delete link\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("network", "ls", "--filter", "driver"), "--filter driver needs a value: driver=VALUE"),
        (("network", "create", "--aux-address", "10.5.0.9", "x"), "--aux-address 10.5.0.9 needs a name: NAME=10.5.0.9"),
        (("attach", "--name", "x", "--pid", "1", "--netns", "/x"), "--pid and --netns name two namespaces"),
        (("attach", "--name", "x", "--fd", "1", "--netns", "/x"), "--fd and --netns name two namespaces"),
    ],
)
def test_incomplete_and_contradictory_options_are_refused(daemon, berth, arguments, said):
    code, _, error = berth(*arguments)
    assert (code, said in error) == (2, True), error


def test_dry_run_without_steps_says_so(daemon, berth):
    daemon.responses["POST /v1/networks?dry_run=1"] = {"steps": [], "warnings": []}
    assert berth("network", "create", "--dry-run", "m1") == (0, "", "berth: nothing in the kernel would change\n")


def test_network_prune(daemon, berth):
    daemon.responses["POST /v1/networks/prune"] = {"removed": ["front"]}
    assert (
        berth("network", "prune", "-f", "--filter", "label=a", "--filter", "label!=b", "--filter", "until=2026-11-25T12:00")[1] == "front\n"
    )
    sent = body(daemon, "POST /v1/networks/prune")
    assert (sent["labels"], sent["other_labels"]) == (["a"], ["b"])
    for text in ("until=soon", "x=y"):
        assert berth("network", "prune", "-f", "--filter", text)[0] == 2


def test_removal_reports_each_failure(daemon, berth):
    assert berth("rm", "nobody", "web") == (1, "web\n", "berth: /v1/sandboxes/nobody: not found\nberth: warning: its stack stays\n")
    assert berth("network", "rm", "nothing")[0] == 1
    assert berth("detach", "web")[0] == 1
    daemon.responses["GET /v1/sandboxes/web"] = WEB | {"adopted": True}
    assert berth("detach", "web")[0] == 0


def test_what_is_there_is_shown_before_what_is_not(daemon, berth):
    daemon.responses[f"GET /v1/sandboxes/{WEB['id']}?plugins=1"] = WEB
    for names in (("web", "nobody"), ("nobody", "web")):
        code, shown, said = berth("inspect", *names)
        assert (code, json.loads(shown)) == (1, [WEB])
        assert said == "berth: there is no sandbox and no network nobody; `berth ps` and `berth network ls` list them\n"
    assert berth("inspect", "nobody")[:2] == (1, "[]\n")
    assert berth("network", "inspect", "nothing")[:2] == (1, "[]\n")


def test_a_service_is_found_by_its_name(daemon, berth):
    daemon.responses[f"GET /v1/sandboxes/{WEB['id']}?plugins=1"] = WEB
    assert json.loads(berth("inspect", "shop")[1]) == [WEB]
    daemon.responses["GET /v1/sandboxes"] = [WEB, WEB | {"name": "web2"}]
    assert client.find_sandbox("shop")["name"] == "web"
    assert client.find_sandbox("shop", index=2)["name"] == "web2"
    with pytest.raises(Refused, match="service shop has 2 replicas, and no number 3"):
        client.find_sandbox("shop", index=3)
    daemon.responses["GET /v1/sandboxes?all=1"] = daemon.responses["GET /v1/sandboxes"]
    with pytest.raises(Refused, match="there is no service shop in project other"):
        client.find_sandbox("shop", project="other")
    other = WEB | {"name": "web2", "labels": {"berth.service": "shop", "berth.project": "other"}}
    daemon.responses["GET /v1/sandboxes?all=1"] = [WEB, other | {"run": {"state": "exited"}}]
    for command in ("top shop", "stats --no-stream shop", "port shop 80", "exec shop true"):
        words = command.split()
        said = berth(words[0], "--project", "other", *words[1:])[2]
        assert said == "berth: service shop of project other is stopped; `berth compose start shop` starts it\n", command
    daemon.responses["GET /v1/sandboxes"] = [WEB, other]
    with pytest.raises(Refused, match="shop is ambiguous: it can be web, web2"):
        client.find_sandbox("shop")
    assert client.find_sandbox("shop", project="other")["name"] == "web2"
    daemon.responses["GET /v1/sandboxes/broken"] = (500, {"error": {"kind": "kernel", "message": "no"}})
    with pytest.raises(Refused, match="no"):
        client.find_sandbox("broken")


def test_attach_sends_every_option(daemon, berth):
    daemon.responses["POST /v1/sandboxes"] = WEB
    code, shown, said = berth("attach", "--pid", "7", "--fd", "9", "--name", "web", "--network", "front", "--ip", "10.5.0.9", "-P", "--forward",
                              "-l", "a=b", "--sysctl", "net.x=1")  # fmt: skip
    assert (code, shown) == (0, WEB["id"] + "\n")
    assert "mind this" in said
    assert "are in /nonexistent/by-name/web" in said
    assert body(daemon, "POST /v1/sandboxes") == {
        "name": "web", "pid": 7, "fd": 9, "networks": [{"network": "front", "ip": "10.5.0.9"}], "publish_all": True, "forward": True,
        "labels": {"a": "b"}, "sysctls": ["net.x=1"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--name", "x"), "give --pid, --netns or --follow"),
        (("--name", "x", "--pid", "1", "ls"), "'ls' is not an option; attach starts no command"),
        (("--name", "x", "--pid", "1", "--ip", "10.0.0.1"), "--ip needs a --network"),
        (("--name", "x", "--pid", "one"), "pid must be a number"),
    ],
)
def test_attach_refuses(berth, arguments, text):
    code, _, said = berth("attach", *arguments)
    assert code == 2
    assert text in said


def test_run_names_the_sandbox_after_the_command(daemon, berth):
    daemon.responses["POST /v1/sandboxes?dry_run=1"] = {"steps": ["create link"], "warnings": ["mind this"]}
    assert berth("run", "--dry-run", "--", "/usr/bin/my_server", "-v") == (0, "create link\n", "berth: warning: mind this\n")
    sent = body(daemon, "POST /v1/sandboxes?dry_run=1")
    assert sent["name"].startswith("my-server-")
    assert sent["default_network"] is True
    assert berth("run", "--dry-run", "--", "___")[0] == 0
    assert body(daemon, "POST /v1/sandboxes?dry_run=1")["name"].startswith("run-")


@pytest.fixture
def handlers():
    """The signal handlers as they were before `run` or `exec` set its own."""
    numbers = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, START_NO_MORE)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_run_returns_the_exit_code_and_removes(daemon, berth, monkeypatch, handlers):
    daemon.responses["POST /v1/sandboxes"] = WEB
    started = {}
    monkeypatch.setattr(enter, "start", lambda sandbox, command, **more: started.update(more, command=command) or 4711)
    monkeypatch.setattr(enter, "wait", lambda pid: 3)
    code, _, said = berth("run", "-e", "A=1", "-w", "/tmp", "--name", "web", "--", "server")
    assert (code, started["command"], started["directory"].path, started["environment"]["A"]) == (3, ["server"], "/tmp", "1")
    assert "mind this" in said
    assert daemon.requests[-1][:2] == ("DELETE", f"/v1/sandboxes/{WEB['id']}?exit_code=3")
    daemon.responses[f"DELETE /v1/sandboxes/{WEB['id']}?exit_code=3"] = (500, {"error": {"kind": "kernel", "message": "stuck"}})
    assert "berth: warning: stuck" in berth("run", "server")[2]


def test_run_detached(daemon, berth, monkeypatch, handlers):
    daemon.responses |= {"POST /v1/sandboxes": WEB, f"PATCH /v1/sandboxes/{WEB['id']}": WEB}
    started = []
    monkeypatch.setattr(monitor, "start", lambda sandbox, process: started.append((sandbox["id"], process)))
    assert berth("run", "-d", "--rm", "--stop-timeout", "3", "--", "server")[:2] == (0, "web\n")
    ((identity, process),) = started
    assert (identity, body(daemon, "POST /v1/sandboxes")["process"]) == (WEB["id"], process)
    assert (process["command"], process["remove"], process["restart"], process["stop_timeout"]) == (["server"], True, "no", 3.0)


def test_the_daemon_is_told_how_a_command_in_the_foreground_is_to_end(daemon, berth, monkeypatch, handlers):
    path = f"/v1/sandboxes/{WEB['id']}"
    daemon.responses |= {"POST /v1/sandboxes": WEB, f"PATCH {path}": WEB, f"DELETE {path}?exit_code=0": {"warnings": []}}
    starts = []

    def start(sandbox, command, *, environment, directory, register, descriptors):
        starts.append(command)
        pid = os.fork()
        if pid == 0:
            os._exit(0 if len(starts) == 3 else 4)
        register(pid)
        return pid

    monkeypatch.setattr(enter, "start", start)
    assert berth("run", "--restart", "on-failure", "--stop-signal", "INT", "--", "server")[0] == 0
    process = body(daemon, "POST /v1/sandboxes")["process"]
    assert (process["restart"], process["stop_signal"], process["remove"]) == ("on-failure", "INT", True)
    assert starts == [["server"]] * 3
    told = [sent for method, _, sent in daemon.requests if method == "PATCH"]
    assert [sent.get("restarting") for sent in told] == [None, 4, None, 4, None]


@pytest.fixture
def restarting(daemon, handlers, monkeypatch):
    """What starts the command of `web` again, and the answers that the daemon gives to it in turn."""
    from resolver.cli import restarting

    monkeypatch.setattr(restarting, "_LOOK", 0.001)
    answers = []

    def call(method, path, body, *, autostart):
        assert autostart is False
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(restarting, "call", call)
    return restarting.Restarting(WEB["id"], "on-failure:2", 1), answers


def test_a_daemon_that_is_away_ends_or_can_not_now_ends_no_restarts(restarting):
    made, answers = restarting
    answers += [NoDaemon("none"), client.Unanswered(), Refused("too many", "busy"), Refused("full", "unavailable"), WEB]
    assert made.comes_again(1, 60.0)
    assert not answers
    # One restart is left of what another holder had: it was the second.
    assert not made.comes_again(1, 60.0)


@pytest.mark.parametrize("kind", ["not-found", "conflict"])
def test_a_sandbox_that_is_gone_ends_restarts(restarting, kind):
    made, answers = restarting
    answers.append(Refused("gone", kind))
    assert not made.comes_again(1, 60.0)


def test_what_can_not_be_said_of_the_end_is_refused(daemon, berth):
    for text in ("x", "nan", "inf"):
        assert f"--stop-timeout must be a number of seconds, not '{text}'" in berth("run", "-d", "--stop-timeout", text, "--", "server")[2]
    for detach in ([], ["-d"]):
        code, _, said = berth("run", *detach, "--rm", "--restart", "always", "--", "server")
        assert (code, daemon.requests) == (2, [])
        assert "cannot specify both --restart and --rm" in said


def test_command_that_can_not_start_leaves_no_sandbox(daemon, berth, monkeypatch, handlers):
    daemon.responses["POST /v1/sandboxes"] = WEB

    def fail(*_, **__):
        raise EnterFailed("127:server: command not found")

    monkeypatch.setattr(enter, "start", fail)
    code, _, said = berth("run", "server")
    assert code == 127
    assert "berth: server: command not found" in said
    assert daemon.requests[-1][0] == "DELETE"
    # A command that comes to nothing leaves no signal waiting.
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize(
    ("command", "instead"),
    [
        ("nginx:latest", "give a program, with its arguments"), ("ghcr.io/a/b:1 sh", "leave the image out: `{run} sh`"),
        ("library/nginx", "give a program, with its arguments"), ("redis redis-server", "leave the image out: `{run} redis-server`"),
        ("slep 5", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("detach", [(), ("-d",)])
def test_an_image_in_the_place_of_a_program_is_told_what_berth_runs(daemon, berth, monkeypatch, handlers, command, instead, detach):
    daemon.responses["POST /v1/sandboxes"] = WEB | {"warnings": []}
    name, *_ = command.split()

    def fail(*_, **__):
        raise EnterFailed(f"127:{name}: command not found")

    monkeypatch.setattr(enter, "start", fail)
    monkeypatch.setattr(monitor, "start", fail)
    told = (
        "" if instead is None else f"; berth runs programs of this host, not images: {instead.format(run=' '.join(('berth run', *detach)))}"
    )
    code, shown, said = berth("run", *detach, *command.split())
    assert (code, shown) == (127, "")
    assert f"berth: {name}: command not found{told}\n" in said
    assert daemon.requests[-1][0] == "DELETE"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("run",), 2, "a command is missing"),
        (("exec",), 2, "a sandbox and a command are missing"),
        (("exec", "web"), 2, "a command is missing"),
        (("exec", "nobody", "ls"), 125, "not found"),
        (("run", "--env-file", "/none", "ls"), 125, "--env-file /none: No such file or directory"),
        (("inspect", "nobody"), 1, "there is no sandbox and no network nobody; `berth ps` and `berth network ls` list them"),
        (("nothing",), 2, "there is no command berth nothing; see `berth --help`"),
    ],
)
def test_wrong_usage_and_refusals(daemon, berth, arguments, code, text):
    result, _, said = berth(*arguments)
    assert result == code
    assert text in said


def test_exec_joins_with_the_environment(daemon, berth, monkeypatch, tmp_path):
    (tmp_path / "env").write_text("# comment\n\nFROM=file\nHOME\nNONE_SUCH\n")
    daemon.responses["GET /v1/sandboxes/web"] = WEB | {"environment": {"HTTP_PROXY": "p"}}
    joined = {}
    monkeypatch.setattr(enter, "join", lambda sandbox, command, **more: joined.update(more, command=command) or 5)
    assert berth("exec", "--env-file", str(tmp_path / "env"), "-e", "FROM=option", "web", "--", "ls", "-l")[0] == 5
    assert joined["command"] == ["ls", "-l"]
    assert {name: joined["environment"].get(name) for name in ("FROM", "HTTP_PROXY", "NONE_SUCH")} == {
        "FROM": "option", "HTTP_PROXY": "p", "NONE_SUCH": None,
    }  # fmt: skip


def test_exec_as_another_user_detached_or_in_a_replica(daemon, berth, monkeypatch):
    replica = WEB | {"name": "shop-web-2", "labels": {"berth.service": "web", "berth.project": "shop"}}
    daemon.responses["GET /v1/sandboxes"] = [WEB | {"name": "shop-web-1", "labels": replica["labels"]}, replica]
    joined = {}
    monkeypatch.setattr(enter, "join", lambda sandbox, command, **more: joined.update(more, name=sandbox["name"]) or 0)
    assert berth("exec", "-d", "-u", "1234:5678", "--project", "shop", "--index", "2", "web", "ls")[0] == 0
    assert (joined["name"], joined["detached"], joined["given"].identity) == ("shop-web-2", True, Identity(1234, 5678))
    assert berth("exec", "-T", "-u", "root", "web", "ls")[0] == 0
    assert (joined["given"].identity.uid, joined["given"].identity.home, joined["environment"]["HOME"]) == (0, "/root", "/root")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            "exec -u nobody-such web ls",
            125,
            "--user nobody-such: the host has no user 'nobody-such'; give a name of /etc/passwd or a number",
        ),
        ("exec -u 0:groupless web ls", 125, "--user 0:groupless: the host has no group 'groupless'; give a name of /etc/group or a number"),
        ("exec --index x web ls", 2, "--index must be a number from 1 on, not 'x'; see `berth exec --help`"),
        ("exec --project shop dbb ls", 125, "there is no service dbb in project shop"),
        ("exec -t web ls", 2, "-t needs a terminal, and standard input is none; leave -t out; see `berth exec --help`"),
    ],
)
def test_exec_and_run_refuse(daemon, berth, monkeypatch, arguments, code, said):
    monkeypatch.setattr(run.os, "isatty", lambda _: False)
    result, shown, error = berth(*arguments.split())
    assert (result, shown, error.count("\n"), said in error) == (code, "", 1, True), error


def test_force_makes_what_is_gone_no_failure(daemon, berth):
    assert berth("rm", "-fv", "nobody", "web")[:2] == (0, "web\n")
    assert berth("network", "rm", "-f", "nothing")[0] == 0
    daemon.responses["DELETE /v1/networks/front"] = (409, {"error": {"kind": "conflict", "message": "front has active endpoints"}})
    assert berth("network", "rm", "-f", "front")[0] == 1


def test_version_of_command_and_daemon(daemon, berth):
    daemon.responses["GET /v1/status"] = {"version": "0.2.9", "pid": 7}
    assert berth("version")[1] == "command  berth 0.3.0\ndaemon   berth 0.2.9, pid 7\n"
    assert berth("version", "--format", "{{.Client.Version}} {{.Server.Version}}")[1] == "0.3.0 0.2.9\n"


def test_info_takes_templates(daemon, berth):
    daemon.responses |= {
        "GET /v1/status": {"version": "0.2.9", "pid": 7, "warnings": []},
        "GET /v1/sandboxes?all=1": [WEB, WEB | {"name": "old", "run": {"state": "exited"}}],
    }
    template = "{{.ServerVersion}} {{.Containers}} {{.ContainersRunning}} {{.ContainersStopped}} {{.OSType}} {{len .Warnings}} {{.pid}}"
    for words in (("info", "-f"), ("system", "info", "--format"), ("status", "--format")):
        assert berth(*words, template) == (0, "0.2.9 2 1 1 linux 0 7\n", "")
    assert "there is no field Driver; there are" in berth("info", "--format", "{{.Driver}}")[2]
    assert berth("info", "--format", "yaml")[0] == 2


def test_interruption_has_its_code():
    def interrupted():
        raise KeyboardInterrupt

    assert run.exit_code(interrupted) == 130


def test_responses_that_are_none(daemon):
    daemon.responses["GET /x"] = b"HTTP/1.0 nonsense\r\n\r\n"
    with pytest.raises(Refused, match="is no berth daemon"):
        client.call("GET", "/x")
    daemon.responses["GET /x"] = (503, {})
    with pytest.raises(Refused, match="the daemon answered 503"):
        client.call("GET", "/x")


def test_no_daemon(monkeypatch, tmp_path, berth):
    monkeypatch.setenv("BERTH_RUN_DIR", str(tmp_path))
    with pytest.raises(NoDaemon, match="no berth daemon answers"):
        client.call("GET", "/v1/status")
    assert berth("status")[0] == 1
    (tmp_path / "berth.sock").mkdir()
    with pytest.raises(Refused):
        client.connect(str(tmp_path / "berth.sock" / "x"))


def test_resolve_cache_status_and_nodes(daemon, berth):
    record = {"name": "web.", "ttl": 5, "type": "A", "data": "10.5.0.2"}
    daemon.responses["POST /v1/resolve"] = {
        "name": "web.",
        "type": "A",
        "rcode": "NOERROR",
        "records": [record],
        "explanation": ["because"],
    }
    assert berth("resolve", "web", "--from", "web", "--explain")[:2] == (0, "web.\t5\tA\t10.5.0.2\n  because\n")
    daemon.responses["POST /v1/resolve"] = {"name": "x.", "type": "A", "rcode": "NXDOMAIN", "records": [], "explanation": []}
    every = "berth: asked as somebody on every network; `--from SANDBOX` asks as a sandbox does\n"
    assert berth("resolve", "x") == (1, "x.\tA\tNXDOMAIN: no records\n", every)
    assert berth("resolve", "x", "--from", "web") == (1, "x.\tA\tNXDOMAIN: no records\n", "")
    entry = {"name": "a.", "type": "A", "flags": "", "rcode": "NOERROR", "ttl": 3, "stale": True, "hits": 2, "upstreams": ["10.0.0.1"]}
    daemon.responses["GET /v1/cache?limit=1&name=a"] = {"entries": [entry], "found": 3}
    _, shown, said = berth("cache", "ls", "--limit", "1", "a")
    assert shown.splitlines()[1].split() == ["a.", "A", "NOERROR", "stale", "2", "10.0.0.1"]
    assert said == "berth: 2 more; give a name, or --limit\n"
    daemon.responses["POST /v1/cache/flush"] = {"removed": 4}
    assert berth("cache", "flush")[1] == "4\n"
    upstream = {"address": "10.0.0.1", "namespace": "host", "state": "ok", "rtt_ms": 1.25}
    daemon.responses["GET /v1/status"] = {
        "version": "0.3.0", "pid": 7, "exits_when_idle": False, "uptime_seconds": 3.4, "firewall": "nftables", "guard": "lasting", "networks": 1, "sandboxes": 2, "queries": 3,
        "resolv_conf": "/etc/resolv.conf", "nameservers": [], "upstreams": [upstream], "warnings": ["ufw drops"],
    }  # fmt: skip
    assert berth("status")[1].splitlines()[2:] == [
        "nameservers of /etc/resolv.conf: none",
        "upstream 10.0.0.1 (host): ok, 1.2 ms",
        "warning: ufw drops",
    ]
    daemon.responses["GET /v1/status"]["spares"] = 1
    for words in (("status",), ("info",)):
        assert "1 namespace ready for sandboxes to come" in berth(*words)[1].splitlines()
        assert json.loads(berth(*words, "--format", "json")[1])["spares"] == 1
        assert berth(*words, "--format", "{{.spares}}")[1] == "1\n"
    daemon.responses["GET /v1/nodes"] = [{"id": "n" * 20, "name": "one", "address": "10.0.0.1", "endpoints": 2, "own": True}]
    assert berth("node", "ls")[1].splitlines()[1].split() == ["n" * 12, "one", "*", "10.0.0.1", "2"]


FINDING = {
    "object": "link", "name": "br-1", "problem": "is of no network", "remedy": "remove it", "treatments": ["remove"], "mended": False,
    "error": None,
}  # fmt: skip


def test_doctor(daemon, berth):
    daemon.responses["GET /v1/doctor"] = []
    assert berth("doctor") == (0, "0 problems\n", "")
    daemon.responses["GET /v1/doctor"] = [FINDING]
    code, shown, _ = berth("doctor")
    assert (code, shown.splitlines()) == (
        1,
        ["link br-1 is of no network", "    to mend it: remove it (berth doctor --remove does it)", "1 problem"],
    )
    assert json.loads(berth("doctor", "--format", "json")[1]) == [FINDING]
    daemon.responses["POST /v1/doctor"] = [FINDING | {"mended": True}, FINDING | {"name": "br-2", "error": "it is busy"}]
    code, shown, _ = berth("doctor", "--remove")
    assert body(daemon, "POST /v1/doctor") == {"treatment": "remove"}
    assert (code, shown.splitlines()[0], shown.splitlines()[-2:]) == (
        1,
        "mended: link br-1 is of no network",
        ["    failed: it is busy", "1 problem, 1 mended"],
    )
    assert "--fix and --adopt exclude each other" in berth("doctor", "--fix", "--adopt")[2]


EVENT = {
    "time": CREATED, "kind": "sandbox", "action": "remove", "name": "web", "network": None, "node": None, "id": "w" * 64,
    "cause": "command ended", "exit_code": 3,
}  # fmt: skip


def test_events(daemon, berth, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    connected = EVENT | {"kind": "endpoint", "action": "connect", "network": "front", "cause": None, "exit_code": None}
    lines = b"".join(json.dumps(event).encode() + b"\n" for event in (connected, EVENT))
    daemon.responses["GET /v1/events"] = b"HTTP/1.1 200 OK\r\n\r\n" + lines
    code, shown, said = berth("events")
    assert (code, "the daemon has ended, or" in said) == (1, True)
    assert shown.splitlines() == [
        f"2025-11-26T00:00:00.000+00:00 endpoint connect web id={'w' * 12} network=front",
        f"2025-11-26T00:00:00.000+00:00 sandbox remove web id={'w' * 12} cause=command-ended exit_code=3",
    ]
    assert [json.loads(line) for line in berth("events", "--format", "json")[1].splitlines()] == [connected, EVENT]
    shown = berth(
        "events", "-f", "type=container", "-f", "event=destroy", "--format", "{{.Type}} {{.Action}} {{.Actor.Attributes.exitCode}}"
    )[1]
    assert shown == "container destroy 3\n"
    connected |= {"network_id": "f" * 64}
    daemon.responses["GET /v1/events"] = b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(connected).encode() + b"\n"
    template = (
        '{{.Type}} {{.Actor.ID}} {{.Actor.Attributes.name}} {{.Actor.Attributes.container}} {{.ID}} [{{index .Actor.Attributes "x"}}]'
    )
    assert berth("events", "--format", template)[1] == f"network {'f' * 64} front {'w' * 64} {'f' * 64} []\n"
    assert len(berth("events", "-f", "type=network", "-f", "network=ffff")[1].splitlines()) == 1
    assert not berth("events", "-f", "network=fffe")[1]
    daemon.responses["GET /v1/events"] = b"HTTP/1.1 200 OK\r\n\r\n" + lines
    for text, number in (("network=front", 1), ("sandbox=web", 2), ("id=wwww", 2), ("cause=command-ended", 1), ("event=create", 0)):
        assert len(berth("events", "--filter", text)[1].splitlines()) == number, text
    assert berth("events", "--filter", "image=x")[2] == "berth: --filter image=x: there are no images; see `berth events --help`\n"


def test_events_of_the_past(daemon, berth):
    daemon.responses["GET /v1/events?since=1764115200.000&until=1764115201.500"] = b"HTTP/1.1 200 OK\r\n\r\n"
    assert berth("events", "--since", "2025-11-26T00:00:00+00:00", "--until", "1764115201.5") == (0, "", "")
    daemon.responses["GET /v1/events?until=99999999999.000"] = b"HTTP/1.1 200 OK\r\n\r\n"
    assert berth("events", "--until", "99999999999")[0] == 1
    assert "--since soon: it should be like 24h" in berth("events", "--since", "soon")[2]


def test_wait_asks_once_for_a_sandbox_that_is_gone(daemon, berth, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: CREATED)
    past = f"/v1/events?since=0&until={CREATED:.3f}"
    lines = b"".join(json.dumps(event).encode() + b"\n" for event in (EVENT | {"exit_code": 1}, EVENT | {"name": "job"}))
    daemon.responses[f"GET {past}"] = b"HTTP/1.1 200 OK\r\n\r\n" + lines
    assert berth("wait", "job") == (0, "3\n", "")
    assert [path for _, path, _ in daemon.requests].count(past) == 1
    code, _, said = berth("wait", "nobody")
    assert (code, "not found" in said) == (1, True)


@pytest.mark.parametrize("state", ["exited", "running"])
def test_logs_that_are_followed_begin_with_as_many_lines_as_those_that_are_not(daemon, berth, monkeypatch, tmp_path, state):
    log = OutputLog(str(tmp_path))
    log.write("stdout", b"a\nb\nlast")
    log.flush("stdout")
    log.close()
    web = WEB | {"run": {"state": state, "output": str(tmp_path / "output.log")}}
    daemon.responses["GET /v1/sandboxes/web"] = web
    daemon.responses[f"GET /v1/sandboxes/{WEB['id']}"] = web | {"run": web["run"] | {"state": "exited"}}
    for number, lines in ((0, ""), (1, "last"), (2, "b\nlast"), (9, "a\nb\nlast")):
        assert berth("logs", "-n", str(number), "web")[1] == lines
        if number or state == "exited":
            assert berth("logs", "-f", "-n", str(number), "web")[1] == lines


def test_completion_is_printed_and_installed(berth, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    code, script, _ = berth("completion", "bash")
    assert code == 0
    path = tmp_path / "bash-completion" / "completions" / "berth"
    assert berth("completion", "--install", "bash")[:2] == (0, f"{path}\n")
    assert path.read_text() == script
    assert f"fpath=({tmp_path}/zsh/site-functions $fpath)" in berth("completion", "--install", "zsh")[2]
    path.unlink()
    monkeypatch.setenv("SHELL", "/usr/bin/bash")
    assert berth("completion")[:2] == (0, f"{path}\n")
    assert path.read_text() == script
    monkeypatch.setenv("SHELL", "/bin/ash")
    assert berth("completion")[2] == "berth: $SHELL is ash; name one of bash, fish, zsh; see `berth completion --help`\n"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    assert berth("completion", "--install", "bash")[0] == 1


def test_check_config(berth, tmp_path):
    (tmp_path / "berth.toml").write_text('suffix = "my.lab"\n')
    assert 'suffix = "my.lab"  #' in berth("daemon", "--check-config", "--config", str(tmp_path / "berth.toml"))[1]
    (tmp_path / "berth.toml").write_text("colour = 1\n")
    code, _, said = berth("daemon", "--config", str(tmp_path / "berth.toml"))
    assert code == 1
    assert "colour" in said


def test_control_characters_never_reach_the_terminal(daemon, berth):
    daemon.responses["GET /v1/sandboxes"] = [WEB | {"addresses": ["\x1b[2J"]}]
    daemon.responses["POST /v1/networks"] = (400, {"error": {"kind": "invalid", "message": "bad\x1b[31m\rname"}})
    daemon.responses["POST /v1/resolve"] = {
        "name": "x.", "type": "TXT", "rcode": "NOERROR", "explanation": ["\x1b]0;t\x07"],
        "records": [{"name": "x.", "ttl": 5, "type": "TXT", "data": "\x1b[1A"}],
    }  # fmt: skip
    for arguments in (("ps",), ("network", "create", "x"), ("resolve", "x", "--explain"), ("inspect", "\x1b[2J"), ("\x1b[2J",)):
        _, shown, said = berth(*arguments)
        assert "\x1b" not in shown + said
        assert "\r" not in shown + said
        assert "\\x1b" in shown + said or arguments[0] == "inspect"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("stauts", "berth: there is no command berth stauts; did you mean status?; see `berth --help`\n"),
        ("netwrok ls", "berth: there is no command berth netwrok; did you mean network?; see `berth --help`\n"),
        ("conatiner ls", "berth: there is no command berth conatiner; did you mean container?; see `berth --help`\n"),
        ("container lss", "berth: there is no command berth container lss; did you mean ls?; see `berth --help`\n"),
        ("network lst", "berth: there is no command berth network lst; did you mean ls?; see `berth network --help`\n"),
        ("frob", "berth: there is no command berth frob; see `berth --help`\n"),
    ],
)
def test_a_word_that_nobody_knows_is_answered_in_a_line(berth, words, told):
    assert berth(*words.split()) == (2, "", told)


@pytest.mark.parametrize("word", sorted(docker_words.ANSWERS))
def test_docker_commands_that_have_no_sense_here_are_answered_in_a_line(berth, word):
    for arguments in ([word], ["container", word]):
        assert berth(*arguments) == (2, "", f"berth: {word}: {docker_words.ANSWERS[word]}\n")


COMPOSE_COMMANDS = (
    "attach build commit config cp create down events exec export images kill logs ls pause port ps publish pull push restart rm run scale "
    "start stats stop top unpause up version volumes wait watch"
)
"""Those of Docker Compose 2.40; `config` is a command of berth's own."""


@pytest.mark.parametrize("word", COMPOSE_COMMANDS.split())
def test_every_command_of_compose_is_there_or_answered(berth, word):
    code, shown, said = berth("compose", word, "--help")
    if word in compose_command.COMMANDS:
        assert code == 0 or word == "config"
    else:
        assert (code, shown, said) == (2, "", f"berth: compose {word}: {docker_words.COMPOSE_ANSWERS[word]}\n")


def test_node_ls_and_status_count(daemon, berth):
    daemon.responses["GET /v1/status"] = {
        "version": "0.3.0", "pid": 7, "exits_when_idle": True, "uptime_seconds": 3.4, "firewall": "nftables", "guard": "lasting", "networks": 2, "sandboxes": 1,
        "queries": 1, "resolv_conf": "/etc/resolv.conf", "nameservers": [], "upstreams": [], "warnings": [],
    }  # fmt: skip
    shown = berth("status")[1]
    assert "2 networks, 1 sandbox, 1 query answered" in shown
    assert "it ends when nothing needs it, or with `berth daemon stop`" in shown


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_the_caller_has_closed(closed, tmp_path):
    program = "import os, sys; from resolver import cli; sys.argv = ['berth', '--version']; cli.main(); sys.stderr.flush(); sys.exit(os.open('/', 0))"
    done = subprocess.run(["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, program], capture_output=True, text=True, check=False)
    assert done.returncode > 2, "the descriptor of a file is none of a standard stream's"
    assert "Traceback" not in done.stderr
