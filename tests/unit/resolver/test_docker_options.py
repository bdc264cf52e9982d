"""Every option of docker's own commands is accepted or answered: nobody reads a bare "there is no option"."""

import click
import pytest

from resolver.cli import docker_options
from resolver.cli.commands import cli, usage
from resolver.cli.docker_words import translated
from resolver.cli.list_options import of_list
from resolver.cli.reference.own import OWN
from resolver.cli.sandbox_options import BadOption, of_command
from resolver.cli.sandbox_parser import parse
from tests.unit.resolver.test_command_line import WEB, berth, body, daemon, handlers  # noqa: F401 (fixtures)

REFERENCE = {
    "run": "-a=stdout --attach=stdin --add-host=a:10.0.0.1 --annotation=a=b --blkio-weight=10 --blkio-weight-device=/dev/sda:10 "
    "--cap-add=NET_ADMIN --cap-drop=ALL --cgroup-parent=/x --cgroupns=host --cgroupns=private --cidfile=/tmp/x --cpu-count=1 "
    "--cpu-percent=1 --cpu-period=1 --cpu-quota=1 --cpu-rt-period=1 --cpu-rt-runtime=1 -c=1 --cpu-shares=1 --cpus=1 --cpuset-cpus=0 "
    "--cpuset-mems=0 -d --detach --detach-keys=ctrl-x --device=/dev/fuse --device-cgroup-rule=x --device-read-bps=x "
    "--device-read-iops=x --device-write-bps=x --device-write-iops=x --disable-content-trust --dns=10.0.0.1 --dns-opt=x "
    "--dns-option=x --dns-search=x --domainname=x --entrypoint=sh -e=A=1 --env=A=1 --env-file=/x --expose=80 --gpus=all "
    "--group-add=x --health-cmd=x --health-interval=1s --health-retries=1 --health-start-interval=1s --health-start-period=1s "
    "--health-timeout=1s --help -h=x --hostname=x --init -i --interactive --io-maxbandwidth=1 --io-maxiops=1 --ip=10.0.0.1 "
    "--ip6=fd00::1 --ipc=host --ipc=private --isolation=default --isolation=hyperv --kernel-memory=1 -l=a=b --label=a=b "
    "--label-file=/x --link=a:b --link-local-ip=169.254.0.1 --log-driver=json-file --log-driver=syslog --log-opt=max-size=1m "
    "--mac-address=02:42:ac:11:00:02 -m=1g --memory=1g --memory-reservation=1g --memory-swap=1g --memory-swappiness=1 "
    "--mount=type=bind,src=/a,dst=/b --name=x --net=x --net-alias=x --network=x --network-alias=x --no-healthcheck "
    "--oom-kill-disable --oom-score-adj=1 --pid=host --pids-limit=1 --platform=linux/amd64 --privileged -p=80:80 --publish=80:80 -P "
    "--publish-all --pull=never --pull=always -q --quiet --read-only --restart=no --rm --runtime=runc --security-opt=x "
    "--shm-size=1g --sig-proxy --sig-proxy=false --stop-signal=TERM --stop-timeout=1 --storage-opt=x --sysctl=net.a=1 --tmpfs=/x -t "
    "--tty --ulimit=nofile=1 --use-api-socket -u=nobody --user=nobody --userns=host --uts=host -v=/a:/b --volume=/a:/b "
    "--volume-driver=x --volumes-from=x -w=/ --workdir=/",
    "exec": "-d --detach --detach-keys=x -e=A=1 --env=A=1 --env-file=/x -i --interactive --privileged -t --tty -u=0 --user=0 -w=/ "
    "--workdir=/",
    "attach": "--detach-keys=x --no-stdin --sig-proxy --sig-proxy=false",
    "ps": "-a --all -f=name=x --filter=name=x --format=json -n=1 --last=1 -l --latest --no-trunc -q --quiet -s --size",
    "inspect": "-f=json --format=json -s --size --type=container",
    "logs": "--details -f --follow --since=1m -n=1 --tail=1 -t --timestamps --until=1m",
    "start": "-a --attach --checkpoint=x --checkpoint-dir=/x --detach-keys=x -i --interactive",
    "stop": "-s=TERM --signal=TERM -t=1 --timeout=1 --time=1",
    "restart": "-s=TERM --signal=TERM -t=1 --timeout=1 --time=1",
    "kill": "-s=TERM --signal=TERM",
    "rm": "-f --force -l --link -v --volumes",
    "rename": "",
    "wait": "",
    "top": "",
    "port": "",
    "stats": "-a --all --format=json --no-stream --no-trunc",
    "events": "-f=type=network --filter=type=network --format=json --since=1m --until=1m",
    "info": "-f=json --format=json",
    "version": "-f=json --format=json",
    "container prune": "--filter=until=1h -f --force",
    "container ls": "-a --all -f=name=x --filter=name=x --format=json -n=1 --last=1 -l --latest --no-trunc -q --quiet -s --size",
    "system events": "-f=type=network --filter=type=network --format=json --since=1m --until=1m",
    "system info": "-f=json --format=json",
    "system prune": "-a --all --filter=until=1h -f --force --volumes",
    "network connect": "--alias=x --driver-opt=a=b --gw-priority=1 --ip=10.0.0.1 --ip6=fd00::1 --link=a:b --link-local-ip=169.254.0.1",
    "network create": "--attachable --aux-address=a=10.0.0.1 --config-from=x --config-only -d=bridge --driver=bridge "
    "--gateway=10.0.0.1 --ingress --internal --ip-range=10.0.0.0/24 --ipam-driver=default --ipam-opt=a=b --ipv4 --ipv4=false --ipv6 "
    "--label=a=b -o=a=b --opt=a=b --scope=local --subnet=10.0.0.0/24",
    "network disconnect": "-f --force",
    "network inspect": "-f=json --format=json -v --verbose",
    "network ls": "-f=name=x --filter=name=x --format=json --no-trunc -q --quiet",
    "network prune": "--filter=until=1h -f --force",
    "network rm": "-f --force",
    "": "--config=/x -c=default --context=default --context=other -D --debug -H=x --host=x -l=debug --log-level=debug --tls "
    "--tlscacert=x --tlscert=x --tlskey=x --tlsverify -v --version",
}
"""Command → its options in the reference of Docker's CLI 28, each with a value where it takes one."""
ROWS = [(command, option) for command, options in REFERENCE.items() for option in options.split()]
OPERANDS = {"network create": ["x"], "network connect": ["x", "y"], "network disconnect": ["x", "y"]}


