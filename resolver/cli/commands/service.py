"""The command service: a systemd unit for the daemon of this very berth, written and removed."""

from __future__ import annotations

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
_UNITS = "/etc/systemd/system"
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

_WHERE = option(
    "--directory",
    type=DIRECTORY,
    metavar="DIRECTORY",
    default=_UNITS,
    show_default=True,
    help="Where to put it; systemd is told of its own directory only.",
)


@group(rows=SERVICE_ROWS, examples=("berth service install",))
def service() -> None:
    """Run the daemon by systemd."""


@command("install", examples=("berth service install",))
@_WHERE
def service_install(directory: str) -> None:
    """Write the unit berth.service.

    It starts this berth, wherever it is installed.
    """
    path = Path(directory, _NAME)
    try:
        path.write_text(unit())
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    print(path)
    if _tell_systemd(directory, "daemon-reload"):
        complain("start it now and at each boot with: systemctl enable --now berth")


@command("uninstall", examples=("berth service uninstall",))
@_WHERE
def service_uninstall(directory: str) -> None:
    """Stop the service and remove its unit.

    Networks and sandboxes stay.
    """
    path = Path(directory, _NAME)
    if not path.exists():
        raise Refused(f"{path} does not exist; there is nothing to uninstall")
    _tell_systemd(directory, "disable", "--now", _NAME)
    try:
        path.unlink()
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    _tell_systemd(directory, "daemon-reload")


def unit() -> str:
    """Return the text of the unit for the berth that runs."""
    script = Path(sys.executable).with_name("berth")
    words = [str(script)] if script.exists() else [sys.executable, "-m", "resolver"]
    return _UNIT.format(command=" ".join(map(_quoted, words)), capabilities=" ".join(capabilities.USED))


def _quoted(word: str) -> str:
    """Return *word* as a command line of a unit has it (systemd.service(5), Command lines)."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or " " in word else word


def _tell_systemd(directory: str, *command: str) -> bool:
    """Run `systemctl` if systemd runs and has its units in *directory*; return whether it did."""
    if directory != _UNITS or not Path(_RUNNING_SYSTEMD).is_dir():
        return False
    done = subprocess.run([shutil.which("systemctl") or "/usr/bin/systemctl", *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"systemctl {' '.join(command)}: {done.stderr.strip()}")
    return True
