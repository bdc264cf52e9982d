"""Networks and sandboxes as a picture: text, Mermaid (https://mermaid.js.org), the language of Graphviz, or JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from resolver.cli.output import port_texts
from resolver.cli.sandbox_fields import network_mode
from resolver.cli.table import aligned
from resolver.printable import printable

Views = Sequence[Mapping[str, Any]]


class _Node(NamedTuple):
    """*key*: how edges name it. *lines*: what is written in it. *kind*: network, sandbox or outside."""

    key: str
    lines: tuple[str, ...]
    kind: str


class _Edge(NamedTuple):
    start: str
    end: str
    label: str
    kind: str
    """endpoint, published or shared."""


def picture(networks: Views, sandboxes: Views, form: str) -> str:
    """Return the picture in the *form*, one of `FORMS`. *networks*, *sandboxes*: as the admin API lists them."""
    return FORMS[form](networks, sandboxes)


def _graph(networks: Views, sandboxes: Views) -> tuple[list[_Node], list[_Edge]]:
    nodes = [_Node(f"n{at}", _of_network(network), "network") for at, network in enumerate(networks)]
    keys = {network["name"]: f"n{at}" for at, network in enumerate(networks)}
    boxes = {sandbox["name"]: f"s{at}" for at, sandbox in enumerate(sandboxes)}
    edges: list[_Edge] = []
    for sandbox in sandboxes:
        key, mode = boxes[sandbox["name"]], network_mode(sandbox)
        nodes.append(_Node(key, (sandbox["name"], *([mode] if mode else [])), "sandbox"))
        if sandbox["shared_with"] in boxes:
            edges.append(_Edge(key, boxes[sandbox["shared_with"]], "shares its network", "shared"))
        for endpoint in sandbox["endpoints"]:
            label = " ".join((*_addresses(endpoint), *_other_names(sandbox, endpoint)))
            if endpoint["network"] in keys:
                edges.append(_Edge(key, keys[endpoint["network"]], label, "endpoint"))
            edges += [_Edge("host", key, text, "published") for text in _published(endpoint)]
    elsewhere = [(keys[network["name"]], member) for network in networks for member in _elsewhere(network)]
    for at, (network_key, member) in enumerate(elsewhere):
        nodes.append(_Node(f"r{at}", (member["sandbox"], f"on host {member['node']}"), "sandbox"))
        edges.append(_Edge(f"r{at}", network_key, " ".join(_addresses(member)), "endpoint"))
    if any(edge.kind == "published" for edge in edges):
        nodes.append(_Node("host", ("ports of the host",), "outside"))
    return nodes, edges


def _of_network(network: Mapping[str, Any]) -> tuple[str, ...]:
    kind = f"{network['driver']}, internal" if network["internal"] else network["driver"]
    return network["name"], kind, *(pool["subnet"] for pool in network["pools"])


def _elsewhere(network: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the endpoints that other hosts have on an overlay network."""
    return [member for member in network["members"] if member["node"]]


def _addresses(endpoint: Mapping[str, Any]) -> list[str]:
    return [address.partition("/")[0] for address in endpoint["addresses"]]


def _other_names(sandbox: Mapping[str, Any], endpoint: Mapping[str, Any]) -> list[str]:
    """Return the names on the network beside the sandbox's own and its short id."""
    return [name for name in endpoint["names"] if name != sandbox["name"] and not sandbox["id"].startswith(name)]


def _published(endpoint: Mapping[str, Any]) -> list[str]:
    return port_texts([port for port in endpoint["ports"] if port["host_port"]])


def _text(networks: Views, sandboxes: Views) -> str:
    parts = []
    for network in networks:
        name, kind, *subnets = _of_network(network)
        on_it = [(sandbox, endpoint) for sandbox in sandboxes for endpoint in sandbox["endpoints"] if endpoint["network"] == name]
        rows = [_row(sandbox, endpoint) for sandbox, endpoint in on_it]
        rows += [
            (f"  {member['sandbox']}", " ".join(_addresses(member)), "", f"on host {member['node']}") for member in _elsewhere(network)
        ]
        parts.append([f"{name} ({', '.join([kind, *subnets])})", *(aligned(rows) if rows else ["  nobody"])])
    others = [(f"  {sandbox['name']}", network_mode(sandbox) or "no network") for sandbox in sandboxes if not sandbox["endpoints"]]
    if others:
        parts.append(["on no network of their own", *aligned(others)])
    return "\n\n".join("\n".join(map(printable, lines)) for lines in parts) + "\n" if parts else "there are no networks and no sandboxes\n"


def _row(sandbox: Mapping[str, Any], endpoint: Mapping[str, Any]) -> tuple[str, ...]:
    cells = (_addresses(endpoint), _other_names(sandbox, endpoint), _published(endpoint))
    return f"  {sandbox['name']}", *map(" ".join, cells)


_SHAPES = {"network": ('{{"', '"}}'), "sandbox": ('["', '"]'), "outside": ('(["', '"])')}
_ARROWS = {"endpoint": "---", "published": "-->", "shared": "-.-"}


def _mermaid(networks: Views, sandboxes: Views) -> str:
    nodes, edges = _graph(networks, sandboxes)
    lines = ["graph LR"]
    for node in nodes:
        opening, closing = _SHAPES[node.kind]
        lines.append(f"  {node.key}{opening}{'<br>'.join(map(_for_mermaid, node.lines))}{closing}")
    for edge in edges:
        label = f'|"{_for_mermaid(edge.label)}"|' if edge.label else ""
        lines.append(f"  {edge.start} {_ARROWS[edge.kind]}{label} {edge.end}")
    return "\n".join(lines) + "\n"


def _for_mermaid(text: str) -> str:
    return printable(text).replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")


def _dot(networks: Views, sandboxes: Views) -> str:
    nodes, edges = _graph(networks, sandboxes)
    shapes = {"network": "ellipse", "sandbox": "box", "outside": "plaintext"}
    styles = {"endpoint": "dir=none", "published": "style=solid", "shared": "dir=none, style=dashed"}
    lines = ["digraph berth {", "  rankdir=LR;"]
    for node in nodes:
        lines.append(f'  {node.key} [shape={shapes[node.kind]}, label="{_for_dot(chr(10).join(node.lines))}"];')
    for edge in edges:
        lines.append(f'  {edge.start} -> {edge.end} [{styles[edge.kind]}, label="{_for_dot(edge.label)}"];')
    return "\n".join([*lines, "}"]) + "\n"


def _for_dot(text: str) -> str:
    return "\\n".join(printable(line).replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n"))


def _json(networks: Views, sandboxes: Views) -> str:
    return json.dumps({"networks": networks, "sandboxes": sandboxes}, indent=2) + "\n"


FORMS: dict[str, Callable[[Views, Views], str]] = {"text": _text, "mermaid": _mermaid, "dot": _dot, "json": _json}
"""Form → what makes the picture in it."""
