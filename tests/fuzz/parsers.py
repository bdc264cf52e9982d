"""Every parser of octets that others control, what it may raise, and good octets to begin with.

Those of DNS are in `decoders.py`, with what must hold for each. Here is the rest: files, requests, answers, records, dumps.
"""

from __future__ import annotations

import asyncio
import json
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import aiohttp

from netcore.cluster.state import ClusterState, EndpointRecord, Node
from netcore.controller.drift import notices
from netcore.desired import hostsfile
from netcore.desired.look_rules import FROM_CLIENT, FROM_SERVER
from netcore.egress import read
from netcore.errors import InvalidRequest, NetcoreError, PluginFailed
from netcore.kernel import netlink, packet_log, routing_tables, rtnl
from netcore.look import segments
from netcore.look.findings import Name, NeedMore
from netcore.look.first_data import FirstDataReader
from netcore.look.flows import Flows
from netcore.look.http_requests import HttpRequests
from netcore.look.steps import Allowed, Forge, Inject, Sender
from netcore.model import Endpoint, NetworkId, PluginIpam, Pool, Sandbox
from netcore.plugins import client, discovery
from netcore.plugins.ipam_driver import IpamDriver
from netcore.plugins.network_driver import NetworkDriver
from netcore.store import codec, etcd
from netcore.store import records as local_records
from netcore.store.protocol import Item
from resolver.cli.compose import ComposeError, Request, project_of
from resolver.cli.compose import read as read_compose
from resolver.cli.compose.dotenv import BadEnvFile, parse_env
from resolver.cli.up import project_file
from resolver.daemon import config, convert, hostfile, http_api, schema
from resolver.errors import ConfigError, ResolverError
from resolver.zone import build
from tests.fuzz import decoders
from tests.support import client_hellos
from tests.support.fakes import world


