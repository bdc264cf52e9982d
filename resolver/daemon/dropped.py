"""What the firewall dropped, for `berth status` and the metrics: by reason, and by the sandbox that sent it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from netcore.kernel import dropped
from netcore.kernel.dropped import Dropped
from netcore.model import BridgeOptions
from netcore.plan.host_state import HostState
from resolver.daemon.blocking import RunBlocking


@dataclass(slots=True, kw_only=True)
class DroppedPackets:
    """See the module. *enabled*: False with `firewall = "none"`. *last*: what the last look saw."""

    run_blocking: RunBlocking
    state: HostState
    enabled: bool
    last: Dropped = field(default_factory=Dropped)

    async def look(self) -> None:
        """Read the counters."""
        if self.enabled:
            self.last = await self.run_blocking(dropped.read)

    def by_sandbox(self) -> dict[str, int]:
        """Return how much of each sandbox was dropped, of those that sent what they may not, the most first."""
        counts: Counter[str] = Counter()
        for sandbox, endpoint in self.state.all_endpoints():
            options = self.state.networks[endpoint.network_id].driver_options
            if isinstance(options, BridgeOptions):
                counts[sandbox.name] += self.last.ports.get(endpoint.host_ifname, 0)
                counts[sandbox.name] += self.last.senders.get((options.bridge_name, endpoint.mac), 0)
        return {name: count for name, count in counts.most_common() if count}
