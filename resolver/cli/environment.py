"""The environment of a command: what it has of the caller's, and what `--env` and `--env-file` give it."""

from __future__ import annotations

import os

from resolver.cli.client import Refused
from resolver.light import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PASSED_ON = ("PATH", "HOME", "USER", "SHELL", "TERM", "LANG", "TZ")
"""What a command has of the caller's variables, beside those whose names begin with LC_."""
_OF_THE_NEST = "BERTH_ROOTLESS"


class Variables(NamedTuple):
    """Variables of a command. *caller*: those that it has of the caller's. *explicit*: those that win over all others."""

    caller: Mapping[str, str]
    explicit: Mapping[str, str]


def inherited(*, everything: bool = False, user: str = "") -> dict[str, str]:
    """Return the caller's variables that a command has, as far as a record can keep them: those whose octets are no UTF-8 it can't.

    *everything*: all of them, not only `PASSED_ON`. *user*: `USER[:GROUP]` as whom it runs, whose HOME, USER and SHELL it gets; Refused
    if there is none.
    """
    found = {
        name: value
        for name, value in os.environ.items()
        if (everything or name in PASSED_ON or name.startswith("LC_")) and name != _OF_THE_NEST and _is_text(name + value)
    }
    if not user:
        return found
    # Few commands are somebody else's.
    from resolver.cli.users import identity_of

    identity = identity_of(user)
    own = {"HOME": identity.home or "/", "USER": identity.name, "SHELL": identity.shell}
    return {name: value for name, value in {**found, **own}.items() if value is not None}


def _is_text(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def explicit_environment(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of `--env-file`, then those of `--env`. A name without a value has the caller's, if there is one."""
    variables: dict[str, str] = {}
    for path in values.get("env_file", ()):
        try:
            with open(path) as file:
                lines = [line.strip() for line in file]
        except OSError as error:
            raise Refused(f"--env-file {path}: {error.strerror}") from error
        for line in lines:
            if line and not line.startswith("#"):
                variables.update(_variable(line))
    for text in values.get("env", ()):
        variables.update(_variable(text))
    return variables


def _variable(text: str) -> dict[str, str]:
    key, equals, value = text.partition("=")
    if equals:
        return {key: value}
    return {key: os.environ[key]} if key in os.environ else {}
