"""A laptop and a pretend internet: two wireless networks, a wired one, a VPN, name servers, a web server.

The host is a `Lab`. Its link `wlan0` is in the air with two routers of which one is in range; `eth0` comes and goes. Each
router translates what comes from its own LAN and drops what has another source, as routers of providers do. The VPN is a
tun link whose packets go as UDP over whatever way the host has to 198.51.100.10.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.lab import Lab

WEB, WEB6, PUBLIC_SERVER, VPN_SERVER = "192.0.2.80", "2001:db8:80::80", "203.0.113.53", "198.51.100.10"
_SUPPORT = Path(__file__).parent

_INTERNET = f"""set -e
ip link del up0; ip netns del outside
for name in internet air home cafe office vpn; do
  ip netns add $name; ip -n $name link set lo up
  ip netns exec $name sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
done
ip -n internet addr add {WEB}/32 dev lo; ip -n internet addr add {PUBLIC_SERVER}/32 dev lo; ip -n internet addr add {WEB6}/128 dev lo nodad
number=0
for name in home cafe vpn office; do
  ip -n internet link add $name type veth peer name wan netns $name
  ip -n internet link set $name up; ip -n $name link set wan up
  ip -n internet addr add 198.51.100.$((4 * number + 1))/30 dev $name; ip -n $name addr add 198.51.100.$((4 * number + 2))/30 dev wan
  ip -n internet addr add 2001:db8:ff:$number::1/64 dev $name nodad; ip -n $name addr add 2001:db8:ff:$number::2/64 dev wan nodad
  ip -n $name route add default via 198.51.100.$((4 * number + 1)); ip -n $name -6 route add default via 2001:db8:ff:$number::1
  number=$((number + 1))
done
ip -n air link add bridge type bridge; ip -n air link set bridge up
ip link add wlan0 type veth peer name laptop netns air
for name in home cafe; do ip -n air link add $name type veth peer name lan netns $name; ip -n $name link set lan up; done
for port in laptop home cafe; do ip -n air link set $port master bridge; done
ip -n air link set laptop up
"""

_ROUTER = """set -e
ip -n {name} addr add {lan4}.1/24 dev {link}; ip -n {name} addr add {lan6}::1/64 dev {link} nodad
ip netns exec {name} nft -f - <<END
table inet router {{
  chain forward {{
    type filter hook forward priority filter;
    iifname "{link}" ip saddr != {lan4}.0/24 drop
    iifname "{link}" ip6 saddr != {lan6}::/64 drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    oifname wan ip saddr {lan4}.0/24 masquerade
    oifname wan ip6 saddr {lan6}::/64 masquerade
  }}
}}
END
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A network that the laptop may be in. *link*: of the laptop. *name*: of the router's namespace."""

    name: str
    link: str
    lan4: str
    lan6: str
    metric: int

    @property
    def server(self) -> str:
        """The name server that DHCP names."""
        return f"{self.lan4}.1"

    def lease(self, number: int = 50) -> str:
        """Return the script of a DHCP client and of router discovery."""
        return (
            f"ip link set {self.link} up; ip addr add {self.lan4}.{number}/24 dev {self.link};"
            f"ip addr add {self.lan6}::{number}/64 dev {self.link} nodad;"
            f"ip route add default via {self.lan4}.1 dev {self.link} metric {self.metric};"
            f"ip -6 route add default via {self.lan6}::1 dev {self.link} metric {self.metric};" + resolv_conf(self.server)
        )


HOME = Place("home", "wlan0", "192.168.1", "2001:db8:1", 600)
CAFE = Place("cafe", "wlan0", "10.20.0", "2001:db8:2", 600)
OFFICE = Place("office", "eth0", "10.30.0", "2001:db8:3", 100)
_VPN = Place("vpn", "tun0", "10.8.0", "fd08", 50)


def resolv_conf(server: str) -> str:
    """Return the script that replaces resolv.conf, behind its link, as network managers do."""
    return f"mkdir -p /run/network; echo nameserver {server} > /run/network/new; mv /run/network/new /run/network/resolv.conf"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of `laptop_probe`: *start* and *took* in seconds, of the machine's monotonic clock. *kind*: what was attempted."""

    kind: str
    start: float
    took: float
    ok: bool
    error: str


