"""Sandboxes of `run -d` and `up -d`: they stay when their command ends, and are stopped, started, restarted, read and removed."""

import contextlib
import json
import os
import signal
import sys

import pytest

from tests.support.lab import Lab


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.start_daemon()
        made.berth("network", "create", "--subnet", "10.5.0.0/24", "front")
        made.berth("network", "create", "--subnet", "10.6.0.0/24", "back")
        made.berth("run", "-d", "--name", "asker", "--network", "front", "sleep", "600")
        yield made


@pytest.fixture(autouse=True)
def clean(lab):
    yield
    for name in (view["name"] for view in json.loads(lab.berth("ps", "-a", "--format", "json").stdout)):
        if name != "asker":
            lab.berth("rm", name)
    assert len(lab.shell("ls /var/lib/berth/sandboxes").split()) == 1


def run_of(lab, name):
    return json.loads(lab.berth("inspect", name).stdout)[0]["run"]


def wait_until_exited(lab, name):
    lab.wait_for(lambda: run_of(lab, name)["state"] == "exited")
    return run_of(lab, name)


def resolves(lab, name):
    return lab.berth("exec", "asker", "getent", "hosts", name, check=False).stdout.split()[:1]


def test_sandbox_whose_command_has_ended_stays_and_holds_only_its_name(lab):
    lab.berth(
        "run",
        "-d",
        "--name",
        "job",
        "--network",
        "front,alias=work,ip=10.5.0.77",
        "-p",
        "8090:80",
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 3",
    )
    assert lab.berth("wait", "job").stdout == "3\n"
    (view,) = json.loads(lab.berth("inspect", "job").stdout)
    assert (view["run"]["state"], view["run"]["exit_code"], view["networks"], view["endpoints"], view["leader"]) == (
        "exited",
        3,
        ["front"],
        [],
        None,
    )
    lines = lab.shell(f"stat -c '%a' {view['directory']}/output.log {view['directory']}; cat {view['directory']}/output.log").splitlines()
    assert lines[:2] == ["600", "700"]
    assert [line.split(" ")[1:] for line in lines[2:]] == [["stdout", "F", "out"], ["stderr", "F", "err"]]
    printed = lab.berth("logs", "job")
    assert (printed.stdout, printed.stderr) == ("out\n", "err\n")
    assert lab.berth("ps", "--format", "{{.Names}}").stdout == "asker\n"
    assert lab.berth("ps", "-a", "--filter", "name=job", "--format", "{{.Command}} {{.Status}}").stdout.startswith('"sh -c echo out;')
    assert "Exited (3) " in lab.berth("ps", "-a").stdout
    for refused, reason in (
        (lab.berth("run", "--name", "job", "true", check=False), "exists already and is stopped; start it with `berth start`"),
        (lab.berth("rename", "asker", "job", check=False), "exists already and is stopped"),
        (lab.berth("exec", "job", "true", check=False), "is stopped; start it with `berth start`"),
        (lab.berth("top", "job", check=False), "is stopped"),
    ):
        assert refused.returncode
        assert reason in refused.stderr
    # Its address and its port are free.
    lab.berth("run", "--network", "front,ip=10.5.0.77", "-p", "8090:80", "true")
    assert lab.berth("rm", "--dry-run", "job").stdout == "remove the record and the output of sandbox job\n"
    assert lab.berth("rm", "job").stdout == "job\n"
    assert lab.berth("logs", "job", check=False).returncode == 1


