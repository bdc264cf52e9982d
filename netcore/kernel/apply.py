"""The one executor: carries out steps of `diff`, in batches; undoes what it did when one fails. Blocking.

Neighbouring steps of one lane (rtnetlink in one namespace, one nftables transaction, ...) go as one batch. How each
kind of object is created and deleted is in `handlers`. Undo of a failed `apply` is the diff between what was reached and
what was there before.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from netcore.desired.diff import Step, diff
from netcore.desired.egress_rules import TimedElement
from netcore.desired.flows import Flows, addresses_brought, stale_flows
from netcore.desired.objects import Announcement, Element, KernelObject, Lane, Subsystem
from netcore.errors import KernelError, NetcoreError, NotFound, TeardownFailed
from netcore.kernel import egress_elements, nft
from netcore.kernel.deferred_deletes import DeferredDeletes
from netcore.kernel.deferred_flows import DeferredFlows
from netcore.kernel.guard import Guard
from netcore.kernel.handlers import handler_of
from netcore.kernel.host_sockets import HostSockets
from netcore.kernel.netlink import NETFILTER, NetlinkSocket, Request
from netcore.kernel.nft import ElementChange
from netcore.kernel.repeated_announcements import RepeatedAnnouncements
from netcore.kernel.sessions import NetlinkSessions
from netcore.model import NetnsPath, SandboxId

_ABSENT = {errno.ENODEV, errno.ENOENT, errno.EADDRNOTAVAIL, errno.ESRCH, errno.ENETUNREACH, errno.ENXIO}
"""What the kernel says when something to delete is gone already."""

Result = tuple[Step, NetcoreError | None]
"""A step, and the error that it ended with. A step of several requests has a result for each."""


class Attempted(NamedTuple):
    """What did not come of steps: those that *failed*, and why, and those that are *waiting* for their link to come up."""

    failed: list[tuple[Step, Exception]]
    waiting: list[Step]


Later = Callable[[float, Callable[[], None]], None]
"""(seconds, what to do then on a worker thread)."""


def _open_socket(protocol: int) -> NetlinkSocket:
    return nft.opened() if protocol == NETFILTER else NetlinkSocket(protocol)


class Executor:
    """Carries out steps. *netns_path*: sandbox id → path of its namespace. *later*: for what comes behind the reply. *guard*: of this
    host.
    """

    def __init__(self, netns_path: Callable[[SandboxId], NetnsPath], later: Later, guard: Guard) -> None:
        self._netns_path = netns_path
        self._guard = guard
        self._host_sockets = HostSockets(_open_socket)
        self.deferred_deletes = DeferredDeletes(later, self._host_sockets)
        self._deferred_flows = DeferredFlows(later, self._host_sockets)
        self._announcements = RepeatedAnnouncements(later)

    def close(self) -> None:
        """Delete what was to be deleted later, and close the sockets that are kept between runs. Blocking."""
        self._deferred_flows.close()
        self.deferred_deletes.close()
        self._host_sockets.close()

    def finish(self) -> None:
        """Do at once all that operations have left for later; KernelError if a link stays."""
        try:
            self.deferred_deletes.finish()
        finally:
            self._deferred_flows.finish()

    def forget(self, flows: Flows) -> None:
        """Have the host forget *flows* now; what fails is logged, and tried again."""
        self._deferred_flows.forget(flows)

    def write_tables(self, desired: Sequence[KernelObject], openings: Sequence[TimedElement] = ()) -> None:
        """Make both firewall tables of the host anew with exactly the elements of *desired* and *openings*.

        Flows that began while there were none, and go past a published port, are forgotten soon.

        Raises KernelError or Unavailable.
        """
        with self._host_sockets.lent(NETFILTER) as netlink:
            nft.write_tables(netlink, desired, egress_elements.requests(openings))
        self.forget_past(desired)

    def forget_past(self, restored: Iterable[KernelObject]) -> None:
        """Have flows forgotten soon that began while what is *restored* was not there."""
        # Only maps lead somewhere, and a host has many other objects.
        flows = stale_flows(Step(wanted, wanted) for wanted in restored if isinstance(wanted, Element) and wanted.data)
        if flows:
            self._deferred_flows.put(flows)

    def _sessions(self, ending: SandboxId | None = None, steps: Iterable[Step] = ()) -> NetlinkSessions:
        announced = Counter(step.after.sandbox_id for step in steps if isinstance(step.after, Announcement) and step.after.addresses)
        kept = self._announcements, self._guard, self._host_sockets, self.deferred_deletes
        return NetlinkSessions(self._netns_path, *kept, ending, announced)

    def apply(self, steps: Sequence[Step]) -> None:
        """Carry out *steps*; when one fails, undo those done and raise its error."""
        self._deferred_flows.settle(addresses_brought(steps))
        spared = self._deferred_flows.spare(stale_flows(steps).ports)
        done: list[Step] = []
        try:
            with self._sessions(steps=steps) as sessions:
                for batch in _batches(steps):
                    failed: NetcoreError | None = None
                    for step, error in self._run(sessions, batch):
                        # The kernel goes on with a batch behind an error: what it did there must be undone too.
                        if error is None:
                            done.append(step)
                        elif failed is None:
                            error.add_note(f"while: {step.describe()}")
                            failed = error
                    if failed is not None:
                        raise failed
        except BaseException as error:
            self._undo(done, error)
            if spared:
                self._deferred_flows.put(spared)
            raise
        flows = stale_flows(done)
        gone = flows.addresses - addresses_brought(done)
        if gone:
            # No record says yet that they rest.
            self.forget(Flows(addresses=gone))
        if flows.ports:
            # New flows are right already, and are left alone.
            self._deferred_flows.put(Flows(ports=flows.ports))

    def remove(self, steps: Sequence[Step], target: str, *, ending: SandboxId | None = None, addresses_rest: bool = False) -> list[Step]:
        """Carry out *steps* without stopping at an error; raise TeardownFailed with all of them at the end.

        Return the steps that have to wait for their link to come up, which is no error: what goes, goes all the same.
        Pairs and bridges are down and without their names then, and are deleted soon. *ending*: the sandbox whose namespace goes next.
        *addresses_rest*: those that go are recorded as resting, so that their flows may be forgotten soon, too.
        """
        reasons: list[str] = []
        waiting: list[Step] = []
        flows = stale_flows(steps)
        self._deferred_flows.spare(flows.ports)
        with self._sessions(ending) as sessions:
            for batch in _batches(steps):
                try:
                    for step, error in self._run(sessions, batch):
                        if error is not None and _waits(step, error):
                            waiting.append(step)
                        elif error is not None:
                            reasons.append(str(error))
                except NotFound:
                    continue
                except (NetcoreError, OSError) as error:
                    reasons.append(str(error))
        # Last: while there are elements a packet can begin such a flow anew.
        if addresses_rest and flows.addresses:
            self._deferred_flows.put(Flows(addresses=flows.addresses))
            flows = Flows(ports=flows.ports)
        if flows:
            self.forget(flows)
        if reasons:
            raise TeardownFailed(target, tuple(reasons))
        return waiting

    def attempt(self, steps: Sequence[Step]) -> Attempted:
        """Carry out *steps* of many objects that have nothing to do with each other, whatever fails."""
        attempted = Attempted([], [])
        with self._sessions() as sessions:
            for batch in _batches(steps):
                self._attempt(sessions, batch, attempted)
        return attempted

    def _attempt(self, sessions: NetlinkSessions, batch: Sequence[Step], attempted: Attempted) -> None:
        try:
            for step, error in self._run(sessions, batch):
                if error is not None and _waits(step, error):
                    attempted.waiting.append(step)
                elif error is not None:
                    attempted.failed.append((step, error))
        except (NetcoreError, OSError) as error:
            if len(batch) == 1:
                attempted.failed.append((batch[0], error))
                return
            # The batch did not begin: one of its objects keeps the others from it.
            for step in batch:
                self._attempt(sessions, [step], attempted)

    def mend(self, damaged: Sequence[KernelObject]) -> dict[KernelObject, str]:
        """Put *damaged* right, in their order; return why that failed for which of them. Stops at nothing."""
        problems: dict[KernelObject, str] = {}
        steps = [Step(wanted, wanted) for wanted in sorted(damaged, key=lambda wanted: wanted.order)]
        with self._sessions() as sessions:
            for batch in _batches(steps):
                try:
                    for step, error in self._run(sessions, batch):
                        if error is not None:
                            problems.setdefault(step.subject, str(error))
                except (NetcoreError, OSError) as failed:
                    for step in batch:
                        problems.setdefault(step.subject, str(failed))
        return problems

    def take_back(self, done: Sequence[Step]) -> None:
        """Bring what *done* has changed back to what it was before, as `remove` does."""
        reached = [step.after for step in done if step.after is not None]
        was = [step.before for step in done if step.before is not None]
        self.remove(diff(reached, was), "what was done")

    def _undo(self, done: Sequence[Step], error: BaseException) -> None:
        try:
            self.take_back(done)
        except NetcoreError as second:
            error.add_note(f"undo: {second}")

    def _run(self, sessions: NetlinkSessions, batch: Sequence[Step]) -> Iterator[Result]:
        """Carry out the steps of one batch."""
        return _run_transaction(sessions, batch) if batch[0].lane.subsystem is Subsystem.NFTABLES else _run_requests(sessions, batch)


def _batches(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Yield neighbouring steps of one lane; creations apart from deletions, but for what one nftables transaction does."""
    for _, group in groupby(steps, key=lambda step: (lane := step.lane, step.after is None and lane.subsystem is not Subsystem.NFTABLES)):
        yield list(group)


