"""Our messages beside what libnftables sends for the same text, and what the kernel makes of both."""

from __future__ import annotations

import sys

import pytest

from netcore.desired.firewall import REMOVE_TABLES, render_skeleton
from netcore.kernel import guard, remains, ruleset
from resolver.daemon import redirect
from tests.support.lab import Lab
from tests.support.libnftables import messages, readable

SKELETON = render_skeleton()
REDIRECT = redirect.render(4321, 54321, replace=True)
OURS = {
    "skeleton": SKELETON,
    "removal": REMOVE_TABLES,
    "redirect": REDIRECT,
    "its removal": remains._REDIRECT,
    **{f"guard of {family}": text for family, text in guard._RULES.items()},
}


def sent(text):
    return [(request.type, request.body) for request in ruleset.requests(text)]


@pytest.mark.parametrize("text", OURS.values(), ids=OURS)
def test_each_ruleset_of_ours_is_sent_as_libnftables_sends_it(text):
    assert readable(sent(text)) == readable(messages(text))


SETS = """
  counter refused { }
  set nopay { typeof meta length . tcp doff; elements = { 40 . 5, 44 . 6 } }
  set web { type inet_service; flags constant; elements = { 80, 443 } }
  set seen { type ipv4_addr . ipv4_addr . inet_proto . inet_service; size 65536; flags dynamic,timeout; timeout 10s; }
  set generations { type ipv4_addr . mark; }
  set any4 { type ipv4_addr . ipv4_addr; flags dynamic,timeout; }
  set each { type ipv4_addr; size 1000; flags dynamic; }
  set cidr4 { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags interval,timeout; }
  map current { type ipv4_addr : mark; }
"""

# Beside those in our own rulesets: what rules about names, logging and refusals are made of.
INET = """
ct mark and 0x1 == 0x1 accept
iifname "br-a" tcp dport 443 ct direction original jump other
oifname "br-a" tcp sport 443 ct direction reply tcp flags & (syn|rst) == 0 log group 8 accept
ip saddr . ct mark @generations accept
ip saddr . ip daddr . meta l4proto . th dport @seen ct mark set ip saddr map @current accept
ip hdrlength 5 tcp flags & (syn|ack) == syn meta length . tcp doff @nopay log group 8 accept
ip6 nexthdr tcp meta length . tcp doff @nopay accept
ct mark set ct mark and 0xff or 0x10
ct mark set meta mark and 0xff
meta mark set ct mark
meta mark set 0x10
tcp dport 443 reject with tcp reset
meta l4proto tcp socket transparent 1 meta mark set 0x1 accept
meta l4proto tcp tproxy to :50080 meta mark set 0x1 accept
reject with tcp reset
reject with icmp admin-prohibited
reject with icmpv6 admin-prohibited
reject with icmpx admin-prohibited
udp dport != 53 limit rate 2000/second log prefix "berth refused" group 7 snaplen 128 queue-threshold 1
add @seen { ip saddr . ip daddr . meta l4proto . th dport timeout 1s } limit rate 2000/second log group 7
update @each { ip saddr limit rate 5/minute burst 9 packets counter }
delete @any4 { ip saddr . ip daddr }
ip daddr 10.0.0.0/12 counter name refused drop
ip daddr != 10.0.0.0/8 drop
ip6 daddr fe80::/10 drop
tcp dport 100-200 accept
meta length 40-60 accept
meta length > 100 drop
tcp dport >= 1024 drop
tcp doff > 5 drop
tcp flags syn,ack drop
tcp flags != syn drop
ct state { new, established } accept
ct state != established drop
fib daddr type { local, broadcast, multicast } drop
iifname { "a", "b" } oifname != { "a", "c" } drop
ip saddr . tcp dport { 10.0.0.1 . 80, 10.0.0.2 . 443 } accept
tcp dport @web tcp dport vmap { 80 : accept, 443 : drop, 22 : goto other }
meta mark & 0x3 != 0x2 drop
limit rate over 10/hour drop
ct count over 20 drop
igmp type membership-query drop
@th,0,16 80 notrack
ether saddr 02:00:00:00:00:01 return
ip daddr != { 0.0.0.0/8, 10.0.0.0/8, 11.0.0.0/9, 192.168.0.0/16, 224.0.0.0/3 } drop
ip6 daddr { ::/96, fc00::/7, fe80::1 } accept
ip saddr { 10.0.0.0/8, 172.16.0.1 } return
tcp dport { 80, 100-200 } accept
meta pkttype { broadcast, multicast } drop
meta pkttype set unicast accept
meta l4proto != { tcp, udp, sctp } ip saddr . ip daddr @any4 goto other
ct direction reply ct state { established, related } accept
ct mark set ip saddr map @current accept
ip saddr . ip daddr . meta l4proto . th dport @cidr4 accept
ct mark set numgen random mod 16777216 offset 0x01000000
meta mark set numgen random mod 7
ct mark 0x01000000-0x01ffffff accept
meta mark set ct mark log prefix "berth-client" group 48711 drop
meta mark and 0x04000000 != 0 meta mark set meta mark and 0xfbffffff notrack
tcp flags & (fin | syn | rst | ack) == syn goto other
"""
BRIDGE = """
ip option lsrr exists drop
exthdr frag exists frag frag-off != 0 drop
rt type 0 drop
tcp dport 80 accept
ip protocol tcp tcp dport { 80, 443 } accept
ip6 nexthdr udp udp dport 53 accept
ether type arp arp saddr ip 10.0.0.1 accept
ether saddr 02:00:00:00:00:01 ether type { 8021q, 8021ad } drop
ether daddr set iifname map @hosts meta pkttype set unicast accept
ether daddr set ether daddr map @groups
ether daddr set 02:00:00:00:00:01
meta protocol { ip, ip6 } ether daddr @others goto other
iifname . ether saddr . meta l4proto . th dport @box accept
"""
BRIDGE_SETS = """
  map hosts { type ifname : ether_addr; }
  set others { type ether_addr; }
  map groups { type ether_addr : ether_addr; }
  set box { type ifname . ether_addr . inet_proto . inet_service; flags interval; }
  set prefixes { type ipv4_addr; flags interval; }
"""
NAT = """
meta l4proto tcp redirect to :8080
fib daddr type local dnat ip to 10.0.0.1
snat ip6 to fd00::1
udp dport 53 masquerade
"""
IP6 = """
ip6 saddr ::1 udp sport 53 udp sport set 530 notrack accept
ip6 saddr ::1 icmpv6 type echo-request reject with icmpv6 port-unreachable
"""