def test_start_brings_back_what_there_was(lab):
    lab.berth(
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "front,alias=www",
        "-p",
        "8091:80",
        "-e",
        "A=7",
        "-w",
        "/tmp",
        "--",
        "sh",
        "-c",
        "echo $A $PWD; exec sleep 600",
    )
    lab.berth("network", "connect", "--alias", "inner", "back", "web")
    identity = json.loads(lab.berth("inspect", "web").stdout)[0]["id"]
    assert lab.berth("stop", "web").stdout == "web\n"
    assert lab.berth("stop", "web").stdout == "web\n"
    assert resolves(lab, "www") == []
    lab.berth("rename", "web", "shop")
    assert run_of(lab, "shop")["exit_code"] == 143
    holder = ["run", "-d", "--name", "holder", "-p", "8091:80", "--", "sleep", "600"]
    lab.berth(*holder)
    assert "port is already allocated by holder" in lab.berth("start", "shop", check=False).stderr
    assert run_of(lab, "shop")["state"] == "exited"
    lab.berth("rm", "holder")
    assert lab.berth("start", "shop").stdout == "shop\n"
    assert lab.berth("start", "shop").stdout == "shop\n"
    (view,) = json.loads(lab.berth("inspect", "shop").stdout)
    assert (view["id"], view["networks"], run_of(lab, "shop")["state"]) == (identity, ["front", "back"], "running")
    assert resolves(lab, "www") == [view["addresses"][0]]
    assert {port["host_port"] for endpoint in view["endpoints"] for port in endpoint["ports"]} == {8091}
    assert "inner" in view["endpoints"][1]["names"]
    lab.wait_for(lambda: lab.berth("logs", "shop").stdout == "7 /tmp\n7 /tmp\n")
    assert lab.berth("restart", "-t", "1", "shop").stdout == "shop\n"
    lab.wait_for(lambda: lab.berth("logs", "--tail", "1", "shop").stdout == "7 /tmp\n")


def test_a_stopped_sandbox_is_connected_and_disconnected_for_its_next_start(lab):
    lab.berth("run", "-d", "--name", "mover", "--network", "front", "--", "sleep", "600")
    lab.berth("stop", "mover")
    assert lab.berth("network", "connect", "--dry-run", "back", "mover").stdout == "connect mover to network back when it is started\n"
    lab.berth("network", "connect", "--ip", "10.6.0.44", "--alias", "inner", "back", "mover")
    assert "is already attached to network back" in lab.berth("network", "connect", "back", "mover", check=False).stderr
    lab.berth("network", "disconnect", "front", "mover")
    assert "no configured subnet" in lab.berth("network", "connect", "--ip", "10.9.9.9", "front", "mover", check=False).stderr
    assert "is not connected to network front" in lab.berth("network", "disconnect", "front", "mover", check=False).stderr
    assert "back" in lab.berth("ps", "-a", "--filter", "name=mover").stdout
    lab.berth("start", "mover")
    (view,) = json.loads(lab.berth("inspect", "mover").stdout)
    assert (view["networks"], view["addresses"]) == (["back"], ["10.6.0.44"])
    assert lab.berth("exec", "mover", "getent", "hosts", "inner").stdout.split()[0] == "10.6.0.44"


def test_a_sandbox_on_the_default_bridge_starts_again_on_all_its_networks(lab):
    lab.berth("run", "-d", "--name", "bridged", "--network", "bridge", "--", "sleep", "600")
    lab.berth("network", "connect", "back", "bridged")
    lab.berth("restart", "-t", "1", "bridged")
    assert json.loads(lab.berth("inspect", "bridged").stdout)[0]["networks"] == ["bridge", "back"]


@pytest.mark.slow
def test_stop_sends_the_signal_of_the_command_and_kills_what_does_not_end(lab):
    script = "trap 'echo bye; exit 9' INT; trap '' TERM; echo ready; while :; do sleep 0.01; done"
    lab.berth("run", "-d", "--name", "polite", "--stop-signal", "SIGINT", "--", "sh", "-c", script)
    lab.wait_for(lambda: "ready" in lab.berth("logs", "polite").stdout)
    lab.berth("stop", "polite")
    assert (run_of(lab, "polite")["exit_code"], lab.berth("logs", "polite").stdout) == (9, "ready\nbye\n")
    lab.berth("start", "polite")
    lab.wait_for(lambda: lab.berth("logs", "polite").stdout.count("ready") == 2)
    lab.berth("stop", "-s", "TERM", "-t", "0.1", "polite")
    assert run_of(lab, "polite")["exit_code"] == 137
    for wrong, reason in ((["-s", "FOO"], "'FOO' is no signal"), (["-t", "-5"], "is no time to wait")):
        assert reason in lab.berth("stop", *wrong, "polite", check=False).stderr


