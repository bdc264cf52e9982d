"""Which namespaces are made ahead, who gets them, and what becomes of the rest. The kernel is a fake."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from netcore import limits
from netcore.controller import spare_namespaces
from netcore.controller.spare_namespaces import SpareNamespaces, pause
from netcore.errors import Conflict, KernelError
from netcore.kernel import namespace
from netcore.model import NetnsPath

PATH = NetnsPath("/run/netns/berth-a")


class FakeSeal:
    """*whole*: nobody has changed the namespace."""

    def __init__(self) -> None:
        self.whole = True
        self.is_closed = False

    def is_whole(self) -> bool:
        return self.whole

    def close(self) -> None:
        self.is_closed = True


class Host:
    """Makes namespaces that are pipes; remembers what was prepared, discarded and pinned. `run` does what was put off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[int] = []
        self.discarded: list[int] = []
        self.seals: list[FakeSeal] = []
        self.pinned: list[int] = []
        self.delays: list[float] = []
        self.waiting: list[Callable[[], None]] = []
        self.fails: Exception | None = None
        self.now = 100.0
        monkeypatch.setattr(namespace, "make_unpinned", self._make)
        monkeypatch.setattr(namespace, "pin", self._pin)
        monkeypatch.setattr(namespace, "seal", self._seal)
        self.spares = SpareNamespaces(self._later, self, lambda: self.now)

    def _make(self, inside: Callable[[], None]) -> int:
        inside()
        descriptor = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.made.append(descriptor)
        return descriptor

    def _pin(self, descriptor: int, _: NetnsPath) -> None:
        if self.fails is not None:
            raise self.fails
        self.pinned.append(descriptor)

    def _seal(self, _: int) -> FakeSeal:
        self.seals.append(FakeSeal())
        return self.seals[-1]

    def prepare(self) -> None:
        if self.fails is not None:
            raise self.fails

    def discard(self, netns_descriptor: int) -> None:
        self.discarded.append(netns_descriptor)

    def _later(self, delay: float, body: Callable[[], None]) -> None:
        self.delays.append(delay)
        self.waiting.append(body)

    def run(self, most: int = 100) -> None:
        while self.waiting and most:
            self.waiting.pop(0)()
            most -= 1


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_without_the_setting_one_is_made_when_it_is_needed_and_nothing_counted(host: Host) -> None:
    host.spares.keep(0)
    host.run()
    assert not host.made
    host.spares.pin(PATH)
    assert (host.pinned, host.waiting, host.spares.counts.misses) == (host.made, [], 0)
    assert not any(map(is_open, host.made))


def test_as_many_as_wanted_are_made_one_after_the_other(host: Host) -> None:
    host.spares.keep(3)
    for made in range(3):
        assert (len(host.waiting), host.spares.ready) == (1, made)
        host.run(1)
    assert (len(host.made), host.spares.ready, host.waiting) == (3, 3, [])


def test_one_that_is_taken_is_given_once_and_made_again(host: Host) -> None:
    host.spares.keep(2)
    host.run()
    host.spares.pin(PATH)
    host.spares.pin(PATH)
    assert len(host.made) == 2
    host.spares.pin(PATH)
    assert (len(host.pinned), len(host.made)) == (3, 3)
    assert not any(map(is_open, host.pinned))
    assert (host.spares.counts.hits, host.spares.counts.misses) == (2, 1)
    host.run()
    assert host.spares.ready == 2


def test_fewer_are_wanted(host: Host) -> None:
    host.spares.keep(3)
    host.run()
    host.spares.keep(1)
    assert host.spares.ready == 1
    assert len(host.discarded) == 2
    assert not any(map(is_open, host.discarded))


def test_one_made_while_fewer_became_wanted_is_let_go(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.spares.keep(1)
    monkeypatch.setattr(host, "prepare", lambda: host.spares.keep(0))
    host.run()
    assert (host.spares.ready, host.discarded) == (0, host.made)


def test_what_can_not_be_pinned_is_not_used_again(host: Host) -> None:
    host.spares.keep(1)
    host.run()
    host.fails = Conflict("netns", PATH, "exists already and is not ours")
    with pytest.raises(Conflict):
        host.spares.pin(PATH)
    assert host.discarded == host.made
    assert host.spares.ready == 0


def test_what_can_not_be_made_ready_is_tried_again_later(host: Host) -> None:
    host.fails = KernelError("create", "netns", 28)
    host.spares.keep(1)
    host.run(1)
    assert host.spares.ready == 0
    assert not host.made
    assert host.delays[-1] == limits.SPARE_RETRY
    host.fails = None
    host.run()
    assert host.spares.ready == 1


def test_sandboxes_that_are_being_made_come_first(host: Host) -> None:
    assert pause(0) == limits.SPARE_PAUSE_IN_BURST > pause(limits.SPARE_QUIET) == limits.SPARE_PAUSE
    host.spares.keep(2)
    host.run()
    host.spares.pin(PATH)
    host.spares.pin(PATH)
    assert host.delays[-1] == limits.SPARE_PAUSE_IN_BURST
    host.now += limits.SPARE_QUIET
    host.run(1)
    assert host.delays[-1] == limits.SPARE_PAUSE


def test_nobody_prepares_anything_where_there_is_no_resolver() -> None:
    parts = spare_namespaces.NoSpareParts()
    parts.prepare()
    parts.discard(1)


def test_one_that_was_changed_is_given_to_nobody(host: Host) -> None:
    host.spares.keep(3)
    host.run()
    host.seals[0].whole = host.seals[1].whole = False
    host.spares.pin(PATH)
    assert host.pinned == [host.made[2]]
    assert host.discarded == host.made[:2]
    assert not any(map(is_open, host.made))
    assert all(seal.is_closed for seal in host.seals)
    counts = host.spares.counts
    assert (counts.hits, counts.misses, counts.broken) == (1, 0, 2)
    host.run()
    assert host.spares.ready == 3


def test_when_all_were_changed_a_sandbox_makes_its_own(host: Host) -> None:
    host.spares.keep(1)
    host.run()
    host.seals[0].whole = False
    host.spares.pin(PATH)
    assert host.pinned == host.made[1:]
    assert (host.spares.counts.misses, host.spares.counts.broken) == (1, 1)


def test_what_can_not_be_watched_is_no_spare(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> FakeSeal:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(namespace, "seal", refuse)
    host.spares.keep(1)
    host.run(1)
    assert host.spares.ready == 0
    assert host.discarded == host.made
    assert not is_open(host.made[0])
