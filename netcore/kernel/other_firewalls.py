"""Other programs' firewalls on the host: what they hold, and our one rule in them. Blocking."""

from __future__ import annotations

import shutil
import subprocess

from netcore.desired.other_firewalls import Chain, DockerRule, FirewalldZone, Measure, measures
from netcore.errors import KernelError
from netcore.kernel import nft
from netcore.kernel.host_sockets import HostSockets
from netcore.kernel.netlink import NETFILTER

_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_PROGRAMS = ("iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy")
_NUMBER = {"INPUT": 1, "FORWARD": 2}


def look(bridges: tuple[str, ...], host_sockets: HostSockets) -> tuple[Measure, ...]:
    """Return what other firewalls need so that traffic of *bridges* passes."""
    with host_sockets.lent(NETFILTER) as netlink:
        try:
            chains = [Chain(base.family, base.table, base.name, base.hook, base.drops) for base in nft.base_chains(netlink)]
        except KernelError:
            chains = []
    legacy = [program for program in _PROGRAMS[2:] if _has_legacy(program)]
    for program in legacy:
        chains += _legacy_chains(program)
    families = {chain.family for chain in chains if chain.table == "filter" and not chain.legacy}
    variants = [name for name, family in (("iptables", "ip"), ("ip6tables", "ip6")) if family in families]
    docker = [program for program in (*variants, *legacy) if _run(program, ["-S", "DOCKER-USER"]) is not None]
    firewalld = any(chain.table == "firewalld" for chain in chains) and _run("firewall-cmd", ["--state"]) is not None
    return measures(chains, docker_user=docker, firewalld=firewalld, bridges=bridges)


def apply(wanted: tuple[Measure, ...]) -> list[str]:
    """Add our rules where they are missing; return a sentence for each that could not be added."""
    problems = []
    for measure in wanted:
        match measure:
            case DockerRule():
                present = _run(measure.program, measure.arguments("-C")) is not None
                if not present and _run(measure.program, measure.arguments("-I")) is None:
                    problems.append(f"{measure.program}: no rule could be put into DOCKER-USER")
            case FirewalldZone():
                if _run("firewall-cmd", ["--zone=trusted", f"--query-interface={measure.bridge}"]) is None and (
                    _run("firewall-cmd", ["--zone=trusted", f"--change-interface={measure.bridge}"]) is None
                ):
                    problems.append(f"firewalld: {measure.bridge} could not be added to zone trusted")
            case _:
                continue
    return problems


def withdraw(wanted: tuple[Measure, ...]) -> None:
    """Remove our rules. One that is gone already is no error."""
    for measure in wanted:
        match measure:
            case DockerRule():
                while _run(measure.program, measure.arguments("-D")) is not None:
                    continue
            case FirewalldZone():
                _run("firewall-cmd", ["--zone=trusted", f"--remove-interface={measure.bridge}"])
            case _:
                continue


def _has_legacy(program: str) -> bool:
    table = "/proc/net/ip6_tables_names" if program.startswith("ip6") else "/proc/net/ip_tables_names"
    try:
        with open(table) as file:
            return "filter" in file.read().split()
    except OSError:
        return False


def _legacy_chains(program: str) -> list[Chain]:
    family = "ip6" if program.startswith("ip6") else "ip"
    chains = []
    for line in (_run(program, ["-S"]) or "").splitlines():
        match line.split():
            case ["-P", ("INPUT" | "FORWARD") as name, policy]:
                chains.append(Chain(family, "filter", name, _NUMBER[name], policy == "DROP", legacy=True))
    return chains


def _run(program: str, arguments: list[str]) -> str | None:
    """Return the output of *program*, None if it fails or is not installed."""
    path = shutil.which(program, path=_PATH)
    if path is None:
        return None
    wait = ["-w", "5"] if "tables" in program else []
    try:
        done = subprocess.run([path, *wait, *arguments], capture_output=True, text=True, timeout=15, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
