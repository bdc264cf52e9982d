"""Model values to octets and back."""

import json
import typing
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from netcore.cluster.encryption import Key
from netcore.dns_settings import DnsSettings
from netcore.model import (
    Endpoint,
    GatewayMode,
    Owner,
    PluginAnswer,
    PortMapping,
    PortRequest,
    Sandbox,
    Stack,
    StaticRoute,
)
from netcore.store import codec
from netcore.store.codec import decode, decode_shared, encode, encode_shared
from netcore.store.records import EndpointsRecord
from netcore.store.upgrade import SCHEMA_VERSION
from tests.support.networks import bridge_network, overlay_network, parent_network, pool

ROUTE = StaticRoute(destination=ip_network("fd02::/64"), via=None)
ENDPOINT = Endpoint(
    origin="api", network_id="n", sandbox_id="s", ifname="eth0", host_ifname="v", mac="02:42:00:00:00:01",
    ipv4=ip_interface("10.1.0.2/16"), ipv6=ip_interface("fd00::2/64"), link_local=(ip_interface("169.254.1.1/16"),), links=(("a", "b"),),
    routes=(ROUTE,), answer=PluginAnswer(link=None, gateway6=ip_address("fd00::1")),
    ports=(PortMapping(family=4, protocol="tcp", host_address=ip_address("127.0.0.1"), host_port=80, sandbox_port=80),),
)  # fmt: skip
SANDBOX = Sandbox(
    id="s", name="web", hostname="web", netns_path="/x", boot_id="b", owner=Owner(pid=7, start_time=8), stack=Stack.SHARED, shared_with="t",
    dns=DnsSettings(servers=("10.0.0.1",)), created=1.5,
    port_requests=(PortRequest(host_address=None, host_first=0, host_last=0, sandbox_first=1, sandbox_last=2, protocol="tcp", text="1-2"),),
)  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        bridge_network(
            "front", pool("10.1.0.0/16", "10.1.0.1", auxiliary=(("a", ip_address("10.1.0.9")),)), given={"host_ipv4": "10.9.0.2"}
        ),
        bridge_network("routed", pool("fd01::/64"), given={"gateway_mode_ipv6": "routed"}),
        overlay_network("far", pool("10.40.0.0/24", "10.40.0.1"), encrypted=True),
        parent_network("lan", "macvlan", pool("10.2.0.0/24"), given={"parent": "eth0.7"}),
        SANDBOX,
        ENDPOINT,
        EndpointsRecord(endpoints=(ENDPOINT,), pending=True, before=(ENDPOINT,)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_encoded_is_decoded(value):
    assert decode(type(value), encode(value)) == value
    assert decode_shared(type(value), "any/key", encode_shared(value)) == value


def test_types_are_those_of_the_model():
    network = decode(type(OVERLAY), encode(OVERLAY))
    assert network.bridge.gateway_mode_ipv4 is GatewayMode.NAT
    assert network.pools[0].subnet == ip_network("10.40.0.0/24")
    assert decode(float, b"7.5") == 7.5


OVERLAY = overlay_network("far", pool("10.40.0.0/24", "10.40.0.1"))


def test_fields_that_are_not_there_take_their_default():
    record = json.loads(encode(SANDBOX))
    for name in ("labels", "forwards", "shared_with", "stack"):
        del record[name]
    record["field_of_a_later_version"] = 1
    sandbox = decode(Sandbox, json.dumps(record).encode())
    assert (sandbox.labels, sandbox.forwards, sandbox.shared_with, sandbox.stack) == ((), False, None, Stack.OWN)


def test_shared_records_carry_their_version():
    octets = encode_shared(Key(number=1, secret="ab" * 32))
    assert json.loads(octets) == {"schema": SCHEMA_VERSION, "number": 1, "secret": "ab" * 32, "made": 0.0}
    # berth 0.2.0 wrote none.
    assert decode_shared(Key, "key/1", b'{"number":1,"secret":"%b"}' % (b"ab" * 32)) == Key(number=1, secret="ab" * 32)


def test_types_are_resolved_once(monkeypatch):
    resolve, resolved = typing.get_type_hints, []
    monkeypatch.setattr(typing, "get_type_hints", lambda kind: resolved.append(kind) or resolve(kind))
    codec._fields.cache_clear()
    codec._reader.cache_clear()
    octets = encode(EndpointsRecord(endpoints=(ENDPOINT, ENDPOINT)))
    for _ in range(3):
        assert decode(EndpointsRecord, octets).endpoints == (ENDPOINT, ENDPOINT)
    assert len(resolved) == len(set(resolved))
    assert {EndpointsRecord, Endpoint} <= set(resolved)
