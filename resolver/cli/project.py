"""What a Compose file says, as values: services, their attachments, networks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class ComposeError(Exception):
    """What is wrong with the file, one line each."""

    def __init__(self, path: str, problems: list[tuple[int, str]]) -> None:
        super().__init__("\n".join(f"{path}:{line}: {text}" for line, text in sorted(set(problems))))
        self.problems = problems


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """One network of a service, by its key in the file."""

    network: str
    aliases: tuple[str, ...] = ()
    ipv4: str | None = None
    ipv6: str | None = None
    link_local: tuple[str, ...] = ()
    mac: str | None = None
    gw_priority: int = 0
    priority: int = 0
    ifname: str | None = None
    routes: tuple[str, ...] = ()
    driver_opts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Service:
    name: str
    attachments: tuple[Attachment, ...]
    network_mode: str = ""
    forward: bool = False
    sysctls: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    has_image: bool = False
    environment: Mapping[str, str | None] = field(default_factory=dict)
    env_files: tuple[tuple[str, bool], ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    hostname: str = ""
    domainname: str = ""
    container_name: str = ""
    links: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    replicas: int = 1
    profiles: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = ""
    stop_grace: float = 10.0
    stop_signal: str = "SIGTERM"


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A network of the file. *name*: as it is called outside the file; *external*: it must exist already."""

    key: str
    name: str
    external: bool = False
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Project:
    name: str
    services: tuple[Service, ...]
    networks: tuple[NetworkSpec, ...]
    notes: tuple[str, ...] = ()
