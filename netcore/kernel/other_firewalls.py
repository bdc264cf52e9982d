"""Other programs' firewalls on the host: what they hold, and our one rule in them. Blocking."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable

from netcore.desired.other_firewalls import DOCKER_USER, Chain, DockerRule, FirewalldZone, Measure, Missing, Seen
from netcore.errors import KernelError
from netcore.kernel import files, nft
from netcore.kernel.host_sockets import HostSockets
from netcore.kernel.netlink import NETFILTER

_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_FAMILY = {"iptables": "ip", "ip6tables": "ip6", "iptables-legacy": "ip", "ip6tables-legacy": "ip6"}
_TRUSTED = "--zone=trusted"
_NUMBER = {"INPUT": 1, "FORWARD": 2}
_UNKNOWN = (None, 4)
"""Ends that say nothing about the rule: cut off, or (iptables) somebody else has the tables locked."""
_NOT_FOUND = 127


def look(host_sockets: HostSockets) -> Seen:
    """Return what other firewalls hold. Changes nothing."""
    with host_sockets.lent(NETFILTER) as netlink:
        try:
            chains = [Chain(base.family, base.table, base.name, base.hook, base.drops) for base in nft.base_chains(netlink)]
            families = {chain.family for chain in chains if chain.table == "filter"}
            variants = [program for program in ("iptables", "ip6tables") if _FAMILY[program] in families]
            docker = [program for program in variants if nft.has_chain(netlink, _FAMILY[program], "filter", DOCKER_USER)]
        except KernelError:
            chains, docker = [], []
    for program in _legacy_programs():
        listed = (_run(program, ["-S"]) or "").splitlines()
        chains += _legacy_chains(program, listed)
        docker += [program] if f"-N {DOCKER_USER}" in listed else []
    trusted = _run("firewall-cmd", [_TRUSTED, "--list-interfaces"]) if any(chain.table == "firewalld" for chain in chains) else None
    rules = [DockerRule(program) for program in docker]
    in_place = [rule for rule in rules if _run(rule.program, rule.arguments("-C")) is not None]
    zones = [FirewalldZone(link) for link in (trusted or "").split()]
    return Seen(tuple(chains), tuple(docker), trusted is not None, frozenset([*in_place, *zones]))


def is_silent() -> bool:
    """Return whether there is a firewall of whose changes the kernel tells nobody."""
    return bool(_legacy_programs())


def put(rules: Iterable[Measure]) -> list[str]:
    """Add *rules* of ours, which are missing; return a sentence for each that could not be added."""
    problems = []
    for measure in rules:
        match measure:
            case DockerRule():
                if _run(measure.program, measure.arguments("-I")) is None:
                    problems.append(f"{measure.program}: no rule could be put into {DOCKER_USER}")
            case FirewalldZone():
                if _run("firewall-cmd", [_TRUSTED, f"--change-interface={measure.bridge}"]) is None:
                    problems.append(f"firewalld: {measure.bridge} could not be added to zone trusted")
            case Missing():
                continue
    return problems


def withdraw(rules: Iterable[Measure]) -> frozenset[Measure]:
    """Remove *rules* of ours; return those that may still be there. One that is gone already is no error."""
    stayed: set[Measure] = set()
    for measure in rules:
        match measure:
            case DockerRule():
                while (status := _end(measure.program, measure.arguments("-D"))) == 0:
                    continue
                if status in _UNKNOWN:
                    stayed.add(measure)
            case FirewalldZone():
                if _end("firewall-cmd", [_TRUSTED, f"--remove-interface={measure.bridge}"]) in _UNKNOWN:
                    stayed.add(measure)
            case Missing():
                continue
    return frozenset(stayed)


def _legacy_programs() -> list[str]:
    return [program for program in _FAMILY if program.endswith("-legacy") and _has_legacy(_FAMILY[program])]


def _has_legacy(family: str) -> bool:
    try:
        return "filter" in files.read(f"/proc/net/{family}_tables_names").split()
    except OSError:
        return False


def _legacy_chains(program: str, listed: Iterable[str]) -> list[Chain]:
    chains = []
    for line in listed:
        match line.split():
            case ["-P", ("INPUT" | "FORWARD") as name, policy]:
                chains.append(Chain(_FAMILY[program], "filter", name, _NUMBER[name], policy == "DROP", legacy=True))
    return chains


def _run(program: str, arguments: list[str]) -> str | None:
    """Return the output of *program*, None if it fails or is not installed."""
    done = _call(program, arguments)
    return None if done is None or done.returncode else done.stdout


def _end(program: str, arguments: list[str]) -> int | None:
    """Return the exit status of *program*; None if it did not end by itself."""
    done = _call(program, arguments)
    return None if done is None or done.returncode < 0 else done.returncode


def _call(program: str, arguments: list[str]) -> subprocess.CompletedProcess[str] | None:
    """Return how *program* ended, as a shell does if it is not installed; None if it could not be run or took too long."""
    path = shutil.which(program, path=_PATH)
    if path is None:
        return subprocess.CompletedProcess(program, _NOT_FOUND, "", "")
    wait = ["-w", "5"] if "tables" in program else []
    try:
        return subprocess.run([path, *wait, *arguments], capture_output=True, text=True, timeout=15, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
