"""Metrics in Prometheus text, named as CoreDNS names its own. Read when asked for; nothing is counted twice for them.

One row of `_METRICS` is one metric. The documentation's table is compared with `NAMES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from netcore.controller import Controller
from netcore.egress.refusals import Refusals
from netcore.health import Health
from netcore.model import SandboxId
from netcore.plan.drift import Repairs
from resolver.daemon.dropped import DroppedPackets
from resolver.daemon.registry import Registry
from resolver.daemon.way_out import WayOut
from resolver.engine.upstream import Upstream
from resolver.engine.upstream_health import UpstreamHealth
from resolver.service import DnsService
from resolver.transport.upstream import UpstreamPool
from resolver.wire.message import Rcode


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSources:
    """Where the numbers are. *is_writable*: whether changes can be recorded. *clock*: seconds, monotonic."""

    controller: Controller
    registry: Registry
    service: DnsService
    pool: UpstreamPool
    dropped: DroppedPackets
    repairs: Repairs
    is_writable: Callable[[], bool]
    refusals: Refusals
    way_out: WayOut
    clock: Callable[[], float]


Samples = Iterable[tuple[str, float]]
"""(value of the label, value) of each sample."""


@dataclass(frozen=True, slots=True)
class _Metric:
    """*name*: without the `_total` that a counter gets. *label* None: there is one sample, and its label is ignored."""

    kind: Literal["counter", "gauge"]
    name: str
    description: str
    label: str | None
    samples: Callable[[MetricSources], Samples]


def _queries(sources: MetricSources) -> Samples:
    yield "", sources.registry.queries()


def _responses(sources: MetricSources) -> Samples:
    for rcode, count in sorted(sources.service.rcodes.items()):
        yield Rcode(rcode).name if rcode <= 5 else str(rcode), count


def _counted(*counters: str) -> Callable[[MetricSources], Samples]:
    return lambda sources: [(counter, sources.service.counters[counter]) for counter in counters]


def _refused(sources: MetricSources) -> Samples:
    names = {sandbox.id: sandbox.name for sandbox in sources.controller.state.sandboxes.values()}
    return [(names[SandboxId(identity)], count) for identity, count in sources.refusals.counts.items() if identity in names]


def _openings(sources: MetricSources) -> Samples:
    names = {sandbox.id: sandbox.name for sandbox in sources.controller.state.sandboxes.values()}
    return [(names[SandboxId(identity)], count) for identity, count in sources.registry.egress.sizes().items() if identity in names]


def _of_the_host(sources: MetricSources) -> list[tuple[Upstream, UpstreamHealth]]:
    """Return the upstreams that are asked from the host itself; those of sandboxes would make labels without end."""
    return [(upstream, health) for upstream, health in sources.pool.health().items() if upstream.sandbox_id is None]


def _upstreams_down(sources: MetricSources) -> Samples:
    now = sources.clock()
    return [(str(upstream), float(health.state(now) != "ok")) for upstream, health in _of_the_host(sources)]


def _upstream_failures(sources: MetricSources) -> Samples:
    return [(str(upstream), health.failures) for upstream, health in _of_the_host(sources)]


def _upstream_times(sources: MetricSources) -> Samples:
    return [(str(upstream), health.rtt) for upstream, health in _of_the_host(sources)]


def _spares(sources: MetricSources) -> Samples:
    counts = sources.controller.parts.files.spares.counts
    return [("hit", counts.hits), ("miss", counts.misses), ("broken", counts.broken)]


def _health(sources: MetricSources) -> Samples:
    found = [sandbox.health for sandbox in sources.controller.state.sandboxes.values()]
    return [(health.value, found.count(health)) for health in Health]


_METRICS = (
    _Metric("counter", "berth_dns_requests", "Queries received.", None, _queries),
    _Metric("counter", "berth_dns_responses", "Responses sent, by RCODE.", "rcode", _responses),
    _Metric("counter", "berth_dns_dropped", "Datagrams that were not queries.", None, _counted("dropped")),
    _Metric(
        "counter", "berth_forward_requests", "Queries for names that are not ours, by outcome.", "outcome",
        _counted("forwarded", "failed", "limited", "prohibited", "coalesced", "rebinding", "refused"),
    ),
    _Metric(
        "counter", "berth_cache_requests", "Cache look-ups of names that are not ours, by result.", "result",
        _counted("hits", "misses", "stale", "prefetched"),
    ),
    _Metric("gauge", "berth_forward_upstream_down", "1 while an upstream is tried last because it failed.", "to", _upstreams_down),
    _Metric("counter", "berth_forward_upstream_failures", "Queries that an upstream failed to answer.", "to", _upstream_failures),
    _Metric("gauge", "berth_forward_upstream_rtt_seconds", "Smoothed round-trip time of an upstream.", "to", _upstream_times),
    _Metric(
        "gauge", "berth_forward_in_flight", "Queries that wait for a response from an upstream.", None,
        lambda sources: [("", sources.registry.in_flight())],
    ),
    _Metric("gauge", "berth_cache_bytes", "Size of the cache in octets.", None, lambda sources: [("", sources.service.cache.size)]),
    _Metric(
        "counter", "berth_drift_repairs", "Objects that other programs changed and berth repaired, by kind.", "kind",
        lambda sources: sorted(sources.repairs.counts.items()),
    ),
    _Metric(
        "gauge", "berth_drift_left", "Objects that are left as other programs changed them.", None,
        lambda sources: [("", len(sources.repairs.left()))],
    ),
    _Metric(
        "gauge", "berth_state_writable", "1 if changes can be recorded, 0 while they are refused.", None,
        lambda sources: [("", float(sources.is_writable()))],
    ),
    _Metric(
        "gauge", "berth_spare_namespaces", "Namespaces that are ready for sandboxes to come.", None,
        lambda sources: [("", sources.controller.parts.files.spares.ready)],
    ),
    _Metric(
        "counter", "berth_spare_requests", "New sandboxes while spares are kept, by whether one was ready; and spares that were changed.",
        "result", _spares,
    ),
    _Metric(
        "gauge", "berth_way_out_carried", "What the way out of a user's sandboxes carries, by kind.", "kind",
        lambda sources: [(kind.value, count) for kind, count in sources.way_out.carried().items()],
    ),
    _Metric(
        "counter", "berth_way_out_refused", "What it refused sandboxes that have their share, by kind.", "kind",
        lambda sources: [(kind.value, count) for kind, count in sources.way_out.refused().items()],
    ),
    _Metric(
        "counter", "berth_relay_refused", "Connections and UDP clients that relayed ports refused for want of a place, by kind.", "kind",
        lambda sources: [(kind.value, count) for kind, count in sources.controller.parts.relays.totals.refused.items()],
    ),
    _Metric("gauge", "berth_networks", "Networks.", None, lambda sources: [("", len(sources.controller.state.networks))]),
    _Metric("gauge", "berth_sandboxes", "Sandboxes.", None, lambda sources: [("", len(sources.controller.state.sandboxes))]),
    _Metric("gauge", "berth_sandboxes_health", "Sandboxes with a health check, by what it has found.", "health", _health),
    _Metric(
        "gauge", "berth_endpoints", "Endpoints.", None,
        lambda sources: [("", sum(map(len, sources.controller.state.endpoints.values())))],
    ),
    _Metric(
        "counter", "berth_egress_refused", "Questions and connections that egress rules refused, by sandbox.", "sandbox", _refused,
    ),
    _Metric("gauge", "berth_egress_openings", "Addresses that answers have opened, by sandbox.", "sandbox", _openings),
    _Metric(
        "counter", "berth_dropped_packets", "Packets and frames of sandboxes and to the host that the firewall dropped, by reason.",
        "reason", lambda sources: sources.dropped.last.reasons.items(),
    ),
)  # fmt: skip

NAMES = tuple(f"{metric.name}_total" if metric.kind == "counter" else metric.name for metric in _METRICS)
"""The name of every metric."""


async def render_now(sources: MetricSources) -> bytes:
    """Return `render`, once the firewall's counters are read."""
    await sources.dropped.look()
    return render(sources)


def render(sources: MetricSources) -> bytes:
    """Return all metrics as Prometheus text."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.metrics_core import Metric

    class Collector:
        def collect(self) -> Iterator[Metric]:
            for metric in _METRICS:
                family_type = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                family = family_type(metric.name, metric.description, labels=[metric.label] if metric.label is not None else None)
                for label, value in metric.samples(sources):
                    family.add_metric([label] if metric.label is not None else [], value)
                yield family

    collected = CollectorRegistry(auto_describe=False)
    collected.register(Collector())
    return generate_latest(collected)
