"""Each metric by its name, type, labels and value."""

from collections import Counter
from types import SimpleNamespace

from netcore.controller.spare_namespaces import SpareCounts
from netcore.health import Health
from netcore.kernel.dropped import Dropped
from netcore.relay import totals
from netcore.way_out.report import Kind
from resolver.daemon import metrics
from resolver.engine.upstream import Upstream

TEXT = """\
berth_dns_requests_total 12.0
berth_dns_responses_total{rcode="NOERROR"} 7.0
berth_dns_responses_total{rcode="NXDOMAIN"} 2.0
berth_dns_responses_total{rcode="9"} 1.0
berth_dns_dropped_total 8.0
berth_forward_requests_total{outcome="forwarded"} 5.0
berth_forward_requests_total{outcome="failed"} 0.0
berth_forward_requests_total{outcome="limited"} 0.0
berth_forward_requests_total{outcome="prohibited"} 0.0
berth_forward_requests_total{outcome="coalesced"} 0.0
berth_forward_requests_total{outcome="rebinding"} 0.0
berth_forward_requests_total{outcome="refused"} 0.0
berth_cache_requests_total{result="hits"} 3.0
berth_cache_requests_total{result="misses"} 0.0
berth_cache_requests_total{result="stale"} 0.0
berth_cache_requests_total{result="prefetched"} 0.0
berth_forward_upstream_down{to="10.0.0.53"} 1.0
berth_forward_upstream_failures_total{to="10.0.0.53"} 4.0
berth_forward_upstream_rtt_seconds{to="10.0.0.53"} 0.25
berth_forward_in_flight 3.0
berth_cache_bytes 1000.0
berth_drift_repairs_total{kind="veth"} 2.0
berth_drift_left 1.0
berth_state_writable 1.0
berth_spare_namespaces 2.0
berth_spare_requests_total{result="hit"} 5.0
berth_spare_requests_total{result="miss"} 1.0
berth_spare_requests_total{result="broken"} 2.0
berth_way_out_carried{kind="flows"} 3.0
berth_way_out_refused_total{kind="connections"} 9.0
berth_relay_refused_total{kind="connections"} 6.0
berth_networks 1.0
berth_sandboxes 2.0
berth_sandboxes_health{health="starting"} 0.0
berth_sandboxes_health{health="healthy"} 0.0
berth_sandboxes_health{health="unhealthy"} 1.0
berth_endpoints 3.0
berth_egress_refused_total{sandbox="job"} 7.0
berth_egress_openings{sandbox="job"} 4.0
berth_dropped_packets_total{reason="source"} 6.0
berth_dropped_packets_total{reason="connections"} 0.0
"""


SANDBOXES = {
    "a": SimpleNamespace(id="a", name="job", health=None),
    "b": SimpleNamespace(id="b", name="web", health=Health.UNHEALTHY),
}


def sources():
    health = SimpleNamespace(state=lambda now: "down" if now == 50.0 else "ok", failures=4, rtt=0.25)
    return metrics.MetricSources(
        controller=SimpleNamespace(
            state=SimpleNamespace(networks={"n": 1}, sandboxes=SANDBOXES, endpoints={"a": (1, 2), "b": (3,)}),
            parts=SimpleNamespace(
                files=SimpleNamespace(spares=SimpleNamespace(ready=2, counts=SpareCounts(hits=5, misses=1, broken=2))),
                relays=SimpleNamespace(totals=SimpleNamespace(refused={totals.Kind.CONNECTIONS: 6})),
            ),
        ),
        registry=SimpleNamespace(queries=lambda: 12, in_flight=lambda: 3, egress=SimpleNamespace(sizes=lambda: {"a": 4, "gone": 9})),
        service=SimpleNamespace(rcodes={3: 2, 0: 7, 9: 1}, counters=Counter(forwarded=5, hits=3, dropped=8), cache=SimpleNamespace(size=1000)),
        # Those asked from a sandbox are too many to tell apart.
        pool=SimpleNamespace(health=lambda: {Upstream("10.0.0.53"): health, Upstream("10.0.0.54", sandbox_id="x"): health}),
        dropped=SimpleNamespace(last=Dropped(reasons={"source": 6, "connections": 0})),
        refusals=SimpleNamespace(counts={"a": 7, "gone": 8}),
        repairs=SimpleNamespace(counts=Counter(veth=2), left=lambda: [1]),
        is_writable=lambda: True,
        way_out=SimpleNamespace(carried=lambda: {Kind.FLOWS: 3}, refused=lambda: {Kind.CONNECTIONS: 9}),
        clock=lambda: 50.0,
    )  # fmt: skip


def test_values():
    lines = metrics.render(sources()).decode().splitlines(keepends=True)
    assert "".join(line for line in lines if not line.startswith("#")) == TEXT


def test_names_and_types_are_declared():
    lines = metrics.render(sources()).decode().splitlines()
    declared = {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE")}
    assert set(declared) == set(metrics.NAMES)
    assert all(kind == ("counter" if name.endswith("_total") else "gauge") for name, kind in declared.items())
    assert all(line.split(maxsplit=3)[3].endswith(".") for line in lines if line.startswith("# HELP"))
