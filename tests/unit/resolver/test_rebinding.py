"""Answers of outside name servers that lead to what is ours: in which form of address, section and record they are found."""

import struct
from ipaddress import IPv6Network, ip_address, ip_network

import dns.edns
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.engine.exchange import Done
from resolver.engine.rebinding import NOTHING, Finding, OwnNetworks, Protected, is_private
from resolver.engine.upstream import UpstreamSet
from resolver.errors import DecodeError
from resolver.wire.name import expand, from_text, is_below
from resolver.zone.known_zones import KnownZones
from tests.support.zones import zone
from tests.unit.resolver.test_received import received, response
from tests.unit.resolver.test_service import HEALTH, OUTSIDE, World

PROTECTED = Protected(
    OwnNetworks([ip_network("10.1.0.0/16"), ip_network("172.17.128.0/20"), ip_network("fd01::/64"), ip_network("fd02:0:0:f0::/60")]),
    addresses=[ip_address("192.168.7.10"), ip_address("fd77::10")],
    domains=[from_text("corp.test"), from_text(".")],
    nat64=[
        IPv6Network("2001:db8:64::/96"),
        IPv6Network("2001:db8:4656::/56"),
        IPv6Network("2001:db8:64:64::/64"),
    ],
)


def look(*texts, section="answer", name="www.example.test."):
    return PROTECTED.look(received(response(**{section: [(name, 60, "IN", *texts)]})))


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("172.17.128.1", "172.17.128.1"),
        ("172.17.127.1", None),
        ("fd01::9", "fd01::9"),
        ("fd02:0:0:f9::1", "fd02:0:0:f9::1"),
        ("fd02:0:0:e9::1", None),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::10.1.2.3", "10.1.2.3"),
        ("64:ff9b::10.1.2.3", "10.1.2.3"),
        ("64:ff9b:1::10.1.2.3", "10.1.2.3"),
        ("64:ff9b:1:a01:2:300::", "10.1.2.3"),
        ("2001:db8:64::10.1.2.3", "10.1.2.3"),
        ("2001:db8:a:102:3::", None),
        ("2001:db8:4656:a:1:203::", "10.1.2.3"),
        ("2001:db8:64:64:a:102:300:0", "10.1.2.3"),
        ("2002:a01:203::1", "10.1.2.3"),
        ("2002:a02:203::1", None),
        ("2001:0:c000:201::f5fe:fdfc", "10.1.2.3"),
        ("2001:db8::1", None),
        ("0.0.0.0", None),
        ("127.0.0.1", None),
        ("127.9.9.9", None),
        ("::", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
    ],
)
@pytest.mark.parametrize("section", ["answer", "authority", "additional"])
def test_every_form_of_an_address_in_every_section(address, network, section):
    assert look("AAAA" if ":" in address else "A", address, section=section) == Finding(network)


def test_prefix_of_forty_bits():
    # RFC 6052 section 2.2: 24 bits of the address before the octet that is left out, 8 behind.
    address = ip_address(ip_address("2001:db8::").packed[:5] + bytes([10, 1, 2, 0, 3]) + bytes(6))
    protected = Protected(OwnNetworks([ip_network("10.1.0.0/16")]), nat64=[IPv6Network("2001:db8::/40")])
    assert protected.look(received(response(answer=[("www.example.test.", 60, "IN", "AAAA", str(address))]))).network == "10.1.2.3"


@pytest.mark.parametrize("rtype", ["HTTPS", "SVCB"])
@pytest.mark.parametrize(
    ("parameters", "network"),
    [
        ("ipv4hint=10.1.2.3", "10.1.2.3"),
        ("alpn=h2 ipv4hint=192.0.2.1,10.1.2.3", "10.1.2.3"),
        ("ipv6hint=2001:db8::1,fd01::5", "fd01::5"),
        ("port=443 ipv6hint=2002:a01:203::1", "10.1.2.3"),
        ("ipv4hint=192.0.2.1 ipv6hint=2001:db8::1", None),
        ("port=2561", None),
    ],
)
def test_hints_of_services(rtype, parameters, network):
    assert look(rtype, f"1 svc.example.test. {parameters}") == Finding(network)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("192.168.7.10", "192.168.7.10"),
        ("192.168.7.11", None),
        ("fd77::10", "fd77::10"),
        ("::ffff:192.168.7.10", "192.168.7.10"),
        ("fd77::11", None),
    ],
)
def test_addresses_of_the_host(address, host):
    assert look("AAAA" if ":" in address else "A", address) == Finding(None, host)


def test_one_among_many_is_found():
    many = [f"10.2.{number >> 8}.{number & 255}" for number in range(3000)]
    assert look("A", *many) is NOTHING
    assert look("A", *many, "10.1.9.9").network == "10.1.9.9"
    assert look("AAAA", *(f"2002:a02:{number:x}::1" for number in range(1, 2000))) is NOTHING
    assert look("AAAA", *(f"2002:a02:{number:x}::1" for number in range(1, 2000)), "2002:a01:203::7").network == "10.1.2.3"


@pytest.mark.parametrize(
    ("address", "private"),
    [("192.168.1.1", True), ("10.0.0.1", True), ("100.64.0.1", True), ("fe80::1", True), ("fd00::1", True), ("169.254.1.1", True),
     ("8.8.8.8", False), ("2a00:1450::1", False), ("127.0.0.1", False), ("::1", False), ("0.0.0.0", False)],
)  # fmt: skip
def test_which_addresses_of_the_host_are_private(address, private):
    assert is_private(ip_address(address)) is private


