"""What scripts rely on: JSON of every command that reports something, and the same exit codes in the help and in the book."""

import json
import re
from pathlib import Path

import pytest

from resolver.cli import compose_options, line_formats, proc
from resolver.cli.commands import host_dns, processes, upgrade
from resolver.cli.output_lines import Line
from resolver.cli.reference.tree import HELP_SECTIONS, tree
from tests.unit.resolver.test_command_line import CREATED, EVENT, FRONT, WEB, berth, daemon  # noqa: F401 (fixtures)
from tests.unit.resolver.test_lists import SHOP

ROOT = Path(__file__).parents[3]
NO_REPORT = {
    "the output of a command, or one id": {"run", "exec", "compose run"},
    "nothing but warnings": {"rename", "detach", "backup", "restore", "daemon"},
    "a shell, or what is written to a file and its path": {
        "unshare",
        "completion",
        "service install",
        "service uninstall",
        "systemd-dropin",
    },
}
"""Commands without JSON, by what they print."""


def leaves(command):
    return [leaf for each in command.commands for leaf in leaves(each)] if command.commands else [command]


def has_json(command):
    option = command.option("--format")
    return option is not None and (not option.choices or "json" in option.choices)


def test_every_command_that_reports_something_has_json():
    named = {command.path.removeprefix("berth "): has_json(command) for command in leaves(tree())}
    assert {name for name, it_has in named.items() if not it_has} == set().union(*NO_REPORT.values())


def test_exit_codes_are_the_same_in_the_help_and_in_the_book():
    section = (ROOT / "docs" / "tour.md").read_text().partition("## Exit codes\n")[2].partition("\n## ")[0]
    in_book = [code for code in re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE) if code not in ("Code", "---")]
    [in_help] = [section for section in HELP_SECTIONS if section.title == "Exit status"]
    assert in_book == [code for code, _ in in_help.rows]


def test_published_ports(daemon, berth):  # noqa: F811
    daemon.responses["GET /v1/sandboxes/web"] = SHOP
    published = {
        (port["host_address"], port["host_port"], port["sandbox_port"]) for port in json.loads(berth("port", "web", "--format", "json")[1])
    }
    assert published == {("0.0.0.0", 8080, 80), ("::", 8080, 80), ("127.0.0.1", 53, 53)}
    assert [port["protocol"] for port in json.loads(berth("port", "web", "53/udp", "--format", "json")[1])] == ["udp"]
    code, told, said = berth("port", "web", "99", "--format", "json")
    assert (code, told, "does not publish 99" in said) == (1, "", True)


def test_processes(daemon, berth, monkeypatch):  # noqa: F811
    monkeypatch.setattr(processes, "check_runs", lambda sandbox: None)
    monkeypatch.setattr(proc, "members", lambda sandboxes: [[7] for _ in sandboxes])
    monkeypatch.setattr(proc, "process", lambda pid: proc.Process("root", pid, 1, 2.5, "sleep 60"))
    [told] = json.loads(berth("top", "web", "--format", "json")[1])
    assert (told["id"], told["name"]) == (WEB["id"], "web")
    assert told["processes"] == [{"user": "root", "pid": 7, "parent": 1, "seconds": 2.5, "command": "sleep 60"}]
    code, _, said = berth("top", "web", "-ef", "--format", "json")
    assert (code, "exclude each other" in said) == (2, True)


def test_another_format_of_top_is_that_of_ps(daemon, berth, monkeypatch):  # noqa: F811
    given = []
    monkeypatch.setattr(processes, "check_runs", lambda sandbox: None)
    monkeypatch.setattr(proc, "members", lambda sandboxes: [[7] for _ in sandboxes])
    monkeypatch.setattr(processes.ps_program, "listed", lambda options, pids: given.append((options, pids)) or ["PID"])
    assert berth("top", "web", "--format", "pid,args")[:2] == (0, "PID\n")
    assert given == [(("--format", "pid,args"), [7])]


def test_exit_codes_that_were_waited_for(daemon, berth, monkeypatch):  # noqa: F811
    monkeypatch.setattr(processes.time, "time", lambda: CREATED)
    ended = EVENT | {"name": "job", "exit_code": 3}
    daemon.responses[f"GET /v1/events?since=0&until={CREATED:.3f}"] = b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(ended).encode() + b"\n"
    code, told, said = berth("wait", "job", "nobody", "--format", "json")
    assert json.loads(told) == [{"id": EVENT["id"], "name": "job", "exit_code": 3}]
    assert (code, "not found" in said) == (1, True)


