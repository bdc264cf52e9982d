"""The daemon's own side of the host: what it may do, who may ask it, and what others put in its way."""

import json
import signal
import sys
from pathlib import Path

import pytest

from netcore.kernel.capabilities import USED
from tests.support.lab import WITHOUT_FILLED_SETS


def status_of(lab, key):
    pid = json.loads(lab.berth("status", "--format", "json").stdout)["pid"]
    return next(line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(f"{key}:"))


def netns_of(pid):
    return Path(f"/proc/{pid}/ns/net").readlink()


@pytest.mark.slow
def test_second_daemon_with_other_directories_is_refused_and_changes_nothing(lab):
    lab.start_daemon()
    lab.berth("network", "create", "front")
    lab.berth("run", "-d", "--name", "web", "--network", "front", "-p", "8080:80", "--", "sleep", "300")
    before = lab.shell(f"nft -s list ruleset | {WITHOUT_FILLED_SETS}")
    refused = lab.berth("daemon", "--state-dir", "/run/s2", "--run-dir", "/run/r2", check=False)
    assert refused.returncode == 1
    assert "a berth daemon with other directories serves it; stop that one, or use its directories" in refused.stderr
    assert lab.shell(f"nft -s list ruleset | {WITHOUT_FILLED_SETS}") == before
    # Nobody takes the mark away, and a daemon that is killed leaves none.
    assert lab.run("nft", "delete", "table", "inet", "berth_daemon", check=False).returncode != 0
    lab.stop_daemon(signal.SIGKILL)
    lab.wait_for(lambda: "berth_daemon" not in lab.shell("nft list tables"))
    lab.start_daemon()
    assert lab.in_sandbox("web", "getent", "hosts", "web")


WITH_SIGNALS_BLOCKED = "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"


def test_signals_that_do_not_end_it(lab):
    lab.write("/run/c.toml", 'dns_search = ["one.test"]\n')
    # Whoever started it may have blocked signals.
    lab.start_daemon("--config", "/run/c.toml", program=f"{sys.executable} -c '{WITH_SIGNALS_BLOCKED}' -m resolver daemon")
    lab.berth("run", "-d", "--name", "web", "--", "sleep", "300")
    lab.write("/run/c.toml", 'dns_search = ["two.test"]\nsuffix = "x.internal"\n')
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT, signal.SIGHUP):
        lab.daemon.send_signal(number)
    lab.wait_for(lambda: "search two.test" in lab.in_sandbox("web", "cat", "/etc/resolv.conf"))
    # Signals that come together are taken in no certain order.
    for text in (
        'msg="status {',
        'msg="thread" name=MainThread',
        'msg="task" name=',
        "signal USR2 has no meaning",
        "keys=suffix",
        "changed=dns_search",
    ):
        lab.wait_for(lambda text=text: lab.has_logged(text))
    lab.write("/run/c.toml", "dns_search = 1\n")
    lab.daemon.send_signal(signal.SIGHUP)
    lab.wait_for(lambda: "configuration is not read again" in lab.shell("cat /run/daemon.log"))
    assert lab.is_ready()


def test_modes(lab):
    # Whatever the shell was set to: in the sandbox everybody reads its files.
    lab.daemon = lab.start("sh", "-c", f"umask 077; exec {sys.executable} -m resolver daemon >> /run/daemon.log 2>&1")
    lab.wait_for(lab.is_ready)
    lab.write("/run/compose.yaml", "services:\n  a: {command: sleep 300}\n")
    lab.berth("up", "-d", "-f", "/run/compose.yaml", "-p", "shop")
    modes = dict(
        line.split()
        for line in lab.shell(
            "cd / && stat -c '%n %a' run/berth run/berth/* var/lib/berth var/lib/berth/* var/lib/berth/sandboxes/*/output.log"
        ).splitlines()
    )
    assert modes["run/berth"] == "711"
    assert modes["run/berth/berth.sock"] == modes["run/berth/berth-ro.sock"] == "660"
    assert modes["var/lib/berth"] == "700"
    assert modes.pop("var/lib/berth/sandboxes") == "700"
    assert {mode for path, mode in modes.items() if path.startswith("var/lib/berth/")} == {"600"}
    assert [path.rpartition("/")[2] for path in modes if path.startswith("var/lib/berth/sandboxes/")] == ["output.log"]
    (sandbox,) = json.loads(lab.berth("ps", "--format", "json").stdout)
    assert lab.shell(f"stat -c %a {sandbox['files']}/resolv.conf {sandbox['files']}/hosts {sandbox['files']}").split() == [
        "644",
        "644",
        "755",
    ]


def test_what_the_daemon_may_do(lab):
    lab.start_daemon()
    wanted = sum(1 << number for number in USED.values())
    for which in ("CapBnd", "CapEff", "CapPrm"):
        found = int(status_of(lab, which), 16)
        assert found & ~wanted == 0, which
    # With that it does everything still: ports below 1024, other users' namespaces, ends of processes.
    lab.berth("network", "create", "front")
    lab.berth("run", "-d", "--name", "web", "--network", "front", "-p", "80:80", "--", "sleep", "300")
    guest = lab.start("setpriv", "--reuid", "65534", "unshare", "--user", "--net", "sleep", "300")
    lab.wait_for(lambda: netns_of(guest.pid) != netns_of(lab.pid))
    lab.berth("attach", "--name", "guest", "--network", "front", "--pid", str(guest.pid))
    lab.berth("detach", "guest")
    pid = lab.inspect("web")["leader"]["pid"]
    lab.berth("rm", "web")
    assert lab.shell(f"ps -o stat= -p {pid} || true")[:1] in ("", "Z"), "it has ended"


