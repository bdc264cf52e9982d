"""What the daemon's process needs at its start."""

import asyncio
import gc
import importlib.metadata
import resource
import socket
import struct
import subprocess
import sys

import pytest

from netcore.errors import Unavailable
from netcore.keeper import descriptor_store
from netcore.kernel import capabilities, netns
from resolver.daemon import startup


def test_version_is_that_of_the_distribution(monkeypatch):
    assert startup.version() == importlib.metadata.version("berth-net")

    def missing(_):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert startup.version() == "0"


@pytest.mark.parametrize(
    ("effective", "missing"),
    [
        ("000001ffffffffff", []), ("0000000000203000", []), ("0000000000202000", ["CAP_NET_ADMIN"]),
        ("0", ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_ADMIN"]),
    ],
)  # fmt: skip
def test_missing_capabilities(effective, missing):
    assert capabilities.missing(f"Name:\tx\nCapPrm:\t0\nCapEff:\t{effective}\n") == missing


def test_refusal_names_them_all_and_says_what_to_do(monkeypatch):
    monkeypatch.setattr(netns, "may_be_changed", lambda _: True)
    monkeypatch.setattr(capabilities, "missing", lambda _: [])
    startup.check_capabilities()
    monkeypatch.setattr(capabilities, "missing", lambda _: ["CAP_A", "CAP_B"])
    with pytest.raises(Unavailable, match=r"CAP_A, CAP_B is not available: run berth as root"):
        startup.check_capabilities()


@pytest.mark.parametrize(("options", "refused"), [("-Ur", True), ("-Urn", False)])
def test_capabilities_of_a_user_namespace_count_in_its_own_networks_only(options, refused):
    program = "from resolver.daemon import startup; startup.check_capabilities()"
    done = subprocess.run(["unshare", options, sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
    assert ("in a user namespace of its own" in done.stderr) == refused, done.stderr
    assert bool(done.returncode) == refused


@pytest.mark.parametrize(("before", "after"), [((100, 400), [(400, 400)]), ((400, 400), [])])
def test_descriptors(monkeypatch, before, after):
    limits = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: before)
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    startup.raise_descriptor_limit()
    assert limits == after


def test_interpreter(monkeypatch):
    kept, interval = gc.get_threshold(), sys.getswitchinterval()
    try:
        startup.shorten_thread_switches()
        gc.disable()
        startup.collect_garbage_seldom()
        assert gc.isenabled()
        assert sys.getswitchinterval() < 0.001
        assert gc.get_threshold()[0] > kept[0]
        assert gc.get_freeze_count() > 0
        startup.collect_garbage_no_more()
        # Nothing is left to be looked through when the interpreter ends.
        assert not gc.isenabled()
        assert len(gc.get_objects()) < 1000
    finally:
        gc.enable()
        gc.unfreeze()
        gc.set_threshold(*kept)
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("is_abstract", [True, False])
def test_systemd_is_told_if_it_started_us(monkeypatch, tmp_path, is_abstract):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    descriptor_store.notify("READY=1")
    name = f"@berth-{tmp_path.name}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0", 1))
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        descriptor_store.notify("READY=1")
        assert systemd.recv(100) == b"READY=1"
    descriptor_store.notify("STOPPING=1")


@pytest.mark.parametrize(
    ("environment", "period"),
    [({}, None), ({"WATCHDOG_USEC": "30000000"}, 15.0), ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None), ({"WATCHDOG_USEC": "x"}, None)],
)  # fmt: skip
def test_watchdog_is_fed_twice_in_its_time_if_it_is_ours(monkeypatch, environment, period):
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert startup.watchdog_period() == period


async def test_watchdog_hears_of_us(monkeypatch, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        feeding = asyncio.create_task(startup.feed_watchdog(0.001))
        loop = asyncio.get_running_loop()
        assert [await loop.sock_recv(systemd, 100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        feeding.cancel()


def test_capabilities_that_are_not_used_are_left_out():
    everything = struct.pack("=6I", *[0xFFFF_FFFF] * 6)
    kept = 1 << 0 | 1 << 12
    assert struct.unpack("=6I", capabilities.without_others(everything, kept)) == (kept, kept, 0, 0, 0, 0)
    assert struct.unpack("=6I", capabilities.without_others(everything, 1 << 40)) == (0, 0, 0, 1 << 8, 1 << 8, 0)
    assert set(capabilities.NEEDED) <= set(capabilities.USED)
