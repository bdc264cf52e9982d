"""The networking part of a Compose file: read, check, and what it means for us. Pure, but for `env_file` contents given.

A networking key that we do not know is refused with its line; a key about images, volumes and the like is ignored with
one note for all.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from resolver.cli.duration import seconds_of
from resolver.cli.project import Attachment, ComposeError, NetworkSpec, Project, Service
from resolver.cli.yaml12 import Located, YamlError, load

_SERVICE_KEYS = {
    "networks", "network_mode", "dns", "dns_search", "dns_opt", "extra_hosts", "hostname", "domainname", "container_name",
    "links", "expose", "ports", "command", "entrypoint", "environment", "env_file", "depends_on", "scale", "deploy",
    "profiles", "image", "build", "labels", "working_dir", "stop_grace_period", "stop_signal", "mac_address", "sysctls",
}  # fmt: skip
_IGNORED_SERVICE_KEYS = {
    "annotations", "attach", "blkio_config", "cap_add", "cap_drop", "cgroup", "cgroup_parent", "configs", "cpu_count",
    "cpu_percent", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "cpus", "cpuset",
    "credential_spec", "develop", "device_cgroup_rules", "devices", "gpus", "group_add", "healthcheck", "init", "ipc",
    "isolation", "logging", "mem_limit", "mem_reservation", "mem_swappiness", "memswap_limit", "models", "oom_kill_disable",
    "oom_score_adj", "pid", "pids_limit", "platform", "post_start", "pre_stop", "privileged", "provider", "pull_policy",
    "read_only", "restart", "runtime", "secrets", "security_opt", "shm_size", "stdin_open", "storage_opt",
    "tmpfs", "tty", "ulimits", "user", "userns_mode", "uts", "volumes", "volumes_from", "label_file", "extends",
}  # fmt: skip
_ATTACHMENT_KEYS = {
    "aliases", "ipv4_address", "ipv6_address", "link_local_ips", "mac_address", "gw_priority", "priority", "interface_name", "driver_opts",
}  # fmt: skip
_NETWORK_KEYS = {"driver", "driver_opts", "ipam", "internal", "enable_ipv4", "enable_ipv6", "labels", "external", "name", "attachable"}
_IPAM_KEYS = {"driver", "config", "options"}
_IPAM_CONFIG_KEYS = {"subnet", "ip_range", "gateway", "aux_addresses"}
_TOP_KEYS = {"version", "name", "services", "networks"}
_IGNORED_TOP_KEYS = {"volumes", "configs", "secrets", "include", "models"}
_PORT_KEYS = {"target", "published", "host_ip", "protocol", "mode", "name", "app_protocol"}


def project_name(given: str | None, environment: Mapping[str, str], in_file: str | None, directory: str) -> str:
    """Return the project's name, found and normalized as Compose does: option, variable, file, directory."""
    chosen = given or environment.get("COMPOSE_PROJECT_NAME") or in_file or directory.rstrip("/").rpartition("/")[2]
    name = re.sub(r"[^a-z0-9_-]", "", chosen.lower()).lstrip("_-")
    return name or "default"


def parse(
    text: str,
    path: str,
    *,
    directory: str,
    environment: Mapping[str, str],
    project: str | None = None,
    profiles: tuple[str, ...] = (),
    substitute: Callable[[str, int], str] = lambda value, _: value,
) -> Project:
    """Return the project in *text*; ComposeError names everything that is wrong, with lines."""
    try:
        raw = load(text, substitute)
    except YamlError as error:
        raise ComposeError(path, [(error.line, error.reason)]) from error
    reader = _Reader()
    document = reader.mapping(raw, 1, "the file")
    reader.check_keys(document, _TOP_KEYS | _IGNORED_TOP_KEYS, "")
    reader.note_ignored(document, _IGNORED_TOP_KEYS)
    name = project_name(project, environment, reader.text(document, "name"), directory)
    raw_services = reader.mapping(document.get("services"), document.lines.get("services", 1), "services")
    services = []
    for key, value in raw_services.items():
        line = raw_services.lines[key]
        service = reader.service(key, reader.mapping(value, line, f"services.{key}"), line)
        if service is not None and (not service.profiles or set(service.profiles) & set(profiles) or "*" in profiles):
            services.append(service)
    networks = reader.networks(reader.mapping(document.get("networks"), document.lines.get("networks", 1), "networks"), name)
    networks = reader.complete(services, networks, name, raw_services)
    if not services:
        reader.problem(document.lines.get("services", 1), "there is no service to start; is a --profile missing?")
    if reader.problems:
        raise ComposeError(path, reader.problems)
    return Project(name=name, services=tuple(_in_order(services)), networks=tuple(networks), notes=reader.notes())


