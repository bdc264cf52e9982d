"""Labs in which programs of others run: an image of busybox, Podman's and Docker's own storage, cgroups that crun takes."""

from __future__ import annotations

import contextlib
import os
import shutil

import pytest

from tests.support import book
from tests.support.lab import Lab

IMAGE = """
mkdir -p /run/image/bin /run/image/sbin /run/image/usr /run/image/etc /run/image/proc /run/image/sys /run/image/dev /run/image/tmp /run/image/root
cp "$(command -v busybox)" /run/image/bin/busybox
for program in cat httpd ip nslookup sh sleep wget; do ln -s busybox /run/image/bin/$program; done
touch /run/image/etc/os-release /run/image/etc/resolv.conf /run/image/etc/hosts
"""
CGROUPS = "mount -t sysfs sysfs /sys && mount -t cgroup2 none /sys/fs/cgroup"
CGROUP = f"/sys/fs/cgroup/berth-tests-{os.getpid()}"
"""Of this process: other test files may run at once."""
IN_CGROUP = f'mkdir -p {CGROUP}/inner; echo $$ > {CGROUP}/inner/cgroup.procs; exec "$@"'
"""Runs a command in a cgroup that `remove_cgroup` takes away with what the command has made there."""
PODMAN = """
cat > /run/containers.conf <<'END'
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=900:900", "nproc=900:900"]
[engine]
runtime = "crun"
END
"""
"""Root may not raise limits here, and nothing is to be left in the cgroups of the host."""
DOCKER = """
mkdir -p /run/docker /run/containerd
containerd > /run/containerd.log 2>&1 &
until [ -S /run/containerd/containerd.sock ]; do sleep 0.1; done
exec dockerd --storage-driver=vfs > /run/dockerd.log 2>&1
"""
PATHS = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"


def need(*programs: str) -> None:
    """Skip the test, with the reason, unless all *programs* are installed."""
    missing = [program for program in programs if shutil.which(program, path=PATHS) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


def make_image(lab: Lab) -> None:
    """Make the root directory /run/image, which has busybox and nothing else."""
    lab.shell(IMAGE)


def mount_cgroups(lab: Lab) -> None:
    """Let runtimes find cgroups of version 2 only; skip the test, with the reason, where they can't be mounted."""
    done = lab.run("sh", "-c", CGROUPS, check=False)
    if done.returncode:
        pytest.skip(f"cgroups can't be mounted here: {done.stderr.strip()}")


def remove_cgroup(lab: Lab) -> None:
    """Leave nothing of IN_CGROUP in the cgroups of the host, once what ran there has ended."""
    lab.wait_for(lambda: not lab.shell(f"find {CGROUP} -name cgroup.procs | xargs -r cat", check=False))
    lab.shell(f"find {CGROUP} -depth -type d -exec rmdir {{}} +", check=False)


def start_podman(lab: Lab) -> None:
    """Let Podman run in the lab, with the image `busybox`. Before the daemon: it runs podman too."""
    lab.shell(PODMAN)
    lab.environment["CONTAINERS_CONF"] = "/run/containers.conf"
    lab.shell("tar -C /run/image -c . | podman import --change ENV=PATH=/bin - busybox", timeout=120)


def start_docker(lab: Lab) -> None:
    """Let Docker run in the lab, with the image `busybox`."""
    lab.start("sh", "-c", DOCKER)
    with contextlib.suppress(AssertionError):
        lab.wait_for(lambda: lab.run("docker", "info", check=False).returncode == 0, timeout=60)
    if lab.run("docker", "info", check=False).returncode:
        pytest.skip(f"dockerd does not run here: {lab.out('tail', '-n', '3', '/run/dockerd.log', check=False)}")
    lab.shell("tar -C /run/image -c . | docker import - busybox", timeout=120)


def commands(marker: str) -> str:
    """Return the commands of the recipe under `<!-- tested: MARKER -->`."""
    return next(example.commands for example in book.examples() if example.marker == f"tested: {marker}")
