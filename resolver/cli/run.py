"""`berth run`: a sandbox, a command in it, and the end of both. Standard library only, so that it starts in 20 ms."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from resolver.cli import enter
from resolver.cli.client import Refused, call
from resolver.cli.environment import explicit_environment, inherited
from resolver.cli.output import complain, print_plan, print_warnings
from resolver.cli.sandbox_calls import delete, hold_for_a_moment, register
from resolver.cli.sandbox_options import BadOption, sandbox_body
from resolver.cli.sandbox_parser import arguments_of, usage_error, without_dashes
from resolver.cli.system_calls import EnterFailed
from resolver.isolation.told import isolation_of, withheld_of
from resolver.numbers import whole_number

if TYPE_CHECKING:
    from resolver.cli.restarting import Restarting

_ABOUT_THE_END = ("restart", "stop_signal", "stop_timeout")
"""Options for which the daemon must know of a command in the foreground how it is to end."""
_DEFAULT_NETWORK = "default"
"""Where a sandbox is that names no network; the daemon makes it."""
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


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
    confine, command = _confined_directory(values, without_dashes(operands))
    detach = values.get("detach", False)
    if not command and not values.get("dry_run"):
        usage_error("run", "a command is missing")
    check_streams("run", values)
    if values.get("rm") and values.get("restart", "no") != "no":
        usage_error("run", "conflicting options: cannot specify both --restart and --rm; leave one of them out")
    body = _body(values, command)
    isolation = with_places(body.get("isolation", {}), confine)
    if isolation:
        body["isolation"] = isolation
    if values.get("dry_run"):
        print_plan(call("POST", "/v1/sandboxes?dry_run=1", body))
        return 0
    enter.check_privilege()
    explicit = explicit_environment(values)
    caller = inherited(everything=bool(values.get("env_all")), user=isolation.get("user", ""))
    descriptors = descriptors_of("run", values)
    if detach:
        return run_detached(body, process_body(values, command, explicit, caller))
    is_told = any(name in values for name in _ABOUT_THE_END)
    process = {**process_body(values, command, explicit, caller), "remove": True} if is_told else None
    directory = enter.working_directory(values.get("workdir"))
    return run_in_foreground(body, command, Variables(caller, explicit), directory, process, descriptors)


class Variables(NamedTuple):
    """Variables of a command. *caller*: those that it has of the caller's. *explicit*: those that win over all others."""

    caller: Mapping[str, str]
    explicit: Mapping[str, str]


def with_places(isolation: Mapping[str, Any], confine: str | None = None) -> dict[str, Any]:
    """Return *isolation* with absolute paths in the place of those that begin where the caller is. *confine*: what is writable."""
    found = dict(isolation)
    if confine is not None:
        found["confine"] = confine
    if "volumes" in found:
        found["volumes"] = [_with_whole_source(text) for text in found["volumes"]]
    return found


def _with_whole_source(volume: str) -> str:
    source, colon, rest = volume.partition(":")
    return f"{os.path.abspath(os.path.expanduser(source))}{colon}{rest}" if source.startswith((".", "~")) else volume


def _confined_directory(values: dict[str, Any], command: list[str]) -> tuple[str | None, list[str]]:
    """Return which directory `--confine` leaves writable, None without it, and the command.

    A word between it and the command is that directory: no program is one.
    """
    given = values.get("confine")
    if given is None:
        return None, command
    if given is True and command and (os.path.isdir(command[0]) or command[1:2] == ["--"]):
        from resolver.cli.sandbox_parser import parse

        try:
            more, operands = parse("run", command[1:])
        except BadOption as error:
            usage_error("run", error)
        for name, value in more.items():
            values[name] = [*values.get(name, []), *value] if isinstance(value, list) else value
        given, command = command[0], without_dashes(operands)
    directory = os.path.abspath("." if given is True else os.path.expanduser(str(given)))
    if not os.path.isdir(directory):
        usage_error("run", f"--confine {given}: there is no such directory")
    return directory, command


def descriptors_of(command: str, values: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the descriptors that `--preserve-fd` names; exits with 2 for one that is not open, or can't be kept."""
    texts = [part for text in values.get("preserve_fd", ()) for part in text.split(",")]
    found = []
    for text in texts:
        number = whole_number(text, 3, 1_000_000)
        if number is None:
            usage_error(command, f"--preserve-fd {text}: it should be a number from 3 on; 0, 1 and 2 are always kept")
        try:
            os.fstat(number)
        except OSError:
            usage_error(command, f"--preserve-fd {text}: descriptor {number} is not open")
        found.append(number)
    if found and values.get("detach"):
        usage_error(command, "--preserve-fd: what runs in the background has no descriptors of the caller; leave -d out")
    return tuple(found)


def run_in_foreground(
    body: dict[str, Any],
    command: list[str],
    variables: Variables,
    directory: enter.WorkingDirectory,
    process: dict[str, Any] | None = None,
    descriptors: Sequence[int] = (),
) -> int:
    """Run *command* in a new sandbox as *body* says, remove that when it has ended, and return its exit code.

    *process*: what the daemon has to know of the command, if its end is not as usual. *descriptors*: those above 2 that it has too.
    """
    # Before anything exists: a terminal's Ctrl-C is for the command, a SIGTERM is handed on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    # Until there is somebody to hand them on to they wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    try:
        return _run_and_remove(body, command, variables, directory, process, descriptors)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)


