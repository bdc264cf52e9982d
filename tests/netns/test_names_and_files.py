"""What a sandbox's files and names say of its host, its links and other sandboxes."""

import sys

import pytest

from tests.support.lab import Lab


@pytest.fixture(scope="module")
def lab(lab):
    # In a namespace of its own, which the lab is, /sys shows the links of whoever mounted it: here the real host's.
    lab.shell("mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /sys/fs/cgroup && mkdir '/sys/fs/cgroup/a b' && touch /sys/fs/cgroup/kept")
    lab.shell("mount -t tmpfs tmpfs '/sys/fs/cgroup/a b' && touch '/sys/fs/cgroup/a b/kept'")
    lab.berth("network", "create", "--ipv6", "net")
    lab.berth("network", "create", "--internal", "--ipv6", "inside")
    return lab


def links_of(text: str) -> list[str]:
    return sorted(text.split())


LINKS = "ls /sys/class/net; test -e /sys/fs/cgroup/kept && test -e '/sys/fs/cgroup/a b/kept' && echo kept"


def test_sys_shows_the_links_of_the_sandbox(lab: Lab):
    assert "up0" in lab.shell("ls /sys/class/net")
    assert links_of(lab.berth("run", "--network", "net", "--", "sh", "-c", LINKS).stdout) == ["eth0", "kept", "lo"]
    assert links_of(lab.berth("run", "--network", "none", "--", "sh", "-c", LINKS).stdout) == ["kept", "lo"]
    lab.berth("run", "-d", "--name", "web", "--network", "net", "--", "sleep", "600")
    assert links_of(lab.in_sandbox("web", "sh", "-c", LINKS)) == ["eth0", "kept", "lo"]
    assert links_of(lab.berth("run", "--network", "container:web", "--", "sh", "-c", LINKS).stdout) == ["eth0", "kept", "lo"]
    assert "up0" in lab.berth("run", "--network", "host", "--", "ls", "/sys/class/net").stdout
    # A link that comes later is there too.
    lab.berth("network", "connect", "inside", "web")
    assert links_of(lab.in_sandbox("web", "ls", "/sys/class/net")) == ["eth0", "eth1", "lo"]
    lab.berth("rm", "web")


def test_sys_of_an_adopted_namespace_and_of_a_service(lab: Lab):
    lab.run("ip", "netns", "add", "theirs")
    lab.berth("attach", "--name", "theirs", "--network", "net", "--netns", "/run/netns/theirs")
    assert links_of(lab.in_sandbox("theirs", "ls", "/sys/class/net")) == ["eth0", "lo"]
    lab.berth("detach", "theirs")
    lab.write("/run/compose.yaml", "services: {look: {command: ls /sys/class/net}}")
    said = lab.berth("up", "-f", "/run/compose.yaml").stdout
    assert {line.split()[-1] for line in said.splitlines() if line.startswith(("look", "run-look"))} >= {"eth0", "lo"}
    assert "up0" not in said


def test_sys_that_is_read_only_stays_so(lab: Lab):
    lab.run("mount", "-o", "remount,ro,bind", "/sys")
    done = lab.berth("run", "--network", "net", "--", "sh", "-c", "ls /sys/class/net; touch /sys/x", check=False)
    lab.run("mount", "-o", "remount,rw,bind", "/sys")
    assert links_of(done.stdout) == ["eth0", "lo"]
    assert "Read-only file system" in done.stderr


def test_sys_that_can_not_be_mounted_is_said(lab: Lab):
    """A user namespace may mount sysfs for network namespaces of its own only."""
    script = "from resolver.cli import mounts; print(mounts.show_own_links()); import os; print(os.listdir('/sys/class/net'))"
    said = lab.out("unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", script)
    assert said.startswith("mounting sysfs: Operation not permitted\n")
    assert "up0" in said
