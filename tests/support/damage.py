"""Kinds of damage that others do to what berth made, each as a shell command, and what all of it looks like.

For a lab with what `make_front` and `start_box` make.
"""

from __future__ import annotations

from tests.support.lab import TABLES, Lab

VETH = "ip -o link show master br-front | cut -d: -f2 | cut -d@ -f1 | tr -d ' '"
"""Prints the host's end of the sandbox's link, called VETH in the commands."""
INSIDE = "berth-box"


def make_front(lab: Lab) -> None:
    """Make the network `front` on the bridge br-front."""
    lab.berth("network", "create", "--ipv6", "-o", "name=br-front", "--subnet", "10.70.0.0/24", "--subnet", "fd70::/64", "front")


def start_box(lab: Lab) -> None:
    """Start the sandbox `box` on `front`, at 10.70.0.2, with its port 80 published at 8070."""
    options = ("--network", "front", "--ip", "10.70.0.2", "--ip6", "fd70::2", "-p", "8070:80")
    lab.berth("run", "-d", "--name", "box", *options, "--", "sleep", "36000")


PICTURE = """
ip -d -o link show | sed 's/^[0-9]*: //; s/@if[0-9]*//; s/link-netns [^ ]*//; s/NO-CARRIER,//; s/,LOWER_UP//; s/state [A-Z]*//; s/qlen [0-9]*//' \
  | grep -e br-front -e veth -e 'lo:' -e eth0 | grep -v up0 \
  | sed 's/\\\\.* \\(link.ether [^ ]*\\)/ \\1/; s/\\(min\\|max\\)mtu [0-9]*//g; s/bridge_slave.*hairpin on.*/hairpin on/; s/^\\(veth.*link.ether\\) [^ ]*/\\1/; s/ bridge .*alias/ alias/; s/ bridge_slave.*//; s/ bridge .*//' | sort
ip -o addr show | awk '{print $2,$4}' | grep -v fe80 | sort
ip route show | sed 's/ proto [a-z]*//; s/ scope link//; s/ src [^ ]*//; s/ linkdown//; s/ *$//' | sort
ip -6 route show | sed 's/ proto [a-z]*//; s/ metric [0-9]*//; s/ pref [a-z]*//; s/ linkdown//' | grep -v -e fe80 -e multicast -e '^::1 dev lo' | sort
ip neigh show nud permanent | sort
bridge fdb show br br-front 2>/dev/null | grep -e sticky | sort
bridge -d link show 2>/dev/null | grep -o -e "learning [a-z]*" -e "isolated [a-z]*" | sort
"""
GUARD = "nft -s list table inet berth_guard | grep -v handle"
SYSCTLS = "cd /proc/sys/net/ipv4/conf && grep . up0/forwarding br-front/forwarding br-front/route_localnet"
FILES = "cd /run/berth/sandboxes/*/ && head -100 hosts hostname resolv.conf; ls; ls /run/netns"


def picture(lab: Lab) -> str:
    """Return everything that any of the damages changes, as text, once no link of an earlier sandbox is to be deleted any more."""
    lab.wait_for_deletes()
    host = lab.shell(f"{PICTURE}\n{TABLES}\n{GUARD}\n{SYSCTLS}\n{FILES}\nss -Hlntu | awk '{{print $1,$5}}' | sort", check=False)
    inside = lab.shell(
        f"{PICTURE}\nnft -s list table ip berth | sed -E 's/(port|set) [0-9]{{4,5}}/\\1 N/'\nss -Hlntu | sed -E 's/:[0-9]{{4,5}} /:N /' | awk '{{print $1,$5}}' | sort\ncat /proc/sys/net/ipv4/conf/eth0/rp_filter",
        where=INSIDE,
        check=False,
    )
    return f"{host}\n--- inside\n{inside}"


