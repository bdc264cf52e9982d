"""The resolver for the host itself, at `host_listen`: a loopback address, so that nobody else asks there."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from netcore.errors import NetcoreError
from netcore.kernel import bound_ports
from resolver import limits
from resolver.daemon import listeners
from resolver.daemon.listeners import SocketPair
from resolver.daemon.surroundings import Surroundings
from resolver.dns_client import Client
from resolver.transport.tcp import TcpListener
from resolver.transport.udp import UdpListener

log = logging.getLogger(__name__)


class HostResolver:
    """Answers *client* at *listen* (an address and a port; None: nowhere)."""

    def __init__(self, listen: tuple[str, int] | None, client: Client, surroundings: Surroundings) -> None:
        self._is_wanted = listen is not None
        self._address, self._port = listen or ("", 0)
        self._client = client
        self._surroundings = surroundings
        self._serving: tuple[SocketPair, UdpListener, TcpListener] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._warning: str | None = None

    def warnings(self) -> tuple[str, ...]:
        """Return why it does not answer, if it should."""
        return () if self._warning is None else (self._warning,)

    async def start(self) -> UdpListener | None:
        """Begin to answer: on the sockets that an earlier daemon kept, if they fit. Where that fails, it is tried again.

        Return what queries come by over UDP, if it answers.
        """
        if not self._is_wanted:
            return None
        await self._listen()
        self._watch = asyncio.create_task(self._keep_serving())
        return None if self._serving is None else self._serving[1]

    async def close(self) -> None:
        """Stop answering; what is kept stays."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        await self._end()

    async def _keep_serving(self) -> None:
        """Listen again where others have destroyed the sockets, or hold the port no longer."""
        while True:
            await asyncio.sleep(limits.HOST_RESOLVER_LOOK)
            if self._serving is not None:
                self._serving[2].stop_if_destroyed()
                if listeners.is_serving(self._serving[0], listeners.LOOPBACK):
                    continue
                await self._end()
                await self._surroundings.run_blocking(lambda: self._surroundings.kept.drop(*self._names()))
            await self._listen()

    async def _listen(self) -> None:
        try:
            pair = await self._surroundings.run_blocking(self._open)
        except (NetcoreError, OSError) as error:
            warning = f"the host's names are not answered at {self._address}: {await self._why(error)}"
            if warning != self._warning:
                log.warning("host resolver not started reason=%s", warning)
            self._warning = warning
            return
        self._warning = None
        service = self._surroundings.service
        udp = UdpListener(self._surroundings.poller, pair.udp, service, self._client)
        tcp = TcpListener(service, lambda _: self._client)
        await tcp.listen(pair.tcp)
        self._serving = pair, udp, tcp

    def _open(self) -> SocketPair:
        kept = self._surroundings.kept
        taken = listeners.take_for_host(kept, self._names(), self._address, self._port)
        if taken is not None:
            return taken
        pair = listeners.open_for_host(self._address, self._port)
        kept.keep(pair.by_name(self._names()))
        return pair

    def _names(self) -> tuple[str, str]:
        return f"host/{self._address}/{self._port}/udp", f"host/{self._address}/{self._port}/tcp"

    async def _end(self) -> None:
        if self._serving is not None:
            _, udp, tcp = self._serving
            self._serving = None
            udp.close()
            await tcp.close()

    async def _why(self, error: NetcoreError | OSError) -> str:
        match error:
            case PermissionError():
                return f"port {self._port} needs the capability CAP_NET_BIND_SERVICE"
            case OSError():
                holder = await self._surroundings.run_blocking(lambda: bound_ports.find_holder(self._port))
                held = f"port {self._port} is held by {holder or 'another program'} ({error.strerror})"
                return f'{held}; free it, or give another port, as in host_listen = "{self._address}:5353"'
            case _:
                return str(error)
