"""The look at TLS and HTTP: which connections reach a server, and that nothing of the others does."""

import itertools
import json
import sys

import pytest

from tests.support import look_lab, raw_tcp
from tests.support.lab import Lab

ALLOWED, OTHER = "packages.example", "evil.example"


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        look_lab.set_up(made)
        look_lab.start_server(made)
        made.run("nft", "-f", "-", stdin=raw_tcp.QUIET, where="routed")
        look_lab.start_looker(made, ALLOWED)
        yield made


def fetch(lab, sandbox, name, family=4, port=443, *more, scheme="https"):
    """Return (exit code, output) of curl in *sandbox*."""
    address = look_lab.SERVERS[family]
    resolved = f"{name}:{port}:{f'[{address}]' if family == 6 else address}"
    done = lab.run(
        "curl",
        "-sS",
        "--max-time",
        "20",
        "--cacert",
        "/run/ca.pem",
        "--resolve",
        resolved,
        *more,
        f"{scheme}://{name}:{port}/",
        where=sandbox,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("sandbox", ["nat", "routed"])
def test_allowed_names_are_reached(lab, sandbox, family):
    assert fetch(lab, sandbox, ALLOWED, family) == (0, f"{ALLOWED} {ALLOWED}\n")
    assert fetch(lab, sandbox, ALLOWED, family, 80, scheme="http") == (0, f"- {ALLOWED}\n")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("sandbox", ["nat", "routed"])
def test_other_names_are_refused_in_the_words_of_their_protocol(lab, sandbox, family):
    before = look_lab.payloads(lab)
    code, text = fetch(lab, sandbox, OTHER, family)
    assert code == 35
    assert "access denied" in text
    code, text = fetch(lab, sandbox, OTHER, family, 80, "-i", scheme="http")
    assert code == 0
    assert text.startswith("HTTP/1.1 403 ")
    assert "sandbox may not reach evil.example" in text
    code, text = fetch(lab, sandbox, ALLOWED, family, 80, "-H", "Host: evil.example", scheme="http")
    assert "sandbox may not reach evil.example" in text
    assert look_lab.payloads(lab) == before


_ports = itertools.count(raw_tcp.PORTS[0])


def attempt(lab, scenario, family):
    """Return (what the server answered, what it was sent, segments with a payload that reached it)."""
    before, port = look_lab.payloads(lab), next(_ports)
    source = look_lab.SANDBOXES["routed"][family == 6]
    done = lab.out(
        sys.executable,
        "-m",
        "tests.support.raw_tcp",
        scenario,
        source,
        str(port),
        look_lab.SERVERS[family],
        "443",
        where="routed",
        timeout=60,
    )
    lines = []

    def is_over():
        lines[:] = [json.loads(line) for line in lab.out("cat", "/run/canary.log").splitlines() if line.endswith("}")]
        return any(line["source"] == port for line in lines)

    lab.wait_for(is_over)
    sent = [bytes.fromhex(line["start"]) for line in lines if line["source"] == port]
    return bytes.fromhex(json.loads(done)["answer"]), b"".join(sent), look_lab.payloads(lab) - before


BOTH = [4, 6]
ALERT = bytes.fromhex("15030300020231")


@pytest.mark.parametrize(
    ("scenario", "family"),
    [(name, family) for name in ("single_octets", "backwards", "data_in_the_first_segment") for family in BOTH] + [("fragments", 4)],
)
def test_what_is_allowed_arrives_however_it_is_sent(lab, scenario, family):
    answer, sent, _ = attempt(lab, scenario, family)
    # The server itself says something about it.
    assert answer not in (b"", ALERT)
    assert sent == raw_tcp.ALLOWED


@pytest.mark.parametrize(
    ("scenario", "family"),
    [(name, family) for name in ("overlap", "bad_checksum", "half", "options_in_the_header") for family in BOTH]
    + [(name, 4) for name in ("two_beginnings", "unknown_beginning")],
)
def test_of_what_is_not_allowed_nothing_arrives(lab, scenario, family):
    answer, sent, payloads = attempt(lab, scenario, family)
    assert answer in (b"", ALERT)
    assert sent == b""
    assert payloads == 0


@pytest.mark.parametrize(
    ("scenario", "family"),
    [("changed_repetition", 4), ("changed_repetition", 6), ("low_hop_limit", 4), ("low_hop_limit", 6), ("old_timestamps", 4)],
)
def test_the_server_reads_what_was_read_or_nothing(lab, scenario, family):
    _, sent, _ = attempt(lab, scenario, family)
    assert sent in (b"", raw_tcp.ALLOWED)


def test_an_open_connection_is_looked_at_again_when_it_begins_anew(lab):
    answer, sent, _ = attempt(lab, "reset_that_gets_lost", 4)
    assert sent == raw_tcp.ALLOWED


def client(lab, sandbox, kind, name, family=4, port=443, number=1):
    """Return what a client of `tls_clients` in *sandbox* prints."""
    command = (
        sys.executable,
        "-m",
        "tests.support.tls_clients",
        kind,
        look_lab.SERVERS[family],
        str(port),
        name,
        "/run/ca.pem",
        str(number),
    )
    return lab.out(*command, where=sandbox, timeout=60)


@pytest.mark.parametrize("family", BOTH)
@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("plain", 1),
        ("large", 5000),
        ("large", 12_000),
        ("large", 24_000),
        ("single_octets", 1),
        ("single_octets", 100),
        ("single_octets", 16_000),
    ],
)
def test_large_and_scattered_hellos_pass(lab, kind, number, family):
    assert client(lab, "nat", kind, ALLOWED, family, number=number).split()[0] == ALLOWED
    before = look_lab.payloads(lab)
    assert "access denied" in client(lab, "nat", kind, OTHER, family, number=number)
    assert look_lab.payloads(lab) == before


