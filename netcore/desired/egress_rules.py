"""The firewall's part of egress rules: constant chains, and the elements of one sandbox. See docs/egress-design.md.

Frames of a sandbox with rules are handed to the host, also those between ports of one bridge: so one place judges all, with
connection tracking, and can answer a refused TCP connection with a reset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import collapse_addresses
from zlib import crc32

from netcore import limits
from netcore.desired import frame_rules, look_rules
from netcore.desired.objects import Element, FirewallSet, Order
from netcore.desired.objects.kind import Between
from netcore.egress import special
from netcore.egress.boxes import Boxes, public_parts
from netcore.egress.intervals import Piece, pieces
from netcore.egress.openings import Opening
from netcore.egress.ports import DNS, EVERYTHING, PROTOCOLS, Ports
from netcore.egress.rules import Wide
from netcore.model import BridgeOptions, Endpoint, IPAddress, IPNetwork, Network

_INET, _BRIDGE = "inet", "bridge"

ALLOWED_MARK = 0x8000_0000
"""Bit of the connection marks of what rules have allowed; the lower 24 bits are the generation of the sandbox's rules."""
GENERATIONS = 1 << 24
LOG_GROUP = 5301
"""The group of nfnetlink_log that refused packets are told to."""
LEARNED = "berth-learned"
"""Prefix there of what is not refused but recorded."""
SOUGHT = "berth-sought"
"""Prefix there of the search for a neighbour, in ARP or neighbour discovery."""

_ORDER = Order.PORT_BINDING
_LONGEST_COMMENT = 253
_IPV = ("ipv%d_addr", 4), ("ipv%d_addr", 6)


def _sets(name: str, *types: str, data: tuple[str, ...] = (), interval: bool = False) -> dict[int, FirewallSet]:
    return {
        family: FirewallSet(
            table=_INET,
            name=f"{name}{family}",
            key_types=tuple(f"ipv{family}_addr" if kind == "address" else kind for kind in types),
            data_types=data,
            family=family,
            order=_ORDER,
            interval=interval,
        )
        for _, family in _IPV
    }


CONFINED = FirewallSet(table=_INET, name="confined", key_types=("ifname", "ether_addr"), order=_ORDER)
GENERATIONS_OF = _sets("egress_generations", "address", "mark")
GENERATION = _sets("egress_generation", "address", data=("mark",))
DENIED = _sets("egress_denied", "address", "address", "inet_proto", "inet_service", interval=True)
DENIED_OTHERS = _sets("egress_denied_others", "address", "address", interval=True)
PREFIXES = _sets("egress_prefixes", "address", "address", "inet_proto", "inet_service", interval=True)
PREFIXES_OTHERS = _sets("egress_prefixes_others", "address", "address", interval=True)
PEERS = _sets("egress_peers", "address", "address", "inet_proto", "inet_service", interval=True)
PEERS_OTHERS = _sets("egress_peers_others", "address", "address", interval=True)
PUBLIC = _sets("egress_public", "address")
ALL = _sets("egress_all", "address")
HOST = FirewallSet(
    table=_INET, name="egress_host", key_types=("ifname", "ether_addr", "inet_proto", "inet_service"), order=_ORDER, interval=True
)
HOST_OTHERS = FirewallSet(table=_INET, name="egress_host_others", key_types=("ifname", "ether_addr"), order=_ORDER)
OUTSIDE_HOST = {
    family: FirewallSet(
        table=_INET, name=f"outside_host{family}", key_types=(f"ipv{family}_addr",), family=family, order=Order.FORWARDING_GUARD
    )
    for _, family in _IPV
}
"""The addresses of the host itself where this is the nest of an ordinary user: packets for them are forwarded. Elsewhere there are none."""
CONFINED_PORTS = FirewallSet(table=_BRIDGE, name="confined_ports", key_types=("ifname",), data_types=("ether_addr",), order=_ORDER)
CONFINED_MACS = FirewallSet(table=_BRIDGE, name="confined_macs", key_types=("ether_addr",), data_types=("ether_addr",), order=_ORDER)

