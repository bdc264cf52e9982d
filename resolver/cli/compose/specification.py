"""The keys of the Compose Specification and the shape of their values, in the order in which Compose prints them. Pure."""

from __future__ import annotations

from typing import Any

from resolver.cli.compose.shapes import (
    Keep,
    Key,
    Shape,
    boolean,
    command,
    count,
    duration,
    filled_duration,
    hosts,
    list_of,
    mapping_of,
    mode,
    numbers_or_texts,
    octets,
    pairs,
    record,
    repeated_pairs,
    single,
    test,
    text,
    texts,
    unsigned,
    variables,
    whole,
)


def _given(shape: Shape) -> Key:
    return Key(shape, Keep.GIVEN)


_soft_and_hard = record({"soft": Key(whole, Keep.FILLED_IN_JSON), "hard": Key(whole, Keep.FILLED_IN_JSON)})


def _ulimit(value: Any) -> Any:
    # One number stands for both limits, and Compose takes zero for no number at all.
    single = None if isinstance(value, dict) else whole(value)
    return single or _soft_and_hard({"soft": 0, "hard": 0, **(value if single is None else {})})


def _ssh(value: Any) -> list[str]:
    return [key if path is None else f"{key}={path}" for key, path in value.items()]


_hook = record({"command": Key(command, Keep.JSON), "user": text, "privileged": boolean, "working_dir": text, "environment": variables})
_mount = record({"source": text, "target": text, "uid": text, "gid": text, "mode": _given(mode)})
_ulimits = mapping_of(_ulimit)
_device_request = record({"capabilities": texts, "driver": text, "count": count, "device_ids": texts, "options": pairs})
_throttle = list_of(record({"path": Key(text, Keep.ALWAYS, json="Path"), "rate": Key(octets, Keep.ALWAYS, json="Rate")}))
_weights = list_of(record({"path": Key(text, Keep.ALWAYS, json="Path"), "weight": Key(whole, Keep.ALWAYS, json="Weight")}))
_build = record(
    {
        "context": text,
        "dockerfile": text,
        "dockerfile_inline": text,
        "entitlements": texts,
        "args": variables,
        "provenance": text,
        "sbom": text,
        "ssh": _ssh,
        "labels": pairs,
        "cache_from": texts,
        "cache_to": texts,
        "no_cache": boolean,
        "additional_contexts": pairs,
        "pull": boolean,
        "extra_hosts": hosts,
        "isolation": text,
        "network": text,
        "target": text,
        "secrets": list_of(_mount),
        "shm_size": octets,
        "tags": texts,
        "ulimits": _ulimits,
        "platforms": texts,
        "privileged": boolean,
    }
)
_watch = record(
    {
        "path": text,
        "action": text,
        "target": text,
        "exec": Key(_hook, Keep.STRUCTURE),
        "include": texts,
        "ignore": texts,
        "initial_sync": boolean,
    }
)
_blkio = record(
    {
        "weight": whole,
        "weight_device": _weights,
        "device_read_bps": _throttle,
        "device_read_iops": _throttle,
        "device_write_bps": _throttle,
        "device_write_iops": _throttle,
    }
)
_update = record(
    {
        "parallelism": _given(whole),
        "delay": filled_duration,
        "failure_action": text,
        "monitor": filled_duration,
        "max_failure_ratio": single,
        "order": text,
    }
)
_resource = record(
    {
        "cpus": single,
        "memory": octets,
        "pids": whole,
        "devices": list_of(_device_request),
        "generic_resources": list_of(
            record({"discrete_resource_spec": _given(record({"kind": Key(text, Keep.ALWAYS), "value": Key(whole, Keep.ALWAYS)}))})
        ),
    }
)
_deploy = record(
    {
        "mode": text,
        "replicas": _given(whole),
        "labels": pairs,
        "update_config": _given(_update),
        "rollback_config": _given(_update),
        "resources": Key(record({"limits": _given(_resource), "reservations": _given(_resource)}), Keep.STRUCTURE),
        "restart_policy": _given(
            record({"condition": text, "delay": _given(duration), "max_attempts": _given(whole), "window": _given(duration)})
        ),
        "placement": Key(
            record({"constraints": texts, "preferences": list_of(record({"spread": text})), "max_replicas_per_node": whole}),
            Keep.STRUCTURE,
        ),
        "endpoint_mode": text,
    }
)
_health = record(
    {
        "test": test,
        "timeout": _given(duration),
        "interval": _given(duration),
        "retries": _given(unsigned),
        "start_period": _given(duration),
        "start_interval": _given(duration),
        "disable": boolean,
    }
)
_dependency = record({"condition": text, "restart": boolean, "required": Key(boolean, Keep.ALWAYS)})
_port = record({"name": text, "mode": text, "host_ip": text, "target": whole, "published": text, "protocol": text, "app_protocol": text})
_endpoint = record(
    {
        "aliases": texts,
        "driver_opts": pairs,
        "gw_priority": whole,
        "interface_name": text,
        "ipv4_address": text,
        "ipv6_address": text,
        "link_local_ips": texts,
        "mac_address": text,
        "priority": whole,
    }
)
_volume = record(
    {
        "type": text,
        "source": text,
        "target": text,
        "read_only": boolean,
        "consistency": text,
        "bind": _given(record({"selinux": text, "propagation": text, "create_host_path": boolean, "recursive": text})),
        "volume": _given(record({"labels": pairs, "nocopy": boolean, "subpath": text})),
        "tmpfs": _given(record({"size": octets, "mode": whole})),
        "image": _given(record({"subpath": text})),
    }
)

