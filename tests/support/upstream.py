"""A scripted name server: `python upstream.py ADDRESS [BEHAVIOUR [quiet]]`. Answers below example.test, and www.example.org.

On standard output it says that it listens, and then, unless it is to be quiet, what it is asked: somebody must read that.

Below hostile.test it answers with what an attacker would: `ADDRESS.hostile.test`, with `-` in place of `.` and `:`, has that
address, `alias-NAME.hostile.test` is an alias of a name, `hint-ADDRESS.hostile.test` has a HTTPS record, `many.hostile.test` has
3,900 addresses.

Behaviours: `ok` (default), `silent`, `refused`, `servfail`, `spoof` (wrong question first), `big` (truncates over UDP).
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading

import dns.flags
import dns.message
import dns.rcode
import dns.rrset


def hostile(name: str, rtype: str) -> tuple[str, ...]:
    """Return type and data of what `name` below hostile.test has."""
    label = name.split(".")[0]
    kind, _, rest = label.partition("-")
    if kind == "alias":
        return "CNAME", f"{rest.replace('-', '.')}."
    if kind == "hint":
        return "HTTPS", f"1 . ipv4hint={rest.replace('-', '.')}"
    if kind == "many":
        return "A", *(f"198.18.{number >> 8}.{number & 255}" for number in range(3900))
    return (rtype, label.replace("-", ":" if rtype == "AAAA" else "."))


def answer(octets: bytes, behaviour: str, *, tcp: bool) -> list[bytes]:
    query = dns.message.from_wire(octets)
    question = query.question[0]
    print(f"{'tcp' if tcp else 'udp'} {question.name} {question.rdtype.name}", flush=True)
    response = dns.message.make_response(query, recursion_available=True)
    name = question.name.to_text().lower()
    if behaviour in ("refused", "servfail"):
        response.set_rcode(dns.rcode.from_text(behaviour.upper()))
    elif name.endswith(".hostile.test."):
        response.answer.append(dns.rrset.from_text(question.name, 60, "IN", *hostile(name, question.rdtype.name)))
        if not tcp and len(response.answer[0]) > 50:
            response.answer.clear()
            response.flags |= dns.flags.TC
    elif not name.endswith(("example.test.", "www.example.org.")):
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif name.startswith("big.") and question.rdtype.name == "TXT":
        if not tcp and (behaviour == "big" or query.payload < 4096):
            response.flags |= dns.flags.TC
        else:
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", "TXT", *(f'"{"x" * 250}{i}"' for i in range(12))))
    elif question.rdtype.name == "A":
        response.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", "192.0.2.80"))
    wire = response.to_wire(max_size=65535)
    if behaviour == "spoof":
        wrong = dns.message.make_response(dns.message.make_query("evil.example.test", "A", id=query.id))
        wrong.answer.append(dns.rrset.from_text("evil.example.test.", 60, "IN", "A", "192.0.2.66"))
        return [wrong.to_wire(), wire]
    return [wire]


def serve_tcp(listener: socket.socket, behaviour: str) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            size = int.from_bytes(connection.recv(2), "big")
            for wire in answer(connection.recv(size), behaviour, tcp=True)[-1:]:
                connection.sendall(len(wire).to_bytes(2, "big") + wire)


def main() -> None:
    address, behaviour = sys.argv[1], (sys.argv[2:] or ["ok"])[0]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM)
    udp.bind((address, 53))
    tcp = socket.socket(family)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind((address, 53))
    tcp.listen()
    threading.Thread(target=serve_tcp, args=(tcp, behaviour), daemon=True).start()
    print("listening", flush=True)
    if sys.argv[3:] == ["quiet"]:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    while True:
        octets, peer = udp.recvfrom(65535)
        if behaviour != "silent":
            for wire in answer(octets, behaviour, tcp=False):
                # There may be no way back to the address that it came from.
                with contextlib.suppress(OSError):
                    udp.sendto(wire, peer)
        else:
            print("ignored", flush=True)


main()
