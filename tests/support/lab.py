"""A lab: a network and mount namespace that plays the host, one more that plays the outside, a daemon in between.

Nothing of the real host is touched: /run and /var/lib are fresh file systems, links live in the lab's namespaces, and
traffic goes to addresses inside them only. Without root the lab is built in a user namespace.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

PATIENCE = 60.0
"""Seconds until a test gives up what it waits for."""
HOST_ADDRESS, OUTSIDE_ADDRESS = "10.9.0.2", "10.9.0.1"
HOST_ADDRESS6, OUTSIDE_ADDRESS6 = "fd09::2", "fd09::1"

_SETUP = f"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /mnt
mount -o remount,rw /proc/sys 2>/dev/null || true
mkdir -p /run/netns /mnt/work
cp -r --preserve=mode,links /etc /mnt/etc 2>/dev/null || true
rm -f /mnt/etc/resolv.conf
printf 'nameserver {OUTSIDE_ADDRESS}\\n' > /mnt/etc/resolv.conf
printf '127.0.0.1 localhost\\n10.1.2.3 only-on-the-host\\n' > /mnt/etc/hosts
mount --bind /mnt/etc /etc
ip link set lo up
ip netns add outside
ip link add up0 type veth peer name up1 netns outside
ip link set up0 up
ip -n outside link set lo up
ip -n outside link set up1 up
ip addr add {HOST_ADDRESS}/24 dev up0
ip -6 addr add {HOST_ADDRESS6}/64 dev up0 nodad
ip -n outside addr add {OUTSIDE_ADDRESS}/24 dev up1
ip -n outside -6 addr add {OUTSIDE_ADDRESS6}/64 dev up1 nodad
ip route add default via {OUTSIDE_ADDRESS}
ip -6 route add default via {OUTSIDE_ADDRESS6}
echo ready
exec sleep infinity
"""


