"""What a command gets of the host beside its network: rights, variables, descriptors, files, bounds; and what it can't reach."""

import json
import os
import platform
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from resolver.isolation.rights import DEFAULT, NAMES
from tests.support.lab import Lab

USUAL = sum(1 << NAMES.index(name) for name in DEFAULT)
NEEDS_BUBBLEWRAP = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is not installed (package bubblewrap)")
LOOK = """
import json, os
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({
    "uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(), "environment": dict(os.environ),
    "capabilities": [int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")], "others": [int(status[name], 16) for name in ("CapInh", "CapAmb")],
    "no_new_privileges": status["NoNewPrivs"] == "1", "descriptors": [number for number in range(64) if os.path.exists(f"/proc/self/fd/{number}")],
    "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in ("cgroup", "ipc", "mnt", "net", "pid", "uts", "user")},
    "processes": [name for name in os.listdir("/proc") if name.isdigit()],
}))
"""
AS = ("python3", "-c", LOOK)


@pytest.fixture(scope="module")
def lab(lab):
    lab.berth("network", "create", "front")
    lab.berth("network", "create", "--internal", "back")
    lab.berth("run", "-d", "--name", "jail", "--network", "back", "-e", "OWN=1", "--", "sleep", "infinity")
    return lab


def seen(lab: Lab, *options: str, command: str = "run") -> dict:
    """Return what a command sees of itself; *command*: run, or exec in `jail`."""
    words = (*options, "--") if command == "run" else (*options, "jail")
    return json.loads(lab.berth(command, *words, *AS).stdout)


def said(lab: Lab, *words: str, code: int = 0) -> str:
    """Return what a command line of berth prints, which ends with *code*."""
    done = lab.berth(*words, check=False)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


# --- rights -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "exec"])
def test_a_command_has_the_capabilities_of_docker_that_do_not_reach_outside(lab, command):
    found = seen(lab, command=command)
    assert found["capabilities"] == [USUAL] * 3
    assert (found["others"], found["no_new_privileges"], found["groups"], found["uid"]) == ([0, 0], True, [], [0, 0, 0])
    missing = {"NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE", "MKNOD", "AUDIT_WRITE", "SYS_MODULE", "BPF", "SYS_RAWIO", "DAC_READ_SEARCH"}
    assert not missing & set(DEFAULT)


@pytest.mark.parametrize(
    ("options", "capabilities"),
    [
        (("--cap-add", "net_admin"), USUAL | 1 << 12),
        (("--cap-drop", "ALL"), 0),
        (("--cap-drop", "ALL", "--cap-add", "CAP_NET_RAW"), 1 << 13),
        (("--cap-add", "ALL", "--cap-drop", "SYS_ADMIN"), None),
        (("--cap-drop", "CHOWN", "--cap-drop", "kill"), USUAL & ~1 & ~(1 << 5)),
    ],
)
def test_capabilities_are_added_and_dropped_as_docker_does(lab, options, capabilities):
    found = seen(lab, *options)["capabilities"]
    everything = seen(lab, "--privileged")["capabilities"][0]
    wanted = everything & ~(1 << 21) if capabilities is None else capabilities
    assert found == [wanted] * 3


@pytest.mark.parametrize("command", ["run", "exec"])
def test_who_wants_no_protection_has_all_capabilities(lab, command):
    found = seen(lab, "--privileged", command=command)
    own = int(re.search(r"CapEff:\s*(\w+)", lab.out("cat", "/proc/self/status"))[1], 16)
    assert (found["capabilities"], found["no_new_privileges"]) == ([own] * 3, False)


def test_setuid_programs_work_for_who_asks_for_it(lab):
    assert seen(lab, "--security-opt", "no-new-privileges=false")["no_new_privileges"] is False
    assert seen(lab, "--privileged", "--security-opt", "no-new-privileges:true")["no_new_privileges"] is True


def test_a_command_runs_as_the_user_that_is_asked_for_and_without_other_groups(lab):
    found = seen(lab, "--user", "65534:4", "--group-add", "7", "-e", "A=1")
    assert (found["uid"], found["gid"], found["groups"]) == ([65534] * 3, [4] * 3, [7])
    assert found["capabilities"] == [0, 0, USUAL]
    assert (found["environment"]["HOME"], found["environment"]["USER"]) == ("/nonexistent", "nobody")
    assert seen(lab, "--user", "4711")["gid"] == [0] * 3
    assert seen(lab, "--user", "nobody", command="exec")["uid"] == [65534] * 3
    assert "the host has no user 'nobody-such'" in said(lab, "run", "--user", "nobody-such", "--", "true", code=125)


