"""`berth up` and `berth down`: a Compose project as sandboxes with their processes, and its end."""

from __future__ import annotations

import os
import selectors
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from resolver.cli import enter
from resolver.cli.client import Refused, call, segment
from resolver.cli.compose import parse
from resolver.cli.interpolate import BadVariable, interpolate, parse_env
from resolver.cli.project import ComposeError, Project, Service
from resolver.cli.yaml12 import YamlError

FILES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
PROJECT, SERVICE = "berth.project", "berth.service"
_KILL_WAIT = 2.0


def load_project(file: str | None, project: str | None, profiles: Sequence[str]) -> tuple[Project, Path, list[str]]:
    """Return the project, its directory and warnings. Raises Refused with everything that is wrong."""
    path = Path(file) if file else next((Path(name) for name in FILES if Path(name).exists()), None)
    if path is None:
        raise Refused(f"no {FILES[0]} here; name a file with -f")
    try:
        text = path.read_text()
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    directory = path.resolve().parent
    variables = {**_dotenv(directory), **os.environ}
    unset: list[str] = []

    def substitute(value: str, line: int) -> str:
        try:
            return interpolate(value, variables, unset.append) if "$" in value else value
        except BadVariable as error:
            raise YamlError(line, str(error)) from error

    chosen = (*profiles, *filter(None, variables.get("COMPOSE_PROFILES", "").split(",")))
    try:
        parsed = parse(
            text,
            str(path),
            directory=str(directory),
            environment=variables,
            project=project,
            profiles=chosen,
            substitute=substitute,
        )
    except ComposeError as error:
        raise Refused(str(error)) from error
    warnings = [f"variable {name} is not set; it counts as empty" for name in dict.fromkeys(unset)]
    return parsed, directory, [*warnings, *parsed.notes]


def _dotenv(directory: Path) -> dict[str, str]:
    try:
        return parse_env((directory / ".env").read_text())
    except FileNotFoundError:
        return {}


def up(file: str | None, project: str | None, profiles: Sequence[str], *, detach: bool) -> int:
    """Bring a project up; follow its output until Ctrl-C or its end unless *detach*."""
    parsed, directory, warnings = load_project(file, project, profiles)
    for warning in warnings:
        print(f"berth: {warning}", file=sys.stderr)
    return _Session(parsed, directory, detach=detach).run()


def down(file: str | None, project: str | None) -> int:
    """Remove everything of a project."""
    by_name = file is None and project is not None
    name = project if by_name else load_project(file, project, ("*",))[0].name
    sandboxes = [item for item in call("GET", "/v1/sandboxes", autostart=True) if item["labels"].get(PROJECT) == name]
    networks = [item for item in call("GET", "/v1/networks") if item["labels"].get(PROJECT) == name]
    if not sandboxes and not networks:
        raise Refused(f"nothing of project {name} is up")
    with ThreadPoolExecutor(16) as workers:
        list(workers.map(remove_sandbox, sandboxes))
    for network in networks:
        _delete(f"/v1/networks/{network['id']}")
    print(f"project {name} is down: {len(sandboxes)} sandboxes, {len(networks)} networks removed")
    return 0


def remove_sandbox(sandbox: dict[str, Any]) -> list[str]:
    """End the processes of *sandbox* that berth started, then remove it; return warnings."""
    leader = enter.leader(sandbox)
    if leader is not None:
        signal.pidfd_send_signal(leader, signal.SIGTERM)
        with selectors.DefaultSelector() as selector:
            selector.register(leader, selectors.EVENT_READ)
            if not selector.select(_KILL_WAIT):
                signal.pidfd_send_signal(leader, signal.SIGKILL)
        os.close(leader)
    return _delete(f"/v1/sandboxes/{sandbox['id']}")


def _delete(path: str) -> list[str]:
    try:
        warnings: list[str] = call("DELETE", path)["warnings"]
    except Refused as error:
        if error.kind != "not-found":
            raise
        return []
    return warnings


class _Running:
    """One process of a service: its sandbox, its init, its output."""

    def __init__(self, service: Service, sandbox: dict[str, Any], pid: int, output: int) -> None:
        self.service = service
        self.sandbox = sandbox
        self.pid = pid
        self.output = output
        self.rest = b""
        self.code: int | None = None


