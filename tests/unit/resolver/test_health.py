"""What the daemon says of itself."""

import os
from types import SimpleNamespace

from netcore.kernel.dropped import Dropped
from resolver.daemon import schema
from resolver.daemon.dropped import DroppedPackets
from resolver.daemon.health import Health
from resolver.daemon.operations import Counts
from tests.support.networks import bridge_network

UPSTREAM = schema.UpstreamView("10.0.0.53", "host", "ok", 1.5, 3, 0)


def dropped():
    """Return what has seen, once it has looked, that a sandbox of two on a network sent what it may not."""
    network = bridge_network("n")
    evil, good = (
        (SimpleNamespace(name=name), SimpleNamespace(network_id=network.id, host_ifname=f"v-{name}", mac=f"02:00:00:00:00:{number:02x}"))
        for number, name in enumerate(("evil", "good"))
    )

    async def look(_body):
        return Dropped(reasons={"source": 7}, ports={"v-evil": 5, "gone": 3}, senders={("br-n", "02:00:00:00:00:00"): 2})

    state = SimpleNamespace(all_endpoints=lambda: [good, evil], networks={network.id: network})
    return DroppedPackets(run_blocking=look, state=state, enabled=True)


def made(unwritable=None):
    clock = iter((100.0, 112.3456))
    return Health(
        version="1.2.3", firewall="nftables", exits_when_idle=True,
        operations=SimpleNamespace(counts=lambda: Counts(networks=2, sandboxes=3)),
        registry=SimpleNamespace(
            queries=lambda: 15, warnings=lambda: ["no resolver"]
        ),
        lookup=SimpleNamespace(upstreams=lambda: [UPSTREAM]),
        host=SimpleNamespace(path="/etc/resolv.conf", content=SimpleNamespace(nameservers=("10.0.0.53",)), problems=lambda: ["line 1"]),
        dropped=dropped(), firewall_warnings=lambda: ("chain x drops",), host_warnings=lambda: ("up0 is closed",), unwritable=lambda: unwritable,
        guard=lambda: "lasting", spares=lambda: 4,
        clock=lambda: next(clock),
    )  # fmt: skip


async def test_status():
    assert await made().status() == schema.StatusView(
        version="1.2.3", pid=os.getpid(), exits_when_idle=True, uptime_seconds=12.346, networks=2, sandboxes=3, queries=15,
        resolv_conf="/etc/resolv.conf", nameservers=["10.0.0.53"], upstreams=[UPSTREAM], firewall="nftables", guard="lasting", dropped={"evil": 7},
        warnings=["line 1", "no resolver", "up0 is closed", "chain x drops"], spares=4,
    )  # fmt: skip


def test_alive_from_the_start_and_ready_later():
    health = made()
    assert health.liveness() == schema.HealthView("ok")
    assert health.readiness() == schema.HealthView("starting")
    health.is_ready = True
    assert health.readiness() == schema.HealthView("ok")


async def test_changes_that_are_refused_are_said_first():
    health = made(unwritable="no space")
    assert health.readiness() == schema.HealthView("starting")
    health.is_ready = True
    assert health.readiness() == schema.HealthView("read-only")
    assert (await health.status()).warnings[0] == (
        "the state can't be written (no space): names and traffic go on, changes are refused until it can"
    )
