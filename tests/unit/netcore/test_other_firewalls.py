"""Which chains of other firewalls are in the way, and what is done or said about each."""

import struct
from dataclasses import replace
from types import SimpleNamespace

import pytest

from netcore.desired.other_firewalls import Chain, DockerRule, FirewalldZone, Missing, Seen, measures, needed_without_firewall
from netcore.kernel import nft
from netcore.kernel.netlink import attr, nested, walk

BRIDGES = ("br-a", "br-b")
FORWARD = Chain(family="inet", table="mine", name="forward", hook=2, drops=True)
INPUT = Chain(family="inet", table="mine", name="input", hook=1, drops=True)
IPTABLES_FORWARD = Chain(family="ip", table="filter", name="FORWARD", hook=2, drops=True)
IPTABLES_INPUT = Chain(family="ip6", table="filter", name="INPUT", hook=1, drops=True)


def needed(*chains, docker_user=(), firewalld=False, bridges=BRIDGES):
    return measures(Seen(chains, tuple(docker_user), firewalld), bridges)


def rules(*chains, **more):
    return [measure.rule for measure in needed(*chains, **more)]


def test_nothing_is_needed_where_nothing_drops():
    assert needed() == ()
    assert needed(replace(FORWARD, drops=False), replace(INPUT, drops=False), replace(FORWARD, table="berth")) == ()
    # A chain of another hook drops what is none of ours.
    assert needed(replace(FORWARD, hook=3)) == ()


def test_dropping_chain_of_nftables_is_named_with_its_rule():
    (missing,) = needed(FORWARD)
    assert missing == Missing(
        "chain forward of table inet mine (policy drop)", "nft insert rule inet mine forward meta mark and 0x10000000 == 0x10000000 accept"
    )
    assert str(missing) == f"{missing.chain} drops what berth forwards; add: {missing.rule}"


def test_input_chain_must_let_queries_of_the_bridges_in():
    assert rules(INPUT) == [
        "nft insert rule inet mine input iifname '{ \"br-a\", \"br-b\" }' meta l4proto '{ tcp, udp }' th dport 53 accept"
    ]
    assert rules(INPUT, bridges=()) == []


def test_iptables_is_spoken_to_in_its_own_words():
    assert rules(IPTABLES_FORWARD) == ["iptables -I FORWARD -m mark --mark 0x10000000/0x10000000 -j ACCEPT"]
    assert rules(IPTABLES_INPUT) == [
        "ip6tables -I INPUT -i br-a -p udp --dport 53 -j ACCEPT ; ip6tables -I INPUT -i br-b -p udp --dport 53 -j ACCEPT"
    ]
    assert rules(replace(IPTABLES_FORWARD, legacy=True)) == ["iptables-legacy -I FORWARD -m mark --mark 0x10000000/0x10000000 -j ACCEPT"]
    assert rules(replace(FORWARD, legacy=True, family="ip6")) == [
        "ip6tables-legacy -I forward -m mark --mark 0x10000000/0x10000000 -j ACCEPT"
    ]
    # A chain that only looks like one of iptables: a table of that name in another family, a chain that somebody named.
    assert rules(replace(IPTABLES_FORWARD, family="inet"))[0].startswith("nft insert rule inet filter FORWARD")
    assert rules(replace(IPTABLES_FORWARD, name="forward"))[0].startswith("nft insert rule ip filter forward")


@pytest.mark.parametrize("program", ["iptables", "iptables-legacy"])
def test_docker_has_a_place_for_our_rule(program):
    assert needed(IPTABLES_FORWARD, docker_user=iter([program])) == (DockerRule(program),)
    # That of IPv4 does not help IPv6, nor another chain.
    six = replace(IPTABLES_FORWARD, family="ip6")
    assert [type(measure) for measure in needed(six, docker_user=[program])] == [DockerRule, Missing]
    assert [type(measure) for measure in needed(FORWARD, docker_user=[program])] == [DockerRule, Missing]
    assert DockerRule(program).arguments("-C") == [
        "-C", "DOCKER-USER", "-m", "mark", "--mark", "0x10000000/0x10000000", "-m", "comment", "--comment", "berth", "-j", "ACCEPT",
    ]  # fmt: skip


def test_firewalld_takes_the_bridges_into_a_zone():
    chain = replace(FORWARD, table="firewalld")
    assert needed(chain, firewalld=True, bridges=iter(BRIDGES)) == (FirewalldZone("br-a"), FirewalldZone("br-b"))
    # Its tables without its daemon are like anybody's.
    assert [type(measure) for measure in needed(chain)] == [Missing]


def test_host_without_our_firewall_is_told_what_it_must_do():
    assert needed_without_firewall("br-a", "10.0.0.0/24", internal=True) == ("drop forwarding from and to br-a",)
    closed = needed_without_firewall("br-a", "10.0.0.0/24", internal=False, host_access=(("tcp", 443),))
    assert closed[0] == "drop what comes to this host from br-a, but for replies, ICMP, port 53 of the gateway, tcp/443"
    assert needed_without_firewall("br-a", "10.0.0.0/24", internal=False) == (
        "accept forwarding from br-a, and established traffic to it",
        "nft add rule ip nat postrouting ip saddr 10.0.0.0/24 oifname != br-a masquerade",
    )
    assert needed_without_firewall("br-a", "fd00::/64", internal=False)[1].startswith(
        "nft add rule ip6 nat postrouting ip6 saddr fd00::/64"
    )


def chain(table, name, *, hook=None, drops=False):
    """Return a chain as nftables tells of it: a message with its header."""
    body = attr(1, table.encode() + b"\0") + attr(3, name.encode() + b"\0")
    if hook is not None:
        body += nested(4, attr(1, struct.pack("!I", hook)), attr(2, struct.pack("!i", -5)))
        body += attr(5, struct.pack("!I", not drops)) + attr(7, b"filter\0")
    return bytes(16) + bytes([1, 0, 0, 0]) + body


def test_of_other_tables_the_base_chains_are_read_and_of_ours_nothing(monkeypatch):
    read = []
    monkeypatch.setattr(nft, "walk", lambda octets: read.append(octets) or walk(octets))
    told = [chain("berth", f"c{number}", hook=1) for number in range(40)]
    told += [chain("mine", "forward", hook=2, drops=True), chain("mine", "input", hook=1), chain("mine", "called")]
    found = nft.base_chains(SimpleNamespace(dump=lambda _: told))
    assert [(one.family, one.table, one.name, one.hook, one.priority, one.drops) for one in found] == [
        ("inet", "mine", "forward", 2, -5, True),
        ("inet", "mine", "input", 1, -5, False),
    ]
    # Each of the other table, and its hook.
    assert len(read) == 6