CONFINED_TALKERS = FirewallSet(table=_BRIDGE, name="confined_talkers", key_types=("ifname",), order=_ORDER)
"""Ports whose rules allow something on their own network."""
CONFINED_LINKS = FirewallSet(table=_BRIDGE, name="confined_links", key_types=("ifname", "payload48"), order=_ORDER)
"""Which address of a link a port may tell in neighbour discovery."""
CONFINED4 = FirewallSet(table=_BRIDGE, name="confined4", key_types=("ipv4_addr",), family=4, order=_ORDER)
CONFINED6 = FirewallSet(table=_BRIDGE, name="confined6", key_types=("payload128",), family=6, order=_ORDER)

LOOKS = _sets("egress_looks", "address")
LEARNS = _sets("egress_learns", "address")

NAMED = _sets("egress_named", "address", "address", "inet_proto", "inet_service")
NAMED_RANGES = _sets("egress_named_ranges", "address", "address", "inet_proto", "inet_service", interval=True)
ANSWERED = _sets("egress_answered", "address", "address", "inet_proto", "inet_service")
ANSWERED_RANGES = _sets("egress_answered_ranges", "address", "address", "inet_proto", "inet_service", interval=True)
ASKED = _sets("egress_asked", "address", "address", "mark")
"""Filled by answers, each element with its time; `kernel.egress_elements` writes them. What is in the first two is looked at until its
name is known, what is in the next two is not; the last is looked at by no rule."""

SETS: tuple[FirewallSet, ...] = (
    CONFINED,
    *(
        of_family
        for of_families in (
            GENERATIONS_OF, GENERATION, DENIED, DENIED_OTHERS, PREFIXES, PREFIXES_OTHERS, PEERS, PEERS_OTHERS, PUBLIC, ALL, LOOKS, LEARNS,
        )
        for of_family in of_families.values()
    ),
    HOST,
    HOST_OTHERS,
    *OUTSIDE_HOST.values(),
    CONFINED_PORTS,
    CONFINED_MACS,
    CONFINED_TALKERS,
    CONFINED_LINKS,
    CONFINED4,
    CONFINED6,
)  # fmt: skip
"""Those whose elements follow from rules."""

REFUSALS = {family: f"egress_refusals{family}" for _, family in _IPV}
"""Sets of the addresses that something was refused to, each with a counter."""


def _dynamic(family: int) -> str:
    address = f"ipv{family}_addr"
    flow = f"{address} . {address} . inet_proto"
    size = f"size {limits.BOUNDED_SENDERS}; flags dynamic,timeout; timeout"
    return f"""
  set {NAMED[family].name} {{ type {flow} . inet_service; flags timeout; }}
  set {NAMED_RANGES[family].name} {{ type {flow} . inet_service; flags interval,timeout; }}
  set {ANSWERED[family].name} {{ type {flow} . inet_service; flags timeout; }}
  set {ANSWERED_RANGES[family].name} {{ type {flow} . inet_service; flags interval,timeout; }}
  set {ASKED[family].name} {{ type {address} . {address} . mark; flags timeout; }}
  set egress_told{family} {{ type {flow} . inet_service; {size} 1s; }}
  set egress_told_others{family} {{ type {flow}; {size} 1s; }}
  set egress_tellers{family} {{ type {address}; {size} 1m; }}
  set {REFUSALS[family]} {{ type {address}; {size} 1d; }}"""


DYNAMIC_SETS = "".join(_dynamic(family) for _, family in _IPV) + look_rules.SETS.rstrip()


def _special(family: int) -> str:
    networks = special.NOT_PUBLIC4 if family == 4 else special.NOT_PUBLIC6
    return ", ".join(map(str, collapse_addresses(networks)))  # type: ignore[type-var]  # Of one family all.


