"""One description of all commands, from the tables of options and from the click commands."""

from __future__ import annotations

from dataclasses import replace

from resolver.cli.reference.click_commands import command_help
from resolver.cli.reference.model import CommandHelp, Section

HELP_SECTIONS = (
    Section(
        title="Exit status",
        rows=(
            ("0", "Success."),
            ("1", "Refused or failed; of commands that answer a question, the answer is no."),
            ("2", "Wrong usage."),
            ("124", "Of run: --timeout has ended the command."),
            ("125 to 127", "Of run and exec: berth failed (125), the command can't be executed (126) or was not found (127)."),
            ("130", "Interrupted by Ctrl-C."),
            ("other", "Of run and exec: the command's own exit status, 128 + n after signal n."),
        ),
    ),
    Section(
        title="Environment",
        rows=(
            ("BERTH_RUN_DIR", "Directory of the daemon's socket, berth.sock; /run/berth by default."),
            ("BERTH_STATE_DIR", "Directory of the daemon's state; /var/lib/berth by default."),
            ("BERTH_CONFIG", "Configuration file of the daemon; /etc/berth/berth.toml by default."),
            ("COMPOSE_PROJECT_NAME", "Name of the Compose project."),
            ("COMPOSE_FILE", "Compose files, separated by colons, where no -f is given."),
            ("COMPOSE_PATH_SEPARATOR", "What separates the files of COMPOSE_FILE; a colon by default."),
            ("COMPOSE_PROFILES", "Profiles that are enabled, separated by commas, where no --profile is given."),
            ("COMPOSE_ENV_FILES", "Files in the place of .env, separated by commas, where no --env-file is given."),
            ("COMPOSE_DISABLE_ENV_FILE", "1 leaves .env out."),
        ),
    ),
)


def tree() -> CommandHelp:
    """Return `berth` with all its commands."""
    from resolver.cli import commands

    return replace(command_help(commands.cli, "berth"), sections=HELP_SECTIONS)
