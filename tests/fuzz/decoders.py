"""What must hold for any octets, decoder by decoder; and where dnspython can read them, that it reads the same.

`python -m tests.fuzz.decoders [SECONDS]` looks for octets that break it, with atheris (pip install atheris), and adds
what reached new code to `corpus.txt`. The corpus is replayed as an ordinary test.
"""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from resolver import limits, resolvconf
from resolver.engine import received as relaying
from resolver.engine import upstream
from resolver.engine.classify import Kind, classify
from resolver.engine.rebinding import OwnNetworks, Protected
from resolver.engine.received import orders, render, take_apart
from resolver.engine.request import screen
from resolver.errors import BadName, DecodeError
from resolver.wire import name as names
from resolver.wire.message import Query, find_edns, options, read_question

_INTO_THE_HEADER = re.compile(rb"\xc0[\x00-\x0b]")
"""A name that goes on in the header is another one with another ID; nobody sends that."""
CORPUS = Path(__file__).with_name("corpus.txt")
PROTECTED = Protected(OwnNetworks([ip_network("10.0.0.0/8"), ip_network("172.17.0.0/16"), ip_network("fd00::/8")]))
_CLIENT = screen(dns.message.make_query("www.example.test", "A", use_edns=0).to_wire())


def read(octets: bytes) -> dns.message.Message | None:
    """Return what dnspython makes of a message, None if it refuses it."""
    try:
        return dns.message.from_wire(octets, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, IndexError, NotImplementedError):
        return None


def query(octets: bytes) -> None:
    """A query is read as dnspython reads it, or refused with a message that dnspython can read, or passed over."""
    made = screen(octets)
    if made is None:
        assert len(octets) < 12 or octets[2] & 0x80
        return
    if isinstance(made, bytes):
        reply = read(made)
        assert reply is not None
        assert reply.id == octets[0] << 8 | octets[1]
        assert reply.flags & dns.flags.QR
        return
    assert made.qname == made.question[:-4].lower()
    assert 1 <= len(made.qname) <= 255
    theirs = read(octets)
    if theirs is None or len(theirs.question) != 1:
        return
    asked = theirs.question[0]
    assert asked.name.to_wire().lower() == made.qname
    assert (int(asked.rdtype), int(asked.rdclass)) == (made.qtype, made.qclass)
    assert (theirs.edns >= 0) == (made.edns is not None)
    if made.edns is not None:
        assert (theirs.payload, theirs.edns, bool(theirs.ednsflags & dns.flags.DO)) == (made.edns.payload, made.edns.version, made.edns.do)
        assert len(list(options(made.edns.options))) == len(theirs.options)


def reply(octets: bytes) -> None:
    """A reply is taken apart and told again with the same records, or refused."""
    try:
        _, _, _, start = read_question(octets)
    except DecodeError:
        start = 12
    try:
        made = take_apart(octets, start)
    except DecodeError:
        theirs = read(octets)
        if start > 12 and theirs is not None and octets[4:6] == b"\0\1":
            # dnspython lets a few things pass that must not be: OPT in a wrong section, two of them.
            assert octets.count(b"\0\0\x29") > 0
        return
    assert 0 <= made.lifetime <= 604_800
    assert 1 <= orders(made) <= 16
    assert isinstance(_CLIENT, Query)
    PROTECTED.look(made)
    for rotation in (0, 1):
        told = render(_CLIENT, made, tcp=True, ttls=(0, 3600, 7), rotation=rotation)
        assert len(told) >= 12
        render(_CLIENT, made, tcp=False)
    same_records(octets, start, made)


