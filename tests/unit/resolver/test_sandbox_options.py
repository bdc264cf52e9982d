"""The table of options, and what is made from it: the parser of run, exec and attach, their help, `--network`, a request body."""

import pytest

from resolver.cli.reference.own import own_command
from resolver.cli.reference.text import page
from resolver.cli.run import without_dashes
from resolver.cli.sandbox_options import (
    COMMANDS,
    GROUPS,
    OPTIONS,
    BadOption,
    Kind,
    Scope,
    flags_of,
    is_required,
    link_option,
    network_option,
    of_command,
    sandbox_body,
    value_of,
)
from resolver.cli.sandbox_parser import HelpWanted, arguments_of, parse

SAMPLE = {Kind.TEXT: "text", Kind.NUMBER: "7", Kind.LIST: "one", Kind.PAIRS: "k=v", Kind.LINKS: "db:store", Kind.NETWORKS: "front",
          Kind.SIZE: "512m", Kind.DECIMAL: "1.5", Kind.DURATION: "1m30s", Kind.OPTIONAL: "here"}  # fmt: skip
MEANT = {Kind.FLAG: True, Kind.TEXT: "text", Kind.NUMBER: 7, Kind.LIST: ["one"], Kind.PAIRS: {"k": "v"}, Kind.LINKS: {"store": "db"},
         Kind.NETWORKS: [{"network": "front"}], Kind.SIZE: 512 << 20, Kind.DECIMAL: 1.5, Kind.DURATION: 90.0,
         Kind.OPTIONAL: "here"}  # fmt: skip
EVERY = [
    pytest.param(command.name, option, flag, id=f"{command.name} {flag}")
    for command in COMMANDS
    for option in of_command(command.name)
    for flag in flags_of(option, command.name)
]


def needed(command, option):
    """What else *command* needs beside *option*."""
    return [] if command != "attach" or option.name == "name" else ["--name", "guest"]


def test_each_option_is_whole():
    assert len({option.field for option in OPTIONS if option.field}) == len([option for option in OPTIONS if option.field])
    flags = [flag for option in OPTIONS for flag in option.flags]
    assert len(flags) == len(set(flags))
    for option in OPTIONS:
        assert option.group in GROUPS
        assert option.meaning.endswith(".")
        assert option.flags or option.key
        assert bool(option.field) is (option.scope is not Scope.CLIENT)
        assert (option.metavar is None) is (option.kind is Kind.FLAG)
        assert set(option.commands) <= {"run", "exec", "attach", "create", "connect"}


def test_attach_lacks_only_what_is_about_a_command():
    run, attach = ({option.name for option in of_command(command)} for command in ("run", "attach"))
    assert run - attach == {
        "env",
        "env-file",
        "env-all",
        "preserve-fd",
        *("user", "cap-add", "cap-drop", "privileged", "security-opt", "group-add"),
        *("confine", "read-only", "tmpfs", "volume", "shm-size"),
        *("timeout", "memory", "cpus", "pids-limit", "ulimit"),
        "workdir",
        "detach",
        *(f"health-{name}" for name in ("cmd", "tcp", "http", "interval", "timeout", "retries", "start-period", "start-interval")),
        "no-healthcheck",
        "rm",
        "restart",
        "stop-signal",
        "stop-timeout",
        "interactive",
        "tty",
    }
    assert attach - run == {"pid", "netns", "fd", "gateway", "follow", "format"}
    assert {option.name for option in of_command("create")} == (attach & run) - {"name"} | {"persist"}
    assert {"ip", "ip6", "mac-address", "gw-priority", "link", "expose", "publish-all", "sysctl", "forward", "domainname"} <= attach


@pytest.mark.parametrize(("command", "option", "flag"), EVERY)
def test_every_option_is_parsed(command, option, flag):
    sample = option.only[0] if option.only and option.kind is Kind.TEXT else SAMPLE.get(option.kind)
    value = [] if option.kind is Kind.FLAG else [sample]
    typed = [f"{flag}={value[0]}"] if option.kind is Kind.OPTIONAL else [flag, *value]
    values, operands = parse(command, [*needed(command, option), *typed, "--", "rest", "-x"])
    given = values[option.dest]
    assert given == (True if option.kind is Kind.FLAG else value if option.kind.repeats else value[0])
    assert operands == ["rest", "-x"]
    assert value_of(option, given if option.kind.repeats else [given]) == (
        sample if option.only and option.kind is Kind.TEXT else MEANT[option.kind]
    )


@pytest.mark.parametrize(("command", "option", "flag"), EVERY)
def test_every_option_is_in_the_help(command, option, flag):
    shown = page(own_command(command))
    assert flag in shown
    assert " ".join(option.meaning.split()[:3]) in " ".join(shown.split())
    assert is_required(option, command) is (command == "attach" and option.name == "name")


