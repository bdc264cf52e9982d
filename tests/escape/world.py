"""A lab with all who make attempts, and all whom they must not reach."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

from tests.escape import findings
from tests.escape.attempts import FRESH, RUNTIMES, WHO, Attempt
from tests.escape.owners import Owner, Root
from tests.support import raw_tcp
from tests.support.lab import HOST_ADDRESS, HOST_ADDRESS6, OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6, Lab

RULES = "ok.test,*.wild.test,*.wild.test:9443"
PATIENCE = 300.0
_NOTES = "/run/escape-notes"
_OUTSIDE = f"""
set -e
sysctl -qw net.ipv4.conf.all.accept_local=1 net.ipv4.conf.up1.accept_local=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.up1.rp_filter=0
# Every address is here.
ip route add local default dev lo table main
ip -6 route add local default dev lo table main
nft -f - <<'END'
table inet everything {{
  chain redirected {{
    type nat hook prerouting priority -100;
    tcp dport != 53 redirect to :7
  }}
  chain counted {{
    type filter hook prerouting priority -310;
    {" ".join(f"ip daddr {FRESH}.{who}.0.0/16 counter name fresh{who};" for who in WHO.values())}
    {" ".join(f"ip6 daddr 2001:db8:{FRESH}:{who}::/64 counter name fresh{who};" for who in WHO.values())}
  }}
  {" ".join(f"counter fresh{who} {{ }};" for who in WHO.values())}
}}
END
"""
_REDIRECTED = "table inet everything { chain redirected { type nat hook prerouting priority -100; fib daddr type local tcp dport != 53 redirect to :7; }; }"
"""The canary of a neighbour answers on every port too. A router sends on what is for others."""
_BARE = """
set -e
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip link add br-bare type bridge
ip link set br-bare up
ip addr add 172.31.0.1/16 dev br-bare
ip -6 addr add fd31::1/64 dev br-bare nodad
for name in bare:2 barepeer:3; do
  number=${name#*:}; name=${name%:*}
  ip netns add $name
  ip link add v-$name type veth peer name eth0 netns $name
  ip link set v-$name master br-bare up
  ip -n $name link set lo up
  ip -n $name link set eth0 up
  ip -n $name addr add 172.31.0.$number/16 dev eth0
  ip -n $name -6 addr add fd31::$number/64 dev eth0 nodad
  ip -n $name route add default via 172.31.0.1
  ip -n $name -6 route add default via fd31::1
done
# It also sends as its peer. Learnt from that, the bridge would keep what is for the peer.
ip link set v-bare type bridge_slave learning off
nft -f - <<'END'
table inet bare {
  chain out {
    type nat hook postrouting priority 100;
    ip saddr 172.31.0.0/16 ip daddr != 172.31.0.0/16 masquerade
    ip6 saddr fd31::/64 ip6 daddr != fd31::/64 masquerade
  }
}
END
"""
_RUNNER = (sys.executable, "-m", "tests.escape.runner")


class Runner:
    """Makes attempts in one namespace."""

    def __init__(self, lab: Lab, name: str, command: Iterable[str], around: dict[str, str], *, asks: bool = True) -> None:
        self.name, self.who, self.around = name, WHO[name], around
        self.command = tuple(command)
        self.results: list[dict[str, Any]] = []
        self.batches = 0
        self.process = subprocess.Popen(
            [*lab._prefix("host"), *self.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=lab.environment,
            start_new_session=True, cwd="/",
        )  # fmt: skip
        lab.started.append(self.process)
        self._put({"who": self.who, "around": around, "asks": asks})
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the runner in {name} has ended"
        assert json.loads(line) == {"ready": self.who}
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _put(self, content: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(content) + "\n")
        self.process.stdin.flush()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line)
            if "batch" in said:
                self.batches += 1
            else:
                self.results.append(said)

    def begin(self, attempts: Iterable[Attempt]) -> None:
        """Have *attempts* made; `wait` waits for their end."""
        for attempt in attempts:
            self._put((attempt.number, attempt.kind, dict(attempt.arguments)))
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def wait(self, batches: int, patience: float = PATIENCE) -> None:
        end = time.monotonic() + patience
        while self.batches < batches:
            assert self.process.poll() is None, f"the runner in {self.name} ended"
            assert time.monotonic() < end, f"the runner in {self.name} has made {len(self.results)} attempts in {patience} s"
            time.sleep(0.02)


class World:
    """*owner*: whose berth it is; root's, if nobody is named."""

    def __init__(self, lab: Lab, runtimes: Iterable[str] = RUNTIMES, owner: Owner | None = None) -> None:
        self.lab = lab
        self.owner = owner or Root(lab)
        self._fences = count()
        lab.shell(_OUTSIDE, where="outside")
        lab.shell(f": > {_NOTES}")
        self.canary("outside", "up1", where="outside")
        self.owner.begin()
        lab.berth("network", "create", "--ipv6", "--subnet", "172.17.0.0/16", "--subnet", "fd17::/64", "-o", "name=br-a", "a")
        lab.berth("network", "create", "--ipv6", "--subnet", "172.18.0.0/16", "--subnet", "fd18::/64", "-o", "name=br-b", "b")
        lab.berth("network", "create", "--ipv6", "--subnet", "172.20.0.0/16", "--subnet", "fd20::/64", "-o", "name=br-c", "c")
        for name, network, *more in (("peer", "a"), ("router", "a", "--forward"), ("other", "b"), ("free", "a")):
            lab.berth("run", "-d", "--name", name, "--network", network, *more, "--", "sleep", "infinity")
        for name in ("peer", "router", "other"):
            where = self.owner.namespace(name)
            lab.run("nft", _REDIRECTED, where=where)
            self.canary(name, "eth0", where=where)
        for where in {"host", self.owner.host}:
            self.canary(where, "-", where=where)
        self.runners: dict[str, Runner] = {}
        for runtime in runtimes:
            self._start(runtime)
        self._start_free()
        self._start_bare()

    def canary(self, place: str, link: str, where: str = "host") -> None:
        process = self.lab.start(sys.executable, "-m", "tests.escape.canary", place, _NOTES, link, where=where)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == "listening\n", line + process.stdout.read()

    # --- who makes attempts ------------------------------------------------------------------------------------------

    def around(self, name: str) -> dict[str, str]:
        """Return what is around the sandbox *name*."""
        made = {"link": "eth0", "host4": HOST_ADDRESS, "host6": HOST_ADDRESS6, "outside4": OUTSIDE_ADDRESS, "outside6": OUTSIDE_ADDRESS6,
                "gateway4": "172.17.0.1", "gateway6": "fd17::1", "gateway_mac": self._mac("br-a", self.owner.host)}  # fmt: skip
        for key, sandbox in (("own", name), ("peer", "peer"), ("free", "free"), ("router", "router"), ("other", "other")):
            inspected = self.lab.inspect(sandbox)
            made |= {f"{key}{6 if ':' in address else 4}": address for address in inspected["addresses"]}
            made["mac" if key == "own" else f"{key}_mac"] = inspected["endpoints"][0]["mac"]
        return made

    def _mac(self, link: str, where: str = "host") -> str:
        return self.lab.out("ip", "-br", "link", "show", "dev", link, where=where).split()[2]

    def _add(self, name: str, command: Iterable[str], where: str, **more: Any) -> None:
        self.lab.run("nft", "-f", "-", stdin=raw_tcp.QUIET, where=where)
        around = more.pop("around", None) or self.around(name)
        self.runners[name] = Runner(self.lab, name, command, around, **more)

    def _start(self, runtime: str) -> None:
        if runtime == "run":
            self.lab.berth("run", "-d", "--name", "run", "--network", "a", "--egress", RULES, "--", "sleep", "infinity")
            command = self.owner.command("exec", "-i", "--privileged", "run")
        else:
            started = self.owner.start(runtime, runtime)
            self.lab.berth("attach", "--name", runtime, *started.found, "--network", "a", "--egress", RULES)
            command = started.command
        path = self.lab.environment["PYTHONPATH"]
        self._add(runtime, (*command, "env", f"PYTHONPATH={path}", *_RUNNER), self.owner.namespace(runtime))

    def _start_free(self) -> None:
        where = self.owner.namespace("free")
        self._add("free", ("ip", "netns", "exec", where, *_RUNNER), where)

    def _start_bare(self) -> None:
        """A namespace on a bridge of the host's own: what berth refuses to everybody gets through from here."""
        self.lab.shell(_BARE)
        self.lab.run("nft", _REDIRECTED, where="barepeer")
        self.canary("barepeer", "eth0", where="barepeer")
        around = {"link": "eth0", "host4": HOST_ADDRESS, "host6": HOST_ADDRESS6, "outside4": OUTSIDE_ADDRESS, "outside6": OUTSIDE_ADDRESS6,
                  "gateway4": "172.31.0.1", "gateway6": "fd31::1", "gateway_mac": self._mac("br-bare"),
                  "own4": "172.31.0.2", "own6": "fd31::2", "mac": self._mac("eth0", where="bare")}  # fmt: skip
        peer_mac = self._mac("eth0", where="barepeer")
        for name in ("peer", "free", "router", "other"):
            around |= {f"{name}4": "172.31.0.3", f"{name}6": "fd31::3", f"{name}_mac": peer_mac}
        self._add("bare", ("ip", "netns", "exec", "bare", *_RUNNER), "bare", around=around, asks=False)

    def close(self) -> None:
        """Take away what lives outside of the lab, and let everybody end."""
        for runner in self.runners.values():
            assert runner.process.stdin is not None
            runner.process.stdin.close()
        for runtime in set(self.runners) - {"run", "free", "bare"}:
            self.owner.end(runtime, runtime)

    # --- attempts ----------------------------------------------------------------------------------------------------

    def make(self, attempts: Iterable[Attempt], who: Iterable[str] | None = None, patience: float = PATIENCE) -> None:
        """Have *attempts* made by each of *who*, all at once, and wait until everything that was sent has arrived."""
        several = list(attempts)
        runners = [self.runners[name] for name in who or self.runners]
        batches = {runner.name: runner.batches + 1 for runner in runners}
        for runner in runners:
            runner.begin(several)
        for runner in runners:
            runner.wait(batches[runner.name], patience)
        self.fence()

    def fence(self) -> None:
        """Wait until each canary has noted what was sent before."""
        text = f"that-was-all-{next(self._fences):06}"
        script = (
            "import socket, sys\n"
            "for target in sys.argv[2:]:\n"
            "    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(sys.argv[1].encode(), (target, 9))\n"
        )
        addresses = [self.lab.inspect(name)["addresses"][0] for name in ("peer", "router", "other")]

        def has_arrived() -> bool:
            for where, *targets in (("host", "172.31.0.3"), (self.owner.host, *addresses), (self.owner.sends_from, OUTSIDE_ADDRESS)):
                self.lab.run(sys.executable, "-c", script, text, *targets, where=where)
            places = {note["place"] for note in self.notes() if note["what"] == "fence" and note["text"].startswith(text)}
            return {"outside", "barepeer", "peer", "router", "other"} <= places

        self.lab.wait_for(has_arrived)

    def notes(self) -> list[findings.Note]:
        text = Path(f"/proc/{self.lab.pid}/root{_NOTES}").read_text()
        return findings.read(text[: text.rfind("\n") + 1])

    def wait_for_notes(self, name: str, numbers: set[int]) -> None:
        """Wait until something of each of *numbers* has arrived from the sandbox *name*."""
        self.lab.wait_for(lambda: numbers <= {note["number"] for note in self.notes() if note["who"] == WHO[name]})

    def outcomes(self) -> dict[int, findings.Outcome]:
        notes = self.notes()
        assert not [note for note in notes if note.get("lost")], "a canary has lost packets"
        return findings.outcomes({runner.who: runner.results for runner in self.runners.values()}, notes)

    def packets_to_fresh(self) -> dict[str, int]:
        """Return how many packets the kernel outside has counted for addresses that nobody may reach, by who sent them."""
        listed = json.loads(self.lab.out("nft", "-j", "list", "counters", where="outside"))["nftables"]
        counted = {item["counter"]["name"]: item["counter"]["packets"] for item in listed if "counter" in item}
        return {name: counted[f"fresh{WHO[name]}"] for name in self.runners}

    def still_works(self, name: str) -> bool:
        """Return whether the sandbox still reaches what it may."""
        script = "dig +short +timeout=20 @127.0.0.11 ok.test >&2; curl -s -m 20 --resolve ok.test:80:192.0.2.1 http://ok.test/"
        return "canary" in self.lab.shell(script, where=self.owner.namespace(name), check=False, timeout=60)


def missing(runtime: str) -> str:
    """Return why *runtime* can't be tried here, "" if it can."""
    needs = {"podman": ("podman", "crun"), "runc": ("runc",)}.get(runtime, ())
    if needs and os.geteuid() != 0:
        return f"{runtime} needs root"
    lacks = [program for program in needs if shutil.which(program) is None]
    return f"{' and '.join(lacks)} not installed: apt-get install --no-install-recommends {' '.join(lacks)}" if lacks else ""
