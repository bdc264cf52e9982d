"""Options of one endpoint, by Docker's label or short name, and sysctls of links and sandboxes. Pure.

Rules BR-9, BR-13, BR-14 and CL-15 of docker-behaviour.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from netcore.errors import InvalidRequest
from netcore.parse.options import canonical_options

ENDPOINT = "com.docker.network.endpoint."
SHORT_NAMES: dict[str, str] = {"sysctls": ENDPOINT + "sysctls", "ifname": ENDPOINT + "ifname"}

_LINK_SYSCTL = re.compile(r"net\.(ipv4|ipv6|mpls)\.(\w+)\.(?:IFNAME|ifname)\.(\w+)\Z")
_SYSCTL = re.compile(r"net(\.[\w-]+)+\Z")
Settings = tuple[tuple[str, str], ...]
"""(path below /proc/sys with {ifname} where the link's name goes, value) of each."""


def canonical(options: Mapping[str, str], *, has_others: bool = False) -> dict[str, str]:
    """Return *options* keyed by label; InvalidRequest names an unknown or doubled one.

    *has_others*: unknown ones are a plugin's, and stay as they are.
    """
    own = {key: value for key, value in options.items() if key in SHORT_NAMES or key in SHORT_NAMES.values()}
    others = {key: value for key, value in options.items() if key not in own} if has_others else {}
    return canonical_options(own if has_others else options, SHORT_NAMES, field="driver-opt", owner="an endpoint") | others


def link_sysctls(options: Mapping[str, str]) -> Settings:
    """Return the sysctls of an endpoint's link: `net.ipv4.conf.IFNAME.KEY=VALUE`, with commas between several."""
    result: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in options.get(SHORT_NAMES["sysctls"], "").split(","))):
        key, equals, value = item.partition("=")
        match = _LINK_SYSCTL.match(key)
        if match is None or not equals or not value:
            reason = f"unrecognised network interface sysctl {item!r}; it should be net.ipv4.conf.IFNAME.KEY=VALUE"
            raise InvalidRequest("driver-opt sysctls", reason)
        result["net/{}/{}/{{ifname}}/{}".format(*match.groups())] = value
    return tuple(result.items())


def sandbox_sysctls(texts: Sequence[str]) -> Settings:
    """Return the sysctls of a whole sandbox: `net.KEY=VALUE` each; others belong to the host."""
    result: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if _SYSCTL.match(key) is None or not equals or not value:
            raise InvalidRequest("sysctl", f"{text!r}: it should be net.KEY=VALUE; what is not below net is not a sandbox's own")
        result[key.replace(".", "/")] = value
    return tuple(result.items())


def switches_ipv6_off(settings: Settings) -> bool:
    """Return whether the link of these settings has no IPv6, so that its endpoint gets no address of it (BR-14)."""
    return dict(settings).get("net/ipv6/conf/{ifname}/disable_ipv6", "0") != "0"