class _Session:
    """One `berth up`."""

    def __init__(self, project: Project, directory: Path, *, detach: bool) -> None:
        self._project = project
        self._directory = directory
        self._detach = detach
        self._sandboxes: list[dict[str, Any]] = []
        self._networks: list[dict[str, Any]] = []
        self._running: list[_Running] = []
        self._stopping = 0

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_stop)
        try:
            self._bring_up()
        except BaseException as error:
            self._take_down()
            if isinstance(error, KeyboardInterrupt):
                return 130
            raise
        self._show()
        if self._detach:
            return 0
        code = self._follow()
        self._take_down()
        return code

    def _on_stop(self, *_: object) -> None:
        self._stopping += 1
        if not self._running or self._stopping > 3:
            raise KeyboardInterrupt

    # --- up -----------------------------------------------------------------------------------------------------

    def _bring_up(self) -> None:
        """Networks first, then all sandboxes of a service at once, then its processes, in the order of depends_on."""
        for spec in self._project.networks:
            if spec.external:
                try:
                    call("GET", f"/v1/networks/{segment(spec.name)}", autostart=True)
                except Refused as error:
                    raise Refused(f"external network {spec.name}: {error}; create it with `berth network create`") from error
                continue
            body = {**spec.body, "name": spec.name, "labels": {**spec.body.get("labels", {}), PROJECT: self._project.name}}
            if not self._detach:
                body["owner_pid"] = os.getpid()
            self._networks.append(self._network(body))
        for service in self._project.services:
            with ThreadPoolExecutor(16) as workers:
                made = list(workers.map(lambda number, service=service: self._sandbox(service, number), range(1, service.replicas + 1)))
            errors = [item for item in made if isinstance(item, Refused)]
            self._sandboxes += [item for item in made if not isinstance(item, Refused)]
            if errors:
                raise errors[0]
            for item in made:
                assert not isinstance(item, Refused)
                for warning in item["warnings"]:
                    print(f"berth: warning: {warning}", file=sys.stderr)
                if service.command:
                    self._start(service, item)

    def _network(self, body: dict[str, Any]) -> dict[str, Any]:
        try:
            made: dict[str, Any] = call("POST", "/v1/networks", body, autostart=True)
        except Refused as error:
            if error.kind == "conflict" and self._is_up():
                raise Refused(f"project {self._project.name} is up already; `berth down` ends it, -p names another") from error
            raise
        return made

    def _is_up(self) -> bool:
        return any(item["labels"].get(PROJECT) == self._project.name for item in call("GET", "/v1/networks"))

    def _sandbox(self, service: Service, number: int) -> dict[str, Any] | Refused:
        names = {item.key: item.name for item in self._project.networks}
        links = {alias: self._container(target) for target, alias in map(_link, service.links)}
        networks: list[dict[str, Any]] = [
            {
                "network": names[item.network],
                "aliases": [service.name, *item.aliases],
                "links": links,
                "ip": item.ipv4,
                "ip6": item.ipv6,
                "link_local_ips": item.link_local,
                "mac_address": item.mac,
                "gw_priority": item.gw_priority,
                "ifname": item.ifname,
                "routes": item.routes,
                "driver_opts": item.driver_opts,
            }
            for item in service.attachments
        ]
        if service.network_mode:
            kind, _, target = service.network_mode.partition(":")
            networks = [{"network": f"container:{self._container(target)}" if kind == "service" else service.network_mode}]
        body: dict[str, Any] = {
            "name": service.container_name or f"{self._project.name}-{service.name}-{number}",
            "hostname": service.hostname,
            "domainname": service.domainname,
            "networks": networks,
            "dns": service.dns,
            "dns_search": service.dns_search,
            "dns_options": service.dns_options,
            "extra_hosts": service.extra_hosts,
            "publish": service.ports,
            "expose": service.expose,
            "forward": service.forward,
            "sysctls": service.sysctls,
            "labels": {**service.labels, PROJECT: self._project.name, SERVICE: service.name},
        }
        if not self._detach or service.command:
            body["owner_pid"] = os.getpid()
        try:
            made: dict[str, Any] = call("POST", "/v1/sandboxes", body)
        except Refused as error:
            return Refused(f"service {service.name}: {error}", error.kind)
        return made

    def _container(self, name: str) -> str:
        service = next(item for item in self._project.services if item.name == name)
        return service.container_name or f"{self._project.name}-{name}-1"

    def _start(self, service: Service, sandbox: dict[str, Any]) -> None:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        if self._detach:
            os.close(writing)
            writing = os.open(f"{sandbox['directory']}/output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

        def prepare() -> None:
            null = os.open("/dev/null", os.O_RDONLY)
            os.dup2(null, 0)
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            # The terminal's Ctrl-C is for us, who then stop the services in order.
            os.setpgid(0, 0)

        try:
            pid = enter.start(
                sandbox,
                service.command,
                environment={**os.environ, **sandbox["environment"], **self._environment(service)},
                directory=str(self._directory / service.working_dir),
                detached=self._detach,
                prepare=prepare,
            )
        except enter.EnterFailed as error:
            raise Refused(f"service {service.name}: {enter.failure(str(error))[1]}") from error
        finally:
            os.close(writing)
        if self._detach:
            os.close(reading)
            call("PATCH", f"/v1/sandboxes/{sandbox['id']}", {"owner_pid": pid})
        else:
            self._running.append(_Running(service, sandbox, pid, reading))

    def _environment(self, service: Service) -> dict[str, str]:
        result: dict[str, str] = {}
        for name, required in service.env_files:
            try:
                result.update(parse_env((self._directory / name).read_text()))
            except OSError as error:
                if required:
                    raise Refused(f"service {service.name}: env_file {name}: {error.strerror}") from error
        for key, value in service.environment.items():
            if value is not None:
                result[key] = value
            elif key in os.environ:
                result[key] = os.environ[key]
        return result

    # --- show and follow ----------------------------------------------------------------------------------------

    def _show(self) -> None:
        """Print what came up: name, network, addresses, ports."""
        rows = [("NAME", "NETWORK", "ADDRESSES", "PORTS")]
        for sandbox in self._sandboxes:
            shown = call("GET", f"/v1/sandboxes/{sandbox['id']}")
            for i, endpoint in enumerate(shown["endpoints"]):
                addresses = " ".join(address.partition("/")[0] for address in endpoint["addresses"])
                rows.append((shown["name"] if i == 0 else "", endpoint["network"], addresses, " ".join(map(port_text, endpoint["ports"]))))
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        for row in rows:
            print("  ".join([*(row[i].ljust(widths[i]) for i in range(3)), row[3]]).rstrip())
        if not self._detach:
            print("Ctrl-C ends everything.", flush=True)

    def _follow(self) -> int:
        """Print the services' output with a prefix each, until all have ended or somebody stops us."""
        width = max((len(item.sandbox["name"]) for item in self._running), default=0)
        waiting_only = any(service.has_image for service in self._project.services)
        selector = selectors.DefaultSelector()
        for item in self._running:
            selector.register(item.output, selectors.EVENT_READ, item)
        deadline = 0.0
        while selector.get_map() or (waiting_only and not self._stopping):
            for key, _ in selector.select(0.1):
                self._print(selector, key.data, width)
            self._collect(width)
            if self._stopping and not deadline:
                print("berth: stopping", flush=True)
                deadline = time.monotonic() + max((item.service.stop_grace for item in self._running), default=0.0)
                self._signal(None)
            if self._stopping > 1 or (deadline and time.monotonic() > deadline):
                self._signal(signal.SIGKILL)
        self._collect(width, wait=True)
        if self._stopping:
            return 0
        return next((item.code for item in self._running if item.code), 0) or 0

    def _print(self, selector: selectors.BaseSelector, item: _Running, width: int) -> None:
        octets = os.read(item.output, 65_536)
        *lines, item.rest = (item.rest + octets).split(b"\n")
        if not octets and item.rest:
            lines, item.rest = [item.rest], b""
        for line in lines:
            sys.stdout.write(f"{item.sandbox['name'].ljust(width)} | {line.decode(errors='replace')}\n")
        sys.stdout.flush()
        if not octets:
            selector.unregister(item.output)
            os.close(item.output)

    def _collect(self, width: int, *, wait: bool = False) -> None:
        for item in self._running:
            if item.code is None:
                pid, status = os.waitpid(item.pid, 0 if wait else os.WNOHANG)
                if pid:
                    item.code = enter.exit_code(status)
                    print(f"{item.sandbox['name'].ljust(width)} | ended with code {item.code}", flush=True)

    def _signal(self, number: signal.Signals | None) -> None:
        """Send *number*, or each service's own stop signal, to what still runs."""
        for item in self._running:
            if item.code is None:
                try:
                    os.kill(item.pid, number or _stop_signal(item.service))
                except ProcessLookupError:
                    continue

    # --- down ---------------------------------------------------------------------------------------------------

    def _take_down(self) -> None:
        self._signal(signal.SIGKILL)
        for item in self._running:
            if item.code is None:
                item.code = enter.wait(item.pid)
        with ThreadPoolExecutor(16) as workers:
            list(workers.map(remove_sandbox, self._sandboxes))
        for network in self._networks:
            _delete(f"/v1/networks/{network['id']}")


def _stop_signal(service: Service) -> signal.Signals:
    name = "SIG" + service.stop_signal.removeprefix("SIG")
    return signal.Signals[name] if name in signal.Signals.__members__ else signal.SIGTERM


def _link(text: str) -> tuple[str, str]:
    target, _, alias = text.partition(":")
    return target, alias or target


def port_text(port: dict[str, Any]) -> str:
    """Return a published port as `0.0.0.0:8080->80/tcp`."""
    if not port["host_port"]:
        return f"{port['sandbox_port']}/{port['protocol']}"
    address = f"[{port['host_address']}]" if ":" in port["host_address"] else port["host_address"]
    return f"{address}:{port['host_port']}->{port['sandbox_port']}/{port['protocol']}"
