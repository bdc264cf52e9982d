"""What a hostile command of an ordinary user's can't reach. Tests of the same names in `test_commands` are about root's."""

import json
import shutil
import sys

import pytest

from resolver.isolation.rights import DEFAULT, NAMES
from tests.netns.test_commands import AS, MASKED, ON_A_TERMINAL, TYPE, typed
from tests.support.user_lab import HOME, RUN_DIR, RUNTIME, STATE_DIR, UserLab, why_no_user

WHY_NOT = why_no_user()
if WHY_NOT:
    pytest.skip(WHY_NOT, allow_module_level=True)

pytestmark = pytest.mark.slow

USUAL = sum(1 << NAMES.index(name) for name in DEFAULT)
KINDS = [(), ("--user", "1000"), ("--cap-add", "ALL", "--cap-drop", "SYS_ADMIN"), ("--egress", "none")]
CONFINED = pytest.param(
    ("--confine=work", "-w", "work"),
    marks=pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is not installed (package bubblewrap)"),
)
CONFINED_RUN = pytest.param(("run", *CONFINED.values[0]), marks=CONFINED.marks)
SEEN = "import os, sys; print(*[path for path in sys.argv[1:] if os.path.lexists(path)])"


@pytest.fixture(scope="module")
def lab():
    with UserLab() as made:
        made.berth("network", "create", "front")
        made.berth("network", "create", "--internal", "back")
        made.berth("run", "-d", "--name", "jail", "--network", "back", "-e", "OWN=1", "--", "sleep", "infinity")
        # Python is where others may pass through, for who is another user inside.
        made.as_user("sh", "-c", "mkdir -p work; chmod 711 .")
        yield made


def said(lab, *words, code=0, **more):
    """Return what a command line of berth prints, which ends with *code*."""
    done = lab.berth(*words, check=False, **more)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


def seen(lab, *options, command="run"):
    """Return what a command sees of itself; *command*: run, or exec in `jail`."""
    return json.loads(lab.berth(command, *options, *(("--",) if command == "run" else ("jail",)), *AS).stdout)


@pytest.mark.parametrize("options", [*KINDS, CONFINED])
def test_a_command_does_not_command_the_daemon(lab, options):
    variables = (f"PYTHONPATH={lab.environment['PYTHONPATH']}", f"BERTH_RUN_DIR={RUN_DIR}", "BERTH_ROOTLESS=12345")
    given = tuple(part for one in variables for part in ("-e", one))
    connect = (sys.executable, "-m", "resolver", "network", "connect", "front", "jail")
    assert lab.berth("run", *options, *given, "--", *connect, check=False).returncode != 0
    assert lab.inspect("jail")["networks"] == ["back"]
    script = (
        "import os, socket, sys\n"
        "for path in sys.argv[1:]:\n"
        "    if os.path.lexists(path): print(path)\n"
        "    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):\n"
        "        if not socket.socket(socket.AF_UNIX, kind).connect_ex(path): print('connected to', path)\n"
    )
    sockets = [f"{RUN_DIR}/{name}" for name in ("berth.sock", "berth-ro.sock", "edge", "outside/berth.sock", "outside/berth-ro.sock")]
    assert said(lab, "run", *options, "--", sys.executable, "-c", script, *sockets) == ""


@pytest.mark.parametrize("options", [*KINDS, ("--network", "host"), ("--network", "container:jail")])
def test_state_and_other_sandboxes_files_are_hidden_and_the_rest_of_run_is_not(lab, options):
    jail = lab.inspect("jail")
    assert lab.out("ls", f"{STATE_DIR}/berth.db")
    paths = (jail["files"], jail["directory"], jail["netns"], f"{RUN_DIR}/daemon.log", f"{RUN_DIR}/outside", f"{STATE_DIR}/berth.db")
    shown = said(lab, "run", *options, "--", sys.executable, "-c", SEEN, "/usr", *paths).split()
    assert shown == (["/usr", jail["files"]] if "container:jail" in options else ["/usr"])


