"""The keeper: what it holds, for whom, and when it ends. A real process each time; the clock is that of the process itself."""

import asyncio
import contextlib
import os
import select
import signal
import socket
import time
from pathlib import Path

import pytest

from netcore.errors import Unavailable
from netcore.keeper import connection, descriptor_store, program
from netcore.keeper.kept_sockets import KeptSockets
from resolver.daemon.keeper_watch import KeeperWatch
from tests.support.admin_client import resident_octets


def datagram_socket():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # Where no other test on this machine takes a port that has just become free.
    sock.bind(("127.0.0.55", 0))
    return sock


def fits(_):
    return True


@pytest.fixture
def daemons(tmp_path):
    """Make one daemon's kept sockets after another; the keeper is gone afterwards."""
    made, pidfds = [], []

    def make(hold=60):
        kept = KeptSockets(str(tmp_path), hold)
        kept.open()
        kept.start()
        made.append(kept)
        if kept.keeper_pid is not None:
            pidfds.append(os.pidfd_open(kept.keeper_pid))
        return kept

    yield make
    for kept in made:
        kept.end()
    for pidfd in pidfds:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)


def has_ended(pidfd):
    return bool(select.select([pidfd], [], [], 30)[0])


def count_kept(kept):
    found = connection.find(kept._directory)
    found.close()
    return found.greeting.kept


def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_what_is_sent_meanwhile_waits_for_the_next_daemon(daemons):
    first = daemons()
    pid = first.keeper_pid
    sock = datagram_socket()
    address = sock.getsockname()
    first.keep({"resolver/a/udp": sock.fileno()})
    first.close()
    sock.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"are you there?", address)
        second = daemons()
        taken = second.take("resolver/a/udp", fits)
        assert taken.recv(100) == b"are you there?"
        taken.close()
    assert second.take("resolver/a/udp", fits) is None
    assert second.keeper_pid == pid


def test_what_does_not_fit_or_is_not_wanted_is_closed(daemons):
    first = daemons()
    socks = [datagram_socket() for _ in range(3)]
    first.keep({f"s/{number}": sock.fileno() for number, sock in enumerate(socks)})
    addresses = [sock.getsockname() for sock in socks]
    for sock in socks:
        sock.close()
    first.close()
    second = daemons()
    assert second.take("s/0", lambda sock: False) is None
    kept = second.take("s/1", fits)
    second.drop_unclaimed()
    for address, is_free in zip(addresses, (True, False, True), strict=True):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            if is_free:
                sock.bind(address)
            else:
                with pytest.raises(OSError, match="in use"):
                    sock.bind(address)
    kept.close()


def test_hundreds_are_handed_over(daemons):
    first = daemons()
    read, write = os.pipe()
    first.keep({f"p/{number}": read for number in range(600)})
    second = daemons()
    assert len(second.take_group("p/")) == 600
    for descriptor in (read, write, *second._left.values()):
        os.close(descriptor)
    assert count_kept(second) == 600


def test_without_a_daemon_only_what_lasts_is_held(daemons):
    first = daemons(hold=1)
    pidfd = os.pidfd_open(first.keeper_pid)
    with datagram_socket() as passing, datagram_socket() as lasting:
        first.keep({"passing": passing.fileno()})
        first.keep({"guard": lasting.fileno()}, lasting=True)
        until(lambda: count_kept(first) == 2)
        first.close()
        until(lambda: count_kept(first) == 1)
        second = daemons()
        with second.take("guard", fits, lasting=True) as taken:
            assert os.fstat(taken.fileno()).st_ino == os.fstat(lasting.fileno()).st_ino
        # Its daemon has it no longer, and then nothing is left.
        second.drop("guard")
        second.close()
    assert has_ended(pidfd)
    os.close(pidfd)
    assert not Path(first._directory, "keeper.sock").exists()