def test_removed_records(daemon, berth):  # noqa: F811
    removed = [{"name": "www", "ttl": 60, "type": "A", "data": "192.0.2.1"}]
    daemon.responses["DELETE /v1/networks/front/records?name=www"] = removed
    assert json.loads(berth("network", "record", "remove", "front", "www", "--format", "json")[1]) == removed


def test_flushed_responses(daemon, berth):  # noqa: F811
    daemon.responses["POST /v1/cache/flush"] = {"removed": 4}
    assert json.loads(berth("cache", "flush", "--format", "json")[1]) == {"removed": 4}


@pytest.mark.parametrize(
    "arguments", [("add", "web", "a.test"), ("remove", "web", "b.test"), ("set", "web", "a.test"), ("set", "web", "--inherit")]
)
@pytest.mark.parametrize("rules", [["a.test"], [], None])
def test_changed_egress_rules(daemon, berth, arguments, rules):  # noqa: F811
    daemon.responses[f"PATCH /v1/sandboxes/{WEB['id']}"] = WEB | {"egress": rules}
    code, told, _ = berth("egress", *arguments, "--format", "json")
    assert (code, json.loads(told)) == (0, rules)


@pytest.mark.parametrize(("is_obstacle", "code"), [(False, 0), (True, 1)])
def test_what_a_restart_would_do(berth, monkeypatch, tmp_path, is_obstacle, code):  # noqa: F811
    monkeypatch.setattr(upgrade, "_findings", lambda config: iter([("this berth: 1", False), ("state: new", is_obstacle)]))
    (tmp_path / "c.toml").write_text("")
    done, told, _ = berth("upgrade", "--check", "--config", str(tmp_path / "c.toml"), "--format", "json")
    assert done == code
    findings = [{"text": "this berth: 1", "obstacle": False}, {"text": "state: new", "obstacle": is_obstacle}]
    assert json.loads(told) == {"may_restart": not is_obstacle, "findings": findings}


def test_a_host_where_nothing_is_set_up(berth, monkeypatch, tmp_path):  # noqa: F811
    (tmp_path / "c.toml").write_text('host_listen = "127.0.0.153:53"\n')
    seen = {"address": "127.0.0.153", "port": 53, "answers": True}
    monkeypatch.setattr(host_dns, "_look_at_daemon", lambda config: seen)
    code, told, _ = berth("host-dns", "status", "--root", str(tmp_path), "--config", str(tmp_path / "c.toml"), "--format", "json")
    said = json.loads(told)
    assert (code, said["works"], said["set_up"], said["daemon"]) == (1, False, [], seen)
    assert (said["programs_ask"] is None) != (said["programs_ask_unknown"] is None)


def test_networks_and_sandboxes(daemon, berth):  # noqa: F811
    told = json.loads(berth("graph", "--format", "json")[1])
    assert [(kind, [each["id"] for each in listed]) for kind, listed in told.items()] == [
        ("networks", [FRONT["id"]]),
        ("sandboxes", [WEB["id"]]),
    ]


PLAN = {"steps": ["add veth web"], "warnings": []}


def test_what_was_removed_and_what_could_not_be(daemon, berth):  # noqa: F811
    code, told, said = berth("rm", "web", "nobody", "--format", "json")
    assert (code, json.loads(told)) == (1, [{"name": "web", "id": WEB["id"]}])
    assert "nobody" in said
    daemon.responses["DELETE /v1/networks/front"] = {"warnings": []}
    assert json.loads(berth("network", "rm", "front", "--format", "json")[1]) == [{"name": "front"}]
    code, told, said = berth("network", "rm", "nowhere", "--format", "json")
    assert (code, json.loads(told), "nowhere" in said) == (1, [], True)


def test_steps_of_a_dry_run(daemon, berth):  # noqa: F811
    daemon.responses |= {
        f"DELETE /v1/sandboxes/{WEB['id']}?dry_run=1": PLAN,
        "POST /v1/networks?dry_run=1": PLAN,
        "POST /v1/sandboxes?dry_run=1": PLAN,
        "POST /v1/networks/front/connect?dry_run=1": PLAN,
    }
    assert json.loads(berth("rm", "web", "--dry-run", "--format", "json")[1]) == [{"name": "web", **PLAN}]
    for words in (
        ("network", "create", "front"),
        ("network", "connect", "front", "web"),
        ("sandbox", "create", "box"),
        ("attach", "--name", "web", "--pid", "7"),
    ):
        assert json.loads(berth(*words, "--dry-run", "--format", "json")[1]) == PLAN, words


