"""A VPN without encryption: `python tunnel.py client|server SERVER`. Packets of the link tun0 go as UDP to the other end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import sys

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 1, 0x1000
_PORT = 1194


def main() -> None:
    is_client, server = sys.argv[1] == "client", sys.argv[2]
    link = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(link, _TUNSETIFF, struct.pack("16sH22x", b"tun0", _IFF_TUN | _IFF_NO_PI))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer: tuple[str, int] | None = (server, _PORT) if is_client else None
    if not is_client:
        sock.bind(("", _PORT))
    while True:
        for ready in select.select([link, sock.fileno()], [], [])[0]:
            # No way just now, or a link that is down: as if the network had lost it.
            with contextlib.suppress(OSError):
                if ready == link:
                    packet = os.read(link, 65_536)
                    if peer is not None:
                        sock.sendto(packet, peer)
                    continue
                packet, sender = sock.recvfrom(65_536)
                if not is_client:
                    # The client may have moved.
                    peer = sender
                os.write(link, packet)


main()
