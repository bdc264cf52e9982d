"""What an operation that was cut short may have left, by its recorded intent: which endpoints stay, which objects must go. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from netcore.desired.diff import Step, diff
from netcore.desired.objects import Element, KernelObject
from netcore.model import Endpoint, NetworkId, Sandbox
from netcore.plan.desired_state import own_default_routes
from netcore.plan.host_state import HostState


def finished(endpoints: Sequence[Endpoint], before: Sequence[Endpoint], *, pending: bool) -> tuple[Endpoint, ...]:
    """Return the endpoints of the last operation that finished, by a record's fields."""
    return tuple(before if pending else endpoints)


def unfinished(kept: Collection[Endpoint], recorded: Iterable[Endpoint], known: Collection[NetworkId]) -> tuple[Endpoint, ...]:
    """Return the endpoints among *recorded* that must go: none of *kept*, on networks that are *known*; each once."""
    result: dict[tuple[str, str, str], Endpoint] = {}
    stay = {(endpoint.network_id, endpoint.ifname, endpoint.host_ifname) for endpoint in kept}
    for endpoint in recorded:
        key = (endpoint.network_id, endpoint.ifname, endpoint.host_ifname)
        if key not in stay and endpoint.network_id in known:
            result[key] = endpoint
    return tuple(result.values())


def steps_back(state: HostState, sandbox: Sandbox, kept: Sequence[Endpoint], gone: Sequence[Endpoint]) -> tuple[Step, ...]:
    """Return the steps that take *gone* off a sandbox that lives on with *kept*.

    Of what both states have, such as lines of the hosts file and default routes, the form that it has now is not known: it is
    taken for that of the unfinished operation.
    """
    maybe = state.objects_of(sandbox, (*kept, *gone))
    return diff(maybe, state.objects_of(sandbox, kept))


def steps_of_removal(state: HostState, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> tuple[Step, ...]:
    """Return the steps that remove everything of a sandbox; in an adopted namespace its own default routes come back."""
    return diff(state.objects_of(sandbox, endpoints), own_default_routes(sandbox))


def repair_steps(observed: Iterable[KernelObject], desired: Collection[KernelObject]) -> tuple[Step, ...]:
    """Return the steps from what was *observed* of *desired* to all of it: what is there but not as it should be is put right."""
    return tuple(Step(step.after, step.after) if step.before is None else step for step in diff(observed, desired))


def without_elements(steps: Iterable[Step]) -> list[Step]:
    """Return *steps* without those of firewall elements: at a start all tables are written anew instead."""
    return [step for step in steps if not isinstance(step.subject, Element)]
