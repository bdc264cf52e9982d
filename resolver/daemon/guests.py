"""DHCP and router advertisements for virtual machines: one packet socket for each tap, on the daemon's event loop.

A guest gets its own address and nothing else, and nobody but berth answers it: what other guests offer is dropped by the firewall.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from dataclasses import dataclass

from netcore.controller import Controller
from netcore.kernel import tap_socket
from netcore.kernel.notifications import LINKS, Notifications
from netcore.model import Endpoint, Network, Sandbox, SandboxId
from netcore.parse.mac import octets
from netcore.parse.names import fits_in_dns
from netcore.plan import guest
from netcore.taps import dhcp_server, frames, router_advertisement
from netcore.taps.dhcp_message import Message
from netcore.taps.frames import Solicitation
from resolver import limits
from resolver.daemon import allowance

log = logging.getLogger(__name__)

_ADVERTISED_EACH = 600.0
"""Seconds between advertisements that nobody asked for."""
_SETTLE = 0.05
"""Seconds for links that change together."""
_SOON = 1.0


@dataclass(frozen=True, slots=True)
class _Guest:
    sandbox: Sandbox
    endpoint: Endpoint
    network: Network


class Guests:
    """See the module. *resolver*: the daemon answers names at gateways."""

    def __init__(self, controller: Controller, *, resolver: bool) -> None:
        self._controller = controller
        self._resolver = resolver
        self._known: set[SandboxId] = set()
        self._served: dict[SandboxId, _TapService] = {}
        self._links: Notifications | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, sandbox: Sandbox) -> None:
        """Answer the guest of *sandbox*, if it has a tap."""
        if any(endpoint.tap is not None for endpoint in self._controller.state.endpoints.get(sandbox.id, ())):
            self._known.add(sandbox.id)
            self._look()

    def begin_all(self) -> None:
        """Answer the guests of all sandboxes."""
        self._known = {sandbox.id for sandbox, endpoint in self._controller.state.all_endpoints() if endpoint.tap is not None}
        self._look()

    async def close(self) -> None:
        """Answer nobody any more."""
        self._known.clear()
        self._look()

    def _look(self) -> None:
        """Have a socket at each tap that is there, and none at others; links are followed as long as there are taps."""
        self._timer = None
        self._known &= self._controller.state.endpoints.keys()
        for identity in [identity for identity in self._served if identity not in self._known]:
            self._served.pop(identity).close()
        for identity in self._known:
            self._serve(identity)
        if self._known and self._links is None:
            self._links = Notifications(LINKS)
            asyncio.get_running_loop().add_reader(self._links.fileno(), self._on_links)
        elif not self._known and self._links is not None:
            asyncio.get_running_loop().remove_reader(self._links.fileno())
            self._links.close()
            self._links = None

    def _on_links(self) -> None:
        assert self._links is not None
        self._links.drain()
        self._look_soon(_SETTLE)

    def _look_soon(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _serve(self, identity: SandboxId) -> None:
        found = self._guest(identity)
        index = tap_socket.index_of(found.endpoint.host_ifname) if found is not None else 0
        served = self._served.get(identity)
        if served is not None and served.index == index:
            return
        if served is not None:
            self._served.pop(identity).close()
        if found is None or not index:
            return
        try:
            self._served[identity] = _TapService(self, identity, index, tap_socket.opened(found.endpoint.host_ifname))
        except OSError as error:
            log.warning("a tap's guest is not answered yet sandbox=%s reason=%s", found.sandbox.name, error.strerror)
            self._look_soon(_SOON)

    def _guest(self, identity: SandboxId) -> _Guest | None:
        state = self._controller.state
        endpoint = next((endpoint for endpoint in state.endpoints.get(identity, ()) if endpoint.tap is not None), None)
        return _Guest(state.sandboxes[identity], endpoint, state.networks[endpoint.network_id]) if endpoint is not None else None

    def answer(self, identity: SandboxId, frame: bytes) -> bytes | None:
        """Return the frame that answers *frame* of a guest, None if nothing does."""
        found = self._guest(identity)
        if found is None:
            return None
        asked = frames.read(frame, octets(found.endpoint.mac))
        match asked:
            case Message():
                return self._dhcp(found, asked)
            case Solicitation():
                return self.advertisement(identity)
            case None:
                return None

    def _dhcp(self, found: _Guest, asked: Message) -> bytes | None:
        name = found.sandbox.name if fits_in_dns(found.sandbox.name) else ""
        told = guest.binding(found.network, found.endpoint, name, resolver=self._resolver)
        reply = dhcp_server.reply(asked, told) if told is not None else None
        router = tap_socket.mac_of(found.network.bridge.bridge_name)
        return frames.dhcp_frame(reply, source=told.server, mac=router) if reply is not None and told is not None and router else None

    def advertisement(self, identity: SandboxId) -> bytes | None:
        """Return the router advertisement for a guest, None where there is no IPv6."""
        found = self._guest(identity)
        router = tap_socket.mac_of(found.network.bridge.bridge_name) if found is not None else b""
        if found is None or not router:
            return None
        said = guest.advertisement(found.network, found.endpoint, router, resolver=self._resolver)
        if said is None:
            return None
        return frames.advertisement_frame(router_advertisement.encode(said), source=guest.router_address(router), mac=router)


class _TapService:
    """One tap with the *index*, by a socket of its own."""

    def __init__(self, guests: Guests, identity: SandboxId, index: int, sock: socket.socket) -> None:
        self.index = index
        self._guests = guests
        self._identity = identity
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._allowance = allowance.whole(limits.GUEST_BURST, limits.GUEST_RATE, self._loop.time())
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(sock, self._on_readable)
        self._periodic = self._loop.call_later(_ADVERTISED_EACH, self._advertise)

    def close(self) -> None:
        for timer in (self._pause, self._periodic):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _on_readable(self) -> None:
        if not self._allowance.take(self._loop.time()):
            # Nothing of it is read, so that a flood costs the kernel's queue and no more.
            self._loop.remove_reader(self._socket)
            self._pause = self._loop.call_later(1 / limits.GUEST_RATE, self._go_on)
            return
        frame = self._received()
        if frame is not None:
            self._answer(frame)

    def _go_on(self) -> None:
        """Answer the last question that waits; the others are old, and what is asked next must not wait behind them."""
        self._pause = None
        self._loop.add_reader(self._socket, self._on_readable)
        last = None
        # No more than the queue has room for: it fills again meanwhile.
        for _ in range(tap_socket.MOST_WAITING):
            frame = self._received()
            if frame is None:
                break
            last = frame
        if last is not None and self._allowance.take(self._loop.time()):
            self._answer(last)

    def _received(self) -> bytes | None:
        # BlockingIOError: nothing is there. Others: the link is down or gone, which the kernel tells as well.
        with contextlib.suppress(OSError):
            return self._socket.recv(frames.MOST)
        return None

    def _answer(self, frame: bytes) -> None:
        reply = self._guests.answer(self._identity, frame)
        if reply is not None:
            self._send(reply)

    def _advertise(self) -> None:
        self._periodic = self._loop.call_later(_ADVERTISED_EACH, self._advertise)
        frame = self._guests.advertisement(self._identity)
        if frame is not None:
            self._send(frame)

    def _send(self, frame: bytes) -> None:
        # What the guest does not get it asks for again.
        with contextlib.suppress(OSError):
            self._socket.send(frame)
