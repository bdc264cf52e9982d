"""`berth run`: a sandbox, a command in it, and the end of both. Standard library only, so that it starts in 20 ms."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from resolver.cli import enter
from resolver.cli.client import Refused, call
from resolver.cli.environment import explicit_environment
from resolver.cli.output import complain, print_plan, print_warnings
from resolver.cli.sandbox_calls import delete, register
from resolver.cli.sandbox_options import BadOption, sandbox_body
from resolver.cli.sandbox_parser import arguments_of, usage_error, without_dashes
from resolver.cli.system_calls import EnterFailed


def main(arguments: list[str]) -> int:
    """Run `berth run` *arguments* and return the exit code: the command's own, or 125 to 127 as Docker has them."""
    return exit_code(lambda: _run(arguments))


def exit_code(action: Callable[[], int]) -> int:
    """Return the exit code of *action*, which starts a command; its failures are reported with Docker's codes."""
    try:
        return action()
    except Refused as error:
        complain(error)
        return enter.FAILED
    except EnterFailed as error:
        code, message = enter.failure(str(error))
        complain(message)
        return code
    except OSError as error:
        print(f"berth: {error.filename or 'system'}: {error.strerror}", file=sys.stderr)
        return enter.FAILED
    except KeyboardInterrupt:
        return 130


def _run(arguments: list[str]) -> int:
    values, operands = arguments_of("run", arguments)
    command, detach = without_dashes(operands), values.get("detach", False)
    if not command and not values.get("dry_run"):
        usage_error("run", "a command is missing")
    check_streams("run", values)
    body = _body(values, command)
    if values.get("dry_run"):
        print_plan(call("POST", "/v1/sandboxes?dry_run=1", body))
        return 0
    enter.check_privilege()
    explicit = explicit_environment(values)
    if not detach:
        # Before anything exists: a terminal's Ctrl-C is for the command, a SIGTERM is handed on.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    sandbox = call("POST", "/v1/sandboxes", body)
    print_warnings(sandbox)
    path = f"/v1/sandboxes/{sandbox['id']}"
    try:
        pid = enter.start(
            sandbox,
            command,
            # An explicit variable wins, in its own spelling only (PX-3).
            environment={**os.environ, **sandbox["environment"], **explicit},
            directory=enter.working_directory(values.get("workdir")),
            detached=detach,
            register=lambda pid: register(sandbox, pid, call, is_owner=detach),
            prepare=enter.release_streams if detach else lambda: None,
        )
    except EnterFailed as error:
        delete(path, call)
        raise EnterFailed(f"{error}{_about_images(error, command)}") from error
    except Refused:
        delete(path, call)
        raise
    if detach:
        print(sandbox["name"])
        return 0
    return _wait_and_remove(pid, path)


def _about_images(error: EnterFailed, command: list[str]) -> str:
    """Return what is to be said to somebody who gave an image, as docker run takes it, in the place of a program; "" to others."""
    code, _ = enter.failure(str(error))
    if code != enter.NOT_FOUND:
        return ""
    from resolver.cli import images

    return images.hint(command)


def _wait_and_remove(pid: int, path: str) -> int:
    """Wait for the command's init *pid*, remove the sandbox at *path*, and return the command's exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda received, _: os.kill(pid, received))
    code = enter.wait(pid)
    try:
        call("DELETE", f"{path}?exit_code={code}")
    except Refused as error:
        # Its owner has ended, so the daemon removes it in any case.
        if error.kind not in ("not-found", None):
            complain(f"warning: {error}")
    return code


def _body(values: dict[str, Any], command: list[str]) -> dict[str, Any]:
    try:
        body = sandbox_body(values)
    except BadOption as error:
        usage_error("run", error)
    body.setdefault("name", _name(command))
    return {**body, "owner_pid": os.getpid(), "default_network": True}


def _name(command: list[str]) -> str:
    """Return a name for the sandbox of *command*: that of its program, and a random suffix."""
    program = os.path.basename(command[0]).replace("_", "-") if command else "run"
    name = "".join(char for char in program if char.isalnum() or char in "-.").strip("-.") or "run"
    return f"{name[:40]}-{os.urandom(3).hex()}"


def check_streams(command: str, values: Mapping[str, Any]) -> None:
    """Exit with 2 if `-i` or `-t` ask for what berth *command* can't give: detached there is no input, and no terminal is made."""
    if values.get("detach") and (values.get("interactive") or values.get("tty")):
        usage_error(
            command, "-i and -t are for a command in the foreground: with -d its input is empty and there is no terminal; leave them out"
        )
    if values.get("tty") and not os.isatty(0):
        usage_error(command, "-t needs a terminal, and standard input is none; leave -t out")