def words_of(option):
    """Return how *option* is typed: a one-letter one has its value in the next word."""
    flag, equals, value = option.partition("=")
    return [flag, value] if equals and not flag.startswith("--") else [option]


def complaint_about(command, words):
    """Return what `berth` *command* says of *words* before it does anything, None if it takes them."""
    if command in OWN:
        try:
            parse(command, [*words, "x"], of_list(command) or of_command(command))
        except BadOption as error:
            return str(error)
        return None
    context = click.Context(cli, info_name="berth")
    found = cli
    for name in command.split():
        found = found.get_command(context, name)
        context = click.Context(found, parent=context, info_name=name)
    arguments = [f"{word}=true" if word in ("--ipv4", "--ipv6") else word for word in words]
    try:
        found.make_context(context.info_name, [*arguments, *OPERANDS.get(command, ["x"])], parent=context.parent, resilient_parsing=False)
    except click.NoSuchOption as error:
        return usage.usage_line(error)
    except (click.UsageError, click.exceptions.Exit):
        # Its operands or values are for others to judge.
        return None
    return None


@pytest.mark.parametrize(("command", "option"), ROWS)
def test_every_option_of_docker_is_accepted_or_answered(command, option):
    own = " ".join(translated(command.split())).partition(" --")[0] if command else ""
    words = docker_options.without_accepted(words_of(option)) if not command else words_of(option)
    if option in ("--help", "-v", "--version") and command in ("", "run"):
        return
    said = complaint_about(own, words) if words else None
    if said is not None:
        assert not said.startswith(f"there is no option {words[0].partition('=')[0]};"), said
        assert ": " in said, said


@pytest.mark.parametrize("command", sorted(docker_options.HABITS))
def test_an_option_that_berth_has_is_in_no_other_table(command):
    if not command:
        return
    accepted = {flag for habit in docker_options.accepted(command) for flag in habit.flags}
    if command in OWN:
        own = {flag for option in of_list(command) or of_command(command) for flag in option.flags}
    else:
        found = cli
        for name in command.split():
            found = found.get_command(click.Context(cli), name)
        own = {flag for parameter in found.params for flag in parameter.opts if parameter.expose_value}
    flags = [flag for habit in docker_options.HABITS[command] for flag in habit.flags]
    assert not own & set(flags)
    assert len(flags) == len(set(flags))
    assert accepted <= set(flags)
    assert all(habit.answer or habit.is_accepted for habit in docker_options.HABITS[command])