def same_records(octets: bytes, start: int, made: relaying.Received) -> None:
    theirs = read(octets)
    if start == 12 or theirs is None or octets[4:6] != b"\0\1" or _INTO_THE_HEADER.search(octets):
        return
    question = octets[12:start]
    name = question[:-4].lower()
    client = Query(7, 0x0100, name, question[-4] << 8 | question[-3], question[-2] << 8 | question[-1], question, None)
    ours = read(render(client, made, tcp=True))
    assert ours is not None
    assert ours.rcode() & 0xF == theirs.rcode() & 0xF
    for mine, other in ((ours.answer, theirs.answer), (ours.authority, theirs.authority), (ours.additional, theirs.additional)):
        # Their order may differ: dnspython shuffles what it writes.
        if mine is ours.additional and not _ends_with_opt(octets):
            # Behind an OPT only addresses are kept.
            assert sum(map(len, mine)) <= sum(map(len, other))
        else:
            assert set(map(_as_a_set, mine)) == set(map(_as_a_set, other)), (mine, other)
    plain = [rrset for section in theirs.sections[1:] for rrset in section if rrset.rdtype != dns.rdatatype.OPT]
    if made.lifetime and plain:
        assert made.lifetime <= min(rrset.ttl for rrset in plain)


def _ends_with_opt(octets: bytes) -> bool:
    """Return whether no record can come behind an OPT."""
    return b"\0\0\x29" not in octets or octets.startswith(b"\0\0\x29", len(octets) - 11)


def _as_a_set(rrset: dns.rrset.RRset) -> tuple[object, ...]:
    return rrset.name, rrset.rdclass, rrset.rdtype, rrset.ttl, frozenset(map(str, rrset))


def classified(octets: bytes) -> None:
    """Only a reply with our ID and our question is ours."""
    question, message = octets[2:20], octets[20:]
    kind = classify(question, octets[0] << 8 | octets[1] if len(octets) > 1 else 0, message)
    if kind is not Kind.UNRELATED:
        assert message[:2] == octets[:2]
        assert message[2] & 0x80


def name(octets: bytes) -> None:
    """A text is a name that comes back, or none."""
    text = octets.decode("utf-8", errors="replace")
    try:
        wire = names.from_text(text)
    except BadName:
        return
    assert len(wire) <= 255
    shown = names.to_text(wire)
    names.reverse_network(wire)
    if "\\" not in shown:
        assert names.from_text(shown) == wire


def nameserver(octets: bytes) -> None:
    """A nameserver is written as it was read, or none."""
    try:
        made = upstream.parse(octets.decode("utf-8", errors="replace"))
    except ValueError:
        return
    assert upstream.parse(str(made)) == made


def resolv_conf(octets: bytes) -> None:
    """A resolv.conf is read, whatever is in it."""
    made = resolvconf.parse(octets.decode("utf-8", errors="replace"))
    written = resolvconf.render(resolvconf.for_sandbox(made), source="x", upstreams=(), overrides=(), invalid=made.invalid)
    assert resolvconf.parse(written).nameservers == (resolvconf.EMBEDDED,)


def record(octets: bytes) -> None:
    """The walk over additional records ends, with an OPT or without."""
    try:
        find_edns(octets, 1, octets[0] if octets else 0)
    except DecodeError:
        return


def compressed(octets: bytes) -> None:
    """A compressed name is read as dnspython reads it, or refused."""
    message, at = bytes(12) + octets[1:], 12 + (octets[0] if octets else 0)
    try:
        wire = names.expand(message, at)
    except DecodeError:
        wire = None
    try:
        theirs, _ = dns.name.from_wire(message, at) if at < len(message) else (None, 0)
    except dns.exception.DNSException as error:
        if type(error) is dns.exception.FormError:
            # Also for a name that runs over what points to it, which is odd and does no harm.
            return
        theirs = None
    if wire is None:
        # Pointers into the header, and more of them than a name has labels, are allowed there.
        assert theirs is None or _INTO_THE_HEADER.search(message) or message.count(b"\xc0") > 100
        return
    assert theirs is not None
    assert theirs.to_wire().lower() == wire


