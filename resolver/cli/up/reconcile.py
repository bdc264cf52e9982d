"""What `berth up` makes of what is there already: what stays, what is started, made anew or removed. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from resolver.cli.client import CONFIG_LABEL, DEPENDS_LABEL, PROJECT_LABEL, SERVICE_LABEL, Refused
from resolver.cli.compose.project import Condition, Service
from resolver.cli.sandbox_fields import is_stopped
from resolver.cli.up.plan import ServicePlan, UpPlan
from resolver.cli.words import nearest_or_all

_AN_ID = re.compile(r"[0-9a-f]{12,}")
View = Mapping[str, Any]
"""A sandbox or a network as the admin API shows it."""


class Spared(Enum):
    """Of which services only what is missing comes: what is stopped is started, what is there stays as it is, however much of it."""

    NOTHING = "nothing"
    DEPENDENCIES = "dependencies"
    EVERYTHING = "everything"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user asks for. *services*: these only, and what they depend on, but with *no_deps*; all if there are none.

    *force*: make services anew though nothing has changed, with *always_recreate_deps* what they depend on too; *keep*: never do.
    *all_networks*: also those that no service uses. *spared*: of these services, or of all and of networks too, only what is missing comes.
    """

    services: tuple[str, ...] = ()
    no_deps: bool = False
    force: bool = False
    always_recreate_deps: bool = False
    keep: bool = False
    all_networks: bool = False
    spared: Spared = Spared.NOTHING

    def spares(self, service: str) -> bool:
        """Return whether of *service* only what is missing comes."""
        return self.spared is Spared.EVERYTHING or (self.spared is Spared.DEPENDENCIES and service not in self.services)


class Step(Enum):
    """What is done about one sandbox."""

    KEEP = "stays"
    START = "is started"
    RESTART = "is restarted"
    CREATE = "is created"
    RECREATE = "is made anew"


@dataclass(frozen=True, kw_only=True)
class Replica:
    """*body*: of the request that makes it; *found*: what is there of it. *reason*: why it is made anew or restarted."""

    body: Mapping[str, Any]
    step: Step
    found: View | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.body["name"])


@dataclass(frozen=True, kw_only=True)
class ServiceChange:
    """*surplus*: sandboxes of the service that are too many."""

    plan: ServicePlan
    replicas: tuple[Replica, ...]
    surplus: tuple[View, ...] = ()

    @property
    def service(self) -> Service:
        """The service."""
        return self.plan.service


@dataclass(frozen=True, kw_only=True)
class NetworkChange:
    """*found*: the network that is there; it *stays* or is made anew."""

    body: Mapping[str, Any]
    found: View | None = None
    stays: bool = False


@dataclass(frozen=True, kw_only=True)
class Changes:
    """*services*: each after those that it depends on. *orphans*: sandboxes of services that the project no longer has."""

    networks: tuple[NetworkChange, ...]
    services: tuple[ServiceChange, ...]
    orphans: tuple[View, ...]

    def removed(self) -> list[View]:
        """Return the sandboxes that go, orphans aside, before anything is made."""
        return [view for change in self.services for view in (*change.surplus, *_replaced(change))]

    def restarted(self) -> list[View]:
        """Return the sandboxes that are stopped, to be started again."""
        return [one.found for change in self.services for one in change.replicas if one.step is Step.RESTART and one.found is not None]


def _replaced(change: ServiceChange) -> Iterable[View]:
    return (one.found for one in change.replicas if one.step is Step.RECREATE and one.found is not None)


def reconcile(plan: UpPlan, sandboxes: Iterable[View], networks: Iterable[View], asked: Asked, *, known: Collection[str]) -> Changes:
    """Return what *plan* changes. *known*: all services that the files have, those that are not switched on too."""
    own = [sandbox for sandbox in sandboxes if sandbox["labels"].get(PROJECT_LABEL) == plan.project]
    chosen = chosen_services(plan, asked, known)
    network_changes = _network_changes(plan, networks, chosen, asked)
    anew = {change.body["name"] for change in network_changes if change.found is not None and not change.stays}
    changed: dict[str, ServiceChange] = {}
    for service in plan.services:
        if service.service.name in chosen or _loses_its_stack(service, own, changed):
            changed[service.service.name] = _service_change(service, own, changed, anew, asked)
    return Changes(
        networks=network_changes,
        services=tuple(changed.values()),
        orphans=orphans(plan, own, known),
    )


def orphans(plan: UpPlan, sandboxes: Iterable[View], known: Collection[str]) -> tuple[View, ...]:
    """Return those of *sandboxes* that are of the project, and of a service that the files do not have."""
    # What `compose run` has made is of no service.
    return tuple(
        sandbox
        for sandbox in sandboxes
        if sandbox["labels"].get(PROJECT_LABEL) == plan.project
        and SERVICE_LABEL in sandbox["labels"]
        and sandbox["labels"][SERVICE_LABEL] not in known
    )


