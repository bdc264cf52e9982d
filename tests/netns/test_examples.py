"""The examples of the book, run as they stand: every code block of README.md and docs/ under `<!-- tested -->`.

They are pasted into a shell in a clone of the repository, with `berth` on the path. "without a daemon": the example starts
one itself, or a command of it does; "docker": it needs Docker.
"""

import json
import shutil
import sys

import pytest

from tests.netns.conftest import upstream
from tests.support import book
from tests.support.lab import OUTSIDE_ADDRESS, Lab

EXAMPLES = book.examples()
WITH_DAEMON = [example for example in EXAMPLES if example.marker == "tested"]
WITHOUT = [example for example in EXAMPLES if example.marker in ("tested, without a daemon", "tested: process", "tested: compose")]
RECIPES = [example for example in EXAMPLES if example.page.startswith("docs/recipes/")]
"""Run by test_recipes.py and test_systemd.py, with the programs that they are for."""
WITH_DOCKER = [example for example in EXAMPLES if example.marker in ("tested: container", "tested: docker")]

UNSUPPORTED = "is not available: this kernel can't make"
"""What berth says of a driver whose kernel module is missing."""

LINKS = """
ip link add eth0 type veth peer name lan0 netns outside
ip link set eth0 up
ip -n outside link set lan0 up
ip -n outside addr add 192.168.1.20/24 dev lan0
"""

DOCKER = """
mount -t sysfs sysfs /sys
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /run/docker /run/containerd
containerd > /run/containerd.log 2>&1 &
until [ -S /run/containerd/containerd.sock ]; do sleep 0.1; done
exec dockerd --storage-driver=vfs > /run/dockerd.log 2>&1
"""

IMAGE = """
mkdir -p /run/image/bin /run/image/etc
cp "$(command -v busybox)" /run/image/bin/busybox
for program in cat nslookup sh sleep wget; do ln -s busybox /run/image/bin/$program; done
tar -C /run/image -c . | docker import - busybox
"""


def prepared(lab: Lab) -> Lab:
    """Make *lab* look like a reader's machine: `berth` on the path, a link eth0 with a machine behind it, a name server."""
    lab.run("mkdir", "-p", "/run/bin")
    lab.write("/run/bin/berth", f'#!/bin/sh\nexec {sys.executable} -m resolver "$@"\n')
    lab.run("chmod", "+x", "/run/bin/berth")
    lab.environment["PATH"] = f"/run/bin:{lab.environment['PATH']}"
    lab.shell(LINKS)
    lab.start("python3", "-m", "http.server", "80", where="outside")
    lab.wait_for(lambda: lab.run("curl", "-s", "-o", "/dev/null", "http://192.168.1.20/", where="outside", check=False).returncode == 0)
    return lab


def paste(lab: Lab, commands: str) -> str:
    """Run *commands* as a reader would, in the clone; every one of them must succeed. Return the output."""
    # Its output goes to a file: a daemon in the background must not keep a pipe open.
    script = f"cd {book.ROOT}\nset -e\n{commands}"
    try:
        lab.run("bash", "-c", f"exec > /run/said 2>&1\n{script}", timeout=90)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{lab.out('cat', '/run/said')}") from error
    return lab.out("cat", "/run/said")


def test_every_marker_is_known():
    assert len(WITH_DAEMON) + len(WITHOUT) + len(WITH_DOCKER) + len(RECIPES) == len(EXAMPLES) >= 20
    run = "".join((book.ROOT / "tests" / "netns" / f"test_{name}.py").read_text() for name in ("recipes", "systemd"))
    assert not [example for example in RECIPES if f'"{example.marker.removeprefix("tested: ")}"' not in run.replace("'", '"')]


@pytest.fixture(scope="module")
def served(lab):
    """A lab with a daemon, for all examples that need one."""
    return prepared(lab)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("example", WITH_DAEMON, ids=str)
def test_example(served, example):
    try:
        paste(served, example.commands)
    except AssertionError as error:
        if UNSUPPORTED in str(error):
            pytest.skip(f"the kernel can't run this example: {str(error).splitlines()[-1]}")
        raise
    served.shell("berth ps -q | xargs -r berth rm; berth network ls -q | xargs -r berth network rm")
    assert json.loads(served.berth("network", "ls", "--format", "json").stdout) == []
    assert "table inet mine" not in served.shell("nft list tables")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "example", [pytest.param(one, marks=pytest.mark.slow if "operations.md" in str(one) else ()) for one in WITHOUT], ids=str
)
def test_example_without_a_daemon(example):
    with Lab() as lab:
        upstream(lab, OUTSIDE_ADDRESS)
        prepared(lab)
        before = lab.shell("ip -o link | grep -c br-; nft list tables", check=False)
        everything = lab.kernel_state()
        paste(lab, example.commands)
        if "rm -rf /var/lib/berth" in example.commands:
            # Uninstalled, with the networks that berth made by itself.
            assert lab.kernel_state() == everything
            assert lab.shell("ls -d /var/lib/berth /run/berth /etc/berth", check=False) == ""
        if "berth daemon" not in example.commands:
            # The daemon that a command started ends by itself and leaves nothing.
            lab.wait_for(lambda: lab.run("test", "-S", "/run/berth/berth.sock", check=False).returncode)
            # The mark of the daemon goes with its process, after its socket.
            lab.wait_for(lambda: lab.shell("ip -o link | grep -c br-; nft list tables", check=False) == before)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_examples_with_docker():
    for program in ("docker", "dockerd", "containerd", "iptables"):
        if shutil.which(program, path="/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") is None:
            pytest.skip(f"{program} is not installed")
    with Lab() as lab:
        upstream(lab, OUTSIDE_ADDRESS)
        prepared(lab)
        if (
            lab.shell("mount -t sysfs sysfs /sys && mount -t cgroup2 none /sys/fs/cgroup && umount /sys/fs/cgroup && echo yes", check=False)
            != "yes"
        ):
            pytest.skip("cgroups can't be mounted here, so dockerd can't run")
        lab.start("sh", "-c", DOCKER)
        lab.wait_for(lambda: lab.run("docker", "info", check=False).returncode == 0, timeout=60)
        lab.shell(IMAGE)
        for example in sorted(WITH_DOCKER, key=lambda example: example.marker, reverse=True):
            with_daemon = example.marker == "tested: docker"
            if with_daemon:
                lab.start_daemon()
            paste(lab, example.commands)
            lab.shell(
                "docker ps -aq | xargs -r docker rm -f; berth ps -q | xargs -r berth rm; berth network ls -q | xargs -r berth network rm"
            )
            if with_daemon:
                lab.stop_daemon()
