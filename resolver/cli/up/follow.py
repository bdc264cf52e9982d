"""Following services: what they print, and how they end."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from resolver.cli.client import Refused
from resolver.cli.output import complain
from resolver.cli.output_lines import Line, Reader
from resolver.cli.reaping import exit_code
from resolver.cli.sandbox_calls import delete
from resolver.cli.up.reconcile import stop_waves
from resolver.printable import printable

if TYPE_CHECKING:
    from resolver.cli.sandbox_calls import Call

_AT_ONCE = 16
_LOOKS_AT_STATE = 5
"""Looks after which the daemon is asked about what is not our child."""


class Followed:
    """A sandbox that is followed. *holder*: pid of our child that holds it, None for one that was there before.

    *code*: None while its command runs. *is_shown*: whether what it prints is printed.
    """

    def __init__(self, view: Mapping[str, Any], reader: Reader, holder: int | None, *, is_shown: bool) -> None:
        self.view = view
        self.name = str(view["name"])
        self.reader = reader
        self.holder = holder
        self.is_shown = is_shown
        self.restarts = 0
        self.code: int | None = None

    def poll(self) -> bool:
        """Return whether our child has ended since the last call."""
        if self.code is not None or self.holder is None:
            return False
        pid, status = os.waitpid(self.holder, os.WNOHANG)
        if pid:
            self.code = exit_code(status)
        return bool(pid)


class Follower:
    """Prints what services print, each line with the name of its sandbox, and notes how they end. *width*: of the names.

    *timestamps*: each line with its time too.
    """

    def __init__(self, call: Call, width: int, *, has_prefix: bool = True, timestamps: bool = False) -> None:
        self._call = call
        self._width = width
        self._has_prefix = has_prefix
        self._timestamps = timestamps
        self._looks = 0
        self._stopping: list[threading.Thread] = []
        self.members: list[Followed] = []

    def add(self, view: Mapping[str, Any], holder: int | None, *, is_shown: bool = True) -> None:
        """Follow the sandbox *view*; of one that was there before, what it prints from now on. *is_shown*: see `Followed`."""
        reader = Reader(view["run"]["output"])
        if holder is None or view["run"]["ended"] is not None:
            for _ in reader.lines():
                continue
        self.members.append(Followed(view, reader, holder, is_shown=is_shown))

    @property
    def running(self) -> list[Followed]:
        """Those whose command has not ended."""
        return [member for member in self.members if member.code is None]

    def pump(self) -> list[Followed]:
        """Print what has come; return those that have ended since the last call, in the order of the services."""
        self._looks += 1
        followed = self.running
        restarted = self._look_at(followed) if self._looks % _LOOKS_AT_STATE == 0 else []
        ended = [one for one in followed if one.poll() or one.code is not None]
        # What was started again and has ended since the last look.
        restarted += self._look_at([one for one in ended if one.holder is not None])
        lines = [(line, one) for one in followed for line in one.reader.lines()]
        lines += [(line, one) for one in ended for line in one.reader.rest()]
        for line, one in sorted(lines, key=lambda pair: pair[0].time):
            if one.is_shown:
                self._print(one, line)
        for one, code in restarted:
            print(f"{self._prefix(one)}exited with code {code} (restarting)")
        for one in ended:
            one.reader.close()
            print(f"{self._prefix(one)}exited with code {one.code}")
        sys.stdout.flush()
        return ended

    def _look_at(self, followed: list[Followed]) -> list[tuple[Followed, int]]:
        """Note which of those that are not our children have ended; return those that were restarted, with the last exit code."""
        restarted = []
        for one in followed:
            if one.holder is not None and one.view["run"].get("restart", "no") == "no":
                continue
            try:
                run = self._call("GET", f"/v1/sandboxes/{one.view['id']}", autostart=False)["run"]
            except Refused as error:
                if error.kind == "not-found" and one.holder is None:
                    one.code = 0
                # Without a daemon it goes on.
                continue
            if one.holder is None and run["state"] == "exited":
                one.code = run["exit_code"]
            elif run["restarts"] > one.restarts:
                restarted.append((one, run["exit_code"]))
            one.restarts = run["restarts"]
        return restarted

    def _prefix(self, one: Followed) -> str:
        return f"{one.name.ljust(self._width)} | " if self._has_prefix else ""

    def _print(self, one: Followed, line: Line) -> None:
        when = f"{line.time} " if self._timestamps else ""
        # A progress bar rewrites its line; here each state is a line, so that nothing covers the prefix.
        for part in line.text.rstrip(b"\r\n").decode(errors="replace").split("\r"):
            sys.stdout.write(f"{self._prefix(one)}{when}{printable(part)}\n")

    # --- the end ------------------------------------------------------------------------------------------------

    def stop(self, timeout: float | None) -> None:
        """Have all that run stopped, each with its signal and its grace, what depends on others first; *timeout* in place of the grace."""
        self._begin(lambda: self._stop_in_order(timeout))

    def kill(self) -> None:
        """Have all that run killed."""
        self._begin(lambda: self._stop_all([one.view for one in self.running], {"signal": "KILL", "timeout": 0.0}))

    def _begin(self, action: Any) -> None:
        # What they print meanwhile is printed.
        thread = threading.Thread(target=action)
        thread.start()
        self._stopping.append(thread)

    def _stop_in_order(self, timeout: float | None) -> None:
        for wave in stop_waves([one.view for one in self.running]):
            self._stop_all(wave, {"timeout": timeout})

    def _stop_all(self, views: Iterable[Mapping[str, Any]], body: Mapping[str, Any]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as workers:
            list(workers.map(lambda view: stop_one(view, body, self._call), views))

    def settle(self) -> None:
        """Wait until what was asked to stop has stopped."""
        for thread in self._stopping:
            thread.join()
        self._stopping.clear()

    def close(self) -> None:
        """Follow nothing more."""
        self.settle()
        for one in self.members:
            one.reader.close()


def stop_one(view: Mapping[str, Any], body: Mapping[str, Any], call: Call) -> None:
    """Stop the command in one sandbox; one that has none, or is gone, is done. What fails is said."""
    try:
        call("POST", f"/v1/sandboxes/{view['id']}/stop", dict(body), patience=None)
    except Refused as error:
        if error.kind != "not-found":
            complain(f"warning: {error}")


def stop_and_remove(views: Iterable[Mapping[str, Any]], timeout: float | None, call: Call) -> None:
    """Stop sandboxes of a project, each with its signal and its grace, and remove them; what depends on others first."""

    def remove(view: Mapping[str, Any]) -> None:
        run = view.get("run")
        if run is not None and run["state"] != "exited":
            with contextlib.suppress(Refused):
                call("POST", f"/v1/sandboxes/{view['id']}/stop", {"timeout": timeout}, patience=None)
        delete(f"/v1/sandboxes/{view['id']}", call)

    with ThreadPoolExecutor(_AT_ONCE) as workers:
        for wave in stop_waves(views):
            list(workers.map(remove, wave))