def _loses_its_stack(plan: ServicePlan, own: Iterable[View], before: Mapping[str, ServiceChange]) -> bool:
    """Return whether a service that nobody has named is there, and in a network stack that goes as its owner is made anew."""
    is_there = any(sandbox["labels"].get(SERVICE_LABEL) == plan.service.name for sandbox in own)
    return is_there and any(_is_made_anew(before.get(other)) for other in _shared_with(plan))


def chosen_services(plan: UpPlan, asked: Asked, known: Collection[str]) -> set[str]:
    """Return the services that are meant; Refused for one that is not there. *known*: see `reconcile`."""
    services = {one.service.name: one.service for one in plan.services}
    for name in asked.services:
        if name not in services:
            others = sorted(set(known) - set(services))
            raise Refused(f"there is no service {name}{nearest_or_all(name, [*services, *others])}")
    if not asked.services:
        return set(services)
    chosen: set[str] = set()
    waiting = list(asked.services)
    while waiting:
        name = waiting.pop()
        if name not in chosen:
            chosen.add(name)
            waiting += [] if asked.no_deps else [one.service for one in services[name].depends_on if one.service in services]
    return chosen


def _network_changes(plan: UpPlan, networks: Iterable[View], chosen: Collection[str], asked: Asked) -> tuple[NetworkChange, ...]:
    used = {
        endpoint["network"] for one in plan.services if one.service.name in chosen for body in one.bodies for endpoint in body["networks"]
    }
    own = {network["name"]: network for network in networks if network["labels"].get(PROJECT_LABEL) == plan.project}
    changes = []
    for body in plan.networks:
        found = own.get(body["name"])
        if asked.all_networks or body["name"] in used:
            stays = found is not None and (asked.spared is Spared.EVERYTHING or _hash(found) in (None, _hash(body)))
            changes.append(NetworkChange(body=body, found=found, stays=stays))
    return tuple(changes)


def _hash(thing: View) -> str | None:
    text: str | None = thing["labels"].get(CONFIG_LABEL)
    return text


def _service_change(
    plan: ServicePlan, own: Sequence[View], before: Mapping[str, ServiceChange], networks_anew: Collection[str], asked: Asked
) -> ServiceChange:
    name = plan.service.name
    found = {sandbox["name"]: sandbox for sandbox in own if sandbox["labels"].get(SERVICE_LABEL) == name}
    if asked.spares(name) and found:
        return ServiceChange(plan=plan, replicas=tuple(map(_as_it_is, sorted(found.values(), key=place))))
    replicas = tuple(_replica(plan, body, found.get(body["name"]), before, networks_anew, asked) for body in plan.bodies)
    names = {body["name"] for body in plan.bodies}
    return ServiceChange(plan=plan, replicas=replicas, surplus=tuple(view for key, view in found.items() if key not in names))


def _as_it_is(found: View) -> Replica:
    """Return what is done about a sandbox of which only its running matters."""
    step = Step.START if is_stopped(found) else Step.KEEP
    return Replica(body={"name": found["name"], "networks": ()}, step=step, found=found)


def place(sandbox: View) -> tuple[int, str]:
    """Return what replicas are sorted by: their number."""
    return len(sandbox["name"]), sandbox["name"]


def looked_at_again(change: ServiceChange, sandboxes: Iterable[View]) -> ServiceChange:
    """Return *change* as it is left to do after another command was at work on the project; Refused for what that has removed."""
    now = {sandbox["name"]: sandbox for sandbox in sandboxes}
    replicas = []
    for one in change.replicas:
        found = now.get(one.name)
        if found is not None:
            step = Step.START if is_stopped(found) else Step.KEEP
            replicas.append(replace(one, found=found, step=one.step if one.step is Step.RESTART and is_stopped(found) else step))
        elif one.step in (Step.CREATE, Step.RECREATE):
            replicas.append(one)
        else:
            raise Refused(f"{one.name} was removed meanwhile by another command on the project")
    return replace(change, replicas=tuple(replicas))


def _replica(
    plan: ServicePlan,
    body: Mapping[str, Any],
    found: View | None,
    before: Mapping[str, ServiceChange],
    networks_anew: Collection[str],
    asked: Asked,
) -> Replica:
    if found is None:
        return Replica(body=body, step=Step.CREATE)
    reason = _reason_to_recreate(plan, body, found, before, networks_anew, asked)
    if reason:
        return Replica(body=body, step=Step.RECREATE, found=found, reason=reason)
    if is_stopped(found):
        return Replica(body=body, step=Step.START, found=found)
    run = found.get("run")
    for dependency in plan.service.depends_on:
        if run is not None and dependency.restart and _is_made_anew(before.get(dependency.service)):
            return Replica(body=body, step=Step.RESTART, found=found, reason=f"{dependency.service} is made anew")
    return Replica(body=body, step=Step.KEEP, found=found)