def _in_order(services: list[Service]) -> list[Service]:
    """Return *services* with each one behind those it depends on."""
    by_name = {item.name: item for item in services}
    result: list[Service] = []

    def visit(service: Service) -> None:
        if service in result:
            return
        for name in service.depends_on:
            if name in by_name:
                visit(by_name[name])
        result.append(service)

    for service in services:
        visit(service)
    return result


class _Reader:
    """Reads values and collects what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[tuple[int, str]] = []
        self._ignored: set[str] = set()

    def problem(self, line: int, text: str) -> None:
        self.problems.append((line, text))

    def notes(self) -> tuple[str, ...]:
        if not self._ignored:
            return ()
        return (f"ignored, not about networking: {', '.join(sorted(self._ignored))}",)

    def note_ignored(self, mapping: Located, keys: set[str]) -> None:
        self._ignored |= keys & set(mapping)

    def check_keys(self, mapping: Located, known: set[str], where: str) -> None:
        for key in mapping:
            if key not in known and not key.startswith("x-"):
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}" if len(known) < 12 else ""
                self.problem(mapping.lines[key], f"{where}{'.' if where else ''}{key} is not known{hint}")

    def mapping(self, value: Any, line: int, where: str) -> Located:
        if value is None:
            return Located()
        if isinstance(value, Located):
            return value
        self.problem(line, f"{where} must be a mapping")
        return Located()

    def text(self, mapping: Located, key: str) -> str:
        value = mapping.get(key)
        if value is None:
            return ""
        if isinstance(value, list | dict):
            self.problem(mapping.lines[key], f"{key} must be a single value")
            return ""
        return _string(value)

    def texts(self, mapping: Located, key: str) -> tuple[str, ...]:
        """Return a list of strings; a single string counts as a list of one."""
        value = mapping.get(key)
        if value is None:
            return ()
        items = value if isinstance(value, list) else [value]
        if any(isinstance(item, list | dict) for item in items):
            self.problem(mapping.lines[key], f"{key} must be a list of strings")
            return ()
        return tuple(_string(item) for item in items)

    def pairs(self, mapping: Located, key: str, separator: str = "=") -> dict[str, str | None]:
        """Return a mapping, or a list of `KEY=value` strings."""
        value = mapping.get(key)
        if isinstance(value, Located):
            return {name: None if item is None else _string(item) for name, item in value.items()}
        result: dict[str, str | None] = {}
        for item in self.texts(mapping, key):
            name, found, text = item.partition(separator)
            result[name] = text if found else None
        return result

    def number(self, mapping: Located, key: str, default: int) -> int:
        value = mapping.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not str(value).lstrip("-").isdigit():
            self.problem(mapping.lines[key], f"{key} must be a whole number, not {value!r}")
            return default
        return int(value)

    def boolean(self, mapping: Located, key: str) -> bool | None:
        value = mapping.get(key)
        if value is None or isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        self.problem(mapping.lines[key], f"{key} must be true or false, not {value!r}")
        return None

    # --- services -----------------------------------------------------------------------------------------------

    def service(self, name: str, raw: Located, line: int) -> Service | None:
        self.check_keys(raw, _SERVICE_KEYS | _IGNORED_SERVICE_KEYS, f"services.{name}")
        self.note_ignored(raw, _IGNORED_SERVICE_KEYS)
        mode = self._mode(raw, name)
        needed = tuple(raw["depends_on"]) if isinstance(raw.get("depends_on"), Located) else self.texts(raw, "depends_on")
        if mode.startswith("service:"):
            needed = (*needed, mode.removeprefix("service:"))
        command = (*self._words(raw, "entrypoint"), *self._words(raw, "command"))
        has_image = "image" in raw or "build" in raw
        if not command and not has_image:
            self.problem(line, f"services.{name} has neither command nor image; give it a command to run")
        deploy = self.mapping(raw.get("deploy"), raw.lines.get("deploy", line), f"services.{name}.deploy")
        replicas = self.number(raw, "scale", self.number(deploy, "replicas", 1))
        if raw.get("container_name") and replicas > 1:
            self.problem(raw.lines["container_name"], f"services.{name}: container_name allows one replica only")
        return Service(
            name=name,
            attachments=() if mode else self._attachments(raw, name),
            network_mode=mode,
            forward=bool(self.boolean(raw, "x-forward")),
            sysctls=tuple(f"{key}={value or ''}" for key, value in self.pairs(raw, "sysctls").items()),
            command=command if not has_image else (),
            has_image=has_image,
            environment=self.pairs(raw, "environment"),
            env_files=self._env_files(raw),
            dns=self.texts(raw, "dns"),
            dns_search=self.texts(raw, "dns_search"),
            dns_options=self.texts(raw, "dns_opt"),
            extra_hosts=self._extra_hosts(raw),
            hostname=self.text(raw, "hostname"),
            domainname=self.text(raw, "domainname"),
            container_name=self.text(raw, "container_name"),
            links=self.texts(raw, "links"),
            expose=self.texts(raw, "expose"),
            ports=self._ports(raw, name),
            depends_on=needed,
            replicas=replicas,
            profiles=self.texts(raw, "profiles"),
            labels={key: value or "" for key, value in self.pairs(raw, "labels").items()},
            working_dir=self.text(raw, "working_dir"),
            stop_grace=self._duration(raw, "stop_grace_period", 10.0),
            stop_signal=self.text(raw, "stop_signal") or "SIGTERM",
        )

    def _mode(self, raw: Located, name: str) -> str:
        """Return `bridge`, `host`, `none`, `service:NAME` or `container:NAME`; "" for a service on networks."""
        mode = self.text(raw, "network_mode")
        if not mode:
            return ""
        line = raw.lines["network_mode"]
        if raw.get("networks"):
            self.problem(line, f"services.{name}: network_mode and networks exclude each other")
        kind, _, target = mode.partition(":")
        if mode not in ("host", "none", "bridge") and not (kind in ("service", "container") and target):
            self.problem(line, f"services.{name}.network_mode {mode} is not one of bridge, host, none, service:NAME, container:NAME")
        return mode

    def _words(self, raw: Located, key: str) -> tuple[str, ...]:
        value = raw.get(key)
        if isinstance(value, str):
            try:
                return tuple(shlex.split(value))
            except ValueError as error:
                self.problem(raw.lines[key], f"{key}: {error}")
                return ()
        return self.texts(raw, key)

    def _attachments(self, raw: Located, name: str) -> tuple[Attachment, ...]:
        value = raw.get("networks")
        shared_mac = self.text(raw, "mac_address") or None
        if value is None:
            return (Attachment(network="default", mac=shared_mac),)
        if isinstance(value, list):
            return tuple(Attachment(network=item, mac=shared_mac if i == 0 else None) for i, item in enumerate(self.texts(raw, "networks")))
        networks = self.mapping(value, raw.lines["networks"], f"services.{name}.networks")
        result: list[Attachment] = []
        for key, item in networks.items():
            where = f"services.{name}.networks.{key}"
            one = self.mapping(item, networks.lines[key], where)
            self.check_keys(one, _ATTACHMENT_KEYS, where)
            result.append(
                Attachment(
                    network=key,
                    aliases=self.texts(one, "aliases"),
                    ipv4=self.text(one, "ipv4_address") or None,
                    ipv6=self.text(one, "ipv6_address") or None,
                    link_local=self.texts(one, "link_local_ips"),
                    mac=self.text(one, "mac_address") or (shared_mac if not result else None),
                    gw_priority=self.number(one, "gw_priority", 0),
                    priority=self.number(one, "priority", 0),
                    ifname=self.text(one, "interface_name") or None,
                    routes=self._routes(one),
                    driver_opts={key: value or "" for key, value in self.pairs(one, "driver_opts").items()},
                )
            )
        # Compose connects in the order of `priority`, highest first; the order of the file decides among equals.
        return tuple(sorted(result, key=lambda item: -item.priority))

    def _env_files(self, raw: Located) -> tuple[tuple[str, bool], ...]:
        """Return (path, whether it must exist) of each env_file."""
        value = raw.get("env_file")
        items = value if isinstance(value, list) else [] if value is None else [value]
        result: list[tuple[str, bool]] = []
        for item in items:
            if isinstance(item, Located):
                result.append((self.text(item, "path"), self.boolean(item, "required") is not False))
            else:
                result.append((_string(item), True))
        return tuple(result)

    def _extra_hosts(self, raw: Located) -> tuple[str, ...]:
        value = raw.get("extra_hosts")
        if isinstance(value, Located):
            return tuple(
                f"{name}:{_string(address)}" for name, item in value.items() for address in (item if isinstance(item, list) else [item])
            )
        return self.texts(raw, "extra_hosts")

    def _ports(self, raw: Located, name: str) -> tuple[str, ...]:
        value = raw.get("ports")
        if value is None:
            return ()
        if not isinstance(value, list):
            self.problem(raw.lines["ports"], f"services.{name}.ports must be a list")
            return ()
        return tuple(self._port(item, raw.lines["ports"], name) for item in value)

    def _port(self, item: Any, line: int, name: str) -> str:
        if not isinstance(item, Located):
            return _string(item)
        self.check_keys(item, _PORT_KEYS, f"services.{name}.ports")
        target, published, address = self.text(item, "target"), self.text(item, "published"), self.text(item, "host_ip")
        if not target:
            self.problem(line, f"services.{name}.ports: an entry has no target")
        if ":" in address:
            address = f"[{address.strip('[]')}]"
        host = f"{address}:{published}:" if address else f"{published}:" if published else ""
        return f"{host}{target}/{self.text(item, 'protocol') or 'tcp'}"

    def _duration(self, raw: Located, key: str, default: float) -> float:
        text = self.text(raw, key)
        if not text:
            return default
        seconds = seconds_of(text)
        if seconds is None:
            self.problem(raw.lines[key], f"{key} must be a duration like 10s or 1m30s, not {text!r}")
            return default
        return seconds

    # --- networks -----------------------------------------------------------------------------------------------

    def networks(self, raw: Located, project: str) -> list[NetworkSpec]:
        result = []
        for key, value in raw.items():
            where = f"networks.{key}"
            one = self.mapping(value, raw.lines[key], where)
            self.check_keys(one, _NETWORK_KEYS, where)
            external = one.get("external")
            if isinstance(external, Located):
                # The form of old files: external: {name: …}
                result.append(NetworkSpec(key=key, name=self.text(external, "name") or key, external=True))
            elif external:
                result.append(NetworkSpec(key=key, name=self.text(one, "name") or key, external=True))
            else:
                name = self.text(one, "name") or f"{project}_{key}"
                result.append(NetworkSpec(key=key, name=name, body=self._network_body(one, where)))
        return result

    def _network_body(self, one: Located, where: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "driver": self.text(one, "driver") or "bridge",
            "internal": bool(self.boolean(one, "internal")),
            "ipv4": self.boolean(one, "enable_ipv4"),
            "ipv6": self.boolean(one, "enable_ipv6"),
            "options": {key: value or "" for key, value in self.pairs(one, "driver_opts").items()},
            "labels": {key: value or "" for key, value in self.pairs(one, "labels").items()},
            "routes": self._routes(one),
            "subnets": [],
            "ip_ranges": [],
            "gateways": [],
            "auxiliary": {},
        }
        ipam = self.mapping(one.get("ipam"), one.lines.get("ipam", 1), f"{where}.ipam")
        self.check_keys(ipam, _IPAM_KEYS, f"{where}.ipam")
        body["ipam_driver"] = self.text(ipam, "driver") or "default"
        body["ipam_options"] = {key: value or "" for key, value in self.pairs(ipam, "options").items()}
        if body["ipam_options"] and body["ipam_driver"] == "default":
            self.problem(ipam.lines["options"], f"{where}.ipam.options: the default IPAM driver has no options")
        configs = ipam.get("config")
        for item in configs if isinstance(configs, list) else []:
            config = self.mapping(item, ipam.lines["config"], f"{where}.ipam.config")
            self.check_keys(config, _IPAM_CONFIG_KEYS, f"{where}.ipam.config")
            for key, target in (("subnet", "subnets"), ("ip_range", "ip_ranges"), ("gateway", "gateways")):
                if self.text(config, key):
                    body[target].append(self.text(config, key))
            body["auxiliary"].update({key: value or "" for key, value in self.pairs(config, "aux_addresses").items()})
        if body["ipv6"] is None and any(":" in text for text in body["subnets"]):
            body["ipv6"] = True
        return body

    def _routes(self, one: Located) -> tuple[str, ...]:
        """Return `x-routes`: a mapping of destination to next hop, or a list of `DESTINATION=VIA`."""
        return tuple(f"{destination}={via or ''}" for destination, via in self.pairs(one, "x-routes").items())

    def complete(self, services: list[Service], networks: list[NetworkSpec], project: str, raw: Located) -> list[NetworkSpec]:
        """Add the default network if it is used, drop unused ones, and check references."""
        known = {item.key for item in networks}
        names = {item.name for item in services}
        used = {item.network for service in services for item in service.attachments}
        if "default" in used and "default" not in known:
            networks = [*networks, NetworkSpec(key="default", name=f"{project}_default", body={"driver": "bridge"})]
            known.add("default")
        for service in services:
            line = raw.lines[service.name]
            for attachment in service.attachments:
                if attachment.network not in known:
                    self.problem(line, f"services.{service.name} uses network {attachment.network}, which is not in networks")
            for dependency in service.depends_on:
                if dependency not in raw:
                    self.problem(line, f"services.{service.name} depends on {dependency}, which is not a service")
            for link in service.links:
                if link.partition(":")[0] not in names:
                    self.problem(line, f"services.{service.name} links {link}, which is not a service")
            self._check_cycle(service, services, line)
        return [item for item in networks if item.key in used]

    def _check_cycle(self, service: Service, services: list[Service], line: int) -> None:
        by_name = {item.name: item for item in services}
        seen: set[str] = set()
        waiting = list(service.depends_on)
        while waiting:
            name = waiting.pop()
            if name == service.name:
                self.problem(line, f"services.{service.name} depends on itself through depends_on")
                return
            if name in by_name and name not in seen:
                seen.add(name)
                waiting += by_name[name].depends_on


def _string(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
