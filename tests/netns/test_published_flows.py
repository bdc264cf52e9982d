"""What publishing a port does to flows: those that lead elsewhere now are cut off, and no others."""

import sys

import pytest

from tests.support.lab import HOST_ADDRESS, OUTSIDE_ADDRESS, Lab

PORT, INSIDE = "7272", "80"
SERVER = """
import os, socket, sys, threading, time
def serve(client, _):
    while not os.path.exists(sys.argv[2]): time.sleep(0.01)
    try: client.sendall(b"hello"); client.close()
    except OSError: pass
listener = socket.create_server(("", int(sys.argv[1])))
while True: threading.Thread(target=serve, args=listener.accept(), daemon=True).start()
"""
"""Says nothing to its clients until there is a file."""
CLIENT = """
import socket, sys, time
while True:
    try: client = socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.02)
    except OSError: continue
    break
client.settimeout(60)
print("connected", flush=True)
print(client.makefile().read(), flush=True)
"""
"""Begins as soon as there is somebody, and not when the kernel next tries."""


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.start_daemon()
        made.berth("network", "create", "a")
        made.berth("network", "create", "--internal", "inside")
        yield made


@pytest.fixture
def file(tmp_path):
    return tmp_path / "go"


@pytest.fixture
def published(lab):
    """A sandbox that publishes the port with its next network; what publishes it, and waits until that has had its effect on flows."""
    server = ("run", "-d", "--name", "late", "--network", "inside", "-p", f"{PORT}:{INSIDE}", "-p", f"{PORT}:{INSIDE}/udp", "--")

    def run(*command):
        lab.berth(*server, *command)

    def publish():
        # A flow from before, which must go: with it the others are looked at.
        flow = f"-p udp -s {OUTSIDE_ADDRESS} -d {HOST_ADDRESS} --sport 40405 --dport {PORT}"
        lab.shell(f"conntrack -I {flow} -t 600")
        lab.berth("network", "connect", "a", "late")
        lab.wait_for(lambda: not lab.shell(f"conntrack -L {flow} 2>/dev/null"))

    yield run, publish
    lab.berth("rm", "late")


def test_connection_that_begins_as_soon_as_the_port_is_published_goes_on(lab, published, file):
    run, publish = published
    run(sys.executable, "-c", SERVER, INSIDE, str(file))
    lab.wait_for(lambda: lab.listens("late", INSIDE))
    client = lab.start(sys.executable, "-c", CLIENT, HOST_ADDRESS, PORT, where="outside")
    publish()
    assert client.stdout.readline() == "connected\n"
    file.touch()
    assert client.stdout.readline() == "hello\n"


def test_connections_of_others_to_the_same_port_outside_go_on(lab, published, file):
    lab.start(sys.executable, "-c", SERVER, PORT, str(file), where="outside")
    berth = (sys.executable, "-m", "resolver", "run", "--network", "a", "--")
    client = lab.start(*berth, sys.executable, "-c", CLIENT, OUTSIDE_ADDRESS, PORT)
    assert client.stdout.readline() == "connected\n"
    tracked = f"conntrack -L -p tcp -d {OUTSIDE_ADDRESS} --dport {PORT} -o id 2>/dev/null | sed 's/.*id=//'"
    before = lab.shell(tracked)
    assert before
    run, publish = published
    run("sleep", "infinity")
    publish()
    assert lab.shell(tracked) == before
    file.touch()
    assert client.stdout.readline() == "hello\n"


@pytest.mark.parametrize("flush", ["flush ruleset", "flush map inet berth dnat4_any"])
def test_flow_past_the_port_from_a_time_without_the_firewall_is_cut_off(lab, published, flush):
    run, publish = published
    run("sleep", "infinity")
    publish()
    flow = f"-p udp -s {OUTSIDE_ADDRESS} -d {HOST_ADDRESS} --sport 40406 --dport {PORT}"
    lab.shell(f"conntrack -I {flow} -t 600 && nft {flush}")
    lab.wait_for(lambda: not lab.shell(f"conntrack -L {flow} 2>/dev/null"))
