"""The calls that plugins get, in their order, and what is undone when one fails. The plugin is a table of answers."""

import asyncio
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from netcore.errors import PluginFailed
from netcore.model import Endpoint, PluginIpam, PluginOptions, Pool, Sandbox
from netcore.plugins.ipam_driver import IpamDriver
from netcore.plugins.network_driver import NetworkDriver
from tests.support.networks import bridge_network, pool

SANDBOX = Sandbox(id="s", name="s", hostname="s", netns_path="/run/netns/s", boot_id="")
ENDPOINT = Endpoint(
    origin="api", network_id="n", sandbox_id="s", ifname="", host_ifname="", mac="", ipv4=ip_interface("10.60.0.2/24"), ipv6=None
)
NETWORK = bridge_network("net", pool("10.60.0.0/24", "10.60.0.1"))
REFUSED, BROKEN = (PluginFailed("p", "m", "no", refused=refused) for refused in (True, False))


class FakePlugin:
    """A `PluginCalls`. *answers*: method → answer, an error to raise, or None: the method is unknown."""

    def __init__(self, **answers):
        self.answers = answers
        self.calls = []

    async def call_optional(self, plugin, kind, method, body):
        self.calls.append((method, body))
        answer = self.answers.get(method, {})
        if isinstance(answer, BaseException):
            raise answer
        return answer(body) if callable(answer) else answer

    async def take_back(self, plugin, kind, method, body, *, optional=False):
        await (self.call_optional if optional else self.call)(plugin, kind, method, body)

    async def call(self, plugin, kind, method, body):
        answer = await self.call_optional(plugin, kind, method, body)
        if answer is None:
            raise PluginFailed(plugin, method, "it does not know this method", refused=True)
        return answer

    @property
    def methods(self):
        return [method for method, _ in self.calls]


# --- network driver -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "expected", "methods"),
    [
        ({"GetCapabilities": None}, PluginOptions(plugin="p"), ["GetCapabilities"]),
        ({"GetCapabilities": {"Scope": "global"}}, PluginOptions(plugin="p", scope="global"), ["GetCapabilities"]),
        (
            {"GetCapabilities": {"GwAllocChecker": True}, "GwAllocCheck": {"SkipIPv4": True}},
            PluginOptions(plugin="p", no_gateway4=True),
            ["GetCapabilities", "GwAllocCheck"],
        ),
        (
            {"GetCapabilities": {"GwAllocChecker": True}, "GwAllocCheck": None},
            PluginOptions(plugin="p"),
            ["GetCapabilities", "GwAllocCheck"],
        ),
    ],
)
async def test_capabilities(answers, expected, methods):
    plugin = FakePlugin(**answers)
    assert await NetworkDriver(plugin).capabilities("p", {}) == expected
    assert plugin.methods == methods


async def test_scope_that_there_is_not():
    with pytest.raises(PluginFailed, match="Scope is 'galactic', neither local nor global"):
        await NetworkDriver(FakePlugin(GetCapabilities={"Scope": "galactic"})).capabilities("p", {})


@pytest.mark.parametrize(
    ("answers", "methods"),
    [
        ({}, ["CreateNetwork"]),
        ({"CreateNetwork": REFUSED}, ["CreateNetwork"]),
        ({"CreateNetwork": BROKEN}, ["CreateNetwork", "DeleteNetwork"]),
        ({"CreateNetwork": BROKEN, "DeleteNetwork": BROKEN}, ["CreateNetwork", "DeleteNetwork"]),
    ],
)
async def test_network_that_fails_leaves_nothing(answers, methods):
    plugin = FakePlugin(**answers)
    creating = NetworkDriver(plugin).create_network("p", NETWORK)
    if answers:
        with pytest.raises(PluginFailed):
            await creating
    else:
        await creating
    assert plugin.methods == methods
    assert {body["NetworkID"] for _, body in plugin.calls} == {"net"}


async def test_endpoint_is_created_and_joined():
    plugin = FakePlugin(
        CreateEndpoint={"Interface": {"MacAddress": "02:66:00:00:00:07"}},
        Join={
            "InterfaceName": {"SrcName": "vc1", "DstPrefix": "plug"},
            "StaticRoutes": [{"Destination": "10.67.0.0/16", "RouteType": 1}],
        },
    )
    joined = await NetworkDriver(plugin).create_and_join("p", SANDBOX, ENDPOINT, {"color": "red"})
    assert plugin.methods == ["CreateEndpoint", "Join"]
    assert plugin.calls[0][1]["Options"]["color"] == "red"
    assert plugin.calls[1][1]["SandboxKey"] == "/run/netns/s"
    assert (joined.endpoint.mac, joined.endpoint.answer.link, joined.ifname, joined.ifname_prefix) == (
        "02:66:00:00:00:07",
        "vc1",
        None,
        "plug",
    )
    assert [str(route.destination) for route in joined.endpoint.routes] == ["10.67.0.0/16"]