@pytest.mark.slow
def test_restart_policies(lab):
    lab.berth("run", "-d", "--name", "some", "--restart", "on-failure:2", "--", "sh", "-c", "echo go; exit 4")
    ended = wait_until_exited(lab, "some")
    assert (ended["restarts"], ended["exit_code"], lab.berth("logs", "some").stdout) == (2, 4, "go\n" * 3)
    lab.berth("run", "-d", "--name", "fine", "--restart", "on-failure", "--", "true")
    assert wait_until_exited(lab, "fine")["restarts"] == 0
    lab.berth("run", "-d", "--name", "ever", "--restart", "always", "--", "sh", "-c", "echo go; exit 5")
    lab.wait_for(lambda: run_of(lab, "ever")["restarts"] >= 3)
    lab.wait_for(lambda: lab.berth("ps", "--filter", "status=restarting", "--format", "{{.Status}}").stdout.startswith("Restarting (5) "))
    lab.berth("stop", "ever")
    assert run_of(lab, "ever")["state"] == "exited"
    # It may just have been started again.
    assert run_of(lab, "ever")["exit_code"] in (5, 137, 143)
    lab.berth("run", "-d", "--name", "killed", "--restart", "unless-stopped", "--", "sleep", "600")
    lab.berth("kill", "killed")
    assert (run_of(lab, "killed")["state"], run_of(lab, "killed")["exit_code"], run_of(lab, "killed")["restarts"]) == ("exited", 137, 0)
    refused = lab.berth("run", "-d", "--restart", "sometimes", "true", check=False)
    assert "'sometimes' is not one of no, on-failure" in refused.stderr
    assert "cannot specify both --restart and --rm" in lab.berth("run", "-d", "--rm", "--restart", "always", "true", check=False).stderr


def test_a_command_in_the_foreground_is_started_again_where_it_was(lab):
    started = lab.berth("run", "--name", "fore", "--restart", "on-failure:2", "--", "sh", "-c", "echo again; exit 4", check=False)
    assert (started.stdout, started.returncode) == ("again\n" * 3, 4)
    assert lab.berth("inspect", "fore", check=False).returncode == 1
    stopped = lab.start(sys.executable, "-m", "resolver", "run", "--name", "fore", "--restart", "always", "--stop-signal", "USR2",
                        "--", "sh", "-c", "trap 'exit 7' USR2; trap '' TERM; echo on; while :; do sleep 0.01; done")  # fmt: skip
    assert stopped.stdout.readline() == "on\n"
    assert "went where it was started" in lab.berth("logs", "fore", check=False).stderr
    init = json.loads(lab.berth("inspect", "fore").stdout)[0]["leader"]["pid"]
    lab.shell(f"kill -9 {init}")
    assert stopped.stdout.readline() == "on\n"
    assert lab.berth("stop", "fore").stdout == "fore\n"
    assert stopped.wait() == 7
    waiting = lab.start(
        sys.executable, "-m", "resolver", "run", "--name", "fore", "--restart", "always", "--", "sh", "-c", "echo on; exit 5"
    )
    assert waiting.stdout.readline() == "on\n"
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait() == 5
    assert lab.berth("inspect", "fore", check=False).returncode == 1
    assert "cannot specify both --restart and --rm" in lab.berth("run", "--rm", "--restart", "always", "true", check=False).stderr


def test_rm_and_a_command_that_is_not_there_leave_nothing(lab):
    lab.berth("run", "-d", "--rm", "--name", "brief", "--", "sh", "-c", "exit 6")
    lab.wait_for(lambda: lab.berth("inspect", "brief", check=False).returncode == 1)
    assert lab.berth("wait", "brief").stdout == "6\n"
    missing = lab.berth("run", "-d", "--name", "missing", "nosuchprogram", check=False)
    assert (missing.returncode, missing.stderr) == (127, "berth: nosuchprogram: command not found\n")
    assert lab.berth("inspect", "missing", check=False).returncode == 1
    lab.berth("run", "-d", "--name", "busy", "--restart", "always", "--", "sleep", "3172")
    lab.berth("rm", "busy")
    assert not lab.runs("sleep 3172")