SERVICE: dict[str, Key | Shape] = {
    "profiles": texts,
    "annotations": pairs,
    "attach": _given(boolean),
    "build": _given(_build),
    "develop": _given(record({"watch": list_of(_watch)})),
    "blkio_config": _given(_blkio),
    "cap_add": texts,
    "cap_drop": texts,
    "cgroup_parent": text,
    "cgroup": text,
    "cpu_count": whole,
    "cpu_percent": single,
    "cpu_period": whole,
    "cpu_quota": whole,
    "cpu_rt_period": whole,
    "cpu_rt_runtime": whole,
    "cpus": single,
    "cpuset": text,
    "cpu_shares": whole,
    "command": Key(command, Keep.JSON),
    "configs": list_of(_mount),
    "container_name": text,
    "credential_spec": _given(record({"config": text, "file": text, "registry": text})),
    "depends_on": mapping_of(_dependency),
    "deploy": _given(_deploy),
    "device_cgroup_rules": texts,
    "devices": list_of(record({"source": text, "target": text, "permissions": text})),
    "dns": texts,
    "dns_opt": texts,
    "dns_search": texts,
    "domainname": text,
    "entrypoint": Key(command, Keep.JSON),
    "provider": _given(record({"type": text, "options": repeated_pairs})),
    "environment": variables,
    "env_file": list_of(record({"path": text, "required": Key(boolean, Keep.ALWAYS), "format": text})),
    "expose": numbers_or_texts,
    "external_links": texts,
    "extra_hosts": hosts,
    "group_add": texts,
    "gpus": list_of(_device_request),
    "hostname": text,
    "healthcheck": _given(_health),
    "image": text,
    "init": _given(boolean),
    "ipc": text,
    "isolation": text,
    "labels": pairs,
    "label_file": texts,
    "links": texts,
    "logging": _given(record({"driver": text, "options": pairs})),
    "mem_limit": octets,
    "mem_reservation": octets,
    "memswap_limit": octets,
    "mem_swappiness": octets,
    "mac_address": text,
    "models": mapping_of(record({"endpoint_var": text, "model_var": text})),
    "network_mode": text,
    "networks": mapping_of(_endpoint),
    "oom_kill_disable": boolean,
    "oom_score_adj": whole,
    "pid": text,
    "pids_limit": whole,
    "platform": text,
    "ports": list_of(_port),
    "privileged": boolean,
    "pull_policy": text,
    "read_only": boolean,
    "restart": text,
    "runtime": text,
    "scale": _given(whole),
    "secrets": list_of(_mount),
    "security_opt": texts,
    "shm_size": octets,
    "stdin_open": boolean,
    "stop_grace_period": _given(duration),
    "stop_signal": text,
    "storage_opt": pairs,
    "sysctls": pairs,
    "tmpfs": texts,
    "tty": boolean,
    "ulimits": _ulimits,
    "use_api_socket": boolean,
    "user": text,
    "userns_mode": text,
    "uts": text,
    "volumes": list_of(_volume),
    "volumes_from": texts,
    "working_dir": text,
    "post_start": list_of(_hook),
    "pre_stop": list_of(_hook),
}

NETWORK: dict[str, Key | Shape] = {
    "name": text,
    "driver": text,
    "driver_opts": pairs,
    "ipam": Key(
        record(
            {
                "driver": text,
                "config": list_of(record({"subnet": text, "gateway": text, "ip_range": text, "aux_addresses": pairs})),
                # Compose reads these and drops them; here they are those of an IPAM plugin.
                "options": Key(pairs, Keep.NEVER),
            }
        ),
        Keep.STRUCTURE,
    ),
    "external": boolean,
    "internal": boolean,
    "attachable": boolean,
    "labels": pairs,
    "enable_ipv4": _given(boolean),
    "enable_ipv6": _given(boolean),
}

_CONTENT: dict[str, Key | Shape] = {
    "name": text,
    "file": text,
    "environment": text,
    "content": text,
    "external": boolean,
    "labels": pairs,
    "driver": text,
    "driver_opts": pairs,
    "template_driver": text,
}

project = record(
    {
        "name": text,
        "services": Key(mapping_of(record(SERVICE)), Keep.ALWAYS),
        "networks": mapping_of(record(NETWORK)),
        "volumes": mapping_of(record({"name": text, "driver": text, "driver_opts": pairs, "external": boolean, "labels": pairs})),
        "secrets": mapping_of(record(_CONTENT)),
        "configs": mapping_of(record(_CONTENT)),
        "models": Key(
            mapping_of(record({"name": text, "model": text, "context_size": whole, "runtime_flags": texts})),
            Keep.YAML,
        ),
    }
)
"""The shape of a whole project."""
