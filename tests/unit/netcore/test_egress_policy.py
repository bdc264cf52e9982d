"""What a policy decides of names and flows; that what the firewall gets says the same."""

from ipaddress import IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netcore.egress import boxes, read, special
from netcore.egress.layer import Layer, Outcome
from netcore.egress.policy import Flow, Policy
from netcore.egress.ports import DNS, EVERYTHING, NOTHING, Ports
from netcore.egress.rules import Wide
from netcore.egress.surroundings import HOST, KnownNetwork, Surroundings

AROUND = Surroundings(
    networks=(
        KnownNetwork(name="build", subnets=(ip_network("10.20.0.0/16"), ip_network("fd20::/64")), attached=True),
        KnownNetwork(name="default", subnets=(ip_network("172.18.0.0/16"),), attached=True),
        KnownNetwork(name="other", subnets=(ip_network("10.30.0.0/16"), ip_network("198.51.100.0/24"))),
    ),
    addresses=frozenset(map(ip_address, ("10.20.0.1", "172.18.0.1", "203.0.113.77", "fd20::1"))),
    nat64=(IPv6Network("2001:db8:64::/96"),),
)
WEB = Ports.of("tcp", 80, 443)


def policy(*layers, around=AROUND):
    titles = ("sandbox job", "the ceiling of this host")
    return Policy("job", [Layer(read.rules(texts), title) for texts, title in zip(layers, titles, strict=False)], around)


def ports(made, name, address):
    return made.ports(name, ip_address(address))


# --- questions ------------------------------------------------------------------------------------------------------


def test_names_that_may_be_asked():
    made = policy(["packages.example.org", "*.files.example.org:443", "deny:bad.files.example.org", "10.0.0.0/8"])
    for name in ("packages.example.org", "a.files.example.org", "a.b.files.example.org"):
        assert made.may_ask(name).allowed
    for name in ("example.org", "files.example.org", "x.packages.example.org", "bad.files.example.org", "afiles.example.org", "org", ""):
        assert not made.may_ask(name).allowed
    assert [name for name in ("", "org", "example.org", "files.example.org", "b.files.example.org") if made.is_above(name)] == [
        "", "org", "example.org", "files.example.org", "b.files.example.org",
    ]  # fmt: skip
    assert not made.is_above("com")
    assert not made.is_above("bad.files.example.org")


def test_refusals_say_who_what_and_which_rule_would_do():
    made = policy(["x.example", "deny:y.example", "*.y.example"], ["*.example"])
    assert made.may_ask("tracker.test").reason == (
        "sandbox job may not ask for tracker.test: no egress rule of sandbox job allows it; tracker.test would"
    )
    assert made.may_ask("tracker.test").lacks == "tracker.test"
    assert (
        made.may_ask("y.example").reason == "sandbox job may not ask for y.example: the egress rule deny:y.example of sandbox job denies it"
    )
    above = policy(["public"], ["x.example"])
    assert "no egress rule of the ceiling of this host allows it" in above.may_ask("y.example").reason


def test_wide_rules_let_all_names_be_asked_but_those_that_are_denied():
    for wide in ("all", "public", "public:443"):
        made = policy([wide, "deny:*.tracker.test", "deny:odd.test:443"])
        assert made.may_ask("anything.test").allowed
        assert not made.may_ask("a.tracker.test").allowed
        assert made.may_ask("odd.test").allowed, "only a port of it is denied"
    assert not policy(["all", "deny:all"]).may_ask("x.test").allowed
    assert not policy(["none", "host", "network:build", "10.0.0.0/8"]).may_ask("x.test").allowed


def test_what_is_bounded_under_a_wildcard():
    made = policy(["packages.example.org", "*.example.org"])
    assert made.asks_exactly("packages.example.org")
    assert made.is_unbounded("packages.example.org")
    assert not made.is_unbounded("a.example.org")
    assert policy(["all"]).is_unbounded("a.example.org")
    assert not policy(["all"], ["*.example.org"]).is_unbounded("a.example.org")


def test_layers_say_what_they_know_of_a_name():
    layer = Layer(read.rules(["a.b.example", "deny:c.example"]), "x")
    assert [layer.outcome(name)[0] for name in ("a.b.example", "b.example", "c.example", "d.example")] == [
        Outcome.ALLOWED, Outcome.ABOVE, Outcome.DENIED, Outcome.UNKNOWN,
    ]  # fmt: skip


