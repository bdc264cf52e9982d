"""The command completion: prints or installs the script that makes a shell complete berth's command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from resolver.cli.client import Refused
from resolver.cli.commands.declare import command, option
from resolver.cli.completion_scripts import SCRIPTS, install_path


@command(examples=("berth completion bash --install",))
@click.argument("shell", type=click.Choice(sorted(SCRIPTS)))
@option("--install", is_flag=True, help="Install the script where this shell looks for it, and print its path.")
def completion(shell: str, install: bool) -> None:
    """Print or install shell completion.

    The script completes commands, options, and the names of networks and sandboxes.
    """
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
