"""The options of the lists `berth ps`, `network ls`, `compose ls` and `compose ps`: rows as in `sandbox_options`. Pure."""

from typing import Any

from resolver.cli.sandbox_options import Command, Kind, Option, Scope

_FORMAT_MEANING = (
    "How to print: table, json (one array), or a Go template such as '{{.ID}} {{.Names}}' or 'table {{.Names}}\\t{{.Ports}}' with "
    "Docker's field names."
)


def _row(command: str, group: str, flags: tuple[str, ...], meaning: str, kind: Kind = Kind.FLAG, **more: Any) -> Option:
    return Option(flags, meaning, group, "", kind=kind, scope=Scope.CLIENT, commands=(command,), **more)


def _output(command: str) -> tuple[Option, ...]:
    """Return the options that every list has."""
    return (
        _row(command, "Output", ("-q", "--quiet"), "Print ids only."),
        _row(command, "Output", ("--no-trunc",), "Cut nothing: whole ids, and each row on one line."),
        _row(command, "Output", ("--format",), _FORMAT_MEANING, Kind.TEXT, metavar="FORMAT", default="table", completes="format"),
    )


OPTIONS: tuple[Option, ...] = (
    _row("ps", "Which", ("-a", "--all"), "Also those that are stopped. Shows COMMAND on narrow terminals too."),
    _row("ps", "Which", ("-f", "--filter"), "Only sandboxes with this id, name, label, status, network, publish, expose, exited, "
         "before or since.",
         Kind.LIST, metavar="KEY=VALUE", docker="--filter"),
    _row("ps", "Which", ("-n", "--last"), "Only the newest so many.", Kind.NUMBER, metavar="NUMBER"),
    _row("ps", "Which", ("-l", "--latest"), "Only the newest."),
    *_output("ps"),
    _row("ps", "Output", ("--services",), "Print the names of the services of Compose projects only."),
    _row("compose ls", "Which", ("-a", "--all"), "Also projects all of whose services are stopped."),
    _row("compose ls", "Which", ("-f", "--filter"), "Only projects with this name.", Kind.LIST, metavar="KEY=VALUE"),
    *_output("compose ls"),
    _row("compose ps", "Which", ("-a", "--all"), "Also those that are stopped. Shows COMMAND on narrow terminals too."),
    _row("compose ps", "Which", ("-f", "--filter"), "Only sandboxes that match, as for `berth ps`.", Kind.LIST, metavar="KEY=VALUE"),
    _row("compose ps", "Which", ("--status",), "Only sandboxes with this status.", Kind.LIST, metavar="STATUS"),
    *_output("compose ps"),
    _row("compose ps", "Output", ("--services",), "Print the names of services only."),
    _row("network ls", "Which", ("-f", "--filter"), "Only networks with this name, id, driver, scope, internal, dangling, type or label.",
         Kind.LIST, metavar="KEY=VALUE", docker="--filter"),
    *_output("network ls"),
)  # fmt: skip

COMMANDS = (
    Command(
        "ps", (), "berth ps [OPTIONS]", "List sandboxes.",
        "STATUS is running, created (nothing was started in it yet), adopted, Exited (code), Restarting (code), or ended (others use "
        "its network stack). --all, --last, --latest and a filter by status, exited, before or since list those that are stopped too. "
        "On a terminal below 100 columns SANDBOX ID and COMMAND are left out; --no-trunc shows them. Elsewhere nothing is left out, cut "
        "or wrapped.",
        ("berth ps --filter network=front", "berth ps --format '{{.Names}}: {{.Ports}}'"),
    ),
    Command(
        "compose ls", (), "berth compose ls [OPTIONS]", "List Compose projects that are up.", "", ("berth compose ls",),
    ),
    Command(
        "compose ps", (("SERVICE...", "sandbox"),), "berth compose [-f FILE | -p NAME] ps [OPTIONS] [SERVICE...]",
        "List the sandboxes of a Compose project.", "Templates have Compose's fields too: .Name, .Health, .ExitCode, .Publishers.",
        ("berth compose -p shop ps --services",),
    ),
    Command(
        "network ls", (), "berth network ls [OPTIONS]", "List networks.", "",
        ("berth network ls --filter driver=bridge", "berth network ls -q"),
    ),
)  # fmt: skip


def of_list(command: str) -> tuple[Option, ...]:
    """Return the options of the list *command*, `network ls` for example."""
    return tuple(option for option in OPTIONS if command in option.commands)
