"""Whether what goes can be made anew while sandboxes that stay share its network stack: the stack keeps its networks and addresses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from resolver.cli.client import Refused
from resolver.cli.sandbox_fields import is_stopped
from resolver.cli.up.reconcile import Changes, Replica, Step, View

_FIXED = ("ip", "ip6", "mac_address")


def check(changes: Changes, sandboxes: Iterable[View]) -> None:
    """Raise Refused, before anything is removed, if a sandbox can't be made anew because of others that share its network stack."""
    going = {view["id"] for view in changes.removed()}
    staying = [view for view in sandboxes if view.get("shared_with") and view["id"] not in going and not is_stopped(view)]
    anew = {change.body["name"] for change in changes.networks if change.found is not None and not change.stays}
    for change in changes.services:
        for one in change.replicas:
            sharers = [view["name"] for view in staying if one.found is not None and view["shared_with"] == one.found["name"]]
            if one.step is Step.RECREATE and sharers:
                _check_replica(change.service.name, one, sharers, anew)


def _check_replica(service: str, replica: Replica, sharers: Sequence[str], anew: Iterable[str]) -> None:
    names = ", ".join(sharers)
    it_shares = f"{names} {'share' if len(sharers) > 1 else 'shares'} its network stack, which"
    for network in anew:
        if replica.found is not None and network in replica.found["networks"]:
            raise Refused(
                f"service {service}: {replica.name} can't be made anew: {it_shares} stays on network {network}, "
                f"whose settings have changed; remove {names} first"
            )
    for endpoint in replica.body["networks"]:
        for field in _FIXED:
            if endpoint.get(field):
                raise Refused(
                    f"service {service}: {replica.name} can't be made anew: {it_shares} keeps {endpoint[field]}; remove {names} first"
                )
