"""What somebody who tries berth for the first time does wrong, or expects."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from netcore.kernel.capabilities import USED
from resolver.limits import EXIT_WHEN_IDLE
from tests.support.lab import HOST_ADDRESS


def test_working_directory_that_does_not_exist_is_an_error(lab):
    lab.start_daemon()
    lab.berth("run", "-d", "--name", "web", "--", "sleep", "300")
    lab.shell("touch /run/afile; mkdir -m 700 /run/closed")
    for directory, reason in (("nodir", "No such file or directory"), ("/run/afile", "Not a directory")):
        for command in (("run", "-w", directory, "--", "pwd"), ("exec", "-w", directory, "web", "pwd")):
            refused = lab.berth(*command, check=False)
            assert (refused.returncode, refused.stdout) == (126, ""), refused
            assert reason in refused.stderr
            assert directory in refused.stderr
        lab.write("/run/compose.yaml", f"services:\n  a:\n    command: pwd\n    working_dir: {directory}\n")
        refused = lab.berth("up", "-f", "/run/compose.yaml", check=False)
        assert refused.returncode == 126
        assert "service a: working directory /run/" in refused.stderr
    # A relative one is below the caller's directory; the caller's own need not exist in the sandbox.
    berth = "python3 -m resolver"
    assert (
        lab.shell(f"mkdir -p /run/d/sub; cd /run/d; {berth} run -w sub -- pwd; {berth} exec -w sub web pwd").split() == ["/run/d/sub"] * 2
    )
    assert lab.shell(f"mkdir /run/gone; cd /run/gone; rmdir /run/gone; {berth} run -- pwd") == "/"
    assert len(lab.berth("ps").stdout.splitlines()) == 2


def test_a_reused_pid_is_nobody_of_the_sandbox(lab):
    lab.start_daemon()
    lab.api("POST", "/v1/sandboxes", {"name": "old"})
    bystander = lab.start("sleep", "300")
    # The leader has ended and its pid is another process's by now: what the store says is as after that.
    record = lab.api("GET", "/v1/sandboxes/old")[1]
    lab.stop_daemon()
    with_leader(lab, record["id"], {"pid": bystander.pid, "start_time": 1})
    lab.start_daemon()
    assert lab.inspect("old")["leader"]["pid"] == bystander.pid
    refused = lab.berth("exec", "old", "touch", "/run/ran-on-the-host", check=False)
    assert refused.returncode == 125
    assert f"its process {bystander.pid} has ended" in refused.stderr
    assert lab.run("test", "-e", "/run/ran-on-the-host", check=False).returncode == 1
    lab.berth("rm", "old")
    assert bystander.poll() is None


def with_leader(lab, sandbox_id, leader):
    """Write another leader into the record of a sandbox, while no daemon runs."""
    script = (
        "import sqlite3, sys, json; db = sqlite3.connect(sys.argv[1]); key = 'sandbox/' + sys.argv[2];"
        "record = json.loads(db.execute('select value from item where key = ?', (key,)).fetchone()[0]);"
        "record['sandbox']['leader'] = json.loads(sys.argv[3]);"
        "db.execute('update item set value = ? where key = ?', (json.dumps(record).encode(), key)); db.commit()"
    )
    lab.run("python3", "-c", script, "/var/lib/berth/berth.db", sandbox_id, json.dumps(leader))


def test_nothing_inside_a_sandbox_says_which_process_is_its_leader(lab):
    lab.start_daemon()
    lab.berth("run", "-d", "--name", "web", "--", "sleep", "300")
    pid = str(lab.inspect("web")["leader"]["pid"])
    assert lab.in_sandbox("web", "sh", "-c", f"grep -rlw {pid} /run/berth/sandboxes || true") == ""


def test_leader_must_be_a_child_of_the_caller(lab):
    lab.start_daemon()
    lab.api("POST", "/v1/sandboxes", {"name": "web"})
    bystander = lab.start("sleep", "300")
    status, refused = lab.api("PATCH", "/v1/sandboxes/web", {"leader_pid": bystander.pid})
    assert (status, refused["error"]["object"]) == (400, "leader_pid")
    assert lab.inspect("web")["leader"] is None


@pytest.mark.slow
@pytest.mark.parametrize("how", ["rm", "api", "stubborn"])
def test_removal_ends_what_was_started(lab, how):
    lab.start_daemon()
    command = "trap '' TERM; sleep 3131 & while :; do sleep 0.1; done" if how == "stubborn" else "sleep 3131 & exec sleep 3132"
    lab.berth("run", "-d", "--name", "web", "--", "sh", "-c", command)
    lab.wait_for(lambda: lab.pids("sleep 3131"))
    if how == "api":
        assert lab.api("DELETE", "/v1/sandboxes/web")[0] == 200
    else:
        lab.berth("rm", "web")
    assert not lab.pids("sleep 3131")
    assert not lab.pids("sleep 3132")
    assert json.loads(lab.berth("ps", "--format", "json").stdout) == []


def test_detach_is_for_adopted_sandboxes(lab):
    lab.start_daemon()
    lab.berth("run", "-d", "--name", "web", "--", "sleep", "300")
    refused = lab.berth("detach", "web", check=False)
    assert refused.returncode == 1
    assert "`berth rm` ends its processes and removes it" in refused.stderr
    assert lab.in_sandbox("web", "true") == ""


@pytest.mark.parametrize(("who", "options", "code"), [("foreground", [], -9), ("monitor", ["-d"], 125)])
def test_client_that_dies_before_its_command_runs_leaves_no_process(lab, who, options, code):
    lab.start_daemon()
    # It is killed while it tells the daemon of the process; in the background that is who holds the sandbox.
    script = (
        f"import os; from resolver.cli import foreground, monitor, run; {who}.register = lambda *a, **k: os.kill(os.getpid(), 9);"
        f"raise SystemExit(run.main({[*options, '--name', 'x', 'sleep', '3141']}))"
    )
    assert lab.run("python3", "-c", script, check=False).returncode == code
    lab.wait_for(lambda: json.loads(lab.berth("ps", "-a", "--format", "json").stdout) == [])
    assert not lab.runs("sleep 3141")


def test_exec_enters_the_namespaces_of_the_process_that_was_attached(lab):
    lab.start_daemon()
    lab.berth("network", "create", "net")
    script = "mount -t tmpfs tmpfs /mnt && touch /mnt/inside && hostname theirs && exec sleep 3151"
    outer = lab.start("unshare", "--net", "--pid", "--mount", "--uts", "--fork", "--mount-proc", "sh", "-c", script)
    lab.wait_for(lambda: lab.pids("sleep 3151"))
    (pid,) = lab.pids("sleep 3151")
    lab.berth("attach", "--pid", str(pid), "--name", "guest", "--network", "net")
    assert lab.inspect("guest")["adopted"]
    assert lab.in_sandbox("guest", "sh", "-c", "ls /mnt; hostname; cat /proc/1/cmdline | tr '\\0' ' '; ls /sys/class >/dev/null").split() == [
        "inside", "theirs", "sleep", "3151",
    ]  # fmt: skip
    assert "eth0" in lab.in_sandbox("guest", "ip", "-o", "link")
    lab.berth("detach", "guest")
    assert outer.poll() is None
    # One that shares the host's mounts has no files of its own: it gets those of the sandbox.
    plain = lab.start("unshare", "--net", "sleep", "3152")
    lab.wait_for(lambda: lab.shell(f"readlink /proc/{plain.pid}/ns/net") != lab.shell("readlink /proc/self/ns/net"))
    lab.berth("attach", "--pid", str(plain.pid), "--name", "plain", "--network", "net")
    assert "127.0.0.11" in lab.in_sandbox("plain", "cat", "/etc/resolv.conf")
    lab.berth("rm", "plain")
    assert plain.poll() is None


@pytest.fixture
def routed(lab):
    """A namespace of somebody else with a way out of its own, for both families: links, addresses, several default routes."""
    lab.start_daemon()
    lab.berth("network", "create", "--ipv6", "--subnet", "10.71.0.0/24", "--subnet", "fd71::/64", "front")
    lab.shell(
        "set -e; ip netns add theirs; ip link add wan1 type veth peer name wan0 netns theirs; ip link set wan1 up;"
        "ip -n theirs link set lo up; ip -n theirs link set wan0 up;"
        "ip -n theirs addr add 192.0.2.2/24 dev wan0; ip -n theirs -6 addr add fd99::2/64 dev wan0 nodad;"
        "ip -n theirs route add default via 192.0.2.1 src 192.0.2.2;"
        "ip -n theirs route add default metric 50 nexthop via 192.0.2.3 dev wan0 nexthop via 192.0.2.4 dev wan0;"
        "ip -n theirs -6 route add default via fd99::1 metric 7"
    )
    yield lambda: lab.shell("ip -n theirs route show default; ip -n theirs -6 route show default")
    lab.berth("detach", "guest", check=False)


def attach(lab, *options):
    return lab.berth("attach", "--netns", "/run/netns/theirs", "--name", "guest", *options)


def test_adopted_namespace_keeps_its_default_route(lab, routed):
    before = routed()
    attached = attach(lab, "--network", "front")
    assert "guest keeps the default route via 192.0.2.1 of its own (IPv4)" in attached.stderr
    assert "--gateway" in attached.stderr
    assert routed() == before
    assert [endpoint["gateway"] for endpoint in lab.inspect("guest")["endpoints"]] == [False]
    lab.stop_daemon()
    lab.start_daemon()
    lab.berth("network", "create", "back")
    lab.berth("network", "connect", "back", "guest")
    assert routed() == before
    lab.berth("network", "disconnect", "front", "guest")
    lab.berth("detach", "guest")
    assert routed() == before


def test_default_route_that_was_replaced_comes_back(lab, routed):
    before = routed()
    assert "keeps" not in attach(lab, "--gateway", "--network", "front").stderr
    ours = routed().splitlines()
    assert [line.split()[:3] for line in ours] == [["default", "via", "10.71.0.1"], ["default", "via", "fd71::1"]]
    lab.stop_daemon()
    lab.start_daemon()
    assert routed().splitlines() == ours
    # Without a network that leads outside theirs are back, and go again with the next one.
    lab.berth("network", "disconnect", "front", "guest")
    assert routed() == before
    lab.berth("network", "connect", "front", "guest")
    assert routed().splitlines() == ours
    lab.berth("detach", "guest")
    assert routed() == before


def test_each_family_is_for_itself_and_what_is_missing_is_given(lab, routed):
    lab.run("ip", "-n", "theirs", "-6", "route", "del", "default")
    before = routed()
    attach(lab, "--network", "front")
    assert [line.split()[:3] for line in routed().splitlines()][-1] == ["default", "via", "fd71::1"]
    assert routed().startswith(before)
    lab.berth("detach", "guest")
    assert routed() == before


def test_failed_attach_gives_the_default_route_back(lab, routed):
    before = routed()
    refused = attach_refused(lab, "--gateway", "--network", "front", "--network", "front,ip=10.71.0.9")
    assert refused.returncode == 1
    lab.api("POST", "/v1/sandboxes", {"name": "x"})
    assert routed() == before
    status, said = lab.api("POST", "/v1/sandboxes", {"name": "y", "gateway": True})
    assert (status, said["error"]["object"]) == (400, "gateway")


def attach_refused(lab, *options):
    return lab.berth("attach", "--netns", "/run/netns/theirs", "--name", "guest", *options, check=False)


def test_detach_when_their_link_is_gone(lab, routed):
    attach(lab, "--gateway", "--network", "front")
    lab.run("ip", "-n", "theirs", "link", "del", "wan0")
    assert lab.berth("detach", "guest").stderr == ""
    assert routed() == ""


@pytest.mark.slow
def test_a_network_made_by_hand_keeps_the_daemon_that_it_started(lab):
    lab.berth("network", "create", "mine")
    pid = json.loads(lab.berth("status", "--format", "json").stdout)["pid"]
    said = lab.berth("status").stdout
    assert "it ends when nothing needs it, or with `berth daemon stop`" in said
    # What is idle for so long would have ended by now: a sandbox came and went, and nothing is left but the network.
    lab.berth("run", "--network", "mine", "--", "true")
    lab.wait_for(lambda: json.loads(lab.berth("status", "--format", "json").stdout)["uptime_seconds"] > EXIT_WHEN_IDLE + 2)
    assert json.loads(lab.berth("status", "--format", "json").stdout)["pid"] == pid
    lab.berth("network", "rm", "mine")
    lab.wait_for(lambda: lab.run("test", "-S", "/run/berth/berth.sock", check=False).returncode == 1)
    # What keeps a second daemon out goes with the process, just after its socket.
    lab.wait_for(lambda: "berth" not in lab.shell("nft list tables"))


@pytest.mark.slow
def test_daemon_stop(lab):
    lab.berth("run", "-d", "--name", "web", "--", "sleep", "300")
    lab.berth("daemon", "stop")
    assert lab.run("test", "-S", "/run/berth/berth.sock", check=False).returncode == 1
    assert "no berth daemon answers" in lab.berth("daemon", "stop", check=False).stderr
    # The sandbox has gone on, and the next command that changes something finds it.
    lab.berth("rename", "web", "www")
    assert lab.in_sandbox("www", "getent", "hosts", "www")
    lab.berth("rm", "www")
    # The daemon that was started for it may have ended by itself by now.
    lab.berth("daemon", "stop", check=False)
    lab.wait_for(lambda: "berth" not in lab.shell("nft list tables"))
    lab.start_daemon()
    assert "it ends when" not in lab.berth("status").stdout
    lab.berth("daemon", "stop")


def test_member_of_the_socket_group(lab):
    lab.write("/run/c.toml", 'socket_group = "daemon"\n')
    lab.start_daemon("--config", "/run/c.toml")
    lab.berth("run", "-d", "--name", "web", "--", "sleep", "3127")

    def berth(*arguments):
        return lab.berth_as_member("daemon", *arguments)

    lab.write("/run/compose.yaml", "services:\n  a: {command: pwd}\n")
    for arguments in (("run", "--", "true"), ("exec", "web", "true"), ("up", "-f", "/run/compose.yaml")):
        refused = berth(*arguments)
        assert refused.returncode in (1, 125)
        assert "running a command in a sandbox needs root: use sudo; the socket's group may" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    assert [sandbox["name"] for sandbox in json.loads(lab.berth("ps", "--format", "json").stdout)] == ["web"]
    for arguments in (("network", "create", "mine"), ("rename", "web", "www"), ("network", "connect", "mine", "www"), ("rm", "www")):
        done = berth(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), done
    assert not lab.runs("sleep 3127")
    assert berth("daemon", "stop").returncode == 0


@pytest.mark.slow
def test_messages(lab):
    lab.start_daemon()
    lab.berth("network", "create", "--subnet", "10.71.0.0/24", "--aux-address", "printer=10.71.0.7", "front")
    lab.berth("run", "-d", "--name", "web", "--network", "front,ip=10.71.0.9", "--", "sleep", "300")
    for arguments, text in (
        (("run", "--network", "front,ip=10.71.0.1", "--", "true"), "address already in use on network front: it is the gateway's"),
        (("run", "--network", "front,ip=10.71.0.7", "--", "true"), "it is the auxiliary address printer"),
        (("run", "--network", "front,ip=10.71.0.9", "--", "true"), "address already in use on network front by sandbox web"),
        (("run", "-p", "99999:80", "--", "true"), "99999 is no port: ports are 1 to 65535"),
        (("run", "-p", "90-80:90-80", "--", "true"), "'90-80' is not a range: its lower number comes first"),
        (("run", "--link", "wbe", "--", "true"), "wbe"),
        (("network", "create", "-o", "mtu=many", "x"), "'many': must be 0 (that of the egress route) or 68 to 65535"),
        (("node", "ls"), "berth daemon --store etcd://"),
    ):
        refused = lab.berth(*arguments, check=False)
        assert refused.returncode in (1, 2, 125)
        assert text in refused.stderr
        assert "invalid driver" not in refused.stderr
    lab.write("/run/bad.toml", 'sufix = "x"\ndefault_bridge = {subnet = ["10.1.0.0/16"]}\n')
    refused = lab.berth("daemon", "--config", "/run/bad.toml", "--check-config", check=False)
    assert "sufix: unknown; did you mean suffix?" in refused.stderr
    assert "subnet is unknown; did you mean subnets?" in refused.stderr


def test_bodies_that_no_name_or_path_can_be_in(lab):
    lab.start_daemon()
    for body in (b'{"name": "\xff"}', b'{"name": "x", "netns": "/run/\\u0000"}', b'{"name": "x", "labels": {"a\\u0000": ""}}'):
        lab.write("/run/body", "")
        lab.shell(f"printf '%b' '{''.join(f'{chr(92)}0{octet:03o}' for octet in body)}' > /run/body")
        command = ("curl", "-s", "-o", "/run/said", "-w", "%{http_code}", "--unix-socket", "/run/berth/berth.sock")
        status = lab.out(*command, "--data-binary", "@/run/body", "http://b/v1/sandboxes")
        assert (status, body) == ("400", body), lab.shell("cat /run/said")
        assert '"object":"body"' in lab.shell("cat /run/said")
    assert lab.berth("network", "rm", "\x1b[2J", check=False).returncode == 1
    assert "\x1b" not in lab.log()
    assert "\\x1b[2J" in lab.log()


def test_output_of_a_service_forges_no_prefix(lab):
    lab.start_daemon()
    command = "printf 'done 10%%\\\\rother-1 | forged\\\\r\\\\n\\\\033[1Aup\\\\n'"
    lab.write("/run/compose.yaml", f'services:\n  a:\n    command: ["sh", "-c", "{command}"]\n')
    said = lab.run(sys.executable, "-m", "resolver", "up", "-f", "/run/compose.yaml").stdout
    lines = [line.partition(" | ") for line in said.splitlines() if " | " in line and "exited" not in line]
    assert [(prefix, text) for prefix, _, text in lines] == [
        ("run-a-1", "done 10%"), ("run-a-1", "other-1 | forged"), ("run-a-1", "\\x1b[1Aup"),
    ]  # fmt: skip


def test_daemon_works_with_just_the_capabilities_of_the_dockerfile(lab):
    text = (Path(__file__).parents[2] / "Dockerfile").read_text()
    capabilities = [name.lower() for name in re.findall(r"--cap-add (\w+)", text)]
    # What the daemon keeps where it has everything, is what somebody needs who gives it as little as possible.
    assert {f"CAP_{name.upper()}" for name in capabilities} == USED.keys()
    bounding_set = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    lab.write("/etc/berth.toml", 'socket_group = "daemon"\n')
    start_bounded(lab, bounding_set, "--config", "/etc/berth.toml")
    assert lab.out("stat", "-c", "%G", "/run/berth/berth.sock") == "daemon"
    lab.berth("network", "create", "--ipv6", "net")
    lab.berth("run", "-d", "--name", "web", "--network", "net", "-p", "8080:80", "--", sys.executable, "-m", "http.server", "80")
    assert "no resolver" not in lab.berth("status").stdout
    for pool in json.loads(lab.berth("network", "inspect", "net").stdout)[0]["pools"]:
        assert lab.in_sandbox("web", "dig", "+short", f"@{pool['gateway']}", "web")
    assert lab.in_sandbox("web", "getent", "hosts", "web")
    lab.wait_for(lambda: "Directory" in lab.out("curl", "-s", "-m", "2", f"http://{HOST_ADDRESS}:8080/", where="outside", check=False))
    # Of another user: its namespaces, and its end.
    somebody = ("setpriv", "--reuid", "12345", "--clear-groups", "--inh-caps=-all")
    lab.berth("run", "-d", "--name", "theirs", "--network", "net", "--", *somebody, "sleep", "611")
    assert lab.api("DELETE", "/v1/sandboxes/theirs")[0] == 200
    assert not lab.pids("sleep 611")
    lab.start("unshare", "--net", *somebody, "sleep", "612")
    lab.wait_for(lambda: lab.pids("sleep 612"))
    (pid,) = lab.pids("sleep 612")
    lab.berth("attach", "--name", "adopted", "--network", "net", "--pid", str(pid))
    assert lab.in_sandbox("adopted", "getent", "hosts", "adopted")
    lab.berth("rm", "web", "adopted")
    lab.berth("network", "rm", "net")


def test_missing_capability_is_not_taken_for_another_program(lab):
    start_bounded(lab, "-net_bind_service")
    lab.berth("network", "create", "net")
    said = lab.berth("status").stdout
    assert "port 53 needs the capability CAP_NET_BIND_SERVICE" in said
    assert "held by" not in said


def start_bounded(lab, bounding_set, *options):
    program = f"{sys.executable} -m resolver daemon {' '.join(options)} > /run/daemon.log 2>&1"
    lab.shell("echo 1024 > /proc/sys/net/ipv4/ip_unprivileged_port_start")
    lab.start("setpriv", "--bounding-set", bounding_set, "--inh-caps", bounding_set, "sh", "-c", f"exec {program}")
    lab.wait_for(lambda: lab.run("test", "-S", "/run/berth/berth.sock", check=False).returncode == 0 and lab.is_ready())


def test_service_install_writes_a_unit_for_this_berth(lab):
    lab.shell("mkdir /run/units")
    assert lab.berth("service", "install", "--directory", "/run/units").stdout == "/run/units/berth.service\n"
    unit = lab.shell("cat /run/units/berth.service")
    program = next(line for line in unit.splitlines() if line.startswith("ExecStart=")).removeprefix("ExecStart=").removesuffix(" daemon")
    assert lab.out(*program.split(), "--version").startswith("berth, version")
    if lab.run("which", "systemd-analyze", check=False).returncode:
        pytest.skip("systemd-analyze is not installed; the unit was not verified")
    verified = lab.run("systemd-analyze", "verify", "/run/units/berth.service", check=False)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    lab.berth("service", "uninstall", "--directory", "/run/units")
    assert lab.shell("ls /run/units") == ""
    assert "nothing to uninstall" in lab.berth("service", "uninstall", "--directory", "/run/units", check=False).stderr


@pytest.mark.slow
def test_service_that_ends_at_once_is_no_failure_and_leaves_its_output(lab):
    lab.start_daemon()
    lab.write(
        "/run/compose.yaml",
        "name: p\nservices:\n  brief: {command: [sh, -c, 'echo said; exit 3'], scale: 3}\n"
        "  last: {command: [sh, -c, 'sleep 3171'], depends_on: [brief]}\n",
    )
    for _ in range(3):
        lab.berth("up", "-d", "-f", "/run/compose.yaml")
        lab.wait_for(lambda: len(lab.berth("compose", "-p", "p", "ps", "-q", "-a", "--filter", "exited=3").stdout.split()) == 3)
        lab.wait_for(lambda: [s["name"] for s in json.loads(lab.berth("ps", "--format", "json").stdout)] == ["p-last-1"])
        assert lab.berth("compose", "-p", "p", "logs", "--no-log-prefix", "brief").stdout.split() == ["said"] * 3
        lab.berth("down", "-f", "/run/compose.yaml")
        assert lab.shell("ls /var/lib/berth/sandboxes") == ""
    assert not lab.runs("sleep 3171")
    refused = lab.berth("down", "-p", "..", check=False)
    assert "project .. is not up" in refused.stderr
