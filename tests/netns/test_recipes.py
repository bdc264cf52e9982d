"""The recipes of docs/recipes with the real programs: each is pasted as it stands, and then everything is restarted and killed."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.netns.conftest import upstream
from tests.support import recipes
from tests.support.lab import OUTSIDE_ADDRESS, Lab

BUSYBOX = "busybox httpd -f -p 80"
PAGE = "http://10.9.0.2:8080/"


@pytest.fixture(scope="module")
def lab():
    """A lab with a daemon, an image, and `berth` on the path."""
    with Lab() as made:
        upstream(made, OUTSIDE_ADDRESS)
        made.run("mkdir", "-p", "/run/bin")
        made.write("/run/bin/berth", f'#!/bin/sh\nexec {sys.executable} -m resolver "$@"\n')
        made.run("chmod", "+x", "/run/bin/berth")
        made.environment["PATH"] = f"/run/bin:{made.environment['PATH']}"
        recipes.make_image(made)
        made.start_daemon()
        yield made


@pytest.fixture(scope="module")
def engines(lab):
    """The lab, where container engines find cgroups that they take."""
    recipes.mount_cgroups(lab)
    return lab


@pytest.fixture(scope="module")
def podman(engines):
    recipes.need("podman", "crun", "conmon")
    recipes.start_podman(engines)
    # It runs podman too, and must find its settings.
    engines.stop_daemon()
    engines.start_daemon()
    yield engines
    engines.shell("podman rm -fa -t 0", check=False)


@pytest.fixture(scope="module")
def docker(engines):
    recipes.need("docker", "dockerd", "containerd", "runc", "iptables")
    recipes.start_docker(engines)
    yield engines
    engines.shell("docker ps -aq | xargs -r docker rm -f", check=False)


@dataclass
class Container:
    """How a container called `web` is handled. *inside*: prefix of a command in it; *follows*: its sandbox follows it."""

    lab: Lab
    inside: tuple[str, ...]
    stop: Callable[[], object]
    start: Callable[[], object]
    kill: Callable[[], object]
    remove: Callable[[], object]
    follows: bool = False

    def asks(self, *command: str) -> str:
        return self.lab.out(*self.inside, *command, check=False)

    def works(self) -> None:
        """Wait until names resolve both ways and the published port answers."""
        lab, web, peer = self.lab, self.lab.inspect("web"), self.lab.inspect("peer")
        lab.wait_for(lambda: lab.run("curl", "-s", "-o", "/dev/null", PAGE, check=False).returncode == 0)
        lab.wait_for(lambda: peer["addresses"][0] in self.asks("nslookup", "peer.front"))
        lab.wait_for(lambda: web["addresses"][0] in lab.in_sandbox("peer", "dig", "+short", "web"))

    def lives(self) -> None:
        """Restart it, restart berth, kill each side, and see that all works as before; then nothing is left."""
        lab = self.lab
        self.works()
        before = lab.inspect("web")
        self.stop()
        self.start()
        self.works()
        lab.stop_daemon()
        lab.start_daemon()
        self.works()
        self.kill()
        self.start()
        self.works()
        lab.stop_daemon(signal.SIGKILL)
        self.stop()
        self.start()
        lab.start_daemon()
        self.works()
        after = lab.inspect("web")
        for key in ("id", "addresses", "names", "files", "follows"):
            assert after[key] == before[key], key
        assert [one["mac"] for one in after["endpoints"]] == [one["mac"] for one in before["endpoints"]]
        self.stop()
        self.remove()
        lab.berth("detach" if self.follows else "rm", "web")


@pytest.fixture
def peer(lab):
    """A sandbox `peer` on the network `front` of the recipes, once they have made it. Nothing is left afterwards."""
    before = lab.kernel_state()

    def start():
        lab.berth("run", "-d", "--name", "peer", "--network", "front", "--", "sleep", "900")

    yield start
    lab.shell("berth ps -aq | xargs -r berth rm; berth network ls -q --filter type=custom | xargs -r berth network rm")
    assert lab.kernel_state() == before
    assert (
        lab.shell("ls -A /run/berth/by-name /run/berth/sandboxes; ls -d /etc/netns", check=False)
        == "/run/berth/by-name:\n\n/run/berth/sandboxes:"
    )
    assert lab.berth("doctor").stdout == "0 problems\n"


def paste(lab, marker, where="/"):
    """Run the commands of a recipe, all but a last one that stays in the foreground, which is returned."""
    done = lab.run("sh", "-c", f"cd {where}; set -e; exec 2>&1; {recipes.commands(marker)}", timeout=120, check=False)
    assert done.returncode == 0, done.stdout


def paste_all_but_last(lab, marker):
    """Run the commands of a recipe but the last one, which stays in the foreground; return that one."""
    *first, last = recipes.commands(marker).replace("\\\n", " ").strip().splitlines()
    lab.shell("\n".join(["set -e", *first]))
    return last


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("marker", ["podman ns", "podman follow"])
def test_podman(podman, peer, marker):
    lab = podman
    paste(lab, marker)
    peer()
    Container(
        lab, ("podman", "exec", "web"),
        stop=lambda: lab.run("podman", "stop", "-t", "0", "web"),
        start=lambda: lab.run("podman", "start", "web"),
        kill=lambda: lab.shell("kill -9 $(podman inspect -f '{{.State.Pid}}' web); podman wait web"),
        remove=lambda: lab.run("podman", "rm", "web"),
        follows=marker == "podman follow",
    ).lives()  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_podman_that_starts_before_it_is_followed(podman, peer):
    lab = podman
    first, second, third = recipes.commands("podman follow").replace("\\\n", " ").strip().splitlines()
    third = third.replace("-v /run/berth/by-name/web/resolv.conf:/etc/resolv.conf:ro -v /run/berth/by-name/web/hosts:/etc/hosts:ro", "")
    lab.shell(f"set -e; {first}; {third}; {second}")
    peer()
    lab.wait_for(lambda: lab.inspect("web")["adopted"])
    address = lab.inspect("web")["addresses"][0]
    lab.run("podman", "restart", "-t", "0", "web")
    lab.wait_for(lambda: address in lab.out("podman", "exec", "web", "ip", "addr", check=False))
    # A container of the same name is another one, and followed all the same.
    lab.run("podman", "rm", "-f", "-t", "0", "web")
    lab.wait_for(lambda: lab.inspect("web")["waits"])
    lab.shell(third)
    lab.wait_for(lambda: address in lab.out("podman", "exec", "web", "ip", "addr", check=False))
    lab.run("podman", "rm", "-f", "-t", "0", "web")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_docker(docker, peer):
    lab = docker
    script = recipes.commands("docker follow").replace("docker run -d", "docker run -d --ulimit nofile=900:900")
    lab.shell(f"set -e; {script}")
    peer()
    Container(
        lab, ("docker", "exec", "web"),
        stop=lambda: lab.run("docker", "stop", "-t", "0", "web"),
        start=lambda: lab.run("docker", "start", "web"),
        # Its restart policy starts it again.
        kill=lambda: lab.shell("kill -9 $(docker inspect -f '{{.State.Pid}}' web)"),
        remove=lambda: lab.run("docker", "rm", "-f", "web"),
        follows=True,
    ).lives()  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_containerd(docker, peer):
    lab = docker
    lab.berth("network", "create", "front")
    identity = lab.shell("docker create --ulimit nofile=900:900 --network none --dns 127.0.0.11 --name web busybox httpd -f -p 80")
    lab.berth("attach", "--follow", f"containerd:moby/{identity}", "--name", "web", "--network", "front", "-p", "8080:80")
    lab.run("docker", "start", "web")
    peer()
    Container(
        lab, ("docker", "exec", "web"),
        stop=lambda: lab.run("docker", "stop", "-t", "0", "web"),
        start=lambda: lab.run("docker", "start", "web"),
        kill=lambda: lab.shell("kill -9 $(docker inspect -f '{{.State.Pid}}' web); docker wait web"),
        remove=lambda: lab.run("docker", "rm", "-f", "web"),
        follows=True,
    ).lives()  # fmt: skip


@pytest.fixture
def bundle(engines):
    """A bundle of an OCI runtime in /run/bundle that runs a web server."""
    recipes.need("runc", "jq")
    engines.shell("rm -rf /run/bundle; mkdir -p /run/bundle; cp -a /run/image /run/bundle/rootfs; cd /run/bundle; runc spec")
    config = json.loads(engines.shell("cat /run/bundle/config.json"))
    config["process"] |= {"terminal": False, "args": BUSYBOX.split(), "rlimits": []}
    engines.write("/run/bundle/config.json", json.dumps(config))
    return "/run/bundle"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("runtime", "marker"), [("runc", "oci ns"), ("runc", "oci follow"), ("crun", "oci ns")])
def test_oci_runtimes(engines, bundle, peer, runtime, marker):
    lab, follows = engines, marker == "oci follow"
    recipes.need(runtime)
    program = "crun --cgroup-manager=disabled" if runtime == "crun" else runtime
    *lines, _ = recipes.commands(marker).strip().splitlines()
    last = recipes.commands(marker).strip().splitlines()[-1].replace("runc", program)

    def start():
        lab.shell(f"cd {bundle}; {last} < /dev/null > /dev/null 2>&1")

    def stop():
        lab.shell(f"{runtime} kill web KILL; until {runtime} delete web 2>/dev/null; do sleep 0.05; done")

    lab.shell(f"cd {bundle}; set -e\n" + "\n".join(lines))
    start()
    peer()
    pid = f"$({runtime} state web | jq .pid)"
    Container(
        lab, (runtime, "exec", "web"), stop=stop, start=start,
        kill=lambda: lab.shell(f"kill -9 {pid}; until {runtime} delete web 2>/dev/null; do sleep 0.05; done"),
        remove=lambda: None, follows=follows,
    ).lives()  # fmt: skip


PIDS = "for pid in $(ip netns pids berth-web); do case $(cat /proc/$pid/comm) in busybox | httpd) echo $pid;; esac; done"
"""Prints the pids of the web server in the sandbox."""


class Foreground:
    """A program that stays in the foreground and is started by *command*."""

    inside = ("sh", "-c", f'exec nsenter --target $({PIDS} | tail -1) --mount --net --root --wd "$@"', "sh")
    """Runs a command where the web server is."""

    def __init__(self, lab: Lab, command: str) -> None:
        self._lab = lab
        self._command = command
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and wait for the web server."""
        self._process = self._lab.start("sh", "-c", recipes.IN_CGROUP, "sh", "sh", "-c", f"exec {self._command}")
        self._lab.wait_for(lambda: self._lab.shell(PIDS, check=False))

    def stop(self) -> None:
        """Kill it, and wait for the end of what it has started."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._lab.shell(f"{PIDS} | xargs -r kill -9", check=False)
        self._lab.wait_for(lambda: not self._lab.shell(PIDS, check=False))
        recipes.remove_cgroup(self._lab)


@pytest.mark.parametrize(
    ("program", "marker"),
    [("ip", "ip netns"), ("bwrap", "bubblewrap"), ("systemd-nspawn", "nspawn"), ("firejail", "firejail")],
    ids=lambda value: value.replace(" ", "-"),
)
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_programs_in_the_foreground(engines, peer, program, marker):
    recipes.need(program, "busybox")
    lab = engines
    command = paste_all_but_last(lab, marker)
    if program == "systemd-nspawn":
        # No systemd is there to register it with.
        command = command.replace("systemd-nspawn -q", "systemd-nspawn -q --register=no --keep-unit")
    web = Foreground(lab, command)
    try:
        web.start()
        peer()
        Container(lab, web.inside, stop=web.stop, start=web.start, kill=web.stop, remove=lambda: None).lives()
    finally:
        web.stop()


def test_ip_netns_is_a_sandbox_with_names(engines, peer):
    lab = engines
    recipes.need("busybox")
    web = Foreground(lab, paste_all_but_last(lab, "ip netns"))
    try:
        web.start()
        peer()
        Container(lab, web.inside, stop=web.stop, start=web.start, kill=web.stop, remove=lambda: None).works()
    finally:
        web.stop()
