"""An ordinary user in a lab: what his commands do without any right of root's."""

import errno
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from resolver.isolation.rights import DEFAULT, NAMES
from tests.support.lab import HOST_ADDRESS, HOST_ADDRESS6, OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6
from tests.support.user_lab import HOME, RUN_DIR, RUNTIME, SERVER, SERVER6, STATE_DIR, UID, UserLab, why_no_user

WHY_NOT = why_no_user()
if WHY_NOT:
    pytest.skip(WHY_NOT, allow_module_level=True)

ASK = (sys.executable, str(Path(__file__).parents[1] / "support" / "who_are_you.py"), "ask")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lab():
    with UserLab() as made:
        made.serve_outside()
        # As a site's own certificates are: no variable of the user's reaches a command.
        made.shell("cat /run/server.pem >> /etc/ssl/certs/ca-certificates.crt")
        made.berth("network", "create", "--ipv6", "front")
        made.berth("run", "-d", "--name", "client", "--network", "front", "--", "sleep", "infinity")
        yield made


def ask(lab, address, port, kind="tcp", who="client"):
    """What a server says to a sandbox, or the error that it gets."""
    return lab.berth("exec", who, *ASK, address, str(port), kind).stdout.strip()


def test_one_command_reaches_the_name_that_is_allowed(lab):
    said = lab.berth("run", "--egress", "www.example.org", "--", "curl", "-sS", "https://www.example.org/")
    assert "www.example.org" in said.stdout
    refused = lab.berth("run", "--egress", "www.example.org", "--", "curl", "-sS", f"http://{OUTSIDE_ADDRESS}:7000/", check=False)
    assert refused.returncode == 7


@pytest.mark.parametrize(("address", "seen"), [(OUTSIDE_ADDRESS, HOST_ADDRESS), (SERVER6, HOST_ADDRESS6)])
def test_connections_and_datagrams_leave_as_the_users_own(lab, address, seen):
    assert ask(lab, address, 7000) == seen
    assert ask(lab, address, 7001, "udp") == f"{seen} 3000"


@pytest.mark.parametrize("address", [OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6, HOST_ADDRESS])
def test_what_is_refused_outside_is_refused_inside(lab, address):
    assert ask(lab, address, 81) == "ECONNREFUSED"
    assert ask(lab, address, 81, "udp") == "ECONNREFUSED"


def test_what_is_unreachable_outside_is_unreachable_inside(lab):
    lab.shell("ip route add unreachable 198.18.1.0/24; ip route add prohibit 198.18.2.0/24")
    assert ask(lab, "198.18.1.1", 80) == "EHOSTUNREACH"
    # "Administratively prohibited" is this error to a client (icmp_err_convert of the kernel).
    assert ask(lab, "198.18.2.1", 80) == "EHOSTUNREACH"
    assert ask(lab, "198.18.2.1", 80, "udp") == "EHOSTUNREACH"


def test_handshake_is_answered_only_once_the_outside_has_taken_the_connection(lab):
    # Who drops what begins a connection leaves its client waiting, inside as outside; no handshake is completed in its place.
    lab.shell(
        "nft add table inet t; nft add chain inet t i '{type filter hook input priority 0;}'; nft add rule inet t i tcp dport 9999 drop",
        where="outside",
    )
    script = f"import socket\ns=socket.socket(); s.settimeout(1)\ntry: s.connect(('{OUTSIDE_ADDRESS}', 9999)); print('taken')\nexcept TimeoutError: print('waits')"
    assert lab.berth("exec", "client", sys.executable, "-c", script).stdout == "waits\n"


@pytest.mark.parametrize("address", [OUTSIDE_ADDRESS, SERVER6])
def test_pings_are_answered(lab, address):
    said = lab.berth("exec", "client", "ping", "-c", "2", "-i", "0.2", "-s", "1000", "-W", "20", address).stdout
    assert "2 received" in said


