"""What a hostile sandbox, or a hostile name server, can do to its neighbours by names. Clients run as nobody."""

import threading

import pytest

from tests.netns.conftest import upstream
from tests.support.admin_client import resident_octets
from tests.support.lab import HOST_ADDRESS, OUTSIDE_ADDRESS, Lab

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        server = upstream(made, OUTSIDE_ADDRESS, where="outside")
        made.asked = []
        threading.Thread(target=lambda: made.asked.extend(server.stdout), daemon=True).start()
        made.start_daemon()
        for network, subnet, more in (
            ("front", "10.71.0.0/24", ()),
            ("back", "10.72.0.0/24", ()),
            ("dev", "10.73.0.0/24", ()),
            ("inside", "10.74.0.0/24", ("--internal",)),
        ):
            made.berth("network", "create", "--subnet", subnet, *more, network)
        for name, network, more in (
            ("attacker", "front", ()),
            ("neighbour", "front", ()),
            ("db", "back", ()),
            ("api", "dev", ()),
            ("router", "inside", ("--network", "front", "--forward")),
            ("quiet", "inside", ("--network", "front")),
        ):
            made.berth("run", "-d", "--name", name, "--network", network, *more, "--", "sleep", "infinity")
        yield made


def attack(lab, script, *arguments, name="attacker"):
    """Run Python in a sandbox as nobody; return what it prints."""
    return lab.in_sandbox(name, *NOBODY, "python3", "-c", script, *arguments)


FLOOD = """
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20)
rcodes = {}
for number in range(3000):
    name = b"".join(bytes([len(l)]) + l for l in (b"n%d" % number, b"berth", b"internal")) + b"\\0"
    s.sendto(struct.pack("!6H", number, 256, 1, 0, 0, 0) + name + b"\\0\\1\\0\\1" + bytes(60000), ("127.0.0.11", 53))
    reply = s.recv(4096)
    rcodes[reply[3] & 15] = rcodes.get(reply[3] & 15, 0) + 1
print(rcodes)
"""


def test_octets_behind_the_question_are_a_format_error_and_take_no_memory(lab):
    before = resident_octets(lab.daemon.pid)
    assert attack(lab, FLOOD) == "{1: 3000}"
    # 180 MB were sent.
    assert resident_octets(lab.daemon.pid) - before < 50 << 20


HOLD = """
import socket, sys, time
held = []
for number in range(300):
    s = socket.socket()
    try:
        s.connect((sys.argv[1], 53)); held.append(s)
    except OSError: break
print(len(held), flush=True); time.sleep(600)
"""


def test_a_sandbox_that_holds_all_tcp_connections_of_a_gateway_takes_its_own_only(lab):
    gateway = "10.71.0.1"
    process = lab.start("berth", "exec", "attacker", *NOBODY, "python3", "-c", HOLD, gateway)
    try:
        assert int(process.stdout.readline()) > 64
        said = lab.in_sandbox("neighbour", *NOBODY, "dig", "+tcp", "+tries=1", "+time=20", "+short", f"@{gateway}", "attacker")
        assert said.startswith("10.71.0.")
    finally:
        process.terminate()
        process.wait()


def test_neighbours_are_answered_while_large_answers_are_asked_for(lab):
    """Each question is new by its cookie; an answer of 3,900 addresses is cut for each."""
    script = """
import os, socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20)
name = b"\\4many\\7hostile\\4test\\0\\0\\1\\0\\1"
replies = set()
for number in range(2000):
    opt = b"\\0\\0\\x29\\x04\\xd0\\0\\0\\0\\0\\0\\x0c\\0\\x0a\\0\\x08" + os.urandom(8)
    s.sendto(struct.pack("!6H", number, 256, 1, 0, 0, 1) + name + opt, ("127.0.0.11", 53))
    reply = s.recv(65535)
    replies.add((reply[2] >> 1 & 1, len(reply) <= 1232, reply[6] << 8 | reply[7]))
print(replies)
"""
    # TC, short enough, 75 of the addresses.
    assert attack(lab, script) == "{(1, True, 74)}"
    assert lab.in_sandbox("attacker", "dig", "+tcp", "+short", "many.hostile.test").count("198.18.") == 3900


