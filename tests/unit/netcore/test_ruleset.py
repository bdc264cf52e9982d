"""Rulesets from text to messages: what is refused, and octets written out by hand. tests/netns/test_ruleset.py has libnftables beside it."""

import pytest

from netcore.desired.firewall import render_skeleton
from netcore.kernel import nf_tables, ruleset
from netcore.kernel.netlink import APPEND, CREATE, find, walk
from netcore.kernel.ruleset.statements import duration
from resolver.daemon import listeners, redirect


def in_chain(rule, declarations=""):
    return f"table inet t {{\n{declarations}\nchain c {{\n{rule}\n}}\n}}\n"


def expressions(rule, declarations=""):
    """Return (kind, data) of each expression of a rule."""
    body = ruleset.requests(in_chain(rule, declarations))[-1].body
    return [(find(one, 1).rstrip(b"\0").decode(), find(one, 2) or b"") for _, one in walk(find(body[4:], 4))]


def test_a_ruleset_becomes_its_objects_in_the_order_that_the_kernel_needs():
    text = "table inet t {\nchain c {\njump d\n}\nset s { type ifname; }\ncounter n { }\nchain d {\ndrop\n}\n}\ndelete table inet t\n"
    requests = ruleset.requests(text)
    kinds = (
        nf_tables.NEWTABLE,
        *2 * (nf_tables.NEWCHAIN,),
        nf_tables.NEWOBJ,
        nf_tables.NEWSET,
        *2 * (nf_tables.NEWRULE,),
        nf_tables.DELTABLE,
    )
    assert tuple(request.type for request in requests) == kinds
    # A rule without APPEND would be put before the others of its chain.
    assert {request.flags for request in requests if request.type == nf_tables.NEWRULE} == {CREATE | APPEND}
    assert [request.target for request in requests] == [
        "table inet t", "chain c of table inet t", "chain d of table inet t", "counter n of table inet t", "set s of table inet t",
        "rule `jump d` in chain c of table inet t", "rule `drop` in chain d of table inet t", "table inet t",
    ]  # fmt: skip


def test_a_comparison_in_octets():
    assert expressions("tcp dport 443 accept") == [
        ("meta", bytes.fromhex("08000200 00000010 08000100 00000001")),
        ("cmp", bytes.fromhex("08000100 00000001 08000200 00000000 0c000380 05000100 06000000")),
        ("payload", bytes.fromhex("08000100 00000001 08000200 00000002 08000300 00000002 08000400 00000002")),
        ("cmp", bytes.fromhex("08000100 00000001 08000200 00000000 0c000380 06000100 01bb0000")),
        ("immediate", bytes.fromhex("08000100 00000000 10000280 0c000280 08000100 00000001")),
    ]


def test_a_protocol_is_asked_for_once_and_first():
    assert [kind for kind, _ in expressions("ip saddr 10.0.0.1 ip daddr 10.0.0.2 udp dport 53 udp sport 53 accept")] == [
        "meta", "cmp", "payload", "cmp", "payload", "cmp", "meta", "cmp", "payload", "cmp", "payload", "cmp", "immediate",
    ]  # fmt: skip
    said = [kind for kind, _ in expressions("meta nfproto ipv4 ip daddr 10.0.0.2 accept")]
    assert said == ["meta", "cmp", "payload", "cmp", "immediate"]


def test_the_fields_of_a_key_lie_side_by_side():
    found = expressions("iifname . ether saddr . ip saddr @s accept", "set s { type ifname . ether_addr . ipv4_addr; }")
    registers = [find(data, 5 if kind == "dynset" else 1) for kind, data in found if kind in ("meta", "payload")]
    # Those of the two protocols, then each behind the 16 and 8 octets of those before it.
    assert [int.from_bytes(one, "big") for one in registers] == [1, 1, 1, 2, 14]


