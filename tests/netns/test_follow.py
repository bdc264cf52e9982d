"""`berth attach --follow pidfile:PATH`, and `berth sandbox create --persist`: sandboxes that last. Other programs are in test_recipes.py."""

import contextlib
import json
import signal
import sys
from pathlib import Path

import pytest

PIDFILE = "/run/app.pid"
SERVE = "import http.server; http.server.ThreadingHTTPServer(('', 80), http.server.SimpleHTTPRequestHandler).serve_forever()"
"""What the program does once it has a namespace."""
UNSHARES_LATER = """
import ctypes, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print("ready", flush=True)
signal.sigwait([signal.SIGUSR1])
ctypes.CDLL(None).unshare(0x40000000)
signal.pause()
"""
"""Gets a namespace of its own when it is told to."""


@pytest.fixture(autouse=True)
def front(lab):
    """A network `front` with a sandbox `peer`. Nothing else is left afterwards."""
    lab.berth("network", "create", "--subnet", "10.75.0.0/24", "front")
    lab.berth("sandbox", "create", "peer", "--network", "front")
    yield
    lab.berth("rm", *lab.berth("ps", "-aq").stdout.split())
    lab.berth("network", "rm", "front")
    lab.run("rm", "-f", PIDFILE)
    assert (
        lab.shell("ls /run/berth/sandboxes /run/berth/by-name; ls /run/netns | grep berth", check=False)
        == "/run/berth/by-name:\n\n/run/berth/sandboxes:"
    )
    assert lab.berth("doctor").stdout == "0 problems\n"


def follow(lab, *more):
    return lab.berth(
        "attach", "--follow", f"pidfile:{PIDFILE}", "--name", "app", "--network", "front", "--network-alias", "api", "-p", "80", *more
    )


TELLS = ("sh", "-c", f'echo $$ > {PIDFILE}.new; mv {PIDFILE}.new {PIDFILE}; exec "$@"', "sh")
"""Tells its pid in the file, and becomes the command behind it."""


def start(lab, *command):
    """Start the program in a namespace of its own, tell its pid in the file, and return it and the pid."""
    program = lab.start(*TELLS, *(command or ("unshare", "-n", sys.executable, "-c", SERVE)))
    return program, program.pid


def end(program):
    program.kill()
    program.wait()


def wait_until(lab, wanted):
    lab.wait_for(lambda: status(lab) == wanted)


def status(lab):
    shown = lab.inspect("app")
    return "attached" if shown["adopted"] else "waits" if shown["waits"] else "created"


def what_stays(lab):
    """Return of the sandbox what must be the same after each restart of the program."""
    shown = lab.inspect("app")
    return shown["id"], shown["addresses"], shown["names"], [(one["mac"], one["ports"]) for one in shown["endpoints"]], shown["files"]


def in_app(lab, *command, **more):
    return lab.run("ip", "netns", "exec", "berth-app", *command, **more)


def assert_works(lab):
    """Names both ways, and the published port."""
    app, peer = lab.inspect("app"), lab.inspect("peer")
    for name in ("app", "api"):
        assert lab.in_sandbox("peer", "dig", "+short", name) == app["addresses"][0]
    assert in_app(lab, "dig", "+short", "peer").stdout.strip() == peer["addresses"][0]
    assert app["addresses"][0] in in_app(lab, "ip", "-o", "addr", "show", "dev", "eth0").stdout
    port = app["endpoints"][0]["ports"][0]["host_port"]
    lab.wait_for(lambda: lab.run("curl", "-sf", "-o", "/dev/null", f"http://10.9.0.2:{port}/", check=False).returncode == 0)


def test_a_program_is_followed_from_one_namespace_to_the_next(lab):
    attached = follow(lab)
    assert "app waits for pidfile:/run/app.pid" in attached.stderr
    assert status(lab) == "waits"
    assert "waiting" in lab.berth("ps", "--no-trunc").stdout
    before = what_stays(lab)
    inode = lab.shell("stat -c %i /run/berth/by-name/app/resolv.conf")
    # What it has is reserved while it waits.
    refused = lab.berth("sandbox", "create", "thief", "--network", "front", "--ip", before[1][0], check=False)
    assert "already in use on network front by sandbox app" in refused.stderr
    lab.follow_events()
    for _ in range(2):
        program, _ = start(lab)
        wait_until(lab, "attached")
        assert_works(lab)
        assert what_stays(lab) == before
        end(program)
        wait_until(lab, "waits")
        assert what_stays(lab) == before
        # Nobody is there, and whoever asks is told so at once.
        assert lab.in_sandbox("peer", "dig", "+short", "app") == before[1][0]
    # What a container has mounted is still the file that is written.
    assert lab.shell("stat -c %i /run/berth/by-name/app/resolv.conf") == inode

    def told():
        return [line.split()[2] for line in lab.events().splitlines() if " sandbox " in line and " app" in line]

    lab.wait_for(lambda: len(told()) >= 4)
    assert told() == ["attach", "wait", "attach", "wait"]
    lab.berth("detach", "app")
    assert "app" not in lab.berth("ps", "-a").stdout


