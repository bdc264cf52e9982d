"""Random operations on the admin API, and what must exist after them, however the daemon ends in between.

A hand makes one operation after the other and has names, namespaces and ports of its own, so that each knows what it has.
An operation that was answered has happened. One that was not has happened, or it has not.
"""

from __future__ import annotations

import http.client
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

from tests.support.admin_client import AdminClient
from tests.support.lab import Lab

STANDING: dict[str, dict[str, Any]] = {
    "front": {"ipv6": True},
    "inner": {"internal": True},
    "lan": {"driver": "macvlan", "subnets": ["10.78.0.0/24"], "options": {"parent": "lan0"}},
    "plugged": {"driver": "weave", "subnets": ["10.73.0.0/24"]},
    "managed": {"ipam_driver": "weave"},
}
"""Networks that stay: one of each driver, and one whose addresses a plugin gives."""
KINDS: tuple[dict[str, Any], ...] = (
    {}, {"ipv6": True}, {"internal": True}, {"driver": "macvlan", "options": {"parent": "lan0"}}, {"driver": "weave"},
)  # fmt: skip
"""Of these are the networks that come and go."""
MODES = ("host", "none", "container")
MOST_NETWORKS, MOST_SANDBOXES = 2, 4


@dataclass(frozen=True)
class Box:
    """A sandbox. *networks*: those that it is on; *mode*: "" for one with a stack of its own."""

    networks: frozenset[str] = frozenset()
    mode: str = ""
    guest: bool = False


@dataclass(frozen=True)
class Had:
    """What one hand has."""

    networks: frozenset[str] = frozenset()
    boxes: dict[str, Box] = field(default_factory=dict)

    def with_box(self, name: str, box: Box | None) -> Had:
        others = {key: value for key, value in self.boxes.items() if key != name}
        return replace(self, boxes=others if box is None else {**others, name: box})


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    body: Any
    after: Had

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.body or ''}"


