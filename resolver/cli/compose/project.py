"""What a project means to berth, as values: services, their networks, networks. Pure.

A field that is an option of `berth run` too is called by its key in the file, without `x-`; see `field_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from resolver.cli.sandbox_options import Option


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


class Condition(Enum):
    """What a service waits for of one that it depends on."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"
    COMPLETED = "service_completed_successfully"


@dataclass(frozen=True, kw_only=True)
class Dependency:
    """A service that must be there before. *restart*: whether the dependent is restarted with it; *required*: whether it must succeed."""

    service: str
    condition: Condition = Condition.STARTED
    restart: bool = False
    required: bool = True


class RestartWhen(Enum):
    """When a process that ended is started again."""

    NEVER = "no"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"
    UNLESS_STOPPED = "unless-stopped"


@dataclass(frozen=True, kw_only=True)
class Restart:
    """A restart policy. *attempts*: how often at most, 0 for no limit."""

    when: RestartWhen = RestartWhen.NEVER
    attempts: int = 0


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """How a service is asked whether it is healthy. *command*: words; *in_shell*: they are one, for a shell. Times are in seconds."""

    command: tuple[str, ...]
    in_shell: bool
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0
    start_interval: float = 5.0


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service. *network_mode*: host, none, service:NAME, container:NAME, or the name of a network; None for one on *networks*.

    *has_image*: something else runs it, so its *command* is not ours to start. *entrypoint*: what *command* begins with. *attach*: `up`
    prints its output. *environment*: with that of its env files; None for a variable that has no value anywhere. *stop_grace*: in seconds.
    From *user* on: see `resolver.cli.compose.isolation`.
    """

    name: str
    networks: tuple[ServiceNetwork, ...]
    network_mode: str | None = None
    forward: bool = False
    egress: tuple[str, ...] = ()
    sysctls: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    has_image: bool = False
    attach: bool = True
    environment: Mapping[str, str | None] = field(default_factory=dict)
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_opt: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    hostname: str | None = None
    domainname: str | None = None
    container_name: str | None = None
    links: tuple[str, ...] = ()
    external_links: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    depends_on: tuple[Dependency, ...] = ()
    replicas: int = 1
    profiles: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    working_dir: str | None = None
    restart: Restart = field(default_factory=Restart)
    health: HealthCheck | None = None
    stop_grace: float = 10.0
    stop_signal: str = "SIGTERM"
    user: str | None = None
    group_add: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    security_opt: tuple[str, ...] = ()
    read_only: bool = False
    tmpfs: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    shm_size: int = 0
    mem_limit: int = 0
    cpus: float = 0.0
    pids_limit: int = 0
    ulimits: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A network of the file. *name*: what it is called outside the file; *external*: it must exist already."""

    key: str
    name: str
    external: bool = False
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project. *services*: each after those that it depends on; *directory*: relative paths start there; *notes*: for the user.

    *separator*: between the parts of the name of a sandbox.
    """

    name: str
    directory: str
    services: tuple[Service, ...]
    networks: tuple[NetworkSpec, ...]
    notes: tuple[str, ...] = ()
    separator: str = "-"

    def sandbox_name(self, *parts: str) -> str:
        """Return the name of a sandbox of the project, of a service and a number for example."""
        return self.separator.join((self.name, *parts))