@pytest.mark.parametrize(
    "words",
    [("run",), ("run", "--privileged"), ("run", "--user", "1000"), ("run", "--security-opt", "no-new-privileges=false"), ("exec",), CONFINED_RUN],
)  # fmt: skip
def test_a_command_does_not_type_into_the_callers_terminal(lab, words):
    target = "jail" if words[0] == "exec" else "--"
    done = lab.as_user(*ON_A_TERMINAL, sys.executable, "-m", "resolver", *words, target, sys.executable, "-c", TYPE)
    assert typed(done.stdout) == {"EPERM"}


def test_a_command_writes_nothing_that_the_daemon_reads(lab):
    jail = lab.inspect("jail")
    script = (
        f"touch {jail['directory']}/exit || touch {jail['files']}/hosts || rm {jail['directory']}/output.log || "
        f"echo {{}} > {jail['directory']}/command || touch {RUN_DIR}/x || touch {STATE_DIR}/x || mkdir {RUNTIME}/x"
    )
    assert lab.berth("exec", "jail", "sh", "-c", script, check=False).returncode != 0
    assert lab.out("ls", STATE_DIR).split() == lab.out("ls", "-I", "x", STATE_DIR).split()


def test_a_command_is_in_namespaces_of_its_own(lab):
    nest = {name: lab.in_nest(f"readlink /proc/self/ns/{name}").strip() for name in ("cgroup", "ipc", "mnt", "net", "pid", "uts", "user")}
    host = {name: lab.out("readlink", f"/proc/self/ns/{name}") for name in nest}
    first, second, third = seen(lab), seen(lab, "--network", "host"), seen(lab, command="exec")
    for name in nest:
        for found in (first, second, third):
            assert found["namespaces"][name] != host[name]
            assert (found["namespaces"][name] == nest[name]) is (name == "user" or (name == "net" and found is second))
    assert set(first["processes"]) == {"1", "2"}
    # Nor does it signal any of the user's outside, by whatever number.
    outside = lab.start(*lab.prefix_of(), "sleep", "4715")
    assert "No such process" in said(lab, "run", "--", "sh", "-c", f"kill -9 {outside.pid}; kill -9 -1; true")
    assert outside.poll() is None
    outside.kill()


def test_shared_memory_is_the_sandboxs(lab):
    lab.as_user("touch", "/dev/shm/of-the-user")
    assert said(lab, "run", "--", "ls", "/dev/shm") == ""
    assert said(lab, "exec", "jail", "ls", "/dev/shm") == ""


@pytest.mark.parametrize("options", [(), ("--network", "host"), ("--cap-add", "DAC_READ_SEARCH"), ("--user", "1000")])
def test_what_is_the_whole_hosts_is_masked_and_can_not_be_changed(lab, options):
    script = MASKED.replace("/run/berth", RUN_DIR).replace("/tmp/", f"{HOME}/work/")
    assert lab.berth("run", *options, "--", "sh", "-c", script).stdout == ""
    assert lab.berth("exec", "jail", "sh", "-c", script).stdout == ""


def test_groups_of_the_caller_are_given_up(lab):
    # As the kernel has them: with several ids they are those of nobody inside, and a command has none of them.
    prefix = [word.replace("--clear-groups", "--groups=4,5,6") for word in lab.prefix_of()]
    done = lab.run(*prefix, sys.executable, "-m", "resolver", "run", "--", *AS)
    assert json.loads(done.stdout)["groups"] == []