_OTHERS = """
import errno, socket, sys, time
family, told = (socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET), {}
for name, kind, protocol in (
    # No more: the kernel says it to one sender six times at once, then once a second.
    ("GRE", socket.SOCK_RAW, 47), ("SCTP", socket.SOCK_RAW, 132), ("UDP-Lite", socket.SOCK_RAW, 136),
):
    sock = socket.socket(family, kind, protocol)
    sock.connect((sys.argv[1], 0))
    end = time.monotonic() + 20
    while not told.get(name) and time.monotonic() < end:
        try:
            sock.send(b"x" * 20)
            told[name] = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except OSError as error:
            told[name] = error.errno
        time.sleep(0.01)
print(*[f"{name}: {errno.errorcode.get(code)}" for name, code in told.items() if code != int(sys.argv[2])], sep=", ")
"""


@pytest.mark.parametrize(("address", "code"), [(OUTSIDE_ADDRESS, errno.ENOPROTOOPT), (OUTSIDE_ADDRESS6, errno.EACCES)])
def test_other_protocols_are_refused(lab, address, code):
    assert lab.berth("exec", "client", sys.executable, "-c", _OTHERS, address, str(code), timeout=200).stdout == "\n"


def test_published_ports_are_the_hosts_and_keep_the_clients_address(lab):
    server = (sys.executable, str(Path(__file__).parents[1] / "support" / "who_are_you.py"), "0.0.0.0")
    lab.berth(
        "run",
        "-d",
        "--name",
        "server",
        "--network",
        "front",
        "-p",
        "8080:7000",
        "-p",
        "8081:7001/udp",
        "-p",
        "127.0.0.1:8082:7000",
        "--",
        *server,
    )
    lab.wait_for(lambda: lab.out(*ASK, HOST_ADDRESS, "8080") == HOST_ADDRESS)
    assert lab.out(*ASK, HOST_ADDRESS, "8080", where="outside") == OUTSIDE_ADDRESS
    assert lab.out(*ASK, HOST_ADDRESS, "8081", "udp", where="outside") == f"{OUTSIDE_ADDRESS} 3000"
    gateway = lab.in_nest("ip -4 -o addr show | grep br- | awk '{print $4}' | head -1").partition("/")[0]
    for address, port in (("127.0.0.1", "8080"), ("::1", "8080"), ("127.0.0.1", "8082")):
        assert lab.out(*ASK, address, port) == gateway
    assert lab.out(*ASK, HOST_ADDRESS, "8082") == "ECONNREFUSED"
    assert ask(lab, HOST_ADDRESS, 8080) == HOST_ADDRESS
    # A daemon that is killed is started again, by the first process of the nest, and clients wait for it.
    (daemon,) = lab.processes("resolver daemon")
    lab.run("kill", "-9", str(daemon))
    assert lab.out(*ASK, HOST_ADDRESS, "8080", where="outside", timeout=60) == OUTSIDE_ADDRESS
    lab.wait_for(lambda: lab.berth("rm", "server", check=False).returncode == 0)
    assert lab.out(*ASK, HOST_ADDRESS, "8080") == "ECONNREFUSED"


def test_ports_that_can_not_be_published_are_refused_with_what_helps(lab):
    listener = lab.start_listening("who_are_you.py", HOST_ADDRESS)
    for published, text in (
        ("80:80", "sudo sysctl -w net.ipv4.ip_unprivileged_port_start=80"),
        (f"{HOST_ADDRESS}:7000:80", f"publish {HOST_ADDRESS}:7000/tcp: address already in use by a program of the host"),
        ("8080:80/sctp", "without root only ports of TCP and UDP are published"),
    ):
        refused = lab.berth("run", "-p", published, "--", "true", check=False)
        assert refused.returncode == 125
        assert text in refused.stderr
    listener.kill()


def test_name_servers_of_the_host_are_asked_where_no_packet_from_the_nest_comes(lab):
    lab.start_listening("upstream.py", "127.0.0.53", "ok", "quiet")
    lab.write("/etc/resolv.conf", "nameserver 127.0.0.53\n")
    try:
        lab.wait_for(lambda: lab.berth("exec", "client", "dig", "+short", "other.example.test").stdout.strip() == "192.0.2.80")
        assert "127.0.0.53" in lab.berth("status").stdout
    finally:
        lab.write("/etc/resolv.conf", f"nameserver {OUTSIDE_ADDRESS}\n")


