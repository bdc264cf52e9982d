"""Starting the command of a sandbox again by its restart policy: what the process that holds the sandbox decides, tells and waits for."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from resolver.cli import entering
from resolver.cli.client import NoDaemon, Refused, Unanswered, call
from resolver.cli.entering import EnterFailed
from resolver.restart_policy import Restarts, policy_of
from resolver.signal_names import START_NO_MORE

_LOOK = 0.2
"""Seconds between tries to reach a daemon that is not there, or can't do now what it is asked for."""
_PASSING = ("busy", "unavailable")
"""Refusals that end by themselves: too many requests, or a state that can't be written."""


class Restarting:
    """Of one sandbox. *policy*: as `run --restart` has it. *already*: how often its command was started again by another holder.

    From its making on, the signal of the daemon ends restarts.
    """

    def __init__(self, sandbox_id: str, policy: str, already: int = 0) -> None:
        self._path = f"/v1/sandboxes/{sandbox_id}"
        self._restarts = Restarts(policy_of(policy), already)
        self.is_last = False
        # A signal ends the pause before a restart by this.
        self._woken, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(START_NO_MORE, self.start_no_more)

    def start_no_more(self, *_: object) -> None:
        """Start the command no more, once it has ended; also as the handler of a signal."""
        self.is_last = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._waker, b"1")

    def hold(self, wait: Callable[[], int], start: Callable[[], None], on_failure: Callable[[str], None]) -> int:
        """Wait for the command, and start it again as often as its policy says so; return its last exit code.

        *wait*: for the command that runs; returns its exit code. *start*: starts it again; raises Refused if the sandbox has been removed.
        *on_failure*: told why it could not be started.
        """
        while True:
            began = time.monotonic()
            code = wait()
            while True:
                if not self.comes_again(code, time.monotonic() - began):
                    return code
                try:
                    start()
                    break
                except Refused:
                    return code
                except (EnterFailed, OSError) as error:
                    code, text = entering.failure(str(error))
                    on_failure(text)
                    began = time.monotonic()

    def comes_again(self, code: int, ran: float) -> bool:
        """Return, when it is time, whether the command is to be started again that ended with *code* after it *ran* so many seconds."""
        pause = None if self.is_last else self._restarts.next(code, ran)
        return pause is not None and self._tell({"restarting": code}, required=False) and self._pause(pause)

    def register(self, init: int) -> None:
        """Tell the daemon of the *init* of a command that was started again; Refused if the sandbox is gone."""
        self._tell({"leader_pid": init}, required=True)

    def _tell(self, body: Mapping[str, Any], *, required: bool) -> bool:
        """Tell the daemon, as soon as there is one; return whether the sandbox is there still. *required*: Refused if it is not."""
        while True:
            try:
                call("PATCH", self._path, body, autostart=False)
            except (NoDaemon, Unanswered):
                # What it has done all the same, it does once more: that a command has ended, or which one is there.
                if self.is_last and not required:
                    return False
                time.sleep(_LOOK)
            except Refused as error:
                if error.kind in _PASSING and (required or not self.is_last):
                    time.sleep(_LOOK)
                    continue
                if required:
                    raise
                return False
            else:
                return True

    def _pause(self, seconds: float) -> bool:
        """Wait; return whether the command is to be started still."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.select(seconds)
        return not self.is_last