@pytest.mark.parametrize("command", ["run", "exec"])
def test_a_command_has_few_of_the_callers_variables(lab, command):
    given = {"SECRET": "s", "LC_TIME": "C", "SSH_AUTH_SOCK": f"{RUNTIME}/agent", "DBUS_SESSION_BUS_ADDRESS": f"unix:path={RUNTIME}/bus"}
    words = ("run", "--") if command == "run" else ("exec", "jail")
    found = json.loads(lab.berth(*words, *AS, environment=given).stdout)["environment"]
    assert set(found) <= {"PATH", "HOME", "USER", "SHELL", "TERM", "LANG", "LC_TIME", "LC_CTYPE", "LC_ALL", "TZ", "OWN"}
    assert found["LC_TIME"] == "C"


@pytest.mark.parametrize("command", ["run", "exec"])
def test_descriptors_above_2_are_closed_but_those_that_are_named(lab, command):
    rest = "--" if command == "run" else "jail"
    look = "import os; print(*[n for n in range(64) if os.path.exists(f'/proc/self/fd/{n}')])"
    opened = f'exec 5</etc/passwd 6</etc/passwd 7</etc/passwd; exec "$@" {rest} {sys.executable} -c "{look}"'
    assert lab.as_user("sh", "-c", opened, "sh", sys.executable, "-m", "resolver", command).stdout == "0 1 2\n"
    assert lab.as_user("sh", "-c", opened, "sh", sys.executable, "-m", "resolver", command, "--preserve-fd", "5,7").stdout == "0 1 2 5 7\n"


@pytest.mark.parametrize("command", ["run", "exec"])
def test_a_command_has_the_capabilities_of_docker_that_do_not_reach_outside(lab, command):
    found = seen(lab, command=command)
    assert found["capabilities"] == [USUAL] * 3
    assert (found["others"], found["no_new_privileges"], found["groups"], found["uid"]) == ([0, 0], True, [], [0, 0, 0])


def test_rights_that_are_asked_for_are_none_over_the_host(lab):
    script = (
        "import ctypes, os, time\n"
        "def tried(what, do):\n"
        "    try: do()\n"
        "    except OSError: return\n"
        "    print('could', what)\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def call(function, argument):\n"
        "    if function(argument) < 0: raise OSError(ctypes.get_errno(), '')\n"
        "tried('set the clock', lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()))\n"
        "tried('turn off swap', lambda: call(libc.swapoff, b'/nowhere'))\n"
        "tried('end accounts', lambda: call(libc.acct, None))\n"
        "tried('make a device', lambda: os.mknod(os.path.expanduser('~/null'), 0o020600, os.makedev(1, 3)))\n"
        "tried('read memory', lambda: open('/dev/mem', 'rb'))\n"
        "tried('read the kernel', lambda: open('/proc/kcore', 'rb').read(1))\n"
        "tried('write a sysctl', lambda: open('/proc/sys/kernel/panic', 'w').write('1'))\n"
    )
    assert said(lab, "run", "--privileged", "--", sys.executable, "-c", script) == ""


@pytest.mark.parametrize("options", [("--confine=work",)])
def test_what_is_confined_reads_and_writes_no_file_of_the_users(lab, options):
    if shutil.which("bwrap") is None:
        pytest.skip("bwrap is not installed (package bubblewrap)")
    lab.as_user("sh", "-c", "echo s > secret; chmod 600 secret; touch .bashrc; rm -f work/*")
    script = f"cat {HOME}/secret; echo x >> {HOME}/.bashrc; for at in /etc /usr /var/lib {HOME}; do touch $at/berth-x && echo wrote $at; done 2>/dev/null; touch made; ls /dev"
    shown = lab.berth("run", *options, "-w", f"{HOME}/work", "--", "sh", "-c", script, check=False).stdout.split()
    assert "s" not in shown
    assert {name for name in shown if name.startswith("/")} <= {HOME}
    assert not {"tun", "mem", "kvm", "sda", "net"} & set(shown)
    assert lab.out("cat", f"{HOME}/.bashrc") == ""
    assert lab.out("ls", f"{HOME}/work", "-I", "null") == "made"
    assert "berth-x" not in lab.out("ls", HOME)