def test_what_is_not_there_is_told_beside_what_is(lab):
    lab.berth("run", "-d", "--name", "job", "--network", "front", "--", "sh", "-c", "exit 4")
    waited = lab.berth("wait", "job", "nope", "job", check=False)
    assert (waited.returncode, waited.stdout) == (1, "4\n4\n")
    assert waited.stderr == "berth: no such sandbox: nope; there is asker, job\n"
    template = "{{range $name, $it := .NetworkSettings.Networks}}{{$name}}={{$it.IPAddress}}{{end}}"
    assert lab.berth("inspect", "-f", template, "job").stdout == "front=\n"


def test_prune_removes_what_is_stopped(lab):
    for name, label in (("one", "a=1"), ("two", "a=2")):
        lab.berth("run", "-d", "--name", name, "--label", label, "--", "true")
        wait_until_exited(lab, name)
    assert lab.berth("prune", "-f", "--filter", "label=a=1").stdout == "one\n"
    assert lab.berth("container", "prune", "-f").stdout == "two\n"
    assert lab.berth("ps", "-a", "--format", "{{.Names}}").stdout == "asker\n"


def test_followed_output_ends_with_the_command(lab):
    lab.berth(
        "run", "-d", "--name", "talker", "--", "sh", "-c", "echo one; while ! test -e /run/go; do sleep 0.01; done; echo two; printf rest"
    )
    follower = lab.start(sys.executable, "-m", "resolver", "logs", "-f", "--tail", "1", "talker")
    assert follower.stdout.readline() == "one\n"
    lab.shell("touch /run/go")
    assert follower.stdout.read() == "two\nrest"
    assert follower.wait() == 0
    assert lab.berth("logs", "--since", "1h", "--until", "0s", "-t", "talker").stdout.endswith("Z rest")
    assert lab.berth("logs", "--since", "0s", "talker").stdout == ""


def test_a_killed_holder_takes_the_command_with_it(lab):
    lab.berth("run", "-d", "--name", "held", "--", "sleep", "3173")
    os.kill(lab.inspect("held")["owner_pid"], signal.SIGKILL)
    assert wait_until_exited(lab, "held")["exit_code"] == 255
    lab.wait_for(lambda: not lab.runs("sleep 3173"))
    lab.berth("start", "held")
    assert run_of(lab, "held")["state"] == "running"


def test_a_command_whose_holder_was_killed_is_started_again_by_its_policy(lab):
    for name, policy in (("always", "always"), ("once", "on-failure:1")):
        lab.berth("run", "-d", "--name", name, "--restart", policy, "-e", "A=1", "--", "sleep", "3174")

    def kill_holders(*names):
        for name in names:
            os.kill(lab.inspect(name)["owner_pid"], signal.SIGKILL)

    def was_started(name, count):
        shown = lab.inspect(name)
        return shown["run"]["restarts"] == count and shown["pid"] != 0

    kill_holders("always", "once")
    lab.wait_for(lambda: was_started("always", 1) and was_started("once", 1))
    kill_holders("always", "once")
    lab.wait_for(lambda: was_started("always", 2))
    # It has been started again as often as it may be.
    assert wait_until_exited(lab, "once")["exit_code"] == 255
    assert lab.in_sandbox("always", "sh", "-c", "echo $A") == "1"
    told = lab.berth("events", "--since", "1h", "--until", "0s", "--filter", "container=always").stdout
    assert told.count("sandbox stop always") == told.count("cause=owner-ended exit_code=255") == 2
    # What somebody stops stays so.
    lab.berth("stop", "-t", "1", "always")
    assert run_of(lab, "always")["state"] == "exited"


