"""What a hostile command of an ordinary user's, and other users of the host, do to what keeps his sandboxes going."""

import sys
from pathlib import Path

import pytest

from tests.support.lab import HOST_ADDRESS, OUTSIDE_ADDRESS
from tests.support.user_lab import HOME, RUN_DIR, UID, UserLab, why_no_user

WHY_NOT = why_no_user()
if WHY_NOT:
    pytest.skip(WHY_NOT, allow_module_level=True)

ROOT = Path(__file__).parents[2]
ASK = (sys.executable, str(ROOT / "tests" / "support" / "who_are_you.py"), "ask")


@pytest.fixture(scope="module")
def lab():
    with UserLab() as made:
        made.serve_outside()
        made.berth("network", "create", "--ipv6", "front")
        made.berth("run", "-d", "--name", "client", "--network", "front", "--", "sleep", "infinity")
        yield made


@pytest.fixture
def bob(lab):
    """The lab, in which bob has no nest."""
    lab.end_nest_of_bob()
    yield lab
    lab.end_nest_of_bob()


def reaches(lab, address=OUTSIDE_ADDRESS, port=7000, who="client"):
    """Whether a sandbox reaches the outside."""
    return lab.berth("exec", who, *ASK, address, str(port), check=False).stdout.strip() == HOST_ADDRESS


# --- by the way out -------------------------------------------------------------------------------------------------

_LISTEN = """
import select, socket
tcp = socket.create_server(("::", 7777), family=socket.AF_INET6, dualstack_ipv6=True)
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0); udp.bind(("::", 7777))
print("listening", flush=True)
while True:
    for ready in select.select([tcp, udp], [], [])[0]:
        peer = ready.accept()[1] if ready is tcp else ready.recvfrom(99)[1]
        if ready is udp: udp.sendto(b"heard", peer)
        print(peer[0], flush=True)
"""
_SEND = f"""
import socket, subprocess, sys
from ipaddress import ip_address
sys.path.insert(0, "{ROOT}")
from netcore.look.segments import SYN, Segment, checksum, write
from netcore.way_out.packets import datagram

def shown(*words):
    return subprocess.run(("ip", "-6", "-o", *words), capture_output=True, text=True, check=True).stdout.split()

own = ip_address(shown("addr", "show", "dev", "eth0", "scope", "global")[3].split("/")[0])
gateway = shown("route", "show", "default")[2]
to = bytes.fromhex(shown("neigh", "show", gateway)[4].replace(":", ""))
mine = bytes.fromhex(open("/sys/class/net/eth0/address").read().strip().replace(":", ""))
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
wire.bind(("eth0", 0))
for text in sys.argv[1:]:
    target = ip_address(text)
    syn = Segment(source=own, destination=target, source_port=4001, destination_port=7777, sequence=1, acknowledgement=0, flags=SYN)
    udp = datagram(own, 4002, target, 7777, 5)
    sum = checksum(own.packed + target.packed + (13).to_bytes(4, "big") + (17).to_bytes(4, "big") + udp[40:] + b"hello")
    for packet in (write(syn), udp[:46] + sum.to_bytes(2, "big") + b"hello"):
        wire.send(to + mine + b"\\x86\\xdd" + packet)
"""


@pytest.mark.parametrize("rules", [(), ("--egress", "all")])
@pytest.mark.slow
def test_no_address_leads_to_what_the_host_has_on_loopback(lab, rules):
    # A socket takes these for other addresses than a router does: `::` for its own host, the others for IPv4.
    listener = lab.start(sys.executable, "-c", _LISTEN)
    assert listener.stdout.readline() == "listening\n"
    odd = ("::", "::ffff:127.0.0.1", f"::ffff:{HOST_ADDRESS}", "::ffff:0.0.0.0", "::127.0.0.1", "::1")
    lab.berth("run", "--network", "front", *rules, "--", sys.executable, "-c", _SEND, *odd)
    # What comes later is carried later.
    for kind in ("tcp", "udp"):
        lab.berth("exec", "client", *ASK, HOST_ADDRESS, "7777", kind, check=False)
    assert [listener.stdout.readline().strip() for _ in range(2)] == [f"::ffff:{HOST_ADDRESS}"] * 2
    listener.kill()
    assert listener.stdout.read() == ""


