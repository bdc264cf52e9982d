"""The command line itself: how long a command takes that does nearly nothing, as a multiple of `python3 -c pass`.

Each round runs every command once, one after the other, so that what else the machine does falls on all of them. The ratio is of the
medians of wall time, and of processor time (user and system). With a daemon of its own, in namespaces of its own; run as root.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.report import chosen, compile_modules, machine, summary, table, write

ROUNDS = 40
BERTH = str(Path(sys.executable).with_name("berth"))
COMMANDS = {
    "python3 -c pass": [sys.executable, "-c", "pass"],
    "berth --help": [BERTH, "--help"],
    "berth ps": [BERTH, "ps"],
    "berth ps -q": [BERTH, "ps", "-q"],
    "berth network ls": [BERTH, "network", "ls"],
    "berth ps --format '{{.Names}}'": [BERTH, "ps", "--format", "{{.Names}}"],
    "berth inspect web": [BERTH, "inspect", "web"],
    "berth exec web true": [BERTH, "exec", "web", "true"],
    "berth run -- true": [BERTH, "run", "--", "true"],
}
BOUND = ("berth --help", "berth ps", "berth ps -q", "berth network ls")
"""Those that should take three times `python3 -c pass` at most."""


def once(command: list[str]) -> tuple[float, float]:
    """Return (wall time, processor time) of *command*, in milliseconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    wall = (time.perf_counter() - start) * 1000
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def measure() -> None:
    """Start a daemon, measure, print and write."""
    daemon = subprocess.Popen([BERTH, "daemon"], stderr=open("/run/bench.log", "w"), cwd="/")  # noqa: SIM115
    while subprocess.run([BERTH, "status"], capture_output=True, check=False).returncode:
        time.sleep(0.05)
    try:
        subprocess.run([BERTH, "run", "-d", "--name", "web", "-p", "8080:80", "--", "sleep", "1000"], check=True, stdout=subprocess.DEVNULL)
        samples: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
        for _ in range(ROUNDS):
            for name, command in COMMANDS.items():
                samples[name].append(once(command))
    finally:
        subprocess.run([BERTH, "rm", "-f", "web"], capture_output=True, check=False)
        daemon.terminate()
        daemon.wait()
    wall = {name: summary([one for one, _ in values]) for name, values in samples.items()}
    processor = {name: summary([one for _, one in values]) for name, values in samples.items()}
    floor = next(iter(COMMANDS))
    rows = [
        [
            name, f"{wall[name]['median']:.1f}", f"{wall[name]['median'] / wall[floor]['median']:.2f}",
            f"{processor[name]['median']:.1f}", f"{processor[name]['median'] / processor[floor]['median']:.2f}", "<= 3" if name in BOUND else "",
        ]
        for name in COMMANDS
    ]  # fmt: skip
    print(table(["command", "ms", "x pass", "CPU ms", "x pass, CPU", "bound"], rows))
    print(write("commands", {"machine": machine(), "wall": wall, "processor": processor}))


def main() -> None:
    from tests.support.lab import Lab

    chosen((), sys.argv[1:])
    compile_modules()
    with Lab() as lab:
        print(lab.out(sys.executable, "-m", "benchmarks.commands", "--inside", timeout=600))


if __name__ == "__main__":
    measure() if "--inside" in sys.argv else main()
