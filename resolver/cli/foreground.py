"""A command in the foreground, in a sandbox that the daemon has made: start it, wait for it, remove the sandbox.

Loaded while the daemon makes the sandbox.
"""

from __future__ import annotations

import os

from resolver.cli import command_record, enter, entering
from resolver.cli.client import Refused, call
from resolver.cli.entering import EnterFailed
from resolver.cli.output import complain
from resolver.cli.sandbox_calls import delete, register
from resolver.isolation.told import isolation_of, withheld_of
from resolver.light import TYPE_CHECKING, signal, suppress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from resolver.cli.environment import Variables
    from resolver.cli.restarting import Restarting

HANDED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def hold(
    sandbox: dict[str, Any],
    command: list[str],
    variables: Variables,
    directory: entering.WorkingDirectory,
    *,
    restart: str | None = None,
    descriptors: Sequence[int] = (),
) -> int:
    """Run *command* in the new *sandbox*, remove that when it has ended, and return its exit code.

    Signals that are handed on wait until the command runs. *restart*: its policy, None if the daemon knows of no process. *descriptors*:
    those above 2 that the command has too.
    """
    path = f"/v1/sandboxes/{sandbox['id']}"
    restarting = None if restart is None else _restarting(sandbox["id"], restart)
    # An explicit variable wins, in its own spelling only (PX-3).
    environment = {**variables.caller, **sandbox["environment"], **variables.explicit}
    command_record.write(sandbox, variables.explicit, directory.path)
    warn_of_withheld(sandbox)

    def start(tell: Callable[[int], None]) -> int:
        pid = enter.start(
            sandbox,
            command,
            environment=environment,
            directory=directory,
            register=tell,
            descriptors=descriptors,
        )
        if sandbox.get("health_check") is not None:
            _check_health(sandbox, pid, environment, directory)
        return pid

    try:
        pid = start(lambda pid: register(sandbox, pid, call))
    except EnterFailed as error:
        delete(path, call)
        raise EnterFailed(f"{error}{about_images(error, command)}") from error
    except Refused:
        delete(path, call)
        raise
    return _remove(path, _wait(pid) if restarting is None else _wait_and_start_again(pid, start, restarting))


def warn_of_withheld(sandbox: Mapping[str, Any]) -> None:
    """Say which capabilities a command in *sandbox* lacks though they were asked for."""
    asked, withheld = isolation_of(sandbox), withheld_of(sandbox)
    wanted = {name.upper().removeprefix("CAP_") for name in asked["cap_add"]}
    lacking = [name for name in withheld if asked["privileged"] or "ALL" in wanted or name in wanted]
    if lacking:
        complain(f"warning: {sandbox['name']} has egress rules, so its commands lack {', '.join(lacking)}, which lead out of it")


def about_images(error: EnterFailed, command: list[str], run: str = "berth run") -> str:
    """Return what is to be said to somebody who gave an image, as docker run takes it, in the place of a program; "" to others.

    *run*: what was written before the command.
    """
    code, _ = entering.failure(str(error))
    if code != entering.NOT_FOUND:
        return ""
    from resolver.cli import images

    return images.hint(command, run=run)


_checkers: list[int | None] = []
"""Who checks the health of the command that runs now, if anybody does."""


def _check_health(sandbox: dict[str, Any], pid: int, environment: dict[str, str], directory: entering.WorkingDirectory) -> None:
    """Check the health of the command whose init is *pid*, and of no earlier one."""
    from resolver.cli import health_probe

    while _checkers:
        health_probe.stop(_checkers.pop())
    _checkers.append(health_probe.start(sandbox, pid, environment, directory))


def _restarting(sandbox_id: str, policy: str) -> Restarting:
    """Return what starts the command again; what a terminal sends to end the command ends its restarts too."""
    from resolver.cli.restarting import Restarting

    restarting = Restarting(sandbox_id, policy)
    signal.signal(signal.SIGINT, restarting.start_no_more)
    signal.signal(signal.SIGQUIT, restarting.start_no_more)
    return restarting


def _wait_and_start_again(pid: int, start: Callable[[Callable[[int], None]], int], restarting: Restarting) -> int:
    """Wait for the command's init *pid*, and as often as its policy says so *start* the command again; return the last exit code."""
    running = pid

    def start_again() -> None:
        nonlocal running
        running = start(restarting.register)

    return restarting.hold(lambda: _wait(running, restarting.start_no_more), start_again, complain)


def _wait(pid: int, before_the_end: Callable[[], None] = lambda: None) -> int:
    """Wait for the command's init *pid* and return the exit code; hand signals on. *before_the_end*: called for those that end it."""

    def hand_on(number: int, _: object) -> None:
        if number in (signal.SIGTERM, signal.SIGHUP):
            before_the_end()
        # Between two starts nothing runs that it could be handed to.
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    for number in HANDED_ON:
        signal.signal(number, hand_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)
    return enter.wait(pid)


def _remove(path: str, code: int) -> int:
    """Remove the sandbox at *path*, whose command has ended with *code*; return that."""
    try:
        call("DELETE", f"{path}?exit_code={code}")
    except Refused as error:
        # Its owner has ended, so the daemon removes it in any case.
        if error.kind not in ("not-found", None):
            complain(f"warning: {error}")
    return code
