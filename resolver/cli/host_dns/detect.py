"""Which name server answers the programs of a host, by its files. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address

from resolver.cli.host_dns.setups import TITLES, Read, Unusable

_STUBS = ("127.0.0.53", "127.0.0.54")
"""Where systemd-resolved answers."""
_HOSTS = "write the names to /etc/hosts with --hosts"


def detect(read: Read, link_of: Callable[[str], str], list_directory: Callable[[str], list[str]]) -> str:
    """Return the kind of name server that the host's resolv.conf leads to; Unusable if none of them can send one domain elsewhere.

    *link_of*: target of a symbolic link, "" if a path is none. *list_directory*: paths of the files in one.
    """
    servers = _nameservers(read("/etc/resolv.conf") or b"")
    link = link_of("/etc/resolv.conf")
    if "systemd/resolve" in link or any(server in _STUBS for server in servers):
        return "resolved"
    if any(ip_address(server).is_loopback for server in servers):
        return _local(read, list_directory)
    if read("/etc/resolvconf.conf") is not None:
        return "openresolv"
    if "resolvconf" in link and list_directory("/etc/resolvconf/resolv.conf.d"):
        return "resolvconf"
    asked = f"asks {', '.join(servers)} directly" if servers else "has no name server in /etc/resolv.conf"
    raise Unusable(f"this host {asked}, and has no name server of its own that could ask berth for some names; {_HOSTS}")


def _local(read: Read, list_directory: Callable[[str], list[str]]) -> str:
    if _has_dnsmasq_plugin(read, list_directory):
        return "networkmanager"
    present = [
        kind
        for kind, paths in (("unbound", ["/etc/unbound/unbound.conf"]), ("dnsmasq", ["/etc/dnsmasq.conf", "/etc/default/dnsmasq"]))
        if any(read(path) is not None for path in paths)
    ]
    if len(present) == 1:
        return present[0]
    if present:
        names = " and ".join(TITLES[kind] for kind in present)
        raise Unusable(f"this host has {names}; say with --by which of them answers at the address in /etc/resolv.conf")
    raise Unusable(
        f"this host's name server is none that berth knows ({', '.join(TITLES.values())}); say with --by which it is, or {_HOSTS}"
    )


def _has_dnsmasq_plugin(read: Read, list_directory: Callable[[str], list[str]]) -> bool:
    """Return whether NetworkManager runs dnsmasq: the last `dns=` of its configuration counts (NetworkManager.conf(5))."""
    files = [
        *list_directory("/usr/lib/NetworkManager/conf.d"),
        *list_directory("/run/NetworkManager/conf.d"),
        "/etc/NetworkManager/NetworkManager.conf",
        *list_directory("/etc/NetworkManager/conf.d"),
    ]
    texts = ((read(path) or b"").decode(errors="replace") for path in files if path.endswith(".conf"))
    found = [value for text in texts for value in re.findall(r"^\s*dns\s*=\s*(\S+)", text, re.MULTILINE)]
    return bool(found) and found[-1] == "dnsmasq"


def _nameservers(text: bytes) -> list[str]:
    servers = []
    for line in text.decode(errors="replace").splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                servers.append(str(ip_address(words[1].partition("%")[0])))
            except ValueError:
                continue
    return servers
