"""The look at TLS and HTTP: which connections reach a server, and that nothing of the others does."""

import pytest

from tests.support import look_lab
from tests.support.lab import Lab

ALLOWED, OTHER = "packages.example", "evil.example"


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        look_lab.set_up(made)
        look_lab.start_server(made)
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
