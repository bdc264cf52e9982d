"""Configuration: one TOML file, a few environment variables, the command line. All errors at once, with their path.

Precedence: default < file < environment (BERTH_RUN_DIR, BERTH_STATE_DIR, BERTH_NETNS_DIR, BERTH_CONFIG) < command line.
The defaults of an ordinary user are below his own directories: `resolver.rootless.places`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from ipaddress import IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from netcore.drivers.facts import HostConstraints
from netcore.egress.settings import NO_SETTINGS, EgressSettings
from netcore.errors import InvalidRequest, NetcoreError
from netcore.model import DEFAULT_BRIDGE, IPNetwork, NetworkId
from netcore.parse import addresses
from netcore.parse.options import link_name
from netcore.plan.known_networks import KnownNetworks
from netcore.plan.network import prepare
from netcore.store import etcd_settings
from resolver import limits, resolvconf
from resolver.daemon import convert, egress_config, proxies, update_keys
from resolver.daemon.schema import NetworkBody
from resolver.daemon.update_keys import UpdateKey
from resolver.errors import ConfigError, ResolverError
from resolver.numbers import whole_number
from resolver.rootless import places
from resolver.wire import name as names

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonConfig:
    """Effective settings. Each field is a key of the file. Those of `reload.LIVE` may change while the daemon runs."""

    state_dir: str = "/var/lib/berth"
    run_dir: str = "/run/berth"
    netns_dir: str = "/run/netns"
    etc_netns_dir: str = "/etc/netns"
    resolv_conf: str = "/etc/resolv.conf"
    suffix: str = "berth.internal"
    firewall: str = "nftables"
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    default_address_pools: tuple[tuple[IPNetwork, int], ...] = ()
    uplinks: tuple[str, ...] = ()
    socket_group: str = ""
    read_group: str = ""
    api_listen: str = ""
    api_access: str = "read"
    api_certificate: str = ""
    api_key: str = ""
    api_client_ca: str = ""
    api_token_file: str = ""
    log_level: str = "info"
    gateway_resolver: bool = True
    gateway_resolver_for_host: bool = True
    host_listen: str = ""
    host_short_names: bool = False
    update_keys: tuple[UpdateKey, ...] = ()
    forward: tuple[tuple[str, tuple[str, ...]], ...] = ()
    allow_rebinding: bool = False
    nat64_prefixes: tuple[IPv6Network, ...] = ()
    tls_ca: str = ""
    cache_size: int = 16 << 20
    cache_min_ttl: int = 0
    cache_max_ttl: int = 86_400
    serve_stale: int = 86_400
    proxies: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    store: str = ""
    store_ca: str = ""
    store_certificate: str = ""
    store_key: str = ""
    store_ttl: int = 15
    store_grace: int = 600
    keep_sockets: int = 60
    spare: int = 0
    advertise: str = ""
    egress: EgressSettings = NO_SETTINGS
    default_bridge: NetworkBody = field(default_factory=lambda: NetworkBody(name=DEFAULT_BRIDGE))


_DEFAULTS = DaemonConfig()

HELP: dict[str, str] = {
    "state_dir": "where networks are stored",
    "run_dir": "sockets and files of running sandboxes",
    "netns_dir": "where namespaces are pinned",
    "etc_netns_dir": "where `ip netns exec` finds the files of sandboxes; empty for nowhere",
    "resolv_conf": "the host's resolv.conf; its changes are followed",
    "suffix": "domain under which NAME.NETWORK is answered too",
    "firewall": "`nftables`, or `none`: write no rules, and print those that are needed",
    "dns": "name servers of sandboxes without `--dns`, queried from their namespace",
    "dns_search": "search domains of sandboxes without `--dns-search`",
    "dns_options": "resolv.conf options of sandboxes without `--dns-opt`",
    "default_address_pools": 'list of `{base = "10.100.0.0/16", size = 24}` in place of Docker\'s pools',
    "uplinks": "links on which to enable forwarding, in addition to those with a default route and the one to other hosts",
    "socket_group": "group that may use the admin socket besides root, which makes its members as powerful as root",
    "read_group": "group that may use the read-only socket `berth-ro.sock` besides root",
    "api_listen": "address and port where the admin API is served over TLS too, such as `192.0.2.1:8443`",
    "api_access": "what is allowed there: `read`, or `change`, which is everything",
    "api_certificate": "certificate of that server; needed with `api_listen`",
    "api_key": "key of that certificate",
    "api_client_ca": "file of CA certificates; clients must show a certificate of one of them",
    "api_token_file": "file with a token; clients must send it as `Authorization: Bearer TOKEN`",
    "log_level": "`debug`, `info`, `warning` or `error`",
    "gateway_resolver": "answer DNS queries on each network's gateway address too",
    "gateway_resolver_for_host": "answer there also programs of this host itself, whoever runs them",
    "host_listen": "loopback address where this host is told the names of its networks, such as `127.0.0.153:53`",
    "host_short_names": "tell it NAME directly below the suffix too, from the first network that has it",
    "update_keys": 'TSIG keys for RFC 2136: `{ddns = {secret_file = "/etc/berth/ddns.key", networks = ["front"]}}`',
    "forward": 'name servers for the names below a domain, queried from the host: `{"corp.example" = ["10.0.0.53"]}`',
    "allow_rebinding": "accept answers of outside name servers that point into our own networks",
    "nat64_prefixes": 'prefixes by which the NAT64 of this site writes IPv4 addresses as IPv6 ones, such as `["2001:db8:64::/96"]`',
    "tls_ca": "file of CA certificates for `tls://` name servers, in place of the system's",
    "cache_size": "size of the cache in octets; 0 for no cache",
    "cache_min_ttl": "minimum time that an answer is cached, in seconds",
    "cache_max_ttl": "maximum time that an answer is cached, in seconds",
    "proxies": 'environment of commands, by network or `default`: `{default = {httpProxy = "http://10.0.0.1:3128"}}`',
    "default_bridge": 'the network `bridge`: `{subnets = ["10.88.0.0/16"], options = {icc = "false"}}`',
    "egress": 'egress rules: `{default = ["none"], ceiling = ["none", "*.example.org"], sets = {build = ["packages.example.org"]}}`',
    "store": "`etcd://[USER:PASSWORD@]HOST:2379[,HOST..][/PREFIX]` (`etcds://` for TLS) that hosts share for overlay networks",
    "store_ca": "file of CA certificates for etcd",
    "store_certificate": "certificate that this host shows to etcd",
    "store_key": "key of that certificate",
    "store_ttl": "seconds without contact after which a host counts as gone and its names are withdrawn",
    "store_grace": "seconds for which its addresses stay reserved after that: it may only be cut off, and still use them",
    "advertise": "address at which other hosts reach this one; by default the one that etcd is reached from",
    "keep_sockets": "seconds without a daemon for which its sockets are held, so that queries wait for the next one; 0: they are refused",
    "spare": "namespaces with a resolver that are kept ready, so that a burst of sandboxes starts sooner",
    "serve_stale": "seconds past its TTL for which a cached answer is served when all name servers fail; 0 for never",
}


def load(path: str | None, overrides: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> DaemonConfig:
    """Return the effective configuration. *path* None: the default file if it is there. Raises ConfigError."""
    uid = os.geteuid()
    own = places.places(uid, {key: value for key, value in environment.items() if key not in _DIRECTORIES.values()})
    source = path or own.config
    raw: dict[str, Any] = {}
    if path or environment.get(places.CONFIG) or Path(own.config).exists():
        raw = _read(source)
    config = parse({**_directories(own), **raw}, source)
    try:
        config = replace(config, egress=egress_config.with_files(config.egress, own.lists))
    except (ValueError, InvalidRequest) as error:
        raise ConfigError(source, (("egress", str(error)),)) from error
    from_environment = {key: environment.get(variable) for key, variable in _DIRECTORIES.items()}
    if places.user_of(uid, environment) and environment.get(places.RUN):
        # Who has another run directory has other namespaces.
        from_environment["netns_dir"] = places.places(uid, environment).netns_dir
    for given, where in ((from_environment, "the environment"), (overrides, "the command line")):
        config = replace(config, **_values({key: value for key, value in given.items() if value}, where))
    if places.is_nest(environment) and config.run_dir != places.places(uid, environment).run_dir:
        reason = "without root BERTH_RUN_DIR names it, because every command needs it before the configuration is read"
        raise ConfigError("the command line" if overrides.get("run_dir") else source, (("run_dir", reason),))
    if places.is_nest(environment) and config.host_listen:
        reason = "without root the daemon is in a network namespace of its own, where the host can't ask it; leave it out"
        raise ConfigError(source, (("host_listen", reason),))
    return config


_DIRECTORIES = {"run_dir": places.RUN, "state_dir": places.STATE, "netns_dir": places.NETNS}
"""Key → variable that goes before the file."""


def _directories(own: places.Places) -> dict[str, Any]:
    return {key: getattr(own, key) for key in _DIRECTORIES}


def _read(path: str) -> dict[str, Any]:
    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(path, (("file", error.strerror or str(error)),)) from error
    except (ValueError, RecursionError) as error:
        # No TOML, no UTF-8, an impossible date or number, or thousands of brackets.
        raise ConfigError(path, (("file", str(error)),)) from error


def parse(raw: Mapping[str, Any], source: str) -> DaemonConfig:
    """Return the configuration that *raw* means; ConfigError names every wrong key."""
    config = DaemonConfig(**_values(raw, source))
    lacks = _what_the_api_lacks(config)
    if lacks:
        raise ConfigError(source, tuple(lacks))
    return config


def _values(raw: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the settings that *raw* gives, by key; ConfigError names every wrong one."""
    problems: list[tuple[str, str]] = []
    values: dict[str, Any] = {}
    known = {key.name for key in fields(DaemonConfig)}
    for key, value in raw.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            problems.append((key, f"unknown; did you mean {near[0]}?" if near else f"unknown; known are {', '.join(sorted(known))}"))
            continue
        try:
            parse_value: Callable[[Any], Any] = _PARSERS.get(key, _text)
            values[key] = parse_value(value)
        except (ValueError, TypeError, KeyError, msgspec.ValidationError, NetcoreError, ResolverError) as error:
            problems.append((key, str(error)))
    least, most = (values.get(key, getattr(_DEFAULTS, key)) for key in ("cache_min_ttl", "cache_max_ttl"))
    if least > most:
        problems.append(("cache_min_ttl", f"{least} is more than cache_max_ttl, {most}"))
    if problems:
        raise ConfigError(source, tuple(problems))
    return values


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text!r} must be one line")
    return text


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _list(parse_text: Callable[[str], _T]) -> Callable[[Any], tuple[_T, ...]]:
    def parse_all(value: Any) -> tuple[_T, ...]:
        if not isinstance(value, list):
            raise ValueError("must be a list of strings")
        return tuple(parse_text(_text(text)) for text in value)

    return parse_all


