"""All UDP sockets of the daemon behind one epoll descriptor that the event loop watches.

The loop takes 0.7 us to call one reader of one socket; with a thousand sandboxes that is a sixth of what a query costs.
Here one wake-up serves every socket that is ready. Each has a bounded number of datagrams read in its turn, so that the
others get their turn too while one sandbox floods.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable

from resolver import limits
from resolver.transport.batch import Batch
from resolver.transport.in_hand import InHand
from resolver.transport.lone_queries import LoneQueries
from resolver.transport.protocol import Service

_ROUNDS = 4
_FULL_READS = 8
"""Of so many looks at what is ready, all sockets are read in full after one."""


class Poller:
    """Calls the reader of each socket that has datagrams, then the flush functions that were asked for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, in_hand: InHand | None = None) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._flushers: dict[Callable[[], None], None] = {}
        self._lone: dict[tuple[Service, int], LoneQueries] = {}
        self._looks = 0
        self._running = False
        self._scheduled = False
        self.in_hand = InHand() if in_hand is None else in_hand
        self.ipv4, self.ipv6 = Batch(socket.AF_INET, self.in_hand.batch(0)), Batch(socket.AF_INET6, self.in_hand.batch(1))
        self.on_error: Callable[[int], None] = lambda _: None
        """Is told the descriptor of a socket that has an error, before its reader takes that away."""
        loop.add_reader(self._epoll.fileno(), self._round)

    def batch(self, family: int) -> Batch:
        """Return the shared memory for sockets of *family*."""
        return self.ipv4 if family == socket.AF_INET else self.ipv6

    def lone_queries(self, service: Service, family: int) -> LoneQueries:
        """Return those that read sockets of *family* one query at a time, for *service*."""
        found = self._lone.get((service, family))
        if found is None:
            found = self._lone[service, family] = LoneQueries(service, self.batch(family), self.in_hand)
        return found

    def add(self, descriptor: int, reader: Callable[[], None]) -> None:
        """Call *reader* whenever the socket has datagrams. It reads a bounded number of them."""
        self._readers[descriptor] = reader
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        """Stop calling the socket's reader; to be called before it is closed."""
        for lone in self._lone.values():
            lone.remove(descriptor)
        if self._readers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def flush_later(self, flush: Callable[[], None]) -> None:
        """Call *flush* once, at the end of this round or, outside of rounds, of this turn of the loop."""
        self._flushers[flush] = None
        if not self._running and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def answer_waiting(self) -> None:
        """Serve the sockets that are ready, in the middle of other work on the loop that would keep them waiting."""
        if self._running:
            return
        try:
            self._round()
        except Exception as error:
            self._loop.call_exception_handler({"message": "a query was not answered", "exception": error})

    def _round(self) -> None:
        """Serve the sockets that are ready. A few times over: polling again is cheaper than a turn of the loop."""
        self._running = True
        try:
            for _ in range(_ROUNDS):
                ready = self._epoll.poll(0, limits.READY_SOCKETS)
                if not ready:
                    return
                self._looks += 1
                # With one socket nothing is shared, and reading it in full tells how many queries it has.
                if len(ready) > 1 and self._looks % _FULL_READS:
                    for lone in self._lone.values():
                        ready = lone.answer(ready, select.EPOLLIN)
                for descriptor, event in ready:
                    if event & select.EPOLLERR:
                        self.on_error(descriptor)
                    reader = self._readers.get(descriptor)
                    if reader is not None:
                        reader()
                if self._flushers:
                    self._flush()
        finally:
            self._running = False
            if self._flushers:
                self._flush()

    def _flush(self) -> None:
        self._scheduled = False
        flushers, self._flushers = self._flushers, {}
        for flush in flushers:
            flush()

    def close(self) -> None:
        """Stop; the sockets are their owners' to close."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
