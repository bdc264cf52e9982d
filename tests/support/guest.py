"""A stand-in for a virtual machine: `guest.py TAP NETNS` has the frames of a tap of this namespace come to eth0 of another, and back.

With - for NETNS and a command behind it the other one is new, and ends with the command, which runs there.

A hypervisor does the same: it opens the tap by its name, and the guest has a network card behind it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import struct
import subprocess
import sys
import threading

SET_INTERFACE, TAP, NO_PACKET_INFORMATION, NEW_NET = 0x400454CA, 0x0002, 0x1000, 0x4000_0000
DHCP_SCRIPT = """#!/bin/sh
# What a distribution's own script does with what udhcpc has got; all of it is kept for the test.
env | grep -E '^(ip|mask|subnet|router|dns|hostname|mtu|lease|serverid)=' > "${LEASES:-/mnt}/lease.$1"
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


def _enter(namespace: str) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if namespace == "-":
        failed = library.unshare(NEW_NET) < 0
    else:
        descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        failed = library.setns(descriptor, NEW_NET) < 0
    if failed:
        raise OSError(ctypes.get_errno(), f"entering {namespace}")


def _carry(outside: int, inside: int) -> None:
    while True:
        for ready in select.select([outside, inside], [], [])[0]:
            try:
                os.write(inside if ready == outside else outside, os.read(ready, 65536))
            except OSError as error:
                if ready == outside and error.errno == errno.EBADFD:
                    # The tap is gone.
                    return


def main() -> None:
    tap, namespace, *command = sys.argv[1:]
    outside = _opened(tap)
    _enter(namespace)
    inside = _opened("eth0")
    if not command:
        print("there", flush=True)
        _carry(outside, inside)
        return
    threading.Thread(target=_carry, args=(outside, inside), daemon=True).start()
    sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
