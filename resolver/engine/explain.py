"""Why a query got the response it got. The stages of a real query note what they did in a `Trace`; here it is put in words. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address

from resolver.engine.answer import (
    Addresses,
    Aliased,
    Answer,
    Forward,
    Local,
    Negative,
    Pointer,
    Records,
    Services,
    has_service_form,
    is_soa,
)
from resolver.engine.exchange import Done, Result
from resolver.engine.query_policy import Refusal
from resolver.engine.upstream import UpstreamSet
from resolver.engine.view import ZoneLookup
from resolver.wire import name as names
from resolver.wire.message import Query, Rcode, Type
from resolver.zone.zone import Zone


@dataclass(slots=True)
class Trace:
    """What each stage of one query did, in the order of the stages; None and False: the stage was not reached, or did nothing.

    *query*: None if screening refused it. *failure*: why the upstreams gave no answer, now or a moment ago. *result*: what came
    of asking the upstreams. *blocked*: why the answer was withheld.
    """

    query: Query | None = None
    refusal: Refusal | None = None
    lookups: list[ZoneLookup] = field(default_factory=list)
    answer: Answer | None = None
    upstreams: UpstreamSet | None = None
    is_cached: bool = False
    is_sent: bool = False
    is_coalesced: bool = False
    result: Result | None = None
    failure: str | None = None
    is_stale: bool = False
    blocked: str | None = None
    has_waited: bool = False


def explain(trace: Trace) -> list[str]:
    """Return one line for each thing that was looked at or decided, in order."""
    if trace.query is None:
        return ["the query was refused before anything was looked at"]
    if trace.refusal is not None:
        return [f"refused by the sandbox's policy: {trace.refusal.reason}"]
    lines = _zones(trace.lookups)
    if trace.answer is not None:
        lines += [_local(trace.query, trace.answer)] if not isinstance(trace.answer, Forward) else []
        lines += _forwarding(trace) if _is_external(trace.answer) else []
    if trace.has_waited:
        lines.append("the response waited until the firewall had been opened for it")
    return lines


def source(trace: Trace) -> str:
    """Return in a few words where the response comes from."""
    if trace.refusal is not None or trace.answer is None:
        return "policy"
    if _is_external(trace.answer):
        return "upstream" if trace.upstreams is not None and trace.upstreams.servers else "policy"
    assert not isinstance(trace.answer, Forward)
    return trace.answer.source


def _is_external(answer: Answer) -> bool:
    return isinstance(answer, Forward) or (isinstance(answer, Aliased) and isinstance(answer.end, Forward))


def _zones(lookups: list[ZoneLookup]) -> list[str]:
    """Return what each network's zone has of the names that were looked for: what it does not have only if it has none of them."""
    by_network: dict[str, list[ZoneLookup]] = {}
    for lookup in lookups:
        by_network.setdefault(lookup.zone.network_id, []).append(lookup)
    lines: list[str] = []
    for of_network in by_network.values():
        hits = [lookup for lookup in of_network if lookup.values or lookup.static is not None]
        lines += [_found(lookup) for lookup in hits] if hits else [_missing(of_network[0].zone, of_network)]
    return list(dict.fromkeys(lines))


def _found(lookup: ZoneLookup) -> str:
    is_service = has_service_form(lookup.name)
    values = ", ".join(_value(value, is_service=is_service) for value in lookup.values or ())
    name = names.to_text(lookup.name)
    if lookup.static is not None:
        values = f"a static name with {len(lookup.static.values)} records of type {_type_text(lookup.static.rtype)}"
    subject = name if lookup.alias is None else f"{names.to_text(lookup.alias)} is a private alias of {name}, which"
    return f"{lookup.zone.source}: {subject} is {values}"


def _missing(zone: Zone, lookups: list[ZoneLookup]) -> str:
    wanted = " or ".join(dict.fromkeys(names.to_text(lookup.name) for lookup in lookups))
    return f"{zone.source}: has no name {wanted} among its {zone.size} records"


def _value(value: bytes, *, is_service: bool) -> str:
    if is_service:
        return f"port {int.from_bytes(value[:2], 'big')} of {names.to_text(value[2:])}"
    return str(ip_address(value)) if len(value) in (4, 16) else names.to_text(value)


def _type_text(rtype: int) -> str:
    return Type(rtype).name if rtype in Type.__members__.values() else f"TYPE{rtype}"


def _local(query: Query, answer: Local) -> str:
    match answer:
        case Aliased():
            chain = ", then ".join(names.to_text(target) for _, _, target in answer.links)
            end = "which is not ours" if isinstance(answer.end, Forward) else _local(query, answer.end)
            return f"answered from {answer.source}: an alias of {chain}; {end}"
        case Records():
            return f"answered from {answer.source}: static records of type {_type_text(answer.rtype)} with TTL {answer.ttl}"
        case Addresses():
            return f"answered from {answer.source} with TTL {answer.ttl}"
        case Services():
            targets = ", ".join(f"port {port} of {names.to_text(target)}" for port, target in answer.values)
            return f"answered from {answer.source}: {targets}"
        case Pointer():
            return f"answered from {answer.source}: {names.to_text(answer.target)}"
        case Negative():
            if is_soa(query, answer):
                return f"answered from {answer.source}: the SOA of the zone"
            if answer.rcode is Rcode.NXDOMAIN:
                return f"answered from {answer.source}: NXDOMAIN, the name does not exist"
            return f"answered from {answer.source}: NODATA, the name has no record of this type"


def _forwarding(trace: Trace) -> list[str]:
    upstreams = trace.upstreams
    if upstreams is None or not upstreams.servers:
        return [f"not ours, and not forwarded: {upstreams.reason if upstreams is not None else 'no upstream was chosen'}"]
    asked = ", ".join(f"{upstream}{' (from the sandbox)' if upstream.sandbox_id is not None else ''}" for upstream in upstreams.servers)
    if trace.is_cached:
        return [f"not ours: answered from the cache (upstreams: {asked})"]
    if trace.is_coalesced:
        lines = [f"not ours: an equal query had been forwarded to {asked}"]
    elif trace.is_sent and (trace.result is None or isinstance(trace.result, Done) or trace.result.asked):
        lines = [f"not ours: forwarded to {asked}"]
    else:
        lines = [f"not ours, and not forwarded to {asked}"]
    if isinstance(trace.result, Done):
        lines.append(f"{trace.result.upstream.upstream} answered")
    if trace.failure is not None:
        lines.append(f"no answer: {trace.failure}")
    if trace.is_stale:
        lines.append("answered with what the cache still had, although it has expired")
    if trace.blocked is not None:
        lines.append(f"{trace.blocked.removesuffix(' (rebinding)')}, and was replaced by REFUSED")
    return lines
