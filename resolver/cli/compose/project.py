"""What a Compose file says, as values: services, their networks, networks. Pure.

A field that is an option of `berth run` too is called by its key in the file, without `x-`; see `field_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from resolver.cli.sandbox_options import Option


class ComposeError(Exception):
    """What is wrong with the file, one line each."""

    def __init__(self, path: str, problems: list[tuple[int, str]]) -> None:
        super().__init__("\n".join(f"{path}:{line}: {text}" for line, text in sorted(set(problems))))
        self.problems = problems


def field_of(option: Option) -> str:
    """Return the field of `Service` or `ServiceNetwork` that has the value of *option*, which has a Compose key."""
    assert option.compose is not None
    return option.compose.rpartition(".")[2].removeprefix("x-")


@dataclass(frozen=True, kw_only=True)
class ServiceNetwork:
    """A network of a service. *network*: its key in the file."""

    network: str
    aliases: tuple[str, ...] = ()
    ipv4_address: str | None = None
    ipv6_address: str | None = None
    link_local_ips: tuple[str, ...] = ()
    mac_address: str | None = None
    gw_priority: int = 0
    priority: int = 0
    interface_name: str | None = None
    routes: tuple[str, ...] = ()
    driver_opts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service. *network_mode*: host, none, bridge, service:NAME or container:NAME; None for a service on *networks*.

    *has_image*: something else runs it, so its *command* is not ours to start. *env_file*: (path, whether it must exist).
    *stop_grace*: in seconds.
    """

    name: str
    networks: tuple[ServiceNetwork, ...]
    network_mode: str | None = None
    forward: bool = False
    sysctls: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    has_image: bool = False
    environment: Mapping[str, str | None] = field(default_factory=dict)
    env_file: tuple[tuple[str, bool], ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_opt: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    hostname: str | None = None
    domainname: str | None = None
    container_name: str | None = None
    links: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    replicas: int = 1
    profiles: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    working_dir: str | None = None
    stop_grace: float = 10.0
    stop_signal: str = "SIGTERM"


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A network of the file. *name*: what it is called outside the file; *external*: it must exist already."""

    key: str
    name: str
    external: bool = False
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Project:
    """What a file means. *services*: each after those that it depends on; *notes*: for the user."""

    name: str
    services: tuple[Service, ...]
    networks: tuple[NetworkSpec, ...]
    notes: tuple[str, ...] = ()
