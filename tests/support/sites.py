"""Sites outside for clients that may reach them: `sites.py DIRECTORY CERTIFICATE KEY`, a name server, and HTTP with and without TLS.

The names `ANYTHING.KIND.site.test` differ by KIND in how they are answered:

* `rotate`: some of a thousand addresses of each family, others each time, for a second; `many`: sixty of them, so that the answer needs TCP
* `chain`: eight aliases through other domains first
* `dead6`, `dead4`: what one family's addresses are sent is refused; `silent6`: it is dropped
* `shared`: one address for all of them
* `service`: there is an HTTPS record, with hints of addresses and keys of Encrypted Client Hello

Each host has the files of DIRECTORY at every address.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import sys
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset

KINDS = ("rotate", "many", "chain", "dead6", "dead4", "silent6", "shared", "service")
ADDRESSES = 1000
ALIASES = 8
_TTL = 1
_chance = random.Random(1)  # The same in each run.

DEAD4, DEAD6, SILENT6 = "46.2.0.0/16", "2001:db8:46:2::/64", "2001:db8:46:3::/64"
SETUP = f"""
set -e
ip route add local default dev lo table main
ip -6 route add local default dev lo table main
nft -f - <<'END'
table inet sites {{
  chain prerouting {{
    type nat hook prerouting priority -100;
    tcp dport 443 redirect to :443
    tcp dport 80 redirect to :80
  }}
  chain raw {{
    type filter hook prerouting priority -310;
    ip6 daddr {SILENT6} drop
  }}
  chain input {{
    type filter hook prerouting priority -50;
    ct original ip daddr {DEAD4} reject with tcp reset
    ct original ip6 daddr {DEAD6} reject with tcp reset
  }}
}}
END
"""
"""What the outside needs: every address is here."""


def _four(kind: str) -> list[str]:
    if kind == "shared":
        return ["46.1.0.1"]
    net = 2 if kind == "dead4" else 0
    drawn = _chance.sample(range(ADDRESSES), 60 if kind == "many" else 4)
    return [f"46.{net}.{number >> 8}.{number & 255 or 1}" for number in drawn]


def _six(kind: str) -> list[str]:
    if kind == "shared":
        return ["2001:db8:46:1::1"]
    net = {"dead6": 2, "silent6": 3}.get(kind, 0)
    return [f"2001:db8:46:{net}::{number + 1:x}" for number in _chance.sample(range(ADDRESSES), 60 if kind == "many" else 4)]


def answer(octets: bytes, *, is_stream: bool) -> bytes:
    query = dns.message.from_wire(octets)
    name, rtype = query.question[0].name, query.question[0].rdtype
    made = dns.message.make_response(query, recursion_available=True)
    labels = name.to_text().lower().split(".")
    kind = labels[-4] if len(labels) >= 4 and labels[-3:] == ["site", "test", ""] else ""
    owner = name
    if kind == "chain":
        for at in range(ALIASES):
            alias = dns.name.from_text(f"{labels[0]}.edge{at}.cdn{at % 3}.net.")
            made.answer.append(dns.rrset.from_text(owner, _TTL, "IN", "CNAME", alias.to_text()))
            owner = alias
    if kind in KINDS and rtype == dns.rdatatype.A:
        made.answer.append(dns.rrset.from_text(owner, _TTL, "IN", "A", *_four(kind)))
    elif kind in KINDS and rtype == dns.rdatatype.AAAA:
        made.answer.append(dns.rrset.from_text(owner, _TTL, "IN", "AAAA", *_six(kind)))
    elif kind == "service" and rtype == dns.rdatatype.HTTPS:
        hints = f"ipv4hint={','.join(_four(kind))} ipv6hint={','.join(_six(kind))}"
        made.answer.append(dns.rrset.from_text(owner, _TTL, "IN", "HTTPS", f'1 . alpn="h2,http/1.1" {hints} ech="AEX+DQBBAAAg"'))
    wire = made.to_wire(max_size=65_535)
    if not is_stream and len(wire) > max(512, query.payload):
        made = dns.message.make_response(query, recursion_available=True)
        made.flags |= dns.flags.TC
        wire = made.to_wire()
    return wire


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(answer(data, is_stream=False), addr)


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            octets = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            made = answer(octets, is_stream=True)
            writer.write(len(made).to_bytes(2, "big") + made)
    except (asyncio.IncompleteReadError, OSError):
        writer.close()


class Site:
    """Serves the files of a directory; `/` says the host that was asked for."""

    def __init__(self, directory: Path) -> None:
        self.files = {f"/{path.relative_to(directory)}": path.read_bytes() for path in directory.rglob("*") if path.is_file()}
        self.files |= {path.removesuffix("index.html"): octets for path, octets in self.files.items() if path.endswith("/index.html")}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (head := await reader.readuntil(b"\r\n\r\n")) and await self._answer(head.decode("latin-1"), reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        line, *headers = head.split("\r\n")
        method, path, _ = line.split(" ", 2)
        fields = {key.lower(): value.strip() for key, _, value in (header.partition(":") for header in headers if header)}
        await reader.readexactly(int(fields.get("content-length", "0")))
        host = fields.get("host", "")
        body = f"{host}\n".encode() if path == "/" else self.files.get(path.partition("?")[0].replace("/./", "/"))
        status = "200 OK" if body is not None else "404 Not Found"
        kind = (
            "application/json"
            if path.startswith("/npm") and not path.endswith(".tgz")
            else "text/html"
            if path.endswith("/")
            else "application/octet-stream"
        )
        if body is not None and kind == "application/json":
            # The registry says where its archives are: at the host that was asked.
            body = body.replace(b"HOST", host.encode())
        content = body or b""
        writer.write(f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n".encode())
        if method != "HEAD":
            writer.write(content)
        await writer.drain()
        return fields.get("connection", "").lower() != "close"


async def main(directory: str, certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    site = Site(Path(directory))
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Datagrams, local_addr=("::", 53))
    await asyncio.start_server(asked, None, 53)
    await asyncio.start_server(site.serve, None, 80, backlog=1024)
    await asyncio.start_server(site.serve, None, 443, ssl=context, backlog=1024)
    print("listening", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