def leads_to_us(octets: bytes) -> None:
    """What dnspython sees of our addresses in A, AAAA, SVCB and HTTPS records is found."""
    try:
        made = take_apart(octets, read_question(octets)[3])
    except DecodeError:
        return
    found = PROTECTED.look(made)
    theirs = read(octets)
    if theirs is None or _INTO_THE_HEADER.search(octets) or sum(map(len, theirs.additional)) > limits.RECORDS_BEHIND_OPT:
        return
    addresses = [ip_address(text) for text in _addresses(theirs)]
    ours = [address for address in addresses if PROTECTED.holds(address.packed)]
    if ours and sum(made.counts) == sum(len(rrset) for section in theirs.sections[1:] for rrset in section):
        assert found.network is not None


def _addresses(message: dns.message.Message) -> Iterator[str]:
    for section in message.sections[1:]:
        for rrset in section:
            for rdata in rrset if rrset.rdclass == dns.rdataclass.IN else ():
                if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
                    yield rdata.address
                elif rrset.rdtype in (dns.rdatatype.SVCB, dns.rdatatype.HTTPS):
                    for key, value in rdata.params.items():
                        if int(key) in (4, 6):
                            yield from value.addresses


DECODERS: tuple[Callable[[bytes], None], ...] = (
    query, reply, classified, name, nameserver, resolv_conf, record, compressed, leads_to_us,
)  # fmt: skip


def check(octets: bytes) -> None:
    """Give *octets* to the decoder that their first octet picks."""
    if octets:
        DECODERS[octets[0] % len(DECODERS)](octets[1:])


def seeds() -> list[bytes]:
    """Return good messages and texts of every kind, for a fuzzer to begin with."""
    asked = dns.message.make_query("www.Example.test", "A", use_edns=0, options=[])
    answer = dns.message.make_response(asked)
    answer.answer.append(dns.rrset.from_text("www.example.test.", 60, "IN", "CNAME", "a.example.test."))
    answer.answer.append(dns.rrset.from_text("a.example.test.", 60, "IN", "A", "10.0.0.1", "192.0.2.1"))
    negative = dns.message.make_response(dns.message.make_query("no.test", "AAAA"))
    negative.set_rcode(3)
    negative.authority.append(dns.rrset.from_text("test.", 60, "IN", "SOA", "a. b. 1 2 3 4 5"))
    service = dns.message.make_response(dns.message.make_query("svc.test", "HTTPS"))
    service.answer.append(dns.rrset.from_text("svc.test.", 60, "IN", "HTTPS", "1 a.svc.test. ipv4hint=10.0.0.1 ipv6hint=fd00::1"))
    service.additional.append(dns.rrset.from_text("a.svc.test.", 60, "IN", "AAAA", "2002:a00:1::1"))
    wires = [item.to_wire() for item in (asked, answer, negative, service)]
    texts = [b"www.Example.", b"tls://[fd00::1]:853#dns.example", b"10.0.0.1:53", b"nameserver 10.0.0.1\nsearch a b\noptions ndots:2\n"]
    return [bytes([number]) + octets for number in range(len(DECODERS)) for octets in (*wires, *texts)]


def main() -> None:
    seconds = sys.argv[1] if len(sys.argv) > 1 else "600"
    with tempfile.TemporaryDirectory() as directory:
        kept = [base64.b64decode(line) for line in CORPUS.read_text().splitlines()] if CORPUS.exists() else []
        for number, octets in enumerate((*seeds(), *kept)):
            Path(directory, f"seed{number}").write_bytes(octets)
        # A process of its own: libFuzzer ends the one that it runs in. It keeps what reached new code in the directory.
        command = [sys.executable, "-m", "tests.fuzz.fuzz", directory, f"-max_total_time={seconds}", "-max_len=600"]
        subprocess.run(command, check=True, cwd=CORPUS.parents[2])
        found = sorted({base64.b64encode(item.read_bytes()).decode() for item in Path(directory).iterdir()})
    CORPUS.write_text("\n".join(found) + "\n")
    print(f"{len(found)} inputs kept in {CORPUS}")


if __name__ == "__main__":
    main()