def test_files_are_the_users_and_ids_are_his(lab):
    lab.as_user("sh", "-c", "echo mine > own.txt")
    assert lab.berth("run", "--", "sh", "-c", "cat own.txt; id -u; pwd").stdout == "mine\n0\n/mnt/home/ann\n"
    lab.berth("run", "--", "sh", "-c", "echo made > made.txt")
    assert lab.out("stat", "-c", "%u", "/mnt/home/ann/made.txt") == str(UID)
    said = lab.berth("exec", "--user", "1000", "client", "id", "-u")
    assert said.stdout == "1000\n"


@pytest.mark.slow
def test_users_and_root_do_not_see_each_other(lab):
    assert lab.berth("network", "create", "front", name="bob").returncode == 0
    assert "client" not in lab.berth("ps", name="bob").stdout
    lab.start_daemon()
    try:
        assert json.loads(lab.run(sys.executable, "-m", "resolver", "ps", "--format", "json").stdout or "[]") == []
        assert "client" in lab.berth("ps").stdout
    finally:
        lab.stop_daemon()
        lab.berth("network", "rm", "front", name="bob")
        lab.end_nest_of_bob()


def test_a_command_has_no_right_over_the_host(lab):
    said = lab.berth(
        "run",
        "--",
        "sh",
        "-c",
        "mount -t tmpfs x /proc/sys; echo 1 > /proc/sys/kernel/panic; hostname elsewhere; nsenter -t 1 -n ip -br link; true",
    ).stdout
    assert "up0" not in said
    assert lab.out("hostname") != "elsewhere"
    attempts = ("chown root /mnt/home/ann/own.txt", "ip link set up0 down", "mount --bind /mnt /etc", "kill -0 1")
    refused = lab.as_user("sh", "-c", "; ".join(f"{attempt} 2>/dev/null && echo 'done: {attempt}'" for attempt in attempts) + "; true")
    assert refused.stdout == ""
    # From inside of a nest it is the same: root there is the user outside.
    said = lab.berth(
        "unshare", "--", "sh", "-c", "ls -ln /etc/shadow | cut -d' ' -f3; cat /etc/shadow >/dev/null || echo refused", check=False
    ).stdout
    assert said.split() == ["65534", "refused"]


def test_a_command_does_not_see_the_session(lab):
    lab.as_user("sh", "-c", "touch $XDG_RUNTIME_DIR/bus")
    lab.shell("mkdir -p /mnt/shown")
    script = "ls $XDG_RUNTIME_DIR $XDG_RUNTIME_DIR/berth; cat /etc/resolv.conf"
    for options in ((), ("--egress", "none")):
        said = lab.berth("run", *options, "-e", "XDG_RUNTIME_DIR", "--", "sh", "-c", script).stdout
        assert not {"bus", "edge", "outside"} & set(said.split())
        assert "nameserver 127.0.0.11" in said
    # Who names it means it.
    assert "bus" in lab.berth("run", "-v", f"{RUNTIME}:/mnt/shown", "--", "ls", "/mnt/shown").stdout


LOOK = (
    "grep -E 'CapEff|NoNewPrivs' /proc/self/status; id -u; id -G; test -e $0 && echo sees; mount -t tmpfs x /mnt 2>/dev/null && echo mounts; "
    "ip link set lo down 2>/dev/null && echo changes; unshare -Urm umount $0 2>/dev/null && echo uncovers; test ! -s /proc/keys && echo masked"
)


@pytest.mark.parametrize("command", ["run", "exec"])
def test_a_command_gets_no_more_than_one_of_roots_does(lab, command):
    words = ("run", "--") if command == "run" else ("exec", "client")
    shown = lab.berth(*words, "sh", "-c", LOOK, f"{RUN_DIR}/berth.sock").stdout.split("\n")
    usual = sum(1 << NAMES.index(name) for name in DEFAULT)
    assert shown == [f"CapEff:\t{usual:016x}", "NoNewPrivs:\t1", "0", "0", "masked", ""]