def test_a_keeper_that_nobody_can_find_ends(daemons):
    first = daemons(hold=1)
    pidfd = os.pidfd_open(first.keeper_pid)
    with datagram_socket() as sock:
        first.keep({"guard": sock.fileno()}, lasting=True)
        Path(first._directory, "keeper.sock").unlink()
        first.close()
        assert has_ended(pidfd)
    os.close(pidfd)


def test_a_keeper_of_another_version_is_taken_over(daemons, monkeypatch):
    first = daemons()
    pidfd = os.pidfd_open(first.keeper_pid)
    with datagram_socket() as sock:
        first.keep({"s": sock.fileno()})
        first.close()
        monkeypatch.setattr(program, "VERSION", 2)
        second = KeptSockets(first._directory, 60)
        second.open()
        taken = second.take("s", fits)
        assert taken.getsockname() == sock.getsockname()
        assert has_ended(pidfd)
        monkeypatch.undo()
        second.start()
        # The new one was given what was taken from the old one.
        assert count_kept(first) == 1
        second.end()
        taken.close()
    os.close(pidfd)


def test_hold_of_nothing_is_no_keeper(tmp_path):
    kept = KeptSockets(str(tmp_path), 0)
    kept.open()
    kept.start()
    assert kept.keeper_pid is None
    with datagram_socket() as sock:
        kept.keep({"s": sock.fileno()})
    kept.drop("s")
    assert [*tmp_path.iterdir()] == []


def test_a_keeper_that_dies_is_no_harm(daemons):
    kept = daemons()
    pidfd = os.pidfd_open(kept.keeper_pid)
    os.kill(kept.keeper_pid, signal.SIGKILL)
    assert has_ended(pidfd)
    os.close(pidfd)
    with datagram_socket() as sock:
        kept.keep({"s": sock.fileno()})
        assert kept.keeper_pid is None
        kept.start()
        assert count_kept(kept) == 1


def test_what_is_no_keeper_is_left_alone(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "keeper.sock"))
        listener.listen()
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.connect(str(tmp_path / "keeper.sock"))
        server, _ = listener.accept()
        server.send(b"something else")
        with server, client, pytest.raises(Unavailable, match="something else"):
            connection.KeeperConnection(client)


def test_octets_that_are_no_command_harm_nobody(daemons):
    kept = daemons()
    with datagram_socket() as sock:
        kept.keep({"s": sock.fileno()})
        stranger = connection._by_path(kept._directory, None)
        for octets in (b"\0", b"keep", b"keep\0\0a\0b\0c", b"drop", b"hold\0x", b"hold", bytes(range(256)) * 200):
            stranger.send(octets)
        stranger.close()
        until(lambda: count_kept(kept) == 1)


def test_memory_stays_small(daemons):
    kept = daemons()
    read, write = os.pipe()
    for _ in range(20):
        kept.keep({f"p/{number}": read for number in range(700)})
        kept.drop(*(f"p/{number}" for number in range(700)))
    os.close(read)
    os.close(write)
    assert resident_octets(kept.keeper_pid) < 20_000 * 1024


def test_systemd_keeps_the_door_and_what_lasts(daemons, tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        first = daemons()
        pid = first.keeper_pid
        with datagram_socket() as guard:
            first.keep({"guard": guard.fileno()}, lasting=True)
        stored = {}
        while len(stored) < 2:
            octets, descriptors, _, _ = socket.recv_fds(systemd, 1000, 4)
            words = dict(line.split("=", 1) for line in octets.decode().splitlines())
            if words.get("FDSTORE") == "1":
                stored[words["FDNAME"]] = descriptors[0]
        first.close()
        monkeypatch.delenv("NOTIFY_SOCKET")
    assert sorted(stored) == ["guard", "keeper"]
    # Somebody emptied the run directory: the way in is the door.
    (tmp_path / "keeper.sock").unlink()
    monkeypatch.setattr(descriptor_store, "received", lambda: dict(stored))
    second = KeptSockets(str(tmp_path), 60)
    second.open()
    assert second.keeper_pid == pid
    with second.take("guard", fits, lasting=True) as taken:
        assert taken.family == socket.AF_INET
    second.end()


def test_what_is_no_socket_is_not_taken(daemons):
    first = daemons()
    read, write = os.pipe()
    first.keep({"guard": read}, lasting=True)
    os.close(write)
    os.close(read)
    second = daemons()
    assert second.take("guard", fits, lasting=True) is None
    until(lambda: count_kept(second) == 0)


def test_received_descriptors_are_named_as_systemd_says(monkeypatch):
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "keeper:guard"}
    assert descriptor_store.received(environment) == {}
    assert environment == {}
    told = []
    monkeypatch.setattr(os, "set_inheritable", lambda descriptor, inheritable: told.append((descriptor, inheritable)))
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "keeper:guard"}
    assert descriptor_store.received(environment) == {"keeper": 3, "guard": 4}
    assert told == [(3, False), (4, False)]