@pytest.mark.parametrize("how", [("-d",), ("--rm",)])
def test_the_pid_is_that_of_the_command_inside(lab, how):
    lab.start(sys.executable, "-m", "resolver", "run", *how, "--name", "inner", "--network", "front", "--", "sleep", "3179")
    lab.wait_for(lambda: lab.berth("inspect", "-f", "{{.State.Pid}}", "inner", check=False).stdout.strip() not in ("", "0"))
    # Until the command runs it is the process that starts it.
    lab.wait_for(lambda: lab.inspect("inner")["pid"] in lab.pids("sleep 3179"))
    pid = lab.berth("inspect", "-f", "{{.State.Pid}}", "inner").stdout.strip()
    assert lab.shell(f"readlink /proc/{pid}/ns/net") == lab.in_sandbox("inner", "readlink", "/proc/self/ns/net")
    assert lab.berth("ps", "--filter", "name=inner", "--format", "{{.Pid}}").stdout.strip() == pid
    shown = lab.inspect("inner")
    assert (str(shown["pid"]), shown["owner_pid"] != shown["pid"]) == (pid, True)
    os.kill(int(pid), signal.SIGTERM)
    if how == ("-d",):
        assert wait_until_exited(lab, "inner")["exit_code"] == 143
        assert lab.inspect("inner")["pid"] == 0
    lab.wait_for(lambda: "3179" not in lab.berth("ps").stdout)


@pytest.mark.parametrize("how", [("-d",), ("--rm",)])
def test_exec_has_the_variables_and_the_directory_of_the_command(lab, how):
    lab.start(
        sys.executable,
        "-m",
        "resolver",
        "run",
        *how,
        "--name",
        "told",
        "--network",
        "front",
        "-e",
        "A=secret",
        "-w",
        "/usr",
        "sleep",
        "600",
    )
    lab.wait_for(lambda: lab.berth("exec", "told", "true", check=False).returncode == 0)
    assert lab.in_sandbox("told", "sh", "-c", "echo $A $PWD") == "secret /usr"
    assert lab.berth("exec", "-e", "A=2", "-w", "/tmp", "told", "sh", "-c", "echo $A $PWD").stdout == "2 /tmp\n"
    template = "{{range .Config.Env}}{{println .}}{{end}}{{.Config.WorkingDir}} {{.HostConfig.AutoRemove}}"
    assert lab.berth("inspect", "-f", template, "told").stdout.split() == ["A=secret", "/usr", str(how == ("--rm",)).lower()]
    shown = lab.inspect("told")
    assert (shown["environment"], shown["working_directory"]) == ({"A": "secret"}, "/usr")
    # Variables may be secrets: no API tells them, and the file is root's.
    assert "secret" not in json.dumps(lab.api("GET", "/v1/sandboxes/told")[1])
    assert lab.shell(f"stat -c %a {shown['directory']}/command") == "600"
    lab.berth("stop", "-t", "1", "told")
    if how == ("-d",):
        assert lab.inspect("told")["environment"] == {"A": "secret"}


@pytest.mark.slow
def test_what_ends_while_no_daemon_is_there_is_known_to_the_next_one(lab):
    lab.berth("run", "-d", "--name", "ends", "--", "sh", "-c", "while ! test -e /run/end; do sleep 0.01; done; echo last; exit 7")
    lab.berth(
        "run",
        "-d",
        "--name",
        "again",
        "--restart",
        "on-failure:1",
        "--",
        "sh",
        "-c",
        "while ! test -e /run/end; do sleep 0.01; done; exit 8",
    )
    lab.berth("run", "-d", "--name", "stopped", "--network", "front", "--", "true")
    wait_until_exited(lab, "stopped")
    for policy in ("always", "unless-stopped"):
        lab.berth("run", "-d", "--name", policy, "--restart", policy, "--", "sleep", "600")
        lab.berth("kill", policy)
    lab.stop_daemon(signal.SIGKILL)
    lab.shell("touch /run/end")
    lab.start_daemon()
    assert wait_until_exited(lab, "ends")["exit_code"] == 7
    assert lab.berth("logs", "ends").stdout == "last\n"
    ended = wait_until_exited(lab, "again")
    assert (ended["exit_code"], ended["restarts"]) == (8, 1)
    lab.wait_for(lambda: run_of(lab, "always")["state"] == "running")
    assert (run_of(lab, "stopped")["state"], run_of(lab, "unless-stopped")["state"]) == ("exited", "exited")
    lab.berth("start", "stopped")
    wait_until_exited(lab, "stopped")


