"""What `docker inspect` says of a container and of a network, for templates: the fields that have a meaning here. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resolver.cli.go_maps import Lists, Texts
from resolver.cli.output import host_address
from resolver.cli.sandbox_fields import network_mode, ports_of, state
from resolver.isolation.told import isolation_of


def sandbox(shown: Mapping[str, Any], command: str) -> dict[str, Any]:
    """Return Docker's fields of a sandbox, and those of the admin API by their own names. *command*: that runs in it."""
    networks = {endpoint["network"]: _endpoint(endpoint) for endpoint in shown["endpoints"]}
    if not networks:
        # Of one that is stopped, those that it will be on: as with Docker without addresses.
        networks = {name: _endpoint({**_NO_ENDPOINT}) for name in shown["networks"]}
    first = next(iter(networks.values()), None)
    running = state(shown) in ("running", "adopted")
    isolation = isolation_of(shown)
    return {
        **shown,
        "Id": shown["id"],
        "Name": f"/{shown['name']}",
        "Created": _iso(shown["created"]),
        "Path": command.partition(" ")[0],
        "Args": command.split(" ")[1:],
        "State": _state(shown, running=running),
        **_run(shown),
        "HostnamePath": f"{shown['files']}/hostname",
        "HostsPath": f"{shown['files']}/hosts",
        "ResolvConfPath": f"{shown['files']}/resolv.conf",
        "Config": {
            "Hostname": shown["hostname"],
            "Domainname": shown["domainname"],
            "Cmd": command.split(" ") if command else [],
            "Env": [f"{name}={value}" for name, value in shown["environment"].items()],
            "WorkingDir": shown.get("working_directory", ""),
            "User": isolation["user"],
            "StopSignal": _stop_signal(shown),
            "ExposedPorts": {key: {} for key in sorted(_bindings(shown))},
            "Labels": Texts(shown["labels"]),
            **_health_check(shown),
        },
        "HostConfig": {
            "NetworkMode": network_mode(shown) or next(iter(networks), "none"),
            "PortBindings": _bindings(shown),
            "RestartPolicy": _restart_policy(shown),
            "AutoRemove": _goes_with_its_command(shown),
            **_host_config(isolation),
        },
        "NetworkSettings": {
            "SandboxID": shown["id"],
            "SandboxKey": shown["netns"],
            "Ports": _bindings(shown),
            "Gateway": first["Gateway"] if first else "",
            "IPAddress": first["IPAddress"] if first else "",
            "IPPrefixLen": first["IPPrefixLen"] if first else 0,
            "IPv6Gateway": first["IPv6Gateway"] if first else "",
            "GlobalIPv6Address": first["GlobalIPv6Address"] if first else "",
            "GlobalIPv6PrefixLen": first["GlobalIPv6PrefixLen"] if first else 0,
            "EndpointID": first["EndpointID"] if first else "",
            "MacAddress": first["MacAddress"] if first else "",
            "Networks": networks,
        },
    }


