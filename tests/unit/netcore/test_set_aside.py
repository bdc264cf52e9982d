"""What is set aside: by kind and id, with one event when it comes and one when it is whole again."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from netcore.controller.network_recovery import add_sensible
from netcore.controller.set_aside import Aside, SetAside
from netcore.drivers.facts import Facts
from netcore.errors import Conflict
from netcore.plan.network import plan_network
from netcore.store.records import Unreadable
from tests.unit.netcore.test_plan_network import AROUND, NetworkRequest


def aside(identity, name, reason="its parent link eth9 is gone", kind="network"):
    return Aside(kind=kind, id=identity, name=name, reason=reason)


@pytest.fixture
def told():
    return []


@pytest.fixture
def collection(told):
    made = SetAside()
    made.on_event = lambda *event: told.append(event)
    return made


def test_it_is_told_once_whatever_the_reasons_are(collection, told):
    for reason in ("one", "one", "another"):
        collection.put(aside("a" * 64, "lan", reason))
    assert told == [("network", "set-aside", "lan")]
    assert collection.warnings() == ("network lan is set aside: another",)
    collection.restored("network", "a" * 64)
    collection.restored("network", "a" * 64)
    assert told[1:] == [("network", "restored", "lan")]
    assert collection.warnings() == ()


def test_what_is_removed_was_not_restored(collection, told):
    collection.put(aside("a" * 64, "lan"))
    collection.drop("network", "a" * 64)
    assert told == [("network", "set-aside", "lan")]
    assert collection.all() == []


def test_it_is_found_by_id_name_or_unique_prefix_of_its_kind(collection):
    collection.put(aside("ab" * 32, "lan"))
    collection.put(aside("ac" * 32, "wan"))
    collection.put(aside("ab" * 32, "lan", kind="sandbox"))
    assert collection.find("network", "ab" * 32).name == "lan"
    assert collection.find("network", "wan").id == "ac" * 32
    assert collection.find("network", "acac").name == "wan"
    assert collection.find("network", "zz") is None
    assert collection.find("network", "") is None
    with pytest.raises(Conflict, match="ambiguous"):
        collection.find("network", "a")


def test_a_record_is_known_by_what_can_be_made_out_of_it(collection):
    collection.put_unreadable(Unreadable(key="network/x", kind="network", id="x" * 64, reason="lacks 'name'"))
    collection.put_unreadable(Unreadable(key="sandbox/y", kind="sandbox", id="y" * 64, reason="lacks 'dns'", name="web"))
    collection.put_unreadable(Unreadable(key="rest/n/10.0.0.1", kind="record", id="rest/n/10.0.0.1", reason="can't be read"))
    assert [one.name for one in collection.all()] == ["x" * 12, "rest/n/10.0.0.1", "web"]


@pytest.mark.parametrize("name", ["../../x", "", "a" * 300, "a b", "a..b", "ü"])
def test_network_whose_record_has_no_name_that_can_be_is_set_aside(collection, name):
    whole = plan_network(NetworkRequest(name="lan", subnets=("10.40.0.0/24",)), (), AROUND, "f" * 12)
    strange = replace(whole, id="e" * 64, name=name)
    put = []
    writer = SimpleNamespace(put_network=put.append, drop_network=lambda identity: None)
    controller = SimpleNamespace(parts=SimpleNamespace(writer=writer), set_aside=collection, state=SimpleNamespace(facts=Facts(uplinks={})))
    assert add_sensible(controller, [strange, whole]) == put == [whole]
    assert "network name" in collection.find("network", "e" * 64).reason
