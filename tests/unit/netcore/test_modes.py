"""Sandboxes without a network stack of their own: what is asked for, refused and warned of."""

from ipaddress import ip_address

import pytest

from netcore.dns_settings import DnsSettings
from netcore.errors import Conflict, InvalidRequest
from netcore.model import EndpointRequest, Sandbox, SandboxRequest, Stack
from netcore.plan import modes


def request(*networks, endpoint=None, **more):
    asked = [EndpointRequest(network=name, **(endpoint or {})) for name in networks]
    return SandboxRequest(name="s", networks=tuple(asked), **more)


def test_whose_stack_is_asked_for():
    assert modes.asked(request()) == (Stack.OWN, None)
    assert modes.asked(request("front", "back")) == (Stack.OWN, None)
    assert modes.asked(request("host")) == (Stack.HOST, None)
    assert modes.asked(request("none")) == (Stack.NONE, None)
    assert modes.asked(request("container:web")) == (Stack.SHARED, "web")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (request("none", "front"), "a sandbox cannot be connected to multiple networks"),
        (request("host", "front"), "a sandbox sharing network namespace"),
        (request("container:"), r"^invalid container format container:<name\|id>: "),
        (request("host", netns="/proc/1/ns/net"), "an adopted namespace has a stack of its own"),
    ],
)
def test_what_can_not_be_asked_for(asked, reason):
    with pytest.raises(InvalidRequest, match=reason):
        modes.asked(asked)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"hostname": "h"}, "hostname"),
        ({"domainname": "d"}, "domainname"),
        ({"endpoint": {"links": (("web", "w"),)}}, "link"),
        ({"dns": DnsSettings(servers=("10.0.0.1",))}, "dns"),
        ({"dns": DnsSettings(search=("x",))}, "dns-search"),
        ({"dns": DnsSettings(options=("ndots:1",))}, "dns-opt"),
        ({"extra_hosts": ("a:10.0.0.1",)}, "add-host"),
        ({"endpoint": {"mac": "02:42:00:00:00:01"}}, "mac-address"),
        ({"publish": ("80",)}, "publish"),
        ({"publish_all": True}, "publish"),
        ({"expose": ("80",)}, "expose"),
    ],
)
def test_a_shared_stack_takes_nothing_that_belongs_to_its_owner(more, field):
    with pytest.raises(InvalidRequest, match="give it to the sandbox whose stack is shared") as caught:
        modes.check(request("container:web", **more), Stack.SHARED)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [
        ({"aliases": ("a",)}, "network-alias"),
        ({"ipv4": ip_address("10.0.0.1")}, "ip"),
        ({"mac": "02:42:00:00:00:01"}, "mac-address"),
        ({"ifname": "eth7"}, "ifname"),
        ({"driver_options": (("sysctls", "x"),)}, "driver-opt"),
        ({"routes": ("10.0.0.0/8=10.0.0.1",)}, "route"),
        ({"gateway_priority": 1}, "gw-priority"),
        ({"links": (("web", "w"),)}, "link"),
    ],
)
def test_without_a_network_there_are_no_settings_of_an_endpoint(endpoint, field):
    with pytest.raises(InvalidRequest) as caught:
        modes.check(request("none", endpoint=endpoint), Stack.NONE)
    assert caught.value.field == field


def test_the_hosts_stack():
    with pytest.raises(InvalidRequest, match="host type networking can't be used with links"):
        modes.check(request("host", endpoint={"links": (("web", "w"),)}), Stack.HOST)
    with pytest.raises(InvalidRequest, match="not allowed with host network mode"):
        modes.check(request("host", sysctls=("net.x=1",)), Stack.HOST)
    with pytest.raises(InvalidRequest, match="a router needs networks"):
        modes.check(request("host", forwards=True), Stack.HOST)
    assert modes.check(request("host", publish=("80",)), Stack.HOST) == ("Published ports are discarded when using host network mode",)
    assert modes.check(request("none", sysctls=("net.x=1",)), Stack.NONE) == ()
    assert modes.check(request("front", publish=("80",)), Stack.OWN) == ()


def test_only_a_stack_of_its_own_can_be_connected():
    def sandbox(stack):
        return Sandbox(id="s", name="s", hostname="s", netns_path="/x", boot_id="", stack=stack)

    modes.check_connectable(sandbox(Stack.OWN))
    with pytest.raises(Conflict, match=r"private \(none\) mode"):
        modes.check_connectable(sandbox(Stack.NONE))
    for stack in (Stack.HOST, Stack.SHARED):
        with pytest.raises(Conflict, match="sharing network namespace"):
            modes.check_connectable(sandbox(stack))
