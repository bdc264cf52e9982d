"""`ps`, `network ls`, `compose ls`, `compose ps`: filters, Docker's fields, and what they say to mistakes."""

import json
import os

import pytest

from resolver.cli import age, compose_command, docker_inspect, proc, terminal, traffic
from resolver.cli.docker_words import translated
from resolver.cli.sandbox_fields import docker_fields
from resolver.cli.topology import picture
from tests.support.habits import rows, typed
from tests.unit.resolver.test_command_line import CREATED, FRONT, WEB, berth, daemon  # noqa: F401 (fixtures)

PORTS = [
    {"protocol": "tcp", "host_address": "0.0.0.0", "host_port": 8080, "sandbox_port": 80},
    {"protocol": "tcp", "host_address": "::", "host_port": 8080, "sandbox_port": 80},
    {"protocol": "udp", "host_address": "127.0.0.1", "host_port": 53, "sandbox_port": 53},
    {"protocol": "tcp", "host_address": "0.0.0.0", "host_port": 0, "sandbox_port": 443},
]
ENDPOINT = {
    "id": "e" * 64, "gateway_addresses": ["10.5.0.1", "fd00::1"], "network": "front", "network_id": "f" * 64, "ifname": "eth0", "host_ifname": "", "mac": "02:42:0a:05:00:02", "addresses": ["10.5.0.2/24", "fd00::2/64"],
    "names": ["web", "shop", "w" * 12], "gateway_priority": 0, "ports": PORTS,
}  # fmt: skip
SHOP = WEB | {
    "endpoints": [ENDPOINT], "leader": {"pid": 1 << 30, "start_time": 1}, "hostname": "h", "domainname": "", "files": "/run/x",
    "labels": {"berth.service": "web", "berth.project": "shop", "team": "a"},
}  # fmt: skip
LATER = SHOP | {
    "id": "x" * 64,
    "name": "api",
    "created": CREATED + 60,
    "labels": {"berth.service": "api", "berth.project": "shop"},
    "endpoints": [],
}
ALONE = WEB | {"id": "y" * 64, "name": "alone", "created": CREATED + 120, "labels": {}, "stack": "none", "networks": [], "endpoints": []}
OLD = WEB | {
    "id": "z" * 64, "name": "old", "created": CREATED - 60, "labels": {}, "networks": ["front"], "addresses": [], "endpoints": [], "leader": None,
    "run": {"state": "exited", "command": ["sleep", "5"], "exit_code": 3, "started": CREATED - 60, "ended": CREATED - 75, "restarts": 0,
            "restart": "no", "output": "/x/output.log"},
}  # fmt: skip
FRONT = FRONT | {"options": {}, "ipam_driver": "default", "members": [
    {"sandbox": "web", "sandbox_id": "w" * 64, "addresses": ["10.5.0.2"], "mac": "02:42:0a:05:00:02", "node": ""}],
    "pools": [{"subnet": "10.5.0.0/24", "ip_range": None, "gateway": "10.5.0.1", "auxiliary": {}}]}  # fmt: skip