def reboot(lab):
    """Take away what a reboot does: processes, links, namespaces, rules, /run, and the boot id."""
    lab.shell("echo 00000000-0000-0000-0000-000000000001 > /run/boot_id; mount --bind /run/boot_id /proc/sys/kernel/random/boot_id")
    # First the daemon, and then nobody moves: nobody sees another one end. Those that were started meanwhile are killed, too.
    lab.stop_daemon(signal.SIGKILL)
    while members := set(lab._members()) - {lab.pid}:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
    lab.shell("for n in /run/netns/berth-*; do umount $n; rm $n; done; rm -rf /run/berth")
    lab.shell("ip link del $(ip -o link show type bridge | cut -d: -f2 | tr -d ' '); nft flush ruleset; true")


def states(lab):
    lines = lab.berth("ps", "-a", "--format", "{{.Names}} {{.Status}}").stdout.splitlines()
    return {name: status.partition(")")[0] for name, _, status in (line.partition(" ") for line in lines)}


@pytest.mark.slow
def test_after_a_reboot_what_its_policy_starts_runs_and_the_rest_is_stopped():
    with Lab() as lab:
        lab.start_daemon()
        lab.berth("network", "create", "front")
        lab.berth("run", "-d", "--name", "ended", "--network", "front", "--", "sh", "-c", "echo said; exit 3")
        wait_until_exited(lab, "ended")
        lab.berth("run", "-d", "--name", "ran", "--network", "front", "-p", "8095:80", "--", "sleep", "3174")
        lab.berth("run", "-d", "--rm", "--name", "brief", "--network", "front", "--", "sleep", "3174")
        for policy in ("always", "unless-stopped", "on-failure"):
            lab.berth("run", "-d", "--restart", policy, "--name", policy, "--network", "front", "--", "sleep", "3174")
            lab.berth("run", "-d", "--restart", policy, "--name", f"halted-{policy}", "--network", "front", "--", "sleep", "3174")
            lab.berth("kill", "-s", "TERM", f"halted-{policy}")
            wait_until_exited(lab, f"halted-{policy}")
        reboot(lab)
        lab.start_daemon()
        expected = {
            "ended": "Exited (3",
            "ran": "Exited (255",
            "always": "Up",
            "halted-always": "Up",
            "unless-stopped": "Up",
            "halted-unless-stopped": "Exited (143",
            "on-failure": "Up",
            "halted-on-failure": "Exited (143",
        }
        lab.wait_for(lambda: {name: status.split(" Less")[0][:2] for name, status in states(lab).items()} == {
            name: status[:2] for name, status in expected.items()
        })  # fmt: skip
        found = states(lab)
        assert {name: found[name] if status != "Up" else found[name][:2] for name, status in expected.items()} == expected
        assert lab.berth("logs", "ended").stdout == "said\n"
        assert resolve_in(lab, "always", "on-failure") == json.loads(lab.berth("inspect", "on-failure").stdout)[0]["addresses"][:1]
        lab.berth("start", "ran")
        assert lab.berth("port", "ran", "80").stdout.splitlines()[0] == "0.0.0.0:8095"
        # Another start of the daemon, without a reboot: only always comes back.
        lab.berth("stop", "always", "unless-stopped", "on-failure", "ran")
        identity = json.loads(lab.berth("inspect", "halted-always").stdout)[0]["leader"]
        lab.stop_daemon(signal.SIGKILL)
        lab.start_daemon()
        lab.wait_for(lambda: states(lab)["always"].startswith("Up"))
        assert {name for name, status in states(lab).items() if status.startswith("Up")} == {"always", "halted-always"}
        assert json.loads(lab.berth("inspect", "halted-always").stdout)[0]["leader"] == identity
        assert lab.berth("start", "--due").stdout == ""


def resolve_in(lab, inside, name):
    return lab.berth("exec", inside, "getent", "hosts", name, check=False).stdout.split()[:1]


