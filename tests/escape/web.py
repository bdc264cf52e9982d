"""Attempts to reach a server that no rule allows, at an address that an allowed name has: what TLS and HTTP ask for."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable

import dns.message

from tests.escape import packets, questions
from tests.escape.attempts import SPECIAL, Arguments, Here, Kind, Made, crossed
from tests.support import client_hellos as hellos

PORTS = (80, 443, 9443)
"""The last one is opened by a rule of its own."""
PATIENCE = 4.0

Content = tuple[bytes, ...]
"""What is sent, each part as soon as something was answered to the one before."""


def talk(here: Here, how: Arguments, content: Content) -> Made:
    """Send *content* to the address of the allowed name; return whether the server of it answered to the last part."""
    address = here.target("named", int(how["family"]))
    cut = str(how.get("sent", "whole"))
    answer = b""
    with socket.socket(packets.socket_family(address), socket.SOCK_STREAM) as sock, contextlib.suppress(OSError):
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect((address, int(how["port"])))
        for part in content:
            answer = b""
            size = {"whole": len(part), "octets": 1, "halves": -(-len(part) // 2), "sevens": 7}[cut]
            for at in range(0, len(part), max(size, 1)):
                sock.send(part[at : at + size])
            answer = sock.recv(4096)
            if not answer:
                break
    return Made(reached=b"canary" in answer, permitted=content[:-1])


# --- HTTP -----------------------------------------------------------------------------------------------------------


def _request(host: str, *more: str, line: str = "GET / HTTP/1.1") -> str:
    return "\r\n".join((line, f"Host: {host}", *more, "", ""))


def _h2(authority: str) -> bytes:
    """HTTP/2 without TLS: the preface, settings, and a request whose headers are literals."""

    def literal(name: bytes, value: bytes) -> bytes:
        return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value

    block = b"".join((
        literal(b":method", b"GET"), literal(b":scheme", b"http"), literal(b":path", b"/"), literal(b":authority", authority.encode()),
    ))  # fmt: skip
    frame = len(block).to_bytes(3, "big") + b"\1\5\0\0\0\1" + block
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" + frame


def _requests(ok: str, evil: str) -> dict[str, Content]:
    """Return what to send, by what it tries. Each is one that no rule allows, or that two servers read in two ways."""
    good, bad = _request(ok), _request(evil)
    hidden = _request(evil)
    chunked = "Transfer-Encoding: chunked"

    def posted(*headers: str, body: str = "") -> str:
        return _request(ok, *headers, line="POST / HTTP/1.1") + body

    one: dict[str, str] = {
        "other host": bad, "no host": f"GET /{evil} HTTP/1.1\r\n\r\n", "empty host": f"GET /{evil} HTTP/1.1\r\nHost:\r\n\r\n",
        "HTTP/0.9": f"GET /{evil}\r\n", "HTTP/1.0": f"GET / HTTP/1.0\r\nHost: {evil}\r\n\r\n", "HTTP/1.0 without host": f"GET /{evil} HTTP/1.0\r\n\r\n",
        "HTTP/1.2": f"GET / HTTP/1.2\r\nHost: {evil}\r\n\r\n", "HTTP/2.0 in text": f"GET / HTTP/2.0\r\nHost: {evil}\r\n\r\n",
        "lower case version": f"GET / http/1.1\r\nHost: {evil}\r\n\r\n", "lower case method": f"get / HTTP/1.1\r\nHost: {evil}\r\n\r\n",
        "two hosts": _request(ok, f"Host: {evil}"), "two hosts, other first": _request(evil, f"Host: {ok}"), "three hosts": _request(ok, f"Host: {evil}", f"Host: {ok}"),
        "absolute form": _request(ok, line=f"GET http://{evil}/ HTTP/1.1"), "absolute form, other host": _request(evil, line=f"GET http://{ok}/ HTTP/1.1"),
        "absolute form of https": _request(ok, line=f"GET https://{evil}/ HTTP/1.1"), "absolute form, upper case": _request(ok, line=f"GET HTTP://{evil}/ HTTP/1.1"),
        "absolute form with a user": _request(ok, line=f"GET http://{ok}@{evil}/ HTTP/1.1"), "absolute form of ftp": _request(ok, line=f"GET ftp://{evil}/ HTTP/1.1"),
        "absolute form, number sign": _request(ok, line=f"GET http://{ok}#@{evil}/ HTTP/1.1"), "absolute form, question mark": _request(ok, line=f"GET http://{ok}?@{evil}/ HTTP/1.1"),
        "absolute form, backslash": _request(ok, line=f"GET http:\\\\{evil}/ HTTP/1.1"),
        "user in host": _request(f"{ok}@{evil}"), "list in host": _request(f"{ok}, {evil}"), "blank in host": _request(f"{ok} {evil}"),
        "tab in host": _request(f"{ok}\t{evil}"), "NUL in host": _request(f"{ok}\0{evil}"), "slash in host": _request(f"{evil}/{ok}"),
        "hash in host": _request(f"{evil}#{ok}"), "question mark in host": _request(f"{evil}?.{ok}"), "port in host": _request(f"{evil}:80"),
        "two ports in host": _request(f"{ok}:80:{evil}"), "quoted host": _request(f'"{evil}"'), "percent in host": _request(f"{evil}%2e{ok}"),
        "dot behind host": _request(f"{evil}."), "upper case host": _request(evil.upper()), "suffix of host": _request(f"{evil}.x{ok}"),
        "blank before the colon": f"GET / HTTP/1.1\r\nHost : {evil}\r\nHost: {ok}\r\n\r\n", "blank before the colon alone": f"GET / HTTP/1.1\r\nHost : {evil}\r\n\r\n",
        "blank before the name": f"GET / HTTP/1.1\r\n Host: {evil}\r\nHost: {ok}\r\n\r\n", "folded": f"GET / HTTP/1.1\r\nHost: {ok}\r\n {evil}\r\n\r\n",
        "folded before": f"GET / HTTP/1.1\r\nX: y\r\n Host: {evil}\r\nHost: {ok}\r\n\r\n", "host in the next line": f"GET / HTTP/1.1\r\nHost:\r\n {evil}\r\n\r\n",
        "LF alone": f"GET / HTTP/1.1\nHost: {evil}\n\n", "LF inside": f"GET / HTTP/1.1\r\nX: y\nHost: {evil}\r\nHost: {ok}\r\n\r\n",
        "CR alone": f"GET / HTTP/1.1\rHost: {evil}\r\r", "CR inside": f"GET / HTTP/1.1\r\nX: y\rHost: {evil}\r\nHost: {ok}\r\n\r\n",
        "CR CR LF": f"GET / HTTP/1.1\r\r\nHost: {evil}\r\r\n\r\r\n", "LF CR": f"GET / HTTP/1.1\n\rHost: {evil}\n\r\n\r",
        "vertical tab": f"GET / HTTP/1.1\r\nX: y\x0bHost: {evil}\r\nHost:\x0b{evil}\r\n\r\n", "form feed in line": f"GET /\x0cHTTP/1.1\r\nHost: {evil}\r\n\r\n",
        "no colon": f"GET / HTTP/1.1\r\nHost {evil}\r\nHost: {ok}\r\n\r\n", "header without name": f"GET / HTTP/1.1\r\n: {evil}\r\nHost: {ok}\r\n\r\n",
        "blank lines before": f"\r\n\r\n{bad}", "blank line, then two": f"\r\n{_request(ok, f'Host: {evil}')}", "blanks in line": f"GET  /  HTTP/1.1\r\nHost: {evil}\r\n\r\n",
        "tabs in line": f"GET\t/\tHTTP/1.1\r\nHost: {evil}\r\n\r\n", "line with two targets": _request(ok, line=f"GET / http://{evil}/ HTTP/1.1"),
        "CONNECT": _request(f"{evil}:443", line=f"CONNECT {evil}:443 HTTP/1.1"), "CONNECT with an allowed host": _request(ok, line=f"CONNECT {evil}:443 HTTP/1.1"),
        "OPTIONS *": _request(evil, line="OPTIONS * HTTP/1.1"), "TRACE": _request(evil, line="TRACE / HTTP/1.1"), "unknown method": _request(evil, line="MELT / HTTP/1.1"),
        "WebSocket": _request(evil, "Connection: Upgrade", "Upgrade: websocket"), "Upgrade to TLS": _request(evil, "Connection: Upgrade", "Upgrade: TLS/1.0"),
        "far behind": _request(ok, *(f"X-{at}: {'y' * 1000}" for at in range(60)), f"Host: {evil}"), "host far behind": f"GET / HTTP/1.1\r\n{'X: y' * 1}\r\n" + "".join(f"X-{at}: {'y' * 990}\r\n" for at in range(40)) + f"Host: {evil}\r\n\r\n",
        "address as host": f"GET /{evil} HTTP/1.1\r\nHost: 192.0.2.77\r\n\r\n", "IPv6 as host": f"GET /{evil} HTTP/1.1\r\nHost: [2001:db8::77]\r\n\r\n",
        "two lengths": posted("Content-Length: 0", f"Content-Length: {len(hidden)}", body=hidden), "length and chunks": posted(f"Content-Length: {5 + len(hidden)}", chunked, body=f"0\r\n\r\n{hidden}"),
        "chunks and length": posted(chunked, f"Content-Length: {5 + len(hidden)}", body=f"0\r\n\r\n{hidden}"), "list of lengths": posted(f"Content-Length: 0, {len(hidden)}", body=hidden),
        "length with a sign": posted(f"Content-Length: +{len(hidden)}", body=hidden), "negative length": posted("Content-Length: -1", body=hidden),
        "hexadecimal length": posted(f"Content-Length: {len(hidden):#x}", body=hidden), "length with a blank": posted("Content-Length: 1 0", body=hidden),
        "octal length": posted(f"Content-Length: 0{len(hidden):o}x", body=hidden), "length without digits": posted("Content-Length:", body=hidden),
        "length too large": posted(f"Content-Length: {1 << 70}", body=hidden), "length in other digits": posted("Content-Length: ٣", body=hidden),
        "other coding": posted("Transfer-Encoding: xchunked", body=f"0\r\n\r\n{hidden}"), "coding twice": posted(chunked, "Transfer-Encoding: identity", body=f"0\r\n\r\n{hidden}"),
        "coding with a tab": posted("Transfer-Encoding:\tchunked\x0b", body=f"0\r\n\r\n{hidden}"), "coding, blank before the colon": posted("Transfer-Encoding : chunked", f"Content-Length: {5 + len(hidden)}", body=f"0\r\n\r\n{hidden}"),
        "coding, list": posted("Transfer-Encoding: chunked, identity", body=f"0\r\n\r\n{hidden}"), "coding, quoted": posted('Transfer-Encoding: "chunked"', body=f"0\r\n\r\n{hidden}"),
        "coding in HTTP/1.0": f"POST / HTTP/1.0\r\nHost: {ok}\r\n{chunked}\r\nContent-Length: {5 + len(hidden)}\r\n\r\n0\r\n\r\n{hidden}",
        "folded coding": posted("Transfer-Encoding:", " chunked", f"Content-Length: {5 + len(hidden)}", body=f"0\r\n\r\n{hidden}"),
        "chunk with a sign": posted(chunked, body=f"+0\r\n\r\n{hidden}"), "chunk with 0x": posted(chunked, body=f"0x0\r\n\r\n{hidden}"),
        "chunk with a blank": posted(chunked, body=f"0 \r\n\r\n{hidden}"), "chunk with LF": posted(chunked, body=f"0\n\n{hidden}"),
        "chunk too large": posted(chunked, body=f"{'f' * 17}\r\n{hidden}"), "chunk without end": posted(chunked, body=f"3\r\nabcdef{hidden}"),
        "LF in a chunk's extension": posted(chunked, body=f"3;x\nabc\r\n0\r\n\r\n{hidden}"), "empty chunk size": posted(chunked, body=f"\r\n\r\n{hidden}"),
    }  # fmt: skip
    follows: dict[str, tuple[str, str]] = {
        "second request": (good, bad), "second request, LF alone": (good, f"GET / HTTP/1.1\nHost: {evil}\n\n"), "second request, two hosts": (good, _request(ok, f"Host: {evil}")),
        "second request behind a body": (posted("Content-Length: 3", body="abc"), bad), "second request behind chunks": (posted(chunked, body="3\r\nabc\r\n0\r\n\r\n"), bad),
        "second request behind trailers": (posted(chunked, body="0\r\nX: y\r\n\r\n"), bad), "second request behind HEAD": (_request(ok, line="HEAD / HTTP/1.1"), bad),
        "second request behind a refused upgrade": (_request(ok, "Connection: Upgrade", "Upgrade: websocket"), bad), "second request of HTTP/1.0": (f"GET / HTTP/1.0\r\nHost: {ok}\r\nConnection: keep-alive\r\n\r\n", bad),
        "second request behind close": (_request(ok, "Connection: close"), bad), "second, absolute form": (good, _request(ok, line=f"GET http://{evil}/ HTTP/1.1")),
        "CONNECT as second": (good, _request(f"{evil}:443", line=f"CONNECT {evil}:443 HTTP/1.1")), "TLS as second": (good, hellos.hello(evil.encode()).decode("latin-1")),
        "HTTP/2 as second": (good, _h2(evil).decode("latin-1")), "blank line before the second": (good, f"\r\n{bad}"), "no method in the second": (good, f"{evil}\r\n\r\n"),
        "second request behind Expect": (posted("Expect: 100-continue", "Content-Length: 3", body="abc"), bad),
    }  # fmt: skip
    octets: dict[str, Content] = {name: (text.encode("latin-1", "replace"),) for name, text in one.items()}
    octets |= {name: tuple(text.encode("latin-1", "replace") for text in texts) for name, texts in follows.items()}
    octets["HTTP/2 without TLS"] = (_h2(evil),)
    octets["other name in UTF-8"] = (_request(f"{evil}é").encode(),)
    return octets


def _http(here: Here, how: Arguments) -> Made:
    return talk(here, how, _requests(here.name, here.evil)[str(how["request"])])


def _pipelined(here: Here, how: Arguments) -> Made:
    """Both requests in one go."""
    content = _requests(here.name, here.evil)[str(how["request"])]
    made = talk(here, how, (b"".join(content),))
    return Made(permitted=content[:-1], reached=False if len(content) > 1 else made.reached)


# --- TLS ------------------------------------------------------------------------------------------------------------


def _hellos(ok: bytes, evil: bytes) -> dict[str, bytes]:
    def with_extensions(*extensions: bytes) -> bytes:
        return hellos.records(hellos.message(hellos.body([hellos.GREASE, *extensions, hellos.VERSIONS])))

    names = hellos.server_names
    body = hellos.body([names(evil), hellos.VERSIONS])
    whole = hellos.message(body)
    hello = hellos.records(whole)
    second = hellos.message(hellos.body([names(ok), hellos.VERSIONS]))
    entry = b"\0" + hellos.vector(2, evil)
    ok_entry = b"\0" + hellos.vector(2, ok)
    return {
        "other name": hello, "no name": with_extensions(hellos.extension(0x1234, evil)), "no extensions": hellos.records(hellos.message(hellos.body(None, session=evil[:32].ljust(32)))),
        "empty name": with_extensions(names(b""), hellos.extension(0x1234, evil)), "empty list": with_extensions(hellos.extension(0, b"\0\0"), hellos.extension(0x1234, evil)),
        "two names": with_extensions(names(ok, evil)), "two names, other first": with_extensions(names(evil, ok)), "two extensions": with_extensions(names(ok), names(evil)),
        "two extensions, other first": with_extensions(names(evil), names(ok)), "other kind of name": with_extensions(names(evil, kind=1)),
        "both kinds": with_extensions(hellos.extension(0, hellos.vector(2, b"\1" + hellos.vector(2, evil) + ok_entry))),
        "upper case": with_extensions(names(evil.upper())), "dot behind": with_extensions(names(evil + b".")), "two dots behind": with_extensions(names(ok + b".." + evil)),
        "NUL inside": with_extensions(names(ok + b"\0." + evil)), "NUL inside, other first": with_extensions(names(evil + b"\0" + ok)), "NUL behind": with_extensions(names(evil + b"\0")),
        "blank": with_extensions(names(b" " + evil)), "port": with_extensions(names(evil + b":443")), "IDNA": with_extensions(names(b"xn--" + evil)), "UTF-8": with_extensions(names("ü".encode() + evil)),
        "address": with_extensions(names(b"192.0.2.77"), hellos.extension(0x1234, evil)), "too long": with_extensions(names(evil + b".a" * 150)), "list too long": with_extensions(hellos.extension(0, b"\xff\xff" + entry)),
        "list too short": with_extensions(hellos.extension(0, (len(ok_entry)).to_bytes(2, "big") + ok_entry + entry)), "behind the list": with_extensions(hellos.extension(0, hellos.vector(2, ok_entry) + hellos.vector(2, entry))),
        "name in the second record": hellos.records(whole, 60), "records of one octet": hellos.records(whole, 1), "header in the first record": hellos.records(whole[:4]) + hellos.records(whole[4:]),
        "empty record first": hellos.records(b"", 1) + b"\x16\3\1\0\0" + hello, "GREASE": with_extensions(hellos.GREASE, names(evil), hellos.extension(0x2A2A, b"")), "outer name of ECH": with_extensions(names(evil), hellos.OUTER_ECH),
        "ECH without name": with_extensions(hellos.OUTER_ECH, hellos.extension(0x1234, evil)), "record of version 3.0": hellos.records(whole, version=b"\3\0"), "record of version 3.4": hellos.records(whole, version=b"\3\4"),
        "record of version 2.0": hellos.records(whole, version=b"\2\0"), "record of version 9.9": hellos.records(whole, version=b"\x09\x09"), "length too small": hellos.records(hellos.message(body, length=len(body) - 10)),
        "length too large": hellos.records(hellos.message(body, length=len(body) + 10)) + hellos.records(bytes(10)), "behind the hello": hellos.records(whole + second), "another hello before, in its record": hellos.records(second + whole),
        "alert first": b"\x15\3\1\0\2\1\0" + hello, "change of cipher first": b"\x14\3\1\0\1\1" + hello, "data first": b"\x17\3\3\0\5abcde" + hello, "heartbeat first": b"\x18\3\3\0\3\1\0\0" + hello,
        "TLS in TLS": b"\x17\3\3" + hellos.vector(2, hello), "hello as server's": hellos.records(hellos.message(body, kind=2)), "client's hello request": hellos.records(hellos.message(b"", kind=0) + whole),
        "SSL 2.0": b"\x80" + bytes([9 + 3 + 16 + len(evil)]) + b"\1\3\1\0\3\0\0\0\x10" + b"\0\0\x2f" + bytes(16) + evil, "DTLS": b"\x16\xfe\xfd" + bytes(8) + hellos.vector(2, whole),
        "PROXY protocol": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 443\r\n" + hello, "PROXY protocol 2": b"\r\n\r\n\0\r\nQUIT\n\x20\x11\0\0" + hello, "SOCKS": b"\5\1\0\5\1\0\3" + hellos.vector(1, evil) + b"\1\xbb",
        "PostgreSQL": b"\0\0\0\x08\x04\xd2\x16\x2f" + hello, "SMTP": b"EHLO x\r\nSTARTTLS\r\n" + hello, "SSH": b"SSH-2.0-" + evil + b"\r\n", "text": evil, "blank first": b" " + hello, "NUL first": b"\0" + hello,
        "LF first": b"\n" + hello, "request in the hello": with_extensions(names(evil), hellos.padding(50) + hellos.extension(0x1234, b"GET / HTTP/1.1\r\nHost: " + ok + b"\r\n\r\n")),
        "large": with_extensions(hellos.padding(14_000), names(evil)), "too large": hellos.records(hellos.message(hellos.body([hellos.padding(60_000), names(evil)])), 16_000), "half": hello[:-5],
    }  # fmt: skip


_OTHER_PROTOCOLS = {
    "PROXY protocol", "PROXY protocol 2", "SOCKS", "PostgreSQL", "SMTP", "SSH", "text", "blank first", "NUL first", "LF first", "alert first",
    "change of cipher first", "data first", "heartbeat first", "TLS in TLS", "DTLS", "record of version 2.0", "record of version 9.9",
}  # fmt: skip
"""They name nobody. On a port that is no port of the web these count by their address, which the rules of the lab allow."""


def _tls(here: Here, how: Arguments) -> Made:
    return talk(here, how, (_hellos(here.name.encode(), here.evil.encode())[str(how["hello"])],))


# --- answers that point elsewhere -------------------------------------------------------------------------------------


def _special(here: Here, how: Arguments) -> Made:
    """A name that is allowed is answered with an address that no name opens; what is asked for there names it rightly."""
    name = f"s{how['answer']}-{here.number}.w{here.who}.wild.test"
    reached = False
    for rtype in ("A", "AAAA"):
        questions.exchange("127.0.0.11", dns.message.make_query(name, rtype).to_wire())
    for address in SPECIAL[int(how["answer"])]:
        if how["over"] == "udp":
            packets.datagram(address, 443, here.secret)
        elif how["over"] == "http":
            reached |= packets.connect(address, 80, _request(name, line=f"GET /{here.marker} HTTP/1.1").encode())
        else:
            hello = hellos.hello(name.encode(), hellos.extension(0x1234, here.secret))
            reached |= packets.connect(address, 443, hello)
    # 127.0.0.1 and its like are the sandbox itself, where nobody listens.
    return Made(reached=reached)


def _variants(
    key: str, names: Callable[[], Iterable[str]], sent: tuple[str, ...], ports: tuple[int, ...] = PORTS
) -> Callable[[], Iterable[Arguments]]:
    def variants() -> Iterable[Arguments]:
        for how in crossed(**{key: names()}, sent=sent, port=ports, family=packets.FAMILIES):
            if not (how["port"] == 9443 and how[key] in _OTHER_PROTOCOLS):
                yield how

    return variants


_DRAFT = _requests("a.test", "b.test")
_SECONDS = [name for name, content in _DRAFT.items() if len(content) > 1]

KINDS = (
    Kind(name="requests", variants=_variants("request", lambda: _DRAFT, ("whole",), (80, 9443)), make=_http),
    Kind(name="requests at the port of TLS", variants=_variants("request", lambda: _DRAFT, ("whole",), (443,)), make=_http),
    Kind(name="requests in pieces", variants=_variants("request", lambda: ("other host", "two hosts", "absolute form", "folded", "LF alone", "CONNECT", "second request"), ("octets", "halves", "sevens")), make=_http),
    Kind(name="pipelined requests", variants=_variants("request", lambda: _SECONDS, ("whole", "sevens"), (80, 9443)), make=_pipelined),
    Kind(name="hellos", variants=_variants("hello", lambda: _hellos(b"a.test", b"b.test"), ("whole",)), make=_tls),
    Kind(name="hellos in pieces", variants=_variants("hello", lambda: ("other name", "two names", "two extensions", "name in the second record", "records of one octet", "no name", "outer name of ECH"), ("octets", "halves", "sevens")), make=_tls),
    Kind(name="answers that point elsewhere", variants=lambda: crossed(answer=range(len(SPECIAL)), over=("http", "tls", "udp")), make=_special, shown={"answer": 0}),
)  # fmt: skip
