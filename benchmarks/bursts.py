"""Many short commands at once: from the request to the command's first instruction, and until everything of it is gone.

    python -m benchmarks.bursts [COUNT AT_ONCE] [PART...]     parts: floor run api program bubblewrap podman docker

Each row is COUNT commands, AT_ONCE at a time (1,000 and 50), in a lab of its own, as root or as an ordinary user. The command is a static
program that prints the time (`first.c`). A part that can't run here says why, and none may take longer than its limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.burst import NETWORK
from benchmarks.commands import BERTH
from benchmarks.report import chosen, compile_modules, machine, table, write
from tests.support.user_lab import HOME, UID, UserLab, why_no_user

ROOT = Path(__file__).resolve().parents[1]
SEARCHED = f"{os.environ['PATH']}:/usr/sbin:/sbin"
FIRST, IMAGE = "/mnt/first", "/mnt/image"
LIMIT = 0.8
"""Seconds for each command of a row: with less than that on average, the row is given up."""
COLUMNS = ("first median", "first p99", "gone median", "gone p99")

_FILES = f"""
set -e
install -m 755 "$1" {FIRST}
mkdir -p {IMAGE}/bin {IMAGE}/etc {IMAGE}/proc {IMAGE}/sys {IMAGE}/dev {IMAGE}/run {IMAGE}/tmp
install -m 755 "$1" {IMAGE}/bin/first
touch {IMAGE}/etc/hosts {IMAGE}/etc/resolv.conf
# Engines want one version of cgroups; the lab's own place for them, as the host may have both.
mount -t sysfs sysfs /sys
mount -t cgroup2 none /sys/fs/cgroup
"""
_PODMAN = f"""
set -e
rm -rf /etc/containers; mkdir /etc/containers
printf '[containers]\\ncgroups = "disabled"\\ndefault_ulimits = ["nofile=900:900", "nproc=900:900"]\\n[engine]\\nruntime = "crun"\\n' \
  > /etc/containers/containers.conf
cp -r {IMAGE} {HOME}/image; chown -R {UID}:{UID} {HOME}/image
"""
"""It gives a command the highest limits there are, which root may not raise in every machine: here it has to be told others."""
_DOCKER = """
mkdir -p /run/docker /run/containerd
containerd > /run/containerd.log 2>&1 &
for i in $(seq 100); do [ -S /run/containerd/containerd.sock ] && break; sleep 0.1; done
exec dockerd --storage-driver=vfs > /run/dockerd.log 2>&1
"""


@dataclass(frozen=True)
class Row:
    """*needs*: programs. *spare*: of berth's daemon; None for what is not berth. *way*: see `benchmarks.burst`. *words*: for the way `words`."""

    part: str
    name: str
    is_user: bool = False
    needs: tuple[str, ...] = ()
    spare: int | None = None
    way: str = "words"
    words: tuple[str, ...] = ()
    prepare: Callable[[UserLab], None] = lambda _: None


def rows(at_once: int) -> list[Row]:
    """Return all rows of the table."""
    run = (BERTH, "run", "--rm", "--network", NETWORK, "--", FIRST)
    rootless = (BERTH, "run", "--network", NETWORK, "--", FIRST)
    bubblewrap = Row("bubblewrap", "bubblewrap + slirp4netns", needs=("bwrap", "slirp4netns"), way="bubblewrap")
    podman = Row(
        "podman", "podman run", needs=("podman", "crun", "conmon"), words=("podman", "run", "--rm", "--rootfs", IMAGE, "/bin/first"),
        prepare=lambda lab: _told(lab, _PODMAN),
    )  # fmt: skip
    return [
        Row("floor", "the command itself", words=(FIRST,)),
        Row("run", "berth run, spare = 0", spare=0, words=run),
        Row("run", f"berth run, spare = {at_once}", spare=at_once, words=run),
        Row("run", "berth run, spare = 0", is_user=True, spare=0, words=rootless),
        Row("run", f"berth run, spare = {at_once}", is_user=True, spare=at_once, words=rootless),
        Row("api", "API and nsenter, spare = 0", spare=0, way="requests"),
        Row("api", f"API and nsenter, spare = {at_once}", spare=at_once, way="requests"),
        Row("program", "resolver.client, spare = 0", spare=0, way="program"),
        Row("program", f"resolver.client, spare = {at_once}", spare=at_once, way="program"),
        bubblewrap,
        replace(bubblewrap, is_user=True),
        podman,
        replace(podman, is_user=True, words=("podman", "run", "--rm", "--rootfs", f"{HOME}/image", "/bin/first")),
        Row(
            "docker", "docker run", needs=("docker", "dockerd", "containerd", "runc"), words=("docker", "run", "--rm", "bench", "/bin/first"),
            prepare=start_docker,
        ),
    ]  # fmt: skip


