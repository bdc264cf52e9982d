"""The process that holds a sandbox which stays: it starts the command, keeps what it prints, and starts it again by its policy.

One for each such sandbox, like Podman's conmon: a child of the client that outlives it, and the owner of the sandbox. When it ends,
the daemon frees the sandbox; how the command ended it has left in the file `exit` in the sandbox's directory, so that no daemon has
to be there. When it is killed, the command is killed with it. START_NO_MORE tells it to start the command no more.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

from resolver.cli import command_record, enter, entering, health_probe
from resolver.cli.client import Refused, call
from resolver.cli.entering import EnterFailed
from resolver.cli.output_log import STREAMS, OutputLog
from resolver.cli.restarting import Restarting
from resolver.cli.sandbox_calls import register
from resolver.cli.system_calls import close_inherited, unread
from resolver.cli.whole_file import write_whole

_AT_ONCE = 65_536
"""Octets of output that are read at once."""


def start(sandbox: Mapping[str, Any], process: Mapping[str, Any]) -> int:
    """Start the command of *process* in *sandbox*, held by a new process, and return that one's pid; raises EnterFailed or Refused.

    *process*: as `ProcessBody` of the admin API.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = entering.FAILED
        try:
            os.close(reading)
            close_inherited()
            os.setsid()
            code = _Monitor(dict(sandbox), process, writing).run()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        # Not until the end of the pipe: what is started inherits it.
        told = pipe.readline()
    failure = json.loads(told or b'{"text": "the process that holds the sandbox has ended", "refused": false}')
    if failure is not None:
        os.waitpid(pid, 0)
        raise Refused(failure["text"], failure["kind"]) if failure["refused"] else EnterFailed(failure["text"])
    return pid


class _Monitor:
    """*report*: where the caller is told whether the command runs."""

    def __init__(self, sandbox: dict[str, Any], process: Mapping[str, Any], report: int) -> None:
        self._sandbox = sandbox
        self._process = process
        self._report = report
        run = sandbox.get("run")
        self._restarting = Restarting(sandbox["id"], process["restart"], 0 if run is None else run["restarts"])
        self._log = OutputLog(sandbox["directory"])

    def run(self) -> int:
        """Start the command, and again for as long as its policy says so; return its last exit code."""
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        command_record.write(self._sandbox, self._process["explicit"], self._process["directory"])
        try:
            init, outputs = self._start(patient=False)
        except (EnterFailed, Refused, OSError) as error:
            code, _ = entering.failure(str(error))
            self._note_exit(code)
            told = {"text": str(error), "refused": isinstance(error, Refused), "kind": getattr(error, "kind", None)}
            self._tell(told)
            return code
        null = os.open("/dev/null", os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        self._tell(None)
        code = self._hold(init, outputs)
        self._note_exit(code)
        return code

    def _tell(self, failure: dict[str, Any] | None) -> None:
        """Tell the caller why the first start failed, None: it did not."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._report, json.dumps(failure).encode() + b"\n")
        os.close(self._report)

    def _hold(self, init: int, outputs: dict[int, str]) -> int:
        running = init, outputs

        def wait() -> int:
            init, outputs = running
            checker = health_probe.start(self._sandbox, init, self._environment(), self._directory())
            self._follow(init, outputs)
            code = enter.wait(init)
            health_probe.stop(checker)
            return code

        def start_again() -> None:
            nonlocal running
            running = self._start(patient=True)

        return self._restarting.hold(wait, start_again, lambda text: self._log.write("stderr", f"berth: {text}\n".encode()))

    def _start(self, *, patient: bool) -> tuple[int, dict[int, str]]:
        """Start the command; return the pid of its init, and what it prints as descriptor → stream."""
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in STREAMS]

        def prepare() -> None:
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            for stream, (_, writing) in enumerate(pipes, 1):
                os.dup2(writing, stream)

        process = self._process
        try:
            init = enter.start(
                self._sandbox,
                process["command"],
                environment=self._environment(),
                directory=self._directory(),
                register=lambda pid: self._register(pid, patient=patient),
                prepare=prepare,
            )
        except BaseException:
            for reading, _ in pipes:
                os.close(reading)
            raise
        finally:
            for _, writing in pipes:
                os.close(writing)
        if self._restarting.is_last:
            # It was stopped meanwhile, and the daemon does not know of this process.
            os.kill(init, signal.SIGKILL)
        return init, {reading: stream for (reading, _), stream in zip(pipes, STREAMS, strict=True)}

    def _environment(self) -> dict[str, str]:
        # An explicit variable wins, in its own spelling only (PX-3).
        return {**self._process["environment"], **self._sandbox["environment"], **self._process["explicit"]}

    def _directory(self) -> entering.WorkingDirectory:
        return entering.WorkingDirectory(self._process["directory"], self._process["directory_required"])

    def _register(self, init: int, *, patient: bool) -> None:
        if patient:
            self._restarting.register(init)
        else:
            register(self._sandbox, init, call, owner=os.getpid())

    def _follow(self, init: int, outputs: dict[int, str]) -> None:
        """Write what the command prints to the log until its *init* has ended, and with it all that ran in the sandbox.

        The end of the outputs is not waited for: a process elsewhere that was given one could put that off for ever.
        """
        ended = os.pidfd_open(init)
        with selectors.DefaultSelector() as selector:
            selector.register(ended, selectors.EVENT_READ, None)
            for descriptor, stream in outputs.items():
                selector.register(descriptor, selectors.EVENT_READ, stream)
            while ended in selector.get_map():
                for key, _ in selector.select():
                    if key.fd == ended:
                        selector.unregister(ended)
                    elif not self._copy(key.fd, key.data):
                        selector.unregister(key.fd)
        os.close(ended)
        for descriptor, stream in outputs.items():
            left = unread(descriptor)
            while left > 0 and (read := self._copy(descriptor, stream, left)):
                left -= read
            self._log.flush(stream)
            os.close(descriptor)

    def _copy(self, descriptor: int, stream: str, most: int = _AT_ONCE) -> int:
        """Write what can be read there to the log; return how many octets, 0 at the end."""
        octets = os.read(descriptor, min(most, _AT_ONCE))
        self._log.write(stream, octets)
        return len(octets)

    def _note_exit(self, code: int) -> None:
        """Leave the exit code where the daemon finds it."""
        text = json.dumps({"code": code, "at": time.time()})  # noqa: TID251 (this is where the clock is read)
        write_whole(os.path.join(self._sandbox["directory"], "exit"), text)
