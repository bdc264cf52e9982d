"""Users and groups by name or number, as the host knows them."""

from __future__ import annotations

import grp
import os
import pwd

from resolver.cli.client import Refused
from resolver.cli.enter import Identity
from resolver.numbers import whole_number

_MOST = 2**32 - 2
"""The largest id; the next one means none (credentials(7))."""


def identity_of(text: str) -> Identity:
    """Return what `USER[:GROUP]` means; Refused if there is no such user or group. A number needs no entry in the host's files."""
    user, _, group = text.partition(":")
    number = whole_number(user, 0, _MOST)
    try:
        entry = pwd.getpwuid(number) if number is not None else pwd.getpwnam(user)
    except KeyError as error:
        if number is None:
            raise Refused(f"--user {text}: the host has no user {user!r}; give a name of /etc/passwd or a number") from error
        entry = None
    uid = entry.pw_uid if entry is not None else number or 0
    home = entry.pw_dir if entry is not None else None
    if group:
        gid = _gid(text, group)
        return Identity(uid, gid, (gid,), home)
    gid = entry.pw_gid if entry is not None else 0
    return Identity(uid, gid, tuple(os.getgrouplist(entry.pw_name, gid)) if entry is not None else (gid,), home)


def _gid(text: str, group: str) -> int:
    number = whole_number(group, 0, _MOST)
    if number is not None:
        return number
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise Refused(f"--user {text}: the host has no group {group!r}; give a name of /etc/group or a number") from error