def _of_family(family: int) -> str:
    ip = "ip" if family == 4 else "ip6"
    addresses = f"{ip} saddr . {ip} daddr"
    flow = f"{addresses} . meta l4proto . th dport"
    others = "meta l4proto != { tcp, udp, sctp }"
    limit = f"limit rate {limits.EGRESS_LOGGED_PER_SECOND}/second burst {limits.EGRESS_LOGGED_AT_ONCE} packets"
    tell = f"update @egress_tellers{family} {{ {ip} saddr {limit} }}"
    return f"""
  chain egress{family} {{
    oifname @bridges goto egress_to_peers{family}
    {ip} daddr @outside_host{family} goto egress_to_outside_host{family}
    {flow} @egress_denied{family} goto egress_refused
    {others} {addresses} @egress_denied_others{family} goto egress_refused
    {flow} @egress_answered{family} goto egress_admitted{family}
    {flow} @egress_answered_ranges{family} goto egress_admitted{family}
    {flow} @egress_prefixes{family} goto egress_addressed{family}
    {others} {addresses} @egress_prefixes_others{family} goto egress_addressed{family}
    meta l4proto {{ tcp, udp }} th dport {{ 53, 853 }} goto egress_refused
    {ip} saddr @egress_all{family} goto egress_addressed{family}
    {ip} saddr @egress_public{family} {ip} daddr != {{ {_special(family)} }} goto egress_addressed{family}
    # Only a name opens it, so whatever it is, it must name its server first.
    {flow} @egress_named{family} goto egress_look
    {flow} @egress_named_ranges{family} goto egress_look
    goto egress_refused
  }}
  # Its address is allowed, but perhaps not every name of it.
  chain egress_addressed{family} {{
    {ip} saddr @egress_looks{family} meta l4proto tcp goto egress_look
    {ip} saddr @egress_looks{family} udp dport 443 goto egress_refused
    goto egress_admitted{family}
  }}
  chain egress_to_peers{family} {{
    {flow} @egress_peers{family} goto egress_admitted{family}
    {others} {addresses} @egress_peers_others{family} goto egress_admitted{family}
    goto egress_refused
  }}
  # Its services, as those at a gateway.
  chain egress_to_outside_host{family} {{
    iifname . ether saddr . meta l4proto . th dport @egress_host goto egress_admitted{family}
    {others} iifname . ether saddr @egress_host_others goto egress_admitted{family}
    goto egress_refused
  }}
  chain egress_admitted{family} {{
    {ip} saddr @egress_learns{family} jump egress_learn{family}
    ct mark set {ip} saddr map @egress_generation{family} accept
    goto egress_refused
  }}
  # The same for what is allowed, and recorded.
  chain egress_learn{family} {{
    {flow} @egress_told{family} return
    {addresses} . meta l4proto @egress_told_others{family} return
    meta l4proto {{ tcp, udp, sctp }} {tell} add @egress_told{family} {{ {flow} }} log prefix "{LEARNED}" group {LOG_GROUP} snaplen 128
    {others} {tell} add @egress_told_others{family} {{ {addresses} . meta l4proto }} log prefix "{LEARNED}" group {LOG_GROUP} snaplen 128
  }}
  chain egress_tell{family} {{
    update @{REFUSALS[family]} {{ {ip} saddr counter }}
    {flow} @egress_told{family} return
    {addresses} . meta l4proto @egress_told_others{family} return
    meta l4proto {{ tcp, udp, sctp }} {tell} add @egress_told{family} {{ {flow} }} log group {LOG_GROUP} snaplen 128
    {others} {tell} add @egress_told_others{family} {{ {addresses} . meta l4proto }} log group {LOG_GROUP} snaplen 128
  }}"""


