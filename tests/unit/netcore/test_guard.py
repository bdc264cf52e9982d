"""The guard table on kernels that know fewer flags, and where another process owns it."""

import errno
import struct

import pytest

from netcore.errors import KernelError
from netcore.kernel.guard import Group, Guard, Protection
from netcore.kernel.netlink import find


class FakeKernel:
    """Takes transactions as a kernel does that knows *known* flags. *owner*: of the table, if not this process."""

    def __init__(self, known, *, owned=False):
        self.known, self.owned, self.flags, self.elements, self.batches = known, owned, None, 0, 0

    port = 0

    def fileno(self):
        return 7

    def run_transaction(self, begin, requests, end):
        self.batches += 1
        code = self._code(requests)
        return [KernelError("change", "table", code) if code else None for _ in requests]

    def _code(self, requests):
        if self.owned:
            return errno.EPERM
        there = self.flags
        for request in requests:
            flags = find(request.body[4:], 2)
            # A table that never had an owner can't be claimed.
            if request.type & 0xFF == 0 and there == 0 and struct.unpack("!I", flags)[0]:
                return errno.EOPNOTSUPP
            there = None if request.type & 0xFF == 2 else there
            if request.type & 0xFF == 0 and struct.unpack("!I", flags)[0] & ~self.known:
                return errno.EOPNOTSUPP
            if request.type & 0xFF == 2 and self.flags is None and not any(other.type & 0xFF == 0 for other in requests):
                return errno.ENOENT
        for request in requests:
            match request.type & 0xFF:
                case 0:
                    self.flags = struct.unpack("!I", find(request.body[4:], 2))[0]
                case 2:
                    self.flags, self.elements = None, 0
                case 12:
                    self.elements += 1
                case 14:
                    self.elements -= 1
        return 0


@pytest.mark.parametrize(
    ("known", "protection"), [(0x6, Protection.LASTING), (0x2, Protection.OWNED), (0x0, Protection.PLAIN)], ids=["6.9", "5.12", "older"]
)
def test_each_kernel_gives_what_it_can(known, protection):
    kernel = FakeKernel(known)
    guard = Guard(lambda: kernel)
    guard.add("br-a")
    guard.add("br-b")
    assert (guard.protection, kernel.flags, kernel.elements) == (protection, known, 2)
    guard.remove("br-a")
    assert kernel.elements == 1
    guard.remove("br-b")
    assert (guard.protection, kernel.flags) == (Protection.NONE, None)


def test_a_further_link_is_one_element():
    kernel = FakeKernel(0x6)
    guard = Guard(lambda: kernel)
    guard.write(f"br-{number}" for number in range(100))
    before = kernel.batches
    guard.add("br-new")
    guard.add("br-new")
    assert (kernel.batches - before, kernel.elements) == (1, 101)


def test_one_that_somebody_else_owns_is_left_alone_and_said(caplog):
    guard = Guard(lambda: FakeKernel(0x6, owned=True))
    guard.write(["br-a"])
    guard.add("br-b")
    guard.remove("br-a")
    assert guard.protection is Protection.HELD
    assert "owned by another process" in caplog.text


def test_one_from_a_saved_ruleset_is_made_anew_with_an_owner():
    kernel = FakeKernel(0x6)
    kernel.flags = 0
    guard = Guard(lambda: kernel)
    guard.write(["br-a"])
    assert (guard.protection, kernel.flags, kernel.elements) == (Protection.LASTING, 0x6, 1)


def test_without_links_there_is_no_table():
    kernel = FakeKernel(0x6)
    guard = Guard(lambda: kernel)
    guard.write(())
    assert (guard.protection, kernel.flags) == (Protection.NONE, None)


class Kept:
    """What outlives the daemon, and what the kernel had when it was told."""

    def __init__(self, kernel):
        self.kernel, self.told = kernel, []

    def __call__(self, descriptor):
        self.told.append((descriptor, self.kernel.flags))


def test_its_socket_is_kept_from_before_the_table_is_there_until_after_it_is_gone():
    kernel = FakeKernel(0x6)
    kept = Kept(kernel)
    guard = Guard(lambda: kernel, kept)
    guard.write(())
    assert kept.told == []
    guard.add("br-a")
    guard.add("br-b")
    guard.rewrite()
    guard.remove("br-b")
    assert kept.told == [(7, None)]
    guard.remove("br-a")
    assert kept.told == [(7, None), (None, None)]


@pytest.mark.parametrize("kernel", [FakeKernel(0x0), FakeKernel(0x6, owned=True)], ids=["no owners", "owned by another"])
def test_a_socket_that_owns_nothing_is_not_kept(kernel):
    kept = Kept(kernel)
    Guard(lambda: kernel, kept).write(["br-a"])
    assert [descriptor for descriptor, _ in kept.told] == [7, None]


def test_the_table_of_ports_is_another_one_with_the_same_owner():
    kernels = {}

    class Both:
        """Gives each transaction to the kernel of its family."""

        port = 0

        def fileno(self):
            return 7

        def run_transaction(self, begin, requests, end):
            (family,) = {request.body[0] for request in requests}
            return kernels.setdefault(family, FakeKernel(0x6)).run_transaction(begin, requests, end)

    kept = Kept(FakeKernel(0))
    guard = Guard(Both, kept)
    guard.write(["br-a", "br-b"])
    guard.add("v1", Group.CONFINED_PORTS)
    guard.add("v2", Group.CONFINED_PORTS)
    inet, bridge = kernels[1], kernels[7]
    assert (inet.elements, bridge.elements, guard.guards("v1", Group.CONFINED_PORTS), guard.guards("v1")) == (2, 2, True, False)
    # At a start the networks are known first.
    guard.write(["br-a"])
    assert (inet.elements, bridge.elements) == (1, 2)
    guard.remove("v1", Group.CONFINED_PORTS)
    guard.remove("v2", Group.CONFINED_PORTS)
    assert (bridge.flags, inet.flags, guard.protection) == (None, 0x6, Protection.LASTING)
    assert [descriptor for descriptor, _ in kept.told] == [7]


def test_the_weaker_table_says_how_well_networks_are_guarded():
    kernels = [FakeKernel(0x6), FakeKernel(0x6, owned=True)]

    class Both:
        port = 0

        def fileno(self):
            return 7

        def run_transaction(self, begin, requests, end):
            return kernels[requests[0].body[0] == 7].run_transaction(begin, requests, end)

    guard = Guard(Both)
    guard.write(["br-a"])
    assert guard.protection is Protection.LASTING
    guard.write(["v1"], Group.CONFINED_PORTS)
    assert guard.protection is Protection.HELD
