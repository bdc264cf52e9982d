"""A restart loses no query, gives no wrong answer, and leaves nothing behind, however the daemon ends."""

import os
import re
import signal
import subprocess

import pytest

from tests.support.admin_client import descriptors
from tests.support.lab import Lab
from tests.support.restarts import KINDS, Restarts


@pytest.fixture(scope="module")
def restarts():
    with Lab() as lab:
        yield Restarts(lab, 4)


def asked_meanwhile(restarts, *kinds):
    restarts.begin()
    for kind in kinds:
        restarts.restart(kind)
    return restarts.end()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", KINDS)
def test_no_query_is_lost_and_no_answer_is_wrong(restarts, kind):
    told = asked_meanwhile(restarts, kind, kind)
    assert (told.errors, told.wrong) == ([], [])
    # Somebody did wait, so the daemon was away; and the kept TCP connection ended.
    assert told.waits
    assert told.ended >= 2
    assert told.asked > 100


@pytest.mark.timeout(120)
def test_a_daemon_that_is_killed_while_it_starts_loses_none_either(restarts):
    restarts.begin()
    for _ in range(3):
        restarts.restart("kill", wait=False)
    restarts.restart("kill")
    told = restarts.end()
    assert (told.errors, told.wrong) == ([], [])


def resolver_port(lab):
    return lab.shell("ip netns exec berth-s0 ss -Hlnu | awk '{print $4}'")


def test_the_same_sockets_go_on_and_the_keeper_stays(restarts):
    lab = restarts.lab
    port, keeper = resolver_port(lab), restarts.keeper()
    assert len(keeper) == 1
    restarts.restart("kill")
    restarts.restart("stop")
    assert (resolver_port(lab), restarts.keeper()) == (port, keeper)


def kept(lab):
    """Return how many sockets are kept, and the keeper's pid."""
    said = re.search(r"(\d+) kept by pid (\d+)", lab.berth("upgrade", "--check", check=False).stdout)
    return (int(said[1]), int(said[2])) if said else (0, 0)


def test_a_keeper_that_is_killed_is_started_again_and_given_everything(restarts):
    lab = restarts.lab
    (first,) = restarts.keeper()
    count, _ = kept(lab)
    os.kill(first, signal.SIGKILL)
    # It is there before it has been given anything.
    lab.wait_for(lambda: restarts.keeper() not in ([], [first]) and kept(lab) == (count, *restarts.keeper()))
    port = resolver_port(lab)
    restarts.restart("kill")
    assert resolver_port(lab) == port


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["/run/berth/keeper.sock", "/run/berth"])
def test_a_keeper_whose_socket_is_removed_is_followed_by_one_that_is_found(restarts, gone):
    lab = restarts.lab
    (first,) = restarts.keeper()
    lab.run("rm", "-rf", gone)
    lab.wait_for(lambda: restarts.keeper() not in ([], [first]) and len(restarts.keeper()) == 1)
    lab.wait_for(lambda: lab.is_ready())
    told = asked_meanwhile(restarts, "kill")
    assert (told.errors, told.wrong) == ([], [])


@pytest.mark.slow
def test_without_its_keeper_a_start_opens_everything_anew(restarts):
    lab = restarts.lab
    lab.stop_daemon(signal.SIGKILL)
    for pid in restarts.keeper():
        os.kill(pid, signal.SIGKILL)
    lab.wait_for(lambda: not restarts.keeper())
    lab.start_daemon()
    assert lab.in_sandbox("s0", "dig", "+short", "s1") == restarts.addresses["s1"]


@pytest.mark.slow
def test_what_does_not_fit_is_closed(restarts):
    """The namespace of a sandbox, or the bridge of a network, was made anew while no daemon ran."""
    lab = restarts.lab
    lab.berth("network", "create", "--subnet", "10.88.0.0/24", "other")
    lab.stop_daemon(signal.SIGKILL)
    bridge = lab.shell("ip -o addr show | awk '/10.88.0.1/ {print $2}'")
    lab.run("ip", "link", "del", bridge)
    lab.shell("ip netns exec berth-s0 nft delete table ip berth")
    lab.start_daemon()
    # Its sockets were bound to a link that is gone; the redirect was written again.
    assert lab.shell("dig +short @10.88.0.1 s1.net") == restarts.addresses["s1"] or "10.88.0.1" in lab.shell("ss -Hlnu")
    assert lab.in_sandbox("s0", "dig", "+short", "s1") == restarts.addresses["s1"]
    lab.berth("network", "rm", "other")
    assert "10.88.0.1" not in lab.shell("ss -Hlntu")


def test_nothing_of_a_removed_sandbox_is_kept(restarts):
    lab = restarts.lab
    (keeper,) = restarts.keeper()
    before = descriptors(keeper)
    lab.berth("run", "-d", "--name", "short", "-p", "7373:80", "--network", "net", "--", "sleep", "1000")
    # It is told without waiting for it.
    lab.wait_for(lambda: descriptors(keeper) == before + 3)
    lab.berth("rm", "short")
    lab.wait_for(lambda: descriptors(keeper) == before)
    assert lab.run("python3", "-c", "import socket; socket.socket().bind(('0.0.0.0', 7373))", check=False).returncode == 0