def _told(lab: UserLab, script: str, *arguments: str) -> None:
    lab.run("sh", "-c", script, "sh", *arguments, timeout=60)


def start_docker(lab: UserLab) -> None:
    """Start dockerd in the lab, with an image of the command alone."""
    lab.start("sh", "-c", _DOCKER)
    lab.wait_for(lambda: lab.run("docker", "info", check=False).returncode == 0, timeout=60)
    _told(lab, f"tar -C {IMAGE} -c . | docker import - bench")


def start_berth(lab: UserLab, spare: int, *, is_user: bool) -> None:
    """Have a daemon with *spare* namespaces; a user's is started by his first command."""
    if is_user:
        config = f"{HOME}/.config/berth/berth.toml"
        _told(lab, f"mkdir -p {HOME}/.config/berth; echo 'spare = {spare}' > {config}; chown -R {UID}:{UID} {HOME}/.config")
        return
    lab.write("/mnt/bursts.toml", f"spare = {spare}\n")
    lab.start_daemon("--config", "/mnt/bursts.toml")


@contextlib.contextmanager
def own_control_group() -> Iterator[None]:
    """Have this process, and what it starts, in a control group of its own, whose processor time can be told."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    root = next(Path(fields[4]) for fields in mounts if fields[fields.index("-") + 1] == "cgroup2")
    before = next(line[4:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::/"))
    own = root / f"berth-bursts-{os.getpid()}"
    own.mkdir()
    (own / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (root / before / "cgroup.procs").write_text(str(os.getpid()))
        for _ in range(100):
            # What was killed takes a moment to end.
            with contextlib.suppress(OSError):
                own.rmdir()
                break
            time.sleep(0.05)


def measured(row: Row, first: str, count: int, at_once: int) -> dict:
    """Return the figures of *row*, or why it has none."""
    missing = [program for program in row.needs if shutil.which(program, path=SEARCHED) is None]
    if missing:
        return {"failed": f"{', '.join(missing)} is not installed"}
    limit = max(60.0, LIMIT * count)
    asked = {"way": row.way, "words": row.words, "first": FIRST, "spare": row.spare, "count": count, "at_once": at_once, "limit": limit}
    try:
        with own_control_group(), UserLab() as lab:
            _told(lab, _FILES, first)
            try:
                row.prepare(lab)
                if row.spare is not None:
                    start_berth(lab, row.spare, is_user=row.is_user)
                inside = [sys.executable, "-m", "benchmarks.burst"]
                words = [*lab.prefix_of(), *inside] if row.is_user else inside
                # Whatever else happens, the whole does not wait for it.
                return json.loads(lab.out(*words, stdin=json.dumps(asked), timeout=limit + 180).splitlines()[-1])
            finally:
                lab.shell("rmdir /sys/fs/cgroup/docker", check=False)
    except (AssertionError, subprocess.TimeoutExpired, json.JSONDecodeError, IndexError) as error:
        return {"failed": f"{type(error).__name__}: {str(error).strip()[-300:]}"}


def arguments_of(words: list[str]) -> tuple[int, int, list[str]]:
    """Return COUNT, AT_ONCE and the parts."""
    numbers = [int(word) for word in words if word.isdigit()]
    count, at_once = numbers if len(numbers) == 2 else (1000, 50)
    parts = list(dict.fromkeys(row.part for row in rows(at_once)))
    return count, at_once, chosen(parts, [word for word in words if not word.isdigit()])


def main() -> None:
    count, at_once, parts = arguments_of(sys.argv[1:])
    why_not = why_no_user()
    if why_not or shutil.which("cc") is None:
        sys.exit(why_not or "no C compiler (apt-get install gcc libc6-dev)")
    compile_modules()
    found = []
    with tempfile.TemporaryDirectory() as directory:
        first = f"{directory}/first"
        subprocess.run(["cc", "-O2", "-static", "-o", first, str(ROOT / "benchmarks" / "first.c")], check=True)
        for row in rows(at_once):
            if row.part in parts:
                answer = measured(row, first, count, at_once)
                found.append({"name": row.name, "as": "a user" if row.is_user else "root", **answer})
                print(f"{found[-1]['name']}, as {found[-1]['as']}: {answer.get('failed') or json.dumps(answer['figures'])}", flush=True)
    lines = [
        [one["name"], one["as"], *(f"{one['figures'][column]:.0f}" for column in COLUMNS), f"{one['figures']['all']:.1f}", f"{one['figures']['processor']:.0f}", str(one["figures"]["failed"] or "")]
        for one in found
        if "figures" in one
    ]  # fmt: skip
    print(f"{count} commands, {at_once} at once")
    print(table(["", "as", "first instruction, ms", "p99", "gone, ms", "p99", "all gone, s", "CPU, ms each", "failed"], lines))
    print(write("bursts", {"machine": machine(), "count": count, "at once": at_once, "rows": found}))


if __name__ == "__main__":
    main()
