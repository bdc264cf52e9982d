"""All resolvers of this daemon together: how they go on after a start, and how they stop before the next one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from netcore.controller.workers import attempt_each
from netcore.errors import NetcoreError
from netcore.model import Network, NetworkId, Sandbox
from resolver import limits
from resolver.daemon import listeners
from resolver.daemon.gateway_resolver import ClientAt, GatewayResolver
from resolver.daemon.sandbox_resolver import SandboxResolver, open_sockets
from resolver.daemon.surroundings import Surroundings
from resolver.errors import ResolverError
from resolver.transport.in_hand import Unanswered
from resolver.transport.udp import UdpListener

log = logging.getLogger(__name__)

_LAST_ANSWERS_LOOK = 0.005


class Resolvers:
    """See the module. *sandboxes*, *gateways*: by id, the registry's. *client_at*: network → who has an address there.

    *in_flight*: how many queries wait for a name server.
    """

    def __init__(
        self,
        sandboxes: Mapping[str, SandboxResolver],
        gateways: Mapping[NetworkId, GatewayResolver],
        *,
        client_at: Callable[[NetworkId], ClientAt],
        surroundings: Callable[[], Surroundings],
        answers_at_gateways: bool,
        answers_host: bool,
        in_flight: Callable[[], int],
    ) -> None:
        self._sandboxes = sandboxes
        self._gateways = gateways
        self._client_at = client_at
        self._surroundings = surroundings
        self._in_flight = in_flight
        self._answers_at_gateways = answers_at_gateways
        self._answers_host = answers_host
        self._unanswered: dict[int, list[Unanswered]] = {}

    def expect(self, unanswered: Iterable[Unanswered]) -> None:
        """Have what an earlier daemon was asked, and did not answer, answered by the resolvers that go on with its sockets."""
        for query in unanswered:
            self._unanswered.setdefault(query.cookie, []).append(query)

    async def go_on_at_gateways(self, networks: Iterable[Network]) -> None:
        """Answer on those gateway addresses of *networks* whose sockets an earlier daemon left."""
        for network in networks if self._answers_at_gateways else ():
            gateway = self._gateways[network.id]
            try:
                await gateway.go_on(self._surroundings(), self._client_at(network.id), for_host=self._answers_host)
            except (NetcoreError, OSError) as error:
                # It is listened anew once the kernel is restored.
                log.info("gateway resolver does not go on network=%s reason=%s", network.name, error)
            for udp in gateway.udp_listeners():
                self.answer_again(udp)

    async def listen_at_gateways(self, networks: Iterable[Network]) -> None:
        """Answer on the gateway addresses of *networks*, where nobody answers yet."""
        for network in networks if self._answers_at_gateways else ():
            await self._gateways[network.id].listen(self._surroundings(), self._client_at(network.id), for_host=self._answers_host)

    async def go_on(self, sandbox: Sandbox) -> None:
        """Answer a sandbox that an earlier daemon answered, if it has a resolver."""
        resolver = self._sandboxes.get(sandbox.id)
        if resolver is not None:
            await resolver.listen(self._surroundings(), replace=True)
            if resolver.listeners is not None:
                self.answer_again(resolver.listeners[0])

    async def go_on_each(self, sandboxes: Iterable[Sandbox]) -> list[tuple[Sandbox, Exception]]:
        """Do `go_on` for each of *sandboxes*, the first ones first; return those for which it failed, and why.

        Two threads open the sockets of some at a time: more would only wait for each other, and for the interpreter.
        """
        resolvers = [self._sandboxes[sandbox.id] for sandbox in sandboxes if sandbox.id in self._sandboxes]
        closed = [resolver for resolver in resolvers if resolver.listeners is None]
        size = limits.RESOLVERS_AT_ONCE
        portions = iter([closed[at : at + size] for at in range(0, len(closed), size)])
        failed: list[tuple[Sandbox, Exception]] = []

        async def go_on_with_portions() -> None:
            for portion in portions:
                failed.extend(await self._go_on_with(portion))

        await asyncio.gather(go_on_with_portions(), go_on_with_portions())
        return failed

    async def _go_on_with(self, resolvers: Sequence[SandboxResolver]) -> list[tuple[Sandbox, Exception]]:
        surroundings = self._surroundings()
        bodies = [partial(open_sockets, resolver.sandbox, surroundings.kept, surroundings.spares, replace=True) for resolver in resolvers]
        failed: list[tuple[Sandbox, Exception]] = []
        for resolver, opened in zip(resolvers, await surroundings.run_blocking(lambda: attempt_each(bodies)), strict=True):
            try:
                if isinstance(opened, Exception):
                    raise opened
                await resolver.listen_on(surroundings, *opened)
                if resolver.listeners is not None:
                    self.answer_again(resolver.listeners[0])
            except (NetcoreError, ResolverError, OSError) as error:
                failed.append((resolver.sandbox, error))
        return failed

    async def reopen(self, broken: SandboxResolver | GatewayResolver) -> None:
        """Listen anew, in place of sockets that somebody has destroyed."""
        match broken:
            case SandboxResolver():
                await broken.reopen(self._surroundings())
            case GatewayResolver():
                await broken.reopen(self._surroundings(), self._client_at(broken.network.id), for_host=self._answers_host)

    def answer_again(self, udp: UdpListener) -> None:
        """Answer what an earlier daemon was asked at the socket of *udp*, and did not answer."""
        for query in self._unanswered.pop(udp.cookie, ()):
            udp.answer_again(query.octets, query.peer)

    async def check_redirects(self) -> None:
        """Write those redirects again that somebody damaged while no daemon ran."""
        run_blocking = self._surroundings().run_blocking
        redirected = [resolver for resolver in self._sandboxes.values() if resolver.is_redirected()]
        paths = [resolver.sandbox.netns_path for resolver in redirected]
        for resolver, found in zip(redirected, await run_blocking(lambda: listeners.redirect_rules_in_each(paths)), strict=True):
            try:
                if isinstance(found, Exception):
                    raise found
                await resolver.check_redirect(found, run_blocking)
            except (NetcoreError, OSError) as error:
                log.warning("resolver may not be reached sandbox=%s reason=%s", resolver.sandbox.name, error)

    async def stop(self) -> None:
        """Stop answering, once what was asked before is answered; what is in the kernel stays, and so does what is kept.

        What is asked from now on waits in the sockets that are kept.
        """
        parts: list[SandboxResolver | GatewayResolver] = [*self._sandboxes.values(), *self._gateways.values()]
        for part in parts:
            part.pause()
        clock = asyncio.get_running_loop().time
        end = clock() + limits.LAST_ANSWERS
        while self._in_flight() and clock() < end:  # noqa: ASYNC110 (an event would cost each query something)
            await asyncio.sleep(_LAST_ANSWERS_LOOK)
        for part in parts:
            await part.close()
