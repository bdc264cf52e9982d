"""Sandboxes without networks of ours: the host's stack, none at all, or that of another sandbox. Pure.

Rules HN-1, HO-9, HO-10, CL-3, CL-4, CL-9..CL-13, RC-23 of docs/rules.md; `--dns-search`, `--dns-opt` and `--mac-address`
are refused beside `container:` too, as Docker's manual says and its daemon does not (CL-11).
"""

from __future__ import annotations

from netcore.errors import Conflict, InvalidRequest
from netcore.model import EndpointRequest, Sandbox, SandboxRequest, Stack

SHARED_PREFIX = "container:"
MODES = {"host": Stack.HOST, "none": Stack.NONE}


def asked(request: SandboxRequest) -> tuple[Stack, str | None]:
    """Return whose stack *request* asks for, and the sandbox to share it with (None unless SHARED)."""
    references = [endpoint.network for endpoint in request.networks]
    modes = [reference for reference in references if reference in MODES or reference.startswith(SHARED_PREFIX)]
    if not modes:
        return Stack.OWN, None
    mode = modes[0]
    if len(request.networks) > 1:
        if mode == "none":
            text = "cannot be connected to multiple networks with one of the networks in private (none) mode"
        else:
            text = "sharing network namespace with another sandbox or host cannot be connected to any other network"
        raise InvalidRequest("network", f"a sandbox {text}")
    if request.netns is not None or request.follows:
        raise InvalidRequest("network", f"{mode}: an adopted namespace has a stack of its own; leave --network out")
    if mode in MODES:
        return MODES[mode], None
    reference = mode.removeprefix(SHARED_PREFIX)
    if not reference:
        raise InvalidRequest(f"container format {SHARED_PREFIX}<name|id>", "the name or id of a sandbox is missing")
    return Stack.SHARED, reference


def check(request: SandboxRequest, stack: Stack) -> tuple[str, ...]:
    """Return warnings about what *request* can't have with *stack*; InvalidRequest for what is refused."""
    if stack is Stack.OWN:
        return ()
    if stack is Stack.SHARED:
        _check_shared(request)
    elif stack is Stack.HOST and any(endpoint.links for endpoint in request.networks):
        raise InvalidRequest(
            "link", "conflicting options: host type networking can't be used with links. This would result in undefined behavior"
        )
    _check_endpoint(request.networks[0])
    if request.sysctls and stack is not Stack.NONE:
        text = f"{request.sysctls[0]!r} not allowed with {stack.value} network mode: the stack is not the sandbox's own"
        raise InvalidRequest("sysctl", text)
    if request.forwards:
        raise InvalidRequest("forward", "a router needs networks of its own to forward between")
    if request.publish or request.publish_all:
        return (f"Published ports are discarded when using {stack.value} network mode",)
    return ()


def _check_shared(request: SandboxRequest) -> None:
    """Raise InvalidRequest for the first that applies, in Docker's order (CL-9)."""
    endpoint = request.networks[0]
    for field, given, text in (
        ("hostname", request.hostname, "hostname and the network mode"),
        ("domainname", request.domainname, "domainname and the network mode"),
        ("link", endpoint.links, "container type network can't be used with links. This would result in undefined behavior"),
        ("dns", request.dns.servers, "dns and the network mode"),
        ("dns-search", request.dns.search, "dns-search and the network mode"),
        ("dns-opt", request.dns.options, "dns-opt and the network mode"),
        ("add-host", request.extra_hosts, "custom host-to-IP mapping and the network mode"),
        ("mac-address", endpoint.mac, "mac-address and the network mode"),
        ("publish", request.publish or request.publish_all, "port publishing and the container type network mode"),
        ("expose", request.expose, "port exposing and the container type network mode"),
    ):
        if given:
            raise InvalidRequest(field, f"conflicting options: {text}; give it to the sandbox whose stack is shared")


def _check_endpoint(endpoint: EndpointRequest) -> None:
    for field, given, text in (
        ("network-alias", endpoint.aliases, "network-scoped aliases are only supported for user-defined networks"),
        ("ip", endpoint.ipv4 or endpoint.ipv6, "user specified IP address is supported on user defined networks only"),
        ("mac-address", endpoint.mac, "conflicting options: mac-address and the network mode"),
        ("ifname", endpoint.ifname, "a name for a link needs a network to link to"),
        ("driver-opt", endpoint.driver_options, "an option of an endpoint needs a network"),
        ("route", endpoint.routes, "a route needs a network that its next hop is on"),
        ("gw-priority", endpoint.gateway_priority, "a gateway priority needs a network with a gateway"),
        ("link", endpoint.links, "a private alias needs a network that both are on"),
    ):
        if given:
            raise InvalidRequest(field, text)


def check_connectable(sandbox: Sandbox) -> None:
    """Raise Conflict if *sandbox* has no stack of its own that networks could be added to (CL-3, CL-4)."""
    check_stack(sandbox.name, sandbox.stack)


def check_stack(name: str, stack: Stack) -> None:
    """Raise Conflict if networks can't be added to the *stack* of the sandbox called *name* (CL-3, CL-4)."""
    if stack is Stack.NONE:
        text = "cannot be connected to multiple networks with one of the networks in private (none) mode"
    elif stack in (Stack.HOST, Stack.SHARED):
        text = "sharing network namespace with another sandbox or host cannot be connected to any other network"
    else:
        return
    raise Conflict("sandbox", name, because=text)
