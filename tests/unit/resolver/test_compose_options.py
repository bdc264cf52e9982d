"""Every option of every command of Docker Compose works, is accepted, or is answered in a line."""

import pytest

from resolver.cli import commands, compose_command, compose_services
from resolver.cli.compose_options import BEFORE, OPTIONS, BadOption, read
from resolver.cli.docker_words import COMPOSE_ANSWERS
from resolver.cli.list_options import of_list
from resolver.cli.sandbox_options import flags_of, of_command
from tests.support import compose_commands
from tests.unit.resolver.test_command_line import berth, daemon  # noqa: F401 (fixtures)

ROWS = [(command, flags, takes_value) for command, rows in compose_commands.options().items() for flags, takes_value in rows]
ANSWERED = {
    "up": "--no-start --menu -w",
    "run": "--dry-run",
    "exec": "--dry-run",
    "kill": "--remove-orphans",
    "config": "--lock-image-digests --resolve-image-digests --no-interpolate",
}
"""What is not done; everything else is, or is so anyway."""
ACCEPTED = {
    "": "--parallel --verbose",
    "up": "--build --no-build --quiet-build --pull --quiet-pull -V -y --no-color",
    "down": "--rmi --remove-orphans",
    "run": "--build --quiet-build --pull --quiet-pull",
    "logs": "--no-color",
    "rm": "-v -a",
}
"""What is so anyway; where nothing is changed, --dry-run is too."""


def flags_of_berth(command):
    """Return the options that the command of berth has to which *command* of Compose is handed on."""
    if command == "exec":
        return {flag for option in of_command("exec") for flag in flags_of(option, "exec")}
    if command in ("ps", "ls"):
        return {flag for option in of_list(f"compose {command}") for flag in option.flags}
    found = commands.cli.get_command(None, command) if command not in ("run", "scale") else None
    found = found or commands.cli.get_command(None, "compose").get_command(None, command)
    return {flag for parameter in found.params for flag in parameter.opts}


def done_before(command):
    kept = {"ps": ("--orphans",), "version": ("--short", "--format")}.get(command, ())
    return {*kept, *compose_services.KEPT.get(command, ())}


@pytest.mark.parametrize(
    ("command", "flags", "takes_value"), ROWS, ids=[f"{command or 'compose'} {flags[-1]}" for command, flags, _ in ROWS]
)
def test_every_option_works_is_accepted_or_is_answered(command, flags, takes_value):
    if command and command not in compose_command.COMMANDS:
        assert "\n" not in COMPOSE_ANSWERS[command]
        return
    rows = BEFORE if not command else OPTIONS[command]
    for flag in flags:
        (row,) = [row for row in rows if flag in row.flags]
        assert row.takes_value == takes_value
        words = [flag, "x"] if takes_value else [flag]
        if set(flags) & {*ANSWERED.get(command, "").split()}:
            with pytest.raises(BadOption, match=f"^there is no option {flag}: ."):
                read(command, words)
            if not takes_value:
                # As with Docker, this is how an option is not given.
                assert read(command, [f"{flag}=false"]).words == ()
            continue
        assert not row.answer
        is_accepted = set(flags) & {*ACCEPTED.get(command, "").split()} or (flag == "--dry-run" and row.answer == "")
        assert (row.answer == "") == bool(is_accepted)
        handed_on = read(command or None, words).options
        assert bool(handed_on) != bool(is_accepted)
        if command and handed_on and not {*flags} & done_before(command):
            assert flag in flags_of_berth(command)


@pytest.mark.parametrize("words", ["up --no-start", "run --dry-run web true", "exec --dry-run web true", "up -dw", "--progress json up"])
def test_what_is_not_there_is_answered_in_a_line(berth, words):  # noqa: F811
    code, shown, said = berth("compose", "-p", "shop", *words.split())
    assert (code, shown, said.count("\n")) == (2, "", 1)
    assert "see `berth" in said


@pytest.mark.parametrize(
    ("command", "given", "handed_on", "operands"),
    [
        ("up", "-dV --build=true --menu=false -t3 web", ["-d", "-t", "3"], ["web"]),
        ("up", "--scale web=2 --pull always db -d", ["--scale=web=2", "-d"], ["db"]),
        ("logs", "web --no-color -fn5 db", ["-f", "-n", "5"], ["web", "db"]),
        ("exec", "-T -e A=1 web sh -c x --privileged", ["-T", "-e", "A=1"], ["web", "sh", "-c", "x", "--privileged"]),
        ("run", "--rm=true -- web --build", ["--rm"], ["web", "--build"]),
        ("rm", "-sfv", ["-s", "-f"], []),
        # What nobody knows is for the command to refuse.
        ("up", "--nope -z", ["--nope", "-z"], []),
    ],
)
def test_options_are_handed_on(command, given, handed_on, operands):
    found = read(command, given.split())
    assert ([*found.options], [*found.operands]) == (handed_on, operands)


def test_an_option_without_its_value():
    with pytest.raises(BadOption, match="-t needs a value"):
        read("stop", ["-t"])


@pytest.mark.slow
def test_the_list_is_that_of_compose():
    assert compose_commands.ask_compose() == compose_commands.LIST.read_text()