@pytest.mark.parametrize(
    ("answers", "methods"),
    [
        ({"CreateEndpoint": REFUSED}, ["CreateEndpoint"]),
        ({"CreateEndpoint": None}, ["CreateEndpoint"]),
        ({"CreateEndpoint": BROKEN}, ["CreateEndpoint", "DeleteEndpoint"]),
        ({"CreateEndpoint": {"Interface": 5}}, ["CreateEndpoint", "DeleteEndpoint"]),
        ({"Join": REFUSED}, ["CreateEndpoint", "Join", "DeleteEndpoint"]),
        ({"Join": BROKEN}, ["CreateEndpoint", "Join", "Leave", "DeleteEndpoint"]),
        ({"Join": BROKEN, "Leave": BROKEN, "DeleteEndpoint": BROKEN}, ["CreateEndpoint", "Join", "Leave", "DeleteEndpoint"]),
        ({"Join": {"Gateway": "up"}}, ["CreateEndpoint", "Join", "Leave", "DeleteEndpoint"]),
    ],
)
async def test_endpoint_that_fails_leaves_nothing(answers, methods):
    plugin = FakePlugin(**answers)
    with pytest.raises(PluginFailed):
        await NetworkDriver(plugin).create_and_join("p", SANDBOX, ENDPOINT, {})
    assert plugin.methods == methods