# --- flows ----------------------------------------------------------------------------------------------------------


def test_a_name_opens_the_ports_of_its_rules():
    made = policy(["x.example", "x.example:22", "*.example:8443", "deny:x.example:80"])
    assert ports(made, "x.example", "192.0.2.1") == Ports.of("tcp", 22, 443, 8443)
    assert ports(made, "y.example", "192.0.2.1") == Ports.of("tcp", 8443)
    assert ports(made, None, "192.0.2.1") == NOTHING
    assert ports(made, "x.test", "192.0.2.1") == NOTHING
    assert made.allows(Flow(address=ip_address("192.0.2.1"), protocol="tcp", port=443, name="x.example")).allowed
    assert not made.allows(Flow(address=ip_address("192.0.2.1"), protocol="udp", port=443, name="x.example")).allowed


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "169.254.1.1", "127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.0.192", "168.63.129.16",
        "100.100.100.200", "::", "::1", "fe80::1", "ff02::1", "fd00:ec2::254", "fd20:ce::254", "::ffff:169.254.169.254", "::169.254.169.254", "::127.0.0.1",
        "64:ff9b::169.254.169.254", "64:ff9b::7f00:1", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1", "2002:7f00:1::", "2001:0:7f00:1::",
        "2001::5601:5601", "2001:db8:64::a9fe:a9fe", "64:ff9b:1:a9fe:a9:fe00::", "2001:db8::5efe:a9fe:a9fe",
        # The host's own, and those of our networks, also where the rule says private.
        "203.0.113.77", "::ffff:203.0.113.77", "64:ff9b::203.0.113.77", "10.20.0.1", "10.30.0.5", "198.51.100.9", "::ffff:10.20.0.9", "2002:a1e:5::1",
        "64:ff9b::10.20.0.9", "2001:db8:64::a14:9",
    ],
)  # fmt: skip
def test_what_no_name_ever_opens(address):
    made = policy(["x.example", "x.example+private", "*.example+private:1-65535"])
    assert ports(made, "x.example", address) == NOTHING
    refused = made.allows(Flow(address=ip_address(address), protocol="tcp", port=443, name="x.example"))
    assert not refused.allowed
    assert "+private would" not in refused.reason


@pytest.mark.parametrize("address", ["10.9.9.9", "172.16.0.1", "192.168.1.1", "100.64.0.1", "198.18.0.1", "fd12::1", "fec0::1",
                                     "64:ff9b::10.9.9.9", "2002:a09:909::1", "64:ff9b:1::a09:909"])  # fmt: skip
def test_private_addresses_need_the_word(address):
    assert ports(policy(["x.example"]), "x.example", address) == NOTHING
    assert ports(policy(["x.example+private:5432"]), "x.example", address) == Ports.of("tcp", 5432)
    said = policy(["x.example"]).allows(Flow(address=ip_address(address), protocol="tcp", port=443, name="x.example"))
    assert said.lacks == "x.example+private"


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "203.0.113.1", "8.8.8.8", "2001:db8::1", "2a00:1450::1", "64:ff9b::8.8.8.8", "2002:808:808::1"]
)
def test_ordinary_addresses(address):
    assert special.closed_to_names(ip_address(address)) is None
    assert ports(policy(["x.example"]), "x.example", address) == WEB


def test_rules_about_addresses():
    made = policy(["10.1.0.0/16:5432", "9.9.9.9:53/udp", "2001:db8::/32", "deny:2001:db8:1::/48", "deny:10.1.2.3"])
    assert ports(made, None, "10.1.0.1") == Ports.of("tcp", 5432)
    assert ports(made, None, "10.1.2.3") == NOTHING
    assert ports(made, None, "10.2.0.1") == NOTHING
    assert ports(made, "9.9.9.9", "9.9.9.9") == Ports.of("udp", 53)
    assert ports(made, None, "2001:db8::1") == EVERYTHING
    assert ports(made, None, "2001:db8:1::1") == NOTHING
    # Another form of an address that is denied is denied too.
    assert ports(policy(["all", "deny:192.0.2.0/24"]), None, "64:ff9b::192.0.2.9") == NOTHING
    assert ports(policy(["x.example", "deny:192.0.2.0/24"]), "x.example", "64:ff9b::192.0.2.9") == NOTHING


