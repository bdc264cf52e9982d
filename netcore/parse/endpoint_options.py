"""Options of one endpoint, by Docker's label or short name, and sysctls of links and sandboxes. Pure.

Rules BR-9, BR-13, BR-14 and CL-15 of docs/rules.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from netcore.errors import InvalidRequest
from netcore.parse.options import Option, canonical_options, link_name

LABEL_PREFIX = "com.docker.network.endpoint."

LinkSysctls = tuple[tuple[str, str], ...]
"""(path below /proc/sys, with {ifname} in place of the link's name, value) of each."""

_LINK_SYSCTL = re.compile(r"net\.(ipv4|ipv6|mpls)\.(\w+)\.(?:IFNAME|ifname)\.(\w+)\Z")
_SYSCTL = re.compile(r"net(\.[\w-]+)+\Z")
_DISABLE_IPV6 = "net/ipv6/conf/{ifname}/disable_ipv6"
_PARTS_OF_LINK_SYSCTL = 5

EVERY_LINK = ("all", "default")
"""In place of a link in a sysctl: all links there are, and those to come."""


def _link_sysctls(text: str) -> LinkSysctls:
    result: dict[str, str] = {}
    for setting in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = setting.partition("=")
        match = _LINK_SYSCTL.match(key)
        if match is None or not equals or not value:
            raise ValueError(f"unrecognised network interface sysctl {setting!r}; it should be net.ipv4.conf.IFNAME.KEY=VALUE")
        result["net/{}/{}/{{ifname}}/{}".format(*match.groups())] = value
    return tuple(result.items())


OPTIONS: tuple[Option[Any], ...] = (
    SYSCTLS := Option[LinkSysctls](
        name="sysctls",
        label=LABEL_PREFIX + "sysctls",
        meaning="sysctls of the endpoint's link, as in net.ipv4.conf.IFNAME.log_martians=1, separated by commas",
        parse=_link_sysctls,
        default=(),
    ),
    IFNAME := Option[str | None](
        name="ifname", label=LABEL_PREFIX + "ifname", meaning="name of the link in the sandbox", parse=link_name, default=None
    ),
)
"""The options of every endpoint."""

_OWN = {spelling for option in OPTIONS for spelling in (option.name, option.label)}


def canonical(given: Mapping[str, str], *, for_plugin: bool = False) -> dict[str, str]:
    """Return *given* keyed by label; InvalidRequest names an option that is unknown, or given twice.

    *for_plugin*: the endpoint is a plugin's, which gets the options that are not ours as they are.
    """
    plugins = {key: value for key, value in given.items() if key not in _OWN} if for_plugin else {}
    own = {key: value for key, value in given.items() if key not in plugins}
    return canonical_options(own, OPTIONS, field="driver-opt", owner="an endpoint") | plugins


def plugin_options(given: Mapping[str, str]) -> dict[str, str]:
    """Return those of *given* that are not ours, but a plugin's."""
    return {key: value for key, value in given.items() if key not in _OWN}


def link_sysctls(labels: Mapping[str, str]) -> LinkSysctls:
    """Return the sysctls of an endpoint's link: `net.ipv4.conf.IFNAME.KEY=VALUE`, separated by commas."""
    text = labels.get(SYSCTLS.label, "")
    try:
        return _link_sysctls(text)
    except ValueError as error:
        raise InvalidRequest("driver-opt sysctls", str(error)) from error


def sandbox_sysctls(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the (path below /proc/sys, value) of each `net.KEY=VALUE` for a whole sandbox; other sysctls are the host's."""
    result: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if _SYSCTL.match(key) is None or not equals or not value:
            raise InvalidRequest("sysctl", f"{text!r}: it should be net.KEY=VALUE; only sysctls below net belong to a sandbox")
        result[key.replace(".", "/")] = value
    return tuple(result.items())


def link_of(path: str) -> str | None:
    """Return the link that the sysctl *path* of a sandbox is about, `all` and `default` among them; None if it is about none."""
    parts = path.split("/")
    return parts[3] if len(parts) == _PARTS_OF_LINK_SYSCTL and parts[2] in ("conf", "neigh") else None


def turns_ipv6_off(ifname: str, link: LinkSysctls = (), sandbox: Iterable[tuple[str, str]] = ()) -> bool:
    """Return whether the link *ifname* has no IPv6, so that its endpoint gets no IPv6 address (BR-14).

    *link*: the sysctls of its endpoint; *sandbox*: those of the whole sandbox, which may name the link, or be for all links
    or for new ones. What names the link counts first.
    """
    of_link, of_sandbox = dict(link), dict(sandbox)
    named = (of_sandbox.get(_DISABLE_IPV6.format(ifname=ifname)), of_link.get(_DISABLE_IPV6))
    for value in named:
        if value is not None:
            return value.strip() != "0"
    # The loopback is there before, so that what is for new links does not concern it.
    every = [name for name in EVERY_LINK if ifname != "lo" or name != "default"]
    return any(of_sandbox.get(_DISABLE_IPV6.format(ifname=name), "0").strip() != "0" for name in every)
