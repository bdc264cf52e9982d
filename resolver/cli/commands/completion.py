"""The command completion: prints or installs the script that makes a shell complete berth's command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from resolver.cli.client import Refused
from resolver.cli.commands.declare import command, option
from resolver.cli.completion_scripts import SCRIPTS, install_path


@command(examples=("berth completion", "berth completion bash > /etc/bash_completion.d/berth"))
@click.argument("shell", type=click.Choice(sorted(SCRIPTS)), required=False)
@option("--install", is_flag=True, help="Install the script where this shell looks for it, and print its path.")
def completion(shell: str | None, install: bool) -> None:
    """Print or install shell completion.

    Without SHELL it is installed for the shell in $SHELL, with SHELL it is printed. The script completes commands, options, and the
    names of networks and sandboxes.
    """
    if shell is None:
        shell, install = _own_shell(), True
    script = SCRIPTS[shell]
    if not install:
        print(script.text, end="")
        return
    path = Path(install_path(shell, os.environ, str(Path.home())))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script.text)
    except OSError as error:
        raise Refused(f"{error.filename}: {error.strerror}") from error
    print(path)
    print(f"berth: {script.hint.format(directory=path.parent)}", file=sys.stderr)


def _own_shell() -> str:
    """Return the shell that the user has."""
    name = os.path.basename(os.environ.get("SHELL", ""))
    if name not in SCRIPTS:
        said = f"$SHELL is {name or 'not set'}; name one of {', '.join(sorted(SCRIPTS))}"
        raise click.UsageError(said, click.get_current_context())
    return name
