"""The exit code of a command, and what is said if it fails: 0, 1 (refused or failed), 2 (usage), 130 (interrupted)."""

from __future__ import annotations

from resolver.cli.client import Refused
from resolver.cli.output import complain
from resolver.light import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def outcome(action: Callable[[], int]) -> int:
    """Return the exit code of *action*; a refusal is told and is 1, and so is a reader that has gone."""
    try:
        return action()
    except Refused as error:
        complain(error)
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130


def usage_error(command: str, reason: object) -> NoReturn:
    """Exit with 2: the arguments of `berth` *command* are wrong for *reason*."""
    complain(f"{reason}; see `berth {command} --help`")
    raise SystemExit(2)