def test_groups_of_the_caller_are_given_up(lab):
    script = f"exec setpriv --groups 4,5,6 {sys.executable} -m resolver run -- python3 -c '{LOOK}'"
    assert json.loads(lab.shell(script.replace("'", '"', 0)))["groups"] == []


def test_a_user_who_is_not_root_pings_and_listens_on_low_ports(lab):
    script = "import socket; s = socket.socket(); s.bind(('', 80)); p = socket.socket(2, 2, 1); print('both')"
    assert said(lab, "run", "--user", "nobody", "--", "python3", "-c", script) == "both\n"
    with_own = ("--sysctl", "net.ipv4.ip_unprivileged_port_start=500")
    start = said(lab, "run", "--user", "nobody", *with_own, "--", "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start")
    assert start == "500\n"


def test_limits_of_a_process_are_set(lab):
    assert (
        said(lab, "run", "--ulimit", "nofile=100:150", "--ulimit", "core=0", "--", "sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -c")
        == "100\n150\n0\n"
    )


def test_what_is_none_is_refused_with_what_would_be_right(lab):
    for words, text in (
        (("--cap-add", "FLY"), "invalid cap-add: 'FLY' is no capability"),
        (("--security-opt", "seccomp=profile.json"), "invalid security-opt: 'seccomp=profile.json' is none of no-new-privileges"),
        (("--ulimit", "files=3"), "invalid ulimit: 'files=3' is not NAME=SOFT[:HARD]"),
        (("-m", "1k"), "invalid memory: 1024 octets are too few: the least is 6m"),
        (("-v", "data:/mnt"), "invalid volume: 'data:/mnt': 'data' is no path; there are no named volumes"),
        (("-v", "/etc:/proc/x"), "nothing can be put over /proc/x"),
        (("-v", "/nosuch:/mnt"), "/nosuch is not there; create it first"),
        (("--tmpfs", "/nosuch"), "/nosuch is not there; a sandbox sees the files of this host"),
        (("--tmpfs", "/mnt:size=much"), "invalid tmpfs"),
        (("--group-add", "groupless"), "--group-add groupless: the host has no group 'groupless'"),
    ):  # fmt: skip
        assert text in said(lab, "run", *words, "--", "true", code=125)
    assert "run-" not in lab.berth("ps", "-a", "--format", "{{.Names}}").stdout


# --- variables and descriptors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "exec"])
def test_a_command_has_few_of_the_callers_variables(lab, command, monkeypatch):
    given = {
        "SECRET": "s",
        "LC_TIME": "C",
        "TZ": "UTC",
        "TERM": "dumb",
        "LD_PRELOAD": "",
        "XDG_RUNTIME_DIR": "/x",
        "BERTH_RUN_DIR": "/run/berth",
    }
    lab.environment |= given
    try:
        found = set(seen(lab, "-e", "A=1", command=command)["environment"])
        passed = seen(lab, "-e", "SECRET", command=command)["environment"]
        everything = seen(lab, "--env-all", command=command)["environment"]
    finally:
        for name in given:
            del lab.environment[name]
    # The interpreter adds LC_CTYPE where there is no other locale.
    allowed = {"PATH", "HOME", "USER", "SHELL", "TERM", "LANG", "LC_TIME", "LC_CTYPE", "LC_ALL", "TZ", "A", "OWN"}
    assert found <= allowed
    assert found >= {"PATH", "TERM", "LC_TIME", "TZ", "A"}
    assert passed["SECRET"] == everything["SECRET"] == "s"
    assert everything["BERTH_RUN_DIR"] == "/run/berth"