def _work(sessions: NetlinkSessions, step: Step) -> Sequence[Any]:
    """Carry out *step* as far as it is done at once; return what of it goes with the batch, see `Handler`."""
    handler = handler_of(step.subject)
    if step.before == step.after:
        return (handler.mend or handler.create)(sessions, step.after)
    if step.after is None:
        return handler.delete(sessions, step.before)
    if step.before is not None and handler.replace is not None:
        return handler.replace(sessions, step.before, step.after)
    return handler.create(sessions, step.after)


def _is_done(step: Step, error: NetcoreError) -> bool:
    """Return whether *error* says that there was nothing left to do."""
    return isinstance(error, KernelError) and error.errno in (_ABSENT if step.after is None else handler_of(step.after).already)


def _waits(step: Step, error: NetcoreError) -> bool:
    """Return whether *error* says that what *step* creates can't be there yet."""
    return step.after is not None and isinstance(error, KernelError) and error.errno in handler_of(step.after).waits


def _run_requests(sessions: NetlinkSessions, batch: Sequence[Step]) -> Iterator[Result]:
    """Carry out the visit of a namespace first, then steps that act at once, then all requests together."""
    try:
        netlink, refused = _open(sessions, batch)
    except NotFound:
        if batch[0].after is not None:
            raise
        # The namespace is gone, and with it everything inside.
        for step in batch:
            yield step, None
        return
    requests: list[tuple[Step, Request]] = []
    for position, step in enumerate(batch):
        if position in refused:
            yield step, refused[position]
            continue
        try:
            work = _work(sessions, step)
        except NetcoreError as error:
            yield step, None if _is_done(step, error) else error
            continue
        except OSError as error:
            yield step, KernelError("carry out", step.describe(), error.errno or errno.EIO)
            continue
        if not work:
            yield step, None
        requests += [(step, request) for request in work]
    if netlink is None:
        return
    errors = netlink.run([request for _, request in requests])
    for (step, _), failed in zip(requests, errors, strict=True):
        yield step, None if failed is not None and _is_done(step, failed) else failed


