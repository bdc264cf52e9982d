"""What must be there of berth and what is: store, kernel, files and names compared with what the admin API tells."""

from __future__ import annotations

import ipaddress
import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.support.admin_client import AdminClient
from tests.support.lab import Lab

LOOK = str(Path(__file__).with_name("look_at_everything.py"))
_ADDRESS = re.compile(r"(?<![\w.:])(?:\d+\.\d+\.\d+\.\d+|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7})(?![\w.:])")


class Everything:
    """Compares. *own_links*, *pins*: what the lab has of its own; *constants*: addresses that the tables have without any sandbox."""

    def __init__(self, lab: Lab, pins: set[str]) -> None:
        self.lab, self.pins = lab, pins
        found = self._look({})
        self.own_links = {name for name, _, alias, _ in found["links"] if not alias and not name.startswith("plug")}
        self.constants = {"0.0.0.0", *_addresses(found["tables"])}

    def _look(self, asked: dict[str, list[str]]) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self.lab.out(sys.executable, LOOK, stdin=json.dumps(asked), timeout=120))
        return made

    def differences(self, client: AdminClient) -> list[str]:
        """Return a line for each thing that is there and must not be (+), or must be and is not (-)."""
        sandboxes, networks = client.call("GET", "/v1/sandboxes"), client.call("GET", "/v1/networks")
        networks = {one["name"]: one for one in networks if one["driver"] not in ("host", "null")}
        findings = client.call("GET", "/v1/doctor")
        own = [one for one in sandboxes if one["stack"] == "own"]
        asked = {
            _pin(one): [f"{other['name']}.{endpoint['network']}" for endpoint in one["endpoints"] for other in sandboxes] for one in own
        }
        found = self._look(asked)
        wrong = [f"+ doctor: {one}" for one in findings]
        for what, is_there, must in (
            *_in_the_store(found, sandboxes, networks),
            *self._in_the_kernel(found, sandboxes, networks),
            *_in_files(found, sandboxes),
            *_in_names(found, own),
        ):
            wrong += [f"+ {what}: {one}" for one in sorted(map(str, is_there - must))]
            wrong += [f"- {what}: {one}" for one in sorted(map(str, must - is_there))]
        return wrong

    def _in_the_kernel(self, found: dict[str, Any], sandboxes: list[Any], networks: dict[str, Any]) -> list[tuple[str, set[Any], set[Any]]]:
        driver = {name: one["driver"] for name, one in networks.items()}
        endpoints = [(one, endpoint) for one in sandboxes for endpoint in one["endpoints"]]
        bridged = [endpoint for _, endpoint in endpoints if driver[endpoint["network"]] == "bridge"]
        bridges = {one["link"] for one in networks.values() if one["driver"] == "bridge"}
        plugged = {f"plug{one['id'][:8]}" for one in networks.values() if one["driver"] == "weave"}
        links = [(name, master) for name, master, _, _ in found["links"] if name not in self.own_links]
        of_plugins = [(name, master) for name, master in links if name.startswith("vp")]
        made: list[tuple[str, set[Any], set[Any]]] = [
            ("links", {pair for pair in links if pair not in of_plugins},
             {(name, "") for name in bridges | plugged} | {(one["host_ifname"], networks[one["network"]]["link"]) for one in bridged}),
            # A plugin names its links itself: how many of them there are on each of its networks.
            ("links of plugins", _counted(master for _, master in of_plugins),
             _counted(f"plug{endpoint['network_id'][:8]}" for _, endpoint in endpoints if driver[endpoint["network"]] == "weave")),
            ("pins", set(found["inside"]), self.pins | {_pin(one) for one in sandboxes}),
            ("neighbours", {(line[0], line[2]) for line in found["neighbours"]},
             {(text.split("/")[0], networks[one["network"]]["link"]) for one in bridged for text in one["addresses"]}),
            ("ports", {port for port in found["sockets"] if port.startswith("2") and len(port) == 5 and int(port) < 30_000},
             {str(port["host_port"]) for _, endpoint in endpoints for port in endpoint["ports"]}),
        ]  # fmt: skip
        # An adopted namespace has two pins.
        adopted = {found["inside"].get(_pin(one), {}).get("inode") for one in sandboxes if one["adopted"]}
        for one in sandboxes:
            if one["stack"] == "own":
                inside = found["inside"].get(_pin(one), {"links": [], "addresses": []})
                made.append((f"links in {one['name']}", {link[0] for link in inside["links"]}, {end["ifname"] for end in one["endpoints"]}))
                made.append(
                    (f"addresses in {one['name']}", {(name, text) for name, text in inside["addresses"]},
                     {(endpoint["ifname"], text) for endpoint in one["endpoints"] for text in endpoint["addresses"]})
                )  # fmt: skip
        for pin in self.pins:
            inside = found["inside"][pin]
            if inside["inode"] not in adopted and pin.startswith("guest"):
                made.append((f"links in {pin}", {link[0] for link in inside["links"]}, set()))
                made.append((f"tables in {pin}", {inside["tables"]}, {0}))
        known = {text.split("/")[0] for _, endpoint in endpoints for text in [*endpoint["addresses"], *endpoint["link_local"]]}
        known |= {
            part for one in networks.values() for pool in one["pools"] for part in (pool["gateway"], pool["subnet"].split("/")[0]) if part
        }
        there = {text for text in _addresses(found["tables"]) - self.constants if not _is_link_local(text)}
        must = {text.split("/")[0] for endpoint in bridged for text in endpoint["addresses"]}
        made.append(("addresses in tables", there - (known - must), must))
        ports = set(re.findall(r"\b(?:veth[0-9a-f]{7}|br-[0-9a-f]{12})\b", found["tables"]))
        made.append(("links in tables", ports, {one["host_ifname"] for one in bridged} | bridges))
        return made


