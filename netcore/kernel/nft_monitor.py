"""A socket that becomes readable whenever somebody changes nftables. What has changed it does not say.

Spec: Linux include/uapi/linux/netfilter/nfnetlink.h, NFNLGRP_NFTABLES.
"""

from __future__ import annotations

import socket

from netcore.kernel.netlink import NETFILTER

_GROUP = 7
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1


class NftMonitor:
    """See the module. For the event loop: its descriptor is non-blocking. Raises OSError where the kernel refuses it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETFILTER)
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def drain(self) -> None:
        """Read all notifications that are there, so that the descriptor is readable again only after a further change."""
        try:
            while self._socket.recv(65_536):
                continue
        except OSError:
            # It is empty (EAGAIN), or the kernel has dropped notifications (ENOBUFS): there was a change either way.
            return

    def close(self) -> None:
        self._socket.close()
