"""From bodies to requests, and from what exists to views."""

from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from netcore.cluster.state import EndpointRecord, Node
from netcore.errors import InvalidRequest
from netcore.model import Endpoint, Owner, PluginIpam, PluginOptions, PortMapping, Sandbox, Stack, StaticRoute
from resolver.daemon import convert, schema
from tests.support.networks import bridge_network, parent_network, pool

OWNER = Owner(pid=7, start_time=70)
FRONT = bridge_network(
    "front", pool("10.1.0.0/24", "10.1.0.1", auxiliary=(("router", ip_address("10.1.0.9")),)), pool("fd01::/64", "fd01::1"),
    labels=(("tier", "web"), ("old", "")), options=(("icc", "true"),), created=100.0,
    routes=(StaticRoute(destination=ip_network("10.9.0.0/16"), via=ip_address("10.1.0.8")), StaticRoute(destination=ip_network("10.8.0.0/16"), via=None)),
)  # fmt: skip
BACK = bridge_network("back", pool("10.2.0.0/24"))


def sandbox(**more):
    return Sandbox(**{"id": "a" * 64, "name": "web", "hostname": "h", "netns_path": "/run/netns/web", "boot_id": "", **more})


def endpoint(network, address, **more):
    return Endpoint(
        origin="api", network_id=network.id, sandbox_id="a" * 64, ifname="eth0", host_ifname="veth1", mac="02:42:00:00:00:02",
        ipv4=ip_interface(address), ipv6=None, **more,
    )  # fmt: skip


def test_network_request():
    body = schema.NetworkBody(
        name="n", driver="macvlan", internal=True, ipv4=False, ipv6=True, subnets=["10.0.0.0/24"], ip_ranges=["10.0.0.0/25"], gateways=["10.0.0.1"],
        auxiliary={"r": "10.0.0.9"}, options={"forward": "corp.test=10.0.0.53"}, labels={"k": "v"}, routes=["10.9.0.0/16=10.0.0.2"],
        ipam_driver="", ipam_options={"o": "1"},
    )  # fmt: skip
    made = convert.network_request(body, OWNER, predefined=True)
    assert (made.name, made.driver, made.internal, made.ipv4, made.ipv6, made.predefined) == ("n", "macvlan", True, False, True, True)
    assert (made.subnets, made.ip_ranges, made.gateways) == (("10.0.0.0/24",), ("10.0.0.0/25",), ("10.0.0.1",))
    assert (made.auxiliary, made.options, made.labels) == ((("r", "10.0.0.9"),), (("forward", "corp.test=10.0.0.53"),), (("k", "v"),))
    assert (made.routes, made.ipam_driver, made.ipam_options, made.owner) == (("10.9.0.0/16=10.0.0.2",), "default", (("o", "1"),), OWNER)


@pytest.mark.parametrize("forward", ["a..b=10.0.0.53", "corp.test=ns.corp.test"])
def test_wrong_nameserver_or_domain_of_a_network_is_named(forward):
    request = convert.network_request(schema.NetworkBody(name="n", options={"forward": forward}), None)
    assert [field for field, _ in request.problems] == ["option forward"]


def test_endpoint_request():
    body = schema.EndpointBody(
        network="front", aliases=["www"], services=["s"], links={"db": "database"}, ip="10.1.0.5", ip6="fd01::5", link_local_ips=["169.254.1.1"],
        mac_address="02:42:00:00:00:09", gw_priority=3, ifname="lan0", routes=["10.9.0.0/16=10.1.0.2"], driver_opts={"k": "v"},
    )  # fmt: skip
    made = convert.endpoint_request(body, "id")
    assert (made.network, made.aliases, made.services, made.links) == ("id", ("www",), ("s",), (("database", "db"),))
    assert (str(made.ipv4), str(made.ipv6), made.link_local) == ("10.1.0.5", "fd01::5", (ip_address("169.254.1.1"),))
    assert (made.mac, made.gateway_priority, made.ifname) == ("02:42:00:00:00:09", 3, "lan0")
    assert (made.routes, made.driver_options) == (("10.9.0.0/16=10.1.0.2",), (("k", "v"),))
    assert convert.endpoint_request(schema.ConnectBody(sandbox="x"), "id").ipv4 is None