def table(family, head, rules, declarations=""):
    lines = rules.strip().splitlines()
    return f"table {family} t {{{declarations}\n chain other {{\n }}\n chain c {{\n{head}\n" + "\n".join(lines) + "\n }\n}\n"


SAMPLES = {
    "inet": table("inet", "", INET, SETS),
    "bridge": table("bridge", "", BRIDGE, BRIDGE_SETS),
    "nat": table("inet", "type nat hook prerouting priority -100; policy accept;", NAT),
    "ip6": table("ip6", "type filter hook output priority -300; policy drop;", IP6),
}


@pytest.mark.parametrize("text", SAMPLES.values(), ids=SAMPLES)
def test_each_kind_of_rule_is_sent_as_libnftables_sends_it(text):
    assert readable(sent(text)) == readable(messages(text))


APPLY = """
import sys
from netcore.kernel import nft
nft.apply_text(sys.stdin.read())
nft.apply_text(sys.argv[1])
"""


@pytest.fixture(scope="module")
def plain():
    with Lab() as made:
        yield made


def in_a_namespace(lab, script, *arguments, stdin=""):
    return lab.run("unshare", "--net", sys.executable, "-c", script, *arguments, stdin=stdin, check=False)


LISTED = "\nimport subprocess\nsubprocess.run(['nft', 'list', 'ruleset'], check=True)\n"


def test_the_kernel_lists_the_same_and_twice_is_as_once(plain):
    text = SKELETON + REDIRECT + "".join(SAMPLES[name].replace(" t {", f" for_{name} {{") for name in ("inet", "bridge", "ip6"))
    again = SKELETON + REDIRECT
    ours = in_a_namespace(plain, APPLY + LISTED, again, stdin=text)
    assert ours.returncode == 0, ours.stderr
    theirs = plain.run("unshare", "--net", "sh", "-ec", 'nft -f -; printf "%s" "$1" | nft -f -; nft list ruleset', "sh", again, stdin=text)
    assert ours.stdout == theirs.stdout
    assert "typeof iifname . ether saddr . @th,64,128" in ours.stdout
    assert "udp sport 4321 udp sport set 53 notrack accept" in ours.stdout


