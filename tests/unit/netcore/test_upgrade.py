"""Records of earlier schema versions. The octets are those that the earlier versions wrote."""

import json

import pytest

from netcore.cluster.encryption import Key
from netcore.cluster.state import EndpointRecord, Node
from netcore.model import Network
from netcore.store import upgrade
from netcore.store.codec import decode, decode_shared, encode
from netcore.store.records import EndpointsRecord, NetworkRecord, SandboxRecord
from tests.support import schema_2

KINDS = {"network": NetworkRecord, "sandbox": SandboxRecord, "endpoints": EndpointsRecord, "rest": float}
SHARED_KINDS = {"network": Network, "node": Node, "endpoint": EndpointRecord, "key": Key}


def is_part_of(less, more):
    """Return whether all of *less* is in *more*, which may have more fields."""
    if isinstance(less, dict):
        return less.keys() <= more.keys() and all(is_part_of(value, more[key]) for key, value in less.items())
    if isinstance(less, list):
        return len(less) == len(more) and all(map(is_part_of, less, more))
    return less == more


@pytest.mark.parametrize(("key", "octets"), [(key, octets) for key, octets, _ in schema_2.ROWS])
def test_nothing_of_a_record_of_the_version_before_is_lost(key, octets):
    record = upgrade.upgraded(2, key, json.loads(octets))
    value = decode(KINDS[key.partition("/")[0]], json.dumps(record).encode())
    assert is_part_of(record, json.loads(encode(value)))


@pytest.mark.parametrize("key", [key for key in schema_2.SHARED if key.partition("/")[0] in SHARED_KINDS])
def test_nothing_of_a_shared_record_of_the_version_before_is_lost(key):
    octets = schema_2.SHARED[key]
    record = upgrade.upgraded(2, key, json.loads(octets))
    value = decode_shared(SHARED_KINDS[key.partition("/")[0]], key, octets)
    assert is_part_of(record, json.loads(encode(value)))


def test_what_is_not_there_is_null_since_version_3():
    rows = {key: upgrade.upgraded(2, key, json.loads(octets)) for key, octets, _ in schema_2.ROWS}
    assert [pool["identity"] for pool in rows["network/wwww"]["network"]["pools"]] == ["pool-1", None]
    assert [rows[key]["sandbox"]["shared_with"] for key in ("sandbox/aaaa", "sandbox/bbbb")] == [None, "aaaa"]
    endpoints = rows["endpoints/aaaa"]
    answers = [endpoint["answer"] for endpoint in (*endpoints["endpoints"], *endpoints["before"])]
    assert [answer["link"] if answer is not None else "none" for answer in answers] == ["vc1", None, "none"]
    shared = upgrade.upgraded(2, "network/ffff", json.loads(schema_2.SHARED["network/ffff"]))
    assert shared["pools"][0]["identity"] is None


def test_networks_of_the_first_version():
    first = {"network": {"bridge": {"bridge_name": "br-n", "mtu": 1400}, "pool4": {"subnet": "10.1.0.0/16"}, "pool6": None}}
    assert upgrade.upgraded(1, "network/n", first) == {
        "network": {
            "common": {"mtu": 1400},
            "driver_options": {"kind": "bridge", "bridge_name": "br-n"},
            "pools": [{"subnet": "10.1.0.0/16", "identity": None}],
        }
    }
    assert upgrade.upgraded(1, "rest/n/10.1.0.9", 2.0) == 2.0


def test_record_of_this_version_is_left_alone():
    record = {"network": {"pools": [{"identity": ""}]}}
    assert upgrade.upgraded(upgrade.SCHEMA_VERSION, "network/n", record) == {"network": {"pools": [{"identity": ""}]}}


def test_every_version_has_its_step():
    assert [*upgrade._STEPS] == [*range(2, upgrade.SCHEMA_VERSION + 1)]


def test_newer_version_is_refused_with_both_numbers():
    assert upgrade.why_unreadable(1) is None
    assert upgrade.why_unreadable(upgrade.SCHEMA_VERSION) is None
    reason = upgrade.why_unreadable(upgrade.SCHEMA_VERSION + 4)
    assert f"schema version {upgrade.SCHEMA_VERSION + 4}," in reason
    assert f"reads up to version {upgrade.SCHEMA_VERSION}:" in reason
