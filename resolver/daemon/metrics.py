"""Metrics in Prometheus text, named as CoreDNS names its own. Built when asked for; nothing is counted twice for them."""

from __future__ import annotations

from collections.abc import Iterator

from netcore.controller import Controller
from resolver.daemon.registry import Registry
from resolver.service import DnsService
from resolver.transport.upstream import UpstreamPool
from resolver.wire.message import Rcode


def render(controller: Controller, registry: Registry, service: DnsService, pool: UpstreamPool, now: float) -> bytes:
    """Return all metrics as Prometheus text."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.metrics_core import Metric

    class Collector:
        def collect(self) -> Iterator[Metric]:
            requests = CounterMetricFamily("berth_dns_requests", "Queries received.")
            requests.add_metric([], registry.queries())
            yield requests
            responses = CounterMetricFamily("berth_dns_responses", "Replies sent, by RCODE.", labels=["rcode"])
            for rcode, count in sorted(service.rcodes.items()):
                responses.add_metric([Rcode(rcode).name if rcode <= 5 else str(rcode)], count)
            yield responses
            outcomes = CounterMetricFamily(
                "berth_forward_requests", "Queries for external names, by what became of them.", labels=["outcome"]
            )
            for outcome in ("forwarded", "failed", "limited", "prohibited", "coalesced", "rebinding", "refused"):
                outcomes.add_metric([outcome], service.counters[outcome])
            yield outcomes
            looked = CounterMetricFamily(
                "berth_cache_requests", "External names looked for in the cache, by what was found.", labels=["result"]
            )
            for result in ("hits", "misses", "stale", "prefetched"):
                looked.add_metric([result], service.counters[result])
            yield looked
            dropped = CounterMetricFamily("berth_dns_dropped", "Datagrams that were no queries.")
            dropped.add_metric([], service.counters["dropped"])
            yield dropped
            down = GaugeMetricFamily("berth_forward_upstream_down", "1 while an upstream is asked last.", labels=["to"])
            failures = CounterMetricFamily("berth_forward_upstream_failures", "Queries an upstream failed to answer.", labels=["to"])
            times = GaugeMetricFamily("berth_forward_upstream_rtt_seconds", "Smoothed round-trip time.", labels=["to"])
            for upstream, health in pool.health().items():
                if upstream.sandbox_id is None:
                    down.add_metric([str(upstream)], float(health.state(now) != "ok"))
                    failures.add_metric([str(upstream)], health.failures)
                    times.add_metric([str(upstream)], health.rtt)
            yield down
            yield failures
            yield times
            in_flight = GaugeMetricFamily("berth_forward_in_flight", "Queries that wait for an upstream.")
            in_flight.add_metric([], registry.in_flight())
            yield in_flight
            for name, text, value in (
                ("berth_cache_bytes", "Octets of cached answers.", service.cache.size),
                ("berth_networks", "Networks.", len(controller.networks)),
                ("berth_sandboxes", "Sandboxes.", len(controller.sandboxes)),
                ("berth_endpoints", "Endpoints.", sum(map(len, controller.endpoints.values()))),
            ):
                gauge = GaugeMetricFamily(name, text)
                gauge.add_metric([], value)
                yield gauge

    collected = CollectorRegistry(auto_describe=False)
    collected.register(Collector())
    return generate_latest(collected)


NAMES = (
    "berth_dns_requests_total",
    "berth_dns_responses_total",
    "berth_dns_dropped_total",
    "berth_cache_requests_total",
    "berth_cache_bytes",
    "berth_forward_requests_total",
    "berth_forward_upstream_down",
    "berth_forward_upstream_failures_total",
    "berth_forward_upstream_rtt_seconds",
    "berth_forward_in_flight",
    "berth_networks",
    "berth_sandboxes",
    "berth_endpoints",
)
"""Every metric; the README's table is compared with it."""