@pytest.fixture(autouse=True)
def things(daemon):  # noqa: F811
    daemon.responses |= {
        "GET /v1/sandboxes": [SHOP, LATER, ALONE], "GET /v1/sandboxes?all=1": [SHOP, LATER, ALONE, OLD], "GET /v1/networks": [FRONT, FRONT | {"name": "back", "id": "b" * 64, "labels": {}}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ("name=^a", "api alone"), ("name=/web", "web"), ("name=web name=api", "web api"), ("id=wwww", "web"), ("network=front", "web"),
        (f"network={'f' * 12}", "web"), ("network=none", "alone"), ("label=team", "web"), ("label=team=b", ""), ("label=team label=none", ""),
        ("label=com.docker.compose.project=shop", "web api"), ("status=running", "web api"), ("status=created", "alone"),
        ("status=exited", "old"), ("exited=3", "old"), ("exited=4", ""), ("publish=8080", "web"), ("publish=8000-9000/tcp", "web"), ("publish=8080/udp", ""), ("expose=443", "web"),
        ("before=api", "web old"), ("since=web", "api alone"), ("since=web label=berth.service", "api"),
    ],
)  # fmt: skip
def test_filters(berth, filters, names):  # noqa: F811
    given = [word for text in filters.split() for word in ("-f", text)]
    assert berth("ps", *given, "--format", "{{.Names}}")[1].split() == names.split()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "ps -f nam=web",
            "--filter nam=web: 'nam' is not one of id, name, label, status, health, network, publish, expose, exited, before, since; did you mean name?",
        ),
        ("ps -f ancestor=nginx", "--filter ancestor=nginx: sandboxes have no images"),
        ("ps -f status=paused2", "--filter status=paused2: it is one of running, created, waiting, adopted, exited, restarting, ended"),
        ("ps -f publish=http", "port 'http': it should be like 80, 80/udp or 8000-8010"),
        ("ps -f before=nobody", "there is no sandbox nobody"),
        ("ps -f name=[", "--filter name=[: unterminated character set at position 0"),
        ("ps --format yaml", "--format yaml: it is table, json or a template such as '{{.ID}}'"),
        ("ps --format {{.Nams}}", "--format: there is no field Nams; did you mean Names?; there are ID, Names"),
        ("ps --format {{.Names", "--format: a {{ has no }}"),
        ("ps -n 0", "--last 0: it should be a number from 1 on"),
        ("ps web", "'web' is not an option; --filter name=web shows sandboxes by name"),
        ("network ls -f internal=perhaps", "'perhaps' is neither true nor false"),
        ("network ls front", "'front' is not an option"),
        ("compose -p shop ps db", "there is no service db in project shop; there are api, web"),
        ("compose --ansi red ps", "--ansi red: it should be one of auto, never, always"),
        ("compose --anis never ps", "compose --anis: there is no option --anis before the command; did you mean --ansi?"),
    ],
)
def test_mistakes_are_told_in_a_line(berth, arguments, said):  # noqa: F811
    code, shown, error = berth(*arguments.split())
    assert (code in (1, 2), shown, error.count("\n")) == (True, "", 1)
    assert said in error


def test_templates_have_the_fields_of_docker(berth):  # noqa: F811
    shown = berth("ps", "-f", "name=web", "--format", '{{.ID}}|{{.Ports}}|{{.State}}|{{.Networks}}|{{.Label "team"}}|{{.CreatedAt}}')[1]
    assert shown == f"{'w' * 12}|0.0.0.0:8080->80/tcp, 127.0.0.1:53->53/udp, 443/tcp|running|front|a|2025-11-26 00:00:00 +0000 UTC\n"
    assert berth("ps", "-l", "--format", "table {{.ID}}\\t{{.Names}}")[1].splitlines() == ["SANDBOX ID    NAMES", f"{'y' * 12}  alone"]
    assert set(json.loads(berth("ps", "-l", "--format", "{{json .}}")[1])) >= {
        "ID", "Image", "Command", "CreatedAt", "RunningFor", "Ports", "State", "Status", "Size", "Names", "Labels", "Mounts", "Networks",
    }  # fmt: skip
    assert (
        berth("network", "ls", "--format", "{{.Name}} {{.Driver}} {{.IPv6}} {{.Internal}}")[1]
        == "front bridge false true\nback bridge false true\n"
    )
    assert berth("network", "ls", "-q", "--no-trunc", "-f", "label=team")[1] == "f" * 64 + "\n"
    assert berth("ps", "-q", "-f", "name=web")[1] == "w" * 12 + "\n"