REFUSED = {
    "iifname @s accept": "has no set 's' above this: iifname @s accept",
    "ip saddr 10.0.0.300 accept": "'10.0.0.300' is no value of this field",
    "tcp dport http accept": "'http' is no value of this field",
    'iifname "veth*" accept': "is no value of this field",
    'iifname "a-name-too-long-for-a-link" accept': "is no value of this field",
    "ip saddr { 10.0.0.1/8, 192.168.0.0/16 } drop": "'10.0.0.1/8' is no such element",
    "ip saddr { fc00::/7, 192.168.0.0/16 } drop": "'fc00::/7' is no such element",
    "ip saddr { 10.0.0.0/8, 10.1.0.0/16 } drop": "these ranges overlap: ip saddr {",
    "ip saddr { 10.0.0.0/9, 10.128.0.0/9 } drop": "a second range",
    "tcp dport { 80, 0x50/4 } drop": "'0x50/4' is no such element",
    "tcp dport { 80, 9-8 } drop": "'9-8' is no range from a lower to a higher value",
    "meta length { 1-2, 5 } drop": "a field of a header in whole octets",
    "ip saddr . ip daddr { 10.0.0.0/8 . 10.0.0.1, 10.0.0.1 . 10.0.0.2 } drop": "'10.0.0.0/8' is no such element",
    "ip saddr { 10.0.0.0/8, 192.168.0.0/16": "`}` is expected in place of the end of the line",
    "ip saddr { 10.0.0.1 } drop": "a second element",
    "tcp dport 80 udp dport 80 accept": "a rule asks for tcp and udp",
    "ip saddr 10.0.0.1 ip6 saddr ::1 accept": "a rule asks for ip and ip6",
    "vlan id 5 accept": "a field or a statement is expected in place of `vlan`",
    "ct state new,established == new accept": "a field or a statement is expected in place of `==`",
    "counter extra": "a field or a statement is expected in place of `extra`",
    "reject": "`with` is expected in place of the end of the line",
    "log prefix \"x\"": "`group` is expected in place of the end of the line",
    "limit rate many/second accept": "invalid literal",
    "accept drop": "the end of the rule is expected in place of `drop`",
    "jump d counter": "the end of the rule is expected in place of `counter`",
    "ip saddr > @d accept": "one value is expected in place of `@d`",
    "tcp dport < { 1, 2 } accept": "one value is expected in place of `{`",
    "tcp dport != vmap { 1 : accept, 2 : drop }": "'vmap' is no value",
    "ip saddr 10.1.2.3/12 drop": "has host bits set",
    "ip saddr fd00::/8 drop": "a prefix of the other family",
    "tcp dport 90-80 drop": "from a lower to a higher",
    "ct mark @d accept": "d is of other fields",
    "add @d { ip6 saddr }": "d is of other fields",
    "meta mark set ip saddr": "a field of the same type",
    "meta mark set ip saddr map @m": "m is of other fields",
    "snat ip to iifname map @m": "m is of other fields",
    "snat ip6 to ip saddr map @m": "m is of other fields",
    "dnat arp to ip saddr map @m": "'arp'",
    "@th,4,4 1 accept": "a field or a statement",
    "reject with icmpfoo port-unreachable": "`icmp` or `icmpv6` or `icmpx` or `tcp` is expected",
    "iifname . oifname accept": "`@SET` or `{` is expected",
    "update @d { ip saddr timeout soon }": "'soon' is no duration",
    "ip saddr @d iifname @d accept": "d is of other fields",
    "ct count over some drop": "a number is expected in place of `some`",
    "iifname set 5": "something that can be set",
    "tcp dport != 80-90 drop": "no `!=`",
    "reject with icmp nothing": "`net-unreachable` or",
    "limit rate 5/fortnight accept": "'fortnight' in limit",
    "ip saddr": "more is expected in place of",
}  # fmt: skip


@pytest.mark.parametrize(("rule", "said"), REFUSED.items(), ids=REFUSED)
def test_what_is_not_understood_is_refused(rule, said):
    sets = "set d { type ipv4_addr; flags dynamic; }\nmap m { type ipv4_addr : ipv4_addr; }"
    with pytest.raises(ruleset.RulesetError) as refused:
        ruleset.requests(in_chain(rule, sets))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    {
        "table arp t {\n}\n": "'arp' is no family of tables",
        "table inet t {\nset s { type name; }\n}\n": "'name' is no data type",
        "table inet t {\nset s { policy memory; }\n}\n": "a property of a set is expected in place of `policy`",
        "table inet t {\nset s { type ipv4_addr; flags interval; elements = { 10.0.0.1, 10.0.0.2 } }\n}\n": "filled by its owner",
        "table inet t {\nflowtable f { }\n}\n": "`counter`, `set`, `map` or `chain` is expected in place of `flowtable`",
        "table inet t {\nchain c {\ntype filter hook ingress priority 0; policy accept;\n}\n}\n": "`prerouting` or `input`",
        "table inet t {\nchain c {\ntype filter hook input priority 0;\naccept\n}\n}\n": "`; policy` is expected",
        "table inet t {\nchain c {\n": "the end",
        "flush ruleset\n": "`table` is expected in place of `flush`",
    }.items(),
)
def test_declarations_that_are_not_understood_are_refused(text, said):
    with pytest.raises(ruleset.RulesetError) as refused:
        ruleset.requests(text)
    assert said in str(refused.value)


@pytest.mark.parametrize("word", ["10", "s", "1w", "-1s", "1.5s", ""])
def test_durations(word):
    assert [duration(each) for each in ("500ms", "10s", "5m", "2h", "1d")] == [500, 10_000, 300_000, 7_200_000, 86_400_000]
    with pytest.raises(ruleset.RulesetError, match="is no duration"):
        duration(word)


def test_a_form_gives_what_the_text_with_these_ports_gives():
    for ports in ((1, 65535), (600, 601), (0xA5C3, 0x5A3C), (0x5A3C, 0xA5C3)):
        assert listeners._REDIRECT.requests(*ports) == ruleset.requests(redirect.render(*ports, replace=False))
        assert listeners._REDIRECT_AGAIN.requests(*ports) == ruleset.requests(redirect.render(*ports, replace=True))


def test_no_set_without_a_name_is_left_without_elements():
    requests = ruleset.requests(render_skeleton())
    made = [request for request in requests if request.type == nf_tables.NEWSET and find(request.body[4:], 2).startswith(b"__")]
    filled = [request for request in requests if request.type == nf_tables.NEWELEM and find(request.body[4:], 2).startswith(b"__")]
    assert len(made) == len(filled)