def _run_and_remove(
    body: dict[str, Any],
    command: list[str],
    variables: Variables,
    directory: enter.WorkingDirectory,
    process: dict[str, Any] | None,
    descriptors: Sequence[int],
) -> int:
    """See `run_in_foreground`. Signals that are handed on wait until the command runs."""
    if process is not None:
        hold_for_a_moment()
    sandbox = call("POST", "/v1/sandboxes", body if process is None else {**body, "process": process})
    print_warnings(sandbox)
    path = f"/v1/sandboxes/{sandbox['id']}"
    restarting = None if process is None else _restarting(sandbox["id"], process["restart"])
    # An explicit variable wins, in its own spelling only (PX-3).
    environment = {**variables.caller, **sandbox["environment"], **variables.explicit}
    from resolver.cli import command_record

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
        raise EnterFailed(f"{error}{_about_images(error, command)}") from error
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


def _about_images(error: EnterFailed, command: list[str], run: str = "berth run") -> str:
    """Return what is to be said to somebody who gave an image, as docker run takes it, in the place of a program; "" to others.

    *run*: what was written before the command.
    """
    code, _ = enter.failure(str(error))
    if code != enter.NOT_FOUND:
        return ""
    from resolver.cli import images

    return images.hint(command, run=run)


_checkers: list[int | None] = []
"""Who checks the health of the command that runs now, if anybody does."""


def _check_health(sandbox: dict[str, Any], pid: int, environment: dict[str, str], directory: enter.WorkingDirectory) -> None:
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
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    for number in _FORWARDED:
        signal.signal(number, hand_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    return enter.wait(pid)


def run_detached(body: dict[str, Any], process: dict[str, Any]) -> int:
    """Start a command that outlives this process, in a sandbox that stays when it has ended; print the sandbox's name."""
    from resolver.cli import monitor

    hold_for_a_moment()
    sandbox = call("POST", "/v1/sandboxes", {**body, "process": process})
    print_warnings(sandbox)
    warn_of_withheld(sandbox)
    try:
        monitor.start(sandbox, process)
    except EnterFailed as error:
        delete(f"/v1/sandboxes/{sandbox['id']}", call)
        raise EnterFailed(f"{error}{_about_images(error, process['command'], 'berth run -d')}") from error
    except Refused:
        delete(f"/v1/sandboxes/{sandbox['id']}", call)
        raise
    print(sandbox["name"])
    return 0


def process_body(values: Mapping[str, Any], command: list[str], explicit: Mapping[str, str], caller: Mapping[str, str]) -> dict[str, Any]:
    """Return the `process` of a body of `POST /v1/sandboxes` for the options *values*."""
    directory = enter.working_directory(values.get("workdir"))
    try:
        timeout = float(values.get("stop_timeout", 10))
        if not math.isfinite(timeout):
            raise ValueError("it has no end")
    except ValueError:
        usage_error("run", f"--stop-timeout must be a number of seconds, not {values['stop_timeout']!r}")
    return {
        "command": list(command),
        "environment": dict(caller),
        "explicit": dict(explicit),
        "directory": directory.path,
        "directory_required": directory.required,
        "stop_signal": values.get("stop_signal", "TERM"),
        "stop_timeout": timeout,
        "restart": values.get("restart", "no"),
        "remove": bool(values.get("rm")),
    }


def _remove(path: str, code: int) -> int:
    """Remove the sandbox at *path*, whose command has ended with *code*; return that."""
    try:
        call("DELETE", f"{path}?exit_code={code}")
    except Refused as error:
        # Its owner has ended, so the daemon removes it in any case.
        if error.kind not in ("not-found", None):
            complain(f"warning: {error}")
    return code


def _body(values: dict[str, Any], command: list[str]) -> dict[str, Any]:
    try:
        body = sandbox_body(values, default_network=_DEFAULT_NETWORK)
    except BadOption as error:
        usage_error("run", error)
    check = _health_check(values)
    if check is not None:
        body["health_check"] = check
    if "egress" in body:
        # Few have rules, and each module that is imported is waited for.
        from resolver.cli.egress_files import with_files

        body["egress"] = with_files(body["egress"])
    body.setdefault("name", _name(command))
    return {**body, "owner_pid": os.getpid(), "default_network": True}


def _health_check(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the `health_check` that the options *values* ask for, None if they ask for none."""
    if not any(name.startswith("health_") for name in values):
        return None
    from resolver.cli.health_options import health_check

    try:
        return health_check(values)
    except BadOption as error:
        usage_error("run", error)


def _name(command: list[str]) -> str:
    """Return a name for the sandbox of *command*: that of its program, and a random suffix."""
    program = os.path.basename(command[0]).replace("_", "-") if command else "run"
    name = "".join(char for char in program if char.isalnum() or char in "-.").strip("-.") or "run"
    return f"{name[:40]}-{os.urandom(3).hex()}"


def check_streams(command: str, values: Mapping[str, Any]) -> None:
    """Exit with 2 if `-t` asks berth *command* for a terminal that nobody has; say that what is detached has none, and no input."""
    asked = [flag for flag, name in (("-i", "interactive"), ("-t", "tty")) if values.get(name)]
    if values.get("detach"):
        if asked:
            complain(f"warning: {' and '.join(asked)} without effect: with -d the command has no terminal, and its input is empty")
        return
    if values.get("tty") and not os.isatty(0):
        usage_error(command, "-t needs a terminal, and standard input is none; leave -t out")
