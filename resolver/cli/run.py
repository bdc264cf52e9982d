"""`berth run`: a sandbox, a command in it, and the end of both. Standard library only, so that it starts in 20 ms."""

from __future__ import annotations

import os
import sys

from resolver.cli import entering
from resolver.cli.client import Refused, call
from resolver.cli.entering import EnterFailed
from resolver.cli.environment import Variables, explicit_environment, inherited
from resolver.cli.outcome import usage_error
from resolver.cli.output import complain, print_plan, print_warnings
from resolver.light import TYPE_CHECKING, signal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

_ABOUT_THE_END = ("restart", "stop_signal", "stop_timeout")
"""Options for which the daemon must know of a command in the foreground how it is to end."""
_DEFAULT_NETWORK = "default"
"""Where a sandbox is that names no network; the daemon makes it."""
_HANDED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main(arguments: list[str]) -> int:
    """Run `berth run` *arguments* and return the exit code: the command's own, or 125 to 127 as Docker has them."""
    return exit_code(lambda: _run(arguments))


def exit_code(action: Callable[[], int]) -> int:
    """Return the exit code of *action*, which starts a command; its failures are reported with Docker's codes."""
    try:
        return action()
    except Refused as error:
        complain(error)
        return entering.FAILED
    except EnterFailed as error:
        code, message = entering.failure(str(error))
        complain(message)
        return code
    except OSError as error:
        print(f"berth: {error.filename or 'system'}: {error.strerror}", file=sys.stderr)
        return entering.FAILED
    except KeyboardInterrupt:
        return 130


def _run(arguments: list[str]) -> int:
    values, operands = _parsed(arguments)
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
    entering.check_privilege()
    explicit = explicit_environment(values)
    caller = inherited(everything=bool(values.get("env_all")), user=isolation.get("user", ""))
    descriptors = descriptors_of("run", values)
    if detach:
        return run_detached(body, process_body(values, command, explicit, caller))
    is_told = any(name in values for name in _ABOUT_THE_END)
    process = {**process_body(values, command, explicit, caller), "remove": True} if is_told else None
    directory = entering.working_directory(values.get("workdir"))
    return run_in_foreground(body, command, Variables(caller, explicit), directory, process, descriptors)


def without_dashes(command: list[str]) -> list[str]:
    """Return the *command* that was given, without a `--` before it."""
    return command[1:] if command[:1] == ["--"] else command


def has_options(arguments: list[str]) -> bool:
    """Return whether *arguments* begin with an option. If they don't, nothing needs the table of options."""
    return bool(arguments) and arguments[0].startswith("-") and arguments[0] not in ("-", "--")


def _parsed(arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the options that were given, and the operands."""
    if not has_options(arguments):
        return {}, without_dashes(arguments)
    from resolver.cli.sandbox_parser import arguments_of

    return arguments_of("run", arguments)


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
        from resolver.cli.sandbox_options import BadOption
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
    if not texts:
        return ()
    from resolver.numbers import whole_number

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
    if values.get("detach"):
        usage_error(command, "--preserve-fd: what runs in the background has no descriptors of the caller; leave -d out")
    return tuple(found)


def run_in_foreground(
    body: dict[str, Any],
    command: list[str],
    variables: Variables,
    directory: entering.WorkingDirectory,
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
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON)
    try:
        if process is not None:
            _hold_for_a_moment()
        sandbox = call("POST", "/v1/sandboxes", body if process is None else {**body, "process": process}, meanwhile=_load_foreground)
        print_warnings(sandbox)
        from resolver.cli import foreground

        restart = None if process is None else process["restart"]
        return foreground.hold(sandbox, command, variables, directory, restart=restart, descriptors=descriptors)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDED_ON)


def _load_foreground() -> None:
    """Have everything there that a command in the foreground needs. The daemon makes the sandbox meanwhile."""
    from resolver.cli import foreground  # noqa: F401


def _load_background() -> None:
    from resolver.cli import monitor  # noqa: F401


def _hold_for_a_moment() -> None:
    from resolver.cli.sandbox_calls import hold_for_a_moment

    hold_for_a_moment()


def run_detached(body: dict[str, Any], process: dict[str, Any]) -> int:
    """Start a command that outlives this process, in a sandbox that stays when it has ended; print the sandbox's name."""
    _hold_for_a_moment()
    sandbox = call("POST", "/v1/sandboxes", {**body, "process": process}, meanwhile=_load_background)
    print_warnings(sandbox)
    from resolver.cli import monitor
    from resolver.cli.foreground import about_images, warn_of_withheld
    from resolver.cli.sandbox_calls import delete

    warn_of_withheld(sandbox)
    try:
        monitor.start(sandbox, process)
    except EnterFailed as error:
        delete(f"/v1/sandboxes/{sandbox['id']}", call)
        raise EnterFailed(f"{error}{about_images(error, process['command'], 'berth run -d')}") from error
    except Refused:
        delete(f"/v1/sandboxes/{sandbox['id']}", call)
        raise
    print(sandbox["name"])
    return 0


def process_body(values: Mapping[str, Any], command: list[str], explicit: Mapping[str, str], caller: Mapping[str, str]) -> dict[str, Any]:
    """Return the `process` of a body of `POST /v1/sandboxes` for the options *values*."""
    import math

    directory = entering.working_directory(values.get("workdir"))
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


def _body(values: dict[str, Any], command: list[str]) -> dict[str, Any]:
    body = _asked(values) if values else {"networks": []}
    check = _health_check(values)
    if check is not None:
        body["health_check"] = check
    if "egress" in body:
        # Few have rules, and each module that is imported is waited for.
        from resolver.cli.egress_files import with_files

        body["egress"] = with_files(body["egress"])
    body.setdefault("name", _name(command))
    return {**body, "owner_pid": os.getpid(), "default_network": True}


def _asked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of `POST /v1/sandboxes` for what the options *values* say of the sandbox."""
    from resolver.cli.sandbox_options import BadOption, sandbox_body

    try:
        return sandbox_body(values, default_network=_DEFAULT_NETWORK)
    except BadOption as error:
        usage_error("run", error)


def _health_check(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the `health_check` that the options *values* ask for, None if they ask for none."""
    if not any(name.startswith("health_") for name in values):
        return None
    from resolver.cli.health_options import health_check
    from resolver.cli.sandbox_options import BadOption

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