def test_a_process_in_the_hosts_namespace_is_waited_for(lab):
    program, pid = start(lab, sys.executable, "-c", UNSHARES_LATER)
    follow(lab)
    before = lab.kernel_state()
    # It has been looked at: what is asked for later is answered later.
    lab.berth("status")
    assert status(lab) == "waits"
    assert lab.kernel_state() == before
    assert program.stdout.readline() == "ready\n"
    # One that stays there is told of.
    lab.wait_for(lambda: f"process {pid} is in the host's network namespace, which is never adopted" in lab.berth("status").stdout)
    program.send_signal(signal.SIGUSR1)
    wait_until(lab, "attached")
    lab.wait_for(lambda: "host's network namespace" not in lab.berth("status").stdout)
    lab.run("nsenter", "--target", str(pid), "--net", "ip", "addr", "show", "dev", "eth0")
    lab.berth("detach", "app")
    # Its process goes on, in its namespace, with nothing of ours.
    assert program.poll() is None
    assert "eth0" not in lab.out("nsenter", "--target", str(pid), "--net", "ip", "-o", "link")
    end(program)


def restart_program_without_daemon(lab, how):
    """Restart the program while no daemon is there to see it, ended by *how*, and return it."""
    program, _ = start(lab)
    follow(lab)
    wait_until(lab, "attached")
    before = what_stays(lab)
    lab.stop_daemon(how)
    end(program)
    program, pid = start(lab)
    lab.start_daemon()
    lab.wait_for(lambda: (lab.inspect("app")["leader"] or {"pid": 0})["pid"] == pid)
    assert_works(lab)
    assert what_stays(lab) == before
    return program


def test_it_goes_on_after_the_daemon_was_killed(lab):
    end(restart_program_without_daemon(lab, signal.SIGKILL))


@pytest.mark.slow
def test_it_goes_on_after_a_restart_of_the_daemon(lab):
    program = restart_program_without_daemon(lab, signal.SIGTERM)
    before = what_stays(lab)
    lab.stop_daemon()
    lab.start_daemon()
    assert status(lab) == "attached"
    assert_works(lab)
    # The program ends, and so does the daemon.
    lab.stop_daemon(signal.SIGKILL)
    end(program)
    lab.start_daemon()
    wait_until(lab, "waits")
    assert what_stays(lab) == before


def test_a_pid_that_is_anothers_by_now_is_not_adopted(lab):
    other = lab.start("unshare", "-n", "sleep", "300")
    # It was written a minute before this process started, but not before the boot.
    lab.shell(f"echo {other.pid} > {PIDFILE}; touch -d '1 minute ago' {PIDFILE}")
    follow(lab)
    lab.berth("status")
    assert status(lab) == "waits"
    # Written by somebody who knows: it is that process.
    lab.run("touch", PIDFILE)
    wait_until(lab, "attached")
    end(other)


def test_a_namespace_that_is_anothers_is_told_of_and_tried_again(lab):
    program, pid = start(lab)
    lab.berth("attach", "--name", "first", "--pid", str(pid))
    follow(lab)
    lab.wait_for(lambda: "app does not get the namespace of pidfile:/run/app.pid" in lab.berth("status").stdout)
    assert f"netns of process {pid} is sandbox first already" in lab.berth("status").stdout
    lab.berth("detach", "first")
    wait_until(lab, "attached")
    lab.wait_for(lambda: "does not get the namespace" not in lab.berth("status").stdout)
    end(program)


def test_egress_rules_go_with_it(lab):
    def names_and_peers(pid):
        inside = f"nsenter -n -t {pid}"
        peer = lab.inspect("peer")["addresses"][0]
        found = lab.shell(f"{inside} dig +short @127.0.0.11 peer").strip() == peer
        return found, lab.run(*inside.split(), "ping", "-c", "1", "-W", "1", peer, check=False).returncode == 0

    follow(lab, "--egress", "example.org")
    for _ in range(2):
        program, pid = start(lab)
        wait_until(lab, "attached")
        assert names_and_peers(pid) == (False, False)
        end(program)
        wait_until(lab, "waits")
    # A way out of its own is none.
    makes_links = ("unshare", "-n", "sh", "-c", 'ip link add own0 type veth peer name own1 && exec "$@"', "sh")
    program = lab.start(*makes_links, *TELLS, "sleep", "infinity")
    pid = program.pid
    lab.wait_for(lambda: "links that berth did not make: own0, own1" in lab.berth("status").stdout)
    assert status(lab) == "waits"
    lab.shell(f"nsenter -n -t {pid} ip link del own0")
    wait_until(lab, "attached")
    lab.berth("egress", "add", "app", "network:front")
    assert names_and_peers(pid) == (True, True)
    end(program)
    wait_until(lab, "waits")
    program, pid = start(lab)
    wait_until(lab, "attached")
    assert names_and_peers(pid) == (True, True)
    end(program)


