"""Commands on the daemon: daemon, status, version, node."""

from __future__ import annotations

import gc
import os
import selectors
from typing import Any

import click

from resolver.cli.client import NoDaemon, Refused, call, sandboxes_path
from resolver.cli.command_table import NODE_ROWS
from resolver.cli.commands.declare import command, group, option
from resolver.cli.commands.options import CONFIG, FORMAT, RUN_DIR, STATE_DIR, check_template
from resolver.cli.listing import print_by_template
from resolver.cli.output import complain, counted, print_json, print_table
from resolver.printable import printable

_STOP_PATIENCE = 30
"""Seconds for a daemon to end: it gives itself less."""


@command(examples=("berth daemon --config /etc/berth/berth.toml", "berth daemon stop"))
@click.argument("action", required=False, type=click.Choice(["stop"]))
@CONFIG
@STATE_DIR
@RUN_DIR
@option("--store", metavar="etcd://HOST:2379[,HOST..]", help="Store that hosts share, for overlay networks.")
@option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="How much to log.")
@option("--exit-when-idle", is_flag=True, help="Exit when no sandbox runs and no network that somebody made is left.")
@option("--check-config", is_flag=True, help="Print the effective configuration and exit.")
def daemon(
    action: str | None,
    config_path: str | None,
    state_dir: str | None,
    run_dir: str | None,
    store: str | None,
    log_level: str | None,
    exit_when_idle: bool,
    check_config: bool,
) -> int:
    """Run the daemon in the foreground, or stop the one that runs.

    Without one, commands that change something start a daemon with --exit-when-idle, and those that ask for sandboxes or networks do
    if any are saved. Sandboxes and their processes go on when the daemon is stopped.
    """
    if action == "stop":
        return _stop()
    # Nothing of what a start makes is garbage; `startup.collect_garbage_seldom` ends this.
    gc.disable()
    from netcore.errors import NetcoreError
    from resolver.daemon import config_toml
    from resolver.daemon.config import DaemonConfig, load
    from resolver.errors import ConfigError

    def read() -> DaemonConfig:
        return load(config_path, {"state_dir": state_dir, "run_dir": run_dir, "store": store, "log_level": log_level})

    try:
        if check_config:
            print("\n".join(config_toml.lines(read())))
            return 0
        effective = read()
        from resolver.cli import starting

        start_due = starting.launch(effective.state_dir, effective.run_dir)
        from resolver.daemon import app

        app.run(read, exit_when_idle=exit_when_idle, start_due=start_due)
    except (NetcoreError, ConfigError, OSError) as error:
        complain(error)
        return 1
    return 0


def _stop() -> int:
    """Stop the daemon and return when it has ended."""
    pid = call("GET", "/v1/status")["pid"]
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0
    with selectors.DefaultSelector() as selector:
        selector.register(process, selectors.EVENT_READ)
        call("POST", "/v1/stop", autostart=False)
        ended = bool(selector.select(_STOP_PATIENCE))
    os.close(process)
    if not ended:
        raise Refused(f"the daemon, pid {pid}, has not ended after {_STOP_PATIENCE} s; `kill -9 {pid}` loses nothing")
    return 0


@command(examples=("berth status", "berth status --format '{{.ServerVersion}} {{.Containers}}'"))
@option(
    "-f", "--format", "form", default="table", show_default=True, metavar="FORMAT",
    help="table, json, or a Go template with Docker's field names.",
)  # fmt: skip
def status(form: str) -> int:
    """Show the daemon's state.

    Its upstream name servers are listed, and warnings about what needs attention.
    """
    check_template(form)
    report = call("GET", "/v1/status")
    if form == "json":
        print_json(report)
        return 0
    if form != "table":
        from resolver.cli import docker_info
        from resolver.cli.sandbox_fields import state

        print_by_template(form, [docker_info.fields(report, list(map(state, call("GET", sandboxes_path(stopped=True)))))])
        return 0
    guard = f", guard {report['guard']}" if report["guard"] != "none" else ""
    print(f"berth {report['version']}, pid {report['pid']}, up {report['uptime_seconds']:.0f} s, firewall {report['firewall']}{guard}")
    queries = f"{report['queries']} {'query' if report['queries'] == 1 else 'queries'}"
    print(f"{counted(report['networks'], 'network')}, {counted(report['sandboxes'], 'sandbox')}, {queries} answered")
    print(f"nameservers of {report['resolv_conf']}: {', '.join(report['nameservers']) or 'none'}")
    if report.get("spares"):
        print(f"{counted(report['spares'], 'namespace')} ready for sandboxes to come")
    if report["exits_when_idle"]:
        print("started by a command that found no daemon; it ends when nothing needs it, or with `berth daemon stop`")
    for upstream in report["upstreams"]:
        took = f", {upstream['rtt_ms']:.1f} ms" if upstream["rtt_ms"] else ""
        print(f"upstream {upstream['address']} ({upstream['namespace']}): {upstream['state']}{took}")
    for name, packets in report.get("dropped", {}).items():
        print(f"dropped of {printable(name)}: {counted(packets, 'packet')} that it may not send")
    for warning in report["warnings"]:
        print(f"warning: {printable(warning)}")
    return 0


@command(examples=("berth version", "berth version --format '{{.Server.Version}}'"))
@option("-f", "--format", "form", default="table", show_default=True, metavar="FORMAT", help="table, json, or a Go template.")
def version(form: str) -> None:
    """Show the versions of the command and of the daemon."""
    from importlib.metadata import version as version_of

    found: dict[str, Any] = {"Client": {"Version": version_of("berth-net")}, "Server": None}
    try:
        report = call("GET", "/v1/status")
        found["Server"] = {"Version": report["version"], "Pid": report["pid"]}
    except NoDaemon:
        # The command has a version without a daemon too.
        pass
    if form == "json":
        print_json(found)
    elif form == "table":
        print(f"command  berth {found['Client']['Version']}")
        print(f"daemon   berth {found['Server']['Version']}, pid {found['Server']['Pid']}" if found["Server"] else "daemon   none runs")
    else:
        print_by_template(form, [found])


@group(rows=NODE_ROWS, examples=("berth node ls",))
def node() -> None:
    """Show the hosts of a cluster."""


@command("ls", examples=("berth node ls",))
@FORMAT
def node_ls(form: str) -> None:
    """List the hosts that share overlay networks.

    A * marks this host.
    """
    nodes = call("GET", "/v1/nodes")
    if form == "json":
        print_json(nodes)
        return
    rows = [(host["id"][:12], host["name"] + (" *" if host["own"] else ""), host["address"], str(host["endpoints"])) for host in nodes]
    print_table(("NODE ID", "NAME", "ADDRESS", "ENDPOINTS"), rows)