@pytest.mark.parametrize("command", ["run", "exec"])
def test_descriptors_above_2_are_closed_but_those_that_are_named(lab, command):
    rest = "--" if command == "run" else "jail"
    look = "python3 -c 'import os; print(*[n for n in range(64) if os.path.exists(f\"/proc/self/fd/{n}\")])'"
    opened = f"exec 5</etc/passwd 6</etc/passwd 7</etc/passwd; {sys.executable} -m resolver {command}"
    assert lab.shell(f"{opened} {rest} {look}") == "0 1 2"
    assert lab.shell(f"{opened} --preserve-fd 5,7 {rest} {look}") == "0 1 2 5 7"
    refused = lab.run("sh", "-c", f"{sys.executable} -m resolver {command} --preserve-fd 9 {rest} true", check=False)
    assert (refused.returncode, "--preserve-fd 9: descriptor 9 is not open" in refused.stderr) == (2, True)


TYPE = (Path(__file__).parents[1] / "support" / "type_into_terminal.py").read_text()
WAYS = 4 if platform.machine() == "x86_64" else 2
"""Into the kernel, that are tried for each of two ioctls."""
ON_A_TERMINAL = (sys.executable, "-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))")


def typed(output: str) -> set[str]:
    """Return what the attempts of a command on a terminal came to."""
    words = output.split()[-2 * WAYS :]
    assert len(words) == 2 * WAYS, output
    return set(words)


@pytest.mark.parametrize(
    "words",
    [
        ("run",), ("run", "--user", "nobody"), ("run", "--cap-add", "ALL"), ("run", "--security-opt", "no-new-privileges=false"),
        ("run", "--egress", "none", "--privileged"), ("run", "--egress", "none", "--security-opt", "seccomp=unconfined"), ("exec",), ("exec", "--user", "nobody"),
        pytest.param(("run", "--confine=/srv"), marks=NEEDS_BUBBLEWRAP),
    ],
)  # fmt: skip
def test_a_command_does_not_type_into_the_callers_terminal(lab, words):
    target = "jail" if words[0] == "exec" else "--"
    done = lab.run(*ON_A_TERMINAL, sys.executable, "-m", "resolver", *words, target, "python3", "-c", TYPE)
    assert typed(done.stdout) == {"EPERM"}


def test_the_process_that_a_command_might_trace_does_not_type_either(lab):
    done = lab.berth("run", "--cap-add", "SYS_PTRACE", "--", "grep", "-h", "^Seccomp:", "/proc/1/status", "/proc/self/status")
    assert done.stdout.split() == ["Seccomp:", "2"] * 2


def test_without_the_filter_a_command_types_if_the_kernel_lets_it(lab):
    unfiltered = ("run", "--security-opt", "seccomp=unconfined", "--", "python3", "-c", TYPE)
    done = lab.run(*ON_A_TERMINAL, sys.executable, "-m", "resolver", *unfiltered)
    # EIO where dev.tty.legacy_tiocsti is 0; EINVAL and ENOTTY: no console.
    assert typed(done.stdout) & {"done", "EIO"}


def test_what_stays_keeps_no_descriptor_of_the_caller(lab):
    berth = f"{sys.executable} -m resolver"
    script = f"exec 5>/run/locked; flock 5; {berth} run -d --name stays -- sleep 1000 >/dev/null; exec 5>&-; flock -n /run/locked echo free"
    assert lab.shell(script) == "free"
    lab.berth("rm", "-f", "stays")


# --- what is not in sight -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [(), ("--user", "nobody"), ("--cap-add", "ALL", "--cap-drop", "SYS_ADMIN"), pytest.param(("--confine=/srv",), marks=NEEDS_BUBBLEWRAP)]
)  # fmt: skip
def test_a_command_does_not_command_the_daemon(lab, options):
    connect = (sys.executable, "-m", "resolver", "network", "connect", "front", "jail")
    variables = (f"PYTHONPATH={lab.environment['PYTHONPATH']}", "BERTH_RUN_DIR=/run/berth")
    done = lab.berth("run", *options, *(part for one in variables for part in ("-e", one)), "--", *connect, check=False)
    assert done.returncode != 0
    assert lab.inspect("jail")["networks"] == ["back"]
    script = "import socket; s = socket.socket(socket.AF_UNIX); print(s.connect_ex('/run/berth/berth.sock'))"
    assert said(lab, "run", *options, "--", "python3", "-c", script) == "2\n"


