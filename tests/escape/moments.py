"""Attempts at moments when something changes: what is sent before, while and after it, without a pause.

Each moment has numbers of its own, so that what arrives says when it was sent.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.escape import findings, old_flows
from tests.escape.attempts import WHO, Attempt, all_attempts
from tests.escape.owners import stopped
from tests.escape.world import RULES, World

FIRST, EACH = 10_000, 100
"""Numbers of the attempts of moments: the first, and so many for each."""
_RESTLESS = (sys.executable, "-m", "tests.escape.runner", "restless")
_CHOSEN: tuple[tuple[str, dict[str, object]], ...] = (
    ("TCP to an address", {"target": "fresh", "port": 80}), ("TCP to an address", {"target": "fresh", "port": 8080}),
    ("TCP to an address", {"target": "named", "port": 443}), ("TCP to an address", {"target": "private", "port": 443}),
    ("TCP to an address", {"target": "metadata", "port": 80}), ("TCP to an address", {"target": "peer", "port": 80}),
    ("UDP to an address", {"target": "fresh", "port": 53}), ("UDP to an address", {"target": "fresh", "port": 443}),
    ("UDP to an address", {"target": "named", "port": 443}), ("UDP to an address", {"target": "peer", "port": 9999}),
    ("data in the SYN", {"target": "fresh", "port": 443}), ("other protocols", {"target": "fresh", "protocol": 47}),
    ("ICMP with a payload", {"target": "fresh", "type": 8}), ("ICMP with a payload", {"target": "fresh", "type": 128}),
    ("fragments", {"how": "two", "of": "udp", "target": "fresh"}), ("spoofed sources", {"source": "free", "mac": "own", "of": "udp"}),
    ("spoofed sources", {"source": "free", "mac": "free", "of": "icmp"}), ("spoofed sources", {"source": "own", "mac": "own", "of": "tcp"}),
    ("frames to a neighbour that sends on", {"to": "router", "of": "udp", "target": "fresh"}), ("groups", {"of": "udp", "group": "224.0.0.251"}),
    ("names in every form", {"form": "other", "server": "own", "over": "udp"}), ("names in every form", {"form": "other", "server": "gateway4"}),
    ("other name servers", {"server": "outside", "way": "udp 53"}), ("other name servers", {"server": "fresh", "way": "tls 853"}),
    ("requests", {"request": "other host", "port": 80}), ("hellos", {"hello": "other name", "port": 443}),
    ("answers to nothing", {"as": "SYN-ACK", "target": "fresh"}),
)  # fmt: skip


def chosen(seed: str = "", share: int = 1) -> list[Attempt]:
    """Return what is tried at each moment: attempts that take no time, by every way; one of *share* by chance, and all questions."""
    found = [
        attempt
        for attempt in all_attempts()
        if any(attempt.kind == kind and wanted.items() <= attempt.arguments.items() for kind, wanted in _CHOSEN)
    ]
    drawn = set(random.Random(seed).sample(range(len(found)), len(found) // share))
    return [attempt for at, attempt in enumerate(found) if at in drawn or attempt.kind == "names in every form"]


class Restless:
    """Somebody who makes the same attempts again and again."""

    def __init__(self, world: World, command: Iterable[str], who: str, around: dict[str, str], attempts: Iterable[Attempt]) -> None:
        environment = world.lab.environment
        self.process = subprocess.Popen(
            [*world.lab._prefix("host"), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            start_new_session=True, cwd="/",
        )  # fmt: skip
        world.lab.started.append(self.process)
        self._world = world
        self._say({"who": WHO[who], "around": around})
        if several := [*attempts]:
            for at, attempt in enumerate(several):
                self._say((at, attempt.kind, dict(attempt.arguments)))
            self._say()
            self.number(several[0].number)
        assert self._hear() == {"ready": WHO[who]}

    def _say(self, *content: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(json.dumps(one) for one in content) + "\n")
        self.process.stdin.flush()

    def _hear(self) -> dict[str, object]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "it has ended"
        said: dict[str, object] = json.loads(line)
        assert "error" not in said, said["error"]
        return said

    def number(self, first: int) -> None:
        """Give what it tries other numbers from now on: one after the other, from *first*."""
        self._say({"first": first})

    def tell(self, number: int) -> None:
        """Have it send what has *number* on everything that it holds."""
        self._say(number)
        assert self._hear() == {"sent": number}

    @property
    def rounds(self) -> int:
        self._say()
        said = self._hear()["rounds"]
        assert isinstance(said, int)
        return said

    def go_on(self, rounds: int = 1) -> None:
        """Wait until everything was tried so many times again, begun after now."""
        until = self.rounds + rounds + 1
        self._world.lab.wait_for(lambda: self.rounds >= until, timeout=120)

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


@dataclass(slots=True)
class Moments:
    """What is tried at moments, in one world. *chosen*: what, each time. *names*: of the moments so far, by their first number."""

    world: World
    chosen: list[Attempt]
    attempts: dict[int, Attempt] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    running: dict[str, Restless] = field(default_factory=dict)

    def numbers(self, name: str, attempts: list[Attempt], *, is_allowed: bool = False) -> list[Attempt]:
        """Return *attempts* with numbers of their own, for the moment *name*. What *is_allowed* is no attempt, and may arrive."""
        first = FIRST + EACH * len(self.names)
        self.names[first] = name
        made = [Attempt(first + at, one.kind, one.arguments) for at, one in enumerate(attempts)]
        assert len(made) <= EACH
        if not is_allowed:
            self.attempts |= {one.number: Attempt(one.number, one.kind, {"moment": name, **one.arguments}) for one in made}
        return made

    @contextmanager
    def holding(self, who: str) -> Iterator[Callable[[list[Attempt]], None]]:
        """Have *who* hold flows, and give what has it send on each, with the numbers of attempts, and waits until that has arrived."""
        runner = self.world.runners[who]
        flows = Restless(self.world, (*runner.command, "flows"), who, runner.around, ())

        def say(attempts: list[Attempt]) -> None:
            flows.tell(attempts[0].number)
            self.world.fence()

        yield say
        flows.stop()

    @contextmanager
    def restless(self, who: Iterable[str]) -> Iterator[None]:
        """Have all of *who* try everything all the time, whatever `during` does meanwhile."""
        for one in who:
            runner = self.world.runners[one]
            self.running[one] = Restless(self.world, (*runner.command, "restless"), one, runner.around, self.chosen)
        yield
        for restless in self.running.values():
            restless.stop()
        self.running.clear()

    def during(self, name: str, do: Callable[[], None], times: int = 1) -> None:
        """Do something *times*, and have everybody try everything before, while and after it, with numbers of their own."""
        made = {one: self.numbers(f"{name}, {one}", self.chosen) for one in self.running}
        for one, restless in self.running.items():
            restless.number(made[one][0].number)
        for _ in range(times):
            self.go_on()
            do()
        self.go_on()
        # Those of others then would have arrived too.
        self.world.lab.wait_for(lambda: self._most_are_shown(made["free"]), timeout=120)

    def _most_are_shown(self, attempts: list[Attempt]) -> bool:
        found = self.world.outcomes()
        return sum(findings.is_shown(found, one.number) for one in attempts) > len(attempts) / 2

    def go_on(self) -> None:
        """Wait until everybody has tried everything once more."""
        for restless in self.running.values():
            restless.go_on()

    def all(self, runtimes: list[str], times: int) -> None:
        """Try everything at every moment, *times* each, in all of *runtimes* and in the sandbox without rules."""
        moments: dict[str, Callable[[], None]] = {
            "rules change": lambda: self.change_rules(runtimes), "the daemon is killed": self.kill, "the daemon restarts": self.restart,
            "the firewall is flushed": self.flush, "the firewall is flushed without a daemon": self.flush_without_daemon,
            "networks come and go": lambda: self.connect(runtimes), **self.world.owner.moments(),
        }  # fmt: skip
        with self.restless([*runtimes, "free"]):
            for name, do in moments.items():
                self.during(name, do, times)
        for at in range(times):
            for runtime in runtimes:
                self.create(runtime, at)
        old_flows.try_all(self, runtimes, times)

    # --- what changes ------------------------------------------------------------------------------------------------

    def change_rules(self, who: Iterable[str]) -> None:
        """Each set of rules allows something, and none of what is tried."""
        berth = self.world.lab.berth
        for name in who:
            for rules in (("198.51.100.0/24:22", "a.other.test"), ("*.other.test", "deny:*.evils.test"), ("ok.test",)):
                berth("egress", "set", name, *rules)
            berth("egress", "set", name, *RULES.split(","))
            berth("egress", "add", name, "b.other.test:22")
            berth("egress", "remove", name, "b.other.test:22")

    def kill(self) -> None:
        self.world.owner.end_daemon(signal.SIGKILL)
        self.go_on()
        self.world.owner.wait()

    def restart(self) -> None:
        self.world.owner.end_daemon(signal.SIGTERM)
        self.world.owner.wait()

    def flush(self) -> None:
        self._flush()
        self._wait_for_rules()

    def _flush(self) -> None:
        self.world.lab.run("nft", "flush", "ruleset", where=self.world.owner.host)

    def flush_without_daemon(self) -> None:
        """Nobody puts the rules back before everything was tried."""
        with stopped(self.world.owner):
            self._flush()
            self.go_on()
        self._wait_for_rules()

    def _wait_for_rules(self) -> None:
        lab, where = self.world.lab, self.world.owner.host
        lab.wait_for(lambda: lab.run("nft", "list", "chain", "inet", "berth", "egress", where=where, check=False).returncode == 0)

    def connect(self, who: Iterable[str]) -> None:
        """Another network comes and goes, and then their own one goes and comes."""
        berth = self.world.lab.berth
        for name in who:
            berth("network", "connect", "c", name)
            berth("network", "disconnect", "c", name)
            around = self.world.runners[name].around
            berth("network", "disconnect", "a", name)
            self.go_on()
            same = ("--ip", around["own4"], "--ip6", around["own6"], "--mac-address", around["mac"], "--ifname", around["link"])
            berth("network", "connect", *same, "a", name)

    def create(self, runtime: str, at: int) -> None:
        """A sandbox is made whose command tries everything before it has a link, and goes on until there is none any more."""
        world, lab = self.world, self.world.lab
        name = f"new-{runtime}-{at}"
        own = {"own4": f"172.17.9.{at + 1}", "own6": f"fd17::9:{at + 1}", "mac": f"02:42:ac:11:09:{at + 1:02x}"}
        around = {**world.around("free"), **own}
        options = (
            "--name",
            name,
            "--network",
            "a",
            "--ip",
            own["own4"],
            "--ip6",
            own["own6"],
            "--mac-address",
            own["mac"],
            "--egress",
            RULES,
        )
        attempts = self.numbers(f"creation and end, {runtime}", self.chosen)
        path = ("env", f"PYTHONPATH={lab.environment['PYTHONPATH']}")
        if runtime == "run":
            restless = Restless(
                world,
                (*world.owner.command("run", "--privileged", *options, "--"), *path, *_RESTLESS),
                runtime,
                around,
                attempts,
            )
            restless.go_on()
            restless.stop()
            lab.berth("rm", "-f", name, check=False)
            return
        started = world.owner.start(runtime, name)
        restless = Restless(world, (*started.command, *path, *_RESTLESS), runtime, around, attempts)
        restless.go_on()
        lab.berth("attach", *started.found, *options)
        restless.go_on()
        lab.berth("detach", name)
        restless.go_on()
        restless.stop()
        world.owner.end(runtime, name)
