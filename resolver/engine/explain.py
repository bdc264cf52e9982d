"""Why a name gets the answer it gets, in words. Walks the same decisions as `answer`. Pure."""

from __future__ import annotations

from ipaddress import ip_address

from resolver.engine.answer import Addresses, Forward, Negative, Pointer, Services, answer, has_service_form
from resolver.wire import name as names
from resolver.zone.upstream import Route
from resolver.zone.view import View


def explain(view: View, qname: bytes, qtype: int) -> list[str]:
    """Return one line for each thing that was looked at, the decision last."""
    lines = []
    for attachment in view.attachments:
        zone = attachment.zone
        label = names.to_text(zone.label)[:-1]
        alias = attachment.links.get(qname)
        if alias is not None:
            lines.append(f"network {label}: {names.to_text(qname)} is a private alias of {names.to_text(alias)}")
        values = zone.find(qname)
        if values is None:
            lines.append(f"network {label}: has no name {names.to_text(qname)} among its {zone.size} records")
        else:
            is_service = has_service_form(qname)
            told = ", ".join(_value(value, is_service=is_service) for value in values)
            lines.append(f"network {label}: {names.to_text(qname)} is {told}")
    found = answer(view, qname, qtype)
    match found:
        case Addresses():
            lines.append(f"answered from {found.source} with TTL {found.ttl}")
        case Services():
            told = ", ".join(f"port {port} of {names.to_text(target)}" for port, target in found.values)
            lines.append(f"answered from {found.source}: {told}")
        case Pointer():
            lines.append(f"answered from {found.source}: {names.to_text(found.target)}")
        case Negative():
            lines.append(f"answered from {found.source}: {found.rcode.name}, no record of this type")
        case Forward():
            lines.append(_forwarding(view.route_of(qname)))
    return lines


def source(view: View, qname: bytes, qtype: int) -> str:
    """Return in a few words where the answer comes from."""
    found = answer(view, qname, qtype)
    if isinstance(found, Forward):
        return "upstream" if view.route_of(qname).upstreams else "policy"
    return found.source


def _forwarding(route: Route) -> str:
    if not route.upstreams:
        return f"not ours, and not forwarded: {route.reason}"
    asked = ", ".join(f"{item}{' (from the sandbox)' if item.netns else ''}" for item in route.upstreams)
    return f"not ours: forwarded to {asked}"


def _value(value: bytes, *, is_service: bool) -> str:
    if is_service:
        return f"port {int.from_bytes(value[:2], 'big')} of {names.to_text(value[2:])}"
    return str(ip_address(value)) if len(value) in (4, 16) else names.to_text(value)
