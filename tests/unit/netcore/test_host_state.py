"""Questions about what exists on a host."""

from dataclasses import replace
from ipaddress import ip_network
from pathlib import PurePath

import pytest

from netcore.controller.recalled_objects import RecalledObjects
from netcore.desired.objects import Bridge, HostsLines
from netcore.errors import InvalidRequest, NotFound
from netcore.plan.host_state import SandboxState
from tests.support.networks import overlay_network, pool
from tests.unit.netcore.test_plans import BACK, FRONT, GATEWAY, A, sandbox, state

GUEST = SandboxState(sandbox("guest", shared_with="a"))


def test_networks_and_sandboxes_are_found_by_id_name_or_beginning_of_the_id():
    known = state(A)
    assert known.find_network("front") is FRONT
    assert known.find_network("fro") is FRONT
    assert known.find_sandbox("a") is A.sandbox
    assert known.network_named("back") is BACK
    assert known.network_named("nowhere") is None
    with pytest.raises(NotFound):
        known.find_network("nowhere")
    for mode in ("host", "none", "container:a"):
        with pytest.raises(InvalidRequest, match="mode of a whole sandbox"):
            known.find_network(mode)


def test_members_and_endpoints():
    known = state(A)
    assert known.members(FRONT.id) == [(A.sandbox, A.endpoints[0])]
    assert known.members(BACK.id) == []
    assert known.sandbox_state(A.sandbox.id) == A
    assert A.endpoint_on(FRONT.id) is A.endpoints[0]
    assert A.endpoint_on(BACK.id) is None
    assert known.in_gateway_order(A.endpoints) == A.endpoints


def test_stack_that_several_sandboxes_share():
    known = state(A, GUEST)
    assert known.stack_owner("guest") is A.sandbox
    assert known.stack_owner("a") is A.sandbox
    assert (known.stack_users("a"), known.stack_users("guest")) == (["guest"], [])


def test_paths():
    known = state(A)
    assert known.netns_path("a") == "/run/netns/a"
    assert known.directory_of("a") == PurePath("/run/berth/sandboxes/a")


def test_gateway_bridge_is_there_or_not():
    assert state().gateway_bridge() is GATEWAY
    assert state(networks=(FRONT,)).gateway_bridge() is None


def test_overlay_is_here_while_it_is_active():
    far = overlay_network("far", pool("10.40.0.0/24", "10.40.0.1"))
    known = state(networks=(FRONT, far))
    assert known.networks_here() == [FRONT]
    known.remotes = {far.id: {}}
    assert known.networks_here() == [FRONT, far]


def test_everything_that_must_exist():
    known = state(A, networks=(FRONT, replace(BACK, internal=True)))
    objects = known.all_objects()
    assert {each.name for each in objects if isinstance(each, Bridge)} == {FRONT.bridge.bridge_name, BACK.bridge.bridge_name}
    assert set(known.objects_of(A.sandbox, A.endpoints)) < set(objects)
    assert [each.path for each in objects if isinstance(each, HostsLines)] == ["/run/berth/sandboxes/a/hosts"]
    # Internal networks need nothing of the links that lead outside.
    assert known.uplink_objects([BACK]) or not known.uplink_objects([replace(BACK, internal=True)])


def test_the_objects_of_a_sandbox_do_not_follow_from_uplinks_and_addresses_of_the_host():
    guarded = SandboxState(replace(A.sandbox, egress=("example.com", "10.9.0.0/16")), A.endpoints)
    for one in (A, guarded):
        known = state(one)
        objects, facts = known.objects_of(one.sandbox, one.endpoints), known.facts
        known.facts = replace(
            facts, uplinks=("eth0", "wlan0"), of_one_family={"wlan0": 6}, sysctls={"net/ipv6/conf/all/forwarding": "1"},
            local=(ip_network("192.0.2.1"),), outside=(ip_network("192.0.2.1"),),
        )  # fmt: skip
        assert known.facts.of_sandboxes() == facts.of_sandboxes()
        assert known.objects_of(one.sandbox, one.endpoints) == objects


def test_recalled_objects_are_worked_out_again_only_when_they_follow_from_something_else(monkeypatch):
    known = state(A)
    asked = []
    original = type(known).objects_of
    monkeypatch.setattr(type(known), "objects_of", lambda *arguments: asked.append(arguments[1]) or original(*arguments))
    recalled = RecalledObjects(known)
    for changed in (
        lambda: None,
        lambda: setattr(known, "facts", replace(known.facts, firewall=not known.facts.firewall)),
        lambda: setattr(known, "networks", {FRONT.id: FRONT}),
    ):
        changed()
        asked.clear()
        assert recalled.of(A.sandbox, A.endpoints) == recalled.of(A.sandbox, A.endpoints) == original(known, A.sandbox, A.endpoints)
        assert len(asked) == 1
    assert recalled.of(A.sandbox, ()) == original(known, A.sandbox, ())
