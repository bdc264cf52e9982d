"""The rules that hold back the first data of a connection and copy them to the daemon, which reads what server they ask for. Pure.

Constant text: sets and chains for a table of the family inet. Which connections are looked at, the rules that jump here decide:

* `look_hold`, for what begins a connection that nothing but a name opens: it is held from now on.
* `look_from_client` and `look_from_server`, for the packets of a connection whose mark is held. Both return for what may pass.

A connection is opened while packets of it are between two rules. So whether it is open must be asked behind whether it is held (and may be
asked before that too): what was held at one rule and is open at the next would else be neither. Only `look_hold` makes it held, and only
what begins a connection goes there.

What conntrack takes for no part of a connection (`ct state invalid`) has no connection mark, so it must be dropped before.
"""

from __future__ import annotations

from netcore import limits

HELD = 0x0100_0000
"""First connection mark of those whose server is not known yet. The last 24 bits are a number that each beginning of a connection
gets anew and by chance, so that what is decided about one never opens another one between the same ends."""

FOLLOWED = 0x0200_0000
"""First connection mark of HTTP connections, held to their end, because each of their requests may name another server."""

_NUMBERS = 1 << 24
NUMBER = _NUMBERS - 1
"""Bits of the number in either mark."""
LAST_HELD = FOLLOWED + _NUMBERS - 1

FORGED = 0x0400_0000
"""Bit set on packets that are sent to a client in the place of its server, until they have passed the first hook."""

GROUP = 0xBE47
"""Log group of the copies (NFLOG)."""

FROM_CLIENT, FROM_SERVER = "berth-client", "berth-server"
"""Prefixes of the copies."""

IS_HELD = f"ct mark {HELD:#010x}-{LAST_HELD:#010x}"
BEGINS = "tcp flags & (fin | syn | rst | ack) == syn"

_REPLY_HEADERS = 120
"""Octets of a server's packet that are copied: the headers of IPv6 and TCP, and more."""


def _without_payload(header: int) -> str:
    """Return (length of a packet . length of its TCP header in words) for each that has no payload. *header*: octets of its IP header."""
    return ", ".join(f"{header + 4 * words} . {words}" for words in range(5, 16))


SETS = f"""
  set without_payload4 {{ typeof meta length . tcp doff; elements = {{ {_without_payload(20)} }}; }}
  set without_payload6 {{ typeof meta length . tcp doff; elements = {{ {_without_payload(40)} }}; }}
  set look_clients {{ type ifname . ether_addr; size {limits.BOUNDED_SENDERS}; flags dynamic,timeout; timeout 1m; }}
  set look_servers4 {{ type ipv4_addr; size {limits.BOUNDED_SENDERS}; flags dynamic,timeout; timeout 1m; }}
  set look_servers6 {{ type ipv6_addr; size {limits.BOUNDED_SENDERS}; flags dynamic,timeout; timeout 1m; }}
"""

_TOO_MANY = f"limit rate over {limits.LOOKED_PACKETS_PER_SECOND}/second burst {limits.LOOKED_PACKETS_AT_ONCE} packets"

CHAINS = f"""
  chain look_hold {{
    ct mark set numgen random mod {_NUMBERS} offset {HELD}
  }}
  chain look_from_client {{
    # The handshake passes, and what only acknowledges or ends. With options or extension headers nothing does.
    ip hdrlength 5 meta length . tcp doff @without_payload4 return
    ip6 nexthdr tcp meta length . tcp doff @without_payload6 return
    update @look_clients {{ iifname . ether saddr {_TOO_MANY} }} drop
    meta mark set ct mark log prefix "{FROM_CLIENT}" group {GROUP} drop
  }}
  chain look_from_server {{
    # What is not copied passes all the same.
    update @look_servers4 {{ ip daddr {_TOO_MANY} }} return
    update @look_servers6 {{ ip6 daddr {_TOO_MANY} }} return
    log prefix "{FROM_SERVER}" group {GROUP} snaplen {_REPLY_HEADERS}
  }}
  chain look_forged {{
    type filter hook output priority -300; policy accept;
    meta mark and {FORGED:#010x} != 0 meta mark set meta mark and {~FORGED & 0xFFFF_FFFF:#010x} notrack
  }}
"""