@pytest.mark.parametrize("command", sorted(docker_options.HABITS))
def test_what_is_answered_is_said_in_a_line(berth, command):  # noqa: F811
    for habit in docker_options.HABITS[command]:
        for flag in habit.flags if not habit.is_accepted else ():
            given = [flag] if habit.metavar is None else [flag, "1"]
            code, shown, said = berth(*command.split(), *given, "x", "true")
            assert (code, shown, said.count("\n")) == (2, "", 1)
            assert said == f"berth: there is no option {flag}: {habit.answer}; see `{' '.join(('berth', *command.split()))} --help`\n"


@pytest.mark.parametrize("command", ["run -dit", "run -itd", "run -d -i", "run -d -t", "run -q -d", "run --sig-proxy -d", "run --sig-proxy=true -d",
                                     "run --isolation default -d", "run --cgroupns=private -d", "run --privileged=false -d", "run --rm=false -d",
                                     "run --init=true -d", "run --pull never -d"])  # fmt: skip
def test_what_asks_for_what_is_so_anyway_is_accepted(daemon, berth, handlers, monkeypatch, command):  # noqa: F811
    daemon.responses |= {"POST /v1/sandboxes": WEB | {"warnings": []}, f"PATCH /v1/sandboxes/{WEB['id']}": WEB}
    monkeypatch.setattr("resolver.cli.monitor.start", lambda sandbox, process: None)
    code, shown, said = berth(*command.split(), "server")
    assert (code, shown) == (0, "web\n")
    assert body(daemon, "POST /v1/sandboxes")["process"]["remove"] is False
    asked = [flag for flag in ("-i", "-t") if flag[1] in "".join(word for word in command.split() if word[1:2] != "-" and word[0] == "-")]
    warning = f"berth: warning: {' and '.join(asked)} without effect: with -d the command has no terminal, and its input is empty\n"
    assert said == (warning if asked else "")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("run --sig-proxy=false true", "--sig-proxy false: signals to berth in the foreground always go to the command"),
        ("run --cgroupns host true", "--cgroupns host: each sandbox has one of its own; leave it out"),
        ("run --ipc host true", "--ipc host: each sandbox has an IPC namespace of its own; leave it out"),
        ("run --preserve-fd 2 true", "--preserve-fd 2: it should be a number from 3 on; 0, 1 and 2 are always kept"),
        ("run --confine=/nosuch true", "--confine /nosuch: there is no such directory"),
        ("run --confine /nosuch -- true", "--confine /nosuch: there is no such directory"),
        ("run -m much true", "memory: 'much' is no size: it is a number of octets, or one with k, m or g behind it"),
        ("run --timeout soon true", "timeout must be a time such as 30s or 1m30s, not 'soon'"),
        ("run --cpus many true", "cpus must be a number, not 'many'"),
        ("run --rm=perhaps true", "--rm takes no value but true or false"),
        ("run --restart", "--restart needs a value, POLICY"),
        ("stop --attach web", "there is no option --attach;"),
        ("start --detach web", "there is no option --detach;"),
        ("network prune --trunc", "there is no option --trunc;"),
        ("ps --trunc", "there is no option --trunc;"),
    ],
)
def test_what_is_not_so_is_not_accepted_and_no_opposite_is_suggested(berth, typed, said):  # noqa: F811
    code, _, error = berth(*typed.split())
    assert (code, said in error, "did you mean" in error) == (2, True, False), error


def test_accepted_options_do_their_commands_no_harm(daemon, berth):  # noqa: F811
    daemon.responses |= {
        "POST /v1/networks/front/disconnect": WEB | {"warnings": []}, "POST /v1/sandboxes/prune": {"removed": ["job"]}, "POST /v1/networks/prune": {"removed": ["back"]},
    }  # fmt: skip
    assert berth("network", "disconnect", "-f", "front", "web") == (0, "", "")
    for flags in (("-a", "-f"), ("-af",), ("--all", "--force"), ("--volumes", "-f"), ("-af", "--volumes"), ("--all=true", "--force=true")):
        assert berth("system", "prune", *flags) == (0, "job\nback\n", "")
    assert berth("--context", "default", "ps", "-q")[:2] == (0, "w" * 12 + "\n")
    assert berth("-c=default", "ps", "-q")[:2] == (0, "w" * 12 + "\n")
    assert berth("ps", "--all=false", "--quiet=true")[:2] == (0, "w" * 12 + "\n")
    assert berth("rm", "--force=false", "nobody")[0] == 1
    assert berth("rm", "-fv", "nobody")[0] == 0