def test_what_was_made(daemon, berth):  # noqa: F811
    daemon.responses |= {"POST /v1/networks": FRONT | {"warnings": []}, "POST /v1/sandboxes": WEB | {"warnings": ["old"]}}
    for words, made in (
        (("network", "create", "front"), FRONT),
        (("sandbox", "create", "web"), WEB),
        (("attach", "--name", "web", "--pid", "7"), WEB),
    ):
        code, told, _ = berth(*words, "--format", "json")
        assert (code, json.loads(told)["id"]) == (0, made["id"]), words
    assert json.loads(berth("attach", "--name", "web", "--pid", "7", "--format=json")[1])["warnings"] == ["old"]
    code, _, said = berth("attach", "--name", "web", "--pid", "7", "--format", "yaml")
    assert (code, "it should be table or json" in said) == (2, True)


def test_what_was_pruned(daemon, berth):  # noqa: F811
    daemon.responses |= {"POST /v1/sandboxes/prune": {"removed": ["job"]}, "POST /v1/networks/prune": {"removed": ["back"]}}
    pruned = [{"name": "job", "object": "sandbox"}, {"name": "back", "object": "network"}]
    assert json.loads(berth("prune", "-f", "--networks", "--format", "json")[1]) == pruned
    assert json.loads(berth("network", "prune", "-f", "--format", "json")[1]) == [{"name": "back"}]


def test_what_was_stopped_and_signalled(daemon, berth, monkeypatch):  # noqa: F811
    monkeypatch.setattr(processes, "send_signal", lambda sandbox, number: None)
    daemon.responses[f"POST /v1/sandboxes/{WEB['id']}/stop"] = {}
    for words in (("stop", "web"), ("kill", "web")):
        assert json.loads(berth(*words, "--format", "json")[1]) == [{"name": "web", "id": WEB["id"]}], words


def test_an_attached_start_has_no_json(daemon, berth):  # noqa: F811
    code, _, said = berth("start", "-a", "web", "--format", "json")
    assert (code, "can't go with -a" in said) == (2, True)


def test_lines_of_output(capsys):
    write = line_formats.as_json("web")
    for line in (Line("2026-11-27T12:00:00.5Z", "stdout", b"one\n"), Line("2026-11-27T12:00:01Z", "stderr", b'\xff"\x1b')):
        write(line)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"sandbox": "web", "time": "2026-11-27T12:00:00.5Z", "stream": "stdout", "text": "one"},
        {"sandbox": "web", "time": "2026-11-27T12:00:01Z", "stream": "stderr", "text": '\ufffd"\x1b'},
    ]


def test_changes_of_the_hosts_name_server(berth, tmp_path):  # noqa: F811
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    (tmp_path / "c.toml").write_text("")
    enable = ("host-dns", "enable", "--hosts", "--root", str(tmp_path), "--config", str(tmp_path / "c.toml"), "--format", "json")
    (change,) = json.loads(berth(*enable, "--dry-run")[1])
    assert (change["change"], change["file"]) == ("add to", "/etc/hosts")
    assert json.loads(berth(*enable)[1]) == [change]
    disable = ("host-dns", "disable", "--root", str(tmp_path), "--format", "json")
    assert json.loads(berth(*disable)[1]) == [{"change": "take back", "file": "/etc/hosts"}]
    assert json.loads(berth(*disable)[1]) == []


COMPOSE = "name: shop\nservices:\n  web: {command: [sleep, '60']}\n"


def test_a_project(daemon, berth, tmp_path, monkeypatch):  # noqa: F811
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    monkeypatch.chdir(tmp_path)
    member = WEB | {"name": "shop-web-1", "labels": {"berth.project": "shop", "berth.service": "web"}}
    daemon.responses |= {"GET /v1/sandboxes?all=1": [member], "GET /v1/networks": []}
    planned = json.loads(berth("up", "--dry-run", "--format", "json")[1])
    assert planned["steps"]
    assert planned == json.loads(berth("compose", "up", "--dry-run", "--format", "json")[1])
    assert json.loads(berth("down", "--dry-run", "--format", "json")[1])["steps"] == ["shop-web-1 is removed"]
    code, _, said = berth("up", "--format", "json")
    assert (code, "needs -d, --wait or --dry-run" in said) == (2, True)


def test_compose_hands_the_format_on():
    for name in ("up", "down", "logs", "stop", "start", "restart", "kill", "rm", "wait", "port", "top", "scale", "ps", "ls", "stats"):
        assert compose_options.read(name, ["--format", "json", "web"]).operands == ("web",), name
