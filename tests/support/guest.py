"""A stand-in for a virtual machine: `guest.py TAP NETNS` has the frames of a tap of this namespace come to eth0 of another, and back.

A hypervisor does the same: it opens the tap by its name, and the guest has a network card behind it.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import sys

SET_INTERFACE, TAP, NO_PACKET_INFORMATION = 0x400454CA, 0x0002, 0x1000
DHCP_SCRIPT = """#!/bin/sh
# What a distribution's own script does with what udhcpc has got; all of it is kept for the test.
env | grep -E '^(ip|mask|subnet|router|dns|hostname|mtu|lease|serverid)=' > "/mnt/lease.$1"
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr replace "$ip/$mask" dev "$interface"
ip link set "$interface" mtu "$mtu"
[ -z "$router" ] || ip route replace default via "$router"
"""


def _opened(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(device, SET_INTERFACE, struct.pack("16sH22x", name.encode(), TAP | NO_PACKET_INFORMATION))
    os.set_blocking(device, False)
    return device


def main() -> None:
    tap, namespace = sys.argv[1:]
    outside = _opened(tap)
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    import ctypes

    if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x4000_0000) < 0:
        raise OSError(ctypes.get_errno(), "setns")
    inside = _opened("eth0")
    print("there", flush=True)
    while True:
        for ready in select.select([outside, inside], [], [])[0]:
            try:
                frame = os.read(ready, 65536)
                os.write(inside if ready == outside else outside, frame)
            except OSError as error:
                if ready == outside and error.errno == 77:  # EBADFD: the tap is gone
                    return
                continue


if __name__ == "__main__":
    main()
