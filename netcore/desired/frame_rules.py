"""The rules of table `bridge berth`: what a sandbox's port may send. Constant text; the sets are those of `firewall`.

Each frame that a bridge gets from a port meets chain `source` before the bridge looks at it; for the groups that bridges keep
to themselves that takes a flag of the port (`kernel.handlers.links`).
"""

from __future__ import annotations

from ipaddress import IPv6Address

from netcore import limits
from netcore.parse.mac import interface_identifier, octets

KNOWN = 0x0800_0000
"""Bit set on what comes by a port of ours, from the bridge's hook to the first one of the host's stack and no further."""

JUDGED = 0x0080_0000
"""The same for what is from a sandbox with egress rules, once those rules have decided about the frame. A mark of its own: while
the ruleset is flushed, a frame may have met the chain that sets the one above and not the chain that decides."""

COUNTERS = ("reserved", "tagged", "source_route", "router", "source", "unknown_port")
"""Counters of dropped frames, in the order in which they are declared."""

OFFENDERS = "offenders"

DYNAMIC_SETS = f"""
  set {OFFENDERS} {{ type ifname; size {limits.BOUNDED_SENDERS}; flags dynamic,timeout; timeout 1d; }}"""
"""Sets that rules fill, not we: the ports that something was dropped from, each with a counter."""

_DISCOVERY = "{ nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect }"

CHAINS = """
  chain source {
    type filter hook prerouting priority -310; policy accept;
    iifname @ports goto bound
    iifname @tunnel_ports meta mark set meta mark or %(known)s
  }
  chain bound {
    # Groups that a bridge keeps to itself: STP, LACP, LLDP (IEEE 802.1D table 7-10).
    ether daddr and ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 counter name reserved goto offence
    ether type { 8021q, 8021ad } counter name tagged goto offence
    meta protocol vmap { ip : jump ipv4, ip6 : jump ipv6 }
    meta mark set meta mark or %(known)s
    iifname . ether saddr . ip saddr @source4 accept
    iifname . ether saddr . arp saddr ip @source4 iifname . arp saddr ether . arp saddr ip @source4 goto known_arp
    icmpv6 type nd-neighbor-solicit iifname . ether saddr . ip6 saddr @source6 goto known_solicitation
    iifname . ether saddr . ip6 saddr @source6 accept
    # A router forwards packets with its own MAC and the sender's address. Its ARP and ND stay bound to its own.
    iifname . ether saddr != @routers counter name source goto offence
    meta protocol ip accept
    icmpv6 type %(discovery)s counter name source goto offence
    meta protocol ip6 accept
    counter name source goto offence
  }
  chain ipv4 {
    ip hdrlength > 5 ip option lsrr exists counter name source_route goto offence
    ip hdrlength > 5 ip option ssrr exists counter name source_route goto offence
    ip protocol tcp return
    iifname . ether saddr @routers return
    icmp type { redirect, router-advertisement } counter name router goto offence
    igmp type membership-query counter name router goto offence
    udp dport 68 counter name router goto offence
  }
  chain ipv6 {
    ip6 nexthdr tcp return
    ip6 nexthdr != { udp, ipv6-icmp } jump extended
    icmpv6 type nd-neighbor-advert iifname . ether saddr . @th,64,128 != @target6 counter name source goto offence
    # Duplicate detection for another's address would keep it from using it.
    icmpv6 type nd-neighbor-solicit ip6 saddr :: iifname . ether saddr . @th,64,128 != @target6 counter name source goto offence
    iifname . ether saddr @routers return
    icmpv6 type { nd-router-advert, nd-redirect, mld-listener-query } counter name router goto offence
    udp dport 546 counter name router goto offence
  }
  chain extended {
    rt type 0 counter name source_route goto offence
    exthdr frag missing return
    # Neighbour discovery is never fragmented (RFC 6980), and all headers are in the first fragment (RFC 7112).
    icmpv6 type %(discovery)s counter name source goto offence
    frag frag-off 0 jump first_fragment
  }
  chain first_fragment {
    # True of any four octets, so it says whether they are there.
    @th,0,32 and 0 == 0 return
    counter name source goto offence
  }
  chain offence {
    # Which port it was, as long as there is room; the frame is dropped in any case.
    update @offenders { iifname counter }
    drop
  }
  chain forward {
    type filter hook forward priority 10; policy accept;
    iifname != @members oifname @exclusive_ports counter name unknown_port drop
    iifname != @noicc accept
    # A published port of its own network: with bridge-nf-call-iptables translated frames are bridged, not routed.
    meta mark and %(hairpin)s == %(hairpin)s accept
    drop
  }
""".replace("%(discovery)s", _DISCOVERY)


def link_local(mac: str) -> IPv6Address:
    """Return the link-local address that the kernel derives from *mac* (RFC 4291 appendix A)."""
    return IPv6Address(b"\xfe\x80" + bytes(6) + interface_identifier(octets(mac)))
