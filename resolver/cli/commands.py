"""The commands other than `run` and `exec`: click definitions, each one call of the admin API."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from resolver.cli import run_exec
from resolver.cli.client import Refused, call, connect, run_directory, segment, send
from resolver.cli.networks import network
from resolver.cli.options import DRY_RUN, FORMAT, each, pairs, remove
from resolver.cli.output import print_json, print_plan, print_table, print_warnings


def main(arguments: list[str]) -> int:
    """Run the command of *arguments* and return its exit code: 0, 1 (refused or failed) or 2 (usage)."""
    # As with Docker, a bare --ipv6 means --ipv6=true, and a value is only taken behind "=".
    arguments = [f"{item}=true" if item in ("--ipv4", "--ipv6") else item for item in arguments]
    try:
        result = cli.main(args=arguments, prog_name="berth", standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (Refused, BrokenPipeError) as error:
        if isinstance(error, Refused):
            print(f"berth: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="berth-net", prog_name="berth")
def cli() -> None:
    """Docker's container networking for any process: networks, addresses, names, a gateway, published ports.

    The admin socket is $BERTH_RUN_DIR/berth.sock, /run/berth/berth.sock by default.
    """


# Shown in the help; `resolver.cli.main` runs them without click.
@cli.command("run", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run_command(arguments: tuple[str, ...]) -> int:
    """Run a command in a sandbox of its own."""
    return run_exec.main(["run", *arguments])


@cli.command("exec", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def exec_command(arguments: tuple[str, ...]) -> int:
    """Run one more command in a sandbox."""
    return run_exec.main(["exec", *arguments])


@cli.command()
@click.option("--config", "config_path", type=click.Path(), help="Configuration file (default /etc/berth/berth.toml).")
@click.option("--state-dir", help="Where networks are remembered (default /var/lib/berth).")
@click.option("--run-dir", help="Sockets and files of running sandboxes (default /run/berth).")
@click.option("--store", help="etcd://HOST:2379[,HOST..] that hosts share, for overlay networks.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="How much to log.")
@click.option("--exit-when-idle", is_flag=True, help="End when no sandbox and no owner is left.")
@click.option("--check-config", is_flag=True, help="Print the effective configuration and end.")
def daemon(
    config_path: str | None,
    state_dir: str | None,
    run_dir: str | None,
    store: str | None,
    log_level: str | None,
    exit_when_idle: bool,
    check_config: bool,
) -> int:
    """Run the daemon in the foreground."""
    from netcore.errors import NetcoreError
    from resolver.daemon import logs
    from resolver.daemon.config import HELP, load
    from resolver.errors import ConfigError

    try:
        config = load(config_path, {"state_dir": state_dir, "run_dir": run_dir, "store": store, "log_level": log_level})
        if check_config:
            for name in config.__dataclass_fields__:
                print(f"{name} = {json.dumps(getattr(config, name), default=str)}  # {HELP[name]}")
            return 0
        logs.configure(config.log_level)
        from resolver.daemon import app

        app.run(config, exit_when_idle=exit_when_idle)
    except (NetcoreError, ConfigError, OSError) as error:
        print(f"berth: {error}", file=sys.stderr)
        return 1
    return 0


@cli.group()
def node() -> None:
    """The hosts that share overlay networks."""


@node.command("ls")
@FORMAT
def node_ls(form: str) -> None:
    """List the hosts that are heard of."""
    nodes = call("GET", "/v1/nodes")
    if form == "json":
        print_json(nodes)
        return
    rows = [(item["id"][:12], item["name"] + (" *" if item["own"] else ""), item["address"], str(item["endpoints"])) for item in nodes]
    print_table(("NODE ID", "NAME", "ADDRESS", "ENDPOINTS"), rows)


cli.add_command(network)


# --- sandboxes ----------------------------------------------------------------------------------------------------


@cli.command()
@click.option("-q", "--quiet", is_flag=True, help="Ids only.")
@FORMAT
def ps(quiet: bool, form: str) -> None:
    """List sandboxes."""
    from resolver.cli.up import port_text

    sandboxes = call("GET", "/v1/sandboxes")
    if form == "json":
        print_json(sandboxes)
    elif quiet:
        for item in sandboxes:
            print(item["id"])
    else:
        rows = [
            (
                item["id"][:12],
                item["name"],
                str(item["pid"] or "-"),
                network_mode(item) or " ".join(item["networks"]),
                " ".join(item["addresses"]),
                " ".join(port_text(port) for endpoint in item["endpoints"] for port in endpoint["ports"]),
            )
            for item in sandboxes
        ]
        print_table(("SANDBOX ID", "NAME", "PID", "NETWORKS", "ADDRESSES", "PORTS"), rows)


def network_mode(sandbox: dict[str, Any]) -> str:
    """Return the mode of a sandbox without networks of its own, as `--network` names it, "" for any other."""
    match sandbox["stack"]:
        case "host" | "none" as mode:
            return str(mode)
        case "container":
            return f"container:{sandbox['shared_with']}"
    return "(ended, its stack is shared)" if sandbox["ended"] else ""


@cli.command()
@click.argument("names", nargs=-1, required=True)
def inspect(names: tuple[str, ...]) -> None:
    """Show sandboxes as JSON."""
    print_json([call("GET", f"/v1/sandboxes/{run_exec.find_sandbox(name)['id']}?plugins=1") for name in names])


@cli.command()
@click.argument("names", nargs=-1, required=True)
@DRY_RUN
def rm(names: tuple[str, ...], dry_run: bool) -> int:
    """Remove sandboxes, and end the processes that berth started in them."""
    from resolver.cli.up import remove_sandbox

    def remove_one(name: str) -> None:
        sandbox = run_exec.find_sandbox(name)
        if dry_run:
            remove(f"/v1/sandboxes/{sandbox['id']}", name, dry_run=True)
        else:
            print_warnings({"warnings": remove_sandbox(sandbox)})
            print(name)

    return each(names, remove_one)


@cli.command()
@click.argument("old")
@click.argument("new")
def rename(old: str, new: str) -> None:
    """Give a sandbox another name; the new one resolves at once, the old one no more."""
    call("PATCH", f"/v1/sandboxes/{run_exec.find_sandbox(old)['id']}", {"name": new})


@cli.command()
@click.option("--pid", type=int, help="Process whose network namespace to adopt.")
@click.option("--netns", help="Path of the network namespace to adopt.")
@click.option("--fd", type=int, help="Descriptor of a namespace, in the process --pid.")
@click.option("--name", required=True, help="Name of the sandbox.")
@click.option("--network", "networks", multiple=True, metavar="NAME[,alias=..,ip=..]", help="Network to connect to.")
@click.option("--network-alias", "aliases", multiple=True, help="One more name on the first network.")
@click.option("--service", "services", multiple=True, help="Service on the first network: all that have it answer, and SRV.")
@click.option("-p", "--publish", multiple=True, help="Publish a port on the host.")
@click.option("--dns", multiple=True, help="Nameserver, asked from the sandbox: 10.0.0.53, 10.0.0.53:5353, tcp://.., tls://1.1.1.1#name.")
@click.option("--dns-search", multiple=True, help="Search domain.")
@click.option("--dns-opt", multiple=True, help="Option of resolv.conf.")
@click.option("--add-host", multiple=True, metavar="NAME:IP", help="Line in the hosts file.")
@click.option("--hostname", default="", help="Host name.")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="Label.")
@DRY_RUN
def attach(**given: Any) -> None:
    """Adopt a network namespace that exists: of a process, at a path, or behind a descriptor."""
    if given["pid"] is None and given["netns"] is None:
        raise click.UsageError("give --pid or --netns")
    networks = [run_exec.network_option(text) for text in given["networks"]]
    if given["aliases"] and networks:
        networks[0]["aliases"] += given["aliases"]
    if given["services"] and networks:
        networks[0].setdefault("services", []).extend(given["services"])
    body = {
        "name": given["name"],
        "pid": given["pid"],
        "netns": given["netns"],
        "fd": given["fd"],
        "hostname": given["hostname"],
        "networks": networks,
        "dns": given["dns"],
        "dns_search": given["dns_search"],
        "dns_options": given["dns_opt"],
        "extra_hosts": given["add_host"],
        "publish": given["publish"],
        "labels": pairs(given["label"]),
    }
    made = call("POST", f"/v1/sandboxes{'?dry_run=1' if given['dry_run'] else ''}", body)
    if given["dry_run"]:
        print_plan(made)
        return
    print_warnings(made)
    print(made["id"])
    print(f"berth: its files are in {made['directory']}: resolv.conf, hosts, hostname", file=sys.stderr)


@cli.command()
@click.argument("name")
def detach(name: str) -> None:
    """Let go of a sandbox that was adopted; its processes and its namespace stay."""
    call("DELETE", f"/v1/sandboxes/{run_exec.find_sandbox(name)['id']}")


# --- compose ------------------------------------------------------------------------------------------------------


@cli.command()
@click.option("-f", "--file", help="Compose file (default compose.yaml).")
@click.option("-p", "--project-name", help="Name of the project.")
@click.option("--profile", "profiles", multiple=True, help="Start the services of this profile too; * for all.")
@click.option("-d", "--detach", is_flag=True, help="Return when everything is up.")
def up(file: str | None, project_name: str | None, profiles: tuple[str, ...], detach: bool) -> int:
    """Bring a Compose project up: its networks, sandboxes, names, ports and commands."""
    from resolver.cli.up import up as bring_up

    return bring_up(file, project_name, profiles, detach=detach)


@cli.command()
@click.option("-f", "--file", help="Compose file (default compose.yaml).")
@click.option("-p", "--project-name", help="Name of the project.")
def down(file: str | None, project_name: str | None) -> int:
    """Remove everything of a Compose project."""
    from resolver.cli.up import down as take_down

    return take_down(file, project_name)


# --- looking ------------------------------------------------------------------------------------------------------


@cli.command()
@click.argument("name")
@click.option("-t", "--type", "rtype", default="A", show_default=True, help="Record type; PTR takes an address.")
@click.option("--from", "sandbox", help="Ask as this sandbox does.")
@click.option("--explain", is_flag=True, help="Say why.")
@FORMAT
def resolve(name: str, rtype: str, sandbox: str | None, explain: bool, form: str) -> int:
    """Look NAME up as a sandbox would."""
    asked = run_exec.find_sandbox(sandbox)["id"] if sandbox else None
    found = call("POST", "/v1/resolve", {"name": name, "type": rtype, "sandbox": asked})
    if form == "json":
        print_json(found)
    else:
        for record in found["records"]:
            print(f"{record['name']}\t{record['ttl']}\t{record['type']}\t{record['data']}")
        if not found["records"]:
            print(f"{found['name']}\t{found['type']}\t{found['rcode']}: no records")
        if explain:
            for line in found["explanation"]:
                print(f"  {line}")
    return 0 if found["records"] else 1


@cli.group()
def cache() -> None:
    """Show and forget what the nameservers answered."""


@cache.command("ls")
@click.argument("name", required=False)
@click.option("--limit", type=int, default=1000, show_default=True, help="How many; those told most come first.")
@FORMAT
def cache_ls(name: str | None, limit: int, form: str) -> None:
    """List remembered answers, those for NAME and below it or all."""
    shown = call("GET", f"/v1/cache?limit={limit}{f'&name={segment(name)}' if name else ''}")
    if form == "json":
        print_json(shown)
        return
    rows = [
        (
            item["name"],
            item["type"],
            item["flags"],
            item["rcode"],
            "stale" if item["stale"] else str(item["ttl"]),
            str(item["hits"]),
            " ".join(item["upstreams"]),
        )
        for item in shown["entries"]
    ]
    print_table(("NAME", "TYPE", "FLAGS", "RCODE", "TTL", "HITS", "UPSTREAMS"), rows)
    if shown["found"] > len(rows):
        print(f"berth: {shown['found'] - len(rows)} more; give a name, or --limit", file=sys.stderr)


@cache.command("flush")
@click.argument("name", required=False)
def cache_flush(name: str | None) -> None:
    """Forget the answers for NAME and everything below it, or all answers."""
    print(call("POST", "/v1/cache/flush", {"name": name})["removed"])


@cli.command()
@FORMAT
def status(form: str) -> int:
    """Show the daemon, its upstreams, and what is not as it should be."""
    shown = call("GET", "/v1/status")
    if form == "json":
        print_json(shown)
        return 0
    print(f"berth {shown['version']}, pid {shown['pid']}, up {shown['uptime_seconds']:.0f} s, firewall {shown['firewall']}")
    print(f"{shown['networks']} networks, {shown['sandboxes']} sandboxes, {shown['queries']} queries answered")
    print(f"nameservers of {shown['resolv_conf']}: {', '.join(shown['nameservers']) or 'none'}")
    for item in shown["upstreams"]:
        took = f", {item['rtt_ms']:.1f} ms" if item["rtt_ms"] else ""
        print(f"upstream {item['address']} ({item['namespace']}): {item['state']}{took}")
    for warning in shown["warnings"]:
        print(f"warning: {warning}")
    return 0


@cli.command()
@FORMAT
def events(form: str) -> None:
    """Follow what happens to networks and sandboxes."""
    with connect(f"{run_directory()}/berth.sock") as sock:
        send(sock, "GET", "/v1/events")
        with sock.makefile("r") as stream:
            for line in stream:
                if not line.startswith("{"):
                    continue
                if form == "json":
                    print(line.strip(), flush=True)
                    continue
                event = json.loads(line)
                where = "".join(f" {key}={event[key]}" for key in ("network", "node") if event[key])
                print(f"{event['time']:.3f} {event['kind']} {event['action']} {event['name']}{where}", flush=True)