def test_public_all_and_none():
    public, everything, own = policy(["public"]), policy(["all"]), policy(["none"])
    assert ports(public, None, "8.8.8.8") == EVERYTHING - DNS
    assert not ports(public, None, "8.8.8.8").has("udp", 53)
    for address in ("10.9.9.9", "169.254.169.254", "168.63.129.16", "100.64.0.1", "fd12::1", "64:ff9b::8.8.8.8", "2002:808:808::1", "::1"):
        assert ports(public, None, address) == NOTHING
        assert ports(everything, None, address) == EVERYTHING - DNS
    assert ports(everything, None, "10.20.0.9") == EVERYTHING - DNS
    assert ports(everything, None, "10.30.0.9") == NOTHING, "not a network that the sandbox is on"
    assert ports(everything, None, "10.20.0.1") == NOTHING, "the host"
    assert ports(own, None, "10.20.0.9") == EVERYTHING - DNS
    assert ports(own, None, "172.18.0.9") == NOTHING, "the network that everybody shares"
    assert ports(own, None, "8.8.8.8") == NOTHING


def test_own_networks_and_the_host():
    made = policy(["network:build:5432", "network:default", "host:8080", "10.20.0.0/16", "deny:network:default:22"])
    assert ports(made, None, "10.20.0.9") == Ports.of("tcp", 5432), "a prefix is about what is outside"
    assert ports(made, None, "172.18.0.9") == EVERYTHING - DNS - Ports.of("tcp", 22)
    assert ports(made, None, "10.20.0.1") == Ports.of("tcp", 8080)
    assert ports(policy(["host", "deny:all"]), None, "10.20.0.1") == NOTHING
    assert ports(policy(["network:other"]), None, "10.30.0.9") == NOTHING
    said = policy(["x.example"]).allows(Flow(address=ip_address("10.20.0.9"), protocol="tcp", port=80))
    assert (said.lacks, "on network build" in said.reason) == ("network:build", True)
    assert policy(["x.example"]).allows(Flow(address=ip_address("10.20.0.1"), protocol="tcp", port=80)).lacks == "host:80"


def test_a_ceiling_cuts():
    made = policy(["*.example", "public"], ["x.example:443", "*.y.example", "192.0.2.0/24:22"])
    assert ports(made, "x.example", "192.0.2.1") == Ports.of("tcp", 443, 22)
    assert ports(made, "a.y.example", "198.18.0.1") == NOTHING
    assert ports(made, None, "192.0.2.1") == Ports.of("tcp", 22)
    assert ports(made, None, "8.8.8.8") == NOTHING
    assert made.may_ask("x.example").allowed
    assert not made.may_ask("z.example").allowed
    assert made.is_above("y.example")
    said = made.allows(Flow(address=ip_address("8.8.8.8"), protocol="tcp", port=443))
    assert said.reason == (
        "sandbox job may not reach 8.8.8.8 tcp port 443: no egress rule of the ceiling of this host allows it; 8.8.8.8:443 would"
    )


def test_sentences_of_flows():
    made = policy(["x.example", "deny:192.0.2.7:443"])
    assert made.allows(Flow(address=ip_address("2001:db8::5"), protocol="udp", port=9)).lacks == "[2001:db8::5]:9/udp"
    assert made.allows(Flow(address=ip_address("2001:db8::5"), protocol="ipv6-icmp", port=0)).lacks == "2001:db8::5"
    assert (
        "deny:192.0.2.7:443 of sandbox job denies it"
        in made.allows(Flow(address=ip_address("192.0.2.7"), protocol="tcp", port=443, name="x.example")).reason
    )
    assert made.allows(Flow(address=ip_address("192.0.2.1"), protocol="tcp", port=22, name="x.example")).lacks == "x.example:22"
    for lacking in ("[2001:db8::5]:9/udp", "2001:db8::5", "x.example:22"):
        read.rule(lacking)


# --- the firewall's part --------------------------------------------------------------------------------------------

