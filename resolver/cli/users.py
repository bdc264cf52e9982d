"""Users and groups by name or number, as the host knows them."""

from __future__ import annotations

from resolver.cli.client import Refused
from resolver.light import TYPE_CHECKING, NamedTuple
from resolver.numbers import whole_number

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST = 2**32 - 2
"""The largest id; the next one means none (credentials(7))."""


class Identity(NamedTuple):
    """As whom a command runs. *groups*: the additional ones. *name*, *home*, *shell*: None if the host does not know the user."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    name: str | None = None
    home: str | None = None
    shell: str | None = None


def identity_of(text: str, groups: Sequence[str] = ()) -> Identity:
    """Return what `USER[:GROUP]` means; Refused if there is no such user or group. A number needs no entry in the host's files.

    *groups*: additional ones, by name or number; none else, for those of the host's users lead to its devices and services.
    """
    # Most commands are nobody else's.
    import pwd

    user, _, group = text.partition(":")
    number = whole_number(user, 0, _MOST)
    try:
        entry = pwd.getpwuid(number) if number is not None else pwd.getpwnam(user)
    except KeyError as error:
        if number is None:
            raise Refused(f"--user {text}: the host has no user {user!r}; give a name of /etc/passwd or a number") from error
        entry = None
    uid = entry.pw_uid if entry is not None else number or 0
    gid = _gid(f"--user {text}", group) if group else entry.pw_gid if entry is not None else 0
    more = tuple(_gid(f"--group-add {name}", name) for name in groups)
    if entry is None:
        return Identity(uid, gid, more)
    return Identity(uid, gid, more, entry.pw_name, entry.pw_dir, entry.pw_shell)


def _gid(asked: str, group: str) -> int:
    number = whole_number(group, 0, _MOST)
    if number is not None:
        return number
    import grp

    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise Refused(f"{asked}: the host has no group {group!r}; give a name of /etc/group or a number") from error