# --- what serves the nest -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_edge_lives_on_whichever_of_its_processes_is_killed(bob):
    bob.berth("run", "-d", "--name", "one", "--", "sleep", "infinity", name="bob")

    def edges():
        return bob.processes("netcore/edge/program.py", UID + 1)

    def asked():
        return bob.berth("exec", "one", *ASK, OUTSIDE_ADDRESS, "7000", name="bob", check=False).stdout.strip()

    for which in (0, 1, 0, 0):
        before = edges()
        bob.run("kill", "-9", str(before[which]))
        bob.wait_for(lambda old=before: len(edges()) == 2 and edges() != old)
        bob.wait_for(lambda: asked() == HOST_ADDRESS)
    # It keeps the nest from nothing.
    bob.berth("rm", "-f", "one", name="bob")
    bob.wait_for(lambda: not edges())


@pytest.mark.slow
def test_way_out_that_can_not_start_keeps_the_nest_from_nothing_and_starts_when_it_can(lab):
    (process,) = lab.processes("netcore.way_out.program")
    lab.in_nest("echo 0 > /proc/sys/user/max_net_namespaces")
    lab.run("kill", "-9", str(process))
    lab.wait_for(lambda: lab.in_nest(f"grep -c 'No space left' {RUN_DIR}/way-out.log || true") > "1")
    (daemon,) = lab.processes("resolver daemon")
    lab.run("kill", "-9", str(daemon))
    lab.wait_for(lambda: "client" in lab.berth("ps", check=False).stdout)
    lab.in_nest("echo 1000 > /proc/sys/user/max_net_namespaces")
    lab.wait_for(lambda: reaches(lab))


@pytest.mark.slow
def test_without_room_for_processes_the_nest_waits(lab):
    holder, (daemon,) = lab.holder(), lab.processes("resolver daemon")
    lab.as_user("prlimit", "--pid", str(holder), "--nproc=1:")
    lab.run("kill", "-9", str(daemon))
    lab.wait_for(lambda: "temporarily unavailable" in lab.in_nest(f"cat {RUN_DIR}/daemon.log"))
    lab.as_user("prlimit", "--pid", str(holder), "--nproc=5000:")
    lab.wait_for(lambda: lab.processes("resolver daemon") not in ([], [daemon]))
    assert lab.holder() == holder
    lab.wait_for(lambda: reaches(lab))


@pytest.mark.slow
def test_logs_in_memory_are_bounded(lab):
    lab.in_nest(f"head -c 5000000 /dev/zero >> {RUN_DIR}/daemon.log")
    lab.wait_for(lambda: int(lab.in_nest(f"stat -c %s {RUN_DIR}/daemon.log")) < 1_000_000)
    assert int(lab.in_nest(f"stat -c %s {RUN_DIR}/daemon.log.1")) >= 5_000_000


# --- what the first command brings ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_nest_keeps_nothing_open_of_the_command_that_began_it(bob):
    # Whoever reads to the end of that pipe would wait as long as the nest lives.
    said = bob.as_user("sh", "-c", f"{bob.quoted('run', '-d', '--name', 'stays', '--', 'sleep', 'infinity')} 9>&1 | cat", name="bob")
    assert said.stdout == "stays\n"
    assert "stays" in bob.berth("ps", name="bob").stdout


@pytest.mark.slow
def test_exit_codes_are_known_where_the_ends_of_children_were_ignored(bob):
    words = [sys.executable, "-m", "resolver", "run", "--", "sh", "-c", "exit 3"]
    script = f"import os, signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv({sys.executable!r}, {words!r})"
    for _ in ("that begins the nest", "that finds it"):
        assert bob.as_user(sys.executable, "-c", script, name="bob", check=False).returncode == 3