_RULES = [
    "all", "public", "all:443", "public:1-100/udp", "10.0.0.0/8", "10.1.0.0/16:5432", "192.0.0.0/8:22", "0.0.0.0/0:80", "192.0.2.7", "[::/0]:443", "2001:db8::/32",
    "fd00::/8/udp", "none", "host", "host:8080", "network:build", "network:default:22", "network:other", "x.example",
]  # fmt: skip
_rule_lists = st.lists(st.sampled_from([*_RULES, *(f"deny:{rule}" for rule in _RULES if rule != "none")]), min_size=1, max_size=6)
_ADDRESSES = [
    "8.8.8.8", "10.1.2.3", "10.9.9.9", "192.0.2.7", "192.0.3.1", "169.254.169.254", "10.20.0.9", "172.18.0.9", "10.30.0.9", "10.20.0.1", "2001:db8::1",
    "fd12::1", "2a00::1", "::1", "fd20::9", "100.64.0.1", "64:ff9b::808:808",
]  # fmt: skip


def _by_boxes(made, address):
    """What the firewall would do with what `boxes` gives it."""
    found = boxes.boxes(made)
    place = AROUND.place(address)
    if place is HOST:
        return found.host
    if place is not None:
        return dict(found.networks).get(place.name, NOTHING)

    def held(listed):
        total = NOTHING
        for box in listed:
            match box.addresses:
                case Wide.ALL:
                    matches = True
                case Wide.PUBLIC:
                    matches = special.is_public(address)
                case network:
                    matches = network.version == address.version and address in network
            total |= box.ports if matches else NOTHING
        return total

    return held(found.allowed) - held(found.denied)


@settings(max_examples=300)
@given(st.lists(_rule_lists, min_size=1, max_size=2), st.sampled_from(_ADDRESSES))
def test_what_the_firewall_gets_says_what_the_policy_says(layers, text):
    made, address = policy(*layers), ip_address(text)
    if address.version == 6 and any(True for _ in special.carried(address)):
        assert made.ports(None, address) - _by_boxes(made, address) == NOTHING
        return
    assert _by_boxes(made, address) == made.ports(None, address)


@given(_rule_lists, _rule_lists, st.sampled_from(_ADDRESSES), st.sampled_from([None, "x.example"]))
def test_a_ceiling_never_adds_and_more_denials_never_open(rules, ceiling, text, name):
    address = ip_address(text)
    alone, cut = policy(rules).ports(name, address), policy(rules, ceiling).ports(name, address)
    assert cut - alone == NOTHING
    assert policy([*rules, "deny:10.0.0.0/8", "deny:x.example"]).ports(name, address) - alone == NOTHING


def test_public_parts_of_a_prefix():
    parts = boxes.public_parts(ip_network("0.0.0.0/0"))
    assert sum(part.num_addresses for part in parts) < 2**32
    assert not any(part.overlaps(hole) for part in parts for hole in special.NOT_PUBLIC4)
    assert boxes.public_parts(ip_network("10.1.0.0/16")) == []
    assert boxes.public_parts(ip_network("8.8.8.0/24")) == [ip_network("8.8.8.0/24")]
    assert all(part.subnet_of(ip_network("2000::/3")) for part in boxes.public_parts(ip_network("::/0")))


# --- what is looked at ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "unlooked"),
    [
        ([["x.example:443"]], NOTHING),
        ([["x.example+address:443"]], Ports.of("tcp", 443)),
        ([["x.example:443", "*.example+address:443"]], Ports.of("tcp", 443)),
        ([["x.example:443", "192.0.2.0/24:80"]], Ports.of("tcp", 80)),
        ([["x.example+address:443"], ["*.example"]], NOTHING),
        ([["x.example+address:443"], ["public"]], Ports.of("tcp", 443)),
        ([["x.example:443/udp"]], Ports.of("udp", 443)),
        # A name that is denied may be at any address, so only what says so itself is not looked at.
        ([["x.example:443", "192.0.2.0/24", "deny:evil.example"]], EVERYTHING - Ports.of("tcp", (1, 65_535))),
        ([["x.example+address:443", "deny:evil.example"], ["x.example+address"]], Ports.of("tcp", 443)),
    ],
)
def test_ports_at_which_the_address_alone_counts(layers, unlooked):
    made = policy(*layers)
    assert made.unlooked("x.example", ip_address("192.0.2.1")) == unlooked
    assert made.looks_at_all == any("deny" in rule for rules in layers for rule in rules)