def test_other_users_and_confinement_are_there_and_bounds_say_why_they_are_not(lab):
    assert lab.berth("run", "--user", "1000:1001", "--group-add", "7", "--", "sh", "-c", "id -u; id -G").stdout.split() == [
        "1000",
        "1001",
        "7",
    ]
    refused = lab.berth("run", "-m", "64m", "--", "true", check=False)
    assert (refused.returncode, "--memory: " in refused.stderr) == (125, True)
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed (package bubblewrap)")
    lab.as_user("mkdir", "-p", "work")
    script = "touch made ~/own; touch /mnt/home/ann/../x 2>/dev/null; ls -A ~; ls $XDG_RUNTIME_DIR; grep -c . /etc/passwd; grep CapEff /proc/self/status"
    shown = lab.berth("run", "--confine=work", "-w", "work", "-e", "XDG_RUNTIME_DIR", "--", "sh", "-c", script, check=False)
    assert shown.stdout.split() == ["own", "work", "1", "CapEff:", "0" * 16]
    assert lab.out("stat", "-c", "%u", "/mnt/home/ann/work/made") == str(UID)


def test_loopback_of_the_host_is_not_reached(lab):
    listener = lab.start_listening("who_are_you.py", "127.0.0.1")
    gateway = lab.berth("exec", "client", "ip", "route").stdout.split()[2]
    for address in ("127.0.0.1", gateway, "192.0.0.1", "192.0.0.2"):
        assert ask(lab, address, 7000) == "ECONNREFUSED"
    listener.kill()


def test_links_of_the_host_are_refused_with_the_reason(lab):
    refused = lab.berth("network", "create", "-d", "macvlan", "-o", "parent=up0", "lan", check=False)
    assert "up0 is no link of this user's; the host's own can be used by root's berth only" in refused.stderr


@pytest.mark.slow
def test_subnets_of_the_host_are_left_out(lab):
    lab.berth("network", "create", "first")
    subnet = lab.pool("first")
    lab.berth("network", "rm", "first")
    lab.shell(f"ip link add taken0 type bridge; ip link set taken0 up; ip route add {subnet} dev taken0")
    lab.wait_for(lambda: f"{subnet} via" in lab.in_nest("ip route"))
    lab.berth("network", "create", "second")
    assert lab.pool("second") != subnet
    lab.berth("network", "rm", "second")
    lab.shell("ip link del taken0")
    lab.wait_for(lambda: f"{subnet} via" not in lab.in_nest("ip route"))


@pytest.mark.slow
def test_namespaces_of_other_programs_are_adopted_when_started_inside(lab):
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    lab.start_berth("unshare", "--", "bwrap", "--dev-bind", "/", "/", "--unshare-net", "sleep", "4713")
    lab.wait_for(lambda: lab.processes("^sleep 4713"))
    (pid,) = lab.processes("^sleep 4713")
    lab.berth("attach", "--name", "adopted", "--network", "front", "--pid", str(pid))
    assert ask(lab, OUTSIDE_ADDRESS, 7000, who="adopted") == HOST_ADDRESS
    lab.berth("detach", "adopted")
    lab.start(*lab.prefix_of(), "unshare", "-U", "-n", "sleep", "4714")
    lab.wait_for(lambda: lab.processes("^sleep 4714"))
    refused = lab.berth("attach", "--name", "x", "--pid", str(lab.processes("^sleep 4714")[0]), check=False)
    assert "start it there, with `berth unshare -- COMMAND`" in refused.stderr


