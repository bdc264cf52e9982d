"""When links that were taken down are deleted: several together, never under an operation, each in the end."""

import errno
from contextlib import contextmanager

import pytest

from netcore import limits
from netcore.errors import KernelError
from netcore.kernel import deferred_deletes
from netcore.kernel.deferred_deletes import DeferredDeletes


class Kernel:
    """A kernel with links in groups, and a clock whose timers run when it is moved."""

    def __init__(self):
        self.now = 100.0
        self.timers = []
        self.links = {}
        self.deleted = []
        self.error = None
        self.deletes = DeferredDeletes(lambda delay, body: self.timers.append((self.now + delay, body)), self, lambda: self.now)

    @contextmanager
    def lent(self, _protocol):
        yield self

    def run(self, requests):
        (request,) = requests
        group = int(request.target.split()[1])
        if self.error is not None:
            return [KernelError("delete", "links", self.error)]
        count = self.links.pop(group, 0)
        self.deleted.append(count)
        return [None if count else KernelError("delete", "links", errno.ENODEV)]

    def take_down(self, count=1, *, is_bridge=False):
        for _ in range(count):
            group = self.deletes.bridge_group() if is_bridge else self.deletes.pair_group()
            self.links[group] = self.links.get(group, 0) + 1
            self.deletes.put(group)

    def pass_time(self, seconds):
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer[0] <= end]:
            timer = min(due, key=lambda timer: timer[0])
            self.timers.remove(timer)
            self.now = max(self.now, timer[0])
            timer[1]()
        self.now = end


@pytest.fixture
def kernel():
    return Kernel()


def test_what_goes_at_about_the_same_time_is_deleted_together(kernel):
    for _ in range(3):
        kernel.take_down()
        kernel.pass_time(limits.DELETE_LINKS_AFTER / 4)
    assert kernel.deleted == []
    kernel.pass_time(1)
    assert kernel.deleted == [3]
    assert kernel.timers == []


def test_a_thousand_go_a_few_at_a_time(kernel):
    kernel.take_down(1000)
    kernel.pass_time(60)
    assert sum(kernel.deleted) == 1000
    assert max(kernel.deleted) <= limits.LINKS_IN_A_DELETE
    assert kernel.timers == []


def test_more_than_there_are_groups_go_too(kernel):
    kernel.take_down(1100)
    kernel.take_down(4100, is_bridge=True)
    kernel.pass_time(3600)
    assert sum(kernel.deleted) == 5200


def test_nothing_is_deleted_under_an_operation_until_it_has_waited_too_long(kernel):
    with kernel.deletes.held_off():
        kernel.take_down()
        kernel.pass_time(limits.DELETE_LINKS_BY - 0.05)
        assert kernel.deleted == []
        kernel.pass_time(0.1)
        assert kernel.deleted == [1]


def test_a_bridge_waits_until_operations_have_ended_for_a_while_and_the_next_as_long_again(kernel):
    with kernel.deletes.held_off():
        kernel.take_down(2, is_bridge=True)
    kernel.pass_time(limits.DELETE_BRIDGES_AFTER * 0.8)
    with kernel.deletes.held_off():
        pass
    kernel.pass_time(limits.DELETE_BRIDGES_AFTER * 0.8)
    assert kernel.deleted == []
    kernel.pass_time(limits.DELETE_BRIDGES_AFTER * 0.5)
    assert kernel.deleted == [1]
    kernel.pass_time(limits.DELETE_BRIDGES_AFTER * 1.5)
    assert kernel.deleted == [1, 1]


def test_a_bridge_that_has_waited_long_goes_in_any_moment_without_an_operation(kernel):
    kernel.take_down(is_bridge=True)
    for _ in range(1000):
        with kernel.deletes.held_off():
            kernel.pass_time(limits.DELETE_PAUSE * 2)
            assert kernel.deleted == []
        kernel.pass_time(limits.DELETE_PAUSE * 2)
        if kernel.deleted:
            break
    assert kernel.now == pytest.approx(100 + limits.DELETE_BRIDGES_SOON, abs=limits.DELETE_PAUSE * 4)


def test_a_bridge_goes_in_the_end_also_beside_operations_without_a_pause(kernel):
    kernel.take_down(is_bridge=True)
    with kernel.deletes.held_off():
        kernel.pass_time(limits.DELETE_BRIDGES_BY - 0.1)
        assert kernel.deleted == []
        kernel.pass_time(0.2)
    assert kernel.deleted == [1]


def test_what_comes_while_its_group_is_deleted_goes_with_another_delete(kernel):
    kernel.take_down()
    late = kernel.deletes.pair_group()
    kernel.pass_time(1)
    kernel.links[late] = 1
    kernel.deletes.put(late)
    kernel.pass_time(1)
    assert kernel.deleted == [1, 1]


def test_what_fails_is_said_and_tried_again(kernel, caplog):
    kernel.take_down()
    kernel.error = errno.EBUSY
    kernel.pass_time(limits.DELETE_RETRY * 2.5)
    assert len(caplog.records) == 1
    assert "busy" in str(kernel.deletes.warnings())
    # It is not looked at all the time, and keeps nothing else waiting.
    assert len(kernel.timers) == 1
    kernel.error = None
    kernel.take_down()
    kernel.pass_time(limits.DELETE_LINKS_AFTER * 2)
    assert kernel.deleted == [1]
    kernel.deleted = []
    kernel.pass_time(limits.DELETE_RETRY * 2)
    assert kernel.deleted == [1]
    assert kernel.deletes.warnings() == ()


def test_who_waits_is_answered_when_all_is_gone_and_hears_what_failed(kernel):
    kernel.take_down(40)
    kernel.take_down(2, is_bridge=True)
    with kernel.deletes.held_off():
        kernel.deletes.finish()
    assert sum(kernel.deleted) == 42
    kernel.take_down()
    kernel.error = errno.EBUSY
    with pytest.raises(KernelError):
        kernel.deletes.finish()


@pytest.mark.parametrize(("seconds", "deleted"), [(2.0, [3, 1]), (-1.0, [])])
def test_the_end_deletes_as_much_as_there_is_time_for_and_leaves_the_rest_to_the_next_start(kernel, monkeypatch, seconds, deleted):
    monkeypatch.setattr(limits, "DELETES_AT_END", seconds)
    kernel.take_down(3)
    kernel.take_down(is_bridge=True)
    kernel.deletes.close()
    assert kernel.deleted == deleted
    kernel.pass_time(60)
    assert kernel.deleted == deleted


def test_a_start_deletes_what_is_in_our_groups_and_nothing_else(kernel, monkeypatch):
    class Found:
        def __init__(self, group):
            self.group = group

    other = Kernel()
    other.take_down(2)
    other.take_down(is_bridge=True)
    kernel.links = {**other.links, 7: 1, 0: 5}
    monkeypatch.setattr(deferred_deletes.rtnl, "links", lambda _: [Found(group) for group in kernel.links])
    kernel.deletes.take_over()
    assert kernel.deleted == [2]
    kernel.pass_time(1)
    assert kernel.deleted == [2, 1]
    assert kernel.links == {7: 1, 0: 5}
