"""`berth run` and `berth exec`: standard library only, so that they start in 20 ms."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import Any

from resolver.cli import enter
from resolver.cli.client import Refused, call, segment

_DESCRIPTION = "Networks are made with `berth network create`. Without --network the command gets network `default`."


def main(arguments: list[str]) -> int:
    """Run `berth run …` or `berth exec …` and return the exit code."""
    try:
        return _run(arguments[1:]) if arguments[0] == "run" else _exec(arguments[1:])
    except Refused as error:
        print(f"berth: {error}", file=sys.stderr)
        return enter.FAILED
    except enter.EnterFailed as error:
        code, message = enter.failure(str(error))
        print(f"berth: {message}", file=sys.stderr)
        return code
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Return the options of `berth run`, which have Docker's names and meanings."""
    result = argparse.ArgumentParser(
        prog="berth run",
        usage="berth run [options] [--] COMMAND [ARG...]",
        description="Run a command in a sandbox of its own, which goes when the command ends. " + _DESCRIPTION,
        allow_abbrev=False,
        add_help=False,
    )
    add = result.add_argument
    add("--help", action="help", help="show this")
    add("--name", help="name of the sandbox, which resolves on its networks")
    networks = "network to connect to; may be repeated; or host, none, container:NAME"
    add("--network", "--net", action="append", default=[], metavar="NAME[,alias=..,ip=..]", help=networks)
    add("--network-alias", "--net-alias", action="append", default=[], metavar="NAME", help="one more name on the first network")
    add("--ip", help="IPv4 address on the first network")
    add("--ip6", help="IPv6 address on the first network")
    add("--link-local-ip", action="append", default=[], metavar="ADDRESS", help="one more address of the link, on the first network")
    add("--mac-address", help="MAC address on the first network")
    add("--gw-priority", type=int, default=0, help="the highest gives the default gateway (first network)")
    add("--forward", action="store_true", help="be a router: forward between the networks of the sandbox")
    add("--sysctl", action="append", default=[], metavar="net.KEY=VALUE", help="switch of the sandbox's network stack")
    add("--service", action="append", default=[], metavar="NAME", help="service on the first network: all that have it answer, and SRV")
    add("--link", action="append", default=[], metavar="SANDBOX[:ALIAS]", help="private alias of another sandbox")
    add("-p", "--publish", action="append", default=[], metavar="[IP:][HOST:]PORT[/PROTO]", help="publish a port on the host")
    add("-P", "--publish-all", action="store_true", help="publish every exposed port")
    add("--expose", action="append", default=[], metavar="PORT[/PROTO]", help="a port for --publish-all")
    forms = "10.0.0.53, 10.0.0.53:5353, tcp://.., tls://1.1.1.1#name"
    add("--dns", action="append", default=[], metavar="SERVER", help=f"nameserver, asked from the sandbox: {forms}")
    add("--dns-search", action="append", default=[], metavar="DOMAIN", help="search domain; . for none")
    add("--dns-opt", "--dns-option", action="append", default=[], metavar="OPTION", help="option of resolv.conf")
    add("--add-host", action="append", default=[], metavar="NAME:IP", help="line in the hosts file; host-gateway as IP")
    add("-h", "--hostname", default="", help="host name (the short id otherwise)")
    add("--domainname", default="", help="domain name")
    add("-l", "--label", action="append", default=[], metavar="KEY=VALUE", help="label")
    add("-e", "--env", action="append", default=[], metavar="KEY[=VALUE]", help="environment variable")
    add("--env-file", action="append", default=[], metavar="FILE", help="file with environment variables")
    add("-w", "--workdir", default="", help="directory to run in")
    add("-d", "--detach", action="store_true", help="return when the command runs and its names answer")
    add("--dry-run", action="store_true", help="print what would be done")
    add("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    return result


def _run(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command and not options.dry_run:
        parser().error("a command is missing: berth run [options] -- COMMAND")
    body = sandbox_body(options, command)
    if options.dry_run:
        plan = call("POST", "/v1/sandboxes?dry_run=1", body, autostart=True)
        print("\n".join(plan["steps"]))
        return 0
    explicit = _environment(options)
    if not options.detach:
        # Before anything exists: a terminal's Ctrl-C is for the command, a SIGTERM is handed on.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    sandbox = call("POST", "/v1/sandboxes", body, autostart=True)
    for warning in sandbox["warnings"]:
        print(f"berth: warning: {warning}", file=sys.stderr)
    path = f"/v1/sandboxes/{sandbox['id']}"
    directory = options.workdir or os.getcwd()
    try:
        pid = enter.start(
            sandbox,
            command,
            # An explicit variable wins, in its own spelling only (PX-3).
            environment={**os.environ, **sandbox["environment"], **explicit},
            directory=directory,
            detached=options.detach,
            prepare=_detach_streams if options.detach else lambda: None,
        )
    except enter.EnterFailed:
        call("DELETE", path)
        raise
    if options.detach:
        call("PATCH", path, {"owner_pid": pid})
        print(sandbox["name"])
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda received, _: os.kill(pid, received))
    code = enter.wait(pid)
    try:
        call("DELETE", path)
    except Refused as error:
        # Its owner has ended, so the daemon removes it in any case.
        if error.kind not in ("not-found", ""):
            print(f"berth: warning: {error}", file=sys.stderr)
    return code


def sandbox_body(options: argparse.Namespace, command: list[str]) -> dict[str, Any]:
    """Return the body of POST /v1/sandboxes that *options* mean."""
    networks = [network_option(text) for text in options.network]
    own = {
        "ip": options.ip,
        "ip6": options.ip6,
        "mac_address": options.mac_address,
        "gw_priority": options.gw_priority or None,
        "link_local_ips": options.link_local_ip or None,
        "services": options.service or None,
    }
    given = {key: value for key, value in own.items() if value is not None}
    links = dict(link_option(text) for text in options.link)
    if given or options.network_alias or links:
        if not networks:
            parser().error(f"--{next(iter([*given, 'network-alias'])).replace('_', '-')} needs a --network")
        networks[0].update(given)
        networks[0]["aliases"] += options.network_alias
        networks[0]["links"] = links
    program = os.path.basename(command[0]).replace("_", "-") if command else "run"
    name = "".join(char for char in program if char.isalnum() or char in "-.").strip("-.") or "run"
    return {
        "name": options.name or f"{name[:40]}-{os.urandom(3).hex()}",
        "owner_pid": os.getpid(),
        "hostname": options.hostname,
        "domainname": options.domainname,
        "networks": networks,
        "default_network": True,
        "dns": options.dns,
        "dns_search": options.dns_search,
        "dns_options": options.dns_opt,
        "extra_hosts": options.add_host,
        "publish": options.publish,
        "expose": options.expose,
        "publish_all": options.publish_all,
        "forward": options.forward,
        "sysctls": options.sysctl,
        "labels": dict(_pair(text) for text in options.label),
    }


_NETWORK_KEYS = {
    "alias": "aliases",
    "service": "services",
    "ip": "ip",
    "ip6": "ip6",
    "link-local-ip": "link_local_ips",
    "mac-address": "mac_address",
    "gw-priority": "gw_priority",
    "ifname": "ifname",
    "route": "routes",
    "driver-opt": "driver_opts",
}


def network_option(text: str) -> dict[str, Any]:
    """Return the endpoint that `--network NAME[,key=value...]` asks for; `name=NAME` first is Docker's long form."""
    first, *rest = text.split(",")
    result: dict[str, Any] = {"network": first.removeprefix("name="), "aliases": []}
    for item in rest:
        key, equals, value = item.partition("=")
        if not equals or key not in _NETWORK_KEYS:
            parser().error(f"--network {text}: {item!r} is not one of {', '.join(f'{name}=' for name in _NETWORK_KEYS)}")
        if key == "alias":
            result["aliases"].append(value)
        elif key in ("route", "link-local-ip", "service"):
            result.setdefault(_NETWORK_KEYS[key], []).append(value)
        elif key == "driver-opt":
            name, _, setting = value.partition("=")
            result.setdefault("driver_opts", {})[name] = setting
        elif key == "gw-priority":
            if not value.lstrip("-").isdigit():
                parser().error(f"--network {text}: gw-priority must be a number")
            result["gw_priority"] = int(value)
        else:
            result[_NETWORK_KEYS[key]] = value
    return result


def link_option(text: str) -> tuple[str, str]:
    """Return (alias, target) of a `--link SANDBOX[:ALIAS]`."""
    target, _, alias = text.partition(":")
    return alias or target, target


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


def _environment(options: argparse.Namespace) -> dict[str, str]:
    result: dict[str, str] = {}
    for path in options.env_file:
        try:
            with open(path) as file:
                lines = [line.strip() for line in file]
        except OSError as error:
            raise Refused(f"--env-file {path}: {error.strerror}") from error
        for line in lines:
            if line and not line.startswith("#"):
                result.update(_variable(line))
    for text in options.env:
        result.update(_variable(text))
    return result


def _variable(text: str) -> dict[str, str]:
    key, equals, value = text.partition("=")
    if equals:
        return {key: value}
    return {key: os.environ[key]} if key in os.environ else {}


def _detach_streams() -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def _exec(arguments: list[str]) -> int:
    options_of_exec = argparse.ArgumentParser(
        prog="berth exec",
        usage="berth exec [options] NAME COMMAND [ARG...]",
        description="Run one more command in a sandbox.",
        allow_abbrev=False,
    )
    options_of_exec.add_argument("-e", "--env", action="append", default=[], metavar="KEY[=VALUE]", help="environment variable")
    options_of_exec.add_argument("--env-file", action="append", default=[], metavar="FILE", help="file with environment variables")
    options_of_exec.add_argument("-w", "--workdir", default="", help="directory to run in")
    options_of_exec.add_argument("name", metavar="NAME")
    options_of_exec.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    options = options_of_exec.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        options_of_exec.error("a command is missing: berth exec NAME COMMAND")
    sandbox = find_sandbox(options.name)
    environment = {**os.environ, **sandbox["environment"], **_environment(options)}
    return enter.join(sandbox, command, environment=environment, directory=options.workdir or os.getcwd())


def find_sandbox(name: str) -> dict[str, Any]:
    """Return the sandbox with this name or id, or the one service of this name in a project of `berth up`."""
    try:
        found: dict[str, Any] = call("GET", f"/v1/sandboxes/{segment(name)}")
    except Refused as error:
        if error.kind != "not-found":
            raise
        matches = [item for item in call("GET", "/v1/sandboxes") if item["labels"].get("berth.service") == name]
        if not matches:
            raise
        if len(matches) > 1:
            raise Refused(f"{name} is ambiguous: it can be {', '.join(item['name'] for item in matches)}") from error
        found = matches[0]
    return found