def _one_of(*choices: str) -> Callable[[Any], str]:
    def parse_choice(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return str(value)

    return parse_choice


def _pools(value: Any) -> tuple[tuple[IPNetwork, int], ...]:
    if not isinstance(value, list):
        raise ValueError("must be a list of tables with base and size")
    pools = []
    for number, pool in enumerate(value):
        if not isinstance(pool, dict) or set(pool) != {"base", "size"}:
            raise ValueError(f"entry {number} must have base and size and nothing else")
        base, size = ip_network(pool["base"]), pool["size"]
        if addresses.is_mapped(base):
            raise ValueError(f"entry {number}: {base} holds IPv4-mapped addresses only; give the IPv4 base")
        if isinstance(size, bool) or not isinstance(size, int) or not base.prefixlen <= size <= base.max_prefixlen:
            raise ValueError(f"entry {number}: size must be {base.prefixlen} to {base.max_prefixlen}")
        pools.append((base, size))
    return tuple(pools)


def _path(value: Any) -> str:
    text = _text(value)
    if not text or "\0" in text:
        raise ValueError("must be a path")
    return text


_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\Z")
_SPECIAL = ("localhost", "invalid", "onion", "arpa")
"""Top-level domains that are answered by rules of their own (RFC 6761, RFC 7686, RFC 3172)."""


def _nat64_prefix(text: str) -> IPv6Network:
    prefix = IPv6Network(text)
    if prefix.prefixlen not in _NAT64_LENGTHS:
        raise ValueError(f"{text}: a NAT64 prefix has a length of {', '.join(map(str, _NAT64_LENGTHS))} (RFC 6052)")
    return prefix


_NAT64_LENGTHS = (32, 40, 48, 56, 64, 96)


def _suffix(value: Any) -> str:
    text = _text(value).strip(".").lower()
    if not text or not all(map(_LABEL.match, text.split("."))):
        raise ValueError(f"{text!r} is no domain name: parts of letters, digits and hyphens with dots between")
    names.from_text(text)
    last = text.rpartition(".")[2]
    if last in _SPECIAL or last.isdigit():
        raise ValueError(
            f"{text!r} can't be used: names that end in {last} have a meaning of their own; choose another, as in berth.internal"
        )
    return text


def _forward(value: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not isinstance(value, dict):
        raise ValueError("must be a table of domain = [nameserver, ...]")
    result = []
    for domain, servers in value.items():
        names.from_text(domain)
        if not servers:
            raise ValueError(f"{domain}: name at least one nameserver")
        result.append((domain, _list(resolvconf.check_server)(servers)))
    return tuple(result)


def _proxies(value: Any) -> dict[str, dict[str, str]]:
    if not isinstance(value, dict) or not all(isinstance(settings, dict) for settings in value.values()):
        raise ValueError("must be a table of network or default = {httpProxy = ..}")
    for name, settings in value.items():
        unknown = [key for key in settings if key not in proxies.VARIABLES]
        if unknown:
            raise ValueError(f"{name}: {unknown[0]} is not one of {', '.join(proxies.VARIABLES)}")
        for text in settings.values():
            _text(text)
    return value


def _number(most: int) -> Callable[[Any], int]:
    def parse_number(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise ValueError(f"must be a whole number from 0 to {most}")
        return value

    return parse_number


_ANY_HOST = HostConstraints(pools4=(), pools6=(), reserved=(), egress_mtu=1500, links={}, ipv6=True, now=0.0)
"""A host that nothing is against: what this one allows is known when the network is made."""
BRIDGE_KEYS = ("subnets", "ip_ranges", "gateways", "auxiliary", "ipv4", "ipv6", "options")


def _default_bridge(value: Any) -> NetworkBody:
    if not isinstance(value, dict) or not value.keys() <= set(BRIDGE_KEYS):
        unknown = [key for key in value if key not in BRIDGE_KEYS] if isinstance(value, dict) else []
        near = difflib.get_close_matches(unknown[0], BRIDGE_KEYS, n=1) if unknown else []
        raise ValueError(f"{unknown[0]} is unknown; did you mean {near[0]}?" if near else f"must be a table of {', '.join(BRIDGE_KEYS)}")
    body = msgspec.convert({"name": DEFAULT_BRIDGE, **value}, NetworkBody)
    prepare(convert.network_request(body, None, predefined=True), KnownNetworks(), _ANY_HOST, NetworkId(DEFAULT_BRIDGE))
    return body


def parse_listen(text: str) -> tuple[str, int]:
    """Return (address, port) of `192.0.2.1:8443` or `[2001:db8::1]:8443`; ValueError says what is wrong."""
    host, _, port = text.rpartition(":")
    number = whole_number(port, 1, 65_535)
    if number is None:
        raise ValueError(f"{text!r} is not like 192.0.2.1:8443 or [2001:db8::1]:8443")
    return str(addresses.read(host.removeprefix("[").removesuffix("]"))), number


def parse_host_listen(text: str) -> tuple[str, int]:
    """Return (address, port) of `127.0.0.153`, `127.0.0.153:5353` or `[::1]:53`; ValueError says what is wrong."""
    if text.count(":") == 1 or text.startswith("["):
        host, port = parse_listen(text)
    else:
        host, port = str(addresses.read(text)), 53
    if not ip_address(host).is_loopback:
        raise ValueError(f"{host} is no loopback address, and others than this host could ask there; 127.0.0.153:53 would do")
    return host, port


def _host_listen(value: Any) -> str:
    text = _text(value)
    if text:
        parse_host_listen(text)
    return text


def _listen(value: Any) -> str:
    text = _text(value)
    parse_listen(text)
    return text


def _what_the_api_lacks(config: DaemonConfig) -> list[tuple[str, str]]:
    """Return (key, reason) of what `api_listen` needs and does not have: nothing is served without TLS and proof."""
    if not config.api_listen:
        return []
    lacks = [(key, "is needed with api_listen") for key in ("api_certificate", "api_key") if not getattr(config, key)]
    if not (config.api_client_ca or config.api_token_file):
        lacks.append(("api_client_ca", "or api_token_file is needed with api_listen, so that not everybody may use it"))
    return lacks


def _store(value: Any) -> str:
    text = _text(value)
    etcd_settings.parse_url(text)
    return text


_PARSERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("state_dir", "run_dir", "netns_dir", "resolv_conf"), _path),
    "etc_netns_dir": lambda value: value if value == "" else _path(value),
    "suffix": _suffix,
    "firewall": _one_of("nftables", "none"),
    "dns": _list(resolvconf.check_server),
    "dns_search": _list(resolvconf.check_search),
    "dns_options": _list(_one_line),
    "default_address_pools": _pools,
    "uplinks": _list(link_name),
    "api_access": _one_of("read", "change"),
    "api_listen": _listen,
    "host_listen": _host_listen,
    "host_short_names": _boolean,
    "update_keys": update_keys.parse,
    "log_level": _one_of("debug", "info", "warning", "error"),
    "gateway_resolver": _boolean,
    "gateway_resolver_for_host": _boolean,
    "forward": _forward,
    "allow_rebinding": _boolean,
    "nat64_prefixes": _list(_nat64_prefix),
    "cache_size": _number(1 << 34),
    "cache_min_ttl": _number(86_400),
    "cache_max_ttl": _number(limits.LONGEST_TTL),
    "serve_stale": _number(limits.LONGEST_TTL),
    "store": _store,
    "store_ttl": _number(86_400),
    "keep_sockets": _number(86_400),
    "spare": _number(limits.MOST_SPARES),
    "store_grace": _number(30 * 86_400),
    "advertise": lambda value: str(addresses.read(_text(value))),
    "proxies": _proxies,
    "default_bridge": _default_bridge,
    "egress": egress_config.parse,
}