@pytest.mark.parametrize("umask", ["000", "002", "077"])
@pytest.mark.slow
def test_directories_are_the_users_alone_whatever_his_umask_is(bob, umask):
    where = f"/mnt/home/bob/{umask}/runtime"
    said = bob.as_user(
        "sh", "-c", f"umask {umask}; {bob.quoted('run', '--', 'echo', 'works')}", name="bob", environment={"XDG_RUNTIME_DIR": where}
    )
    assert said.stdout == "works\n"
    modes = bob.out("stat", "-c", "%a", f"{where}/berth", where, str(Path(where).parent)).split()
    assert modes == ["700"] * 3


@pytest.mark.slow
def test_holder_that_is_killed_while_it_begins_is_begun_again(lab):
    # The first time newuidmap kills what it is to map.
    script = '#!/bin/sh\nmkdir /mnt/home/ann/once 2>/dev/null && kill -9 $1 && exit 0\nexec /usr/bin/newuidmap "$@"\n'
    lab.as_user("sh", "-c", f"mkdir -p bin rt; cat > bin/newuidmap <<'E'\n{script}\nE\nchmod 755 bin/newuidmap; chmod 700 rt")
    own = {"XDG_RUNTIME_DIR": f"{HOME}/rt", "XDG_STATE_HOME": f"{HOME}/st", "PATH": f"{HOME}/bin:{lab.environment['PATH']}"}
    assert lab.berth("run", "--", "echo", "works", environment=own).stdout == "works\n"
    assert lab.run("test", "-d", f"{HOME}/once", check=False).returncode == 0
    lab.wait_for(lambda: len(lab.processes("resolver.rootless.holder")) == 1)


# --- other users ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_another_user_does_not_get_into_the_nest(lab):
    holder = str(lab.holder())
    attempts = (
        f"curl -sf --unix-socket {RUN_DIR}/berth.sock http://berth/v1/networks",
        f"curl -sf --unix-socket {RUN_DIR}/berth-ro.sock http://berth/v1/networks",
        f"ls {RUN_DIR}",
        f"ls /proc/{holder}/root/",
        f"cat /proc/{holder}/environ",
        f"nsenter -t {holder} -U true",
        f"nsenter -t {holder} -n true",
        f"kill -0 {holder}",
        f"BERTH_RUN_DIR={RUN_DIR} {lab.quoted('ps')}",
    )
    script = "; ".join(f"({attempt}) >/dev/null 2>&1 && echo 'done: {attempt}'" for attempt in attempts)
    assert lab.as_user("sh", "-c", f"{script}; true", name="bob").stdout == ""


@pytest.mark.parametrize("made", ["mkdir -m 777 hers/berth; chown ann: hers/berth", "mkdir -m 755 hers/berth; chown bob: hers/berth"])
@pytest.mark.slow
def test_state_that_others_can_change_is_refused(lab, made):
    lab.shell(f"cd /mnt; rm -rf hers; mkdir -m 777 hers; {made}")
    own = {"XDG_RUNTIME_DIR": f"{HOME}/other", "XDG_STATE_HOME": "/mnt/hers"}
    refused = lab.berth("run", "--", "true", environment=own, check=False)
    assert refused.returncode == 125
    assert "/mnt/hers/berth must be a directory that only its user can write to: what is saved there is started" in refused.stderr


@pytest.mark.slow
def test_path_that_is_too_long_for_sockets_is_refused(lab):
    refused = lab.berth("run", "--", "true", environment={"BERTH_RUN_DIR": f"{HOME}/{'x' * 80}"}, check=False)
    assert refused.returncode == 125
    assert "is too long for the sockets in it; set BERTH_RUN_DIR to a path of at most 85 octets" in refused.stderr