@pytest.mark.parametrize("family", BOTH)
def test_a_request_in_several_writes_passes(lab, family):
    assert client(lab, "nat", "line_by_line", ALLOWED, family, 80) == "HTTP/1.1 200 OK"
    assert client(lab, "nat", "line_by_line", OTHER, family, 80) == "HTTP/1.1 403 Forbidden"


@pytest.mark.parametrize(("name", "is_allowed"), [(ALLOWED, True), (OTHER, False)])
def test_openssl_is_told_so(lab, name, is_allowed):
    command = f"echo | openssl s_client -connect {look_lab.SERVERS[4]}:443 -servername {name} -CAfile /run/ca.pem 2>&1"
    said = lab.shell(command, where="nat", check=False)
    assert ("BEGIN CERTIFICATE" in said) is is_allowed
    assert ("alert access denied" in said) is not is_allowed


@pytest.mark.parametrize("family", BOTH)
def test_on_other_ports_what_is_neither_goes_by_its_address(lab, family):
    assert client(lab, "nat", "ended", "-", family, look_lab.OTHER_PORT, 3000) == "3000 octets"
    assert client(lab, "nat", "plain", ALLOWED, family, look_lab.OTHER_PORT).split()[0] == ALLOWED
    before = look_lab.payloads(lab)
    assert "access denied" in client(lab, "nat", "plain", OTHER, family, look_lab.OTHER_PORT)
    assert "Connection reset" in client(lab, "nat", "ended", "-", family, 443, 3000)
    assert look_lab.payloads(lab) == before


@pytest.mark.parametrize("family", BOTH)
def test_quic_is_refused_at_once(lab, family):
    said = client(lab, "nat", "datagram", "-", family)
    assert said in ("PermissionError: [Errno 13] Permission denied", "OSError: [Errno 113] No route to host")


def test_a_closed_port_is_a_closed_port(lab):
    assert "Connection refused" in client(lab, "nat", "plain", ALLOWED, port=444)
