"""Where plugins are found, what is said to them, and what of their answers is believed."""

import json
import socket
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from netcore.errors import InvalidRequest, NotFound, PluginFailed
from netcore.model import Endpoint, PluginIpam, Pool, Sandbox
from netcore.parse.ports import parse_port
from netcore.plugins import client, discovery, messages
from netcore.plugins.discovery import PluginAddress
from tests.support.networks import bridge_network, pool


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unix:///run/x.sock", PluginAddress(path="/run/x.sock")),
        ("tcp://localhost:8080", PluginAddress(url="http://localhost:8080")),
        ("http://localhost:8080/base/", PluginAddress(url="http://localhost:8080/base")),
        ("https://example.com/docker/plugin", PluginAddress(url="https://example.com/docker/plugin")),
    ],
)
def test_addresses_of_plugins(text, expected):
    assert discovery.parse_spec("x.spec", text) == expected


@pytest.mark.parametrize("text", ["", "localhost:8080", "ftp://x", "tcp://"])
def test_what_is_no_address_is_refused_with_its_file(text):
    with pytest.raises(InvalidRequest, match=r"x\.spec"):
        discovery.parse_spec("x.spec", text)


def test_json_with_tls():
    content = {
        "Name": "x",
        "Addr": "tcp://h:1",
        "TLSConfig": {"CAFile": "/ca", "CertFile": "/cert", "KeyFile": "/key", "InsecureSkipVerify": False},
    }
    assert discovery.parse_json("x.json", json.dumps(content)) == PluginAddress(
        url="https://h:1", ca="/ca", certificate="/cert", key="/key"
    )
    for text in ("", "[]", "{}", '{"Addr": 5}'):
        with pytest.raises(InvalidRequest, match=r"x\.json"):
            discovery.parse_json("x.json", text)


def test_order_of_discovery(tmp_path):
    sockets, first, second = (tmp_path / name for name in ("run", "etc", "lib"))
    for directory in (sockets, first, second):
        directory.mkdir()
    find = lambda: discovery.find("x", str(sockets), (str(first), str(second)))  # noqa: E731
    with pytest.raises(NotFound, match=r"x\.sock"):
        find()
    (second / "x.json").write_text('{"Addr": "https://lib"}')
    assert find().url == "https://lib"
    (second / "x.spec").write_text("tcp://spec:1\n")
    assert find().url == "http://spec:1"
    (first / "x").mkdir()
    (first / "x" / "x.spec").write_text("unix:///etc.sock")
    assert find().path == "/etc.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(sockets / "x.sock"))
        assert find() == PluginAddress(path=str(sockets / "x.sock"))


SANDBOX = Sandbox(
    id="s", name="s", hostname="s", netns_path="/run/netns/s", boot_id="", exposed=("90-91",),
    port_requests=(parse_port("8080-8081:80-81"), parse_port("127.0.0.1::53/udp"), parse_port("9000-9005:90")),
)  # fmt: skip


def test_ports_are_told_as_they_were_asked_for():
    options = messages.endpoint_options(SANDBOX)
    exposed = options["com.docker.network.endpoint.exposedports"]
    assert [(port["Proto"], port["Port"]) for port in exposed] == [(6, 90), (6, 91), (6, 80), (6, 81), (17, 53)]
    shown = [
        (binding["HostIP"], binding["HostPort"], binding["HostPortEnd"], binding["Port"])
        for binding in options["com.docker.network.portmap"]
    ]
    assert shown == [("", 8080, 8080, 80), ("", 8081, 8081, 81), ("127.0.0.1", 0, 0, 53), ("", 9000, 9005, 90)]


def endpoint(**more):
    return Endpoint(origin="api", network_id="n", sandbox_id="s", ifname="eth0", host_ifname="", mac="", ipv4=None, ipv6=None, **more)


