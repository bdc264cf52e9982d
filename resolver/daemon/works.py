"""What the daemon does at somebody's request: its parts are made and handed to each other here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from netcore.controller import Controller, remains
from netcore.model import Owner
from netcore.store.protocol import Store
from netcore.store.records import Records
from resolver.daemon import convert, sandbox_process
from resolver.daemon.automatic_networks import AutomaticNetworks
from resolver.daemon.config import DaemonConfig
from resolver.daemon.events import Events
from resolver.daemon.following.followers import Followers
from resolver.daemon.guests import Guests
from resolver.daemon.lasting import LastingSandboxes
from resolver.daemon.lifecycle import Lifecycle
from resolver.daemon.lost_holders import LostHolders
from resolver.daemon.operations import Operations
from resolver.daemon.owners import Owners
from resolver.daemon.removals import Removals
from resolver.daemon.runs import Runs
from resolver.daemon.static_names import StaticNames


@dataclass(frozen=True, slots=True)
class Works:
    """What the daemon does at somebody's request, and what that works with."""

    operations: Operations
    lifecycle: Lifecycle
    runs: Runs
    lasting: LastingSandboxes
    followers: Followers
    owners: Owners
    automatic_networks: AutomaticNetworks
    guests: Guests

    async def go_on(self, stack: AsyncExitStack) -> None:
        """Go on with what an earlier daemon left, once what there was is restored; until *stack* closes."""
        for part in (self.owners, self.followers, self.lasting, self.guests):
            stack.push_async_callback(part.close)
        await self.lifecycle.settle()
        self.followers.begin_all()
        self.guests.begin_all()
        await self.lasting.settle(self.operations.create_sandbox)
        await self.operations.watch_all_owners()


def make_works(
    config: DaemonConfig,
    controller: Controller,
    store: Store,
    records: Records,
    events: Events,
    runs: Runs,
    lost: LostHolders,
    static_names: StaticNames,
    *,
    check_firewalls: Callable[[], Awaitable[None]],
    firewall_warnings: Callable[[], tuple[str, ...]],
) -> Works:
    """Make all of it. *runs*: read already. *check_firewalls*, *firewall_warnings*: see `Operations`."""
    run_blocking = controller.workers.run
    owners = Owners(run_blocking, is_nest=bool(controller.settings.edge))
    automatic_networks = AutomaticNetworks(
        controller.state.network_named, convert.network_request(config.default_bridge, None, predefined=True)
    )

    async def end_restarts(holder: Owner) -> None:
        await sandbox_process.end_restarts(holder, run_blocking)

    guests = Guests(controller, resolver=config.gateway_resolver)
    lasting, followers = LastingSandboxes(store, controller), Followers(controller, events)
    removals = Removals(
        controller, runs, lasting, followers, events, lost,
        end_process=lambda leader: sandbox_process.end(leader, run_blocking), end_restarts=end_restarts,
    )  # fmt: skip
    operations = Operations(
        controller, automatic_networks, owners, events, runs, lasting, followers, guests, removals,
        remove_aside=lambda aside: remains.remove(controller, records, aside), forget_network=static_names.drop,
        check_firewalls=check_firewalls, firewall_warnings=firewall_warnings,
        secret_files=tuple(key.secret_file for key in config.update_keys),
    )  # fmt: skip
    lifecycle = Lifecycle(
        controller, operations, runs, removals, events,
        end_process=lambda leader, number, grace: sandbox_process.end(leader, run_blocking, number=number, grace=grace),
        end_restarts=end_restarts,
        wait_for=lambda holder: sandbox_process.wait_for(holder, run_blocking),
    )  # fmt: skip
    return Works(operations, lifecycle, runs, lasting, followers, owners, automatic_networks, guests)