def _host_config(isolation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Docker has in HostConfig of what a command gets."""
    limits = (text.partition("=") for text in isolation["ulimits"])
    return {
        "CapAdd": list(isolation["cap_add"]),
        "CapDrop": list(isolation["cap_drop"]),
        "Privileged": isolation["privileged"],
        "SecurityOpt": list(isolation["security_options"]),
        "GroupAdd": list(isolation["groups"]),
        "ReadonlyRootfs": isolation["read_only"],
        "Tmpfs": Texts({path: options for path, _, options in (text.partition(":") for text in isolation["tmpfs"])}),
        "Binds": list(isolation["volumes"]),
        "ShmSize": isolation["shm_size"],
        "Memory": isolation["memory"],
        "NanoCpus": round(isolation["cpus"] * 1e9),
        "PidsLimit": isolation["pids"],
        "Ulimits": [{"Name": name, "Soft": int(soft.partition(":")[0]), "Hard": int(soft.rpartition(":")[2])} for name, _, soft in limits],
    }


_NEVER = "0001-01-01T00:00:00Z"
_NEVER_SO = {"Paused": False, "OOMKilled": False, "Dead": False, "Error": ""}
"""What a sandbox never is: it can't be paused, a bound of memory is not told apart, and one that can't be started is not there."""


def _state(shown: Mapping[str, Any], *, running: bool) -> dict[str, Any]:
    found = state(shown)
    run = shown.get("run")
    told = {"Status": "running" if running else found, "Running": running, "Restarting": found == "restarting", "Pid": shown["pid"]}
    told |= {**_NEVER_SO, "Health": None}
    if shown.get("health") is not None:
        log = [_logged(entry) for entry in shown.get("health_log", {}).get("log", ())]
        told["Health"] = {"Status": shown["health"], "FailingStreak": shown.get("health_log", {}).get("failing_streak", 0), "Log": log}
    if run is None:
        return {**told, "ExitCode": 0, "StartedAt": _iso(shown["created"]) if running else _NEVER, "FinishedAt": _NEVER}
    times = {"StartedAt": _iso(run["started"]), "FinishedAt": _iso(run["ended"] or 0.0)}
    return {**told, "ExitCode": run["exit_code"] or 0, **times}


def _logged(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"Start": _iso(entry["start"]), "End": _iso(entry["end"]), "ExitCode": entry["exit_code"], "Output": entry["output"]}


def _health_check(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return Config.Healthcheck, null if there is none: times in nanoseconds."""
    check = shown.get("health_check")
    if check is None:
        return {"Healthcheck": None}
    times = {"Interval": "interval", "Timeout": "timeout", "StartPeriod": "start_period", "StartInterval": "start_interval"}
    nanoseconds = {name: int(check[field] * 1e9) for name, field in times.items()}
    return {"Healthcheck": {"Test": list(check["test"]), **nanoseconds, "Retries": check["retries"]}}


def _run(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Docker says at the top of a container of its restarts and its output, which is kept if its command was to stay."""
    run = shown.get("run")
    return {"RestartCount": 0, "LogPath": ""} if run is None else {"RestartCount": run["restarts"], "LogPath": run["output"]}


def _stop_signal(shown: Mapping[str, Any]) -> str:
    """Return the signal that asks the command to end, as Docker writes it: SIGTERM, or a number."""
    run = shown.get("run")
    text = "TERM" if run is None else str(run["stop_signal"]).upper()
    return text if text.isdigit() or text.startswith("SIG") else f"SIG{text}"


def _goes_with_its_command(shown: Mapping[str, Any]) -> bool:
    """Return whether nothing is kept when the command has ended, as with `run --rm`, and in the foreground."""
    run = shown.get("run")
    return bool(run["remove"]) if run is not None else shown["leader"] is not None and not shown["adopted"]


def _restart_policy(shown: Mapping[str, Any]) -> dict[str, Any]:
    run = shown.get("run")
    kind, _, most = ("no" if run is None else run["restart"]).partition(":")
    return {"Name": kind, "MaximumRetryCount": int(most or 0)}


_NO_ENDPOINT: Mapping[str, Any] = {
    "network_id": "", "id": "", "mac": "", "addresses": (), "gateway_addresses": (), "names": (), "gateway_priority": 0,
}  # fmt: skip


def _endpoint(endpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of NetworkSettings.Networks."""
    ipv4, ipv6 = _by_family(endpoint["addresses"])
    gateway4, gateway6 = _by_family(endpoint["gateway_addresses"])
    return {
        "NetworkID": endpoint["network_id"],
        "EndpointID": endpoint["id"],
        "Gateway": gateway4,
        "IPv6Gateway": gateway6,
        "IPAddress": ipv4.partition("/")[0],
        "IPPrefixLen": int(ipv4.partition("/")[2] or 0),
        "GlobalIPv6Address": ipv6.partition("/")[0],
        "GlobalIPv6PrefixLen": int(ipv6.partition("/")[2] or 0),
        "MacAddress": endpoint["mac"],
        "DNSNames": list(endpoint["names"]),
        "Aliases": list(endpoint["names"]),
        "GwPriority": endpoint["gateway_priority"],
    }


def _bindings(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return `80/tcp` → where it is published on the host; null if it is only exposed."""
    found = Lists()
    for port in ports_of(shown):
        key = f"{port['sandbox_port']}/{port['protocol']}"
        if port["host_port"]:
            bindings = found.get(key) or []
            found[key] = [*bindings, {"HostIp": port["host_address"], "HostPort": str(port["host_port"])}]
        else:
            found.setdefault(key, None)
    return found


_OF_SWARM: Mapping[str, Any] = {"Attachable": False, "Ingress": False, "ConfigFrom": {"Network": ""}, "ConfigOnly": False}
"""What Docker says of each network that is none of Swarm's."""


def network(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return Docker's fields of a network, and those of the admin API by their own names."""
    return {
        **shown,
        "Id": shown["id"],
        "Name": shown["name"],
        "Created": _iso(shown["created"]),
        "Driver": shown["driver"],
        "Scope": shown["scope"],
        "EnableIPv4": shown["ipv4"],
        "EnableIPv6": shown["ipv6"],
        "Internal": shown["internal"],
        **_OF_SWARM,
        "IPAM": {
            "Driver": shown["ipam_driver"],
            "Config": [
                {
                    "Subnet": pool["subnet"],
                    "IPRange": pool["ip_range"] or "",
                    "Gateway": pool["gateway"] or "",
                    "AuxiliaryAddresses": Texts(pool["auxiliary"]),
                }
                for pool in shown["pools"]
            ],
        },
        "Containers": {member["sandbox_id"] or member["sandbox"]: _member(member, shown["pools"]) for member in shown["members"]},
        "Options": Texts(shown["options"]),
        "Labels": Texts(shown["labels"]),
    }


def _member(member: Mapping[str, Any], pools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    ipv4, ipv6 = (_with_length(address, pools) for address in _by_family(member["addresses"]))
    return {"Name": member["sandbox"], "MacAddress": member["mac"], "IPv4Address": ipv4, "IPv6Address": ipv6}


def _with_length(address: str, pools: Sequence[Mapping[str, Any]]) -> str:
    """Return *address* with the length of the prefix of its subnet behind it, as Docker has it."""
    if not address or "/" in address:
        return address
    from ipaddress import ip_address, ip_network

    subnets = [ip_network(pool["subnet"], strict=False) for pool in pools]
    length = next((subnet.prefixlen for subnet in subnets if ip_address(address) in subnet), None)
    return address if length is None else f"{address}/{length}"


def _by_family(addresses: Sequence[str]) -> tuple[str, str]:
    """Return the first IPv4 and the first IPv6 address, "" where there is none."""
    ipv4 = next((address for address in addresses if ":" not in address), "")
    return ipv4, next((address for address in addresses if ":" in address), "")


def _iso(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def published_ports(shown: Mapping[str, Any], port: str | None) -> list[dict[str, Any]]:
    """Return the ports of *shown* that are published on the host; only those of *port*, `80` or `80/udp`, if it is given."""
    published = [entry for entry in ports_of(shown) if entry["host_port"]]
    if port is None:
        return published
    number, _, protocol = port.partition("/")
    wanted = (number, protocol or "tcp")
    return [entry for entry in published if (str(entry["sandbox_port"]), entry["protocol"]) == wanted]


def port_lines(shown: Mapping[str, Any], port: str | None) -> list[str]:
    """Return what `docker port` prints: `80/tcp -> 0.0.0.0:8080`, or the addresses only of *port*, `80` or `80/udp`."""
    published = published_ports(shown, port)
    if port is None:
        return [f"{entry['sandbox_port']}/{entry['protocol']} -> {host_address(entry)}" for entry in published]
    return [host_address(entry) for entry in published]