def test_a_process_elsewhere_that_has_the_output_keeps_nothing_running(lab):
    lab.berth("run", "-d", "--name", "leaks", "--", "sh", "-c", "while ! test -e /run/leaked; do sleep 0.01; done; printf last; exit 6")
    init = json.loads(lab.berth("inspect", "leaks").stdout)[0]["leader"]["pid"]
    script = f"exec 3>/proc/$(cat /proc/{init}/task/{init}/children | tr -d ' ')/fd/1; echo has it; while :; do echo more >&3; done"
    other = lab.start("sh", "-c", script)
    assert other.stdout.readline() == "has it\n"
    lab.shell("touch /run/leaked")
    assert lab.berth("wait", "leaks").stdout == "6\n"
    assert "last" in lab.berth("logs", "leaks").stdout
    other.wait()


@pytest.mark.parametrize("which", ["command", "init"])
def test_a_command_that_is_killed_is_known_to_have_been(lab, which):
    lab.berth("run", "-d", "--name", "victim", "--restart", "on-failure:1", "--", "sleep", "3175")
    for restarts in (0, 1):
        lab.wait_for(lambda: run_of(lab, "victim")["restarts"] == restarts and run_of(lab, "victim")["state"] == "running")  # noqa: B023
        init = json.loads(lab.berth("inspect", "victim").stdout)[0]["leader"]["pid"]
        lab.wait_for(lambda: lab.pids("sleep 3175"))
        lab.shell(f"kill -9 {init if which == 'init' else f'$(cat /proc/{init}/task/{init}/children)'}")
    ended = wait_until_exited(lab, "victim")
    assert (ended["exit_code"], ended["restarts"]) == (137, 1)
    assert not lab.runs("sleep 3175")


COMPOSE = """\
name: shop
services:
  fails: {command: sh -c 'echo again; exit 4', restart: "on-failure:1"}
  polite:
    command: sh -c 'trap "echo bye > /mnt/shop/said; exit 5" USR1; trap "" TERM; echo ready; while :; do sleep 0.01; done'
    restart: always
    stop_signal: USR1
    stop_grace_period: 2m
  deaf:
    command: sh -c 'trap "" INT; echo ready; while :; do sleep 0.01; done'
    stop_signal: SIGINT
    stop_grace_period: 1ms
"""


@pytest.fixture(scope="module")
def shop(lab):
    lab.shell("mkdir -p /mnt/shop")
    lab.write("/mnt/shop/compose.yaml", COMPOSE)
    return ["--project-directory", "/mnt/shop", "-f", "/mnt/shop/compose.yaml"]


@pytest.mark.slow
def test_services_of_up_d_are_started_again_and_stopped_as_the_file_says(lab, shop):
    lab.berth("up", "-d", *shop)
    ended = wait_until_exited(lab, "shop-fails-1")
    assert (ended["exit_code"], ended["restarts"], ended["restart"]) == (4, 1, "on-failure:1")
    assert lab.berth("compose", *shop, "logs", "--no-log-prefix", "fails").stdout == "again\nagain\n"
    for name in ("polite", "deaf"):
        lab.wait_for(lambda: "ready" in lab.berth("logs", f"shop-{name}-1").stdout)  # noqa: B023 (called at once)
    everything = lab.berth("compose", *shop, "logs").stdout.splitlines()
    assert sorted(everything) == ["shop-deaf-1   | ready", *["shop-fails-1  | again"] * 2, "shop-polite-1 | ready"]
    assert lab.berth("compose", *shop, "stop", "deaf").stdout == "shop-deaf-1\n"
    assert run_of(lab, "shop-deaf-1")["exit_code"] == 137
    assert lab.berth("compose", *shop, "rm", "-f").stdout == "shop-deaf-1\nshop-fails-1\n"
    assert "nothing of project shop is stopped" in lab.berth("compose", *shop, "rm", "-f").stderr
    assert lab.berth("compose", *shop, "rm", "-sf", "polite").stdout == "shop-polite-1\n"
    assert lab.shell("cat /mnt/shop/said") == "bye"
    lab.shell("rm /mnt/shop/said")
    lab.berth("down", *shop)
    lab.berth("up", "-d", *shop)
    lab.wait_for(lambda: "ready" in lab.berth("logs", "shop-polite-1").stdout)
    lab.berth("down", *shop)
    assert lab.shell("cat /mnt/shop/said") == "bye"


