"""One `berth up`: carries a plan out, follows what the services print, and takes everything down at the end or on failure."""

from __future__ import annotations

import os
import selectors
import signal
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from resolver.cli import enter
from resolver.cli.client import PROJECT_LABEL, Refused, call, segment
from resolver.cli.compose.project import Service
from resolver.cli.output import complain, print_table, print_warnings
from resolver.cli.sandbox_calls import Call, delete, hold_for_a_moment
from resolver.cli.system_calls import EnterFailed
from resolver.cli.up import processes
from resolver.cli.up.plan import Ending, ServicePlan, UpPlan, ending, exit_code, plan_up, table
from resolver.cli.up.processes import ServiceProcess
from resolver.cli.up.project_file import Selection, load_project
from resolver.printable import printable

_AT_ONCE = 16
_LOOK = 0.1
"""Seconds between looks whether something has ended, or is to be started again."""


def up(selection: Selection, *, detach: bool, timeout: float | None = None) -> int:
    """Bring the project of *selection* up; follow its output until Ctrl-C or its end unless *detach*.

    *timeout*: seconds until services that were stopped are killed, None: their own.
    """
    loaded = load_project(selection)
    for warning in loaded.warnings:
        print(f"berth: {warning}", file=sys.stderr)
    for service in loaded.project.services:
        processes.stop_signal(service)
    plan = plan_up(loaded.project, pid=os.getpid(), detach=detach)
    if any(service.service.command for service in plan.services):
        try:
            enter.check_privilege()
        except EnterFailed as error:
            raise Refused(str(error)) from error
    hold_for_a_moment()
    session = Session(plan, call, Path(loaded.project.directory), detach=detach, timeout=timeout)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, session.on_stop)
    try:
        return session.run()
    except processes.NotExecutable as error:
        complain(error)
        return enter.NOT_EXECUTABLE


