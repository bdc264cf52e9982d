"""What was worked out for a sandbox is not worked out again, as long as nothing that it follows from is another."""

from dataclasses import replace

import pytest

from netcore import limits
from netcore.plan import desired_state
from netcore.plan.host_state import SandboxState
from tests.unit.netcore.test_plans import BACK, FRONT, A, endpoint, sandbox, state


@pytest.fixture
def asked(monkeypatch):
    """Return for which sandboxes objects were worked out."""
    names, original = [], desired_state.desired

    def desired(owner, *arguments, **more):
        names.append(owner.name)
        return original(owner, *arguments, **more)

    monkeypatch.setattr(desired_state, "desired", desired)
    return names


def objects(host, of=A):
    return host.objects_of(of.sandbox, of.endpoints)


def test_the_same_is_worked_out_once(asked):
    host = state(A)
    assert objects(host) is objects(host)
    assert asked == ["a"]


def change_network(host):
    host.networks[FRONT.id] = replace(FRONT, internal=True)
    host.indexes.network_changed(FRONT.id)


def change_facts(host):
    host.facts = replace(host.facts, ipv6=not host.facts.ipv6)


@pytest.mark.parametrize("change", [change_network, change_facts])
def test_what_follows_from_another_network_or_host_is_worked_out_again(asked, change):
    host = state(A)
    before = objects(host)
    change(host)
    assert objects(host) != before
    assert asked == ["a", "a"]


def test_another_sandbox_or_other_endpoints_are_others(asked):
    host = state(A)
    both = SandboxState(A.sandbox, (*A.endpoints, endpoint(BACK, "a", "10.2.0.2", gateway_priority=1)))
    other = SandboxState(sandbox("b"), (endpoint(FRONT, "b", "10.1.0.3"),))
    renamed = SandboxState(replace(A.sandbox, hostname="x"), A.endpoints)
    found = [objects(host, one) for one in (A, both, other, renamed)]
    assert len(set(found)) == len(found)
    assert objects(host, renamed) is found[-1]


def test_only_some_are_remembered(asked):
    host = state(A)
    objects(host)
    for number in range(limits.KNOWN_OBJECTS):
        objects(host, SandboxState(sandbox(f"s{number}")))
    asked.clear()
    objects(host)
    objects(host, SandboxState(sandbox(f"s{limits.KNOWN_OBJECTS - 1}")))
    # The last one is another sandbox value, though an equal one.
    assert asked == ["a", f"s{limits.KNOWN_OBJECTS - 1}"]
    assert len(host.known_objects._by_sandbox) == limits.KNOWN_OBJECTS
