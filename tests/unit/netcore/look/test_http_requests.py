"""All requests of one HTTP connection: each names its server, and where it ends is read in one way only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore import limits
from netcore.look.findings import Name, Protocol, Refused
from netcore.look.http_requests import HttpRequests


def request(host="a.example", *headers, body=b"", line="GET / HTTP/1.1"):
    return "\r\n".join([line, f"Host: {host}", *headers, "", ""]).encode() + body


POST = request("b.example", "Content-Length: 5", body=b"GET /", line="POST /x HTTP/1.1")
CHUNKED = request(
    "c.example", "Transfer-Encoding: chunked", body=b"5;x=y\r\nHost:\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", line="PUT / HTTP/1.1"
)


def names(octets, piece):
    reader = HttpRequests()
    found = [finding for at in range(0, len(octets), piece) for finding in reader.feed(octets[at : at + piece])]
    return [finding.name if isinstance(finding, Name) else finding.reason for finding in found], reader


@given(st.integers(1, 400))
def test_requests_are_told_apart_however_they_are_cut(piece):
    octets = request() + POST + CHUNKED + request("d.example", "Content-Length: 0") + request("e.example", "Upgrade: h2c")
    found, reader = names(octets, piece)
    assert found == ["a.example", "b.example", "c.example", "d.example", "e.example"]
    assert reader.cleared == len(octets)
    assert reader.is_between


def test_what_may_be_sent_is_whole_headers_and_what_has_come_of_a_body():
    reader = HttpRequests()
    head = POST[:-5]
    assert list(reader.feed(head[:20])) == []
    assert (reader.cleared, reader.is_between) == (0, False)
    assert list(reader.feed(head[20:] + b"GE")) == [Name("b.example", Protocol.HTTP)]
    assert (reader.cleared, reader.is_between) == (len(head) + 2, False)
    assert list(reader.feed(b"T /GET / HT")) == []
    assert (reader.cleared, reader.is_between) == (len(POST), False)
    assert list(reader.feed(b"TP/1.1\r\nHost: z.example\r\n\r\n")) == [Name("z.example", Protocol.HTTP)]
    assert reader.is_between


@pytest.mark.parametrize(
    "second",
    [
        b"\x81\x05hello", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n" + request(), b"\x16\x03\x01\x00\x05hello", request(line="CONNECT evil.example:443 HTTP/1.1"),
        request("a.example", "Content-Length: 5", "Content-Length: 6"), request("a.example", "Content-Length: +5"),
        request("a.example", "Content-Length: 5", "Transfer-Encoding: chunked"), request("a.example", "Transfer-Encoding: gzip, chunked"),
        request("a.example", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        request("a.example", "Transfer-Encoding: chunked", body=b"0x5\r\nhello\r\n0\r\n\r\n"),
        request("a.example", "Transfer-Encoding: chunked", body=b"5\nhello\r\n0\r\n\r\n"),
        request("a.example", "Transfer-Encoding: chunked", body=b"5\r\nhello!\r\n0\r\n\r\n"),
        request("a.example", "Transfer-Encoding: chunked", body=b"5 \r\nhello\r\n"),
        request("a.example", "Transfer-Encoding: chunked", body=b"0\r\nx: y\n\r\n"),
        request("a.example", "Transfer-Encoding: chunked", body=b"1;" + b"x" * limits.CHUNK_LINE),
        b"GET / HTTP/1.1\r\nHost: a.example\r\nX: " + b"x" * limits.FIRST_DATA,
    ],
)  # fmt: skip
@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_what_can_be_read_in_two_ways_ends_the_connection(second, piece):
    reader = HttpRequests()
    found = []
    for at in range(0, len(octets := POST + second), piece):
        found += reader.feed(octets[at : at + piece])
        if found and isinstance(found[-1], Refused):
            break
    assert found[0] == Name("b.example", Protocol.HTTP)
    assert isinstance(found[-1], Refused)
    assert found[-1].protocol is Protocol.HTTP
