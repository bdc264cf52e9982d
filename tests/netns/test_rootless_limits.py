"""What one sandbox of an ordinary user's leaves to the others where there is little: places at the way out, descriptors."""

import sys
from pathlib import Path

import pytest

from tests.support.lab import HOST_ADDRESS, OUTSIDE_ADDRESS
from tests.support.user_lab import RUN_DIR, UserLab, why_no_user

WHY_NOT = why_no_user()
if WHY_NOT:
    pytest.skip(WHY_NOT, allow_module_level=True)

ROOT = Path(__file__).parents[2]
ASK = (sys.executable, str(ROOT / "tests" / "support" / "who_are_you.py"), "ask")

DESCRIPTORS = 256
"""Of which the way out has 12 connections for one sandbox, 14 flows of datagrams, and 7 pings."""


@pytest.fixture(scope="module")
def lab():
    with UserLab() as made:
        made.serve_outside()
        limited = ("prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}")
        made.as_user(*limited, sys.executable, "-m", "resolver", "network", "create", "--ipv6", "front")
        for name in ("greedy", "client"):
            made.berth("run", "-d", "--name", name, "--network", "front", "--", "sleep", "infinity")
        yield made


def asked(lab, kind="tcp", who="client"):
    """What a server outside answers to a sandbox."""
    return (
        lab.berth("exec", who, *ASK, OUTSIDE_ADDRESS, {"tcp": "7000", "udp": "7001"}[kind], kind, check=False).stdout.split(" ")[0].strip()
    )


def refused(lab, kind):
    """How many of *kind* the way out has refused, as the metrics have it."""
    text = lab.as_user("curl", "-s", "--unix-socket", f"{RUN_DIR}/berth.sock", "http://berth/metrics").stdout
    line = next(line for line in text.splitlines() if line.startswith(f'berth_way_out_refused_total{{kind="{kind}"}}'))
    return float(line.split()[-1])


def log(lab):
    return lab.in_nest(f"cat {RUN_DIR}/way-out.log")


_CONNECT = f"""
import errno, socket, time
held, codes = [], []
for _ in range(30):
    sock = socket.socket()
    sock.settimeout(20)
    codes.append(sock.connect_ex(("{OUTSIDE_ADDRESS}", 7000)))
    held.append(sock)
print(codes.count(0), codes.count(errno.ECONNREFUSED), flush=True)
time.sleep(3600)
"""
_SEND = f"""
import socket, time
held = []
for number in range(40):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.sendto(b"hello", ("{OUTSIDE_ADDRESS}", 7001))
    held.append(sock)
print("sent", flush=True)
time.sleep(3600)
"""


@pytest.fixture
def held(lab):
    """Start a script in the greedy sandbox, and return what it says."""
    started = []

    def start(script):
        process = lab.start_berth("exec", "greedy", sys.executable, "-c", script)
        started.append(process)
        return process.stdout.readline().strip()

    yield start
    for process in started:
        # It is handed on to the script.
        process.terminate()
        process.wait()


@pytest.mark.slow
def test_one_sandbox_leaves_connections_to_the_others(lab, held):
    # Those that are refused are told so: nobody waits until he gives up.
    assert held(_CONNECT) == "12 18"
    assert asked(lab) == HOST_ADDRESS
    lab.wait_for(lambda: refused(lab, "connections") == 18)
    (warning,) = [line for line in lab.berth("status").stdout.splitlines() if "way out" in line]
    assert "the way out refused connections of greedy, which has its share of 25 at once; since it began it refused 18" in warning
    assert log(lab).count("has its share of the way out") == 1


@pytest.mark.slow
def test_one_sandbox_leaves_datagrams_to_the_others(lab, held):
    before = log(lab).count("has its share of the way out")
    assert held(_SEND) == "sent"
    lab.wait_for(lambda: refused(lab, "flows") == 26)
    assert asked(lab, "udp") == HOST_ADDRESS
    assert log(lab).count("has its share of the way out") == before + 1
    # Its own flows that are silent give way to what it begins later.
    lab.wait_for(lambda: asked(lab, "udp", "greedy") == HOST_ADDRESS)


_PING = f"""
import subprocess
held = [subprocess.Popen(("ping", "-qi1", "-w20", "{OUTSIDE_ADDRESS}"), stdout=subprocess.DEVNULL) for _ in range(20)]
print("sent", flush=True)
for ping in held: ping.wait()
"""


@pytest.mark.slow
def test_one_sandbox_leaves_pings_to_the_others(lab, held):
    assert held(_PING) == "sent"
    lab.wait_for(lambda: refused(lab, "pings") >= 13)
    assert lab.berth("exec", "client", "ping", "-c", "1", "-W", "9", "-q", OUTSIDE_ADDRESS).returncode == 0