def why_no_lab() -> str:
    """Return why no lab can be built here, "" if one can."""
    for program in ("unshare", "nsenter", "ip", "nft"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    done = subprocess.run([*_unshare(), "true"], capture_output=True, text=True, check=False)
    return done.stderr.strip()


def _unshare() -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--net", "--mount"]


WITHOUT_FILLED_SETS = "perl -0pe 's/\\tset \\w+ \\{[^}]*flags dynamic.*?\\n\\t\\}\\n//gs'"
"""Leaves out of what nft lists the sets that rules themselves fill: who has connections, new neighbours, what was dropped."""
_ASKS_AGAIN = re.compile(r"^;; communications error to .*: timed out\n", re.MULTILINE)
"""What dig says, among its answers, where it has waited for one and asks again: that is how busy the machine is."""
IS_LEAVING = re.compile(r" group 16507\d{5} ")
"""What `ip -o link` says of a link that was taken down and is to be deleted: its group."""
TABLES = f"for family in inet bridge; do nft -s list table $family berth; done | {WITHOUT_FILLED_SETS}"
"""Lists our firewall tables."""


AS_NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
"""Runs berth as nobody, once groups are named. The capability is for the tests' own files, which may be where only root can read."""


class Failed(AssertionError):
    """A command in the lab failed."""


class Lab:
    """One lab. Use as a context manager."""

    def __init__(self) -> None:
        self._shell = subprocess.Popen(
            [*_unshare(), "sh", "-c", _SETUP], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        assert self._shell.stdout is not None
        line = self._shell.stdout.readline()
        assert line.strip() == "ready", line + self._shell.stdout.read()
        self.pid = self._shell.pid
        self.started: list[subprocess.Popen[str]] = []
        self.daemon: subprocess.Popen[str] | None = None
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "PYTHONPATH": ":".join(filter(None, [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")])),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the daemon, everything started, and the lab itself."""
        for process in reversed(self.started):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        for pid in self._members():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self._shell.wait()
        assert self._shell.stdout is not None
        self._shell.stdout.close()

    def _members(self) -> list[int]:
        """Return every process whose mount namespace came from the lab's: those in its namespaces, by its /run."""
        wanted = Path(f"/proc/{self.pid}/root/run").stat().st_dev
        pids = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (process / "root/run").stat().st_dev == wanted:
                    pids.append(int(process.name))
        return pids

    # --- commands -----------------------------------------------------------------------------------------------

    def _prefix(self, where: str) -> list[str]:
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        enter = ["nsenter", "--target", str(self.pid), *user, "--net", "--mount"]
        return enter if where == "host" else [*enter, "ip", "netns", "exec", where]

    def run(
        self, *command: str, where: str = "host", check: bool = True, timeout: float = PATIENCE, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run *command* in the lab and return what it did; *where*: "host", or a netns like "outside"."""
        done = subprocess.run(
            [*self._prefix(where), *command], capture_output=True, text=True, check=False, timeout=timeout,
            input=stdin, env=self.environment, cwd="/",
        )  # fmt: skip
        if "dig" in " ".join(command):
            done.stdout = _ASKS_AGAIN.sub("", done.stdout)
        if check and done.returncode:
            raise Failed(f"{' '.join(command)} → {done.returncode}\n{done.stdout}{done.stderr}\n{self.log()}")
        return done

    def out(self, *command: str, **more: Any) -> str:
        """Return the standard output of *command*, stripped."""
        return self.run(*command, **more).stdout.strip()

    def shell(self, script: str, **more: Any) -> str:
        """Return the standard output of a shell script."""
        return self.out("sh", "-c", script, **more)

    def start(self, *command: str, where: str = "host") -> subprocess.Popen[str]:
        """Start *command* and go on; it is ended with the lab."""
        process = subprocess.Popen(
            [*self._prefix(where), *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=self.environment, start_new_session=True, cwd="/",
        )  # fmt: skip
        self.started.append(process)
        return process

    def start_listening(self, script: str, *arguments: str, where: str = "host") -> subprocess.Popen[str]:
        """Start a script of tests/support that says when it listens; it does."""
        process = self.start(sys.executable, str(Path(__file__).with_name(script)), *arguments, where=where)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == "listening\n", line
        return process

    def start_plugin(self, *arguments: str, socket: str = "/run/docker/plugins/weave.sock") -> subprocess.Popen[str]:
        """Start a plugin of networks and IPAM, called as its socket is; what it is asked is in /run/plugin-test/calls."""
        self.run("mkdir", "-p", "/run/plugin-test")
        return self.start_listening("docker_plugin.py", socket, "/run/plugin-test", *arguments)

    def start_talking(self, name: str, script: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a Python script in a sandbox, with all rights, that takes lines and prints some; it has printed its first."""
        command = [
            *self._prefix("host"),
            sys.executable,
            "-m",
            "resolver",
            "exec",
            "--privileged",
            name,
            sys.executable,
            "-c",
            script,
            *arguments,
        ]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.environment, start_new_session=True, cwd="/"
        )
        self.started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    def write(self, path: str, text: str) -> None:
        """Write a file of the lab."""
        self.run("sh", "-c", f"cat > '{path}'", stdin=text)

    # --- berth --------------------------------------------------------------------------------------------------

    def berth(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "resolver", *arguments, **more)

    def berth_as_member(self, group: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run berth as nobody with *group*, and return what it did."""
        number = self.shell(f"getent group {group} | cut -d: -f3")
        return self.run(*AS_NOBODY, "--groups", number, sys.executable, "-m", "resolver", *arguments, check=False)

    def set_bridge_nf_call(self, value: str) -> None:
        """Set whether the rules of IP see frames on bridges: "0" or "1"."""
        self.run("sysctl", "-qw", f"net.bridge.bridge-nf-call-iptables={value}", f"net.bridge.bridge-nf-call-ip6tables={value}")

    def start_daemon(
        self, *arguments: str, program: str = f"{sys.executable} -m resolver daemon", wait: bool = True
    ) -> subprocess.Popen[str]:
        """Start a daemon, its log at /run/daemon.log. *program*: what runs in place of `berth daemon`, as it is typed."""
        self.daemon = self.start("sh", "-c", f"exec {program} {shlex.join(arguments)} >> /run/daemon.log 2>&1")
        if wait:
            self.wait_for(lambda: self.run("test", "-S", "/run/berth/berth.sock", check=False).returncode == 0 and self.is_ready())
        return self.daemon

    def follow_events(self) -> None:
        """Have `events` return what happens from now on. A network called `probe` comes and goes until that is shown."""
        self.start("sh", "-c", f"exec {sys.executable} -m resolver events > /run/events 2>&1")

        def is_shown() -> bool:
            self.berth("network", "create", "probe", check=False)
            self.berth("network", "rm", "probe", check=False)
            return "probe" in self.events()

        self.wait_for(is_shown)

    def events(self) -> str:
        """Return what has happened since `follow_events`."""
        return self.out("cat", "/run/events", check=False)

    def is_left_alone(self, what: str) -> bool:
        """Return whether the status says that *what* was broken too often and is not repaired any more."""
        return any(what in line and "it is left alone now" in line for line in self.berth("status").stdout.splitlines())

    def is_ready(self) -> bool:
        command = ("curl", "-s", "-f", "--unix-socket", "/run/berth/berth.sock", "http://berth/readyz")
        return self.run(*command, check=False).returncode == 0

    def stop_daemon(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon; sandboxes stay."""
        assert self.daemon is not None
        # nsenter executes the daemon in its place, so its pid is the daemon's.
        self.daemon.send_signal(number)
        self.daemon.wait(PATIENCE)

    def api(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return (status, decoded body) of one request to the admin API."""
        data = [] if body is None else ["-d", json.dumps(body)]
        text = self.out(
            "curl", "-s", "-w", "\n%{http_code}", "-X", method, *data, "--unix-socket", "/run/berth/berth.sock", f"http://berth{path}"
        )
        content, _, status = text.rpartition("\n")
        return int(status), json.loads(content) if content.startswith(("{", "[")) else content

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what `berth inspect` says of a sandbox."""
        inspected: list[dict[str, Any]] = json.loads(self.berth("inspect", name).stdout)
        return inspected[0]

    def in_sandbox(self, name: str, *command: str, **more: Any) -> str:
        """Return the output of a command inside a sandbox."""
        return self.berth("exec", name, *command, **more).stdout.strip()

    def has_logged(self, words: str) -> bool:
        """Return whether the daemon's log has *words*, however much came behind them."""
        return self.run("grep", "-qF", "-e", words, "/run/daemon.log", check=False).returncode == 0

    def commands(self) -> dict[int, str]:
        """Return the command line of each process of the lab; those of other labs, which other tests have meanwhile, are none of it."""
        lines = {}
        for pid in self._members():
            with contextlib.suppress(OSError):
                lines[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(bytes(1), b" ").decode(errors="replace").strip()
        return lines

    def pids(self, command: str) -> list[int]:
        """Return the processes of the lab with just this command line."""
        return [pid for pid, line in self.commands().items() if line == command]

    def runs(self, words: str) -> bool:
        """Return whether a process of the lab has *words* in its command line."""
        return any(words in line for line in self.commands().values())

    def listens(self, name: str, port: int) -> bool:
        """Return whether somebody in a sandbox listens on a TCP port."""
        return f":{port} " in self.in_sandbox(name, "ss", "-Hlnt")

    def log(self) -> str:
        return subprocess.run([*self._prefix("host"), "cat", "/run/daemon.log"], capture_output=True, text=True, check=False).stdout[-4000:]

    def wait_for(self, condition: Callable[[], object], timeout: float = PATIENCE) -> None:
        """Wait until *condition* holds. *timeout* only bounds a failure: a busy machine may take long over anything."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"waited {timeout} s in vain\n{self.log()}"
            time.sleep(0.02)

    def leaving_links(self) -> list[str]:
        """Return the lines of the links of the lab's host that were taken down and are to be deleted."""
        return [line for line in self.out("ip", "-o", "link").splitlines() if IS_LEAVING.search(line)]

    def wait_for_deletes(self) -> None:
        """Wait until no link is to be deleted any more; where no daemon is there, nobody deletes any."""
        self.wait_for(lambda: not self.leaving_links() or not self.is_ready())

    def kernel_state(self) -> str:
        """Return links, addresses, routes, neighbours, rules, namespaces and sockets of the lab's host, once no link is to be deleted.

        Without indexes, and without what the kernel derives from carriers or does later by itself.
        """
        self.wait_for_deletes()
        return self.shell(
            "ip -o link show | sed 's/^[0-9]*: //; s/@if[0-9]*//; s/NO-CARRIER,//; s/,LOWER_UP//; s/state [A-Z]*//' | sort;"
            "ip -o addr show | grep -v fe80 | awk '{print $2,$4}' | sort; ip route show table all | grep -v -e fe80 -e ff00 | sed 's/ linkdown//' | sort;"
            "ip neigh show nud permanent | sort; ls /run/netns; ls /run/berth/sandboxes 2>/dev/null;"
            f"{TABLES}; ss -Hlntu | awk '{{print $1,$5}}' | sort",
            check=False,
        )
