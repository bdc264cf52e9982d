"""Netlink sockets in the host's namespace that are kept from one use to the next.

Closing a socket of nfnetlink waits until the kernel has freed what was deleted from nftables lately, by whomever: 8 to 12 ms.

Spec: Linux net/netfilter/nf_tables_api.c (nft_rcv_nl_event).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from netcore import limits
from netcore.kernel.netlink import NetlinkSocket


class HostSockets:
    """Lends each socket to one at a time. Thread-safe. *open_socket*: of a protocol, in the host's namespace."""

    def __init__(self, open_socket: Callable[[int], NetlinkSocket] = NetlinkSocket) -> None:
        self._open_socket = open_socket
        self._idle: dict[int, list[NetlinkSocket]] = defaultdict(list)
        self._lock = Lock()
        self._closed = False

    @contextmanager
    def lent(self, protocol: int) -> Iterator[NetlinkSocket]:
        """Give a socket for the length of a block, to the caller's thread alone, which runs in the host's namespace."""
        with self._lock:
            idle = self._idle[protocol]
            netlink = idle.pop() if idle else None
        if netlink is None:
            netlink = self._open_socket(protocol)
        try:
            yield netlink
        finally:
            with self._lock:
                keep = not self._closed and not netlink.is_broken and len(self._idle[protocol]) < limits.KERNEL_WORKERS
                if keep:
                    self._idle[protocol].append(netlink)
            if not keep:
                netlink.close()

    def close(self) -> None:
        """Close all; those that are lent are closed when they come back."""
        with self._lock:
            self._closed = True
            idle = [netlink for of_protocol in self._idle.values() for netlink in of_protocol]
            self._idle.clear()
        for netlink in idle:
            netlink.close()
