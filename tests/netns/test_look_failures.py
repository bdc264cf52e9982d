"""The look at TLS and HTTP when things fail: lost packets, a looker that is dead, killed, or comes back."""

import json
import subprocess
import sys

import pytest

from tests.netns.test_look import ALLOWED, BOTH, OTHER
from tests.support import look_lab
from tests.support.lab import Lab


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        look_lab.set_up(made)
        look_lab.start_server(made)
        yield made


@pytest.fixture
def looker(lab):
    process = look_lab.start_looker(lab, ALLOWED)
    yield process
    process.kill()
    process.wait()


def command(kind, name, family=4, number=1):
    return (sys.executable, "-m", "tests.support.tls_clients", kind, look_lab.SERVERS[family], "443", name, "/run/ca.pem", str(number))


def talking(lab, *arguments):
    """Start a client in a sandbox that takes lines and prints some."""
    process = subprocess.Popen(
        [*lab._prefix("nat"), *command(*arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=lab.environment, start_new_session=True, cwd="/",
    )  # fmt: skip
    lab.started.append(process)
    return process


def wait_until_they_wait(lab, count=1):
    """Wait until *count* clients have sent what nobody acknowledges."""

    def waiting():
        lines = lab.out("ss", "-Htn", "state", "established", where="nat").splitlines()
        return sum(int(line.split()[1]) > 0 for line in lines)

    lab.wait_for(lambda: waiting() >= count)


@pytest.mark.slow
@pytest.mark.parametrize("family", BOTH)
def test_lost_packets_are_sent_again(lab, looker, family):
    """A seventh of what the server gets and of what it sends."""
    lost = " ".join(f"add rule inet loss {chain} meta l4proto tcp numgen inc mod 7 == 0 drop;" for chain in ("input", "output"))
    chains = " ".join(f"add chain inet loss {chain} {{ type filter hook {chain} priority 0; }};" for chain in ("input", "output"))
    lab.run("nft", f"add table inet loss; {chains} {lost}", where="outside")
    before = look_lab.payloads(lab)
    try:
        said = json.loads(lab.out(*command("many", ALLOWED, family, 8), where="nat", timeout=59))
        reached = look_lab.payloads(lab)
        refused = json.loads(lab.out(*command("many", OTHER, family, 4), where="nat", timeout=59))
    finally:
        lab.run("nft", "delete table inet loss", where="outside")
    assert said == {f"{ALLOWED} {ALLOWED}": 8}
    assert reached > before
    assert sum(refused.values()) == 4
    assert all("access denied" in text or "reset" in text for text in refused)


def test_while_nobody_looks_nothing_leaves_and_then_it_goes_on(lab):
    before = look_lab.payloads(lab)
    clients = [(name, lab.start(*command("plain", name, family), where="nat")) for name in (ALLOWED, OTHER) for family in BOTH]
    wait_until_they_wait(lab, len(clients))
    assert look_lab.payloads(lab) == before
    process = look_lab.start_looker(lab, ALLOWED)
    for name, client in clients:
        said = client.stdout.readline()
        assert said == f"{ALLOWED} {ALLOWED}\n" if name == ALLOWED else "access denied" in said
    process.kill()
    process.wait()


def test_an_open_connection_outlives_the_looker(lab):
    process = look_lab.start_looker(lab, ALLOWED)
    client = talking(lab, "twice", ALLOWED, 4, 20_000_000)
    assert client.stdout.readline() == f"{ALLOWED} {ALLOWED}\n"
    process.kill()
    process.wait()
    client.stdin.write("\n")
    client.stdin.close()
    assert client.stdout.readline() == "True\n"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("family", BOTH)
def test_connections_through_twenty_kills(lab, family):
    """None is refused, however far it was."""
    process = look_lab.start_looker(lab, ALLOWED)
    client = lab.start(*command("many", ALLOWED, family, 1500), where="nat")
    for _ in range(20):
        before = look_lab.payloads(lab)
        lab.wait_for(lambda before=before: look_lab.payloads(lab) > before + 30 or client.poll() is not None)
        process.kill()
        process.wait()
        process = look_lab.start_looker(lab, ALLOWED)
    assert json.loads(client.stdout.readline()) == {f"{ALLOWED} {ALLOWED}": 1500}
    process.kill()
    process.wait()


def test_what_was_allowed_when_it_was_killed_is_opened_by_the_next(lab):
    """The server's acknowledgement does not come before the looker is killed."""
    process = look_lab.start_looker(lab, ALLOWED)
    # Segments of the server without SYN are not copied, so the connection is not opened.
    lab.run("nft", "insert rule inet look look_from_server tcp flags & syn == 0 return")
    before = look_lab.payloads(lab)
    client = lab.start(*command("plain", ALLOWED), where="nat")
    lab.wait_for(lambda: look_lab.payloads(lab) > before)
    wait_until_they_wait(lab)
    process.kill()
    process.wait()
    handle = lab.shell("nft -a list chain inet look look_from_server | sed -n 's/.*flags.*handle //p'")
    lab.run("nft", "delete", "rule", "inet", "look", "look_from_server", "handle", handle)
    process = look_lab.start_looker(lab, ALLOWED)
    assert client.stdout.readline() == f"{ALLOWED} {ALLOWED}\n"
    process.kill()
    process.wait()


def test_a_mark_is_exchanged_only_for_the_one_that_was_read(lab, looker):
    """Another connection between the same ends, begun meanwhile, gets a mark that nothing accepts."""
    script = (
        "import sys; from ipaddress import ip_address as a; from netcore.kernel import flow_marks; from netcore.kernel.netlink import *\n"
        "with NetlinkSocket(NETFILTER) as netlink:\n"
        "    for port, before in ((1001, 0x01000007), (1002, 0x01000008)):\n"
        "        netlink.execute(flow_marks.exchange(a(sys.argv[1]), port, a(sys.argv[2]), 443, before, 0x80000001))\n"
    )
    for family, (source, destination) in (("ipv4", ("10.50.0.2", "192.0.2.9")), ("ipv6", ("fd50::2", "2001:db8::9"))):
        for port in (1001, 1002):
            lab.shell(
                f"conntrack -I -p tcp -s {source} -d {destination} --sport {port} --dport 443 -t 600 --state ESTABLISHED -m {0x01000007}"
            )
        lab.out(sys.executable, "-c", script, source, destination)
        listed = lab.out("conntrack", "-L", "-f", family, "-s", source, "-d", destination)
        marks = {
            line.split("sport=")[1].split()[0]: int(line.split("mark=")[1].split()[0]) for line in listed.splitlines() if "sport=" in line
        }
        assert marks == {"1001": 0x80000001, "1002": 0x8000000E}