def test_state_and_other_sandboxes_files_are_hidden_and_the_rest_of_run_is_not(lab):
    lab.shell("touch /run/seen")
    jail = lab.inspect("jail")
    paths = (
        jail["files"],
        jail["directory"],
        jail["netns"],
        "/run/berth/berth-ro.sock",
        "/run/berth/keeper.sock",
        "/var/lib/berth/berth.db",
    )
    script = "import os, sys; print(*[path for path in sys.argv[1:] if os.path.exists(path)])"
    for options in ((), ("--user", "nobody"), ("--network", "host"), ("--network", "container:jail")):
        shown = said(lab, "run", *options, "--", "python3", "-c", script, "/run/seen", *paths).split()
        assert shown == (["/run/seen", jail["files"]] if "container:jail" in options else ["/run/seen"])
    assert "seen" in said(lab, "exec", "jail", "ls", "/run")
    assert said(lab, "exec", "jail", "ls", "/run/netns") == ""


def test_a_command_writes_nothing_that_the_daemon_reads(lab):
    """What is kept of the sandbox's own directories is for reading: who holds the sandbox writes there as root of the host."""
    jail = lab.inspect("jail")
    script = f"touch {jail['directory']}/exit || touch {jail['files']}/hosts || rm {jail['directory']}/output.log || echo {{}} > {jail['directory']}/command"
    assert "Read-only file system" in said(lab, "exec", "jail", "sh", "-c", script, code=2)
    # By its place in /etc the hosts file is the sandbox's, as in a container.
    said(lab, "run", "--", "sh", "-c", "echo 10.0.0.1 added >> /etc/hosts && grep -q added /etc/hosts")


def test_a_command_is_in_namespaces_of_its_own(lab):
    own = {name: lab.out("readlink", f"/proc/self/ns/{name}") for name in ("cgroup", "ipc", "mnt", "net", "pid", "uts", "user")}
    first, second, third = seen(lab), seen(lab, "--network", "host"), seen(lab, command="exec")
    for name, one in own.items():
        for found in (first, second, third):
            assert (found["namespaces"][name] == one) is (name == "user" or (name == "net" and found is second))
    leader = lab.inspect("jail")["leader"]["pid"]
    assert third["namespaces"] == {name: str(Path(f"/proc/{leader}/ns/{name}").readlink()) for name in third["namespaces"]}
    # Its first process is berth's own, which reaps.
    assert set(first["processes"]) == {"1", "2"}


def test_shared_memory_is_the_sandboxs(lab):
    lab.shell("mount -t tmpfs tmpfs /dev/shm; touch /dev/shm/of-the-host")
    try:
        assert said(lab, "run", "--shm-size", "1m", "--", "sh", "-c", "ls /dev/shm; df -B1 --output=size /dev/shm | tail -1").split() == [
            "1048576"
        ]
        assert said(lab, "exec", "jail", "ls", "/dev/shm") == ""
    finally:
        lab.shell("umount /dev/shm")


MASKED = """
for path in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do test ! -e $path || test ! -s $path && test -z "$(cat $path 2>/dev/null)" || echo sees $path; done
for path in /proc/acpi /sys/firmware; do test -z "$(ls $path 2>/dev/null)" || echo sees $path; done
for path in /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/domainname /proc/sysrq-trigger /sys/class/net/lo/mtu; do test ! -e $path || ! echo 0 2>/dev/null > $path || echo writes $path; done
mount -t tmpfs x /mnt 2>/dev/null && echo mounts
umount /run/berth 2>/dev/null && echo uncovers
mknod /tmp/berth-null c 1 3 2>/dev/null && echo makes devices
nsenter -t 1 -m true 2>/dev/null && echo enters
ls /proc/1/root/ 2>/dev/null && echo sees the files of the first process
readlink /proc/1/fd/* 2>/dev/null | grep -q . && echo sees the descriptors of the first process
kill -9 1; ip link set lo down 2>/dev/null && echo changes links
unshare -Urm sh -c 'umount /run/berth && echo uncovers in its own user namespace' 2>/dev/null
ls /sys/fs/cgroup/*/ >/dev/null 2>&1 && echo sees control groups
true
"""


@pytest.mark.parametrize("options", [(), ("--network", "host"), ("--cap-add", "DAC_READ_SEARCH")])
def test_what_is_the_whole_hosts_is_masked_and_can_not_be_changed(lab, options):
    assert said(lab, "run", *options, "--", "sh", "-c", MASKED) == ""
    assert said(lab, "exec", "jail", "sh", "-c", MASKED) == ""