def _reason_to_recreate(
    plan: ServicePlan,
    body: Mapping[str, Any],
    found: View,
    before: Mapping[str, ServiceChange],
    networks_anew: Collection[str],
    asked: Asked,
) -> str:
    """Return why a sandbox that is there is made anew, "" if it stays."""
    on_anew = [endpoint["network"] for endpoint in body["networks"] if endpoint["network"] in networks_anew]
    if on_anew:
        return f"network {on_anew[0]} has changed"
    for other in _shared_with(plan):
        if _is_made_anew(before.get(other)):
            return f"{other} is made anew"
    if owner := _other_owner(plan, found):
        return f"{owner} is another one now"
    if found.get("ended") and found.get("run") is None:
        return "only its network stack is left"
    if asked.keep:
        return ""
    is_meant = not asked.services or plan.service.name in asked.services or asked.always_recreate_deps
    if asked.force and is_meant:
        return "--force-recreate"
    return "" if _hash(found) == _hash(body) else "its settings have changed"


def _shared_with(plan: ServicePlan) -> set[str]:
    """Return the services whose network stack, or whose address in the hosts file, the replicas of *plan* have."""
    mode = plan.service.network_mode or ""
    shared = {mode.removeprefix("service:")} if mode.startswith("service:") else set()
    return shared | ({link.partition(":")[0] for link in plan.service.links} if plan.linked_hosts else set())


def _other_owner(plan: ServicePlan, found: View) -> str:
    """Return the container of `network_mode: container:NAME` if *found* shares the stack of one that had its name before, "" if not.

    What is left of that one is called by its id, since another one has its name.
    """
    mode, shared = plan.service.network_mode or "", found.get("shared_with") or ""
    name = mode.removeprefix("container:")
    return name if mode.startswith("container:") and shared != name and _AN_ID.fullmatch(shared) and not _AN_ID.match(name) else ""


def _is_made_anew(change: ServiceChange | None) -> bool:
    return change is not None and any(one.step is Step.RECREATE for one in change.replicas)


def restarts_with(sandbox: View) -> set[str]:
    """Return the services with which *sandbox* is restarted (`depends_on` with `restart: true`)."""
    entries = [entry.split(":") for entry in sandbox["labels"].get(DEPENDS_LABEL, "").split(",")]
    return {entry[0] for entry in entries if len(entry) == 3 and entry[2] == "true"}


def stop_waves(sandboxes: Iterable[View]) -> list[list[View]]:
    """Return *sandboxes* of a project in the order in which they are stopped: each before those that it depends on, or shares with."""
    rest = list(sandboxes)
    depends = {sandbox["id"]: _depends(sandbox) for sandbox in rest}
    waves = []
    while rest:
        needed = {service for sandbox in rest for service in depends[sandbox["id"]] if service != sandbox["labels"].get(SERVICE_LABEL)}
        wave = [sandbox for sandbox in rest if sandbox["labels"].get(SERVICE_LABEL) not in needed]
        # A circle, which files that have changed can leave: all at once.
        wave = wave or rest
        waves.append(wave)
        stopped = {sandbox["id"] for sandbox in wave}
        rest = [sandbox for sandbox in rest if sandbox["id"] not in stopped]
    return waves


def _depends(sandbox: View) -> set[str]:
    return {entry.partition(":")[0] for entry in sandbox["labels"].get(DEPENDS_LABEL, "").split(",")} - {""}


def summary(changes: Changes, *, remove_orphans: bool) -> list[str]:
    """Return what would be done, a line each, in the order in which it is done."""
    lines = [f"{view['name']} is removed: it is an orphan" for view in (changes.orphans if remove_orphans else ())]
    lines += [f"{view['name']} is removed: it is one too many" for change in changes.services for view in change.surplus]
    for network in changes.networks:
        if not network.stays:
            what = "is created" if network.found is None else "is made anew: its settings have changed"
            lines.append(f"network {network.body['name']} {what}")
    for change in changes.services:
        waits = [f"{one.service} {_WAITED_FOR[one.condition]}" for one in change.service.depends_on if one.condition in _WAITED_FOR]
        for one in change.replicas:
            after = f", as soon as {' and '.join(waits)}" if waits and one.step is not Step.KEEP else ""
            lines.append(f"{one.name} {one.step.value}{after}{f': {one.reason}' if one.reason else ''}")
    return lines


_WAITED_FOR = {Condition.HEALTHY: "is healthy", Condition.COMPLETED: "has completed"}
