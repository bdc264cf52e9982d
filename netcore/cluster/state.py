"""What hosts know of each other: nodes, overlay networks, addresses in use, endpoints. Records, their keys, and all of them together. Pure.

Keys: `node/ID`, `network/ID`, `name/NAME`, `address/NETWORK/ADDRESS`, `endpoint/NETWORK/ID`, `key/NUMBER`. Nodes and endpoints go with the
lease of their node, addresses with a longer one: a node that is cut off may go on using them for a while.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from netcore.cluster.encryption import Key
from netcore.model import Endpoint, IPAddress, Network, NetworkId, RemoteEndpoint, Sandbox
from netcore.plan.endpoint_names import names_of, served_ports
from netcore.store.codec import decode, encode
from netcore.store.protocol import Item

NETWORKS = "networks"
"""The key that every change of the set of networks writes, so that two never happen side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One host. *vtep*: where it takes VXLAN."""

    id: str
    name: str
    vtep: IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRecord:
    """What other hosts must know of an endpoint."""

    node: str
    sandbox: str
    mac: str
    addresses: tuple[str, ...]
    names: tuple[str, ...]
    ports: tuple[tuple[int, str], ...] = ()


def node_key(node: str) -> str:
    return f"node/{node}"


def network_key(network_id: str) -> str:
    return f"network/{network_id}"


def name_key(name: str) -> str:
    return f"name/{name}"


def address_key(network_id: str, address: IPAddress) -> str:
    return f"address/{network_id}/{address}"


def endpoint_key(endpoint: Endpoint) -> str:
    return f"endpoint/{endpoint.network_id}/{endpoint.id}"


def endpoint_record(node: str, sandbox: Sandbox, endpoint: Endpoint, network: Network) -> bytes:
    """Return the record of an endpoint on *node*."""
    return encode(
        EndpointRecord(
            node=node,
            sandbox=sandbox.name,
            mac=endpoint.mac,
            addresses=tuple(str(item) for item in endpoint.addresses()),
            names=names_of(sandbox, endpoint, network),
            ports=served_ports(sandbox),
        )
    )


Described = tuple[str, str, str | None, str]
"""(kind, name, network name or None, node id) of a record."""

Touched = tuple[NetworkId, str]
"""(network id, endpoint id); endpoint id "": the network itself."""


KEYS: Touched = (NetworkId(""), "")
"""The keys that traffic between hosts is encrypted with."""


class ClusterState:
    """All records as of one revision. One writer, the watch of `Cluster`. *addresses*: by network, each with its node's id."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.networks: dict[NetworkId, Network] = {}
        self.revisions: dict[str, int] = {}
        self.addresses: dict[NetworkId, dict[IPAddress, str]] = {}
        self.keys: dict[int, Key] = {}
        self._endpoints: dict[NetworkId, dict[str, EndpointRecord]] = {}
        self._on_node: dict[str, set[Touched]] = {}

    def fill(self, items: Mapping[str, Item]) -> None:
        """Take in everything of a load."""
        for key, item in items.items():
            self.apply(key, item.value, item.revision)

    def apply(self, key: str, value: bytes | None, revision: int) -> set[Touched]:
        """Take in one change; return what it touches. Costs the same however much there is, but for a node that comes or goes."""
        kind, _, rest = key.partition("/")
        self._note_revision(key, value, revision)
        match kind:
            case "node":
                self._set_node(rest, None if value is None else decode(Node, value))
                return set(self._on_node.get(rest, ()))
            case "key":
                if value is None:
                    self.keys.pop(int(rest), None)
                else:
                    self.keys[int(rest)] = decode(Key, value)
                return {KEYS}
            case "network":
                self._set_network(NetworkId(rest), None if value is None else decode(Network, value))
                return {(NetworkId(rest), "")}
            case "address":
                network_id, _, text = rest.partition("/")
                known = self.addresses.setdefault(NetworkId(network_id), {})
                if value is None:
                    known.pop(ip_address(text), None)
                else:
                    known[ip_address(text)] = value.decode()
                return set()
            case "endpoint":
                network_id, _, identity = rest.partition("/")
                self._set_endpoint(NetworkId(network_id), identity, None if value is None else decode(EndpointRecord, value))
                return {(NetworkId(network_id), identity)}
        return set()

    def _note_revision(self, key: str, value: bytes | None, revision: int) -> None:
        if key == NETWORKS or key.startswith("network/"):
            if value is None:
                self.revisions.pop(key, None)
            else:
                self.revisions[key] = revision

    def _set_node(self, identity: str, node: Node | None) -> None:
        if node is None:
            self.nodes.pop(identity, None)
        else:
            self.nodes[identity] = node

    def _set_network(self, identity: NetworkId, network: Network | None) -> None:
        if network is None:
            self.networks.pop(identity, None)
        else:
            self.networks[identity] = network

    def _set_endpoint(self, network_id: NetworkId, identity: str, record: EndpointRecord | None) -> None:
        known = self._endpoints.setdefault(network_id, {})
        before = known.pop(identity, None)
        if before is not None:
            self._on_node.get(before.node, set()).discard((network_id, identity))
        if record is not None:
            known[identity] = record
            self._on_node.setdefault(record.node, set()).add((network_id, identity))

    def remote(self, network_id: NetworkId, identity: str, own_node: str) -> RemoteEndpoint | None:
        """Return an endpoint as *own_node* sees it; None for its own, one that is gone, and one whose node is."""
        record = self._endpoints.get(network_id, {}).get(identity)
        node = self.nodes.get(record.node) if record is not None else None
        if record is None or node is None or node.id == own_node:
            return None
        return RemoteEndpoint(
            id=identity,
            network_id=network_id,
            node=node.name,
            vtep=node.vtep,
            mac=record.mac,
            addresses=tuple(ip_address(item) for item in record.addresses),
            names=record.names,
            ports=record.ports,
        )

    def described(self, key: str) -> Described | None:
        """Return what stands at *key* now; None for nothing that people ask about."""
        kind, _, rest = key.partition("/")
        if kind == "node" and rest in self.nodes:
            return "node", self.nodes[rest].name, None, rest
        if kind == "network" and NetworkId(rest) in self.networks:
            return "network", self.networks[NetworkId(rest)].name, None, ""
        network_text, _, identity = rest.partition("/")
        network_id = NetworkId(network_text)
        record = self._endpoints.get(network_id, {}).get(identity) if kind == "endpoint" else None
        if record is not None and network_id in self.networks:
            return "endpoint", record.sandbox, self.networks[network_id].name, record.node
        return None

    def remotes(self, network_id: NetworkId, own_node: str) -> dict[str, RemoteEndpoint]:
        """Return all endpoints of a network on other nodes, by id."""
        found = {identity: self.remote(network_id, identity, own_node) for identity in self._endpoints.get(network_id, {})}
        return {identity: item for identity, item in found.items() if item is not None}

    def members(self, network_id: NetworkId, but: str = "") -> list[tuple[str, EndpointRecord]]:
        """Return (node name, endpoint) of all endpoints of a network that are not on the node *but*."""
        return [
            (self.nodes[item.node].name if item.node in self.nodes else item.node, item)
            for item in self._endpoints.get(network_id, {}).values()
            if item.node != but
        ]

    def keys_of(self, node: str) -> set[str]:
        """Return the keys of all endpoints and addresses that *node* has."""
        found = {f"endpoint/{network_id}/{identity}" for network_id, identity in self._on_node.get(node, ())}
        for network_id, known in self.addresses.items():
            found |= {address_key(network_id, address) for address, owner in known.items() if owner == node}
        return found

    def counts(self) -> dict[str, int]:
        """Return how many endpoints each node has, by its id."""
        return {node: len(known) for node, known in self._on_node.items() if known}

    def everything(self) -> set[Touched]:
        """Return all that a change could touch."""
        return (
            {KEYS}
            | {(network_id, "") for network_id in self.networks}
            | {(network_id, identity) for network_id, known in self._endpoints.items() for identity in known}
        )
