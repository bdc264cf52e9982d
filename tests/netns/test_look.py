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
        lines[:] = [json.loads(line) for line in lab.out("cat", "/run/canary.log").splitlines()]
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