@pytest.mark.parametrize(
    "option", [option for option in of_command("run") if option.scope is not Scope.CLIENT], ids=lambda option: option.name
)
def test_every_option_fills_its_field(option):
    value = True if option.kind is Kind.FLAG else [SAMPLE[option.kind]] if option.kind.repeats else SAMPLE[option.kind]
    values = {"network": ["front"]} | {option.dest: value}
    body = sandbox_body(values)
    target = {Scope.SANDBOX: body, Scope.ENDPOINT: body["networks"][0], Scope.ISOLATION: body.get("isolation")}[option.scope]
    assert target[option.field] == MEANT[option.kind]


def test_forms_of_options():
    assert parse("run", ["-dp", "80:80", "--name=web", "-p81:81", "-P", "-e", "A=-1", "cmd", "--name", "x"]) == (
        {"detach": True, "publish": ["80:80", "81:81"], "name": "web", "publish_all": True, "env": ["A=-1"]},
        ["cmd", "--name", "x"],
    )
    assert parse("run", ["--gw-priority", "-5", "-"]) == ({"gw_priority": "-5"}, ["-"])
    assert parse("run", ["-h", "web"]) == ({"hostname": "web"}, [])
    assert parse("exec", ["web", "ls", "-l"]) == ({}, ["web", "ls", "-l"])
    assert parse("run", ["--env="])[0] == {"env": [""]}
    assert without_dashes(["--", "ls"]) == ["ls"]
    assert without_dashes(["ls", "--"]) == ["ls", "--"]


@pytest.mark.parametrize(
    ("command", "arguments", "text"),
    [
        ("run", ["--netwrok", "x"], "there is no option --netwrok; did you mean --network?"),
        ("run", ["-Z"], "there is no option -Z"),
        ("run", ["--ip"], "--ip needs a value, ADDRESS"),
        ("run", ["-p"], "-p needs a value"),
        ("run", ["--detach=yes"], "--detach takes no value"),
        ("run", ["--pid", "1"], "there is no option --pid"),
        ("exec", ["--network", "x"], "there is no option --network"),
        ("attach", ["--name", "x", "--env-file", "f"], "--env-file is for a command that berth starts"),
        ("attach", ["--pid", "1"], "--name is required"),
    ],
)
def test_what_is_wrong_is_said(command, arguments, text):
    with pytest.raises(BadOption, match=text):
        parse(command, arguments)


def test_h_is_the_host_name_for_run_only():
    with pytest.raises(HelpWanted):
        parse("attach", ["-h"])
    hostname = next(option for option in OPTIONS if option.name == "hostname")
    assert [flags_of(hostname, command) for command in ("run", "attach")] == [("-h", "--hostname"), ("--hostname",)]


def test_network_connect_has_every_option_of_an_endpoint():
    flags = {flag for option in of_command("connect") for flag in flags_of(option, "connect")}
    assert flags == {"--alias", "--service", "--ip", "--ip6", "--link-local-ip", "--mac-address", "--gw-priority", "--ifname", "--route",
                     "--driver-opt", "--link"}  # fmt: skip


def test_help_and_wrong_usage_end_the_program(capsys):
    with pytest.raises(SystemExit) as caught:
        arguments_of("run", ["--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == page(own_command("run"))
    with pytest.raises(SystemExit) as caught:
        arguments_of("exec", ["--nothing"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "berth: there is no option --nothing; see `berth exec --help`\n"


def test_network_with_keys():
    assert network_option("name=front,alias=a,alias=b,ip=10.0.0.9,gw-priority=-3,route=10.1.0.0/16=10.0.0.1,driver-opt=sysctls=x=1") == {
        "network": "front", "aliases": ["a", "b"], "ip": "10.0.0.9", "gw_priority": -3, "routes": ["10.1.0.0/16=10.0.0.1"],
        "driver_opts": {"sysctls": "x=1"},
    }  # fmt: skip
    assert network_option("front") == {"network": "front"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [("front,colour=red", "'colour=red' is not one of alias=, service="), ("front,alias", "'alias' is not one of"),
     ("front,gw-priority=high", "--network front,gw-priority=high: gw-priority must be a number, not 'high'")],
)  # fmt: skip
def test_wrong_network(text, reason):
    with pytest.raises(BadOption, match=reason):
        network_option(text)


def test_options_of_the_first_network_join_its_keys():
    body = sandbox_body(
        {"network": ["front,alias=a,service=s,ip=10.0.0.9", "back"], "network_alias": ["b"], "service": ["t"], "ip6": "fd00::9"}
    )
    front = {"network": "front", "aliases": ["a", "b"], "services": ["s", "t"], "ip": "10.0.0.9", "ip6": "fd00::9"}
    assert body == {"networks": [front, {"network": "back"}]}
    with pytest.raises(BadOption, match="--ip6 needs a --network"):
        sandbox_body({"ip6": "fd00::9"})


def test_link_with_and_without_alias():
    assert (link_option("db"), link_option("db:store")) == (("db", "db"), ("store", "db"))