@pytest.mark.parametrize("rules", [(), ("--egress", "example.org")])
def test_a_sandbox_that_waits_has_its_rules(lab, rules):
    lab.berth("sandbox", "create", "ready", "--network", "front", *rules)
    address = lab.inspect("peer")["addresses"][0]
    assert lab.in_sandbox("ready", "dig", "+short", "@127.0.0.11", "peer").strip() == ("" if rules else address)


def test_changes_of_a_sandbox_that_follows_go_with_it(lab):
    lab.berth("network", "create", "--subnet", "10.76.0.0/24", "back")
    follow(lab)
    lab.berth("network", "connect", "back", "app")
    lab.berth("rename", "app", "shop")
    program, pid = start(lab)
    lab.wait_for(lambda: lab.inspect("shop")["adopted"])
    addresses = lab.inspect("shop")["addresses"]
    assert [address for address in addresses if address.startswith("10.76.")]
    for address in addresses:
        assert address in lab.out("nsenter", "--target", str(pid), "--net", "ip", "-o", "addr")
    lab.berth("network", "disconnect", "back", "shop")
    end(program)
    lab.wait_for(lambda: lab.inspect("shop")["waits"])
    assert lab.inspect("shop")["addresses"] == [address for address in addresses if address.startswith("10.75.")]
    lab.berth("rm", "shop")
    lab.berth("network", "rm", "back")


def reboot(lab):
    """Have the daemon start as after a reboot."""
    go_down(lab)
    lab.start_daemon()


def go_down(lab):
    """Have nothing be left that a reboot takes: no process, no namespace, no file below /run. The boot has another id."""
    keeper = lab.shell("ss -xlpH src /run/berth/keeper.sock | grep -o 'pid=[0-9]*' | head -1").removeprefix("pid=")
    lab.stop_daemon(signal.SIGKILL)
    lab.run("kill", "-9", keeper)
    lab.shell("for n in /run/netns/berth-*; do umount $n; rm $n; done; rm -rf /run/berth")
    boot = "/proc/sys/kernel/random/boot_id"
    lab.shell(f"umount {boot} 2>/dev/null; cat /proc/sys/kernel/random/uuid > /mnt/boot_id; mount --bind /mnt/boot_id {boot}")


@pytest.mark.slow
def test_what_is_to_persist_is_there_after_a_reboot(lab):
    lab.berth(
        "sandbox",
        "create",
        "app",
        "--persist",
        "--network",
        "front,alias=api",
        "-p",
        "80",
        "-p",
        "8075:81",
        "--label",
        "a=b",
        "--hostname",
        "apphost",
    )
    lab.berth("sandbox", "create", "gone", "--network", "front")
    lab.berth("attach", "--follow", "pidfile:/run/other.pid", "--name", "other", "--network", "front")
    before, other = what_stays(lab), lab.inspect("other")
    assert lab.inspect("app")["persists"] is True
    reboot(lab)
    assert what_stays(lab) == before
    again = lab.inspect("app")
    assert (again["labels"], again["hostname"], again["persists"]) == ({"a": "b"}, "apphost", True)
    assert lab.inspect("other")["addresses"] == other["addresses"]
    assert lab.inspect("other")["waits"] is True
    assert "gone" not in lab.berth("ps", "-a").stdout
    lab.berth("sandbox", "create", "peer", "--network", "front")
    assert lab.in_sandbox("peer", "dig", "+short", "api") == before[1][0]
    # It ends with `berth rm`, also for the next start.
    lab.berth("rm", "app", "other")
    reboot(lab)
    assert "app" not in lab.berth("ps", "-a").stdout
    lab.berth("sandbox", "create", "peer", "--network", "front")


def hold_port(lab):
    """Start a program of the host that has port 8075, and return it."""
    script = "import socket, time; s = socket.create_server(('', 8075)); print('listening', flush=True); time.sleep(300)"
    holder = lab.start(sys.executable, "-c", script)
    assert holder.stdout.readline() == "listening\n"
    return holder


