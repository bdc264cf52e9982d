from dataclasses import replace

from netcore import limits
from netcore.model import Endpoint, Sandbox
from netcore.parse.ports import parse_port
from netcore.plan.endpoint_names import label_of, named_services, names_of, served_ports
from tests.support.networks import bridge_network

SANDBOX = Sandbox(
    id="0123456789abcdef", name="web", hostname="web", netns_path="/x", boot_id="", exposed=("53/udp", "8000-8001"),
    port_requests=(parse_port("8080:80"), parse_port("53/udp")),
)  # fmt: skip
ENDPOINT = Endpoint(
    origin="api", network_id="n", sandbox_id=SANDBOX.id, ifname="eth0", host_ifname="v", mac="02:42:00:00:00:01", ipv4=None, ipv6=None,
    aliases=("first", "web"), services=("api",),
)  # fmt: skip


def test_names_of_an_endpoint_each_once_and_the_one_for_ptr_first():
    assert names_of(SANDBOX, ENDPOINT, bridge_network("n")) == ("web", "first", "0123456789ab", "api", "tasks.api")
    assert names_of(SANDBOX, ENDPOINT, bridge_network("bridge")) == ()


def test_what_does_not_fit_in_dns_has_no_label():
    longer = replace(SANDBOX, name="w" * 64)
    assert names_of(longer, ENDPOINT, bridge_network("n")) == ("first", "web", "0123456789ab", "api", "tasks.api")
    network = replace(bridge_network("n"), id="fedcba9876543210")
    assert (label_of(network), label_of(replace(network, name="n" * 64))) == ("n", "fedcba987654")


def test_ports_with_srv_records_are_published_ones_then_exposed_ones():
    assert served_ports(SANDBOX) == ((80, "tcp"), (53, "udp"), (8000, "tcp"), (8001, "tcp"))


def test_ports_with_srv_records_are_bounded():
    many = Sandbox(id="s", name="s", hostname="s", netns_path="/x", boot_id="", exposed=("1000-2000",))
    assert len(served_ports(many)) == limits.SERVICE_PORTS


def test_services_have_the_names_given_else_the_well_known_one():
    sandbox = replace(
        SANDBOX,
        port_requests=(parse_port("web,ui=8080:80"), parse_port("53/udp"), parse_port("8443:https")),
        exposed=("h2=80", "metrics=9100-9101", "5432", "7777"),
    )
    assert named_services(sandbox) == (
        ("web", "tcp", 80), ("ui", "tcp", 80), ("h2", "tcp", 80), ("domain", "udp", 53), ("https", "tcp", 443),
        ("metrics", "tcp", 9100), ("metrics", "tcp", 9101), ("postgresql", "tcp", 5432),
    )  # fmt: skip
    many = replace(sandbox, port_requests=(), exposed=("x=1000-2000",))
    assert len(named_services(many)) == limits.SERVICE_PORTS