class Laptop:
    """See the module. *lab*: the host."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._tunnel_pid = 0

    def build(self) -> None:
        """Build the internet; the laptop is in no network, and its resolv.conf is a dangling link."""
        self.lab.shell(_INTERNET)
        self.lab.shell("ip -n office link add lan type bridge; ip -n office link set lan up")
        for place in (HOME, CAFE, OFFICE):
            self.lab.shell(_ROUTER.format(name=place.name, link="lan", lan4=place.lan4, lan6=place.lan6))
            self._name_server(place.server, place.name)
        self._name_server(PUBLIC_SERVER, "internet")
        self._tunnel("server", where="vpn")
        self.lab.wait_for(lambda: "tun0" in self.lab.out("ip", "-o", "link", where="vpn"))
        self.lab.shell("ip -n vpn link set tun0 up")
        self.lab.shell(_ROUTER.format(name="vpn", link="tun0", lan4=_VPN.lan4, lan6=_VPN.lan6))
        self._name_server(_VPN.server, "vpn")
        self.lab.shell("mkdir -p /mnt/www; touch /mnt/www/there")
        self.lab.start("python3", "-m", "http.server", "--bind", "::", "--directory", "/mnt/www", "80", where="internet")
        self.lab.start(sys.executable, str(_SUPPORT / "laptop_probe.py"), "echo", where="internet")
        self.lab.shell("rm -f /etc/resolv.conf; ln -s /run/network/resolv.conf /etc/resolv.conf")
        self.lab.wait_for(lambda: self.lab.run("curl", "-sf", f"http://{WEB}/there", where="internet", check=False).returncode == 0)

    def _name_server(self, address: str, where: str) -> None:
        self.lab.start_listening("upstream.py", address, "ok", "quiet", where=where)

    def _tunnel(self, side: str, where: str = "host") -> int:
        return self.lab.start(sys.executable, str(_SUPPORT / "tunnel.py"), side, VPN_SERVER, where=where).pid

    # --- what happens to it -------------------------------------------------------------------------------------

    def in_range(self, *names: str) -> None:
        """Have the wireless networks called *names* in range, and no others."""
        for place in (HOME, CAFE):
            self.lab.shell(f"ip -n air link set {place.name} {'up' if place.name in names else 'down'}")

    def enter(self, place: Place, number: int = 50) -> None:
        """Be in *place*, with an address of it."""
        self.lab.shell("set -e; " + place.lease(number))

    def leave(self) -> None:
        """Lose all addresses of `wlan0`."""
        self.lab.shell("ip addr flush dev wlan0 scope global; ip -6 route flush dev wlan0 proto boot")

    def plug_in(self) -> None:
        """Be in the office as well, by `eth0`."""
        self.lab.shell("ip link add eth0 type veth peer name laptop netns office; ip -n office link set laptop up master lan")
        self.enter(OFFICE)

    def pull_out(self, back: Place) -> None:
        """Lose `eth0`."""
        self.lab.shell("ip link del eth0;" + resolv_conf(back.server))

    def vpn_up(self, place: Place) -> None:
        """Send everything through the VPN, in the way of OpenVPN's def1."""
        process = self._tunnel("client")
        self.lab.wait_for(lambda: "tun0" in self.lab.out("ip", "-o", "link"))
        self._tunnel_pid = process
        self.vpn_server_by(place)
        self.lab.shell(
            "set -e; ip addr add 10.8.0.2/24 dev tun0; ip addr add fd08::2/64 dev tun0 nodad; ip link set tun0 up mtu 1400;"
            "for half in 0.0.0.0/1 128.0.0.0/1; do ip route add $half via 10.8.0.1; done;"
            "for half in ::/1 8000::/1; do ip -6 route add $half dev tun0; done;" + resolv_conf(_VPN.server)
        )

    def vpn_server_by(self, place: Place) -> None:
        """Reach the VPN's server by the router of *place*."""
        self.lab.shell(f"ip route replace {VPN_SERVER} via {place.lan4}.1 dev {place.link}")

    def vpn_down(self, place: Place) -> None:
        """End the VPN; its link goes with its program."""
        self.lab.run("kill", str(self._tunnel_pid))
        self.lab.wait_for(lambda: "tun0" not in self.lab.out("ip", "-o", "link"))
        self.lab.shell(resolv_conf(place.server))

    def router_fails(self) -> None:
        """Have the router at home forward nothing and answer no names, while the laptop keeps address and routes."""
        self.lab.run(
            "nft",
            "-f",
            "-",
            where="home",
            stdin="table inet fault { chain incoming { type filter hook prerouting priority raw; policy drop; }; }",
        )

    def router_is_back(self) -> None:
        """End `router_fails`."""
        self.lab.run("nft", "delete", "table", "inet", "fault", where="home")

    # --- what it sees -------------------------------------------------------------------------------------------

    def probe(self, where: str, pause: float) -> None:
        """Attempt everything, each *pause* seconds, from a sandbox or from the host; see `attempts`."""
        command = [sys.executable, str(_SUPPORT / "laptop_probe.py"), "probe", f"/mnt/{where}.log", str(pause)]
        if where != "host":
            command = [sys.executable, "-m", "resolver", "exec", where, *command]
        self.lab.start(*command)

    def attempts(self, where: str) -> list[Attempt]:
        """Return all attempts that are complete."""
        text = self.lab.shell(f"cat /mnt/{where}.log", check=False)
        return [Attempt(**json.loads(line)) for line in text.splitlines() if line.endswith("}")]


@contextmanager
def laptop() -> Iterator[Laptop]:
    """Yield a laptop in no network."""
    with Lab() as lab:
        made = Laptop(lab)
        made.build()
        yield made
