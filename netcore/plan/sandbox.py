"""Which sandbox a request means. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence

from netcore.desired import hostsfile
from netcore.errors import InvalidRequest
from netcore.health import Health
from netcore.model import NetnsPath, Network, Sandbox, SandboxId, SandboxRequest, Stack
from netcore.parse import endpoint_options, names, ports

RandomHex = Callable[[int], str]


def check_networks(networks: Sequence[Network], *, again: bool = False) -> None:
    """Raise InvalidRequest if a new sandbox can't begin on all of *networks* (CL-7, CL-8). *again*: one that was on them before can."""
    if len({network.id for network in networks}) != len(networks):
        raise InvalidRequest("network", "each network can be given once")
    if not again and len(networks) > 1 and any(network.is_default_bridge for network in networks):
        text = "conflicting options: cannot attach both user-defined and non-user-defined network-modes; connect to the others later"
        raise InvalidRequest("network", text)


def check_link_sysctls(sandbox: Sandbox, ifnames: Collection[str], *, complete: bool) -> None:
    """Raise InvalidRequest if a sysctl of a new *sandbox* is about a link that it does not have.

    *ifnames*: its links; not *complete*: a plugin names some of them later.
    """
    for path, _ in sandbox.sysctls if complete and sandbox.stack in (Stack.OWN, Stack.NONE) else ():
        link = endpoint_options.link_of(path)
        if link is not None and link not in {"lo", *endpoint_options.EVERY_LINK, *ifnames}:
            links = ", ".join(sorted({"lo", *ifnames}))
            raise InvalidRequest("sysctl", f"{path.replace('/', '.')}: the sandbox has no link {link}; it has {links}")


def netns_path(name: str, identity: str, netns_directory: str, is_taken: Callable[[str], bool]) -> NetnsPath:
    """Return where the namespace of a sandbox is pinned. *is_taken*: whether a path is one of a namespace in use."""
    path = f"{netns_directory}/berth-{name}"
    # Up to version 0.3 a sandbox that was renamed kept its path.
    return NetnsPath(f"{path}-{identity[:12]}" if is_taken(path) else path)


def new_id(random_hex: RandomHex) -> SandboxId:
    """Return the id of a new sandbox. As with Docker's, its short form is no number: it is a name too, and programs take a number for an
    address.
    """
    while True:
        identity = SandboxId(random_hex(32))
        if not identity[:12].isdecimal():
            return identity


def plan_sandbox(
    request: SandboxRequest,
    kind: Stack,
    target: Sandbox | None,
    *,
    netns_directory: str,
    is_taken: Callable[[str], bool],
    host_name: str,
    boot_id: str,
    now: float,
    random_hex: RandomHex = secrets.token_hex,
) -> Sandbox:
    """Return the sandbox that *request* means; *target*: whose stack it shares. *is_taken*: see `netns_path`."""
    name = names.check_object_name("sandbox", request.name)
    for text in request.extra_hosts:
        hostsfile.parse_extra_host(text)
    for text in request.expose:
        ports.parse_exposed(text)
    if request.replaces_routes and request.netns is None and not request.follows:
        raise InvalidRequest("gateway", "only an adopted namespace can have a default route to replace")
    if request.domainname:
        names.check_dns_name("domainname", request.domainname)
    identity, created = request.again or (new_id(random_hex), now)
    hostname, domainname = request.hostname and names.check_hostname(request.hostname), request.domainname
    if target is not None:
        hostname, domainname = target.hostname, target.domainname
    elif kind is Stack.HOST and not hostname:
        # The host's own name, and what stands behind its first dot (HO-15).
        hostname, _, rest = host_name.partition(".")
        domainname = domainname or rest
    return Sandbox(
        id=identity,
        name=name,
        hostname=hostname or identity[:12],
        domainname=domainname,
        netns_path=netns_path(name, identity, netns_directory, is_taken),
        boot_id=boot_id,
        adopted=request.netns is not None,
        origin=request.origin,
        owner=request.owner,
        leader=request.leader,
        dns=request.dns,
        extra_hosts=request.extra_hosts,
        # Without a stack of its own it has no ports to publish; `modes.check` has warned of that.
        port_requests=tuple(ports.parse_port(text) for text in request.publish) if kind is Stack.OWN else (),
        exposed=request.expose,
        publish_all=request.publish_all and kind is Stack.OWN,
        labels=request.labels,
        created=created,
        forwards=request.forwards,
        replaces_routes=request.replaces_routes,
        egress=request.egress,
        sysctls=endpoint_options.sandbox_sysctls(request.sysctls),
        stack=kind,
        shared_with=target.id if target is not None else None,
        health_check=request.health_check,
        isolation=request.isolation,
        health=Health.STARTING if request.health_check is not None else None,
        follows=request.follows,
        persists=request.persists,
    )