@pytest.mark.slow
def test_what_cannot_be_made_again_is_set_aside_until_it_can(lab):
    lab.berth("sandbox", "create", "app", "--persist", "--network", "front", "-p", "8075:81")
    go_down(lab)
    holder = hold_port(lab)
    lab.start_daemon()
    assert "sandbox app is set aside: it can't be made again" in lab.berth("status").stdout
    refused = lab.berth("sandbox", "create", "app", check=False)
    assert "exists already and can't be made again now" in refused.stderr
    end(holder)
    lab.wait_for(lambda: "app" in lab.berth("ps", "-a").stdout)
    lab.wait_for(lambda: "set aside" not in lab.berth("status").stdout)
    lab.berth("rm", "app")
    # One that is set aside can be removed.
    lab.berth("sandbox", "create", "app", "--persist", "--network", "front", "-p", "8075:81")
    go_down(lab)
    holder = hold_port(lab)
    lab.start_daemon()
    lab.berth("rm", "app")
    end(holder)
    assert "set aside" not in lab.berth("status").stdout
    lab.berth("sandbox", "create", "peer", "--network", "front")


REFUSED = (
    (
        ("attach", "--name", "x", "--follow", "lxc:web"),
        1,
        "'lxc:web' is not one of podman:CONTAINER, docker:CONTAINER, containerd:NAMESPACE/ID",
    ),
    (("attach", "--name", "x", "--follow", "containerd:web"), 1, "give containerd's namespace and the id of the container"),
    (("attach", "--name", "x", "--follow", "podman:"), 1, "a name is missing"),
    (("attach", "--name", "x", "--follow", "podman:web", "--pid", "1"), 2, "--pid names one namespace"),
    (("attach", "--name", "x", "--follow", "podman:web", "--network", "host"), 1, "an adopted namespace has a stack of its own"),
    (("attach", "--follow", "podman:web"), 2, "--name is required"),
    (("sandbox", "create", "peer"), 1, "exists already"),
    (("sandbox", "create", "x", "--gw-priority", "high"), 2, "--gw-priority high: it should be a whole number"),
)


def test_what_is_refused(lab):
    for arguments, code, text in REFUSED:
        refused = lab.berth(*arguments, check=False)
        assert text in refused.stderr
        assert refused.returncode == code


def test_a_stack_that_moves_is_not_shared(lab):
    follow(lab)
    refused = lab.berth("run", "--network", "container:app", "--", "true", check=False)
    assert "cannot join network namespace of app, which follows pidfile:/run/app.pid" in refused.stderr


def test_what_would_be_made_is_printed(lab):
    before = lab.kernel_state()
    steps = lab.berth("sandbox", "create", "app", "--network", "front", "--dry-run").stdout
    assert "veth" in steps
    assert lab.kernel_state() == before
    assert json.loads(lab.berth("ps", "--format", "json").stdout)[0]["name"] == "peer"


def status_by_api(lab):
    """Return the same as `status`, without a command that would start a daemon if there is none; None while there is none."""
    url = "http://berth/v1/sandboxes/app"
    done = lab.run("curl", "-s", "--unix-socket", "/run/berth/berth.sock", url, check=False)
    shown = json.loads(done.stdout) if done.returncode == 0 and done.stdout else {}
    return "attached" if shown.get("adopted") else "waits" if shown.get("waits") else None


DYING = str(Path(__file__).parents[1] / "support" / "dying_daemon.py")
LAST_STEP = 400


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_daemon_that_is_killed_in_any_step_of_a_move_goes_on(lab):
    """Every seventh step of going to the program's namespace, and back to wait when it has ended."""
    follow(lab)
    before = what_stays(lab)
    lab.stop_daemon()
    lab.start_daemon(program=f"{sys.executable} {DYING}")
    kills = 0
    for number in range(0, LAST_STEP, 7):
        deaths = 0
        program, pid = None, 0
        for wanted in ("attached", "waits"):
            lab.shell(f"rm -f /run/steps; echo {number} > /run/die-at.new; mv /run/die-at.new /run/die-at")
            if program is None:
                program, pid = start(lab)
            else:
                end(program)
            lab.wait_for(lambda wanted=wanted: lab.daemon.poll() is not None or status_by_api(lab) == wanted)
            # It may die behind that.
            with contextlib.suppress(AssertionError):
                lab.wait_for(lambda: lab.daemon.poll() is not None, timeout=1)
            lab.shell("rm -f /run/die-at")
            if lab.daemon.poll() is not None:
                deaths += 1
                lab.start_daemon(program=f"{sys.executable} {DYING}")
            wait_until(lab, wanted)
            assert what_stays(lab)[:4] == before[:4], (number, wanted)
            assert lab.in_sandbox("peer", "dig", "+short", "app") == before[1][0], (number, wanted)
            if wanted == "attached":
                assert before[1][0] in lab.out("nsenter", "--target", str(pid), "--net", "ip", "-o", "addr"), number
            lab.wait_for(lambda: lab.berth("doctor", check=False).stdout == "0 problems\n")
        kills += deaths
        if not deaths:
            break
    assert kills >= 10