@pytest.mark.parametrize(
    ("name", "rtype"),
    [
        ("10-72-0-2", "A"),
        ("2002-0a48-2--1", "AAAA"),
        ("64-ff9b--a48-2", "AAAA"),
        ("--a48-2", "AAAA"),
        ("hint-10-72-0-2", "HTTPS"),
        ("alias-db-back", "A"),
        ("alias-neighbour", "A"),
        ("alias-x-berth-internal", "A"),
        (HOST_ADDRESS.replace(".", "-"), "A"),
    ],
)
def test_answers_that_lead_to_what_is_ours_are_refused(lab, name, rtype):
    said = lab.in_sandbox("attacker", "dig", "-q", f"{name}.hostile.test", rtype)
    assert "status: REFUSED" in said
    assert "rebinding" in said


@pytest.mark.parametrize(
    ("name", "rtype", "answer"),
    [
        ("0-0-0-0", "A", "0.0.0.0"),
        ("127-0-0-1", "A", "127.0.0.1"),
        ("10-99-0-1", "A", "10.99.0.1"),
        ("hint-192-0-2-1", "HTTPS", "1 . ipv4hint=192.0.2.1"),
        ("alias-cdn-example", "A", "cdn.example."),
        ("alias-localhost", "A", "localhost."),
    ],
)
def test_other_answers_pass(lab, name, rtype, answer):
    assert lab.in_sandbox("attacker", "dig", "+short", f"{name}.hostile.test", rtype) == answer


def test_addresses_of_the_host_belong_to_names_of_its_search_domains(lab):
    lab.write("/etc/resolv.conf", f"nameserver {OUTSIDE_ADDRESS}\nsearch hostile.test\n")
    name = f"{HOST_ADDRESS.replace('.', '-')}.hostile.test"
    lab.wait_for(lambda: lab.in_sandbox("attacker", "dig", "+short", name) == HOST_ADDRESS)
    lab.write("/etc/resolv.conf", f"nameserver {OUTSIDE_ADDRESS}\n")
    lab.wait_for(lambda: "REFUSED" in lab.in_sandbox("attacker", "dig", name))


def test_names_of_other_networks_do_not_exist_and_do_not_leave(lab):
    for name in ("db.back", "api.dev", "db.back.berth.internal", "no.such.berth.internal"):
        said = lab.in_sandbox("attacker", "dig", name)
        assert "status: NXDOMAIN" in said, name
        assert lab.in_sandbox("attacker", "getent", "hosts", name, check=False) == ""
    # A network called dev takes no name but its own.
    lab.in_sandbox("attacker", "dig", "go.dev")
    lab.in_sandbox("api", "dig", "go.dev")
    lab.wait_for(lambda: any("go.dev" in line for line in lab.asked))
    assert not any(name in line for line in lab.asked for name in ("db.back", "api.dev", "such.berth.internal"))
    assert lab.in_sandbox("api", "getent", "hosts", "api.dev").split()[0].startswith("10.73.")


def test_router_does_not_lend_its_identity_on_an_internal_network(lab):
    gateway = "10.74.0.1"
    asked = ("dig", "+tries=1", f"@{gateway}", "www.example.test")
    # A sandbox that is on a second network, too, asks for itself, at whichever address.
    assert "192.0.2.80" in lab.in_sandbox("quiet", *asked)
    said = lab.in_sandbox("router", *asked)
    assert "status: SERVFAIL" in said
    assert "network inside is internal" in said
    assert lab.in_sandbox("router", "dig", "+short", f"@{gateway}", "quiet").startswith("10.74.0.")
    # At its own resolver it is itself.
    assert lab.in_sandbox("router", "dig", "+short", "www.example.test") == "192.0.2.80"