async def test_join_that_is_cancelled_is_undone():
    plugin = FakePlugin(Join=asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await NetworkDriver(plugin).create_and_join("p", SANDBOX, ENDPOINT, {})
    assert plugin.methods == ["CreateEndpoint", "Join", "Leave", "DeleteEndpoint"]


async def test_end_of_an_endpoint():
    plugin = FakePlugin(EndpointOperInfo={"Value": {"a": 1}}, ProgramExternalConnectivity=None, RevokeExternalConnectivity=None)
    driver = NetworkDriver(plugin)
    # A plugin may lack these two (RM-2).
    await driver.program_external_connectivity("p", ENDPOINT, SANDBOX)
    assert await driver.endpoint_information("p", ENDPOINT) == {"a": 1}
    await driver.revoke_external_connectivity("p", ENDPOINT)
    await driver.leave("p", ENDPOINT)
    await driver.delete_endpoint("p", ENDPOINT)
    await driver.delete_network("p", NETWORK)
    assert plugin.methods == [
        "ProgramExternalConnectivity", "EndpointOperInfo", "RevokeExternalConnectivity", "Leave", "DeleteEndpoint", "DeleteNetwork",
    ]  # fmt: skip
    for answer in (None, {}, {"Value": "text"}):
        plugin.answers["EndpointOperInfo"] = answer
        assert await driver.endpoint_information("p", ENDPOINT) == {}


# --- IPAM driver ----------------------------------------------------------------------------------------------------------

IPAM = PluginIpam(plugin="p", space="here", options=(("zone", "a"),), needs_mac=True)
POOL = {"PoolID": "7", "Pool": "10.66.0.0/16", "Data": {}}


def address(body):
    return {"Address": f"{body['Address'] or '10.66.0.9'}/16"}


async def test_ipam_capabilities():
    answers = {
        "GetCapabilities": {"RequiresMACAddress": True},
        "GetDefaultAddressSpaces": {"LocalDefaultAddressSpace": "here", "GlobalDefaultAddressSpace": "everywhere"},
    }
    driver = IpamDriver(FakePlugin(**answers))
    assert await driver.capabilities("p", {"zone": "a"}, "local") == IPAM
    assert (await driver.capabilities("p", {}, "global")).space == "everywhere"
    bare = await IpamDriver(FakePlugin(GetCapabilities=None)).capabilities("p", {}, "local")
    assert (bare.space, bare.needs_mac, bare.needs_replay) == ("", False, False)


BROUGHT = {"com.docker.network.gateway": "10.66.0.1/16"}


@pytest.mark.parametrize(
    ("data", "wish", "needed", "gateway", "methods"),
    [
        ({}, None, True, "10.66.0.9", ["RequestPool", "RequestAddress"]),
        ({}, None, False, "None", ["RequestPool"]),
        ({}, "10.66.0.3", False, "10.66.0.3", ["RequestPool", "RequestAddress"]),
        (BROUGHT, None, True, "10.66.0.1", ["RequestPool"]),
        (BROUGHT, "10.66.0.1", True, "10.66.0.1", ["RequestPool"]),
        (BROUGHT, "10.66.0.3", True, "10.66.0.3", ["RequestPool", "RequestAddress"]),
    ],
)
async def test_gateway_of_a_pool(data, wish, needed, gateway, methods):
    plugin = FakePlugin(RequestPool={**POOL, "Data": data}, RequestAddress=address)
    wished = pool("10.66.0.0/16", wish) if wish is not None else None
    made = await IpamDriver(plugin).request_pool(IPAM, 4, wished, gateway=needed)
    assert (str(made.subnet), made.identity, str(made.gateway)) == ("10.66.0.0/16", "7", gateway)
    assert plugin.methods == methods
    assert plugin.calls[0][1] == {
        "AddressSpace": "here", "Pool": "10.66.0.0/16" if wish is not None else "", "SubPool": "", "Options": {"zone": "a"}, "V6": False,
    }  # fmt: skip


async def test_pool_that_is_wished_for():
    plugin = FakePlugin(RequestPool=POOL, RequestAddress=address)
    wish = pool("10.66.0.0/16", "10.66.0.1", ip_range=ip_network("10.66.1.0/24"), auxiliary=(("router", ip_address("10.66.0.3")),))
    made = await IpamDriver(plugin).request_pool(IPAM, 4, wish, gateway=True)
    assert made == Pool(subnet=wish.subnet, ip_range=wish.ip_range, gateway=wish.gateway, auxiliary=wish.auxiliary, identity="7")
    assert [body["Address"] for method, body in plugin.calls if method == "RequestAddress"] == ["10.66.0.1", "10.66.0.3"]


@pytest.mark.parametrize(
    ("fails", "released"),
    [("10.66.0.1", []), ("10.66.0.3", ["10.66.0.1"]), ("10.66.0.4", ["10.66.0.3", "10.66.0.1"])],
)
async def test_pool_that_fails_is_given_back_with_what_it_has(fails, released):
    def refuse(body):
        return {"Address": "10.66.0.99/16"} if body["Address"] == fails else address(body)

    plugin = FakePlugin(RequestPool=POOL, RequestAddress=refuse)
    wish = pool("10.66.0.0/16", "10.66.0.1", auxiliary=(("a", ip_address("10.66.0.3")), ("b", ip_address("10.66.0.4"))))
    with pytest.raises(PluginFailed, match=f"it gives 10.66.0.99, where {fails} was asked for"):
        await IpamDriver(plugin).request_pool(IPAM, 4, wish, gateway=True)
    assert [body["Address"] for method, body in plugin.calls if method == "ReleaseAddress"] == released
    assert plugin.calls[-1] == ("ReleasePool", {"PoolID": "7"})


async def test_release_goes_as_far_as_the_plugin_lets_it():
    plugin = FakePlugin(ReleaseAddress=BROKEN)
    await IpamDriver(plugin).release_pool(IPAM, pool("10.66.0.0/16", "10.66.0.1", identity="7"))
    assert plugin.methods == ["ReleaseAddress"]


async def test_mac_is_told_only_if_the_plugin_needs_it():
    plugin = FakePlugin(RequestAddress=address)
    driver, given = IpamDriver(plugin), pool("10.66.0.0/16", identity="7")
    assert str(await driver.request_address(IPAM, given, None, mac="02:42:00:00:00:01")) == "10.66.0.9"
    await driver.request_address(PluginIpam(plugin="p", space="here"), given, None, mac="02:42:00:00:00:01")
    assert [body["Options"] for _, body in plugin.calls] == [
        {"zone": "a", "com.docker.network.endpoint.macaddress": "02:42:00:00:00:01"},
        {},
    ]


async def test_all_that_is_in_use_is_requested_again():
    plugin = FakePlugin(RequestPool=POOL, RequestAddress=address)
    pools = [pool("10.66.0.0/16", "10.66.0.1", identity="7"), pool("10.67.0.0/16", identity="8")]
    await IpamDriver(plugin).replay(IPAM, pools, [ip_address("10.66.7.7"), ip_address("fd00::1")])
    assert [(method, body.get("Pool") or body.get("Address")) for method, body in plugin.calls] == [
        ("RequestPool", "10.66.0.0/16"),
        ("RequestAddress", "10.66.0.1"),
        ("RequestAddress", "10.66.7.7"),
        ("RequestPool", "10.67.0.0/16"),
    ]
