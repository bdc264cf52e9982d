"""The README's main job on hosts as people have them: beside VPNs, before DHCP, with IPv6 only, with files as they are not meant to be."""

import pytest

from tests.support.lab import OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6, Lab

_VPN = """set -e
ip netns add vpn; ip link add vpn0 type veth peer name vpn1 netns vpn; ip link set vpn0 up; ip -n vpn link set lo up; ip -n vpn link set vpn1 up
ip addr add 10.8.0.2/24 dev vpn0; ip addr add fd08::2/64 dev vpn0 nodad
ip -n vpn addr add 10.8.0.1/24 dev vpn1; ip -n vpn addr add fd08::1/64 dev vpn1 nodad
"""
_HOSTS = {
    "def1 VPN": _VPN
    + "for half in 0.0.0.0/1 128.0.0.0/1; do ip route add $half via 10.8.0.1; done; for half in ::/1 8000::/1; do ip -6 route add $half via fd08::1; done",
    "split VPN": _VPN
    + "for net in 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16; do ip route add $net via 10.8.0.1; done; ip -6 route add fc00::/7 via fd08::1",
    "no default route yet": "ip route del default; ip -6 route del default",
    "no link yet": "ip link del up0",
    "IPv6 only": f"ip -4 addr flush dev up0; echo nameserver {OUTSIDE_ADDRESS6} > /etc/resolv.conf",
    "not a router": "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0",
    "router": "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
    "read-only /proc/sys": "mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys",
    "resolv.conf a dangling link": "rm -f /etc/resolv.conf; ln -s /run/nowhere/stub.conf /etc/resolv.conf",
    "no resolv.conf": "rm -f /etc/resolv.conf",
}
_QUICK = ("def1 VPN",)
"""The others are slow tests only because of how many they are."""
_NO_WAY_OUT = ("no default route yet", "no link yet", "IPv6 only")


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=() if kind in _QUICK else pytest.mark.slow) for kind in _HOSTS])
def test_main_job(kind):
    with Lab() as lab:
        lab.shell("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
        lab.shell(_HOSTS[kind])
        lab.berth("run", "-d", "--name", "web", "-p", "8080:80", "--", "python3", "-m", "http.server", "80")
        fetch = ("curl", "-sS", "-m", "5", "--retry", "9", "--retry-connrefused", "--retry-delay", "1")
        assert "Directory" in lab.berth("run", "--", *fetch, "http://web/").stdout
        assert "Directory" in lab.out(*fetch, "http://127.0.0.1:8080/")
        assert "Directory" in lab.out(*fetch, "http://[::1]:8080/")
        if kind not in _NO_WAY_OUT:
            lab.berth("run", "--", "ping", "-c1", "-W2", OUTSIDE_ADDRESS)
        if kind == "read-only /proc/sys":
            # Switching IPv6 on for a bridge takes sysctls; test_host_moves has the refusal.
            return
        lab.berth("network", "create", "--ipv6", "six")
        if kind not in ("no default route yet", "no link yet"):
            lab.berth("run", "--network", "six", "--", "ping", "-c1", "-W2", OUTSIDE_ADDRESS6)