@pytest.mark.parametrize(
    ("field", "settings"),
    [("IPv4 address", {"ip": "fd01::5"}), ("IPv6 address", {"ip6": "10.0.0.1"}), ("link-local-ip", {"link_local_ips": ["x"]})],
)
def test_wrong_address_of_an_endpoint_is_named(field, settings):
    with pytest.raises(InvalidRequest, match=f"invalid {field}"):
        convert.endpoint_request(schema.ConnectBody(sandbox="x", **settings), "id")


def test_sandbox_request():
    body = schema.SandboxBody(
        name="web", hostname="h", domainname="d", networks=[schema.EndpointBody(network="front")], dns=["10.0.0.53"], dns_search=[" x.test "],
        dns_options=["ndots:2"], extra_hosts=["a:10.0.0.1"], publish=["80:80"], expose=["81"], publish_all=True, forward=True,
        sysctls=["net.x=1"], labels={"k": "v"},
    )  # fmt: skip
    made = convert.sandbox_request(body, "/proc/1/ns/net", OWNER)
    assert (made.name, made.netns, made.owner, made.hostname, made.domainname) == ("web", "/proc/1/ns/net", OWNER, "h", "d")
    assert [endpoint.network for endpoint in made.networks] == ["front"]
    assert (made.dns.servers, made.dns.search, made.dns.options) == (("10.0.0.53",), ("x.test",), ("ndots:2",))
    assert (made.extra_hosts, made.publish, made.expose, made.publish_all) == (("a:10.0.0.1",), ("80:80",), ("81",), True)
    assert (made.forwards, made.sysctls, made.labels) == (True, ("net.x=1",), (("k", "v"),))


@pytest.mark.parametrize(("field", "settings"), [("dns", {"dns": ["dns.test"]}), ("dns-search", {"dns_search": ["-bad-"]})])
def test_wrong_dns_setting_is_named(field, settings):
    with pytest.raises(InvalidRequest, match=f"invalid {field}:"):
        convert.sandbox_request(schema.SandboxBody(name="x", **settings), None, None)


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        ({}, True), ({"labels": ["tier"]}, True), ({"labels": ["tier=web"]}, True), ({"labels": ["tier=db"]}, False), ({"labels": ["none"]}, False),
        ({"labels": ["tier", "none"]}, False), ({"labels": ["old="]}, True), ({"other_labels": ["tier"]}, False), ({"other_labels": ["tier=db"]}, True),
        ({"until": 100.0}, False), ({"until": 100.5}, True), ({"until": 100.5, "labels": ["tier"], "other_labels": ["old"]}, False),
    ],
)  # fmt: skip
def test_prune_filters(filters, matches):
    assert convert.matches_prune_filters(FRONT, schema.PruneBody(**filters)) is matches


def test_prune_spares_predefined_networks():
    assert not convert.matches_prune_filters(bridge_network("bridge"), schema.PruneBody())


def test_network_view():
    details = convert.NetworkDetails(
        network=FRONT,
        members=((sandbox(), endpoint(FRONT, "10.1.0.2/24")),),
        addresses_in_use={ip_network("10.1.0.0/24"): 3},
        remote_members=(
            ("node2", EndpointRecord(node="node2", sandbox="far", mac="02:42:00:00:00:03", addresses=("10.1.0.7",), names=("far",))),
        ),
    )
    view = convert.network_view(details, warnings=("careful",))
    assert (view.id, view.name, view.driver, view.scope, view.link, view.mtu) == (
        "front",
        "front",
        "bridge",
        "local",
        FRONT.bridge.bridge_name,
        1500,
    )
    assert view.pools == [
        schema.PoolView("10.1.0.0/24", None, "10.1.0.1", {"router": "10.1.0.9"}, 3), schema.PoolView("fd01::/64", None, "fd01::1", {}, 0),
    ]  # fmt: skip
    assert (view.options, view.labels) == ({"icc": "true"}, {"tier": "web", "old": ""})
    assert view.routes == ["10.9.0.0/16=10.1.0.8", "10.8.0.0/16="]
    assert view.members == [
        schema.MemberView("web", "a" * 64, ["10.1.0.2"], "02:42:00:00:00:02"), schema.MemberView("far", "", ["10.1.0.7"], "02:42:00:00:00:03", "node2"),
    ]  # fmt: skip
    assert (view.created, view.warnings, view.ipam_driver) == (100.0, ["careful"], "default")