def _pin(sandbox: Any) -> str:
    return Path(sandbox["netns"]).name


def _is_link_local(text: str) -> bool:
    return ipaddress.ip_address(text).is_link_local


def _addresses(text: str) -> set[str]:
    made = set()
    for one in _ADDRESS.findall(text):
        try:
            made.add(str(ipaddress.ip_address(one)))
        except ValueError:
            continue
    return made


def _counted(items: Any) -> set[tuple[str, int]]:
    found = [*items]
    return {(one, found.count(one)) for one in found}


def _in_the_store(found: dict[str, Any], sandboxes: list[Any], networks: dict[str, Any]) -> list[tuple[str, set[Any], set[Any]]]:
    ids = {one["id"] for one in sandboxes}
    store = found["store"]
    unfinished = {
        key for key, value in store.items() if isinstance(value, dict) and any(value.get(part) for part in ("pending", "before", "gone"))
    }
    return [
        ("sandboxes in the store", _below("sandbox", store), ids),
        ("endpoints in the store", _below("endpoints", store), ids),
        ("networks in the store", _below("network", store), {one["id"] for one in networks.values()}),
        ("unfinished in the store", unfinished, set()),
    ]


def _below(kind: str, store: dict[str, Any]) -> set[str]:
    return {key.partition("/")[2] for key in store if key.startswith(f"{kind}/")}


def _in_files(found: dict[str, Any], sandboxes: list[Any]) -> list[tuple[str, set[Any], set[Any]]]:
    made: list[tuple[str, set[Any], set[Any]]] = [("directories", set(found["directories"]), {one["id"] for one in sandboxes})]
    for one in sandboxes:
        if one["stack"] == "own":
            lines = {line.split()[0] for line in found["directories"].get(one["id"], "").splitlines() if line and not line.startswith("#")}
            wanted = {text.split("/")[0] for endpoint in one["endpoints"] for text in endpoint["addresses"]}
            made.append((f"hosts of {one['name']}", lines - {"127.0.0.1", "::1", "fe00::", "ff00::", "ff02::1", "ff02::2"}, wanted))
    return made


def _in_names(found: dict[str, Any], own: list[Any]) -> list[tuple[str, set[Any], set[Any]]]:
    on = {
        (one["name"], endpoint["network"]): sorted(text.split("/")[0] for text in endpoint["addresses"] if ":" not in text)
        for one in own
        for endpoint in one["endpoints"]
    }
    made = []
    for one in own:
        answers = found["inside"].get(_pin(one), {"answers": {}})["answers"]
        wanted = {}
        for name in answers:
            host, _, network = name.partition(".")
            wanted[name] = on.get((host, network), ["no such name"])
        made.append((f"names in {one['name']}", {(key, *value) for key, value in answers.items()}, {(k, *v) for k, v in wanted.items()}))
    return made
