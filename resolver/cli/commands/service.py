"""The command service: a systemd unit for the daemon of this very berth, written and removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from netcore.kernel import capabilities
from resolver.cli.client import Refused
from resolver.cli.command_table import SERVICE_ROWS
from resolver.cli.commands.declare import command, group, option
from resolver.cli.commands.options import DIRECTORY
from resolver.cli.output import complain

_NAME = "berth.service"
UNITS = "/etc/systemd/system"
_RUNNING_SYSTEMD = "/run/systemd/system"

_UNIT = """\
# Written by `berth service install`; `berth service uninstall` removes it.
[Unit]
Description=berth: networks and names for sandboxes
Wants=network-online.target
After=network-online.target nftables.service

[Service]
Type=notify
ExecStart={command} daemon
# With rights that the daemon has not: sandboxes that their restart policy starts after a boot.
ExecStartPost=-+{command} start --due
TimeoutStartSec=10min
# Sandboxes belong to their clients and live on when the daemon is restarted.
KillMode=process
Restart=on-failure
# The daemon says twice in this time that it runs; else it is started anew.
WatchdogSec=30
ExecReload=/bin/kill -HUP $MAINPID
# The keeper, which holds the resolvers' sockets meanwhile, lives on too; systemd holds the way to it.
FileDescriptorStoreMax=8
OOMPolicy=continue
LimitNOFILE=65536
RuntimeDirectory=berth
RuntimeDirectoryPreserve=yes
RuntimeDirectoryMode=0711
StateDirectory=berth
StateDirectoryMode=0700
CapabilityBoundingSet={capabilities}
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET
RestrictNamespaces=net
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service @mount setns unshare
# No option here that gives the daemon a mount namespace of its own (ProtectSystem, ProtectKernelModules, PrivateTmp, ...):
# namespaces pinned under /run/netns would be invisible to everybody else.

[Install]
WantedBy=multi-user.target
"""

_USER_UNIT = """\
# Written by `berth service install --user`; `berth service uninstall --user` removes it.
[Unit]
Description=berth: networks and names for this user's sandboxes

[Service]
Type=notify
# The daemon is in namespaces of its own, so it is not the process that systemd has started.
NotifyAccess=all
ExecStart={command} daemon
# Sandboxes that their restart policy starts.
ExecStartPost=-{command} start --due
TimeoutStartSec=10min
# Sandboxes belong to their clients and live on when the daemon is restarted, and so do their namespaces.
KillMode=process
Restart=on-failure
ExecReload=/bin/kill -HUP $MAINPID
OOMPolicy=continue

[Install]
WantedBy=default.target
"""

_WHERE = option(
    "--directory",
    type=DIRECTORY,
    metavar="DIRECTORY",
    help=f"Where to put it; systemd is told of its own directory only (default: {UNITS}, with --user ~/.config/systemd/user).",
)
_FOR_USER = option("--user", "for_user", is_flag=True, help="For the daemon of this user, who needs no right of root's.")


@group(rows=SERVICE_ROWS, examples=("berth service install",))
def service() -> None:
    """Run the daemon by systemd."""


@command("install", examples=("berth service install", "berth service install --user"))
@_WHERE
@_FOR_USER
def service_install(directory: str | None, for_user: bool) -> None:
    """Write the unit berth.service.

    It starts this berth, wherever it is installed.
    """
    place = _place(directory, for_user=for_user)
    path = place / _NAME
    try:
        if for_user:
            place.mkdir(parents=True, exist_ok=True)
        path.write_text(unit(for_user=for_user))
    except OSError as error:
        hint = "; an ordinary user has `berth service install --user`" if isinstance(error, PermissionError) and not for_user else ""
        raise Refused(f"{path}: {error.strerror}{hint}") from error
    print(path)
    if tell_systemd(place, "daemon-reload", for_user=for_user):
        when = (
            "--user enable --now berth (at each boot, not only at log-in, after: loginctl enable-linger)"
            if for_user
            else "enable --now berth"
        )
        complain(f"start it now and at each boot with: systemctl {when}")


@command("uninstall", examples=("berth service uninstall", "berth service uninstall --user"))
@_WHERE
@_FOR_USER
def service_uninstall(directory: str | None, for_user: bool) -> None:
    """Stop the service and remove its unit.

    Networks and sandboxes stay.
    """
    place = _place(directory, for_user=for_user)
    path = place / _NAME
    if not path.exists():
        raise Refused(f"{path} does not exist; there is nothing to uninstall")
    tell_systemd(place, "disable", "--now", _NAME, for_user=for_user)
    try:
        path.unlink()
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    tell_systemd(place, "daemon-reload", for_user=for_user)


def _place(directory: str | None, *, for_user: bool) -> Path:
    return Path(directory) if directory else _own_place(for_user=for_user)


def _own_place(*, for_user: bool) -> Path:
    """Return where systemd looks for units that were installed by hand (systemd.unit(5), Unit File Load Path)."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(home, "systemd/user") if for_user else Path(UNITS)


def unit(*, for_user: bool = False) -> str:
    """Return the text of the unit for the berth that runs."""
    script = Path(sys.executable).with_name("berth")
    words = [str(script)] if script.exists() else [sys.executable, "-m", "resolver"]
    text = _USER_UNIT if for_user else _UNIT
    return text.format(command=" ".join(map(_quoted, words)), capabilities=" ".join(capabilities.USED))


def _quoted(word: str) -> str:
    """Return *word* as a command line of a unit has it (systemd.service(5), Command lines)."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or " " in word else word


def tell_systemd(place: Path, *command: str, for_user: bool = False) -> bool:
    """Run `systemctl` if systemd runs and has its units in *place*; return whether it did."""
    if place != _own_place(for_user=for_user) or not Path(_RUNNING_SYSTEMD).is_dir():
        return False
    words = ["--user", *command] if for_user else [*command]
    done = subprocess.run([shutil.which("systemctl") or "/usr/bin/systemctl", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"systemctl {' '.join(words)}: {done.stderr.strip()}")
    return True