def test_networks_are_told_with_all_their_pools():
    network = bridge_network(
        "net", pool("10.61.0.0/24", "10.61.0.254", auxiliary=(("router", ip_address("10.61.0.9")),)), pool("fd61::/64"), internal=True,
        options=(("color", "red"),), ipam=PluginIpam(plugin="p", space="here"),
    )  # fmt: skip
    assert messages.create_network(network) == {
        "NetworkID": "net",
        "Options": {
            "com.docker.network.generic": {"color": "red"}, "com.docker.network.enable_ipv4": True, "com.docker.network.enable_ipv6": True,
            "com.docker.network.internal": True,
        },
        "IPv4Data": [
            {"AddressSpace": "here", "Pool": "10.61.0.0/24", "Gateway": "10.61.0.254/24", "AuxAddresses": {"router": "10.61.0.9/24"}}
        ],
        "IPv6Data": [{"AddressSpace": "here", "Pool": "fd61::/64", "Gateway": "", "AuxAddresses": {}}],
    }  # fmt: skip
    plain = messages.create_network(bridge_network("net", pool("10.61.0.0/24")))
    assert plain["IPv4Data"][0]["AddressSpace"] == "LocalDefault"
    assert "com.docker.network.internal" not in plain["Options"]


def test_endpoints_are_told_with_what_is_known():
    target = endpoint()
    body = messages.create_endpoint(replace(target, mac="02:42:00:00:00:01", ipv4=ip_interface("10.1.0.2/16")), SANDBOX, {"a": "b"})
    assert body["Interface"] == {"Address": "10.1.0.2/16", "AddressIPv6": "", "MacAddress": "02:42:00:00:00:01"}
    assert (body["NetworkID"], body["EndpointID"], body["Options"]["a"]) == ("n", target.id, "b")
    assert messages.join(target, SANDBOX)["SandboxKey"] == "/run/netns/s"


def test_what_was_given_must_come_back_empty():
    given = replace(endpoint(), mac="02:42:00:00:00:01")
    with pytest.raises(PluginFailed, match="it may fill in only what is empty"):
        messages.with_interface("p", given, {"Interface": {"MacAddress": "02:42:00:00:00:02"}})
    with pytest.raises(PluginFailed, match="not an object"):
        messages.with_interface("p", given, {"Interface": "x"})


def test_pool_requests():
    ipam = PluginIpam(plugin="p", space="here", options=(("zone", "a"),))
    wish = pool("10.61.0.0/24", ip_range=ip_network("10.61.0.128/25"))
    assert messages.request_pool(ipam, 4, wish) == {
        "AddressSpace": "here", "Pool": "10.61.0.0/24", "SubPool": "10.61.0.128/25", "Options": {"zone": "a"}, "V6": False,
    }  # fmt: skip
    assert messages.request_pool(ipam, 6, None) == {"AddressSpace": "here", "Pool": "", "SubPool": "", "Options": {"zone": "a"}, "V6": True}


def test_plugin_may_fill_in_what_is_empty():
    made = messages.with_interface(
        "p", endpoint(), {"Interface": {"Address": "10.1.0.2/16", "AddressIPv6": "fd00::2/64", "MacAddress": "02:42:0A:01:00:02"}}
    )
    assert (str(made.ipv4), str(made.ipv6), made.mac) == ("10.1.0.2/16", "fd00::2/64", "02:42:0a:01:00:02")
    assert messages.with_interface("p", endpoint(), {}) == endpoint()
    assert messages.with_interface("p", endpoint(), {"Interface": None}) == endpoint()


@pytest.mark.parametrize(
    "answer",
    [
        {"Address": "10.1.0.2"},
        {"Address": "fd00::2/64"},
        {"AddressIPv6": "10.1.0.2/16"},
        {"MacAddress": "01:00:00:00:00:01"},
        {"Address": 5},
        {"Address": "10.1.0.x/16"},
    ],
)
def test_interface_that_can_not_be(answer):
    with pytest.raises(PluginFailed, match=r"plugin p: NetworkDriver\.CreateEndpoint"):
        messages.with_interface("p", endpoint(), {"Interface": answer})


