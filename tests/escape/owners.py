"""Whose berth it is that sandboxes escape from: root's, with the lab as its host, or an ordinary user's, with a nest as its host."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from tests.escape import containers, user_containers
from tests.support.lab import Lab
from tests.support.user_lab import HOME, RUN_DIR, UserLab

CONFIGURATION = "[egress]\nnew_names = 1000000\n"
_BERTH = (sys.executable, "-m", "resolver")


@dataclass(frozen=True, slots=True)
class Started:
    """A namespace that berth can adopt. *found*: options of `berth attach`. *command*: what runs a command in it, from the lab's host."""

    found: tuple[str, ...]
    command: tuple[str, ...]


class Owner(Protocol):
    """*host*: the lab's name of the network namespace that has the bridges. *sends_from*: the one from where the outside is reached last.

    *carries*: the flows that leave for the outside, by what they are of.
    """

    host: str
    sends_from: str
    carries: frozenset[str]

    def begin(self) -> None:
        """Start the daemon, with the configuration."""

    def wait(self) -> None:
        """Wait until there is a daemon that answers, which is started if need be."""

    def end_daemon(self, number: signal.Signals) -> None:
        """End the daemon by a signal."""

    def daemon(self) -> int:
        """Return the pid of the daemon."""

    def command(self, *words: str) -> tuple[str, ...]:
        """Return what runs berth with *words*, from the lab's host."""

    def namespace(self, sandbox: str) -> str:
        """Return the lab's name of the network namespace of a sandbox."""

    def start(self, runtime: str, name: str) -> Started:
        """Start what is adopted."""

    def end(self, runtime: str, name: str) -> None:
        """End what was started."""

    def moments(self) -> Mapping[str, Callable[[], None]]:
        """Return what else can happen here, by name."""


@contextmanager
def stopped(owner: Owner) -> Iterator[None]:
    """Have the daemon do nothing meanwhile."""
    daemon = owner.daemon()
    os.kill(daemon, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(daemon, signal.SIGCONT)


class Root:
    host = sends_from = "host"
    carries = frozenset({"TCP", "UDP", "ICMP", "GRE", "TLS", "HTTP"})

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def begin(self) -> None:
        self._lab.write("/run/c.toml", CONFIGURATION)
        self.wait()

    def wait(self) -> None:
        self._lab.start_daemon("--config", "/run/c.toml")

    def end_daemon(self, number: signal.Signals) -> None:
        self._lab.stop_daemon(number)

    def daemon(self) -> int:
        assert self._lab.daemon is not None
        return self._lab.daemon.pid

    def command(self, *words: str) -> tuple[str, ...]:
        return (*_BERTH, *words)

    def namespace(self, sandbox: str) -> str:
        return sandbox if sandbox in ("netns", "podman", "runc") else f"berth-{sandbox}"

    def start(self, runtime: str, name: str) -> Started:
        if runtime == "netns":
            self._lab.shell(f"ip netns add {name}; ip -n {name} link set lo up")
            return Started(("--netns", f"/run/netns/{name}"), ("ip", "netns", "exec", name))
        pid = (containers.start_podman if runtime == "podman" else containers.start_runc)(self._lab, name)
        # So that the namespace has a name, as those of the others have.
        self._lab.run("ip", "netns", "attach", name, str(pid))
        inside = containers.podman("exec", "-i", name) if runtime == "podman" else containers.runc("exec", name)
        return Started(("--pid", str(pid)), tuple(inside))

    def end(self, runtime: str, name: str) -> None:
        if runtime != "netns":
            containers.end(self._lab, runtime, name)
        self._lab.shell(f"ip netns del {name}")

    def moments(self) -> Mapping[str, Callable[[], None]]:
        return {}


class User:
    """Ann. Her sandboxes' namespaces have names in the lab too, by which root looks into them."""

    host, sends_from = "nest", "berth-free"
    carries = frozenset({"TCP", "UDP", "ICMP", "TLS", "HTTP"})

    def __init__(self, lab: UserLab) -> None:
        self._lab = lab
        user_containers.prepare(lab)

    def begin(self) -> None:
        self._lab.as_user("mkdir", "-p", f"{HOME}/.config/berth")
        self._lab.write(f"{HOME}/.config/berth/berth.toml", CONFIGURATION)
        # The first that needs a daemon.
        self._lab.berth("network", "create", "first")
        self._lab.berth("network", "rm", "first")
        self._lab.run("ip", "netns", "attach", "nest", str(self._lab.holder()))

    def wait(self) -> None:
        self._lab.wait_for(lambda: self._lab.berth("network", "ls", check=False).returncode == 0)

    def end_daemon(self, number: signal.Signals) -> None:
        daemon = self.daemon()
        os.kill(daemon, number)
        self._lab.wait_for(lambda: daemon not in self._daemons())

    def daemon(self) -> int:
        self.wait()
        (pid,) = self._daemons()
        return pid

    def _daemons(self) -> list[int]:
        return self._lab.processes("resolver daemon")

    def command(self, *words: str) -> tuple[str, ...]:
        return (*self._lab.prefix_of(), *_BERTH, *words)

    def namespace(self, sandbox: str) -> str:
        name = f"berth-{sandbox}"
        own = f"/proc/{self._lab.holder()}/root{RUN_DIR}/netns/{name}"
        self._lab.shell(f"cd /run/netns; test -e {name} || {{ : > {name}; mount --bind {shlex.quote(own)} {name}; }}")
        return name

    def start(self, runtime: str, name: str) -> Started:
        module = {"podman": user_containers.start_podman, "bwrap": user_containers.start_bwrap}[runtime]
        pid, command = module(self._lab, name)
        self._lab.run("ip", "netns", "attach", f"berth-{name}", str(pid))
        return Started(("--pid", str(pid)), command)

    def end(self, runtime: str, name: str) -> None:
        user_containers.end(self._lab, runtime, name)
        self._lab.shell(f"ip netns del berth-{name}")

    def moments(self) -> Mapping[str, Callable[[], None]]:
        return {
            "the way out is killed": lambda: self._kill("netcore.way_out.program"),
            "the edge is killed": lambda: self._kill("netcore/edge/program.py"),
        }

    def _kill(self, program: str) -> None:
        """Kill what serves the nest, and wait until there is another one."""
        killed = self._lab.serving(program)
        self._lab.run("kill", "-9", str(killed))
        self._lab.wait_for(lambda: self._lab.serving(program) not in (None, killed))
