"""Running a command of an ordinary user in his nest: a child of this process runs it, and this process ends as that does.

So pids, paths of namespaces and everything else mean in the command what they mean to the daemon.
"""

from __future__ import annotations

import errno
import os
import select
import sys

from resolver.light import TYPE_CHECKING, signal, suppress
from resolver.rootless import namespaces, nest, pids
from resolver.rootless.errors import HolderEnded, NoNest
from resolver.rootless.namespaces import StepFailed
from resolver.rootless.nest import Nest
from resolver.rootless.places import UID, places

if TYPE_CHECKING:
    from collections.abc import Callable

_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCONT)
_INTERRUPTS = (signal.SIGINT, signal.SIGQUIT)
_HEARD = (*_FORWARDED, *_INTERRUPTS, signal.SIGCHLD)
_BY_KERNEL = 0x80
"""SI_KERNEL: where a signal comes from that a terminal sends, to every process of its foreground group."""
_TRIES = 20
_END_WITHIN = 5
"""Seconds that a nest that was killed takes to end, at most."""
FAILED = 125


def run_inside(command: Callable[[], int], *, starts: bool) -> int:
    """Return the exit code of *command*, run in the caller's nest. Without one: *starts* says whether it is started, or run outside."""
    own = places(os.geteuid(), os.environ)
    # Whoever ignores it gets no exit codes, and that is inherited.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        for _ in range(_TRIES):
            found = nest.find(own.run_dir)
            if found is None:
                if not starts:
                    return command()
                try:
                    found = nest.start(own)
                except HolderEnded:
                    # Somebody has ended it: it would have said what is wrong here.
                    continue
                if found.record.one_id:
                    print(f"berth: note: there is but one user id in this user's sandboxes: {found.record.one_id}", file=sys.stderr)
            child = _enter(found)
            if child is None:
                return command()
            if child:
                return _see_through(child)
        raise NoNest("the nest of this user ends again and again; see docs/rootless.md")
    except NoNest as error:
        print(f"berth: {error}", file=sys.stderr)
        return FAILED


def _enter(found: Nest) -> int | None:
    """Fork a child in the nest: return its pid, None in the child; 0 if the nest has ended meanwhile. NoNest if it can't be entered."""
    try:
        here = os.getcwd()
    except FileNotFoundError:
        here = "/"
    user = os.geteuid()
    pids.remember()
    try:
        namespaces.enter_all(found.process)
    except StepFailed as failed:
        if failed.code == errno.ESRCH or nest.start_time(found.record.pid) != found.record.started:
            # One that was killed has no namespaces any more, and is there until everything in it has ended.
            _wait_for_end(found.process)
            return 0
        raise NoNest(
            f"the nest of this user, process {found.record.pid}, can't be entered ({os.strerror(failed.code)}): this shell is in a user "
            "namespace of its own (`unshare -U`, `podman unshare`, a container); type the command outside of it, or set BERTH_RUN_DIR "
            "to a directory of its own"
        ) from failed
    finally:
        os.close(found.process)
    with suppress(OSError):
        # Refused where only one id is mapped.
        os.setgroups([])
    with suppress(OSError):
        os.chdir(here)
    os.environ.setdefault(UID, str(user))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # For the parent they wait until it asks for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    child = os.fork()
    if child:
        return child
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
    namespaces.end_with_parent()
    if os.getppid():
        # The parent is outside, so its pid is 0 here; it has ended already, and the holder took its place.
        os._exit(FAILED)
    return None


def _wait_for_end(process: int) -> None:
    ended = select.poll()
    # A pidfd can be read when its process has ended (pidfd_open(2)).
    ended.register(process, select.POLLIN)
    ended.poll(_END_WITHIN * 1000)


def _see_through(child: int) -> int:
    """Wait for *child*, hand on what signals this process gets, and return its exit code."""
    while True:
        heard = signal.sigwaitinfo(_HEARD)
        if heard.si_signo == signal.SIGCHLD:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                return 128 - code if code < 0 else code
        elif heard.si_signo not in _INTERRUPTS or heard.si_code != _BY_KERNEL:
            # What a terminal sends comes to the child directly.
            os.kill(child, heard.si_signo)
