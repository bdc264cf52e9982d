"""resolv.conf: parse the host's, transform it for a sandbox, render it. Pure.

Rules RC-1..RC-20 of docs/rules.md, with W-22 and W-23 mended: a file that the user edited is recognised because it differs
from the text we last wrote, and the upstreams are used whether or not it was edited. Public servers are never added.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from resolver import limits
from resolver.engine import upstream
from resolver.engine.upstream import is_address

EMBEDDED = "127.0.0.11"
HEADER = "# Made by berth. You may edit this file: berth will not touch it again\n# once it differs from what berth wrote.\n"

_KEPT = ("sortlist", "lookup", "family")
"""Keywords of C libraries that mean nothing to us."""
_SHOWN = 40
"""Characters of a wrong word that are repeated."""

_WORD = re.compile(r"[^ \t]+")
_LABEL = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_-]*[a-zA-Z0-9_])?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvConf:
    """The content of a resolv.conf. *invalid*: nameservers that are not addresses; *other*: lines that we don't know.

    *problems*: what was not understood, a line each.
    """

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def option(self, name: str) -> str | None:
        """Return the value of the last option *name* ("" for one without a value), None if there is none (RC-8)."""
        value = None
        for option in self.options:
            key, _, text = option.partition(":")
            if key == name:
                value = text
        return value


def parse(text: str) -> ResolvConf:
    """Return the content of *text* (RC-6, RC-7). Only LF ends a line, only space and tab end a word, as in C libraries.

    A CR before the LF is dropped, for files from other systems.
    """
    nameservers: list[str] = []
    invalid: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    other: list[str] = []
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > limits.RESOLV_CONF_LINE or len(line.encode()) > limits.RESOLV_CONF_LINE:
            problems.append(f"line {number} is longer than {limits.RESOLV_CONF_LINE} octets and is skipped")
            continue
        fields = _WORD.findall(line.removesuffix("\r"))
        if not fields or fields[0][0] in "#;":
            continue
        match fields[0], fields[1:]:
            case "nameserver", [server, *_]:
                if is_address(server):
                    nameservers.append(server)
                else:
                    invalid.append(server)
                    problems.append(f"line {number}: {server[:_SHOWN]!r} is not an IP address")
            case (("search" | "domain"), [*domains]) if domains:
                search = tuple(domains)
            case "options", [*more]:
                options += more
            case (("nameserver" | "search" | "domain"), _):
                problems.append(f"line {number}: nothing follows {fields[0]!r}")
            case keyword, _:
                other.append(line.rstrip("\r"))
                if keyword not in _KEPT:
                    problems.append(f"line {number}: {keyword[:_SHOWN]!r} is unknown; sandboxes get the line as it is")
    return ResolvConf(
        nameservers=tuple(nameservers),
        search=search,
        options=tuple(options),
        other=tuple(other),
        invalid=tuple(invalid),
        problems=tuple(problems[: limits.RESOLV_CONF_PROBLEMS]),
    )


def check_server(text: str) -> str:
    """Return *text* if it can be a `--dns` server; ValueError says why not (RC-13, and `engine/upstream.py` for the forms)."""
    upstream.parse(text)
    return text


def check_search(text: str) -> str:
    """Return *text* as a search domain; ValueError says why not (RC-12)."""
    domain = text.strip()
    if domain == ".":
        return domain
    labels = domain.removesuffix(".").split(".")
    if len(domain) > 254 or not all(_LABEL.match(label) and len(label) <= 63 for label in labels):
        raise ValueError(f"{text!r} is not a domain name")
    if not any(char.isalpha() for char in domain):
        raise ValueError(f"{text!r} has no letter; a search domain is a name, not an address")
    return domain


def override(host: ResolvConf, servers: Sequence[str], search: Sequence[str], options: Sequence[str]) -> ResolvConf:
    """Return *host* with whole lists replaced by what was given (RC-9..RC-11)."""
    chosen = tuple(domain for domain in search if domain != ".") if search else host.search
    return ResolvConf(
        nameservers=tuple(servers) or host.nameservers,
        search=chosen,
        options=tuple(options) or host.options,
        other=host.other,
        invalid=host.invalid if not servers else (),
    )


def for_sandbox(content: ResolvConf) -> ResolvConf:
    """Return what a sandbox with the embedded resolver reads: one nameserver, `ndots:0` unless a valid one is there."""
    options = tuple(option for option in content.options if not _is_invalid_ndots(option))
    if not any(option.startswith("ndots:") for option in options):
        options = (*options, "ndots:0")
    return ResolvConf(nameservers=(EMBEDDED,), search=content.search, options=options, other=content.other)


def _is_invalid_ndots(option: str) -> bool:
    key, _, value = option.partition(":")
    return key == "ndots" and not value.isdigit()


def reachable(content: ResolvConf, *, ipv6: bool) -> ResolvConf:
    """Return what a sandbox without our resolver reads: no server on the host's loopback, none over IPv6 without *ipv6* (RC-15).

    If no server is left, none is added.
    """

    def may(server: str) -> bool:
        address = ip_address(server.partition("%")[0])
        return not address.is_loopback and (ipv6 or address.version == 4)

    return replace(content, nameservers=tuple(server for server in content.nameservers if may(server)))


def render(
    content: ResolvConf, *, source: str, upstreams: Sequence[tuple[str, bool]] | None, overrides: Sequence[str], invalid: Sequence[str]
) -> str:
    """Return the file. *upstreams*: (address, whether the host asks it), written as comments with the rest (RC-19).

    None: the file is a copy of the host's with overrides.
    """
    lines = [f"nameserver {server}" for server in content.nameservers]
    if content.search:
        lines.append(f"search {' '.join(content.search)}")
    if content.options:
        lines.append(f"options {' '.join(content.options)}")
    lines += content.other
    trailer = [f"# Based on host file: '{source}'{'' if upstreams is None else ' (internal resolver)'}"]
    if upstreams is not None:
        told = " ".join(f"host({address})" if by_host else address for address, by_host in upstreams)
        trailer.append(f"# ExtServers: [{told}]" if upstreams else "# NO EXTERNAL NAMESERVERS DEFINED")
    if invalid:
        trailer.append(f"# Invalid nameservers: [{' '.join(invalid)}]")
    trailer.append(f"# Overrides: [{' '.join(overrides)}]")
    return HEADER + "\n" + "\n".join([*lines, "", *trailer]) + "\n"