class Session:
    """Carries out *plan* by requests of *call*. Working directories and files of services are below *directory*.

    *timeout*: see `up`. *shows*: print what came up.
    """

    def __init__(
        self, plan: UpPlan, call: Call, directory: Path, *, detach: bool, timeout: float | None = None, shows: bool = True
    ) -> None:
        self._plan = plan
        self._call = call
        self._directory = directory
        self._detach = detach
        self._shows = shows
        self._networks: list[dict[str, Any]] = []
        self._sandboxes: list[dict[str, Any]] = []
        self._timeout = timeout
        self._outputs = selectors.DefaultSelector()
        # What has ended and is started again: when, by the monotonic clock.
        self._due: dict[ServiceProcess, float] = {}
        self._processes: list[ServiceProcess] = []
        self._following = False
        self._stop_requests = 0

    def run(self) -> int:
        """Bring everything up, follow it, take it down; return the exit code."""
        try:
            self._bring_up()
            if self._shows:
                self._show()
        except BaseException as error:
            self._take_down()
            if isinstance(error, KeyboardInterrupt):
                return 130
            raise
        if self._detach:
            return 0
        code = self._follow()
        self._take_down()
        return code

    def on_stop(self, *_: object) -> None:
        """Note that the user wants an end; while nothing of the project runs yet, or at the fourth time, give up at once."""
        self._stop_requests += 1
        if not (self._processes or self._following) or self._stop_requests > 3:
            raise KeyboardInterrupt

    # --- up -----------------------------------------------------------------------------------------------------

    def _bring_up(self) -> None:
        for name in self._plan.external:
            try:
                self._call("GET", f"/v1/networks/{segment(name)}", autostart=True)
            except Refused as error:
                raise Refused(f"external network {name}: {error}; create it with `berth network create`") from error
        for body in self._plan.networks:
            self._networks.append(self._create_network(body))
        for service in self._plan.services:
            for sandbox in self._create_sandboxes(service):
                print_warnings(sandbox)
                if service.service.command:
                    self._start(service, sandbox)

    def _create_network(self, body: Any) -> dict[str, Any]:
        try:
            network: dict[str, Any] = self._call("POST", "/v1/networks", body)
        except Refused as error:
            if error.kind == "conflict" and self._is_up():
                name = self._plan.project
                raise Refused(f"project {name} is up already; `berth down` ends it, -p names another") from error
            raise
        return network

    def _is_up(self) -> bool:
        return any(network["labels"].get(PROJECT_LABEL) == self._plan.project for network in self._call("GET", "/v1/networks"))

    def _create_sandboxes(self, plan: ServicePlan) -> list[dict[str, Any]]:
        """Create all sandboxes of a service at once; those that were created are taken down later even if another failed."""
        with ThreadPoolExecutor(_AT_ONCE) as workers:
            outcomes = list(workers.map(partial(self._create_sandbox, plan.service), self.with_linked_hosts(plan)))
        created = [outcome for outcome in outcomes if not isinstance(outcome, Refused)]
        self._sandboxes += created
        for result in outcomes:
            if isinstance(result, Refused):
                raise result
        return created

    def with_linked_hosts(self, plan: ServicePlan) -> list[Mapping[str, Any]]:
        """Return the bodies of a service with the addresses of what it links on the network `bridge`."""
        lines = [f"{name}:{self._address_on_bridge(plan.service.name, sandbox)}" for name, sandbox in plan.linked_hosts]
        return [{**body, "extra_hosts": [*body.get("extra_hosts", ()), *lines]} if lines else body for body in plan.bodies]

    def _address_on_bridge(self, service: str, sandbox: str) -> str:
        endpoints = self._call("GET", f"/v1/sandboxes/{segment(sandbox)}")["endpoints"]
        address = next(
            (endpoint["addresses"][0] for endpoint in endpoints if endpoint["network"] == "bridge" and endpoint["addresses"]), None
        )
        if address is None:
            raise Refused(f"service {service} links {sandbox}, which is not on the network bridge; give both the same network")
        return str(address).partition("/")[0]

    def _create_sandbox(self, service: Service, body: Any) -> dict[str, Any] | Refused:
        if self._detach and service.command:
            body = {**body, "process": processes.process_body(service, self._directory)}
        try:
            sandbox: dict[str, Any] = self._call("POST", "/v1/sandboxes", body)
        except Refused as error:
            return Refused(f"service {service.name}: {error}", error.kind)
        return sandbox

    def _start(self, plan: ServicePlan, sandbox: dict[str, Any]) -> None:
        if self._detach:
            processes.start_detached(plan.service, sandbox, processes.process_body(plan.service, self._directory))
        else:
            self._processes.append(processes.start(plan.service, sandbox, self._directory, self._call))

    # --- show and follow ----------------------------------------------------------------------------------------

    def _show(self) -> None:
        """Print what came up: name, network, addresses, ports."""
        now = [self._current(sandbox) for sandbox in self._sandboxes]
        # What has ended already is shown as it was created.
        heading, *rows = table([current if current["endpoints"] else made for current, made in zip(now, self._sandboxes, strict=True)])
        print_table(heading, rows)
        if not self._detach:
            print("Ctrl-C ends everything.", flush=True)
            return
        for current in now:
            run = current.get("run")
            if run is not None and run["exit_code"] is not None:
                print(f"{current['name']} exited with code {run['exit_code']}")

    def _current(self, sandbox: dict[str, Any]) -> dict[str, Any]:
        """Return *sandbox* as it is now, or as it was created if it is gone already: its service has ended."""
        try:
            current: dict[str, Any] = self._call("GET", f"/v1/sandboxes/{sandbox['id']}")
        except Refused as error:
            if error.kind != "not-found":
                raise
            return sandbox
        return current

    def _follow(self) -> int:
        """Print the services' output with a prefix each, until all have ended or the user stops them; return the exit code."""
        self._following = True
        width = max((len(process.name) for process in self._processes), default=0)
        # Nothing of ours runs in a service with an image; such a project stays until it is stopped.
        stays = any(plan.service.has_image for plan in self._plan.services)
        for process in self._processes:
            self._outputs.register(process.output, selectors.EVENT_READ, process)
        stopped = False
        while self._outputs.get_map() or self._due or (stays and not self._stop_requests):
            for key, _ in self._outputs.select(_LOOK):
                self._print(self._outputs, key.data, width)
            self._collect(width)
            match ending(self._stop_requests, stopped=stopped):
                case Ending.STOP:
                    print("berth: stopping", flush=True)
                    stopped = True
                    self._due.clear()
                    for process in self._processes:
                        process.stop(self._timeout)
                case Ending.KILL:
                    self._kill()
            for process in self._processes:
                if process.is_overdue():
                    process.kill()
            self._start_what_is_due(width)
        self._collect(width, wait=True)
        return exit_code([process.code for process in self._processes], stopped=bool(self._stop_requests))

    def _print(self, selector: selectors.BaseSelector, process: ServiceProcess, width: int) -> None:
        lines = process.read()
        if lines is None:
            selector.unregister(process.output)
            process.close()
            return
        for line in lines:
            # A progress bar rewrites its line; here each state is a line, so that nothing covers the prefix.
            for part in line.rstrip("\r").split("\r"):
                sys.stdout.write(f"{process.name.ljust(width)} | {printable(part)}\n")
        sys.stdout.flush()

    def _collect(self, width: int, *, wait: bool = False) -> None:
        for process in self._processes:
            if not (process.wait() if wait else process.poll()):
                continue
            # Who still has the other end is not of this sandbox: all that ran in it has ended.
            while process.output in self._outputs.get_map():
                self._print(self._outputs, process, width)
            again = self._note_end(process, process.code or 0)
            print(f"{process.name.ljust(width)} | exited with code {process.code}{' (restarting)' if again else ''}", flush=True)

    def _note_end(self, process: ServiceProcess, code: int) -> bool:
        """Return whether *process*, or the last try to start it again, ended with a *code* after which it is started again."""
        pause = None if self._stop_requests or not self._following else process.restarts.next(code, process.ran)
        if pause is not None:
            self._due[process] = time.monotonic() + pause
        return pause is not None

    def _start_what_is_due(self, width: int) -> None:
        for process in [process for process, at in self._due.items() if at <= time.monotonic()]:
            del self._due[process]
            sandbox = next(sandbox for sandbox in self._sandboxes if sandbox["name"] == process.name)
            try:
                again = processes.start(process.service, sandbox, self._directory, self._call)
            except Refused as error:
                print(f"{process.name.ljust(width)} | {error}", flush=True)
                # Somebody has removed it.
                if error.kind != "not-found":
                    self._note_end(process, enter.NOT_FOUND)
                continue
            again.restarts = process.restarts
            self._processes[self._processes.index(process)] = again
            self._outputs.register(again.output, selectors.EVENT_READ, again)

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()

    # --- down ---------------------------------------------------------------------------------------------------

    def _take_down(self) -> None:
        self._kill()
        for process in self._processes:
            process.wait()
        with ThreadPoolExecutor(_AT_ONCE) as workers:
            list(workers.map(lambda sandbox: delete(f"/v1/sandboxes/{sandbox['id']}", self._call), self._sandboxes))
        for network in self._networks:
            delete(f"/v1/networks/{network['id']}", self._call)