class Hand:
    """*had*: what it has by what was answered; *asked*: the operation that was not answered, None if all were."""

    def __init__(self, number: int, seed: str) -> None:
        self.number, self.random = number, random.Random(seed)
        self.had = Had()
        self.asked: Operation | None = None
        self.count, self.made = 0, 0
        self.refused: list[str] = []

    @property
    def guest(self) -> str:
        """The namespace that this hand adopts."""
        return f"guest{self.number}"

    def work(self, lab: Lab, ends: Event) -> None:
        """Make operations until the daemon is gone, or *ends* is set."""
        client = AdminClient(lab)
        try:
            while not ends.is_set():
                self.asked = self.choose()
                status, answer = client.ask(self.asked.method, self.asked.path, self.asked.body)
                if status < 300:
                    self.had = self.asked.after
                    self.made += 1
                else:
                    self.refused.append(f"{self.asked} → {status} {answer}")
                self.asked = None
        except (OSError, http.client.HTTPException):
            return
        finally:
            client.close()

    def settle(self, found: Had) -> str:
        """Take over what was *found* after the end of the daemon; return what must not be, "" if all is well."""
        possible = [self.had] if self.asked is None else [self.had, self.asked.after]
        wrong = "" if found in possible else f"hand {self.number}: found {found}, not one of {possible} behind {self.asked}"
        self.had, self.asked = found, None
        return wrong

    def all_away(self) -> Iterator[Operation]:
        """Yield what removes all that this hand has."""
        for name in sorted(self.had.boxes, key=lambda name: self.had.boxes[name].mode != "container"):
            yield Operation("DELETE", f"/v1/sandboxes/{name}", None, self.had.with_box(name, None))
        for name in self.had.networks:
            yield Operation("DELETE", f"/v1/networks/{name}", None, replace(self.had, networks=self.had.networks - {name}))

    def choose(self) -> Operation:
        """Return the next operation, one that succeeds."""
        possible = [made for make in self._kinds() if (made := make()) is not None]
        return self.random.choice(possible)

    def _kinds(self) -> tuple[Callable[[], Operation | None], ...]:
        # Sandboxes are most of what is made.
        return (
            self._network, self._network_away, self._sandbox, self._sandbox, self._in_a_mode, self._connect, self._connect,
            self._disconnect, self._rename, self._sandbox_away, self._sandbox_away,
        )  # fmt: skip

    def _new(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.number}x{self.count}"

    def _own(self) -> list[str]:
        return sorted(name for name, box in self.had.boxes.items() if not box.mode)

    def _all_networks(self) -> list[str]:
        return [*STANDING, *sorted(self.had.networks)]

    def _network(self) -> Operation | None:
        if len(self.had.networks) >= MOST_NETWORKS:
            return None
        name, body = self._new("n"), dict(self.random.choice(KINDS))
        if "driver" in body:
            body["subnets"] = [f"10.{80 + self.number}.{self.count % 250}.0/24"]
        return Operation("POST", "/v1/networks", {"name": name, **body}, replace(self.had, networks=self.had.networks | {name}))

    def _network_away(self) -> Operation | None:
        used = {network for box in self.had.boxes.values() for network in box.networks}
        free = sorted(self.had.networks - used)
        if not free:
            return None
        name = self.random.choice(free)
        return Operation("DELETE", f"/v1/networks/{name}", None, replace(self.had, networks=self.had.networks - {name}))

    def _sandbox(self) -> Operation | None:
        if len(self.had.boxes) >= MOST_SANDBOXES:
            return None
        networks = self.random.sample(self._all_networks(), self.random.randint(1, 3))
        guest = self.random.random() < 0.4 and not any(box.guest for box in self.had.boxes.values())
        name = self._new("s")
        body: dict[str, Any] = {"name": name, "networks": [{"network": network} for network in networks]}
        if self.random.random() < 0.5:
            body["publish"] = [f"{20_000 + 1000 * self.number + self.count % 1000}:80/{self.random.choice(('tcp', 'udp'))}"]
        if guest:
            body["netns"] = f"/run/netns/{self.guest}"
        return Operation("POST", "/v1/sandboxes", body, self.had.with_box(name, Box(frozenset(networks), guest=guest)))

    def _in_a_mode(self) -> Operation | None:
        mode = self.random.choice(MODES)
        if len(self.had.boxes) >= MOST_SANDBOXES or (mode == "container" and not self._own()):
            return None
        name = self._new("s")
        network = f"container:{self.random.choice(self._own())}" if mode == "container" else mode
        body = {"name": name, "networks": [{"network": network}]}
        return Operation("POST", "/v1/sandboxes", body, self.had.with_box(name, Box(mode=mode)))

    def _connect(self) -> Operation | None:
        own = [name for name in self._own() if len(self.had.boxes[name].networks) < 4]
        if not own:
            return None
        name = self.random.choice(own)
        box = self.had.boxes[name]
        network = self.random.choice([network for network in self._all_networks() if network not in box.networks])
        after = self.had.with_box(name, replace(box, networks=box.networks | {network}))
        return Operation("POST", f"/v1/networks/{network}/connect", {"sandbox": name, "aliases": [f"{name}-again"]}, after)

    def _disconnect(self) -> Operation | None:
        own = [name for name in self._own() if self.had.boxes[name].networks]
        if not own:
            return None
        name = self.random.choice(own)
        box = self.had.boxes[name]
        network = self.random.choice(sorted(box.networks))
        after = self.had.with_box(name, replace(box, networks=box.networks - {network}))
        return Operation("POST", f"/v1/networks/{network}/disconnect", {"sandbox": name}, after)

    def _rename(self) -> Operation | None:
        own = self._own()
        if not own:
            return None
        name, new = self.random.choice(own), self._new("s")
        box = self.had.boxes[name]
        return Operation("PATCH", f"/v1/sandboxes/{name}", {"name": new}, self.had.with_box(name, None).with_box(new, box))

    def _sandbox_away(self) -> Operation | None:
        # The stack that another one shares stays until that is gone.
        shared = any(box.mode == "container" for box in self.had.boxes.values())
        free = sorted(name for name, box in self.had.boxes.items() if box.mode or not shared)
        if not free:
            return None
        name = self.random.choice(free)
        return Operation("DELETE", f"/v1/sandboxes/{name}", None, self.had.with_box(name, None))


def found_for(number: int, sandboxes: list[dict[str, Any]], networks: list[dict[str, Any]]) -> Had:
    """Return what the daemon says that hand *number* has."""
    boxes = {
        one["name"]: Box(
            networks=frozenset(endpoint["network"] for endpoint in one["endpoints"]),
            mode="" if one["stack"] == "own" else one["stack"],
            guest=one["adopted"],
        )
        for one in sandboxes
        if one["name"].startswith(f"s{number}x")
    }
    return Had(frozenset(one["name"] for one in networks if one["name"].startswith(f"n{number}x")), boxes)
