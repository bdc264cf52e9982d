"""A lab for the look at TLS and HTTP: sandboxes on a bridge, rules that hold back their first data, a looker, a server outside.

Sandbox `nat` leaves by masquerading, `routed` with its own address. As a program, this file is the looker: its arguments are the
names that are allowed, it prints "looking" and then each refusal as a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

from netcore.desired import look_rules
from netcore.kernel.packet_log import PacketLog
from netcore.look.looker import Looker
from netcore.look.steps import Allowed, Asked, Denied, Refusal, Verdict
from tests.support.lab import OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6, Lab

OPENED = 0x8000_0001
SANDBOXES = {"nat": ("10.50.0.2", "fd50::2"), "routed": ("10.50.0.3", "fd50::3")}
SERVERS = {4: OUTSIDE_ADDRESS, 6: OUTSIDE_ADDRESS6}
OTHER_PORT = 8080

_TABLE = f"""
table inet look {{
  {look_rules.SETS}
  {look_rules.CHAINS}
  chain forward {{
    type filter hook forward priority -15; policy accept;
    iifname "br0" ct state invalid drop
    iifname "br0" ct direction original {look_rules.BEGINS} jump look_hold
    iifname "br0" udp dport 443 reject with icmpx admin-prohibited
    {look_rules.IS_HELD} ct direction original jump look_from_client
    {look_rules.IS_HELD} ct direction reply jump look_from_server
    {look_rules.IS_HELD} accept
    ct mark {OPENED:#x} accept
    iifname "br0" meta l4proto tcp reject with tcp reset
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    ip saddr {SANDBOXES["nat"][0]} masquerade
    ip6 saddr {SANDBOXES["nat"][1]} masquerade
  }}
}}
"""

_SETUP = """
set -e
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip link add br0 type bridge
ip link set br0 up
ip addr add 10.50.0.1/24 dev br0
ip -6 addr add fd50::1/64 dev br0 nodad
ip -n outside route add 10.50.0.3/32 via 10.9.0.2
ip -n outside -6 route add fd50::3/128 via fd09::2
"""

_OUTSIDE_RULES = f"""
table inet canary {{
  {look_rules.SETS}
  counter payload {{ }}
  chain input {{
    type filter hook input priority 0; policy accept;
    meta nfproto ipv4 meta l4proto tcp meta length . tcp doff != @without_payload4 counter name payload
    meta nfproto ipv6 meta l4proto tcp meta length . tcp doff != @without_payload6 counter name payload
  }}
}}
"""


def set_up(lab: Lab) -> None:
    """Make the sandboxes and the rules of *lab*."""
    lab.shell(_SETUP)
    for name, (address, address6) in SANDBOXES.items():
        lab.shell(
            f"set -e; ip netns add {name}; ip link add v-{name} type veth peer name eth0 netns {name}; ip link set v-{name} master br0 up;"
            f"ip -n {name} link set lo up; ip -n {name} link set eth0 up; ip -n {name} addr add {address}/24 dev eth0;"
            f"ip -n {name} -6 addr add {address6}/64 dev eth0 nodad; ip -n {name} route add default via 10.50.0.1;"
            f"ip -n {name} -6 route add default via fd50::1"
        )
    lab.run("nft", "-f", "-", stdin=_TABLE)
    lab.run("nft", "-f", "-", stdin=_OUTSIDE_RULES, where="outside")


def start_server(lab: Lab) -> None:
    """Start the server outside, with a certificate for every name below `example`."""
    lab.shell(
        "set -e; cd /run; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=lab"
        " -addext 'subjectAltName=DNS:packages.example,DNS:evil.example,DNS:other.packages.example' 2>/dev/null; : > canary.log"
    )
    server = lab.start(
        sys.executable,
        "-m",
        "tests.support.looked_at_server",
        "/run/ca.pem",
        "/run/ca.key",
        "/run/canary.log",
        *SERVERS.values(),
        where="outside",
    )
    assert server.stdout is not None
    line = server.stdout.readline()
    assert line == "listening\n", line + server.stdout.read()


def start_looker(lab: Lab, *names: str) -> subprocess.Popen[str]:
    """Start a looker that allows *names*, and return it once it looks."""
    process = lab.start(sys.executable, "-m", "tests.support.look_lab", *names)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == "looking\n", line + process.stdout.read()
    return process


def payloads(lab: Lab) -> int:
    """Return how many TCP segments with a payload have reached the outside."""
    listed = json.loads(lab.out("nft", "-j", "list", "counter", "inet", "canary", "payload", where="outside"))
    counted: int = listed["nftables"][1]["counter"]["packets"]
    return counted


def _allows(names: list[str], asked: Asked) -> Verdict:
    if asked.name in names or (asked.name is None and asked.port == OTHER_PORT):
        return Allowed(OPENED)
    return Denied(f"sandbox may not reach {asked.name or asked.address}")


def _print(refusal: Refusal) -> None:
    said = {"name": refusal.name, "protocol": refusal.protocol.value, "address": str(refusal.address), "port": refusal.port}
    print(
        json.dumps({**said, "sandbox": str(refusal.sender.address), "mac": refusal.sender.mac.hex(":"), "text": refusal.sentence}),
        flush=True,
    )


async def _look(names: list[str]) -> None:
    looker = Looker(PacketLog(look_rules.GROUP), lambda asked: _allows(names, asked), _print, "/run/decisions")
    print("looking", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        looker.close()


if __name__ == "__main__":
    asyncio.run(_look(sys.argv[1:]))