CHAINS = f"""
  # What a sandbox with rules sends is judged before anything else. `accept` means: on to the rules of networks.
  chain egress_forward {{
    type filter hook forward priority -11; policy accept;
    iifname . ether saddr @confined goto egress
    {look_rules.IS_HELD} ct direction reply jump look_from_server
    # A connection that a peer had before there were rules would seem to be begun by the peer.
    iifname . oifname @same ct state new tcp flags & (syn | rst | ack) != syn jump egress_not_begun
  }}
  chain egress_not_begun {{
    ip daddr @egress_generation4 drop
    ip6 daddr @egress_generation6 drop
  }}
  chain egress_input {{
    type filter hook input priority -11; policy accept;
    iifname . ether saddr @confined goto egress_to_host
  }}
  chain egress {{
    # Who may begin a connection to it is for others to say: published ports, and the rules of those who begin.
    ct direction reply ct state {{ established, related }} accept
    # Who begins anew is judged anew, also in a connection that is allowed.
    {look_rules.BEGINS} goto egress_judged
    ip saddr . ct mark @egress_generations4 accept
    ip6 saddr . ct mark @egress_generations6 accept
    {look_rules.IS_HELD} goto egress_held
    # It may have been opened since the question before last.
    ip saddr . ct mark @egress_generations4 accept
    ip6 saddr . ct mark @egress_generations6 accept
    goto egress_judged
  }}
  chain egress_held {{
    jump look_from_client
    accept
  }}
  # Only what begins a connection is held. What comes later by itself has named nobody.
  chain egress_look {{
    ct direction original {look_rules.BEGINS} jump look_hold
    {look_rules.IS_HELD} goto egress_held
    goto egress_refused
  }}
  chain egress_judged {{
    # With bridge-nf-call-iptables the search for a neighbour comes here too; it is not tracked. Nobody routes it: then it has one hop less.
    iifname . oifname @same ip6 hoplimit 255 icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
    ct state {{ invalid, untracked }} goto egress_refused
    meta nfproto ipv4 goto egress4
    meta nfproto ipv6 goto egress6
    goto egress_refused
  }}{_of_family(4)}{_of_family(6)}
  chain egress_to_host {{
    ct direction reply ct state {{ established, related }} accept
    icmpv6 type {{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert }} accept
    meta pkttype {{ broadcast, multicast }} drop
    # From an address that the resolver knows it by alone: whoever asks from another one is nobody with rules.
    meta l4proto {{ tcp, udp }} th dport 53 ip saddr @egress_generation4 iifname . ip daddr @resolvers4 accept
    meta l4proto {{ tcp, udp }} th dport 53 ip6 saddr @egress_generation6 iifname . ip6 daddr @resolvers6 accept
    iifname . ip daddr @own_gateways4 goto egress_host_services
    iifname . ip6 daddr @own_gateways6 goto egress_host_services
    goto egress_refused
  }}
  chain egress_host_services {{
    ip saddr @egress_learns4 jump egress_learn4
    ip6 saddr @egress_learns6 jump egress_learn6
    iifname . ether saddr . meta l4proto . th dport @egress_host accept
    meta l4proto != {{ tcp, udp, sctp }} iifname . ether saddr @egress_host_others accept
    goto egress_refused
  }}
  chain egress_refused {{
    meta pkttype {{ broadcast, multicast }} drop
    meta nfproto ipv4 jump egress_tell4
    meta nfproto ipv6 jump egress_tell6
    meta l4proto tcp reject with tcp reset
    reject with icmpx admin-prohibited
  }}
{look_rules.CHAINS.strip(chr(10))}
"""

FRAME_SETS = f"""
  set arp_askers {{ type ipv4_addr . ether_addr . ipv4_addr; size {limits.BOUNDED_NEIGHBORS}; flags dynamic,timeout; timeout 10s; }}
  set nd_askers {{ typeof @th,64,128 . ip6 saddr; size {limits.BOUNDED_NEIGHBORS}; flags dynamic,timeout; timeout 10s; }}
  set confined_answers {{ type ifname; size {limits.BOUNDED_SENDERS}; flags dynamic,timeout; timeout 1m; }}
  set confined_searches {{ type ifname; size {limits.BOUNDED_SENDERS}; flags dynamic,timeout; timeout 1m; }}"""

_LIMIT = f"{limits.EGRESS_NEIGHBORS_PER_SECOND}/second burst {limits.EGRESS_NEIGHBORS_AT_ONCE} packets"
_SEARCH = f'update @confined_searches {{ iifname limit rate {_LIMIT} }} log prefix "{SOUGHT}" group {LOG_GROUP} snaplen 128'
_ANSWERS_TOO_OFTEN = f"update @confined_answers {{ iifname limit rate over {_LIMIT} }}"

