"""The host of an HTTP request: what is read, what is refused, and what is no HTTP."""

import random

import pytest

from netcore.look.findings import NEED_MORE, Name, NeedMore, NoName, Protocol, Refused
from netcore.look.first_data import FirstDataReader


def found(octets, size=None):
    """Return what is found if *octets* come in pieces of *size*."""
    reader, finding = FirstDataReader(), NEED_MORE
    for at in range(0, len(octets), size or max(1, len(octets))):
        finding = reader.feed(octets[at : at + (size or len(octets))])
        if not isinstance(finding, NeedMore):
            break
    return finding


def request(*headers, line="GET / HTTP/1.1", end="\r\n"):
    return "".join(f"{text}{end}" for text in (line, *headers, "")).encode("latin-1")


@pytest.mark.parametrize("size", [None, 1, 5])
@pytest.mark.parametrize(
    "octets",
    [
        request("Host: a.example"),
        request("Host:a.example"),
        request("host: \t A.Example. \t"),
        request("HOST: a.example:8080", "Accept: */*"),
        request("User-Agent: x", "Host: a.example:"),
        request("Host: a.example", line="GET / HTTP/1.0"),
        request("Host: a.example", line="OPTIONS * HTTP/1.1"),
        request("Host: a.example", line="GET http://a.example/x?y HTTP/1.1"),
        request("Host: a.example:80", line="get HTTPS://A.EXAMPLE HTTP/1.1"),
        request("Host: a.example", line="PROPFIND /x HTTP/1.1"),
        request("Host: a.example", "X: \xff\t", end="\n"),
        request("Host: a.example", "Content-Length: 5", line="POST / HTTP/1.1") + b"\r\nHos",
    ],
)
def test_the_host_is_read_however_it_comes(octets, size):
    assert found(octets, size) == Name("a.example", Protocol.HTTP)


@pytest.mark.parametrize("size", [None, 1, 5])
@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (request("Accept: x"), "no Host header"),
        (request("Host: a.example", "Host: a.example"), "several Host headers"),
        (request("Host: a.example", "hOST: b.example"), "several Host headers"),
        (request("Host : a.example"), "between its name and the colon"),
        (request("X: y", " Host: a.example", "Host: b.example"), "goes on in a second line"),
        (request("Host: a.example", "\tb.example"), "goes on in a second line"),
        (request("Host"), "has no name"),
        (request(": a.example", "Host: b.example"), "has no name"),
        (request("Host: a.example\rHost: b.example"), "control character"),
        (request("Host: a.example\0"), "control character"),
        (request("Host: a.example\nX: y"), "some lines end"),
        (request("Host: a.example", end="\n") + request("Host: b.example"), None),
        (request("Host: a.example", line="GET / HTTP/1.1\r"), "request line is not well formed"),
        (request("Host: b.example", line="GET http://a.example/ HTTP/1.1"), "different servers"),
        (request(line="GET http://a.example/ HTTP/1.0"), "no Host header"),
        (request("Host: a.example", line="GET http://u:p@a.example/ HTTP/1.1"), "user name"),
        (request("Host: u@a.example"), "user name"),
        (request("Host: a.example", line="GET http://a.example?@evil.example/ HTTP/1.1"), "user name"),
        (request("Host: a.example", line="GET http://a.example?x=u@evil.example HTTP/1.1"), "user name"),
        (request("Host: a.example", line="GET http://a.example#@evil.example/ HTTP/1.1"), "fragment"),
        (request("Host: a.example", line="GET /#@evil.example/ HTTP/1.1"), "fragment"),
        (request("Host: a.example", line="GET http://a.example/?x=u@b.example HTTP/1.1"), None),
        (request("Host: a.example", line="GET ftp://a.example/ HTTP/1.1"), "no path"),
        (request("Host: a.example", line="GET a.example HTTP/1.1"), "no path"),
        (request("Host: a.example", line="CONNECT b.example:443 HTTP/1.1"), "CONNECT"),
        (request("Host: a.example", line="GET /  HTTP/1.1"), "not well formed"),
        (request("Host: a.example", line="GET / HTTP/1.1 "), "not well formed"),
        (request("Host: a.example", line="GET\t/ HTTP/1.1"), "not well formed"),
        (request("Host: a.example", line="GET / HTTP/1.2"), "HTTP/1.0 or HTTP/1.1"),
        (request("Host: a.example", line="GET / HTTP/2"), "HTTP/1.0 or HTTP/1.1"),
        (request("Host: a.example", line="GET / http/1.1"), "not well formed"),
        (request(line="GET /"), "not well formed"),
        (request("Host: a.example", line=" GET / HTTP/1.1"), "blank"),
        (b"\r\n" + request("Host: a.example"), "blank"),
        (b"\n\n" + request("Host: a.example"), "blank"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), "HTTP/2 without TLS"),
        (request("Host: 192.0.2.1"), "is an address"),
        (request("Host: [2001:db8::1]:80"), "is an address"),
        (request("Host: 2001:db8::1"), "is an address"),
        (request("Host: 0x7f.1"), "is an address"),
        (request("Host: a.example:80:90"), "is an address"),
        (request("Host: a.example:x"), "no number"),
        (request("Host: a.example, b.example"), "not the name of a host"),
        (request("Host: a.example/b"), "not the name of a host"),
        (request("Host: a%2eexample"), "not the name of a host"),
        (request("Host:"), "is empty"),
        (request("Host: b\xfccher.example"), "is not ASCII"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(octets, reason, size):
    if reason is None:
        assert found(octets, size) == Name("a.example", Protocol.HTTP)
        return
    finding = found(octets, size)
    assert isinstance(finding, Refused)
    assert finding.protocol is Protocol.HTTP
    assert reason in finding.reason


@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize(
    "octets",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n", b"EHLO a.example\r\n", b"get key\r\n", b"GET key\r\n", b"*1\r\n$4\r\nPING\r\n", b"\0\0\0\x08\4\xd2\x16\x2f",
        b"\x0a\0\0\1rest", b"AMQP\0\0\\9\1", b"\x10\x0c\0\4MQTT", b"FOO \0", b"USER x\n", b'{"id": 1}\n',
    ],
)  # fmt: skip
def test_other_protocols_are_neither(octets, size):
    assert found(octets, size) == NoName()


@pytest.mark.parametrize("octets", [b"", b"G", b"GET", b"GET /", b"\r\n", b"FOO bar", request("Host: a.example")[:-1]])
def test_the_start_of_a_request_says_nothing(octets):
    assert found(octets) == found(octets, 1) == NEED_MORE


def test_what_never_ends_is_refused():
    for part in (b"GET /" + b"a" * 95, b"a" * 100, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20):
        reader = FirstDataReader()
        finding = reader.feed(part)
        while isinstance(finding, NeedMore):
            finding = reader.feed(b"X: " + b"y" * 95 + b"\r\n" if b"\n" in part else b"a" * 100)
        assert isinstance(finding, Refused)
        assert "name no server" in finding.reason


def test_how_it_is_cut_makes_no_difference():
    chance = random.Random("http request")
    words = [
        b"GET ",
        b"/ ",
        b"HTTP/1.1",
        b"HTTP/1.1\r\n",
        b"Host: a.example\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"X: y\r\n",
        b"\0",
        b"foo",
        b"http://a.example",
    ]
    for _ in range(3000):
        octets = b"".join(chance.choice(words) for _ in range(chance.randrange(1, 9)))
        assert found(octets) == found(octets, 1) == found(octets, 3), octets
