"""The server name of a ClientHello: what is read, what is refused, and that a TLS library reads the same."""

import random

import pytest

from netcore import limits
from netcore.look.findings import NEED_MORE, Name, NeedMore, NoName, Protocol, Refused
from netcore.look.first_data import FirstDataReader
from tests.support import client_hellos as tls
from tests.support.client_hellos import body, extension, hello, message, records, server_names, vector


def found(octets, size=None):
    """Return what is found if *octets* come in pieces of *size*."""
    reader, finding = FirstDataReader(), NEED_MORE
    for at in range(0, len(octets), size or max(1, len(octets))):
        finding = reader.feed(octets[at : at + (size or len(octets))])
        if not isinstance(finding, NeedMore):
            break
    return finding


def name(text):
    return Name(text, Protocol.TLS)


@pytest.mark.parametrize("size", [None, 1, 7, 100])
@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (hello(), "packages.example.org"),
        (hello(b"Packages.EXAMPLE.org"), "packages.example.org"),
        (hello(b"packages.example.org."), "packages.example.org"),
        (hello(b"xn--bcher-kva.example"), "xn--bcher-kva.example"),
        (hello(b"_dns.a-b.example"), "_dns.a-b.example"),
        (hello(b"localhost"), "localhost"),
        (hello(size=1), "packages.example.org"),
        (hello(size=50), "packages.example.org"),
        (hello(b"a.example", tls.padding(12_000), size=3000), "a.example"),
        (hello(b"outer.example", tls.OUTER_ECH), "outer.example"),
        (hello() + records(b"\1", kind=20) + records(bytes(100), kind=23), "packages.example.org"),
        (tls.from_library("packages.example.org"), "packages.example.org"),
    ],
)
def test_names_are_read_however_they_come(octets, expected, size):
    assert found(octets, size) == name(expected)


def test_nothing_is_known_before_the_last_octet():
    octets = hello(size=100)
    for end in range(len(octets)):
        assert found(octets[:end]) == NEED_MORE


LONG = b".".join([b"a" * 63] * 4)


@pytest.mark.parametrize("size", [None, 1, 13])
@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (records(message(body(None))), "names no server"),
        (records(message(body([tls.VERSIONS]))), "names no server"),
        (records(message(body([]))), "names no server"),
        (records(message(body([extension(0, b"")]))), "ends too early"),
        (records(message(body([server_names()]))), "ends too early"),
        (records(message(body([server_names(b"a.example", b"b.example")]))), "several servers"),
        (records(message(body([server_names(b"a.example"), server_names(b"b.example")]))), "extension 0 is there twice"),
        (records(message(body([server_names(b"a.example"), tls.GREASE, tls.GREASE]))), "there twice"),
        (records(message(body([server_names(b"a.example", kind=1)]))), "unknown type"),
        (records(message(body([extension(0, vector(2, b"\0" + vector(2, b"a.example")) + b"\0")]))), "something follows the server name"),
        (records(message(body([extension(0, b"\0\x0c\0\0\x20a.example")]))), "ends too early"),
        (hello(b"192.0.2.1"), "is an address"),
        (hello(b"2001:db8::1"), "is an address"),
        (hello(b"0x7f000001"), "is an address"),
        (hello(b"a.1"), "is an address"),
        (hello(b""), "is empty"),
        (hello(b"."), "is empty"),
        (hello(b"a..example"), "is not the name of a host"),
        (hello(b"a.example.."), "is not the name of a host"),
        (hello(b"*.example"), "is not the name of a host"),
        (hello(b"a.example\0.evil.example"), "is not the name of a host"),
        (hello(b"a.example\n"), "is not the name of a host"),
        (hello(b"a.example/"), "is not the name of a host"),
        (hello(b"-a.example"), "is not the name of a host"),
        (hello("bücher.example".encode()), "is not ASCII"),
        (hello(b"a" * 64 + b".example"), "is not the name of a host"),
        (hello(LONG), "more than 253"),
        (records(message(body([server_names(b"a.example")], after=b"\0"))), "something follows the extensions"),
        (records(message(body([server_names(b"a.example")], ciphers=b""))), "not well formed"),
        (records(message(body([server_names(b"a.example")], ciphers=b"\0"))), "not well formed"),
        (records(message(body([server_names(b"a.example")], session=bytes(33)))), "session identifier"),
        (records(message(body([server_names(b"a.example")])) + b"\1"), "followed by something else"),
        (records(message(body([server_names(b"a.example")]), length=20)), "followed by something else"),
        (records(message(bytes(20), length=20)), "ends too early"),
        (records(message(b"", length=limits.FIRST_DATA)), "more than"),
        (records(message(body([server_names(b"a.example")]), kind=2)), "not a ClientHello"),
        (records(b"\1", kind=21), "without a ClientHello"),
        (records(bytes(20), kind=23), "without a ClientHello"),
        (records(b"\1\0") + records(b"\0", kind=20), "not a ClientHello"),
        (records(b"\1\0") + b"\x16\4", "unknown version"),
        (records(message(body([server_names(b"a.example")])), version=b"\3\5"), "unknown version"),
        (b"\x16\3\1\0\0", "empty or too long"),
        (b"\x16\3\1\x40\1", "empty or too long"),
        (b"\x80\x2e\1\3\1" + bytes(40), "SSL 2.0"),
        (b"\x80\x2e\1\0\2" + bytes(40), "SSL 2.0"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(octets, reason, size):
    finding = found(octets, size)
    assert isinstance(finding, Refused)
    assert finding.protocol is Protocol.TLS
    assert reason in finding.reason


@pytest.mark.parametrize("octets", [b"\x16\4\1\0\5", b"\x16GET", b"\x80\x01\x02\x03\x04", b"\x14\x00"])
def test_what_does_not_begin_as_tls_is_not_tls(octets):
    assert found(octets) == found(octets, 1) == NoName()


def test_what_never_ends_is_refused():
    reader = FirstDataReader()
    octets = records(message(b"", length=limits.FIRST_DATA - 4), size=1) + records(bytes(limits.FIRST_DATA), size=1)
    findings = [reader.feed(octets[at : at + 100]) for at in range(0, limits.FIRST_DATA + 100, 100)]
    assert isinstance(findings[-1], Refused)
    assert reader.feed(b"more") is findings[-1]


def test_a_library_reads_the_same_name_in_damaged_hellos():
    """Wherever a name is found, the library must not read another one. It may refuse what is accepted here: then nobody is served."""
    chance = random.Random("client hello")
    seeds = [hello(), hello(b"a.example", tls.OUTER_ECH), hello(size=40), tls.from_library("packages.example.org"), tls.from_library(None)]
    agreed = 0
    for _ in range(1500):
        octets = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((0, 1, 1, 2, 3))):
            at = chance.randrange(len(octets))
            match chance.randrange(4):
                case 0 | 1:
                    octets[at] = chance.randrange(256)
                case 2:
                    octets[at:at] = octets[max(0, at - chance.randrange(1, 30)) : at]
                case 3:
                    del octets[at : at + chance.randrange(1, 5)]
        finding = found(bytes(octets), chance.choice((None, 50)))
        seen = tls.seen_by_library(bytes(octets))
        match finding:
            case Name(text):
                assert seen is None or seen.lower().rstrip(".") == text, bytes(octets)
                agreed += seen is not None
            case NeedMore():
                assert seen is None, bytes(octets)
            case Refused() | NoName():
                pass
    assert agreed > 150