FRAME_CHAINS = f"""
  # All that a sandbox with rules sends, and is sent, passes the host: see table inet berth.
  chain confined {{
    type filter hook prerouting priority -305; policy accept;
    iifname @confined_ports goto from_confined
    meta protocol {{ ip, ip6 }} ether daddr @confined_macs goto to_confined
  }}
  chain from_confined {{
    meta mark set meta mark or {frame_rules.JUDGED:#x}
    ether type arp goto arp_from_confined
    icmpv6 type {{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert }} goto discovery_from_confined
    meta pkttype {{ broadcast, multicast }} drop
    goto handed_to_host
  }}
  # The host alone gets it, also where it is for a group.
  chain handed_to_host {{
    ether daddr set iifname map @confined_ports meta pkttype set unicast accept
    drop
  }}
  # Peers that its rules do not allow get nothing but the one answer to what they have asked, which has no room for anything else.
  chain arp_from_confined {{
    iifname @confined_talkers accept
    meta length 28 @nh,0,64 0x0001080006040002 arp saddr ip . arp daddr ether . arp daddr ip @arp_askers goto answer_of_confined
    # No frame of ARP is longer, also where it was padded.
    meta length > 46 drop
    @nh,0,64 0x0001080006040001 {_SEARCH}
    goto handed_to_host
  }}
  chain discovery_from_confined {{
    iifname @confined_talkers accept
    # Its headers, flags, the one option and the address in that are as the kernel writes them.
    meta length 72 @nh,0,64 0x6000000000203aff @th,0,16 0x8800 jump whole_advertisement
    # The host needs none that are longer, and is no router that could be asked for.
    meta length > 72 drop
    icmpv6 type nd-router-solicit drop
    icmpv6 type nd-neighbor-solicit {_SEARCH}
    goto handed_to_host
  }}
  chain whole_advertisement {{
    @th,32,32 and 0x1fffffff != 0 return
    @th,192,16 0x0201 iifname . @th,208,48 @confined_links @th,64,128 . ip6 daddr @nd_askers goto answer_of_confined
  }}
  chain answer_of_confined {{
    {_ANSWERS_TOO_OFTEN} goto handed_to_host
    accept
  }}
  chain to_confined {{
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
    ether daddr set ether daddr map @confined_macs meta pkttype set unicast accept
    drop
  }}
  # From any port of ours, with the sender's own addresses.
  chain known_arp {{
    @nh,0,64 0x0001080006040001 arp daddr ip @confined4 update @arp_askers {{ arp daddr ip . arp saddr ether . arp saddr ip }}
    accept
  }}
  chain known_solicitation {{
    @th,64,128 @confined6 update @nd_askers {{ @th,64,128 . ip6 saddr }}
    accept
  }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedElement:
    """An element that goes by itself, *left* milliseconds from now, 0: it stays; *comment*: at most 250 octets, or nothing."""

    element: Element
    left: int
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressFilter:
    """What the firewall must hold of the rules of one sandbox.

    *subnets*: of its networks, by name. *looks_at_all*: also at what its address alone would allow. *learns*: what is
    used is told.
    """

    boxes: Boxes
    generation: int
    subnets: tuple[tuple[str, tuple[IPNetwork, ...]], ...]
    looks_at_all: bool = False
    learns: bool = False


def endpoint_elements(network: Network, endpoint: Endpoint, rules: EgressFilter) -> Iterable[Element]:
    """Yield what confines *endpoint*, and what *rules* open for it."""
    options = network.driver_options
    assert isinstance(options, BridgeOptions)
    bridge, mac = options.bridge_name, endpoint.mac
    yield Element(set=CONFINED_PORTS, fields=(endpoint.host_ifname,), data=(options.bridge_mac,))
    yield Element(set=CONFINED_MACS, fields=(mac,), data=(options.bridge_mac,))
    yield Element(set=CONFINED_LINKS, fields=(endpoint.host_ifname, mac))
    if any(name == network.name and ports for name, ports in rules.boxes.networks):
        yield Element(set=CONFINED_TALKERS, fields=(endpoint.host_ifname,))
    for address in (*endpoint.addresses(), *(() if endpoint.ipv6 is None else (frame_rules.link_local(mac),))):
        yield Element(set=CONFINED4 if address.version == 4 else CONFINED6, fields=(address,))
    yield Element(set=CONFINED, fields=(bridge, mac))
    for protocol, span in rules.boxes.host.spans():
        yield Element(set=HOST, fields=(bridge, mac, protocol, Between(span.first, span.last)))
    if rules.boxes.host.others:
        yield Element(set=HOST_OTHERS, fields=(bridge, mac))
    for address in endpoint.addresses():
        yield from _address_elements(address, rules)


def opening_elements(source: IPAddress, opening: Opening, now: float) -> Iterator[TimedElement]:
    """Yield what opens an address for *source*, and remembers for which name, if it has one."""
    family, left = opening.address.version, max(1, int(1000 * (opening.until - now)))
    if source.version != family:
        return
    for ports, single, ranges in (
        (opening.ports - opening.unlooked, NAMED, NAMED_RANGES),
        (opening.ports & opening.unlooked if opening.unlooked else opening.unlooked, ANSWERED, ANSWERED_RANGES),
    ):
        for element in _ports_elements(source, opening.address, ports, single[family], ranges[family]) if ports else ():
            yield TimedElement(element=element, left=left)
    if not opening.name:
        return
    asked = Element(set=ASKED[family], fields=(source, opening.address, crc32(opening.name.encode())))
    yield TimedElement(element=asked, left=left, comment=opening.name[:_LONGEST_COMMENT])


def _ports_elements(source: IPAddress, address: IPAddress, ports: Ports, single: FirewallSet, ranges: FirewallSet) -> Iterator[Element]:
    """Yield an element for each port, or for each range if there are many."""
    spans = [*ports.spans()]
    if sum(span.last - span.first + 1 for _, span in spans) <= limits.EGRESS_SINGLE_PORTS:
        for protocol, span in spans:
            for port in range(span.first, span.last + 1):
                yield Element(set=single, fields=(source, address, protocol, port))
        return
    both = Between(source, source), Between(address, address)
    for protocol, span in spans:
        yield Element(set=ranges, fields=(*both, protocol, Between(span.first, span.last)))


def _address_elements(source: IPAddress, rules: EgressFilter) -> Iterable[Element]:
    family, mark = source.version, ALLOWED_MARK | rules.generation
    yield Element(set=GENERATIONS_OF[family], fields=(source, mark))
    yield Element(set=GENERATION[family], fields=(source,), data=(mark,))
    if rules.learns:
        yield Element(set=LEARNS[family], fields=(source,))
    if rules.looks_at_all:
        yield Element(set=LOOKS[family], fields=(source,))
    parted: list[tuple[IPNetwork, Ports]] = []
    for box in rules.boxes.allowed:
        wide = {Wide.ALL: ALL, Wide.PUBLIC: PUBLIC}.get(box.addresses) if isinstance(box.addresses, Wide) else None
        if wide is not None and box.ports == EVERYTHING - DNS:
            yield Element(set=wide[family], fields=(source,))
        else:
            parted += [(part, box.ports) for part in _parts(box.addresses, family)]
    yield from _boxes(source, parted, PREFIXES, PREFIXES_OTHERS)
    denied = [(part, box.ports) for box in rules.boxes.denied for part in _parts(box.addresses, family)]
    yield from _boxes(source, denied, DENIED, DENIED_OTHERS)
    subnets = dict(rules.subnets)
    peers = [(subnet, ports) for name, ports in rules.boxes.networks for subnet in subnets.get(name, ()) if subnet.version == family]
    yield from _boxes(source, peers, PEERS, PEERS_OTHERS)


def _parts(addresses: IPNetwork | Wide, family: int) -> list[IPNetwork]:
    if not isinstance(addresses, Wide):
        return [addresses] if addresses.version == family else []
    everything = special.EVERYTHING[family]
    return [everything] if addresses is Wide.ALL else public_parts(everything)


def _boxes(
    source: IPAddress, parts: Iterable[tuple[IPNetwork, Ports]], with_ports: dict[int, FirewallSet], others: dict[int, FirewallSet]
) -> Iterator[Element]:
    """Yield the elements of *parts*, none of which overlaps with another: the kernel takes no others."""
    family = source.version
    for piece in pieces(parts):
        between = _between(piece)
        for protocol in PROTOCOLS:
            for span in getattr(piece.ports, protocol):
                fields = (Between(source, source), between, protocol, Between(span.first, span.last))
                yield Element(set=with_ports[family], fields=fields)
        if piece.ports.others:
            yield Element(set=others[family], fields=(Between(source, source), between))


def _between(piece: Piece) -> Between:
    return Between(piece.first, piece.last)
