"""Many short commands at once: from the request to the command's first instruction, and to everything of it gone.

Each command is a program of the shell that writes the time; a pool of threads starts the next as soon as one has ended. berth runs
without spares and with as many as run at once, beside bubblewrap with slirp4netns and `podman run` where they are installed, in one run
and one lab. Run as root; `COUNT AT_ONCE` as arguments, 1,000 and 50 without. Podman makes a tenth of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.report import machine, table, write

ROOT = Path(__file__).resolve().parents[1]
BERTH = str(Path(sys.executable).with_name("berth"))
CONFIG = "/run/bursts.toml"


def once(command: list[str]) -> tuple[float, float]:
    """Return the milliseconds until the first instruction of *command*'s program, and until it has ended."""
    begin = time.time_ns()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    end = time.time_ns()
    return (int(done.stdout) - begin) / 1e6, (end - begin) / 1e6


def burst(command: Callable[[int], list[str]], count: int, at_once: int) -> dict[str, float]:
    """Return figures of *count* commands, *at_once* at a time, in milliseconds; *all*: the seconds until all were gone."""
    begin = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        samples = list(pool.map(lambda number: once(command(number)), range(count)))
    took = time.perf_counter() - begin
    first, gone = (sorted(sample[at] for sample in samples) for at in (0, 1))
    at = lambda values, share: values[min(count - 1, int(count * share))]  # noqa: E731
    return {
        "count": count, "first": at(first, 0.5), "first p99": at(first, 0.99), "gone": at(gone, 0.5), "gone p99": at(gone, 0.99), "all": took,
    }  # fmt: skip


def with_berth(spare: int, count: int, at_once: int) -> dict[str, float]:
    """Return the figures of `berth run` with *spare* namespaces kept ready."""
    # /etc is the host's own here.
    Path(CONFIG).write_text(f'spare = {spare}\netc_netns_dir = ""\n')
    with open("/run/bursts.log", "w") as log:
        daemon = subprocess.Popen([BERTH, "daemon", "--config", CONFIG], stderr=log, cwd="/")
    try:
        while subprocess.run([BERTH, "status"], capture_output=True, check=False).returncode:
            time.sleep(0.05)
        subprocess.run([BERTH, "network", "create", "bursts"], check=True, capture_output=True)
        # All spares are there.
        time.sleep(1 + 0.02 * spare)
        run = [BERTH, "run", "--rm", "--network", "bursts", "--", "sh", "-c", "date +%s%N"]
        figures = burst(lambda _: run, count, at_once)
        subprocess.run([BERTH, "network", "rm", "bursts"], check=True, capture_output=True)
        return figures
    finally:
        daemon.terminate()
        daemon.wait()


def peers(count: int, at_once: int) -> dict[str, dict[str, float]]:
    """Return the figures of those peers that run here; what does not is said."""
    results = {}
    if shutil.which("bwrap") and shutil.which("slirp4netns"):
        # The network is there before the command begins, as with berth.
        script = (
            "mkfifo $0.i $0.r; bwrap --dev-bind / / --unshare-net --info-fd 3 --block-fd 4 sh -c 'date +%s%N' 3>$0.i 4<>$0.r & "
            "IFS= read -r -d '}' info < $0.i; pid=$(echo \"$info\" | sed -n 's/.*child-pid[^0-9]*\\([0-9]*\\).*/\\1/p'); slirp4netns --configure --ready-fd 5 $pid tap0 5>$0.r >/dev/null 2>&1 & wait %1; kill %2; rm $0.i $0.r"
        )
        attempt(results, "bubblewrap + slirp4netns", lambda number: ["bash", "-c", script, f"/run/slirp-{number}"], count, at_once)
    else:
        print("bubblewrap + slirp4netns: not installed")
    if shutil.which("podman") and shutil.which("busybox"):
        subprocess.run(
            "mkdir -p /run/image/bin && cp $(which busybox) /run/image/bin/ && ln -sf busybox /run/image/bin/sh && "
            "tar -C /run/image -c . | podman import - bench",
            shell=True, check=False, capture_output=True,
        )  # fmt: skip
        run = ["podman", "run", "--rm", "bench", "/bin/busybox", "date", "+%s%N"]
        attempt(results, "podman run", lambda _: run, count // 10, at_once)
    else:
        print("podman run: podman or busybox is not installed")
    return results


def attempt(results: dict[str, dict[str, float]], name: str, command: Callable[[int], list[str]], count: int, at_once: int) -> None:
    """Add the figures of a peer to *results*, or say why it does not run here."""
    try:
        once(command(-1))
        results[name] = burst(command, count, at_once)
    except (subprocess.CalledProcessError, ValueError) as error:
        reason = getattr(error, "stderr", "") or str(error)
        print(f"{name}: does not run here: {reason.strip()[-300:]}")


def measure(count: int, at_once: int) -> None:
    """Measure, print and write."""
    results = {
        "berth run, spare = 0": with_berth(0, count, at_once),
        f"berth run, spare = {at_once}": with_berth(at_once, count, at_once),
        **peers(count, at_once),
    }
    columns = ("first", "first p99", "gone", "gone p99")
    rows = [
        [name, str(figures["count"]), *(f"{figures[column]:.0f}" for column in columns), f"{figures['all']:.1f}"]
        for name, figures in results.items()
    ]
    print(table(["", "commands", "first instruction, ms", "p99", "gone, ms", "p99", "all gone, s"], rows))
    print(write("bursts", {"machine": machine(), "at once": at_once, "figures": results}))


def main() -> None:
    numbers = [int(argument) for argument in sys.argv[1:]] or [1000, 50]
    if os.environ.get("BERTH_BENCH_INSIDE"):
        measure(*numbers)
        return
    script = (
        "mount --make-rprivate / && mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib && mkdir /run/netns && ip link set lo up && "
        f'exec {sys.executable} -m benchmarks.bursts "$@"'
    )
    environment = {**os.environ, "BERTH_BENCH_INSIDE": "1"}
    subprocess.run(["unshare", "--net", "--mount", "sh", "-c", script, "sh", *map(str, numbers)], check=True, env=environment, cwd=ROOT)


if __name__ == "__main__":
    main()