def test_who_asks_sees_all_of_proc_and_sys(lab):
    assert "/proc/sys" not in said(lab, "run", "--security-opt", "systempaths=unconfined", "--", "cat", "/proc/self/mountinfo")
    script = "echo 1 > /proc/sys/net/ipv4/ip_forward && mount -t tmpfs x /mnt && echo yes"
    assert said(lab, "run", "--privileged", "--", "sh", "-c", script) == "yes\n"
    assert lab.out("cat", "/proc/sys/net/ipv4/ip_forward") in ("0", "1")


def test_with_egress_rules_no_right_that_leads_out_can_be_asked_for(lab):
    done = lab.berth("run", "--egress", "none", "--privileged", "--", *AS)
    found = json.loads(done.stdout)
    leading_out = sum(1 << NAMES.index(name) for name in ("SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE", "BPF"))
    assert (found["capabilities"][2] & leading_out, found["no_new_privileges"]) == (0, True)
    assert "has egress rules, so its commands lack SYS_MODULE, SYS_PTRACE, SYS_ADMIN, BPF" in done.stderr


# --- files --------------------------------------------------------------------------------------------------------


def test_files_that_are_bound_in_memory_and_read_only(lab):
    lab.shell(
        "mkdir -p /run/shown/deep /run/place /run/other; echo here > /run/shown/file; mount -t tmpfs tmpfs /run/shown/deep; touch /run/shown/deep/x"
    )
    script = (
        "touch /etc/berth-x /tmp/berth-x /run/other/x; echo new > /run/place/new; cat /run/place/file; ls /run/place/deep; "
        "touch /srv/y; stat -f -c %T /mnt; touch /mnt/z; touch /dev/shm/s && echo > /dev/null && echo done"
    )
    options = ("--read-only", "-v", "/run/shown:/run/place", "-v", "/run/shown:/srv:ro", "--tmpfs", "/mnt:size=1m")
    done = lab.berth("run", *options, "--", "sh", "-c", script)
    assert done.stdout == "here\nx\ntmpfs\ndone\n"
    assert done.stderr.count("Read-only file system") == 4
    assert lab.out("cat", "/run/shown/new") == "new"
    assert lab.out("ls", "/mnt/z", check=False) == ""


def test_a_volume_shows_what_is_hidden_only_if_it_is_that(lab):
    assert "berth.sock" not in said(lab, "run", "-v", "/run:/mnt", "--", "ls", "/mnt/berth")
    assert "berth.sock" in said(lab, "run", "-v", "/run/berth:/run/berth", "--", "ls", "/run/berth")


@pytest.mark.parametrize(
    "options", [("--confine", "/run/work"), ("--confine=/run/work", "--user", "nobody"), ("--confine", "/run/work", "--network", "none")]
)
@NEEDS_BUBBLEWRAP
def test_what_is_confined_writes_to_its_directory_and_has_no_right(lab, options):
    lab.shell("mkdir -p /run/work; chmod 777 /run/work; touch /run/secret /tmp/berth-secret")
    script = (
        "touch /run/work/made; touch /tmp/own /var/tmp/own $HOME/own; ls /run /tmp; for f in /etc /usr /run/work/.. /root/x/.. /var/lib; do "
        "touch $f/berth-x 2>/dev/null && echo writes $f; done; ip link set lo down; unshare -n true; cat /etc/passwd | wc -l; "
        "cat /proc/sys/kernel/ostype > /dev/null; echo x > /proc/sys/kernel/domainname; grep -c ' 127.0.0.1' /etc/hosts"
    )
    home = "/root" if "nobody" not in options else "/run/home"
    lab.shell("mkdir -p /run/home")
    text = said(lab, "run", *options, "-e", f"HOME={home}", "--", "sh", "-c", script, code=1)
    shown = text.split()
    assert "secret" not in shown
    assert "berth-secret" not in shown
    # Below /run there is an empty directory of its own, in memory.
    assert not [
        line for line in text.splitlines() if line.startswith("writes") and "/run/work/.." not in line and line != "writes /root/x/.."
    ]
    assert "\n1\n" in text
    assert lab.out("ls", "/run/work") == "made"
    shutil.rmtree(f"/proc/{lab.pid}/root/run/work")
    lab.shell("rm -f /tmp/berth-secret; mkdir -p /run/work")
    found = seen(lab, *options)
    assert (found["capabilities"], found["others"], found["no_new_privileges"]) == ([0, 0, 0], [0, 0], True)
    assert found["descriptors"] == [0, 1, 2]
    assert found["namespaces"]["user"] != lab.out("readlink", "/proc/self/ns/user")


