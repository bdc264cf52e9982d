"""What is known before a sandbox is entered: who may, where its command will run, and how a failure is told.

Apart from `resolver.cli.enter`, so that what enters is loaded while the daemon makes the sandbox.
"""

from __future__ import annotations

import os

from resolver.light import NamedTuple

NOT_FOUND, NOT_EXECUTABLE, FAILED = 127, 126, 125
"""Exit codes of a command that was not started, as Docker has them."""
_CAP_SYS_ADMIN = 21


class EnterFailed(Exception):
    """The sandbox could not be entered; the text is for the user."""


class WorkingDirectory(NamedTuple):
    """Where a command runs. *required*: it is an error if *path* can't be entered; otherwise the command runs in `/` then."""

    path: str
    required: bool


def working_directory(asked: str | None) -> WorkingDirectory:
    """Return the directory that the user *asked* for, relative to the caller's; None: the caller's own, if the sandbox has it."""
    try:
        current = os.getcwd()
    except FileNotFoundError:
        current = "/"
    return WorkingDirectory(current, False) if asked is None else WorkingDirectory(os.path.join(current, asked), True)


def check_privilege() -> None:
    """Raise EnterFailed unless this process may enter namespaces: a member of the socket's group may not."""
    with open("/proc/self/status") as file:
        effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    if not effective >> _CAP_SYS_ADMIN & 1:
        raise EnterFailed(
            "running a command in a sandbox needs root: use sudo; the socket's group may do everything else, such as create, connect, "
            "inspect, rename and remove networks and sandboxes; with BERTH_RUN_DIR set to a directory of yours you have your own daemon"
        )


def failure(text: str) -> tuple[int, str]:
    """Return (exit code, message) of the *text* of an EnterFailed."""
    code, colon, message = text.partition(":")
    return (int(code), message) if colon and code.isdigit() else (FAILED, text)
