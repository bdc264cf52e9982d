"""Bounds of the look: what one sandbox begins takes nothing from others, and never grows without end."""

from ipaddress import ip_address

import pytest

from netcore import limits
from netcore.look.flows import Flows
from netcore.look.segments import ACK, FIN, PSH, RST, SYN, Segment
from netcore.look.steps import Allowed, Sender
from tests.support import client_hellos

SERVER = ip_address("192.0.2.1")
HELLO = client_hellos.hello()


def of_client(client, port, payload, sequence=1):
    return Segment(
        source=client, destination=SERVER, source_port=port, destination_port=443, sequence=sequence, acknowledgement=1, flags=ACK | PSH,
        payload=payload, length=len(payload),
    )  # fmt: skip


def of_server(client, port, flags=SYN | ACK, acknowledgement=1):
    return Segment(
        source=SERVER, destination=client, source_port=443, destination_port=port, sequence=0, acknowledgement=acknowledgement, flags=flags
    )


@pytest.fixture
def flows():
    return Flows(lambda *_: Allowed(1))


FLOOD, QUIET = ip_address("10.0.0.2"), ip_address("10.0.0.3")


def send(flows, client, port, payload, held=7):
    return flows.take_client(of_client(client, port, payload), held, Sender(1, b"", client), 0.0)


def test_a_sandbox_forgets_its_own_oldest(flows):
    flows.take_server(of_server(QUIET, 1), 0.0)
    send(flows, QUIET, 1, HELLO[:100])
    for port in range(2 * limits.LOOKED_FLOWS_PER_SANDBOX):
        flows.take_server(of_server(FLOOD, port), 0.0)
    assert len(flows) == limits.LOOKED_FLOWS_PER_SANDBOX + 1
    assert len(flows.take_client(of_client(QUIET, 1, HELLO[100:], 101), 7, Sender(1, b"", QUIET), 0.0)) == 2


def test_those_with_data_stay_longer_than_those_without(flows):
    flows.take_server(of_server(FLOOD, 1), 0.0)
    send(flows, FLOOD, 1, HELLO[:100])
    for port in range(2, limits.LOOKED_FLOWS_PER_SANDBOX + 100):
        flows.take_server(of_server(FLOOD, port), 0.0)
    assert len(flows.take_client(of_client(FLOOD, 1, HELLO[100:], 101), 7, Sender(1, b"", FLOOD), 0.0)) == 2


def test_all_together_are_bounded(flows, monkeypatch):
    monkeypatch.setattr(limits, "LOOKED_FLOWS", 50)
    send(flows, QUIET, 1, HELLO[:100])
    for port in range(100):
        flows.take_server(of_server(FLOOD, port), 0.0)
    assert len(flows) == 50
    assert flows._by_client[QUIET]


def test_the_octets_of_a_sandbox_are_bounded(flows):
    part = b"GET /" + b"a" * 30_000
    for port in range(1000):
        flows.take_server(of_server(FLOOD, port), 0.0)
        send(flows, FLOOD, port, part)
    held = sum(flow.octets for flow in flows._by_client[FLOOD].values())
    assert held == flows._octets[FLOOD]
    assert limits.FIRST_DATA_PER_SANDBOX - len(part) < held <= limits.FIRST_DATA_PER_SANDBOX
    flows.take_server(of_server(QUIET, 1), 0.0)
    assert len(send(flows, QUIET, 1, HELLO)) == 2


def test_data_of_an_unknown_place_are_bounded(flows):
    for at in range(200):
        flows.take_client(of_client(FLOOD, 1, bytes(1000), at * 1000), 7, Sender(1, b"", FLOOD), 0.0)
    assert flows._octets[FLOOD] <= limits.FIRST_DATA


def test_what_a_server_says_of_nobody_is_left_out(flows):
    assert flows.take_server(of_server(QUIET, 1, ACK), 0.0) == []
    assert len(flows) == 0


def test_a_reset_begins_nothing(flows):
    for flags in (SYN | ACK, SYN | ACK | RST, SYN | ACK, SYN | ACK | FIN | RST):
        assert flows.take_server(of_server(QUIET, 1, flags), 0.0) == []
    assert len(flows) == 0


def test_a_server_that_begins_anew_is_followed(flows):
    flows.take_server(of_server(QUIET, 1), 0.0)
    send(flows, QUIET, 1, HELLO[:100])
    flows.take_server(of_server(QUIET, 1, acknowledgement=5000), 0.0)
    assert len(flows.take_client(of_client(QUIET, 1, HELLO, 5000), 7, Sender(1, b"", QUIET), 0.0)) == 2


def test_all_is_given_back(flows):
    for port in range(10):
        send(flows, FLOOD, port, HELLO)
    flows.expire(limits.LOOKED_FLOW_IDLE + 1)
    assert (len(flows), flows._by_client, flows._octets) == (0, {}, {})