_PODMAN = """
cd; mkdir -p rootfs/bin rootfs/etc rootfs/proc rootfs/sys rootfs/dev; cp $(which busybox) rootfs/bin/
for name in sleep nslookup; do ln -sf busybox rootfs/bin/$name; done
echo nameserver 127.0.0.11 > resolv.conf
podman() { command podman --cgroup-manager=cgroupfs --storage-driver=vfs "$@"; }
podman run -d --cgroups=disabled --name legacy --network none -v ~/resolv.conf:/etc/resolv.conf:ro --rootfs ~/rootfs /bin/sleep 3600 &&
  BERTH attach --name legacy --network front --pid $(podman inspect -f "{{.State.Pid}}" legacy) && podman exec legacy nslookup client
podman rm -ft 0 legacy
"""


def test_container_of_podman_is_adopted(lab):
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    said = lab.berth("unshare", "--", "sh", "-c", _PODMAN.replace("BERTH", lab.quoted()), timeout=120)
    address = next(line.split()[0] for line in lab.berth("exec", "client", "getent", "ahostsv4", "client").stdout.splitlines())
    assert address in said.stdout, said.stderr
    lab.wait_for(lambda: "legacy" not in lab.berth("ps", "-a").stdout or lab.berth("detach", "legacy", check=False).returncode == 0)


def test_way_out_that_is_killed_comes_back(lab):
    (process,) = lab.processes("netcore.way_out.program")
    lab.run("kill", "-9", str(process))
    lab.wait_for(lambda: ask(lab, OUTSIDE_ADDRESS, 7000) == HOST_ADDRESS)
    assert lab.processes("netcore.way_out.program") != [process]


_DEAF = f"""
import socket, subprocess, time
held = socket.create_connection(("{SERVER}", 443), 20)
subprocess.run(("nft", "table inet deaf {{ chain input {{ type filter hook input priority 0; tcp sport 443 drop; }}; }}"), check=True)
print("deaf", flush=True)
time.sleep(3600)
"""


def test_way_out_that_is_killed_comes_back_although_a_client_takes_no_end(lab):
    # What it leaves to such a client keeps the kernel from ending its namespace, and that has the other end of the nest's uplink.
    held = lab.start_berth("run", "--privileged", "--network", "front", "--", sys.executable, "-c", _DEAF)
    assert held.stdout.readline() == "deaf\n"
    (process,) = lab.processes("netcore.way_out.program")
    lab.run("kill", "-9", str(process))
    lab.wait_for(lambda: lab.processes("netcore.way_out.program") not in ([], [process]))
    assert "uplink0" in lab.in_nest("ip -br link")
    lab.wait_for(lambda: ask(lab, OUTSIDE_ADDRESS, 7000) == HOST_ADDRESS)
    assert "Traceback" not in lab.in_nest(f"cat {RUN_DIR}/way-out.log")
    held.kill()


def test_edge_that_is_killed_comes_back(lab):
    killed = lab.serving("netcore/edge/program.py")
    lab.run("kill", "-9", str(killed))
    lab.wait_for(lambda: ask(lab, OUTSIDE_ADDRESS, 7000) == HOST_ADDRESS)
    lab.wait_for(lambda: lab.serving("netcore/edge/program.py") not in (None, killed))


def test_doctor_says_what_the_host_lacks(lab):
    lab.shell("echo '1 0' > /proc/sys/net/ipv4/ping_group_range")
    said = lab.berth("doctor")
    lab.shell("echo '0 2147483647' > /proc/sys/net/ipv4/ping_group_range")
    assert 'sudo sysctl -w net.ipv4.ping_group_range="0 2147483647"' in said.stdout
    assert "below 1024 can't be published" in said.stdout
    assert said.stdout.endswith("0 problems\n")


def test_service_of_a_user_is_a_unit_of_his_own(lab):
    where = "/mnt/home/ann/.config/systemd/user/berth.service"
    assert lab.berth("service", "install", "--user").stdout == f"{where}\n"
    assert "\nExecStart=" in lab.out("cat", where)
    lab.berth("service", "uninstall", "--user")
    assert lab.run("test", "-e", where, check=False).returncode
    refused = lab.berth("service", "install", check=False)
    assert "an ordinary user has `berth service install --user`" in refused.stderr