@NEEDS_BUBBLEWRAP
def test_what_is_confined_has_no_devices_of_the_host(lab):
    lab.shell("mkdir -p /run/work")
    shown = set(said(lab, "run", "--confine=/run/work", "--", "ls", "/dev").split())
    assert shown <= {
        "console",
        "core",
        "fd",
        "full",
        "null",
        "ptmx",
        "pts",
        "random",
        "shm",
        "stderr",
        "stdin",
        "stdout",
        "tty",
        "urandom",
        "zero",
    }


@NEEDS_BUBBLEWRAP
def test_what_is_empty_stays_so_whatever_directory_is_left_writable(lab):
    lab.shell("mkdir -p /mnt/home/of /mnt/home/work; touch /mnt/home/of/secret; ln -sfn / /run/everything")
    script = "ls $HOME; touch $HOME/../work/made && touch $HOME/own && echo done"
    assert said(lab, "run", "--confine=/mnt/home", "-e", "HOME=/mnt/home/of", "--", "sh", "-c", script) == "done\n"
    assert lab.out("ls", "/mnt/home/of", "/mnt/home/work").split() == ["/mnt/home/of:", "secret", "/mnt/home/work:", "made"]
    # The commands of the lab run in /, which is the default then.
    for options in (("--confine",), ("--confine=/",), ("--confine=/run/..",), ("--confine=/run/everything",), ("--confine=/proc",)):
        assert "can't be the directory that is left writable" in said(lab, "run", *options, "--", "true", code=125)


@NEEDS_BUBBLEWRAP
def test_exec_of_a_confined_sandbox_is_confined_with_it(lab):
    lab.shell("mkdir -p /run/work")
    lab.berth(
        "run",
        "-d",
        "--name",
        "confined",
        "--confine=/run/work",
        "--",
        "sh",
        "-c",
        "trap 'exit 9' TERM; echo mine > /tmp/mine; while :; do sleep 0.05; done",
    )
    lab.wait_for(lambda: lab.berth("exec", "confined", "cat", "/tmp/mine", check=False).stdout == "mine\n")
    found = json.loads(lab.berth("exec", "confined", *AS).stdout)
    assert (found["capabilities"], found["no_new_privileges"]) == ([0, 0, 0], True)
    assert "Read-only file system" in said(lab, "exec", "confined", "touch", "/etc/berth-x", code=1)
    lab.berth("stop", "confined")
    assert lab.inspect("confined")["run"]["exit_code"] == 9
    lab.berth("rm", "confined")


@NEEDS_BUBBLEWRAP
def test_options_of_files_mean_the_same_to_what_is_confined(lab):
    lab.shell("mkdir -p /run/work /run/shown; echo here > /run/shown/file")
    options = ("--confine", "/run/work", "--read-only", "--tmpfs", "/srv", "-v", "/run/shown:/mnt:ro", "--cap-add", "NET_ADMIN")
    script = "touch /run/work/x; touch /srv/y && cat /mnt/file; touch /mnt/x; touch /tmp/z && echo tmp; grep CapEff /proc/self/status"
    done = lab.berth("run", *options, "--", "sh", "-c", script)
    assert done.stdout == f"here\ntmp\nCapEff:\t{1 << 12:016x}\n"
    assert done.stderr.count("Read-only file system") == 2
    assert "a command that is confined can't be" in said(lab, "run", "--confine", "--privileged", "--", "true", code=125)
    assert "nosuch: command not found" in said(lab, "run", "--confine=/run/work", "--", "nosuch", code=127)


def test_without_bubblewrap_its_package_is_named(lab):
    lab.shell(f"mkdir -p /run/bin; ln -sf {sys.executable} /run/bin/python3")
    done = lab.run("env", "PATH=/run/bin", sys.executable, "-m", "resolver", "run", "--confine=/run/bin", "--", "python3", check=False)
    assert (done.returncode, "install the package bubblewrap" in done.stderr) == (125, True)


# --- the end ------------------------------------------------------------------------------------------------------