def test_a_keeper_that_was_stopped_goes_on(daemons):
    first = daemons()
    with datagram_socket() as sock:
        first.keep({"s": sock.fileno()})
        os.kill(first.keeper_pid, signal.SIGSTOP)
        first.close()
        second = daemons()
        assert second.keeper_pid is not None
        with second.take("s", fits) as taken:
            assert taken.getsockname() == sock.getsockname()


def stop_again_and_again(pid, monkeypatch):
    """Have the keeper *pid* hang for whoever tries to wake it."""
    monkeypatch.setattr(connection, "_ANSWER_WITHIN", 0.2)
    send = signal.pidfd_send_signal
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda pidfd, number: None if number == signal.SIGCONT else send(pidfd, number))
    os.kill(pid, signal.SIGSTOP)


@pytest.mark.parametrize("on_purpose", [True, False])
async def test_an_end_on_purpose_is_no_accident(tmp_path, caplog, on_purpose):
    kept = KeptSockets(str(tmp_path), 60)
    kept.open()
    watch = KeeperWatch(kept)
    await watch.start()
    pidfd = os.pidfd_open(kept.keeper_pid)
    if on_purpose:
        await watch.end()
    else:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert await asyncio.to_thread(has_ended, pidfd)
    os.close(pidfd)
    # What waits on the loop for the end of the keeper has its turn.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if on_purpose:
        assert "the keeper" not in caplog.text
    else:
        async with asyncio.timeout(30):
            while "the keeper has ended and is started again" not in caplog.text:
                await asyncio.sleep(0.01)
    await watch.end()


def test_a_keeper_that_hangs_holds_no_ports_against_the_next_daemon(daemons, monkeypatch):
    first = daemons()
    sock = datagram_socket()
    address = sock.getsockname()
    first.keep({"s": sock.fileno()})
    until(lambda: count_kept(first) == 1)
    stop_again_and_again(first.keeper_pid, monkeypatch)
    first.close()
    sock.close()
    second = daemons()
    assert second.keeper_pid not in (None, first.keeper_pid)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(address)


def test_a_keeper_that_hangs_while_the_daemon_runs_is_ended_so_that_another_follows(daemons, monkeypatch):
    kept = daemons()
    pidfd = os.pidfd_open(kept.keeper_pid)
    with datagram_socket() as sock:
        kept.keep({"s": sock.fileno()})
        stop_again_and_again(kept.keeper_pid, monkeypatch)
        kept.drop("nothing")
        assert has_ended(pidfd)
        monkeypatch.undo()
        kept.start()
        assert count_kept(kept) == 1
    os.close(pidfd)


def test_a_keeper_where_too_many_wait_does_not_hang_a_daemon(daemons, monkeypatch):
    kept = daemons()
    os.kill(kept.keeper_pid, signal.SIGSTOP)
    waiting = []
    with pytest.raises(BlockingIOError), contextlib.ExitStack() as stack:
        monkeypatch.setattr(connection, "_ANSWER_WITHIN", 0.0)
        for _ in range(20):
            waiting.append(stack.enter_context(connection._by_path(kept._directory, None)))
    assert len(waiting) > program.MOST_DAEMONS
    os.kill(kept.keeper_pid, signal.SIGCONT)