ON_THE_HOST = {
    "bridge deleted": "ip link del br-front",
    "bridge renamed": "ip link set br-front name stolen",
    "bridge down": "ip link set br-front down",
    "bridge with another MAC": "ip link set br-front address 02:00:00:00:00:99",
    "bridge without its alias": "ip link set br-front alias ''",
    "veth off its bridge": "ip link set $VETH nomaster",
    "veth on another bridge": "ip link add other type bridge; ip link set $VETH master other",
    "veth down": "ip link set $VETH down",
    "veth renamed": "ip link set $VETH name stolen",
    "veth deleted": "ip link del $VETH",
    "veth with another MTU": "ip link set $VETH mtu 1300",
    "hairpin off": "ip link set $VETH type bridge_slave hairpin off",
    "port learns": "bridge link set dev $VETH learning on",
    "port isolated": "ip link set $VETH type bridge_slave isolated on",
    "entry of a port deleted": "bridge fdb del $(bridge fdb show dev $VETH | awk '/sticky/ {print $1}') dev $VETH master",
    "gateway address deleted": "ip addr del 10.70.0.1/24 dev br-front",
    "gateway address deleted, IPv6": "ip addr del fd70::1/64 dev br-front",
    "all addresses flushed": "ip addr flush dev br-front",
    "route to the subnet deleted": "ip route del 10.70.0.0/24",
    "neighbour deleted": "ip neigh del 10.70.0.2 dev br-front",
    "neighbour with another MAC": "ip neigh replace 10.70.0.2 lladdr 02:00:00:00:00:99 dev br-front",
    "neighbour no longer permanent": "ip neigh replace 10.70.0.2 lladdr 02:00:00:00:00:99 dev br-front nud reachable",
    "forwarding of the bridge off": "sysctl -qw net.ipv4.conf.br-front.forwarding=0",
    "forwarding of an uplink off": "sysctl -qw net.ipv4.conf.up0.forwarding=0",
    "ruleset flushed": "nft flush ruleset",
    "table deleted": "nft delete table bridge berth",
    "table flushed": "nft flush table inet berth",
    "table dormant": "nft 'add table inet berth { flags dormant; }'",
    "chain flushed": "nft flush chain inet berth forward",
    "rule deleted": "nft delete rule inet berth forward handle $(nft -a list chain inet berth forward | grep -o 'handle [0-9]*' | tail -1 | cut -d' ' -f2)",
    "foreign rule in a chain of ours": "nft insert rule inet berth forward accept",
    "foreign chain in a table of ours": "nft add chain inet berth mine",
    "policy of a chain changed": "nft 'add chain inet berth forward { policy drop ; }'",
    "set flushed": "nft flush set inet berth bridges",
    "map flushed": "nft flush map inet berth dnat4_any",
    "element deleted": 'nft delete element bridge berth ports "{ $VETH }"',
    "foreign element": "nft add element inet berth internal '{ br-front }'",
    "element that leads elsewhere": "nft 'delete element inet berth dnat4_any { tcp . 8070 }; add element inet berth dnat4_any { tcp . 8070 : 10.70.0.9 . 80 }'",
    "pin unmounted": "umount -l /run/netns/berth-box; rm -f /run/netns/berth-box",
    "pin that is another namespace": "umount -l /run/netns/berth-box; rm /run/netns/berth-box; ip netns add berth-box",
    "held port destroyed": "ss -K -Hlnt sport = 8070",
    "resolver at the gateway destroyed": "ss -K -Hlnt src 10.70.0.1 sport = 53",
    "resolver at the gateway destroyed, UDP": "ss -K -Hanu src 10.70.0.1 sport = 53",
    "hosts file deleted": "rm /run/berth/sandboxes/*/hosts",
    "hosts file emptied": ": > $(echo /run/berth/sandboxes/*/hosts)",
    "resolv.conf deleted": "rm /run/berth/sandboxes/*/resolv.conf",
    "hostname deleted": "rm /run/berth/sandboxes/*/hostname",
}
WITHOUT_NOTICE = {"route_localnet of the bridge off": "sysctl -qw net.ipv4.conf.br-front.route_localnet=0"}
"""What the kernel tells nobody of."""
IN_THE_SANDBOX = {
    "lo down": "ip link set lo down",
    "127.0.0.1 deleted": "ip addr del 127.0.0.1/8 dev lo",
    "link down": "ip link set eth0 down",
    "link with another MAC": "ip link set eth0 address 02:00:00:00:00:99",
    "link renamed": "ip link set eth0 name stolen",
    "link deleted": "ip link del eth0",
    "address deleted": "ip addr del 10.70.0.2/24 dev eth0",
    "address deleted, IPv6": "ip addr del fd70::2/64 dev eth0",
    "default route deleted": "ip route del default",
    "default route elsewhere": "ip route replace default via 10.70.0.77",
    "route to the subnet deleted": "ip route del 10.70.0.0/24",
    "neighbour deleted": "ip neigh del 10.70.0.1 dev eth0",
    "sysctl changed": "sysctl -qw net.ipv4.conf.eth0.rp_filter=1",
    "ruleset flushed": "nft flush ruleset",
    "resolver destroyed": "ss -K -Hlnt src 127.0.0.11",
    "resolver destroyed, UDP": "ss -K -Hanu src 127.0.0.11",
    "redirect changed": "nft flush chain ip berth output",
}


def repairs(lab: Lab) -> float:
    text = lab.out("curl", "-s", "--unix-socket", "/run/berth/berth.sock", "http://berth/metrics")
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("berth_drift_repairs_total{"))