@pytest.mark.slow
def test_daemon_in_the_foreground_serves_until_it_is_told_to_stop(lab):
    daemon = lab.start_berth("daemon", name="bob")
    lab.wait_for(lambda: lab.berth("status", name="bob", check=False).returncode == 0)
    assert "started by a command" not in lab.berth("status", name="bob").stdout
    lab.berth("daemon", "stop", name="bob")
    assert daemon.wait(60) == 0
    # Without anybody left the namespaces end.
    lab.wait_for(lambda: not lab.processes("resolver.rootless.holder", UID + 1))


def without_root():
    """Return the README's command for an ordinary user."""
    return re.search(r"^<!-- without root -->\n```sh\n(.*)\n```$", (ROOT / "README.md").read_text(), re.MULTILINE)[1]


def test_readme_has_the_command_and_it_works(lab):
    made, installed, command = without_root().split(" && ")
    assert (made, installed) == ("python3 -m venv v", "v/bin/pip install .")
    # What the first two make; the next test has them too.
    lab.as_user(
        "sh", "-c", f"mkdir -p v/bin; printf '#!/bin/sh\\nexec {sys.executable} -m resolver \"$@\"\\n' > v/bin/berth; chmod +x v/bin/berth"
    )
    said = lab.as_user("sh", "-c", command)
    assert "www.example.org" in said.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_readme_command_works_word_for_word(tmp_path):
    """The packages come from a directory, as no lab has a registry; pip is told by variables, not by the command."""
    checkout, packages = tmp_path / "checkout", tmp_path / "packages"
    shutil.copytree(
        ROOT, checkout, ignore=shutil.ignore_patterns(".venv", ".git", "results", "__pycache__", ".*_cache", "*.egg-info", "build")
    )
    fetched = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "-d", str(packages), str(checkout), "setuptools>=77", "wheel"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if fetched.returncode:
        pytest.skip(f"no registry of packages is reached: {fetched.stderr.strip()[-200:]}")
    with UserLab() as lab:
        lab.serve_outside()
        lab.shell("cat /run/server.pem >> /etc/ssl/certs/ca-certificates.crt")
        lab.shell(
            f"cp -r {checkout} {HOME}/berth; cp -r {packages} /mnt/packages; chown -R {UID} {HOME}/berth; chmod -R a+rX /mnt/packages {HOME}/berth"
        )
        variables = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/mnt/packages"}
        said = lab.as_user("sh", "-c", f"cd berth && {without_root()}", environment=variables, timeout=200)
        assert said.stdout.endswith("www.example.org www.example.org\n")


@pytest.mark.parametrize(
    "made",
    [
        "mkdir -m 777 hers/berth",
        "mkdir -m 700 hers/berth; chown ann: hers/berth",
        "mkdir his; ln -s ../his hers/berth",
        "rmdir hers; ln -s /mnt/home/ann hers; chown -h bob: hers",
    ],
)
def test_directory_that_others_can_change_is_refused(lab, made):
    lab.shell(f"cd /mnt; rm -rf hers his; mkdir -m 777 hers; {made}")
    refused = lab.berth("run", "--", "true", environment={"XDG_RUNTIME_DIR": "/mnt/hers"}, check=False)
    assert refused.returncode == 125
    assert "/mnt/hers/berth must be a directory that only its user can write to" in refused.stderr


def test_pid_of_outside_is_taken_for_no_process_of_inside(lab):
    request = ("curl", "-s", "--unix-socket", f"{RUN_DIR}/berth.sock", "http://berth/v1/networks", "-d")
    said = lab.as_user(*request, json.dumps({"name": "owned", "owner_pid": 1})).stdout
    assert "1 is a pid of outside, which is another process's here" in said
    assert json.loads(lab.as_user(*request, json.dumps({"name": "free"})).stdout)["name"] == "free"
    lab.berth("network", "rm", "free")


def test_signals_and_exit_codes_pass_through(lab):
    assert lab.berth("run", "--", "sh", "-c", "exit 7", check=False).returncode == 7
    run = lab.start_berth("run", "--", "sh", "-c", "trap 'echo ended; exit 3' TERM; echo runs; while :; do sleep 0.1; done")
    assert run.stdout.readline() == "runs\n"
    run.send_signal(signal.SIGTERM)
    assert run.stdout.readline() == "ended\n"
    assert run.wait(30) == 3