def test_a_command_ends_by_term_as_without_a_namespace_and_orphans_are_reaped(lab):
    process = lab.start(sys.executable, "-m", "resolver", "run", "--name", "sleeps", "--", "sleep", "1000")
    lab.wait_for(lambda: lab.berth("exec", "sleeps", "pidof", "sleep", check=False).stdout)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    script = "(sleep 0 &) ; (true &) ; while grep -lq 'State:.Z' /proc/[0-9]*/status 2>/dev/null; do sleep 0.02; done; echo reaped"
    assert said(lab, "run", "--", "sh", "-c", script) == "reaped\n"


@pytest.mark.slow
def test_a_command_that_runs_too_long_is_ended_first_by_term(lab):
    # -1: never by KILL.
    assert said(lab, "run", "--timeout", "0.2s", "--stop-timeout", "-1", "--", "sleep", "1000", code=124) == ""
    stubborn = ("--timeout", "0.2", "--stop-timeout", "0", "--", "sh", "-c", "trap '' TERM; while :; do sleep 0.02; done")
    assert said(lab, "run", *stubborn, code=124) == ""
    assert said(lab, "run", "--timeout", "1m", "--", "sh", "-c", "exit 5", code=5) == ""
    lab.berth("run", "-d", "--name", "late", "--timeout", "0.2s", "--", "sleep", "1000")
    lab.wait_for(lambda: lab.inspect("late")["run"]["state"] == "exited")
    assert lab.inspect("late")["run"]["exit_code"] == 124
    lab.berth("rm", "late")


# --- bounds -------------------------------------------------------------------------------------------------------

CONTROLLERS = ("memory", "pids", "cpu")
V1 = Path("/sys/fs/cgroup")
GROUP = f"berth-test-{os.getpid()}"
NEEDS_V1 = pytest.mark.skipif(
    os.geteuid() != 0 or not all(os.access(V1 / name / "tasks", os.W_OK) for name in CONTROLLERS),
    reason="no control groups of version 1 that root may write to",
)


@pytest.fixture
def in_group(lab):
    """Runs a script of a shell in control groups of its own, which have none below them in the end; returns its output."""
    made = [V1 / controller / GROUP for controller in CONTROLLERS]
    for directory in made:
        directory.mkdir()
    enter = "; ".join(f"echo $$ > {directory}/cgroup.procs" for directory in made)
    try:
        yield lambda script, **more: lab.run("sh", "-c", f"{enter}; {script}", **more)
        lab.wait_for(lambda: not [below for directory in made for below in directory.iterdir() if below.is_dir()])
    finally:
        for directory in made:
            for below in [one for one in directory.iterdir() if one.is_dir()]:
                below.rmdir()
            directory.rmdir()


@pytest.mark.slow
@NEEDS_V1
def test_memory_processes_and_processors_are_bounded(lab, in_group):
    berth = f"{sys.executable} -m resolver"
    eater = f"{berth} run -m 32m -- python3 -c 'x = bytearray(200_000_000); x[::4096] = bytes(len(x[::4096]))'"
    assert in_group(eater, check=False).returncode == 128 + signal.SIGKILL
    many = f"{berth} run --pids-limit 20 -- python3 -c 'import os, time\nfor n in range(40):\n if os.fork() == 0: time.sleep(60)'"
    done = in_group(many, check=False)
    assert (done.returncode, "BlockingIOError" in done.stderr) == (1, True)
    script = (
        f"{berth} run -d --name bounded --cpus 0.5 -m 64m --pids-limit 30 -- sleep 1000 >/dev/null; "
        f"cat {V1}/cpu/{GROUP}/berth-*/cpu.cfs_quota_us {V1}/memory/{GROUP}/berth-*/memory.limit_in_bytes {V1}/pids/{GROUP}/berth-*/pids.max; "
        f"{berth} exec -d bounded sleep 1001; for pid in $(cat {V1}/pids/{GROUP}/berth-*/cgroup.procs); do tr '\\0' ' ' < /proc/$pid/cmdline; "
        "echo; done | grep -cx 'sleep 1001 '; "
        f"{berth} stop -t 0 bounded >/dev/null; {berth} start bounded >/dev/null; cat {V1}/memory/{GROUP}/berth-*/memory.limit_in_bytes; {berth} rm -f bounded >/dev/null"
    )
    assert in_group(script).stdout.split() == ["50000", "67108864", "30", "1", "67108864"]