def test_networks_of_plugins_and_parents():
    from dataclasses import replace

    of_plugin = replace(
        parent_network("p", "macvlan", pool("10.3.0.0/24", ip_range=ip_network("10.3.0.0/25")), given={"parent": "eth0"}),
        driver_options=PluginOptions(plugin="p", scope="global"), ipam=PluginIpam(plugin="addresses", space="s"),
    )  # fmt: skip
    view = convert.network_view(convert.NetworkDetails(network=of_plugin, addresses_in_use={}))
    assert (view.scope, view.link, view.ipam_driver, view.pools[0].ip_range, view.pools[0].gateway) == (
        "global",
        "",
        "addresses",
        "10.3.0.0/25",
        None,
    )
    assert (view.members, view.warnings) == ([], [])


def test_sandbox_view():
    endpoints = (
        endpoint(FRONT, "10.1.0.2/24", aliases=("www",), link_local=(ip_interface("169.254.1.1/16"),), ports=(
            PortMapping(family=4, protocol="tcp", host_address=None, host_port=8080, sandbox_port=80),
            PortMapping(family=6, protocol="udp", host_address=None, host_port=53, sandbox_port=53),
            PortMapping(family=4, protocol="tcp", host_address=ip_address("127.0.0.1"), host_port=81, sandbox_port=81),
        )),
        endpoint(BACK, "10.2.0.2/24", gateway_priority=-1, routes=(StaticRoute(destination=ip_network("10.9.0.0/16"), via=ip_address("10.2.0.1")),)),
    )  # fmt: skip
    details = convert.SandboxDetails(
        sandbox=sandbox(owner=OWNER, domainname="d", forwards=True, labels=(("k", "v"),), created=5.0), endpoints=endpoints,
        networks={network.id: network for network in (FRONT, BACK)}, directory=Path("/run/berth/sandboxes/a"), pid=9,
    )  # fmt: skip
    view = convert.sandbox_view(details, {"front": {"httpProxy": "http://p"}}, ("careful",), {"back": {"x": 1}})
    assert (view.name, view.hostname, view.domainname, view.netns, view.pid, view.owner_pid) == ("web", "h", "d", "/run/netns/web", 9, 7)
    assert view.directory == view.files == "/run/berth/sandboxes/a"
    assert (view.stack, view.shared_with, view.forward, view.ended, view.origin) == ("own", "", True, False, "api")
    assert (view.networks, view.addresses) == (["front", "back"], ["10.1.0.2", "10.2.0.2"])
    assert view.names[:2] == ["web", "www"]
    assert len(view.names) == len(set(view.names))
    assert view.environment["HTTP_PROXY"] == "http://p"
    assert (view.labels, view.created, view.warnings) == ({"k": "v"}, 5.0, ["careful"])
    front, back = view.endpoints
    assert (front.addresses, front.link_local, front.gateway, front.told_by_plugin) == (["10.1.0.2/24"], ["169.254.1.1/16"], True, {})
    assert [(port.host_address, port.host_port, port.sandbox_port, port.protocol) for port in front.ports] == [
        ("0.0.0.0", 8080, 80, "tcp"), ("::", 53, 53, "udp"), ("127.0.0.1", 81, 81, "tcp"),
    ]  # fmt: skip
    assert (back.routes, back.gateway_priority, back.gateway, back.told_by_plugin) == (["10.9.0.0/16=10.2.0.1"], -1, False, {"x": 1})


def test_files_of_a_sandbox_that_shares_a_stack_are_those_of_its_owner():
    details = convert.SandboxDetails(
        sandbox=sandbox(stack=Stack.SHARED, shared_with="b" * 64), endpoints=(), networks={}, directory=Path("/run/x/a"),
        stack_owner=sandbox(id="b" * 64, name="owner"),
    )  # fmt: skip
    view = convert.sandbox_view(details, {})
    assert (view.directory, view.files, view.shared_with, view.stack, view.pid) == (
        "/run/x/a",
        f"/run/x/{'b' * 64}",
        "owner",
        "container",
        0,
    )


def test_node_view():
    details = convert.NodeDetails(Node(id="n", name="one", vtep=ip_address("10.0.0.1")), 4, is_own=True)
    assert convert.node_view(details) == schema.NodeView("n", "one", "10.0.0.1", 4, True)
