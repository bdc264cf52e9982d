"""What hosts know of each other: nodes, overlay networks, addresses in use, endpoints. Records, their keys, and all of them together. Pure.

Keys: `schema`, `node/ID`, `network/ID`, `name/NAME`, `networks`, `address/NETWORK/ADDRESS`, `endpoint/NETWORK/ID`, `key/NUMBER`.
Nodes and endpoints end with the lease of their node, addresses with a longer one: a node that is cut off may go on using them
for a while. Everything else stays until it is deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from netcore.cluster.encryption import Key
from netcore.cluster.record_checks import check_endpoint_addresses, check_identity, check_shared, check_vtep, checked_holder
from netcore.errors import InvalidRequest
from netcore.health import Health
from netcore.model import Endpoint, IPAddress, Network, NetworkId, RemoteEndpoint, Sandbox
from netcore.parse.names import check_dns_name, check_mac
from netcore.plan.endpoint_names import named_services, names_of, served_ports
from netcore.store.codec import decode_shared
from netcore.store.protocol import Item, KeyRange, beginning_with

SCHEMA_KEY = "schema"
"""The key of the newest schema version that any host writes."""

NETWORKS_KEY = "networks"
"""The key that every change of the set of networks writes, so that two hosts never change it at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One host. *vtep*: the address where it receives VXLAN."""

    id: str
    name: str
    vtep: IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRecord:
    """What other hosts must know of an endpoint. *node*: its node's id. *sandbox*: its sandbox's name. *services*: see `RemoteEndpoint`."""

    node: str
    sandbox: str
    mac: str
    addresses: tuple[str, ...]
    names: tuple[str, ...]
    ports: tuple[tuple[int, str], ...] = ()
    services: tuple[tuple[str, str, int], ...] = ()
    unhealthy: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError if something in it is of no use: whoever can write to etcd can write anything."""
        for address in self.addresses:
            ip_address(address)
        labels = [*((str(port), protocol) for port, protocol in self.ports), *((name, protocol) for name, protocol, _ in self.services)]
        try:
            check_mac(self.mac)
            for name in (*self.names, *(f"_{label}._{protocol}" for label, protocol in labels)):
                check_dns_name("name", name)
        except InvalidRequest as error:
            raise ValueError(str(error)) from error
        for port in (*(port for port, _ in self.ports), *(port for _, _, port in self.services)):
            if not 0 <= port <= 0xFFFF:
                raise ValueError(f"{port} is no port")


def node_key(node_id: str) -> str:
    return f"node/{node_id}"


def network_key(network_id: str) -> str:
    return f"network/{network_id}"


def name_key(name: str) -> str:
    return f"name/{name}"


def address_key(network_id: str, address: IPAddress) -> str:
    return f"address/{network_id}/{address}"


def endpoint_key(network_id: str, endpoint_id: str) -> str:
    return f"endpoint/{network_id}/{endpoint_id}"


def secret_key(number: int) -> str:
    """Return the key of an encryption key's record."""
    return f"key/{number}"


def parse_address_key(key: str) -> tuple[NetworkId, IPAddress]:
    """The inverse of `address_key`."""
    _, network_id, address = key.split("/", 2)
    return NetworkId(network_id), ip_address(address)


def is_address_key(key: str) -> bool:
    """Return whether *key* is one that `address_key` makes."""
    try:
        parse_address_key(key)
    except ValueError:
        return False
    return True


COMMON = KeyRange("endpoint0")
"""Everything but endpoints and addresses."""


def endpoints_of(network_id: str) -> KeyRange:
    """Return the range of the endpoints of a network."""
    return beginning_with(f"endpoint/{network_id}/")


def addresses_of(network_id: str) -> KeyRange:
    """Return the range of the addresses of a network."""
    return beginning_with(f"address/{network_id}/")


def endpoint_record(node_id: str, sandbox: Sandbox, endpoint: Endpoint, network: Network) -> EndpointRecord:
    """Return the record of an endpoint on a node."""
    return EndpointRecord(
        node=node_id,
        sandbox=sandbox.name,
        mac=endpoint.mac,
        addresses=tuple(str(address) for address in endpoint.addresses()),
        names=names_of(sandbox, endpoint, network),
        ports=served_ports(sandbox),
        services=named_services(sandbox),
        unhealthy=sandbox.health is Health.UNHEALTHY or sandbox.waits,
    )


@dataclass(frozen=True, slots=True)
class NetworkChanged:
    """An overlay network was created or removed."""

    network_id: NetworkId


@dataclass(frozen=True, slots=True)
class EndpointChanged:
    """An endpoint came, went or changed, or its node did."""

    network_id: NetworkId
    endpoint_id: str


@dataclass(frozen=True, slots=True)
class NetworkLoaded:
    """All endpoints of a network are known now, at the start or after changes were missed."""

    network_id: NetworkId


@dataclass(frozen=True, slots=True)
class KeysChanged:
    """The keys that traffic between hosts is encrypted with are others, or the one to send with is."""