def _open(sessions: NetlinkSessions, batch: Sequence[Step]) -> tuple[NetlinkSocket | None, dict[int, NetcoreError]]:
    """Return the socket that the requests of *batch* go through, None if its kinds of objects need none.

    Also position in *batch* → the error of each step whose visit failed: what the others did is to be undone then.
    """
    lane: Lane = batch[0].lane
    refused: dict[int, NetcoreError] = {}
    match lane.subsystem:
        case Subsystem.LINKS | Subsystem.STACK:
            visits = [
                (position, visit, step.after)
                for position, step in enumerate(batch)
                if step.after is not None and (visit := handler_of(step.after).visit)
            ]

            def enter() -> None:
                for position, visit, wanted in visits:
                    try:
                        visit(wanted)
                    except NetcoreError as error:
                        refused[position] = error

            return sessions.rtnetlink(lane.sandbox_id, enter if visits else None), refused
        case Subsystem.XFRM:
            return sessions.xfrm(), refused
        case _:
            return None, refused


def _run_transaction(sessions: NetlinkSessions, batch: Sequence[Step]) -> Iterator[Result]:
    """Carry out changes of firewall elements as one transaction, which happens completely or not at all."""

    def commit(steps: Sequence[Step]) -> KernelError | None:
        changes: list[ElementChange] = [change for step in steps for change in _work(sessions, step)]
        # Nobody sees what is between, and a set of intervals takes nothing that overlaps with what is still there.
        changes.sort(key=lambda change: not change.delete)
        try:
            nft.commit(sessions.nftables(), nft.element_requests(changes))
        except KernelError as error:
            return error
        return None

    failed = commit(batch)
    if failed is None:
        for step in batch:
            yield step, None
    elif failed.errno == errno.ENOENT and all(step.after is None for step in batch):
        # An element is gone already: delete the others one by one.
        for step in batch:
            error = commit([step])
            yield step, None if error is not None and _is_done(step, error) else error
    else:
        yield batch[0], failed