@pytest.mark.parametrize(
    "options", ["--link db:store", "--mac-address 02:42:ac:11:00:09", "--network-alias www", "--ip 172.17.0.9", "--gw-priority 3"]
)
def test_options_of_an_endpoint_without_a_network_are_about_the_default_one(daemon, berth, options):  # noqa: F811
    daemon.responses["POST /v1/sandboxes?dry_run=1"] = {"steps": ["create link"], "warnings": []}
    assert berth("run", *options.split(), "--dry-run", "true") == (0, "create link\n", "")
    sent = body(daemon, "POST /v1/sandboxes?dry_run=1")
    assert sent["default_network"] is True
    (endpoint,) = sent["networks"]
    assert endpoint.pop("network") == "default"
    assert len(endpoint) == 1


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("rnu true", "there is no command berth rnu; did you mean run?; see `berth --help`"),
        ("tpo web", "there is no command berth tpo; did you mean top?; see `berth --help`"),
        ("network delete front", "there is no command berth network delete; did you mean rm?; see `berth network --help`"),
        ("delete web", "there is no command berth delete; did you mean rm?; see `berth --help`"),
        ("log web", "there is no command berth log; did you mean logs?; see `berth --help`"),
        ("attach web", "`berth logs -f web` shows what web prints, as docker attach; `berth attach` adopts a network namespace that exists, "
         "with --pid or --netns; see `berth attach --help`"),
        ("container attach web", "container attach: `berth logs -f NAME` shows what its command prints; `berth exec -it NAME sh` gives a "
         "shell beside it"),
        ("service ls", "service ls: there is no Swarm: networks span hosts by `berth daemon --store etcd://…`; see docs/many-hosts.md; "
         "`berth service` runs the daemon by systemd, `berth compose ps --services` lists services of a project"),
        ("node inspect self", "node inspect: there is no Swarm: networks span hosts by `berth daemon --store etcd://…`; see "
         "docs/many-hosts.md"),
        ("update --restart no web", "update: bounds and restart policies are given when a sandbox is made: `berth rm NAME`, and "
         "`berth run -d` with others"),
    ],
)  # fmt: skip
def test_words_of_habit_are_answered(berth, typed, said):  # noqa: F811
    assert berth(*typed.split()) == (2, "", f"berth: {said}\n")


@pytest.mark.parametrize("command", ["rm", "stop", "start", "restart", "kill", "logs", "wait", "top", "port", "rename", "detach", "inspect",
                                     "network rm", "network connect", "network inspect"])  # fmt: skip
def test_a_name_that_is_missing_is_named_as_the_help_names_it(berth, command):  # noqa: F811
    code, shown, said = berth(*command.split())
    name = "NETWORK" if "network" in command else "NAME" if command == "inspect" else "SANDBOX"
    assert (code, shown, said) == (2, "", f"berth: {name} is missing; see `berth {command} --help`\n")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("stop -t x web", "--timeout x: it should be a number of seconds"),
        ("stop -t nan web", "--timeout nan: it should be a number of seconds"),
        ("stop --time -inf web", "--timeout -inf: it should be a number of seconds"),
        ("restart --time 1s web", "--timeout 1s: it should be a number of seconds"),
        ("up --wait-timeout x", "--wait-timeout x: it should be a number of seconds, 0 or more"),
        ("up -t -3", "--timeout -3: it should be a number of seconds, -1 or more"),
        ("cache ls --limit many", "--limit many: it should be a whole number"),
        ("port --index one web", "--index one: it should be a whole number"),
        ("network connect --gw-priority high front web", "--gw-priority high: it should be a whole number"),
        ("network create --ipv6=perhaps front", "--ipv6 perhaps: it should be true or false"),
        ("inspect --type image web", "--type image: it should be container, sandbox or network"),
        ("node ls --format yaml", "--format yaml: it should be table or json"),
        ("graph --format mermiad", "--format mermiad: it should be text, mermaid, dot or json; did you mean mermaid?"),
        ("daemon stpo", "action stpo: it should be stop"),
        ("completion ksh", "shell ksh: it should be bash, fish or zsh"),
    ],
)
def test_a_value_of_another_kind_is_told_what_it_should_be(berth, typed, said):  # noqa: F811
    code, shown, error = berth(*typed.split())
    assert (code, shown) == (2, "")
    assert error.startswith(f"berth: {said}; see `berth "), error