BROKEN = {
    "table inet t { chain c {\niifname @there goto nowhere\n}\nset there { type ifname; } }": "has no set 'there' above this",
    "table inet t {\nchain c {\ncounter\ntcp dport 80 goto nowhere\n}\n}": (
        "create rule `tcp dport 80 goto nowhere` in chain c of table inet t: ENOENT (No such file or directory, at `immediate`)"
    ),
    "table inet t {\nchain c {\ntype nat hook forward priority 0; policy accept;\n}\n}": "create chain c of table inet t: ",
    "delete table inet t": "delete table inet t: ENOENT",
}


@pytest.mark.parametrize(("text", "said"), BROKEN.items())
def test_what_is_refused_is_named(plain, text, said):
    done = in_a_namespace(plain, APPLY, "", stdin=text)
    assert said in done.stderr.strip().splitlines()[-1]


LOOP = "table inet t {\nchain a {\ntype filter hook input priority 0; policy accept;\njump b\n}\nchain b {\njump c\n}\nchain c {\njump b\n}\n}\n"


def test_a_refusal_of_the_whole_transaction_is_an_error_and_nothing_is_left(plain):
    done = in_a_namespace(plain, APPLY, "", stdin=LOOP)
    assert done.stderr.strip().splitlines()[-1].startswith("netcore.errors.KernelError: ")
    unprivileged = APPLY.replace("nft.apply", "import os; os.setresuid(65534, 65534, 65534); nft.apply", 1)
    done = in_a_namespace(plain, unprivileged, "", stdin=SKELETON)
    assert "begin nftables transaction: EPERM" in done.stderr


LARGE = """
import sys
from netcore.desired.firewall import PORTS
from netcore.desired.objects import Element
from netcore.kernel import nft, nft_listing
elements = [Element(set=PORTS, fields=(f"v{number}",)) for number in range(10_000)]
nft.write_tables(nft.opened(), elements)
drift = nft_listing.element_drift(elements)
print(len(drift.missing), len(drift.foreign), nft_listing.different_parts())
"""


def test_many_elements_go_in_one_transaction(plain):
    done = in_a_namespace(plain, LARGE)
    assert done.stdout.strip() == "0 0 []", done.stderr


ROOM = """
import os
from netcore.errors import KernelError
from netcore.kernel.netlink import NETFILTER, NetlinkSocket
def room():
    try:
        NetlinkSocket(NETFILTER)._make_room(1 << 26, "nftables transaction")
        return "room"
    except KernelError as error:
        return str(error)
print(room())
os.setresuid(65534, 65534, 65534)
print(room())
"""


def test_only_the_root_of_the_host_sends_more_at_once_than_the_host_allows_all(plain):
    too_large = "send nftables transaction: EMSGSIZE (67108864 octets are more than net.core.wmem_max of the host allows)"
    by_root, by_others = in_a_namespace(plain, ROOM).stdout.splitlines()
    assert by_others == too_large
    assert by_root in ("room", too_large)


WITHOUT = """
import errno, socket
from netcore.errors import Unavailable
from netcore.kernel import nft
from resolver.daemon import listeners
made = socket.socket
def refused(*given, **more):
    if given[0] == socket.AF_NETLINK and given[2] == 12:
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")
    return made(*given, **more)
socket.socket = refused
try:
    nft.generation()
except Unavailable as error:
    print(error)
pair, warning = listeners.open_in_sandbox("/proc/self/ns/net", replace=False)
print(pair.udp.getsockname()[1], warning)
"""


def test_a_kernel_without_nftables_is_said(plain):
    done = in_a_namespace(plain, "import subprocess; subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)" + WITHOUT)
    reason = "nftables is not available: this kernel has none; load the module nf_tables, or take a kernel with CONFIG_NF_TABLES"
    assert done.stdout.splitlines() == [reason, f"53 port 53 of the sandbox is taken by the resolver: {reason}"], done.stderr


def test_neighbouring_ports_are_compared_one_by_one():
    """libnftables reads them at once; the packets that match are the same."""
    text = table("inet", "", "tcp sport 1 tcp dport 2 accept")
    assert len(readable(sent(text))) > len(readable(messages(text)))