def test_admin_socket_that_is_removed_is_made_again(lab):
    lab.start_daemon()
    lab.berth("run", "-d", "--name", "web", "--", "sleep", "300")
    lab.shell("rm /run/berth/berth.sock")
    lab.wait_for(lambda: lab.berth("ps", check=False).returncode == 0)
    assert lab.berth("rm", "web").returncode == 0


@pytest.mark.slow
def test_pipes_and_links_where_files_were_hold_up_nobody(lab):
    lab.start_daemon()
    lab.berth("network", "create", "front")
    lab.berth("network", "create", "back")
    lab.shell("mkfifo /run/pipe")
    refused = lab.berth("attach", "--name", "x", "--network", "front", "--netns", "/run/pipe", check=False)
    assert "is not a network namespace" in refused.stderr
    for number in range(10):
        name = f"web{number}"
        lab.berth("run", "-d", "--name", name, "--network", "front", "--", "sleep", "300")
        files = lab.inspect(name)["files"]
        lab.shell(f"cd {files} && rm hosts resolv.conf && mkfifo hosts resolv.conf && mkdir -p odd/odder && touch odd/odder/file")
    for number in range(10):
        assert lab.berth("network", "connect", "back", f"web{number}").returncode == 0
    lab.berth("rm", *(f"web{number}" for number in range(10)))
    assert lab.shell("ls /run/berth/sandboxes 2>/dev/null || true") == ""
    lab.stop_daemon()


def test_hosts_file_of_a_gigabyte_is_left_alone_and_not_read(lab):
    lab.start_daemon()
    lab.berth("network", "create", "front")
    lab.berth("run", "-d", "--name", "web", "--network", "front", "--", "sleep", "300")
    hosts = lab.inspect("web")["files"] + "/hosts"
    before = int(status_of(lab, "VmHWM"))
    lab.shell(f"truncate -s 1G {hosts}")
    lab.berth("network", "create", "back")
    lab.berth("network", "connect", "back", "web")
    assert int(status_of(lab, "VmHWM")) - before < 100_000, "kB"
    assert lab.shell(f"stat -c %s {hosts}") == str(1 << 30)
    assert "hosts file is left alone" in lab.shell("cat /run/daemon.log")


def test_reader_sees_everything_and_changes_nothing(lab):
    lab.write("/run/c.toml", 'read_group = "daemon"\n')
    lab.start_daemon("--config", "/run/c.toml")
    lab.berth("run", "-d", "--name", "web", "--", "sleep", "300")
    assert "web" in lab.berth_as_member("daemon", "ps").stdout
    assert lab.berth_as_member("daemon", "resolve", "web").returncode == 0
    refused = lab.berth_as_member("daemon", "rm", "web")
    assert refused.returncode == 1
    assert "permission denied" in refused.stderr
    answer = lab.out("curl", "-s", "-X", "DELETE", "--unix-socket", "/run/berth/berth-ro.sock", "http://b/v1/sandboxes/web")
    assert json.loads(answer)["error"]["kind"] == "forbidden"
    # Who may not ask this daemon has one of his own, where nothing is.
    assert "web" not in lab.berth_as_member("nogroup", "ps").stdout
    refused = lab.run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "curl", "-sS", "--unix-socket",
                      "/run/berth/berth-ro.sock", "http://b/v1/sandboxes", check=False)  # fmt: skip
    assert refused.returncode == 7


def test_member_of_the_group_adopts_only_what_is_theirs(lab):
    lab.write("/run/c.toml", 'socket_group = "daemon"\n')
    lab.start_daemon("--config", "/run/c.toml")
    lab.berth("network", "create", "front")
    theirs = lab.start("unshare", "--net", "sleep", "300")
    own = lab.start("setpriv", "--reuid", "65534", "unshare", "--user", "--net", "sleep", "300")
    for process in (theirs, own):
        lab.wait_for(lambda process=process: netns_of(process.pid) != netns_of(lab.pid))
    refused = lab.berth_as_member("daemon", "attach", "--name", "x", "--network", "front", "--pid", str(theirs.pid))
    assert "is not yours; only root may adopt" in refused.stderr
    refused = lab.berth_as_member("daemon", "attach", "--name", "x", "--network", "front", "--netns", f"/proc/{theirs.pid}/ns/net")
    assert "only root may adopt a namespace by its path" in refused.stderr
    done = lab.berth_as_member("daemon", "attach", "--name", "x", "--network", "front", "--pid", str(own.pid))
    assert done.returncode == 0, done.stderr
    assert "path=/v1/sandboxes name=x by=uid,65534,pid," in lab.shell("cat /run/daemon.log")
