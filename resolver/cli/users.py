"""Users and groups by name or number, as the host knows them."""

from __future__ import annotations

import grp
import os
import pwd

from resolver.cli.client import Refused
from resolver.cli.enter import Identity


def identity_of(text: str) -> Identity:
    """Return what `USER[:GROUP]` means; Refused if there is no such user or group. A number needs no entry in the host's files."""
    user, _, group = text.partition(":")
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError as error:
        if not user.isdigit():
            raise Refused(f"--user {text}: the host has no user {user!r}; give a name of /etc/passwd or a number") from error
        entry = None
    uid = entry.pw_uid if entry is not None else int(user)
    home = entry.pw_dir if entry is not None else None
    if group:
        gid = _gid(text, group)
        return Identity(uid, gid, (gid,), home)
    gid = entry.pw_gid if entry is not None else 0
    return Identity(uid, gid, tuple(os.getgrouplist(entry.pw_name, gid)) if entry is not None else (gid,), home)


def _gid(text: str, group: str) -> int:
    if group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise Refused(f"--user {text}: the host has no group {group!r}; give a name of /etc/group or a number") from error