def test_projects(berth, daemon):  # noqa: F811
    assert berth("compose", "ls")[1].splitlines() == ["NAME  STATUS      NETWORKS", "shop  running(2)"]
    assert berth("compose", "ls", "-q")[1] == "shop\n"
    stopped = {"run": {"state": "exited", "exit_code": 0}, "labels": {"berth.project": "old"}}
    networks = daemon.responses["GET /v1/networks"]
    daemon.responses |= {
        "GET /v1/sandboxes?all=1": [*daemon.responses["GET /v1/sandboxes"], WEB | stopped],
        "GET /v1/networks": [*networks, FRONT | {"name": "old_default", "labels": {"berth.project": "old"}}],
    }
    assert berth("compose", "ls", "-q")[1] == "shop\n"
    assert berth("compose", "ls", "-a")[1].splitlines()[1].split() == ["old", "exited(1)", "old_default"]
    daemon.responses["GET /v1/sandboxes?all=1"] = daemon.responses["GET /v1/sandboxes"]
    assert "old   no sandboxes" in berth("compose", "ls")[1]
    daemon.responses["GET /v1/networks"] = networks
    assert berth("compose", "-p", "shop", "ps", "--services")[1] == "web\napi\n"
    assert berth("compose", "-p", "shop", "ps", "-q", "web", "--no-trunc")[1] == "w" * 64 + "\n"
    assert berth("compose", "-p", "shop", "ps", "--status", "created")[1].count("\n") == 1
    assert berth("compose", "-p", "shop", "port", "web", "80")[1] == "0.0.0.0:8080\n[::]:8080\n"


