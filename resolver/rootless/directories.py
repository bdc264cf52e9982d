"""Directories that must be the user's alone: where his nest is found, and where it is saved what his daemon starts."""

from __future__ import annotations

import os
import stat

from resolver.light import suppress
from resolver.rootless.errors import NoNest

_LONGEST = 107 - len("/outside/berth-ro.sock")
"""Octets of a run directory: the path of a socket has 107 (unix(7)), and this is the longest one below it."""


def check(run_dir: str) -> None:
    """Raise NoNest unless nobody else could have put something into *run_dir*."""
    _check_above(run_dir)
    if not _is_ours(run_dir):
        raise _not_alone(run_dir)


def _is_ours(path: str) -> bool:
    status = os.lstat(path)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _check_above(run_dir: str) -> None:
    """Raise NoNest if somebody else may rename *run_dir*, which need not be there, and put another one in its place."""
    path = os.path.dirname(run_dir) or "/"
    above, link = os.stat(path), os.lstat(path)
    owners = (0, os.geteuid())
    # Whoever owns a link may have it lead elsewhere.
    if link.st_uid not in owners or above.st_uid not in owners or (above.st_mode & 0o022 and not above.st_mode & stat.S_ISVTX):
        raise _not_alone(run_dir)


def _not_alone(run_dir: str) -> NoNest:
    return NoNest(
        f"{run_dir} must be a directory that only its user can write to, in one where nobody else can rename it; remove it, or set "
        "XDG_RUNTIME_DIR to another place"
    )


def make(run_dir: str) -> None:
    """Make *run_dir* and what is missing above it, for the user alone whatever his umask is; raises NoNest, OSError."""
    if len(os.fsencode(run_dir)) > _LONGEST:
        raise NoNest(f"{run_dir} is too long for the sockets in it; set BERTH_RUN_DIR to a path of at most {_LONGEST} octets")
    missing = []
    above = os.path.dirname(run_dir)
    while above and not os.path.lexists(above):
        missing.append(above)
        above = os.path.dirname(above)
    for path in reversed(missing):
        os.mkdir(path, 0o700)
    _check_above(run_dir)
    with suppress(FileExistsError):
        os.mkdir(run_dir, 0o700)
    check(run_dir)


def check_state(state_dir: str) -> None:
    """Raise NoNest if somebody else could have put commands to be started into *state_dir*, which need not be there."""
    if os.path.lexists(state_dir) and not _is_ours(os.path.realpath(state_dir)):
        import shlex

        raise NoNest(
            f"{state_dir} must be a directory that only its user can write to: what is saved there is started. Take it back with "
            f"`chmod 700 {shlex.quote(state_dir)}` if it is yours, or set XDG_STATE_HOME to another place"
        )