def test_published_port_is_held_while_no_daemon_runs(restarts):
    lab = restarts.lab
    lab.berth("run", "-d", "--name", "held", "-p", "7474:80", "--network", "net", "--", "sleep", "1000")
    lab.stop_daemon(signal.SIGKILL)
    assert lab.run("python3", "-c", "import socket; socket.socket().bind(('0.0.0.0', 7474))", check=False).returncode != 0
    lab.start_daemon()
    assert "7474" not in lab.log().partition("not served completely")[2]
    lab.berth("rm", "held")
    assert lab.run("python3", "-c", "import socket; socket.socket().bind(('0.0.0.0', 7474))", check=False).returncode == 0


ECHO_STEADILY = """
import socket, sys, hashlib, select
s = socket.create_connection(("::1", 7575)); s.sendall(b"hello"); assert s.recv(5) == b"hello"; s.setblocking(False)
sent = received = 0
put, got = hashlib.sha256(), hashlib.sha256()
print("connected", flush=True)
rest = b""
while True:
    if select.select([sys.stdin], [], [], 0)[0]:
        break
    readable, writable, _ = select.select([s], [s] if sent - received < 300_000 else [], [], 1)
    if readable:
        data = s.recv(65536); assert data, "the connection ended"; got.update(data); received += len(data)
    if writable:
        rest = rest or (b"%016d" % sent) * 1000
        n = s.send(rest); put.update(rest[:n]); sent += n; rest = rest[n:]
s.setblocking(True); s.shutdown(socket.SHUT_WR)
while data := s.recv(65536): got.update(data); received += len(data)
print(sent, received, put.digest() == got.digest())
"""
ECHO = """
import socket
l = socket.create_server(("0.0.0.0", 80)); print("listening", flush=True)
while True:
    c, _ = l.accept()
    while d := c.recv(65536): c.sendall(d)
    c.close()
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_relayed_connections_go_on_octet_by_octet(restarts):
    """From the host's ::1 a sandbox is reached through the daemon, not by NAT."""
    lab = restarts.lab
    lab.berth("run", "-d", "--name", "echo", "-p", "7575:80", "--network", "net", "--", "python3", "-c", ECHO)
    lab.wait_for(lambda: lab.run("python3", "-c", "import socket; socket.create_connection(('::1', 7575), 1)", check=False).returncode == 0)
    client = subprocess.Popen(
        [*lab._prefix("host"), "python3", "-c", ECHO_STEADILY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    lab.started.append(client)
    assert client.stdout.readline() == "connected\n"
    for kind in ("kill", "stop", "upgrade", "kill"):
        restarts.restart(kind)
    out, _ = client.communicate("")
    sent, received, is_same = out.split()
    assert (sent, is_same) == (received, "True")
    assert int(sent) > 1_000_000
    lab.berth("rm", "echo")
    assert "7575" not in lab.shell("ss -Hltn")


def test_upgrade_check_says_what_a_restart_will_do(restarts):
    lab = restarts.lab
    said = lab.berth("upgrade", "--check").stdout
    assert "state in /var/lib/berth: schema version 3, 1 network, 4 sandboxes; it is read as it is" in said
    assert "runs, pid" in said
    assert "queries and relayed connections wait for the new daemon" in said
    assert said.endswith("a restart with this version can be made\n")
    assert lab.berth("upgrade", check=False).returncode == 2
    # A state that a newer berth wrote, elsewhere, and nobody there.
    lab.shell("mkdir -p /mnt/other /mnt/elsewhere && cp /var/lib/berth/berth.db* /mnt/other")
    lab.run(
        "python3",
        "-c",
        "import sqlite3; c = sqlite3.connect('/mnt/other/berth.db'); c.execute(\"update meta set value = '9'\"); c.commit()",
    )
    refused = lab.berth("upgrade", "--check", "--state-dir", "/mnt/other", "--run-dir", "/mnt/elsewhere", check=False)
    assert refused.returncode == 1
    assert "NO: state in /mnt/other: schema version 9" in refused.stdout
    assert "upgrade it" in refused.stdout
    assert "nobody keeps any" in refused.stdout
    assert "daemon: no berth daemon answers at /mnt/elsewhere/berth.sock" in refused.stdout
    assert refused.stdout.endswith("do not restart with this version yet\n")


def test_only_root_and_the_daemons_user_reach_the_keeper(restarts):
    script = "import socket; socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect('/run/berth/keeper.sock')"
    command = ["setpriv", "--reuid=65534", "--clear-groups", "python3", "-c", script]
    assert "PermissionError" in restarts.lab.run(*command, check=False).stderr


def test_the_keeper_ends_with_the_last_network(restarts):
    lab = restarts.lab
    lab.shell("berth ps -q | xargs berth rm; berth network rm net")
    (keeper,) = restarts.keeper()
    lab.stop_daemon()
    lab.wait_for(lambda: not restarts.keeper())
    assert subprocess.run(["test", "-e", f"/proc/{lab.pid}/root/run/berth/keeper.sock"], check=False).returncode == 1, keeper