@pytest.fixture
def file(monkeypatch, tmp_path):
    """A Compose file of the project, in the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compose.yaml").write_text("name: down\nservices: {db: {command: x}, debug: {command: x, profiles: [d]}}\n")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("ps -q", ""), ("ps --services db", ""), ("logs", ""), ("logs db", ""), ("stop", ""), ("stop debug", ""), ("restart", ""), ("rm -f", ""),
        ("kill", ""), ("top", ""), ("down", ""), ("ls -q", "shop\n"),
    ],
)  # fmt: skip
def test_commands_on_a_project_that_is_not_up_do_nothing(berth, file, words, shown):  # noqa: F811
    assert berth("compose", *words.split())[:2] == (0, shown)


@pytest.mark.parametrize(
    "words", ["exec db true", "port db 80", "start", "start db", "wait", "stop nope", "ps nope", "logs nope", "down nope"]
)
def test_commands_that_need_something_that_is_up(berth, file, words):  # noqa: F811
    code, shown, said = berth("compose", *words.split())
    assert (code, shown, said.count("\n")) == (1, "", 1)
    assert ("there is no service nope in project down; there are db, debug" in said) == words.endswith("nope")


def test_fields_of_compose(berth, daemon):  # noqa: F811
    daemon.responses["GET /v1/sandboxes?all=1"][-1]["labels"] = {"berth.project": "shop", "berth.service": "old"}
    form = "{{.Name}} {{.Service}} {{.State}} {{.Health}} {{.ExitCode}} {{.Created}} {{.Project}}{{range .Publishers}} {{.URL}}:{{.PublishedPort}}/{{.Protocol}}{{end}}"
    rows = berth("compose", "-p", "shop", "ps", "-a", "--format", form)[1].splitlines()
    assert rows[0] == f"web web running  0 {int(CREATED)} shop 0.0.0.0:8080/tcp :::8080/tcp 127.0.0.1:53/udp :0/tcp"
    assert rows[2] == f"old old exited  3 {int(CREATED) - 60} shop"
    assert berth("compose", "-p", "shop", "ps", "--format", "{{json .Publishers}}", "web")[1].startswith(
        '[{"URL":"0.0.0.0","TargetPort":80,"PublishedPort":8080,"Protocol":"tcp"}'
    )


def test_orphans_are_left_out_on_request(berth, file, daemon):  # noqa: F811
    rows = ("-p", "shop", "ps", "--format", "{{.Service}}")
    assert berth("compose", *rows)[1].split() == ["web", "api"]
    assert berth("compose", *rows, "--orphans=false")[1].split() == []
    assert berth("compose", "-p", "shop", "version", "--short")[1].count("\n") == 1


def test_inspect_knows_networks_and_docker_fields(berth, daemon):  # noqa: F811
    daemon.responses |= {"GET /v1/sandboxes/web": SHOP, f"GET /v1/sandboxes/{WEB['id']}?plugins=1": SHOP, "GET /v1/networks/front": FRONT}
    template = (
        "{{.Name}} {{.State.Running}} {{.NetworkSettings.IPAddress}} {{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}"
    )
    assert berth("inspect", "-f", template, "web")[1] == "/web true 10.5.0.2 fd00::2\n"
    assert berth("inspect", "-f", "{{json .NetworkSettings.Ports}} {{.name}}", "web")[1] == (
        '{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::","HostPort":"8080"}],'
        '"53/udp":[{"HostIp":"127.0.0.1","HostPort":"53"}],"443/tcp":null} web\n'
    )
    assert json.loads(berth("inspect", "front")[1]) == [FRONT]
    assert (
        berth("network", "inspect", "-f", "{{range .IPAM.Config}}{{.Gateway}}{{end}} {{range .Containers}}{{.Name}}{{end}}", "front")[1]
        == "10.5.0.1 web\n"
    )
    assert berth("inspect", "--type", "network", "web")[0] == 1
    assert berth("port", "web")[1].splitlines() == ["80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080", "53/udp -> 127.0.0.1:53"]
    assert berth("port", "web", "81")[2] == "berth: web does not publish 81; it publishes 53/udp, 80/tcp\n"


@pytest.mark.parametrize(
    ("template", "printed"),
    [
        ('{{index .Config.Labels "team"}}', "a"), ('{{index .Config.Labels "none"}}', ""), ("{{.Config.Labels.none}}", "<no value>"),
        ("{{.Config.Labels.None}}", "<no value>"), ('{{if index .Config.Labels "none"}}yes{{else}}no{{end}}', "no"),
        ('{{index .NetworkSettings.Ports "81/tcp"}}', "[]"), ('{{len (index .NetworkSettings.Ports "80/tcp")}}', "2"),
        ('{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', "8080"),
        ("{{.State.Paused}} {{.State.OOMKilled}} {{.State.Dead}} [{{.State.Error}}]", "false false false []"),
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "none"), ("{{if .Config.Healthcheck}}yes{{end}}", ""),
        ("{{.RestartCount}} [{{.LogPath}}]", "0 []"), ("{{json .Config.ExposedPorts}}", '{"443/tcp":{},"53/udp":{},"80/tcp":{}}'),
    ],
)  # fmt: skip
def test_what_is_not_there_is_printed_as_docker_prints_it(berth, daemon, template, printed):  # noqa: F811
    daemon.responses |= {"GET /v1/sandboxes/web": SHOP, f"GET /v1/sandboxes/{WEB['id']}?plugins=1": SHOP}
    assert berth("inspect", "-f", template, "web") == (0, f"{printed}\n", "")


@pytest.mark.parametrize(
    ("template", "printed"),
    [
        ('{{index .Labels "team"}} [{{index .Labels "none"}}] {{.Labels.none}}', "a [] <no value>"), ('[{{index .Options "mtu"}}]', "[]"),
        ("{{range .Containers}}{{.Name}} {{.IPv4Address}} {{.IPv6Address}}{{end}}", "web 10.5.0.2/24 fd00::2/64"),
        ('{{range .IPAM.Config}}[{{index .AuxiliaryAddresses "router"}}]{{end}}', "[][]"),
    ],
)  # fmt: skip
def test_networks_are_inspected_as_docker_inspects_them(berth, daemon, template, printed):  # noqa: F811
    pools = [*FRONT["pools"], {"subnet": "fd00::/64", "ip_range": None, "gateway": None, "auxiliary": {}}]
    member = FRONT["members"][0] | {"addresses": ["10.5.0.2", "fd00::2"]}
    daemon.responses["GET /v1/networks/front"] = FRONT | {"pools": pools, "members": [member]}
    assert berth("network", "inspect", "-f", template, "front") == (0, f"{printed}\n", "")


def test_a_label_that_is_not_there_is_nothing_in_a_list(berth):  # noqa: F811
    assert berth("ps", "-f", "name=web", "--format", '[{{.Label "team"}}] [{{.Label "none"}}]')[1] == "[a] []\n"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("ls", "ps"), ("container ls -a", "ps -a"), ("container rm -f web", "rm -f web"), ("network list", "network ls"), ("info", "status"),
        ("network remove front", "network rm front"), ("help", "--help"), ("help run", "run --help"), ("help container ls", "ps --help"),
        ("system prune -f", "prune --networks -f"), ("-v", "--version"), ("ps ls", "ps ls"), ("container", "--help"), ("remove web", "rm web"),
        ("sandbox ls -a", "ps -a"), ("sandbox rm web", "rm web"), ("sandbox create web", "sandbox create web"), ("sandbox", "sandbox"),
    ],
)  # fmt: skip
def test_spellings(typed, meant):
    assert translated(typed.split()) == meant.split()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("-f a.yaml -p shop up -d", ["up", "--file=a.yaml", "--project-name=shop", "-d"]),
        ("--file=a.yaml down -v", ["down", "--file=a.yaml", "-v"]),
        ("--compatibility --profile a --profile=b --ansi never config", ["config", "--profile=a", "--profile=b", "--compatibility"]),
        ("--progress quiet --parallel 3 up", ["up", "--progress", "quiet"]),
        ("--dry-run up -d", ["up", "--dry-run", "-d"]),
        ("help up", ["up", "--help"]),
        ("convert --format json", ["config", "--format=json"]),
        ("-p shop logs --no-color --tail 3 web", ["logs", "--project", "shop", "--tail=3", "web"]),
        ("-p shop events --json web", ["events", "--project", "shop", "--json", "--service=web"]),
        ("-p shop port --protocol udp web 53", ["port", "--project", "shop", "web", "53/udp"]),
        ("-p shop port web 80", ["port", "--project", "shop", "web", "80/tcp"]),
        (
            "-p shop exec -Te A=1 --index=2 web ls --color -l",
            ["exec", "--project", "shop", "-T", "-e", "A=1", "--index=2", "web", "ls", "--color", "-l"],
        ),
        ("-p shop rm -fsv", ["rm", "--project", "shop", "-f", "-s"]),
        ("-p shop restart --no-deps -t 3 web api", ["restart", "--project", "shop", "--no-deps", "-t", "3", "web", "api"]),
        ("-p shop exec -T web ls", ["exec", "--project", "shop", "-T", "web", "ls"]),
        ("--project-name=shop kill -s HUP", ["kill", "--project", "shop", "-s", "HUP"]),
        ("version", ["version"]),
        ("", ["compose", "--help"]),
    ],
)
def test_compose_commands(typed, meant, monkeypatch):
    monkeypatch.setattr(terminal, "_chosen", ("auto",))
    ran = []
    assert compose_command.main(typed.split(), lambda words: ran.append(words) or 0) == 0
    assert ran == [meant]


@pytest.mark.parametrize(("ansi", "shown"), [("never", False), ("always", True), ("auto", False)])
def test_colours_are_shown_as_asked_for(monkeypatch, ansi, shown):
    monkeypatch.setattr(terminal, "_chosen", ("auto",))
    compose_command.main(["--ansi", ansi, "up"], lambda _: 0)
    # It is no terminal.
    assert (terminal.styled("x", "bold") != "x") == shown


@pytest.mark.parametrize(
    ("seconds", "short", "words"),
    [
        (0.5, "0s", "Less than a second"), (1, "1s", "1 second"), (59, "59s", "59 seconds"), (61, "61s", "About a minute"), (300, "5m", "5 minutes"),
        (4000, "66m", "About an hour"), (7200, "2h", "2 hours"), (3 * 86_400, "3d", "3 days"), (20 * 86_400, "20d", "2 weeks"),
        (90 * 86_400, "90d", "3 months"), (800 * 86_400, "800d", "2 years"), (-1, "0s", "Less than a second"),
    ],
)  # fmt: skip
def test_ages(seconds, short, words):
    assert (age.short(seconds), age.docker_words(seconds)) == (short, words)
    if seconds > 0:
        assert docker_fields(SHOP, "x", CREATED + seconds, whole=False)["Status"] == f"Up {words}"


def test_traffic_is_that_of_the_sandbox():
    lines = [
        "Inter-| Receive",
        " face |bytes",
        "    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
        "  eth0:100 20 0 1 0 0 0 0 300 40 0 2 0 0 0 0",
    ]
    assert traffic.parse(lines, "eth0") == traffic.Traffic(100, 300, 20, 40, 3)
    assert traffic.parse(lines, "eth1") is None
    assert traffic.of_endpoint(ENDPOINT, None) is None
    assert [traffic.human(number) for number in (0, 999, 1234, 56_789, 999_999, 5_000_000, 10**15)] == [
        "0B", "999B", "1.23kB", "56.8kB", "1MB", "5MB", "1PB",
    ]  # fmt: skip


def test_processes_of_all_sandboxes_are_told_by_one_look(monkeypatch):
    looks, listdir = [], os.listdir
    monkeypatch.setattr(proc.os, "listdir", lambda path: looks.append(path) or listdir(path))
    own = {"leader": {"pid": os.getpid()}, "adopted": False, "netns": "/nowhere"}
    adopted, gone = {"leader": None, "adopted": True, "netns": "/proc/self/ns/net"}, {"leader": None, "adopted": True, "netns": "/nowhere"}
    ours, same, theirs, none = proc.members([own, own, adopted, gone])
    assert os.getpid() in ours
    assert os.getpid() in theirs
    assert (same, none, looks) == (ours, [], ["/proc"])


def test_pictures():
    assert picture([FRONT], [SHOP, ALONE], "text") == (
        "front (bridge, internal, 10.5.0.0/24)\n"
        "  web  10.5.0.2 fd00::2  shop  0.0.0.0:8080->80/tcp 127.0.0.1:53->53/udp\n\n"
        "on no network of their own\n  alone  none\n"
    )
    assert picture([FRONT], [SHOP], "mermaid").splitlines() == [
        "graph LR",
        '  n0{{"front<br>bridge, internal<br>10.5.0.0/24"}}',
        '  s0["web"]',
        '  host(["ports of the host"])',
        '  s0 ---|"10.5.0.2 fd00::2 shop"| n0',
        '  host -->|"0.0.0.0:8080-#gt;80/tcp"| s0',
        '  host -->|"127.0.0.1:53-#gt;53/udp"| s0',
    ]
    dot = picture([FRONT], [SHOP, ALONE | {"name": "side", "stack": "container", "shared_with": "web"}], "dot")
    assert '  s1 -> s0 [dir=none, style=dashed, label="shares its network"];' in dot
    assert '  n0 [shape=ellipse, label="front\\nbridge, internal\\n10.5.0.0/24"];' in dot
    assert "#quot;" in picture([FRONT | {"driver": 'x"y'}], [], "mermaid")
    elsewhere = {"sandbox": "db", "sandbox_id": "", "addresses": ["10.5.0.9/24"], "mac": "02:42:0a:05:00:09", "node": "beta"}
    shared = FRONT | {"members": [*FRONT["members"], elsewhere]}
    assert "  db   10.5.0.9" in picture([shared], [SHOP], "text")
    assert picture([shared], [SHOP], "text").splitlines()[2].endswith("on host beta")
    assert '  r0["db<br>on host beta"]' in picture([shared], [SHOP], "mermaid").splitlines()
    assert '  r0 ---|"10.5.0.9"| n0' in picture([shared], [SHOP], "mermaid").splitlines()
    assert picture([], [], "text") == "there are no networks and no sandboxes\n"


@pytest.mark.parametrize("row", rows("What has no sense here"), ids=lambda row: row[0])
def test_what_the_page_says_to_have_no_sense_is_answered_in_a_line(berth, row):  # noqa: F811
    command = typed(row[0])
    code, shown, said = berth(*command.removeprefix("docker ").split())
    assert (code, shown, said.count("\n")) == (2, "", 1)
    assert ("there is no option" in said) is (" run " in command)
    assert not said.startswith("berth: there is no command")


def test_inspection_has_the_fields_of_docker():
    fields = docker_inspect.sandbox(SHOP | {"pid": 7, "hostname": "h"}, "sleep 600")
    front = fields["NetworkSettings"]["Networks"]["front"]
    assert {key: front[key] for key in ("Gateway", "IPv6Gateway", "IPAddress", "IPPrefixLen", "GlobalIPv6Address", "EndpointID")} == {
        "Gateway": "10.5.0.1", "IPv6Gateway": "fd00::1", "IPAddress": "10.5.0.2", "IPPrefixLen": 24, "GlobalIPv6Address": "fd00::2",
        "EndpointID": "e" * 64,
    }  # fmt: skip
    assert (fields["NetworkSettings"]["Gateway"], fields["NetworkSettings"]["IPPrefixLen"]) == ("10.5.0.1", 24)
    assert (fields["Config"]["Cmd"], fields["Config"]["Hostname"], fields["Name"]) == (["sleep", "600"], "h", "/web")
    assert (fields["State"]["Running"], fields["State"]["Pid"], fields["State"]["ExitCode"]) == (True, 7, 0)
    assert fields["State"]["StartedAt"] == fields["Created"]
    assert fields["NetworkSettings"]["Ports"]["80/tcp"][0] == {"HostIp": "0.0.0.0", "HostPort": "8080"}


def test_inspection_of_a_stopped_sandbox_has_its_networks():
    fields = docker_inspect.sandbox(SHOP | {"hostname": "h", "endpoints": [], "addresses": [], "networks": ["back", "front"]}, "sleep 600")
    networks = fields["NetworkSettings"]["Networks"]
    assert list(networks) == ["back", "front"]
    assert {networks["front"][key] for key in ("IPAddress", "MacAddress", "Gateway", "EndpointID")} == {""}
    assert (fields["NetworkSettings"]["IPAddress"], fields["HostConfig"]["NetworkMode"]) == ("", "back")


def test_inspection_tells_how_the_command_was_started_and_is_stopped():
    shown = SHOP | {"hostname": "h", "environment": {"A": "1", "EMPTY": ""}, "working_directory": "/srv"}
    fields = docker_inspect.sandbox(shown, "sleep 600")
    assert (fields["Config"]["Env"], fields["Config"]["WorkingDir"], fields["Config"]["StopSignal"]) == (
        ["A=1", "EMPTY="],
        "/srv",
        "SIGTERM",
    )
    assert fields["HostConfig"]["AutoRemove"] is True
    run = {
        "state": "running",
        "restart": "no",
        "restarts": 0,
        "exit_code": None,
        "started": 1.0,
        "ended": None,
        "output": "/o",
        "remove": False,
    }
    for text, signal in (("TERM", "SIGTERM"), ("SIGHUP", "SIGHUP"), ("quit", "SIGQUIT"), ("15", "15"), ("RTMIN+3", "SIGRTMIN+3")):
        fields = docker_inspect.sandbox(shown | {"run": run | {"stop_signal": text}}, "sleep 600")
        assert (fields["Config"]["StopSignal"], fields["HostConfig"]["AutoRemove"]) == (signal, False)
    adopted = docker_inspect.sandbox(shown | {"adopted": True}, "")
    assert adopted["HostConfig"]["AutoRemove"] is False


def test_inspection_of_a_sandbox_without_networks():
    fields = docker_inspect.sandbox(ALONE | {"hostname": "h", "domainname": "", "files": "/x"}, "")
    assert (fields["HostConfig"]["NetworkMode"], fields["NetworkSettings"]["IPAddress"], fields["State"]["Status"]) == (
        "none",
        "",
        "created",
    )