@dataclass(frozen=True)
class Parser:
    """*run* raises nothing but an AssertionError or a defect. *words*: what its octets are made of."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()


def resolv_conf(path: Path) -> Callable[[bytes], None]:
    def run(octets: bytes) -> None:
        path.write_bytes(octets)
        made = hostfile.read(str(path))
        assert all("\n" not in server for server in made.nameservers)
        decoders.resolv_conf(octets)

    return run


_OURS = ("127.0.0.1\tlocalhost", "10.1.0.2\tweb")


def hosts(octets: bytes) -> None:
    """A hosts file that a sandbox wrote keeps all its other lines, in their order, and has ours."""
    current = octets.decode("utf-8", errors="surrogateescape")
    after = ("127.0.0.1\tlocalhost", "10.1.0.3\tweb", "fd00::3\tweb")
    merged = hostsfile.merge_hosts(current, _OURS, after)
    merged.encode("utf-8", errors="surrogateescape")
    lines = merged.split("\n")
    others = [line for line in current.split("\n") if line and line not in (*_OURS, *after)]
    assert [line for line in lines if line and line not in (*_OURS, *after)] == others
    assert set(after[1:]) <= set(lines)


def toml(path: Path) -> Callable[[bytes], None]:
    def run(octets: bytes) -> None:
        path.write_bytes(octets)
        with suppress(ConfigError):
            config.load(str(path), {}, {})

    return run


def compose(directory: Path) -> Callable[[bytes], None]:
    files = project_file.Disk()

    def run(octets: bytes) -> None:
        path = directory / "compose.yaml"
        path.write_bytes(octets)
        request = Request(directory=str(directory), environment={"SET": "1"}, files=(str(path),))
        with suppress(ComposeError):
            project_of(read_compose(request, files, lambda _: None))
        with suppress(ComposeError, BadEnvFile):
            parse_env(files.read(str(path)), {"SET": "1"}.get, {}, lambda _: None)

    return run


class _Answering:
    """A plugin that answers everything with the same octets."""

    octets = b""

    async def call(self, plugin: str, kind: str, method: str, body: Any) -> dict[str, Any]:
        answer = client._answer(plugin, f"{kind}.{method}", 200, self.octets)
        assert answer is not None
        return answer

    async def call_optional(self, plugin: str, kind: str, method: str, body: Any) -> dict[str, Any] | None:
        return await self.call(plugin, kind, method, body)

    async def take_back(self, plugin: str, kind: str, method: str, body: Any, *, optional: bool = False) -> None:
        json.dumps(body).encode()


_SANDBOX = Sandbox(id="s", name="web", hostname="web", netns_path="/x", boot_id="")
_ENDPOINT = Endpoint(
    origin="api", network_id=NetworkId("n"), sandbox_id=_SANDBOX.id, ifname="eth0", host_ifname="", mac="", ipv4=None, ipv6=None
)  # fmt: skip


def plugin(loop: asyncio.AbstractEventLoop) -> Callable[[bytes], None]:
    """What a plugin answers is refused as its failure, or can be stored."""
    answering = _Answering()
    network_driver, ipam_driver = NetworkDriver(answering), IpamDriver(answering)
    ipam = PluginIpam(plugin="p", space="local")
    pool = Pool(subnet=ip_network("10.1.0.0/16"), identity="x")

    def run(octets: bytes) -> None:
        answering.octets = octets
        for make in (
            lambda: network_driver.capabilities("p", {}),
            lambda: network_driver.create_and_join("p", _SANDBOX, _ENDPOINT, {}),
            lambda: network_driver.endpoint_information("p", _ENDPOINT),
            lambda: ipam_driver.capabilities("p", {}, "local"),
            lambda: ipam_driver.request_pool(ipam, 4, None, gateway=True),
            lambda: ipam_driver.request_address(ipam, pool, None),
        ):
            with suppress(PluginFailed):
                made: Any = loop.run_until_complete(make())
                codec.encode([made])
        for parse in (discovery.parse_spec, discovery.parse_json):
            with suppress(InvalidRequest):
                parse("file", octets.decode("utf-8", errors="replace"))

    return run


_NODE = Node(id="b", name="b", vtep=ip_interface("10.99.0.2/32").ip)
_FAR = EndpointRecord(
    node="b",
    sandbox="s",
    mac="02:42:00:00:00:02",
    addresses=("10.40.0.2",),
    names=("s",),
    ports=((80, "tcp"),),
    services=(("http", "tcp", 80),),
)
_KEYS = ("node/b", "endpoint/n/e", "network/n", "address/n/10.40.0.2", "key/1", "schema", "networks")


def etcd_records(octets: bytes) -> None:
    """A record of another host is taken in, or noted as unreadable; reading what was taken in never fails."""
    state = ClusterState()
    state.take("node/b", codec.encode_shared(_NODE), 1)
    key, separator, value = octets.partition(b"\n")
    names = (key.decode("utf-8", errors="replace"),) if separator else _KEYS
    for name in (*names, *_KEYS[:3]):
        state.take(name, value if separator else octets, 2)
        for network in {*state.networks, NetworkId("n")}:
            for remote in state.remotes(network, "a").values():
                bytes.fromhex(remote.mac.replace(":", ""))
                build.records(
                    endpoint="e", network="n", endpoint_names=remote.names, addresses=remote.addresses, ports=remote.ports,
                    services=remote.services,
                )  # fmt: skip
            state.members(network)
        state.counts()
        state.describe(name)
    with suppress(aiohttp.ClientError, etcd._Refused):
        etcd.read_answer(octets, 200)


def local_store(octets: bytes) -> None:
    """One damaged row is told of as such."""
    for kind in ("network", "sandbox", "endpoints", "rest", "sysctl"):
        good = {"sandbox/x": Item(b'{"sandbox":{"id":"x","name":"x"}}', 1)} if kind == "endpoints" else {}
        local_records.read_all({**good, f"{kind}/x": Item(octets, 1)})


def _framed(octets: bytes) -> bytes:
    """Return attributes as the kernel writes them, whatever their values: type and length are from *octets*."""
    made, at = netlink.attr(3, octets[:16] + b"\0"), 0
    while at + 2 <= len(octets):
        size = octets[at + 1] % 40
        made += netlink.attr(octets[at] % 64, octets[at + 2 : at + 2 + size])
        at += 2 + size
    return made


def dumps(octets: bytes) -> None:
    """Octets of the kernel are walked to their end, whatever they are; names and values that others chose are read."""
    for message in netlink.messages(octets):
        assert message
        list(netlink.walk(message))
    netlink.find(octets, 1, 2, 3)
    attributes = _framed(octets)
    header = struct.pack("=BxHiII", 0, 1, octets[0] if octets else 1, 1, 0)
    link = struct.pack("=IHHII", 32 + len(attributes), 16, 0, 0, 0) + header + attributes
    read = rtnl.read_link(link)
    assert isinstance(read.name, str)
    followed = notices.HostNotices()
    followed.know([read])
    expected = notices.Expectations()
    expected._ports[read.name] = notices.ExpectedLink(notices.Concern(notices.Part.NETWORK, "n"), master="br0")
    followed.concerns([link, link[:4] + struct.pack("=H", 17) + link[6:]], expected)
    route = (
        link[:16]
        + struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 0, 0, 1, 0)
        + b"".join(netlink.attr(number, octets[:99]) for number in range(20, 40))
    )
    for hop in routing_tables.read_routes(route):
        assert hop.destination.prefixlen == 0


def egress_rules(octets: bytes) -> None:
    """A list of egress rules is refused with a reason, or prints as it is read."""
    with suppress(InvalidRequest):
        for made in read.lines(octets.decode("utf-8", errors="replace"), "list"):
            assert read.rule(str(made)) == made
            assert made.ports


def http_requests(octets: bytes) -> None:
    """The requests of a connection are the same however they are cut, and no more is cleared than has come."""

    def read(size: int) -> tuple[list[object], int]:
        reader = HttpRequests()
        found: list[object] = []
        for at in range(0, len(octets), size):
            found += reader.feed(octets[at : at + size])
            assert reader.cleared <= at + size
            if found and not isinstance(found[-1], Name):
                return found, 0
        return found, reader.cleared

    assert read(len(octets) or 1) == read(1) == read(17)


def first_data(octets: bytes) -> None:
    """The first data of a connection mean the same however they are cut, and a name that is found is one."""

    def found(size: int) -> object:
        reader = FirstDataReader()
        for at in range(0, len(octets), size):
            if not isinstance(reader.feed(octets[at : at + size]), NeedMore):
                break
        return reader.finding

    at_once = found(len(octets) or 1)
    assert at_once == found(1) == found(17)
    if isinstance(at_once, Name):
        assert at_once.name == at_once.name.lower().strip(".")
        assert at_once.name.isascii()
        assert at_once.name.isprintable()


def packets(octets: bytes) -> None:
    """A copy of a packet is read, and taken as one of a client and of a server; what is sent for it can be read."""
    flows = Flows(lambda *_: Allowed(1))
    for prefix in (FROM_SERVER, FROM_CLIENT, FROM_SERVER):
        logged = packet_log.read_message(bytes(20) + netlink.attr(10, prefix.encode()) + netlink.attr(9, octets) + octets)
        segment = segments.read(logged.packet)
        if segment is None:
            return
        sender = Sender(logged.link, logged.mac, segment.source)
        steps = flows.take_server(segment, 0.0) if prefix == FROM_SERVER else flows.take_client(segment, logged.mark, sender, 0.0)
        for step in steps:
            assert not isinstance(step, Inject | Forge) or segments.read(step.packet) is not None


_BODIES = (schema.NetworkBody, schema.SandboxBody, schema.ConnectBody, schema.PruneBody, schema.ResolveBody)


@contextmanager
def api_bodies(loop: asyncio.AbstractEventLoop) -> Iterator[Callable[[bytes], None]]:
    """Requests are refused with a reason, or carried out on a host of fakes and taken back."""

    async def carry_out(made: Any, body: Any) -> None:
        match body:
            case schema.NetworkBody():
                network, _ = await made.controller.networks.create(convert.network_request(body, None))
                await made.controller.networks.remove(network.id)
            case schema.SandboxBody():
                sandbox, _ = await made.controller.sandboxes.create(convert.sandbox_request(body, None, None))
                await made.controller.sandboxes.remove(sandbox.id)
            case schema.ConnectBody():
                await made.controller.sandboxes.connect("s", convert.endpoint_request(body, "b"))
                await made.controller.sandboxes.disconnect("s", "b")

    context = world()
    made = loop.run_until_complete(context.__aenter__())
    for name in ("a", "b"):
        loop.run_until_complete(made.controller.networks.create(convert.network_request(schema.NetworkBody(name=name), None)))
    loop.run_until_complete(made.controller.sandboxes.create(convert.sandbox_request(schema.SandboxBody(name="s"), None, None)))

    there = len(made.controller.state.sandboxes), len(made.controller.state.networks)

    def run(octets: bytes) -> None:
        for kind in _BODIES:
            with suppress(NetcoreError, ResolverError):
                body = http_api.read_body(octets, kind)
                loop.run_until_complete(carry_out(made, body))
        assert (len(made.controller.state.sandboxes), len(made.controller.state.networks)) == there

    try:
        yield run
    finally:
        loop.run_until_complete(context.__aexit__(None, None, None))


def _text(*words: str) -> tuple[bytes, ...]:
    return tuple(word.encode() for word in words)


_JSON = _text(
    "{", "}", "[", "]", ",", ":", '"', "null", "true", "-1", "1e999", "0", '"\\ud800"', '"\\u0000"', '""', "4294967296", "{}", "[["
)
_ADDRESSES = _text(
    "10.1.0.2", "::1", "fd00::/64", "0.0.0.0/0", "10.1.0.2/33", "%eth0", "::ffff:10.0.0.1", "255.255.255.255", "host-gateway"
)


@contextmanager
def parsers() -> Iterator[dict[str, Parser]]:
    """Give every parser by its name."""
    loop = asyncio.new_event_loop()
    try:
        with tempfile.TemporaryDirectory() as name, api_bodies(loop) as api:
            directory = Path(name)
            dns_seeds = tuple(octets[1:] for octets in decoders.seeds())
            made = {
                f"DNS: {decode.__name__}": Parser(decode, dns_seeds, (b"\xc0\x0c", b"\0\x29", b"\xff" * 8, b"\0" * 8))
                for decode in decoders.DECODERS
                if decode is not decoders.resolv_conf
            }
            yield {
                **made,
                "resolv.conf": Parser(
                    resolv_conf(directory / "resolv.conf"), _text("nameserver 10.0.0.1\nsearch a b\noptions ndots:2 timeout:1\n# x\n"),
                    (*_text("nameserver ", "search ", "options ", "domain ", "ndots:", "\n", "\r", "#", ";"), *_ADDRESSES),
                ),
                "hosts": Parser(hosts, _text("".join(f"{line}\n" for line in _OURS), "# mine\n10.9.9.9 x\n10.1.0.2\tweb\n\n"),
                                _text(*_OURS, "\n", "\r\n", "#", "10.1.0.3\tweb", "\t")),
                "egress rules": Parser(egress_rules, _EGRESS, (*_text(
                    "deny:", "+private", "*.", "network:", "host", "public", "all", "none", "@", ":", "-", "/", "[", "]", ",", "#", "\n", ".", "..",
                    "xn--", "ü", "。", "53", "65536", "/tcp", "/udp", "/sctp", "%eth0", "0x", "::ffff:"), *_ADDRESSES)),
                "Compose": Parser(compose(directory), _COMPOSE, (*_text(
                    "services:\n", "  web:\n", "    ports:\n", "- ", ": ", "\n", "  ", "networks", "${", "}", "${SET:-", "$$", "&a", "*a", "<<: *a",
                    "{", "[", "]", "|", ">", "!!binary", "~", "0x", "\0", "\x1b", "depends_on"), *_ADDRESSES)),
                "TOML": Parser(toml(directory / "berth.toml"), _TOML, (*_text(
                    "cache_max_ttl", " = ", "\n", "[", "]", "[[", '"', "'''", "true", "-1", "9" * 30, "1979-05-27", "nan", "{", "}", "forward", "pools"),
                    *_ADDRESSES)),
                "JSON of the API": Parser(api, _API, (*_JSON, *_ADDRESSES, *_text("80:80", "8080-8090:80-90/udp", "container:s", "host", "none"))),
                "plugin": Parser(plugin(loop), _PLUGIN, (*_JSON, *_ADDRESSES, *_text("unix://", "tcp://", "https://[", "Err", "RouteType"))),
                "etcd": Parser(etcd_records, _ETCD, (*_JSON, *_ADDRESSES, *(f"{key}\n".encode() for key in _KEYS), b'"schema":', b"\xff")),
                "local store": Parser(local_store, _STORE, (*_JSON, *_ADDRESSES)),
                "http requests": Parser(http_requests, _REQUESTS, (*_text(
                    "\r\n", "Content-Length: 5", "Transfer-Encoding: chunked", "0\r\n\r\n", "GET / HTTP/1.1", "Host: b.example", ";",
                ),)),
                "first data": Parser(first_data, _FIRST_DATA, (*_text(
                    "GET ", "/ ", "HTTP/1.1\r\n", "Host: a.example\r\n", "\r\n", "\n", "\r", " ", "\t", "http://", "@", ":80", "CONNECT ", "\0"),
                    *_ADDRESSES, b"\x16\3\1", b"\0\0", b"\x80\x2e\1", client_hellos.GREASE, client_hellos.server_names(b"b.example"))),
                "packets": Parser(packets, _PACKETS, (b"\x45\0", b"\x60\0", b"\x50\x10", b"\xa0\x18", b"\2\4", b"\x08\x0a", b"\x16\3\1")),
                "netlink": Parser(dumps, (_framed(bytes(range(200))), rtnl.get_link("eth0").body),
                                  (b"\0\0\0\0", b"\4\0\3\0", b"\xff\xff", b"\x10\0\0\0", b"eth0\0")),
            }  # fmt: skip
    finally:
        loop.close()


_EGRESS = _text(
    "packages.example.org\n*.files.example.org:443  # hosts\n", "deny:[2001:db8::/32]:53/udp,db.corp+private:5432\n@build\n",
    "network:a:5432,host:80-90,public,none,10.1.0.0/16/udp,bücher.example",
)  # fmt: skip
_COMPOSE = _text(
    "name: app\nservices:\n  web:\n    command: [sleep, '1']\n    ports: ['8080:80', {target: 90, published: '9090'}]\n    networks:\n"
    "      front: {aliases: [w], ipv4_address: 10.1.0.2}\n    depends_on: [db]\n    dns: 10.0.0.1\n    extra_hosts: ['a=10.0.0.2']\n"
    '  db:\n    command: sleep 1\n    environment: &e {A: "${SET:-x}"}\n    labels: *e\n    stop_grace_period: 1m30s\n    profiles: []\n'
    "networks:\n  front:\n    driver: bridge\n    ipam: {config: [{subnet: 10.1.0.0/16}]}\n    driver_opts: {icc: 'false'}\n",
)
_TOML = _text(
    'run_dir = "/run/berth"\ndns = ["10.0.0.1"]\ncache_max_ttl = 60\nstore = "etcd://u:p@h:1,[::1]:2/x"\nsuffix = "x.internal"\n'
    'default_address_pools = [{base = "10.0.0.0/8", size = 24}]\napi_listen = "127.0.0.1:9"\napi_certificate = "/c"\napi_key = "/k"\n'
    'api_token_file = "/t"\nforward = {"a.test" = ["10.0.0.1"]}\n'
    "[default_bridge]\nsubnets = ['10.5.0.0/16']\n[proxies.default]\nhttpProxy = 'http://x'\n",
)
_API = _text(
    '{"name":"n","driver":"bridge","subnets":["10.7.0.0/16"],"gateways":["10.7.0.1"],"ip_ranges":["10.7.1.0/24"],"auxiliary":{"a":"10.7.0.9"},'
    '"options":{"icc":"false","mtu":"1400","forward":"a=10.0.0.1"},"labels":{"a":"b"},"routes":["10.9.0.0/16=10.7.0.3"],"ipv6":true}',
    '{"name":"t","networks":[{"network":"a","ip":"172.17.0.9","aliases":["x"],"services":["http=80"],"routes":[],"gw_priority":1,"ifname":"e0"}],'
    '"publish":["9090:90/udp","[::1]:91:91"],"expose":["53/udp"],"dns":["10.0.0.1"],"dns_search":["a"],"dns_options":["ndots:1"],'
    '"extra_hosts":["x:10.0.0.1"],"sysctls":["net.ipv4.ip_default_ttl=40"],"hostname":"h","domainname":"d","forward":true}',
    '{"sandbox":"s","ip":"172.18.0.9","mac_address":"02:00:00:00:00:01","link_local_ips":["169.254.1.1"],"links":{"a":"s"},"driver_opts":{}}',
    '{"labels":["a=b"],"until":1.5}', '{"name":"x.test","type":"AAAA","sandbox":"s"}',
)  # fmt: skip
_PLUGIN = _text(
    '{"Scope":"local","GwAllocChecker":true,"SkipIPv4":false,"RequiresMACAddress":true,"LocalDefaultAddressSpace":"x"}',
    '{"Interface":{"Address":"10.1.0.2/16","AddressIPv6":"fd00::2/64","MacAddress":"02:00:00:00:00:01"},"InterfaceName":{"SrcName":"v0",'
    '"DstPrefix":"eth"},"Gateway":"10.1.0.1","StaticRoutes":[{"Destination":"10.2.0.0/16","RouteType":0,"NextHop":"10.1.0.1"}],"Value":{"a":1}}',
    '{"PoolID":"p","Pool":"10.1.0.0/16","Data":{"com.docker.network.gateway":"10.1.0.1/16"},"Address":"10.1.0.5/16"}',
    '{"Addr":"tcp://localhost:1","TLSConfig":{"CAFile":"/x","InsecureSkipVerify":true}}', "unix:///run/x.sock",
)  # fmt: skip
_FIRST_DATA = (
    client_hellos.hello(), client_hellos.hello(b"a.example", client_hellos.OUTER_ECH, size=30), client_hellos.from_library("a.example"),
    *_text("GET / HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\n\r\n", "GET http://a.example:80/ HTTP/1.0\nHost: a.example:80\n\n"),
)  # fmt: skip
_REQUESTS = _text(
    "GET / HTTP/1.1\r\nHost: a.example\r\n\r\nPOST / HTTP/1.1\r\nHost: b.example\r\nContent-Length: 5\r\n\r\nhello",
    "PUT / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: x\r\n\r\nGET / HTTP/1.1\r\nHost: c\r\n\r\n",
)  # fmt: skip
_PACKETS = tuple(
    segments.write(segments.Segment(
        source=ip_address(source), destination=ip_address(destination), source_port=40_000, destination_port=443, sequence=1, acknowledgement=1,
        flags=flags, payload=payload, options=segments.timestamps_option(1, 2),
    ))
    for source, destination in (("10.0.0.2", "192.0.2.1"), ("fd00::2", "2001:db8::1"))
    for flags, payload in ((0x18, client_hellos.hello()), (0x12, b""), (0x10, b""))
)  # fmt: skip
_ETCD = (
    codec.encode_shared(_NODE), codec.encode_shared(_FAR), b"3", b"b",
    b'{"result":{"header":{"revision":"3"},"events":[{"type":"PUT","kv":{"key":"YQ==","value":"YQ==","mod_revision":"3"}}]}}',
    b'{"error":{"grpc_code":14,"http_code":503,"message":"no leader"}}', b'{"code":16,"message":"invalid auth token"}',
)  # fmt: skip
_STORE = (
    codec.encode(local_records.SandboxRecord(sandbox=_SANDBOX)), codec.encode(local_records.EndpointsRecord(endpoints=(_ENDPOINT,))), b"1.5",
)  # fmt: skip