def test_a_start_that_is_attached_follows_what_it_starts(lab):
    lab.berth("run", "-d", "--name", "again", "--", "sh", "-c", "trap 'echo told; exit 8' INT; echo on; while :; do sleep 0.01; done")
    lab.berth("kill", "again")
    attached = lab.start(sys.executable, "-m", "resolver", "start", "-a", "again")
    assert attached.stdout.readline() == "on\n"
    attached.send_signal(signal.SIGINT)
    assert attached.stdout.read() == "told\n"
    assert attached.wait() == 8
    assert "-a is about one sandbox" in lab.berth("start", "-a", "again", "asker", check=False).stderr


ONE_OFF = """\
name: single
services:
  db: {command: sleep 600}
  tool:
    command: sh -c 'echo own command'
    depends_on: [db]
    environment: {A: file, B: file}
    ports: ["8097:80"]
    profiles: [tools]
    scale: 0
"""


def test_one_more_command_of_a_service_finds_what_it_depends_on(lab):
    lab.shell("mkdir -p /mnt/single")
    lab.write("/mnt/single/compose.yaml", ONE_OFF)
    run = ["compose", "-f", "/mnt/single/compose.yaml", "run"]
    script = "getent hosts db >/dev/null && echo $A $B $(hostname | wc -c); exit 3"
    started = lab.berth(*run, "-T", "-e", "B=asked", "tool", "sh", "-c", script, check=False)
    assert (started.stdout, started.returncode) == ("file asked 13\n", 3)
    assert lab.berth(*run, "tool").stdout == "own command\n"
    assert lab.berth(*run, "--entrypoint", "echo other", "tool", "words").stdout == "other words\n"
    name = lab.berth(*run, "-d", "--name", "behind", "--service-ports", "tool", "sleep", "600").stdout
    assert name == "behind\n"
    assert lab.berth("port", "behind", "80").stdout.startswith("0.0.0.0:8097")
    assert lab.berth("compose", "-p", "single", "ps", "--services").stdout == "db\n"
    names = ("--format", "{{.Name}} {{.Service}}")
    assert lab.berth("compose", "-p", "single", "ps", *names).stdout == "single-db-1 db\n"
    assert sorted(lab.berth("compose", "-p", "single", "ps", "-a", *names).stdout.splitlines()) == ["behind tool", "single-db-1 db"]
    assert lab.berth("compose", "-p", "single", "restart", "-t", "0").stdout == "single-db-1\n"
    missing = lab.berth(*run, "tol", check=False)
    assert (missing.returncode, missing.stderr) == (125, "berth: no such service: tol; did you mean tool?\n")
    lab.berth("compose", "-p", "single", "stop", "db")
    assert lab.berth(*run, "tool", "getent", "hosts", "db").stdout.endswith("db\n")
    assert "removed 2 sandboxes and 1 network" in lab.berth("down", "-p", "single").stdout
    alone = lab.berth(*run, "--no-deps", "tool", "getent", "hosts", "db", check=False)
    assert (alone.stdout, alone.returncode) == ("", 2)
    lab.berth("network", "rm", "single_default")


def test_services_that_up_follows_are_started_again_and_stopped_by_ctrl_c(lab, shop):
    lab.shell("rm -f /mnt/shop/said")
    followed = lab.start(sys.executable, "-m", "resolver", "up", *shop)
    seen = []
    while not (any("(restarting)" in line for line in seen) and sum("ready" in line for line in seen) == 2 and _has_failed_for_good(seen)):
        seen.append(followed.stdout.readline())
        assert seen[-1], seen
    followed.send_signal(signal.SIGINT)
    rest = followed.stdout.read()
    assert followed.wait() == 0
    assert "shop-polite-1 | exited with code 5\n" in rest
    assert "shop-deaf-1   | exited with code 137\n" in rest
    assert lab.shell("cat /mnt/shop/said") == "bye"


def _has_failed_for_good(lines):
    return any(line.endswith("exited with code 4\n") for line in lines)