ClusterChange = NetworkChanged | NetworkLoaded | EndpointChanged | KeysChanged


@dataclass(frozen=True, slots=True)
class Description:
    """What a record stands for, as users name it. *kind*: node, network or endpoint. *network*: the name of its network."""

    kind: str
    name: str
    network: str | None = None
    node_id: str | None = None


class ClusterState:
    """All records as of one revision. One writer, the watch of `Cluster`.

    Endpoints and addresses are known of the networks that this host follows. *addresses*: by network, each with the id of the node
    that uses it. *revisions*: of the keys that transactions compare. *schema*: the newest version that any host writes; None: no
    host has said so. *unreadable*: records that are left out, key → why.
    """

    def __init__(self) -> None:
        self.schema: int | None = None
        self.nodes: dict[str, Node] = {}
        self.networks: dict[NetworkId, Network] = {}
        self.revisions: dict[str, int] = {}
        self.addresses: dict[NetworkId, dict[IPAddress, str]] = {}
        self.keys: dict[int, Key] = {}
        self.unreadable: dict[str, str] = {}
        self._written: dict[str, int] = {}
        self._endpoints: dict[NetworkId, dict[str, EndpointRecord]] = {}
        self._by_node: dict[str, set[EndpointChanged]] = {}

    def replace_common(self, items: Mapping[str, Item]) -> set[ClusterChange]:
        """Take *items* for everything but endpoints and addresses; return what that may change for a host."""
        before = self._common_changes()
        self.schema, self.nodes, self.networks, self.revisions, self.keys = None, {}, {}, {}, {}
        self._take(COMMON, items)
        return before | self._common_changes()

    def replace_endpoints(self, network_id: NetworkId, items: Mapping[str, Item]) -> set[ClusterChange]:
        """Take *items* for the endpoints of a network; return what that may change for a host."""
        before = [EndpointChanged(network_id, endpoint_id) for endpoint_id in self._endpoints.get(network_id, {})]
        for change in before:
            self._set_endpoint(change, None)
        return {*before, *self._take(endpoints_of(network_id), items)}

    def replace_addresses(self, network_id: NetworkId, items: Mapping[str, Item]) -> None:
        """Take *items* for the addresses of a network."""
        self.addresses[network_id] = {}
        self._take(addresses_of(network_id), items)

    def forget(self, network_id: NetworkId) -> None:
        """Forget the endpoints and addresses of a network, which is not followed any more."""
        self.replace_endpoints(network_id, {})
        self.replace_addresses(network_id, {})
        self._endpoints.pop(network_id, None)
        self.addresses.pop(network_id, None)

    def _take(self, scope: KeyRange, items: Mapping[str, Item]) -> set[ClusterChange]:
        """Take *items*, which are all that there is in *scope*."""
        self.unreadable = {key: reason for key, reason in self.unreadable.items() if key not in scope}
        return {change for key, item in items.items() for change in self.take(key, item.value, item.revision)}

    def _common_changes(self) -> set[ClusterChange]:
        of_endpoints = {change for changes in self._by_node.values() for change in changes}
        return {KeysChanged(), *(NetworkChanged(network_id) for network_id in self.networks), *of_endpoints}

    def write(self, writes: Mapping[str, bytes | None], revision: int) -> set[ClusterChange]:
        """Take what this host itself has written; return what that changes for a host.

        A watch may be late: what it tells of these keys from before *revision* is passed over by `take`.
        """
        self._written |= dict.fromkeys(writes, revision)
        return {change for key, value in writes.items() for change in self.apply(key, value, revision)}

    def take(self, key: str, value: bytes | None, revision: int) -> set[ClusterChange]:
        """Do what `apply` does. With a record that can't be read, what was known before stays; it is noted in *unreadable*."""
        if revision < self._written.get(key, 0):
            return set()
        self._written.pop(key, None)
        self.unreadable.pop(key, None)
        try:
            return self.apply(key, value, revision)
        except ValueError as error:
            if value is not None:
                self.unreadable[key] = str(error)
            return set()

    def apply(self, key: str, value: bytes | None, revision: int) -> set[ClusterChange]:
        """Take one change of a record and return what it changes for a host; ValueError if it can't be read.

        The cost does not depend on how many records there are, except for a node that comes or goes.
        """
        kind, _, rest = key.partition("/")
        self._note_revision(key, value, revision)
        match kind:
            case "schema":
                self.schema = None if value is None else int(value)
            case "node":
                node = None if value is None else decode_shared(Node, key, value)
                if node is not None:
                    check_identity(node.id, rest)
                    check_vtep(node.vtep)
                self._set_node(rest, node)
                return set(self._by_node.get(rest, ()))
            case "key":
                secret = None if value is None else decode_shared(Key, key, value)
                if secret is not None:
                    check_identity(secret.number, rest)
                self._set_key(int(rest), secret)
                return {KeysChanged()}
            case "network":
                network = None if value is None else decode_shared(Network, key, value)
                if network is not None:
                    check_identity(network.id, rest)
                    check_shared(network)
                self._set_network(NetworkId(rest), network)
                return {NetworkChanged(NetworkId(rest))}
            case "address":
                self._set_address(*parse_address_key(key), None if value is None else checked_holder(value))
            case "endpoint":
                network_id, _, endpoint_id = rest.partition("/")
                change = EndpointChanged(NetworkId(network_id), endpoint_id)
                record = None if value is None else decode_shared(EndpointRecord, key, value)
                if record is not None and change.network_id in self.networks:
                    check_endpoint_addresses(self.networks[change.network_id], record.addresses)
                self._set_endpoint(change, record)
                return {change}
        return set()

    def _note_revision(self, key: str, value: bytes | None, revision: int) -> None:
        if key in (NETWORKS_KEY, SCHEMA_KEY) or key.startswith("network/"):
            if value is None:
                self.revisions.pop(key, None)
            else:
                self.revisions[key] = revision

    def _set_node(self, node_id: str, node: Node | None) -> None:
        if node is None:
            self.nodes.pop(node_id, None)
        else:
            self.nodes[node_id] = node

    def _set_key(self, number: int, key: Key | None) -> None:
        if key is None:
            self.keys.pop(number, None)
        else:
            self.keys[number] = key

    def _set_network(self, network_id: NetworkId, network: Network | None) -> None:
        if network is None:
            self.networks.pop(network_id, None)
        else:
            self.networks[network_id] = network

    def _set_address(self, network_id: NetworkId, address: IPAddress, node_id: str | None) -> None:
        in_use = self.addresses.setdefault(network_id, {})
        if node_id is None:
            in_use.pop(address, None)
        else:
            in_use[address] = node_id

    def _set_endpoint(self, change: EndpointChanged, record: EndpointRecord | None) -> None:
        endpoints = self._endpoints.setdefault(change.network_id, {})
        before = endpoints.pop(change.endpoint_id, None)
        if before is not None:
            self._by_node.get(before.node, set()).discard(change)
        if record is not None:
            endpoints[change.endpoint_id] = record
            self._by_node.setdefault(record.node, set()).add(change)

    def endpoint(self, key: str) -> EndpointRecord | None:
        """Return the endpoint at *key*, None if there is none or its network is not followed."""
        _, network_id, endpoint_id = key.split("/", 2)
        return self._endpoints.get(NetworkId(network_id), {}).get(endpoint_id)

    def remote(self, network_id: NetworkId, endpoint_id: str, own_node_id: str) -> RemoteEndpoint | None:
        """Return an endpoint as one host sees it; None for that host's own, one that is gone, and one whose node is."""
        record = self._endpoints.get(network_id, {}).get(endpoint_id)
        node = self.nodes.get(record.node) if record is not None else None
        if record is None or node is None or node.id == own_node_id:
            return None
        return RemoteEndpoint(
            id=endpoint_id,
            network_id=network_id,
            node=node.name,
            vtep=node.vtep,
            mac=record.mac,
            addresses=tuple(ip_address(address) for address in record.addresses),
            names=record.names,
            ports=record.ports,
            services=record.services,
            unhealthy=record.unhealthy,
        )

    def remotes(self, network_id: NetworkId, own_node_id: str) -> dict[str, RemoteEndpoint]:
        """Return all endpoints of a network on other hosts, by id."""
        seen = {endpoint_id: self.remote(network_id, endpoint_id, own_node_id) for endpoint_id in self._endpoints.get(network_id, {})}
        return {endpoint_id: endpoint for endpoint_id, endpoint in seen.items() if endpoint is not None}

    def describe(self, key: str) -> Description | None:
        """Return what the record at *key* stands for now; None if there is none, or none that people ask about."""
        kind, _, rest = key.partition("/")
        if kind == "node" and rest in self.nodes:
            return Description("node", self.nodes[rest].name, node_id=rest)
        if kind == "network" and NetworkId(rest) in self.networks:
            return Description("network", self.networks[NetworkId(rest)].name)
        network_text, _, endpoint_id = rest.partition("/")
        network_id = NetworkId(network_text)
        record = self._endpoints.get(network_id, {}).get(endpoint_id) if kind == "endpoint" else None
        if record is not None and network_id in self.networks:
            return Description("endpoint", record.sandbox, self.networks[network_id].name, record.node)
        return None

    def members(self, network_id: NetworkId, *, except_node: str | None = None) -> list[tuple[str, EndpointRecord]]:
        """Return (node name, endpoint) of all endpoints of a network, without those on the node with the id *except_node*."""
        return [
            (self.nodes[record.node].name if record.node in self.nodes else record.node, record)
            for record in self._endpoints.get(network_id, {}).values()
            if record.node != except_node
        ]

    def counts(self) -> dict[str, int]:
        """Return how many endpoints each node has, by its id."""
        return {node_id: len(endpoints) for node_id, endpoints in self._by_node.items() if endpoints}