def test_bounds_that_can_not_be_had_are_refused_with_the_reason(lab):
    script = f"mount -t tmpfs tmpfs /sys/fs/cgroup 2>/dev/null || mount -t tmpfs tmpfs /sys/fs; exec {sys.executable} -m resolver run -m 64m -- true"
    done = lab.run("unshare", "--mount", "sh", "-c", script, check=False)
    assert done.returncode == 125
    assert "--memory: " in done.stderr
    assert "is not to be had: no hierarchy below /sys/fs/cgroup has it" in done.stderr or "no control group can be made here" in done.stderr


# --- services, and what is saved ----------------------------------------------------------------------------------

SERVICE = """
services:
  look:
    command: [python3, -c, {look}]
    user: "65534:4"
    group_add: ["7"]
    cap_drop: [ALL]
    cap_add: [NET_RAW]
    security_opt: ["no-new-privileges:false"]
    environment: {{A: "1"}}
    env_file: own.env
    read_only: true
    tmpfs: /mnt
    volumes: ["./shown:/srv:ro", {{type: tmpfs, target: /media, tmpfs: {{size: 1m}}}}]
    ulimits: {{nofile: {{soft: 100, hard: 150}}}}
  plain:
    command: [python3, -c, {look}]
  all:
    command: [python3, -c, {look}]
    privileged: true
"""


def test_services_get_what_their_file_says_and_nothing_of_the_caller_else(lab):
    more = "import resource; print(resource.getrlimit(7), os.listdir('/srv'), os.statvfs('/mnt').f_flag & 1, os.statvfs('/etc').f_flag & 1)"
    lab.shell("mkdir -p /run/looks/shown; touch /run/looks/shown/file; echo FROM=file > /run/looks/own.env")
    lab.write("/run/looks/compose.yaml", SERVICE.format(look=json.dumps(LOOK + more.replace("import resource; ", "import resource\n"))))
    lab.environment["SECRET"] = "s"
    try:
        shown = lab.berth("up", "--no-log-prefix", "-f", "/run/looks/compose.yaml").stdout
    finally:
        del lab.environment["SECRET"]
    found = [json.loads(line) for line in shown.splitlines() if line.startswith("{")]
    (own,) = [one for one in found if one["uid"][0] == 65534]
    assert (own["gid"], own["groups"], own["capabilities"], own["no_new_privileges"]) == ([4] * 3, [7], [0, 0, 1 << 13], False)
    assert (own["environment"]["A"], own["environment"]["FROM"]) == ("1", "file")
    assert "(100, 150) ['file'] 0 1" in shown
    others = sorted(one["capabilities"][1] for one in found if one["uid"][0] == 0)
    assert (others[0], others[1] > USUAL) == (USUAL, True)
    assert not [one for one in found if "SECRET" in one["environment"] or "PYTHONPATH" in one["environment"]]


@pytest.mark.slow
def test_what_was_asked_for_is_so_after_a_restart_too(lab):
    options = ("--user", "65534:4", "--cap-drop", "ALL", "--tmpfs", "/mnt", "--restart", "always", "-e", "A=1")
    lab.berth("run", "-d", "--name", "saved", *options, "--", "sleep", "infinity")

    def found() -> dict:
        return json.loads(lab.berth("exec", "saved", *AS).stdout)

    before = found()
    assert (before["uid"], before["capabilities"], before["environment"]["A"]) == ([65534] * 3, [0, 0, 0], "1")
    lab.berth("stop", "-t", "0", "saved")
    lab.berth("start", "saved")
    after = found()
    assert {key: before[key] for key in ("uid", "gid", "groups", "capabilities", "environment")} == {
        key: after[key] for key in ("uid", "gid", "groups", "capabilities", "environment")
    }
    lab.stop_daemon()
    lab.start_daemon()
    lab.wait_for(lambda: lab.inspect("saved")["leader"] is not None)
    assert found()["uid"] == [65534] * 3
    assert "tmpfs" in said(lab, "exec", "saved", "stat", "-f", "-c", "%T", "/mnt")
    assert lab.inspect("saved")["isolation"]["cap_drop"] == ["ALL"]
    lab.berth("rm", "-f", "saved")
