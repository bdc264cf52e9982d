"""What each kind of name server needs to send the names below the suffix to the daemon. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

HEADER = "# Written by `berth host-dns enable`; `berth host-dns disable` removes it."
_KNOWN_TO_RESOLVED = ("internal", "corp", "home", "intranet", "lan", "local", "private", "test")
"""Domains that systemd-resolved does not expect to be signed (systemd.dnssec-trust-anchors.d)."""


@dataclass(frozen=True)
class Server:
    """Where the daemon answers, and for which domain."""

    address: str
    port: int
    suffix: str

    def with_port(self, separator: str) -> str:
        """Return the address, with *separator* and the port unless that is 53."""
        return self.address if self.port == 53 else f"{self.address}{separator}{self.port}"


@dataclass(frozen=True)
class OwnFile:
    """A file that is ours alone, with *text* behind the header."""

    path: str
    text: str


@dataclass(frozen=True)
class Block:
    """Lines of ours in a file of somebody else. *is_kept_current*: the daemon writes them."""

    path: str
    lines: tuple[str, ...]
    at_start: bool = False
    is_kept_current: bool = False


@dataclass(frozen=True)
class Setup:
    """What one kind of name server needs. *commands*: each has it read its configuration; not every host has all."""

    changes: tuple[OwnFile | Block, ...]
    commands: tuple[tuple[str, ...], ...] = ()


Read = Callable[[str], bytes | None]
"""Path → what the file has, None if there is none."""


class Unusable(Exception):
    """A name server can't be set up; the text says why, and what else would do."""


def _resolved(server: Server, read: Read) -> Setup:
    others = [text for text in _resolved_servers(read) if text]
    if others:
        reason = f"systemd-resolved asks {' '.join(others)} for every name, and would mix that server with berth's"
        raise Unusable(f"{reason}; set it for a link in place of DNS= in resolved.conf, or write names to /etc/hosts with --hosts")
    text = f"[Resolve]\nDNS={server.with_port(':')}\nDomains=~{server.suffix}\n"
    changes = [OwnFile("/etc/systemd/resolved.conf.d/berth.conf", text)]
    if server.suffix.rpartition(".")[2] not in _KNOWN_TO_RESOLVED:
        changes.append(OwnFile("/etc/dnssec-trust-anchors.d/berth.negative", f"{server.suffix}\n"))
    return Setup(tuple(changes), (("systemctl", "restart", "systemd-resolved"),))


def _resolved_servers(read: Read) -> list[str]:
    """Return the value of each DNS= in the main configuration."""
    text = (read("/etc/systemd/resolved.conf") or b"").decode(errors="replace")
    return [line.partition("=")[2].strip() for line in text.splitlines() if line.strip().startswith("DNS=")]


def _dnsmasq_lines(server: Server) -> tuple[str, ...]:
    return f"server=/{server.suffix}/{server.with_port('#')}", f"rebind-domain-ok=/{server.suffix}/"


def _network_manager(server: Server, _read: Read) -> Setup:
    text = "\n".join(_dnsmasq_lines(server)) + "\n"
    return Setup((OwnFile("/etc/NetworkManager/dnsmasq.d/berth.conf", text),), (("nmcli", "general", "reload", "dns-full"),))


def _dnsmasq(server: Server, read: Read) -> Setup:
    commands = (("systemctl", "restart", "dnsmasq"), ("rc-service", "dnsmasq", "restart"))
    settings = ((read(path) or b"").decode(errors="replace") for path in ("/etc/dnsmasq.conf", "/etc/default/dnsmasq"))
    if any(re.search(r"^\s*(conf-dir|CONFIG_DIR)\s*=\s*[\"']?/etc/dnsmasq\.d\b", text, re.MULTILINE) for text in settings):
        return Setup((OwnFile("/etc/dnsmasq.d/berth.conf", "\n".join(_dnsmasq_lines(server)) + "\n"),), commands)
    return Setup((Block("/etc/dnsmasq.conf", _dnsmasq_lines(server)),), commands)


def _unbound(server: Server, read: Read) -> Setup:
    lines = (
        "server:",
        "    do-not-query-localhost: no",
        f'    domain-insecure: "{server.suffix}."',
        f'    private-domain: "{server.suffix}."',
        f'    local-zone: "{server.suffix}." transparent',
        "stub-zone:",
        f'    name: "{server.suffix}."',
        f"    stub-addr: {server.with_port('@')}",
    )
    commands = (("systemctl", "restart", "unbound"), ("rc-service", "unbound", "restart"), ("unbound-control", "reload"))
    main = (read("/etc/unbound/unbound.conf") or b"").decode(errors="replace")
    included = re.findall(r"^\s*include(?:-toplevel)?:\s*\"?(/etc/unbound/[\w./-]*)/\*\.conf\"?", main, re.MULTILINE)
    if included:
        return Setup((OwnFile(f"{included[0]}/berth.conf", "\n".join(lines) + "\n"),), commands)
    return Setup((Block("/etc/unbound/unbound.conf", lines),), commands)


def _resolvconf(server: Server, _read: Read) -> Setup:
    block = Block("/etc/resolvconf/resolv.conf.d/head", (f"nameserver {_only_53(server)}",), at_start=True)
    return Setup((block,), (("resolvconf", "-u"),))


def _openresolv(server: Server, _read: Read) -> Setup:
    # Beside a name server of the loopback it would leave out all others (resolvconf.conf(5)), and berth asks nobody for the host.
    block = Block("/etc/resolvconf.conf", (f'name_servers="{_only_53(server)} $name_servers"', "resolv_conf_local_only=NO"))
    return Setup((block,), (("resolvconf", "-u"),))


def _only_53(server: Server) -> str:
    if server.port != 53:
        raise Unusable(
            f"resolv.conf can name no port, and host_listen has {server.port}; make it 53, or write names to /etc/hosts with --hosts"
        )
    return server.address


def _hosts(_server: Server, _read: Read) -> Setup:
    return Setup((Block("/etc/hosts", (), is_kept_current=True),))


SETUPS: dict[str, Callable[[Server, Read], Setup]] = {
    "resolved": _resolved,
    "networkmanager": _network_manager,
    "dnsmasq": _dnsmasq,
    "unbound": _unbound,
    "openresolv": _openresolv,
    "resolvconf": _resolvconf,
    "hosts": _hosts,
}
"""Kind of name server → what it needs."""
TITLES = {
    "resolved": "systemd-resolved", "networkmanager": "NetworkManager's dnsmasq", "dnsmasq": "dnsmasq", "unbound": "Unbound",
    "openresolv": "openresolv", "resolvconf": "resolvconf", "hosts": "/etc/hosts",
}  # fmt: skip

PLACES: dict[str, tuple[str, ...]] = {
    "resolved": ("/etc/systemd/resolved.conf.d/berth.conf", "/etc/dnssec-trust-anchors.d/berth.negative"),
    "networkmanager": ("/etc/NetworkManager/dnsmasq.d/berth.conf",),
    "dnsmasq": ("/etc/dnsmasq.d/berth.conf", "/etc/dnsmasq.conf"),
    "unbound": (
        "/etc/unbound/unbound.conf.d/berth.conf", "/etc/unbound/conf.d/berth.conf", "/etc/unbound/local.d/berth.conf",
        "/etc/unbound/unbound.conf",
    ),
    "openresolv": ("/etc/resolvconf.conf",),
    "resolvconf": ("/etc/resolvconf/resolv.conf.d/head",),
    "hosts": ("/etc/hosts",),
}  # fmt: skip
"""Kind of name server → where something of ours may be, whatever its configuration says by now."""