_COUNTS = """
import signal, sys
got = []
signal.signal(signal.SIGINT, lambda *_: (got.append("INT"), print("interrupted", flush=True)))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(10 + len(got)))
print("runs", flush=True)
while True: signal.pause()
"""


def test_an_interrupt_comes_once_whether_a_terminal_or_a_program_sends_it(lab):
    words = ("unshare", "--", sys.executable, "-u", "-c", _COUNTS)
    sent = lab.start_berth(*words)
    assert sent.stdout.readline() == "runs\n"
    sent.send_signal(signal.SIGINT)
    assert sent.stdout.readline() == "interrupted\n"
    sent.send_signal(signal.SIGTERM)
    assert sent.wait(30) == 11
    if shutil.which("script") is None:
        pytest.skip("script is not installed (package bsdutils)")
    # Some shells stay beside their last command, and end by the interrupt themselves: dash does, Bash becomes it.
    line = f"exec {shlex.join([*lab.prefix_of(), sys.executable, '-m', 'resolver', *words])}"
    command = ["script", "-qec", line, "/dev/null"]
    typed = subprocess.Popen(
        [*lab._prefix("host"), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=lab.environment,
        start_new_session=True,
    )
    lab.started.append(typed)
    with typed.stdin:
        assert typed.stdout.readline().strip() == "runs"
        typed.stdin.write("\x03")
        typed.stdin.flush()
        assert "interrupted" in typed.stdout.readline()
        # Behind whatever it would hand on of that.
        (outside,) = lab.processes(f"resolver unshare -- {sys.executable} -u")
        lab.run("kill", "-TERM", str(outside))
        assert typed.wait(30) == 11


def test_command_ends_with_the_client_outside(lab):
    run = lab.start_berth("run", "--name", "gone", "--", "sleep", "4711")
    lab.wait_for(lambda: lab.processes("^sleep 4711"))
    run.kill()
    lab.wait_for(lambda: not lab.processes("^sleep 4711"))
    lab.wait_for(lambda: "gone" not in lab.berth("ps").stdout)


SHOP = str(ROOT / "examples" / "shop.yaml")


@pytest.mark.slow
def test_a_students_shop_is_there_until_it_is_interrupted(lab):
    # As the first lines of the file say it, on a host that other people use.
    up = lab.start_berth("up", "-f", SHOP)
    for address, where in (("127.0.0.1", "host"), (HOST_ADDRESS, "outside")):
        lab.wait_for(lambda at=address, there=where: lab.run("curl", "-sf", f"http://{at}:8080/", where=there, check=False).returncode == 0)
    assert {f"examples-{name}-1" for name in ("db", "api", "web")} <= {
        one["name"] for one in json.loads(lab.berth("ps", "--format", "json").stdout)
    }
    # What the database has, by the API.
    assert "apple: 12" in lab.out("curl", "-s", "http://127.0.0.1:8080/")
    assert ask(lab, OUTSIDE_ADDRESS, 7000, who="examples-db-1") == "ENETUNREACH"
    up.send_signal(signal.SIGINT)
    assert up.wait(60) in (0, 130)
    assert "examples-" not in lab.berth("ps").stdout
    assert lab.out("ss", "-Hlnt", "sport", "8080") == ""


def test_shop_comes_up_with_its_published_port(lab):
    shop = SHOP
    lab.berth("up", "-d", "-f", shop, environment={"SHOP_PORT": "8090"})
    lab.wait_for(lambda: lab.run("curl", "-sf", f"http://{HOST_ADDRESS}:8090/", where="outside", check=False).returncode == 0)
    lab.berth("down", "-f", shop)


@pytest.mark.slow
def test_one_id_is_enough_and_said(lab):
    # Bob has no subordinate ids.
    lab.end_nest_of_bob()
    said = lab.berth("run", "--", *ASK, OUTSIDE_ADDRESS, "7000", name="bob")
    assert said.stdout.strip() == HOST_ADDRESS
    assert "/etc/subuid has no ids for bob; `sudo usermod --add-subuids" in said.stderr
    lab.berth("run", "-d", "--name", "own", "--", "sleep", "infinity", name="bob")
    refused = lab.berth("exec", "--user", "1000", "own", "id", name="bob", check=False)
    assert "becoming user 1000" in refused.stderr
    assert "without root only ids that are mapped are there" in refused.stderr
    assert lab.berth("rm", "own", name="bob").stderr == ""


def test_namespaces_that_are_switched_off_are_found_out(lab):
    # In a user namespace of its own, so that the host's switch stays as it is.
    script = f"echo 0 > /proc/sys/user/max_user_namespaces; exec {lab.quoted('run', '--', 'true')}"
    own = {"XDG_RUNTIME_DIR": "/mnt/home/ann"}
    refused = lab.as_user("unshare", "-U", "--map-current-user", "--keep-caps", "sh", "-c", script, environment=own, check=False)
    assert refused.returncode == 125
    assert "sudo sysctl -w user.max_user_namespaces=15000" in refused.stderr


def test_shell_in_a_user_namespace_of_its_own_is_told_so(lab):
    refused = lab.as_user("unshare", "-U", "--map-current-user", *lab.quoted("ps").split(), check=False)
    assert refused.returncode == 125
    assert "this shell is in a user namespace of its own" in refused.stderr


@pytest.mark.slow
def test_services_of_the_host_need_the_rule_that_names_the_host(lab):
    listener = lab.start_listening("who_are_you.py", HOST_ADDRESS)
    name = f"{HOST_ADDRESS.replace('.', '-')}.hostile.test"
    for rules, target, said in (
        (f"{name}+private:7000", name, ""),
        ("all", HOST_ADDRESS, "ECONNREFUSED"),
        (f"{HOST_ADDRESS}:7000", HOST_ADDRESS, "ECONNREFUSED"),
        ("host:7000", HOST_ADDRESS, HOST_ADDRESS),
        ("host:7001", HOST_ADDRESS, "ECONNREFUSED"),
    ):
        got = lab.berth("run", "--egress", rules, "--", *ASK, target, "7000").stdout.strip()
        assert got == said or (not said and got != HOST_ADDRESS), rules
    listener.kill()


def test_command_in_a_sandbox_that_can_not_see_the_daemon_starts_none(lab):
    variables = ("-e", "BERTH_ROOTLESS", "-e", "XDG_RUNTIME_DIR", "-e", "PYTHONPATH")
    said = lab.berth("run", *variables, "--", sys.executable, "-m", "resolver", "network", "create", "x", check=False)
    assert said.returncode == 1
    assert "this command is in a sandbox, from where no daemon is started" in said.stderr


@pytest.mark.slow
def test_nothing_but_networks_and_names_is_left_by_kill_and_the_next_start_takes_over(lab):
    lab.shell("if [ -d /dev/net ]; then mount -t tmpfs tmpfs /dev/net; fi")
    lab.berth("run", "-d", "--name", "web", "-p", "8080:7000", "--", "sleep", "4712")
    lab.run("kill", "-9", str(lab.holder()))
    lab.wait_for(lambda: not lab.processes("resolver|sleep 4712|netcore|edge"))
    assert sorted(lab.out("ls", RUN_DIR).split()) == ["berth-ro.sock", "berth.sock", "lock"]
    assert "berth.db" in lab.out("ls", STATE_DIR)
    lab.wait_for(lambda: lab.out("ss", "-Hlnt", "sport", "8080") == "")
    # Two first commands at the same time have one nest, and neither needs /dev/net/tun.
    both = [lab.start_berth("run", "--", *ASK, OUTSIDE_ADDRESS, "7000") for _ in range(2)]
    assert [one.communicate(timeout=60)[0] for one in both] == [f"{HOST_ADDRESS}\n"] * 2
    assert lab.holder()
    assert "front" in lab.berth("network", "ls").stdout
