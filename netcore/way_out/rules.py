"""The rules of the namespace between a nest and the outside: what comes from the nest goes to sockets here. Pure, constant text.

The beginning of a connection is copied and dropped, and sent again once it is known that the outside takes it: then it comes from
another hardware address. So a client's handshake is answered only after that of the server.
"""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface

UPLINK, INNER = "uplink0", "nest0"
"""The two ends of the link: that of the nest, and that of the namespace here."""
MTU = 65_520
NEST4, HERE4 = IPv4Interface("192.0.0.2/29"), IPv4Interface("192.0.0.1/29")
"""Addresses of either end, of a prefix that no host has for its own networks (RFC 7335)."""
NEST6, HERE6 = IPv6Interface("fd62:6572:7468::2/64"), IPv6Interface("fd62:6572:7468::1/64")
NEST_MAC, HERE_MAC, AGAIN_MAC = "02:be:47:00:00:02", "02:be:47:00:00:01", "02:be:47:00:00:03"
"""Of the two ends, and of what is sent again."""
PORT = 50_080
"""Where the sockets listen that take what goes to any address and port."""
MARK, TABLE = 1, 100
"""Mark of packets for those sockets, and the routing table that has them delivered here."""
NEST_MARK = 0x0020_0000
"""Bit of the mark, in the nest, of packets for sockets that have the address of a client."""
REFUSED_PER_SECOND = 100
"""Packets of protocols that are not carried, whose senders are told."""
GROUP = 0xBE48
"""Log group of the copies."""

NO_DESTINATIONS = ("ip daddr { 0.0.0.0/8, 127.0.0.0/8 }", "ip6 daddr { ::/96, ::ffff:0.0.0.0/96 }")
"""What a socket takes for its own host (`::`) or for an IPv4 address (mapped ones), past what the nest decided. No router has it."""

_BEGINS = "tcp flags & (fin | syn | rst | ack) == syn"

RULES = f"""
table inet way_out {{
  chain prerouting {{
    type filter hook prerouting priority -150; policy accept;
    iifname != "{INNER}" accept
    {NO_DESTINATIONS[0]} reject with icmpx no-route
    {NO_DESTINATIONS[1]} reject with icmpx no-route
    fib daddr type {{ local, broadcast, multicast }} goto own
    {_BEGINS} ether saddr {AGAIN_MAC} tproxy to :{PORT} meta mark set {MARK:#x} accept
    {_BEGINS} log group {GROUP} drop
    meta l4proto {{ tcp, udp }} socket transparent 1 meta mark set {MARK:#x} accept
    meta l4proto tcp reject with tcp reset
    meta l4proto udp tproxy to :{PORT} meta mark set {MARK:#x} accept
    icmp type echo-request log group {GROUP} drop
    icmpv6 type echo-request log group {GROUP} drop
    meta l4proto {{ icmp, ipv6-icmp }} drop
    # No socket of an ordinary user carries any other protocol, which its sender is told.
    limit rate {REFUSED_PER_SECOND}/second burst {REFUSED_PER_SECOND} packets log group {GROUP}
    drop
  }}
  chain own {{
    meta l4proto {{ tcp, udp }} reject with icmpx port-unreachable
  }}
}}
"""

NEST_RULES = f"""
table inet berth_clients {{
  chain prerouting {{
    type filter hook prerouting priority -140; policy accept;
    # What a sandbox answers to a client of a published port, whose connection a relay in the nest has made with that client's address.
    meta l4proto {{ tcp, udp }} socket transparent 1 meta mark set meta mark or {NEST_MARK:#x}
  }}
  chain forward {{
    # Behind what egress rules refuse, and log. What is said here reaches its sender also where NAT knows nothing of the protocol.
    type filter hook forward priority 200; policy accept;
    oifname != "{UPLINK}" accept
    meta l4proto {{ tcp, udp, icmp, ipv6-icmp }} accept
    meta nfproto ipv4 reject with icmp prot-unreachable
    meta nfproto ipv6 reject with icmpv6 admin-prohibited
  }}
}}
"""
