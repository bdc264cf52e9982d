"""Where berth has its files: root's places, or those of a user (XDG Base Directory Specification).

A user's commands run in a user namespace in which he is root. So what tells whose places they are is not the uid alone:
`BERTH_ROOTLESS` has the uid that the user has outside.
"""

from __future__ import annotations

import os

from resolver.light import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

UID = "BERTH_ROOTLESS"
"""Variable with the uid outside, of whoever is root in a nest."""
RUN, STATE, NETNS, CONFIG = "BERTH_RUN_DIR", "BERTH_STATE_DIR", "BERTH_NETNS_DIR", "BERTH_CONFIG"
"""Variables that name other places."""


class Places(NamedTuple):
    """*config*: the configuration file. *lists*: the directory with lists of egress rules."""

    run_dir: str
    state_dir: str
    netns_dir: str
    config: str
    lists: str


ROOT = Places("/run/berth", "/var/lib/berth", "/run/netns", "/etc/berth/berth.toml", "/etc/berth/egress")


def user_of(uid: int, environment: Mapping[str, str]) -> int:
    """Return the uid outside of who has *uid* here: 0 for root."""
    text = environment.get(UID, "")
    return int(text) if uid == 0 and text.isdigit() else uid


def places(uid: int, environment: Mapping[str, str]) -> Places:
    """Return the places of *uid*, which is that of this process, with what *environment* says of them."""
    user = user_of(uid, environment)
    own = ROOT if user == 0 else _of_user(user, environment)
    run_dir = environment.get(RUN) or own.run_dir
    # Whoever has another run directory has another daemon, whose namespaces are its own.
    netns_dir = own.netns_dir if user == 0 else f"{run_dir}/netns"
    state_dir, config = environment.get(STATE) or own.state_dir, environment.get(CONFIG) or own.config
    return Places(run_dir, state_dir, environment.get(NETNS) or netns_dir, config, own.lists)


def _of_user(uid: int, environment: Mapping[str, str]) -> Places:
    home = environment.get("HOME") or _home_of(uid)
    # Without a login session there is none; the directory is checked before it is used (`resolver.rootless.nest`).
    common = f"/run/user/{uid}" if os.path.isdir(f"/run/user/{uid}") else f"/tmp/berth-{uid}"
    runtime = _absolute(environment, "XDG_RUNTIME_DIR") or common
    state = _absolute(environment, "XDG_STATE_HOME") or f"{home}/.local/state"
    config = _absolute(environment, "XDG_CONFIG_HOME") or f"{home}/.config"
    run_dir = f"{runtime}/berth"
    return Places(run_dir, f"{state}/berth", f"{run_dir}/netns", f"{config}/berth/berth.toml", f"{config}/berth/egress")


def _home_of(uid: int) -> str:
    """Return the home of a user whose environment has none, as the database of users has it."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return "/"


def _absolute(environment: Mapping[str, str], name: str) -> str | None:
    """Return the path in a variable; None unless it is absolute, as the specification has it: others are to be ignored."""
    path = environment.get(name, "")
    return path if path.startswith("/") else None


def is_nest(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process is in the nest of an ordinary user."""
    return os.geteuid() == 0 and user_of(0, environment) != 0


def socket_directory(run_dir: str) -> str:
    """Return where the admin sockets are. A nest covers its run directory; what is to be seen outside is in one below it."""
    return f"{run_dir}/{OUTSIDE}" if is_nest() and os.path.isdir(f"{run_dir}/{OUTSIDE}") else run_dir


OUTSIDE = "outside"
EDGE = "edge"
REPORT = "way-out.json"
"""Below the run directory of a nest: what it was before it was covered; the socket of the process outside; what the way out tells."""
LOCK = "lock"
"""In the run directory outside: who the nest is."""