def test_join_is_read():
    joined = messages.parse_join(
        "p",
        {
            "InterfaceName": {"SrcName": "vc1", "DstPrefix": "eth"}, "Gateway": "10.1.0.1", "GatewayIPv6": "fd00::1", "DisableGatewayService": True,
            "StaticRoutes": [{"Destination": "10.2.0.0/16", "RouteType": 0, "NextHop": "10.1.0.9"}, {"Destination": "fd02::/64", "RouteType": 1}],
        },
    )  # fmt: skip
    answer = joined.answer
    assert (answer.link, str(answer.gateway4), str(answer.gateway6), answer.wants_gateway, joined.ifname, joined.ifname_prefix) == (
        "vc1",
        "10.1.0.1",
        "fd00::1",
        False,
        None,
        "eth",
    )
    assert [(str(route.destination), str(route.via)) for route in joined.routes] == [("10.2.0.0/16", "10.1.0.9"), ("fd02::/64", "None")]
    assert messages.parse_join("p", {}).answer.link is None


@pytest.mark.parametrize(
    "answer",
    [
        {"InterfaceName": {"SrcName": "a" * 16, "DstPrefix": "eth"}},
        {"InterfaceName": {"SrcName": "x"}},
        {"InterfaceName": "x"},
        {"Gateway": "fd00::1"},
        {"GatewayIPv6": "here"},
        {"StaticRoutes": [{"Destination": "10.2.0.0/16", "RouteType": 0}]},
        {"StaticRoutes": [{"Destination": "10.2.0.0/16", "RouteType": 7}]},
        {"StaticRoutes": [{"Destination": "10.2.0.0/16", "RouteType": 0, "NextHop": "fd00::1"}]},
        {"StaticRoutes": ["x"]},
        {"StaticRoutes": 5},
        {"StaticRoutes": [{"Destination": "10.2.0.0/16", "RouteType": 1, "NextHop": "10.1.0.1"}, 5]},
    ],
)
def test_join_that_can_not_be(answer):
    with pytest.raises(PluginFailed, match=r"plugin p: NetworkDriver\.Join"):
        messages.parse_join("p", answer)


def test_pools_and_addresses_are_read():
    made = messages.parse_pool("p", {"PoolID": "7", "Pool": "10.1.0.0/16", "Data": {"com.docker.network.gateway": "10.1.0.1/16"}}, 4)
    assert (str(made.subnet), made.identity, str(made.gateway)) == ("10.1.0.0/16", "7", "10.1.0.1")
    assert str(messages.parse_address("p", {"Address": "10.1.7.7/16"}, made)) == "10.1.7.7"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"PoolID": "7"},
        {"PoolID": "7", "Pool": "10.1.0.1/16"},
        {"PoolID": "7", "Pool": "fd00::/64"},
        {"PoolID": 7, "Pool": "10.1.0.0/16"},
        {"PoolID": "7", "Pool": "10.1.0.0/16", "Data": "x"},
        {"PoolID": "7", "Pool": "10.1.0.0/16", "Data": {"com.docker.network.gateway": "fd00::1"}},
    ],
)
def test_pools_that_can_not_be(answer):
    with pytest.raises(PluginFailed, match=r"IpamDriver\.RequestPool"):
        messages.parse_pool("p", answer, 4)


@pytest.mark.parametrize("text", ["", "10.2.0.1/16", "10.1.0.1", "x"])
def test_addresses_that_can_not_be(text):
    only: Pool = pool("10.1.0.0/16")
    with pytest.raises(PluginFailed, match=r"IpamDriver\.RequestAddress"):
        messages.parse_address("p", {"Address": text}, only)


@pytest.mark.parametrize(
    "octets", [b'{"PoolID": "\\ud800"}', b'{"a": ' + b"[" * 100_000, b"\xff"], ids=["lone surrogate", "brackets", "no UTF-8"]
)
def test_answers_that_could_not_be_stored_are_no_json(octets):
    with pytest.raises(PluginFailed, match="but no JSON object"):
        client._answer("p", "Plugin.Activate", 200, octets)


def test_files_that_are_no_text_are_refused_with_their_name(tmp_path):
    for name in ("p.spec", "p.json"):
        (tmp_path / name).write_bytes(b"\xff")
        with pytest.raises(InvalidRequest, match=name):
            discovery.find("p", str(tmp_path / "none"), [str(tmp_path)])
        (tmp_path / name).unlink()
