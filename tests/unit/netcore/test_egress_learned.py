"""Which rules would have allowed what was used."""

from ipaddress import ip_address, ip_network

import pytest

from netcore.egress import learned, read
from netcore.egress.layer import Layer
from netcore.egress.policy import Flow, Policy
from netcore.egress.surroundings import KnownNetwork, Surroundings

AROUND = Surroundings(
    networks=(KnownNetwork(name="build", subnets=(ip_network("10.20.0.0/16"),), attached=True),),
    addresses=frozenset([ip_address("10.20.0.1")]),
)


@pytest.mark.parametrize(
    ("names", "address", "protocol", "port", "rules"),
    [
        (["a.example"], "192.0.2.1", "tcp", 443, ["a.example:443"]),
        (["a.example", "b.example"], "192.0.2.1", "tcp", 8443, ["a.example:8443", "b.example:8443"]),
        (["a.example"], "10.1.2.3", "tcp", 5432, ["a.example+private:5432"]),
        (["a.example"], "192.0.2.1", "udp", 443, ["a.example:443"]),
        (["a.example"], "192.0.2.1", "udp", 123, ["a.example:123/udp"]),
        (["a.example"], "169.254.169.254", "tcp", 80, ["169.254.169.254:80"]),
        (["a.example"], "192.0.2.1", "icmp", 0, ["192.0.2.1"]),
        ([], "2001:db8::1", "tcp", 22, ["[2001:db8::1]:22"]),
        ([], "9.9.9.9", "udp", 53, ["9.9.9.9:53/udp"]),
        (["web.build"], "10.20.0.7", "tcp", 80, ["network:build:80"]),
        (["host.docker.internal"], "10.20.0.1", "udp", 9000, ["host:9000/udp"]),
        (["bad..name", "fine.example"], "192.0.2.1", "tcp", 80, ["fine.example:80"]),
        (["bad..name"], "192.0.2.1", "tcp", 80, ["192.0.2.1:80"]),
    ],
)
def test_needed(names, address, protocol, port, rules):
    assert learned.needed(AROUND, names, ip_address(address), protocol, port) == rules
    made = Policy("job", [Layer(read.rules(rules), "")], AROUND)
    if (protocol, port) != ("udp", 443):
        name = names[-1] if names and rules[0].endswith(("example:443", ".example:80")) else (names or [None])[0]
        assert made.allows(Flow(address=ip_address(address), protocol=protocol, port=port, name=name)).allowed


def test_learn_allows_everything_and_the_ceiling_still_counts():
    flow = Flow(address=ip_address("198.51.100.1"), protocol="tcp", port=25)
    learns = Policy("job", [Layer(read.rules(["learn"]), "")], AROUND)
    assert learns.learns
    assert learns.allows(flow).allowed
    assert learns.may_ask("any.example").allowed
    bounded = Policy("job", [Layer(read.rules(["learn"]), ""), Layer(read.rules(["192.0.2.0/24"]), "the ceiling")], AROUND)
    assert bounded.learns
    assert not bounded.allows(flow).allowed
