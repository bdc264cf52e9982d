"""One `berth up`: brings a project to what its files say, follows what the services print, and takes down what it has made."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from resolver.cli import proc
from resolver.cli.client import Refused, sandboxes_path, segment
from resolver.cli.compose.project import Condition, Service
from resolver.cli.output import complain
from resolver.cli.sandbox_calls import delete
from resolver.cli.up import conditions, processes, shared_stacks
from resolver.cli.up.conditions import Met
from resolver.cli.up.follow import Follower, stop_and_remove
from resolver.cli.up.options import Options
from resolver.cli.up.plan import Ending, ServicePlan, UpPlan, ending, exit_code
from resolver.cli.up.progress import Progress
from resolver.cli.up.project_lock import ProjectLock
from resolver.cli.up.reconcile import (
    Changes,
    NetworkChange,
    Replica,
    ServiceChange,
    Step,
    chosen_services,
    looked_at_again,
    reconcile,
)
from resolver.cli.up.shown import Shown

if TYPE_CHECKING:
    from resolver.cli.sandbox_calls import Call

_AT_ONCE = 16
LOOK = 0.1
"""Seconds between looks at what services print, and at what is waited for."""


class DependencyFailed(Refused):
    """What a service waits for will not come. What was started stays, so that one can look why."""


def runs_for_a_while(view: Mapping[str, Any]) -> bool:
    """Return whether the command in a sandbox really runs, and has not just been started."""
    leader = view.get("leader")
    return leader is not None and proc.seconds_lasted(leader["pid"]) >= conditions.LASTED


class Session:
    """Carries out *plan* by requests of *call*. *known*: all services that the files have, those that are not switched on too."""

    def __init__(self, plan: UpPlan, call: Call, options: Options, known: frozenset[str]) -> None:
        self._plan = plan
        self._call = call
        self._options = options
        self._known = known
        self._networks: list[dict[str, Any]] = []
        self._made: list[dict[str, Any]] = []
        self._shown = Shown(call, detach=options.detach, is_json=options.is_json)
        # Service → its sandboxes; those that are there already may be others than the file has.
        self._names = {one.service.name: [str(body["name"]) for body in one.bodies] for one in plan.services}
        self._chosen = chosen_services(plan, options.asked, known)
        width = max((len(name) for names in self._names.values() for name in names), default=0)
        self._follower = Follower(call, width, has_prefix=options.has_prefix, timestamps=options.timestamps)
        self._progress = Progress(quiet=options.quiet)
        self._lock = ProjectLock(plan.project)
        self._warned: set[str] = set()
        self._stays = False
        self._is_aborted = False
        self._abort_code: int | None = None
        self._following = False
        self._stop_requests = 0

    def run(self) -> int:
        """Bring everything up, follow it, take down what was made; return the exit code."""
        try:
            is_up = self._bring_up()
            if is_up and self._options.wait:
                self._wait_until_ready()
            if is_up and self._options.shows:
                self._shown.print(is_last=True)
        except BaseException as error:
            if not (self._options.detach and isinstance(error, DependencyFailed)):
                self._take_down()
            if isinstance(error, KeyboardInterrupt):
                return 130
            raise
        if self._options.detach and is_up:
            return 0
        code = self._follow()
        self._take_down()
        return code if is_up or self._is_aborted else 130

    def on_stop(self, *_: object) -> None:
        """Note that the user wants an end; while nothing of the project runs yet, or at the fourth time, give up at once."""
        self._stop_requests += 1
        if not (self._follower.members or self._following) or self._stop_requests > 3:
            raise KeyboardInterrupt

    # --- up -----------------------------------------------------------------------------------------------------

    def _bring_up(self) -> bool:
        """Do what is to be done; return whether everything was, False if the user has had enough."""
        for name in self._plan.external:
            try:
                self._call("GET", f"/v1/networks/{segment(name)}", autostart=True)
            except Refused as error:
                raise Refused(f"external network {name}: {error}; create it with `berth network create`") from error
        waiting: list[ServiceChange] | None = None
        while waiting is None or waiting:
            # What is waited for may take long, and others must be able to take the project down meanwhile.
            with self._lock:
                if waiting is None:
                    waiting = self._begin()
                elif not self._lock.is_ours_since:
                    waiting = self._look_again(waiting)
                done = [change for change in waiting if self._start_service(change, waiting)]
            waiting = [change for change in waiting if change not in done]
            if waiting:
                self._shown.print()
                self._pump()
                if self._has_to_end and not self._options.detach:
                    return False
                if not done:
                    self._progress.tick()
                    time.sleep(LOOK)
        return True

    def _begin(self) -> list[ServiceChange]:
        """Find out what is to be done, do what comes before services are started, and return what is left to do."""
        sandboxes = self._call("GET", sandboxes_path(stopped=True), autostart=True)
        changes = reconcile(self._plan, sandboxes, self._call("GET", "/v1/networks"), self._options.asked, known=self._known)
        shared_stacks.check(changes, sandboxes)
        self._names |= {change.service.name: [one.name for one in change.replicas] for change in changes.services}
        self._clear(changes)
        for network in changes.networks:
            self._make_network(network)
        # Nothing of ours runs in a service with an image; such a project stays until it is stopped.
        self._stays = any(change.service.has_image and change.replicas for change in changes.services)
        return list(changes.services)

    def _look_again(self, waiting: Sequence[ServiceChange]) -> list[ServiceChange]:
        """Return what is left to do after another command was at work on the project; Refused if it has removed what we made."""
        sandboxes = self._call("GET", sandboxes_path(stopped=True))
        there = {sandbox["id"] for sandbox in sandboxes}
        for sandbox in self._made:
            if sandbox["id"] not in there:
                raise Refused(f"{sandbox['name']} was removed meanwhile by another command on the project")
        return [looked_at_again(change, sandboxes) for change in waiting]

    def _clear(self, changes: Changes) -> None:
        """Remove what is too much or made anew, and stop what is restarted."""
        going = changes.removed()
        if changes.orphans and self._options.remove_orphans:
            going += changes.orphans
        elif changes.orphans:
            names = ", ".join(view["name"] for view in changes.orphans)
            complain(f"warning: the file has no service for {names}; `berth up --remove-orphans` removes what is left of services")
        for view in going:
            self._progress.note(view["name"], "is removed")
        stop_and_remove(going, self._options.timeout, self._call)
        for view in changes.restarted():
            self._progress.note(view["name"], "is stopped")
            self._call("POST", f"/v1/sandboxes/{view['id']}/stop", {"timeout": self._options.timeout}, patience=None)

    def _make_network(self, change: NetworkChange) -> None:
        if change.stays:
            return
        if change.found is not None:
            delete(f"/v1/networks/{change.found['id']}", self._call)
        self._networks.append(self._call("POST", "/v1/networks", change.body))
        self._progress.note(f"network {change.body['name']}", "is created")

    def _start_service(self, change: ServiceChange, waiting: Sequence[ServiceChange]) -> bool:
        """Bring up a service if what it depends on is there; return whether it is up."""
        if all(one.step is Step.KEEP for one in change.replicas):
            self._shown.begin()
            for one in change.replicas:
                self._note_kept(change.service, one)
            return True
        if not self._may_start(change, {one.service.name for one in waiting}):
            return False
        self._shown.begin()
        new = [one for one in change.replicas if one.step in (Step.CREATE, Step.RECREATE)]
        for sandbox in self._create_sandboxes(change.plan, [one.body for one in new]):
            self._print_warnings(change.service, sandbox)
            self._shown.add(sandbox)
            if change.service.command:
                process = processes.body_with_variables(next(one.body for one in new if one.name == sandbox["name"]))["process"]
                self._note_started(change.service, sandbox, processes.start(change.service, sandbox, process))
            else:
                self._progress.note(sandbox["name"], "is created")
        for one in change.replicas:
            if one.step is Step.KEEP:
                self._note_kept(change.service, one)
            elif one.step in (Step.START, Step.RESTART):
                self._start_again(change.service, one)
        return True

    def _may_start(self, change: ServiceChange, waiting: set[str]) -> bool:
        """Return whether what is waited for is there; DependencyFailed if it will not come."""
        for dependency in change.service.depends_on:
            if self._options.asked.no_deps and dependency.service not in self._chosen:
                continue
            if dependency.service in waiting:
                return False
            result = conditions.verdict(
                dependency, self._views_of(dependency.service) if dependency.condition is not Condition.STARTED else ()
            )
            if result.met is Met.NEVER and dependency.required:
                raise self._failed(f"dependency of service {change.service.name} failed to start: {result.text}")
            if result.met is Met.NEVER:
                self._warn_once(f"warning: service {change.service.name} is started without its optional dependency: {result.text}")
            if result.met is Met.NOT_YET:
                self._progress.note(f"service {change.service.name}", f"waits for {result.text}")
                return False
        return True

    def _failed(self, text: str) -> DependencyFailed:
        return DependencyFailed(f"{text}; `berth logs` shows what it has printed" if self._options.detach else text)

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            complain(text)

    def _views_of(self, service: str) -> list[Mapping[str, Any]]:
        """Return the sandboxes of a service of this project as they are now."""
        return [self._call("GET", f"/v1/sandboxes/{segment(name)}") for name in self._names[service]]

    # --- sandboxes and their commands ---------------------------------------------------------------------------

    def _create_sandboxes(self, plan: ServicePlan, bodies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Create sandboxes of a service at once; those that were created are taken down later even if another failed."""
        with ThreadPoolExecutor(_AT_ONCE) as workers:
            outcomes = list(workers.map(partial(self._create_sandbox, plan.service), self.with_linked_hosts(plan, bodies)))
        created = [outcome for outcome in outcomes if not isinstance(outcome, Refused)]
        self._made += created
        for result in outcomes:
            if isinstance(result, Refused):
                raise result
        return created

    def with_linked_hosts(self, plan: ServicePlan, bodies: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the bodies of a service with the addresses of what it links on the network `bridge`."""
        lines = [f"{name}:{self._address_on_bridge(plan.service.name, sandbox)}" for name, sandbox in plan.linked_hosts]
        return [{**body, "extra_hosts": [*body.get("extra_hosts", ()), *lines]} if lines else body for body in bodies]

    def _address_on_bridge(self, service: str, sandbox: str) -> str:
        endpoints = self._call("GET", f"/v1/sandboxes/{segment(sandbox)}")["endpoints"]
        address = next(
            (endpoint["addresses"][0] for endpoint in endpoints if endpoint["network"] == "bridge" and endpoint["addresses"]), None
        )
        if address is None:
            raise Refused(f"service {service} links {sandbox}, which is not on the network bridge; give both the same network")
        return str(address).partition("/")[0]

    def _create_sandbox(self, service: Service, body: Mapping[str, Any]) -> dict[str, Any] | Refused:
        try:
            sandbox: dict[str, Any] = self._call("POST", "/v1/sandboxes", processes.body_with_variables(body))
        except Refused as error:
            return Refused(f"service {service.name}: {error}", error.kind)
        return sandbox

    def _start_again(self, service: Service, replica: Replica) -> None:
        assert replica.found is not None
        try:
            started = self._call("POST", f"/v1/sandboxes/{replica.found['id']}/start", {"owner_pid": os.getpid()})
        except Refused as error:
            raise Refused(f"service {service.name}: {error}", error.kind) from error
        self._print_warnings(service, started["sandbox"])
        self._shown.add(started["sandbox"])
        self._note_started(service, started["sandbox"], processes.start(service, started["sandbox"], started["process"]))

    def _print_warnings(self, service: Service, sandbox: Mapping[str, Any]) -> None:
        """Print the warnings of a response, those that all replicas have once."""
        for warning in sandbox["warnings"]:
            self._warn_once(f"warning: service {service.name}: {warning}")

    def _note_started(self, service: Service, sandbox: Mapping[str, Any], holder: int) -> None:
        self._progress.note(sandbox["name"], "is started")
        if not self._options.detach:
            self._follower.add(sandbox, holder, is_shown=self._options.attached.shows(service, self._options.asked))

    def _note_kept(self, service: Service, replica: Replica) -> None:
        assert replica.found is not None
        self._shown.add(replica.found)
        if not self._options.detach and replica.found.get("run") is not None:
            self._follower.add(replica.found, None, is_shown=self._options.attached.shows(service, self._options.asked))

    def _wait_until_ready(self) -> None:
        """Wait until all services are running, healthy or completed; DependencyFailed if one will not be, or after too long."""
        end = None if self._options.wait_timeout is None else time.monotonic() + self._options.wait_timeout
        services = [one.service for one in self._plan.services]
        while True:
            results = [
                conditions.readiness(service, self._views_of(service.name), services, runs_for_a_while)
                for service in services
                if service.name in self._chosen
            ]
            failed = next((result for result in results if result.met is Met.NEVER), None)
            if failed is not None:
                raise self._failed(failed.text)
            left = [result.text for result in results if result.met is Met.NOT_YET]
            if not left:
                return
            if end is not None and time.monotonic() >= end:
                raise self._failed(f"not everything is up and healthy after {self._options.wait_timeout:g} s; waited for {left[0]}")
            self._progress.note("berth", f"waits for {left[0]}")
            time.sleep(LOOK)

    # --- show and follow ----------------------------------------------------------------------------------------

    @property
    def _has_to_end(self) -> bool:
        return bool(self._stop_requests) or self._is_aborted

    def _pump(self) -> None:
        """Print what has come, and note whether what has ended ends everything."""
        options = self._options
        for one in self._follower.pump():
            if options.abort_on_exit or (options.abort_on_failure and one.code):
                self._is_aborted = True
                self._abort_code = one.code if self._abort_code is None else self._abort_code

    def _follow(self) -> int:
        """Print what the services print until all have ended, or the user stops them; return the exit code."""
        self._following, answered = True, 0
        while self._follower.running or (self._stays and not self._has_to_end):
            self._pump()
            requests = self._stop_requests + self._is_aborted
            match ending(requests, answered):
                case Ending.STOP:
                    print("berth: stopping", flush=True)
                    self._follower.stop(self._options.timeout)
                case Ending.KILL:
                    self._follower.kill()
                case Ending.NOTHING:
                    time.sleep(LOOK)
            # One that comes meanwhile is for the next turn.
            answered = requests
        self._follower.settle()
        return self._exit_code()

    def _exit_code(self) -> int:
        if self._options.exit_code_from is not None:
            names = self._names[self._options.exit_code_from]
            return next((one.code for one in self._follower.members if one.name in names and one.code), 0)
        if self._is_aborted:
            return self._abort_code or 0
        return exit_code([one.code for one in self._follower.members], stopped=bool(self._stop_requests))

    # --- down ---------------------------------------------------------------------------------------------------

    def _take_down(self) -> None:
        """Remove what this `berth up` has made."""
        self._follower.close()
        if not self._made and not self._networks:
            return
        with self._lock, ThreadPoolExecutor(_AT_ONCE) as workers:
            list(workers.map(lambda sandbox: delete(f"/v1/sandboxes/{sandbox['id']}", self._call), self._made))
            for network in self._networks:
                self._remove_network(network)

    def _remove_network(self, network: Mapping[str, Any]) -> None:
        try:
            delete(f"/v1/networks/{network['id']}", self._call)
        except Refused as error:
            # Another command has put something on it meanwhile, which may stay.
            if error.kind != "conflict":
                raise
            complain(f"warning: {error}")