def test_names_to_which_the_hosts_addresses_belong():
    assert PROTECTED.excuses(from_text("build.corp.test"))
    assert PROTECTED.excuses(from_text("corp.test"))
    assert PROTECTED.excuses(from_text("build"))
    assert not PROTECTED.excuses(from_text("."))
    assert not PROTECTED.excuses(from_text("evilcorp.test"))
    assert not PROTECTED.excuses(from_text("evil.test"))


@pytest.fixture
async def world():
    made = World(known=KnownZones([zone("front", (["web"], ["10.1.0.2"])), zone("back", (["db"], ["10.2.0.2"]))]))
    yield made
    await made.service.close()


def answered(world, *records, name="evil.test", rtype="A", **more):
    """What a client gets for *name* when an upstream gives *records*: now, and from the cache."""
    replies = []
    for _ in range(2):
        reply = world.ask(name, rtype, use_edns=0, **more)
        if reply is None:
            ((octets, results),), world.pool.asked = world.pool.asked, []
            made = dns.message.make_response(dns.message.from_wire(octets), recursion_available=True)
            made.answer += [dns.rrset.from_text(owner, 60, "IN", *texts) for owner, *texts in records]
            results.on_result(Done(HEALTH, made.to_wire()), world.now)
            reply = world.replies.pop()
        replies.append(reply)
    assert len({reply.rcode() for reply in replies}) == 1
    return replies[0]


@pytest.mark.parametrize(
    ("target", "blocked"),
    [
        ("web.", True),
        ("WEB.front.", True),
        ("web.front.berth.internal.", True),
        ("nobody.berth.internal.", True),
        ("db.back.", True),
        ("nobody.back.", False),
        ("front.", False),
        ("localhost.", False),
        ("cdn.test.", False),
    ],
)
async def test_alias_of_a_name_of_ours(world, target, blocked):
    reply = answered(world, ("evil.test.", "CNAME", target))
    assert (reply.rcode() == dns.rcode.REFUSED) is blocked
    if blocked:
        assert reply.options[0].text == "the answer leads to a name of this host's networks (rebinding)"


@pytest.mark.parametrize("texts", [("HTTPS", "0 web.front."), ("SVCB", "1 web.front. port=80")])
async def test_service_whose_target_is_a_name_of_ours(world, texts):
    assert answered(world, ("evil.test.", *texts), rtype=texts[0]).rcode() == dns.rcode.REFUSED
    assert answered(world, ("good.test.", texts[0], "1 . port=80"), name="good.test", rtype=texts[0]).rcode() == dns.rcode.NOERROR


async def test_hosts_addresses_are_for_its_own_domains(world):
    world.service.protect(PROTECTED)
    blocked = answered(world, ("evil.test.", "A", "192.168.7.10"))
    assert (blocked.rcode(), blocked.options[0].text) == (
        dns.rcode.REFUSED,
        "the answer points to a private address of this host (rebinding)",
    )
    assert answered(world, ("build.corp.test.", "A", "192.168.7.10"), name="build.corp.test").rcode() == dns.rcode.NOERROR
    assert answered(world, ("bad.corp.test.", "A", "10.1.0.9"), name="bad.corp.test").rcode() == dns.rcode.REFUSED
    assert answered(world, ("block.test.", "A", "0.0.0.0"), name="block.test").answer[0][0].address == "0.0.0.0"


@pytest.mark.parametrize("how", [{"allows_rebinding": True}, {"upstreams": UpstreamSet(OUTSIDE.servers, is_trusted=True)}])
async def test_who_may_point_to_us(how):
    world = World(**how)
    world.service.protect(PROTECTED)
    assert answered(world, ("a.test.", "CNAME", "web.front."), ("web.front.", "A", "10.1.0.2"), name="a.test").rcode() == dns.rcode.NOERROR
    await world.service.close()


async def test_answer_is_looked_at_once_for_all_and_again_when_networks_change(world, monkeypatch):
    looks = []
    original = Protected.look
    monkeypatch.setattr(Protected, "look", lambda self, received: (looks.append(1), original(self, received))[1])
    assert answered(world, ("a.test.", "A", "10.5.0.1"), name="a.test").rcode() == dns.rcode.NOERROR
    for number in range(5):
        world.ask("a.test", use_edns=0, options=[dns.edns.GenericOption(10, bytes([number]) * 8)])
    assert len(looks) == 1
    world.service.protect(Protected(OwnNetworks([ip_network("10.5.0.0/16")])))
    world.client.replies.forget_all()
    assert answered(world, ("a.test.", "A", "10.5.0.1"), name="a.test").rcode() == dns.rcode.REFUSED


# --- names in messages ----------------------------------------------------------------------------------------------


@given(st.binary(max_size=80), st.integers(0, 90))
def test_any_name_is_read_in_bounded_steps_or_refused(octets, at):
    message = bytes(12) + octets
    try:
        name = expand(message, at)
    except DecodeError as error:
        assert "malformed" in str(error)
        return
    assert 1 <= len(name) <= 255
    assert name == name.lower()
    assert is_below(name, name)


@pytest.mark.parametrize(
    "octets",
    [
        b"\xc0\x0c",
        b"\xc0\xff",
        b"\1a\xc0\x0c",
        b"\x80a\0",
        b"\x3fabc",
        b"\xc0",
        b"".join(struct.pack("!H", 0xC000 | 12 + 2 * number) for number in range(200)),
    ],
)
def test_names_that_point_forward_or_in_circles_are_refused(octets):
    with pytest.raises(DecodeError, match="malformed"):
        expand(bytes(12) + octets, 12 + len(octets) - 2 if len(octets) > 100 else 12)
