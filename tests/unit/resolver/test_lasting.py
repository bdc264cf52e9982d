"""What a sandbox that lasts is made by when it is made again: what was asked for, with the addresses and ports that it had."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from netcore.model import Endpoint, EndpointRequest, PortMapping, Sandbox, SandboxRequest, Stack
from netcore.parse.ports import parse_port
from resolver.daemon.lasting_request import as_it_is
from tests.support.networks import bridge_network

FRONT, BRIDGE = bridge_network("front"), bridge_network("bridge")


def sandbox(*texts, ports=(), **more):
    return Sandbox(
        id="s" * 64, name="web", hostname="web", netns_path="/run/netns/berth-web", boot_id="b", created=5.0, ports=ports,
        port_requests=tuple(map(parse_port, texts)), **more,
    )  # fmt: skip


def endpoint(network, address="10.1.0.9"):
    return Endpoint(
        origin="api", network_id=network.id, sandbox_id="s" * 64, ifname="eth0", host_ifname="veth0", mac="02:42:00:00:00:09",
        ipv4=ip_interface(f"{address}/24"), ipv6=None,
    )  # fmt: skip


def mapping(host_port, port, protocol="tcp", address=None):
    return PortMapping(family=4, protocol=protocol, host_address=address, host_port=host_port, sandbox_port=port)


def again(request, made, *endpoints):
    return as_it_is(request, made, endpoints, {FRONT.id: FRONT, BRIDGE.id: BRIDGE})


def test_addresses_and_what_was_asked_for_stay():
    asked = EndpointRequest(network=FRONT.id, aliases=("api",), driver_options=(("a", "b"),))
    request = SandboxRequest(name="old", networks=(asked,), hostname="h", labels=(("a", "b"),), follows="podman:web")
    made = again(request, sandbox(), endpoint(FRONT))
    wanted = replace(asked, network="front", ipv4=ip_address("10.1.0.9"), mac="02:42:00:00:00:09")
    assert made == replace(request, name="web", networks=(wanted,), again=("s" * 64, 5.0))


def test_networks_that_came_and_went_are_followed():
    request = SandboxRequest(name="web", networks=(EndpointRequest(network="gone"), EndpointRequest(network="front")))
    # `gone` may be set aside; `front` was disconnected, and `bridge` was not asked for.
    made = again(request, sandbox(), endpoint(BRIDGE))
    assert [(one.network, one.ipv4) for one in made.networks] == [
        ("bridge", None if BRIDGE.is_default_bridge else ip_address("10.1.0.9")),
        ("gone", None),
    ]
    mode = SandboxRequest(name="web", networks=(EndpointRequest(network="none"),))
    assert again(mode, sandbox(stack=Stack.NONE)).networks == mode.networks


@pytest.mark.parametrize(
    ("texts", "ports", "publish"),
    [
        (("8080:80",), (mapping(8080, 80),), ("8080:80",)),
        (("80",), (mapping(32768, 80), mapping(32768, 80)), ("32768:80/tcp",)),
        (("http=127.0.0.1::80",), (mapping(32768, 80, address=ip_address("127.0.0.1")),), ("http=127.0.0.1:32768:80/tcp",)),
        (("[::1]::53/udp",), (mapping(32769, 53, "udp", ip_address("::1")),), ("[::1]:32769:53/udp",)),
        (("80-81",), (mapping(32768, 80), mapping(32770, 81)), ("32768:80/tcp", "32770:81/tcp")),
        (("80", "443"), (mapping(2, 443), mapping(1, 80)), ("1:80/tcp", "2:443/tcp")),
        # Of --publish-all.
        ((), (mapping(32768, 53, "udp"),), ("32768:53/udp",)),
    ],
)
def test_ports_stay(texts, ports, publish):
    made = again(SandboxRequest(name="web", publish=texts, publish_all=True), sandbox(*texts, ports=ports))
    assert (made.publish, made.publish_all) == (publish, False)
    for text in made.publish:
        parse_port(text)
