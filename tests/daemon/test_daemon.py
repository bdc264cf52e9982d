"""The daemon as a process: start, stop, crash, restart, bad surroundings, the API's documents."""

import json
import os
import re
import signal
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.netns.conftest import upstream
from tests.support.lab import HOST_ADDRESS, OUTSIDE_ADDRESS, PATIENCE, TABLES, Lab


def prepared(lab: Lab) -> None:
    upstream(lab, OUTSIDE_ADDRESS)
    lab.start_daemon()
    lab.berth("network", "create", "net")
    lab.berth("run", "-d", "--name", "web", "--network", "net,alias=www", "-p", "8080:80", "--", "python3", "-m", "http.server", "80")
    lab.berth("run", "-d", "--name", "client", "--network", "net", "--", "sleep", "infinity")
    lab.wait_for(lambda: lab.listens("web", 80))


def works(lab: Lab) -> None:
    assert "Directory" in lab.in_sandbox("client", "curl", "-sS", "-m", "20", "http://www/")
    assert "Directory" in lab.out("curl", "-sS", "-m", "20", f"http://{HOST_ADDRESS}:8080/", where="outside")
    assert lab.in_sandbox("client", "dig", "+short", "www.example.test") == "192.0.2.80"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_restart_serves_the_same_sandboxes_again(lab, number):
    prepared(lab)
    works(lab)
    before = lab.inspect("web")
    state = lab.shell(f"ip -o addr | grep -v fe80; {TABLES}")
    lab.stop_daemon(number)
    # Traffic goes on without a daemon.
    assert "Directory" in lab.out("curl", "-sS", "-m", "20", f"http://{HOST_ADDRESS}:8080/", where="outside")
    lab.start_daemon()
    works(lab)
    assert lab.inspect("web") == before
    assert lab.shell(f"ip -o addr | grep -v fe80; {TABLES}") == state
    lab.berth("rm", "web", "client")
    lab.berth("network", "rm", "net")


@pytest.mark.slow
def test_after_a_reboot_networks_are_back_and_sandboxes_are_gone(lab):
    prepared(lab)
    lab.berth("rm", "client")
    leader = lab.inspect("web")["leader"]["pid"]
    lab.stop_daemon()
    # What a reboot takes away: links, namespaces, rules, /run, and the boot id.
    lab.shell(f"kill -9 {leader}; for n in /run/netns/berth-*; do umount $n; rm $n; done; rm -rf /run/berth")
    lab.shell("ip link del $(ip -o link show type bridge | cut -d: -f2 | tr -d ' '); nft flush ruleset")
    lab.shell("echo 00000000-0000-0000-0000-000000000001 > /run/boot_id; mount --bind /run/boot_id /proc/sys/kernel/random/boot_id")
    lab.start_daemon()
    assert json.loads(lab.berth("ps", "--format", "json").stdout) == []
    assert "net" in lab.berth("network", "ls").stdout
    assert lab.berth("run", "--name", "again", "--network", "net", "--", "dig", "+short", "again").stdout.strip()


@pytest.mark.slow
def test_sandbox_whose_process_died_while_the_daemon_was_away_is_removed(lab):
    prepared(lab)
    leader = lab.inspect("client")["leader"]["pid"]
    lab.stop_daemon(signal.SIGKILL)
    lab.shell(f"kill -9 {leader}")
    lab.start_daemon()
    assert len(json.loads(lab.berth("ps", "--format", "json").stdout)) == 1
    assert len(lab.shell("ls /run/netns").split()) == 2


def test_killed_client_leaves_nothing_behind(lab):
    lab.start_daemon()
    lab.berth("network", "create", "net")
    before = lab.kernel_state()
    client = lab.start(
        sys.executable, "-m", "resolver", "run", "--name", "victim", "--network", "net", "--", "sh", "-c", "sleep 31337 & sleep 31338"
    )
    lab.wait_for(lambda: lab.pids("sleep 31338"))
    os.kill(client.pid, signal.SIGKILL)
    lab.wait_for(lambda: "victim" not in lab.berth("ps").stdout)
    lab.wait_for(lambda: lab.kernel_state() == before)
    assert not lab.runs("sleep 3133")


def test_exit_codes_are_the_commands_or_dockers(lab):
    lab.start_daemon()
    assert lab.berth("run", "--", "sh", "-c", "exit 7", check=False).returncode == 7
    assert lab.berth("run", "--", "sh", "-c", "kill -9 $$", check=False).returncode == 137
    assert lab.berth("run", "--", "/nonexistent", check=False).returncode == 127
    assert lab.berth("run", "--", "/etc/hosts", check=False).returncode == 126
    assert lab.berth("run", "--network", "nowhere", "--", "true", check=False).returncode == 125
    assert lab.berth("network", "rm", "nowhere", check=False).returncode == 1
    assert lab.berth("network", "create", check=False).returncode == 2
    assert json.loads(lab.berth("ps", "--format", "json").stdout) == []


def test_stdin_and_tree(lab):
    lab.start_daemon()
    assert lab.berth("run", "--", "cat", stdin="through\n").stdout == "through\n"
    assert lab.berth("run", "-e", "A=1", "-w", "/tmp", "--", "sh", "-c", "echo $A $PWD").stdout.split() == ["1", "/tmp"]
    lab.berth("run", "-d", "--name", "beside", "--", "sleep", "300")
    for command in (("run", "-w", "/nowhere", "--", "pwd"), ("exec", "-w", "/nowhere", "beside", "pwd")):
        refused = lab.berth(*command, check=False)
        assert (refused.returncode, refused.stderr) == (126, "berth: working directory /nowhere: No such file or directory\n"), command
    # A child that outlives its parent goes too.
    lab.berth("run", "--", "sh", "-c", "sleep 4321 & true")
    assert not lab.runs("sleep 4321")


def test_two_daemons_on_one_state_directory(lab):
    lab.start_daemon()
    second = lab.berth("daemon", "--run-dir", "/run/other", check=False)
    assert second.returncode == 1
    assert "another berth daemon is using it" in second.stderr


def test_adopt_by_pid_path_and_descriptor_but_never_the_host(lab):
    lab.start_daemon()
    lab.berth("network", "create", "net")
    lab.run("ip", "netns", "add", "byhand")
    lab.berth("attach", "--netns", "/run/netns/byhand", "--name", "path", "--network", "net,alias=p")
    process = lab.start("unshare", "--net", "sleep", "1000")
    lab.wait_for(lambda: lab.shell(f"readlink /proc/{process.pid}/ns/net") != lab.shell("readlink /proc/self/ns/net"))
    lab.berth("attach", "--pid", str(process.pid), "--name", "process", "--network", "net")
    files = lab.inspect("process")["directory"]
    assert "127.0.0.11" in lab.out("cat", f"{files}/resolv.conf")
    assert lab.shell(f"nsenter --net -t {process.pid} dig +short @127.0.0.11 p") == lab.inspect("path")["addresses"][0]
    refused = lab.berth("attach", "--pid", str(lab.pid), "--name", "host", "--network", "net", check=False)
    assert "host's own namespace" in refused.stderr
    twice = lab.berth("attach", "--netns", "/run/netns/byhand", "--name", "again", check=False)
    assert "is sandbox path already" in twice.stderr
    status, made = lab.api("POST", "/v1/sandboxes", {"name": "nofd", "pid": process.pid, "fd": 0})
    assert status == 400, made
    # Its process ends: it goes by itself.
    process.kill()
    lab.wait_for(lambda: '"process"' not in lab.berth("ps", "--format", "json").stdout)
    lab.berth("detach", "path")
    assert "eth0" not in lab.out("ip", "-n", "byhand", "-o", "link")
    assert "byhand" in lab.out("ip", "netns")


def test_without_daemon_one_is_started_and_goes_when_idle(lab):
    assert lab.berth("run", "--name", "me", "--", "dig", "+short", "me").stdout.strip()
    lab.wait_for(lambda: lab.run("test", "-S", "/run/berth/berth.sock", check=False).returncode == 1)
    lab.wait_for(lambda: lab.shell("ip -o link show type bridge; ip -o link show type veth | grep -v up0 || true") == "")
    # What keeps a second daemon out goes with the process, just after its socket.
    lab.wait_for(lambda: "berth" not in lab.shell("nft list tables"))
    assert lab.berth("ps").stdout.split()[0] == "SANDBOX"
    assert lab.run("test", "-S", "/run/berth/berth.sock", check=False).returncode == 1
    # That nothing is kept any more is no accident.
    assert "keeper" not in lab.out("cat", "/run/berth/daemon.log")


def test_a_change_that_meets_a_daemon_which_stops_is_done_by_the_next_one(lab):
    lab.start_daemon()
    lab.berth("network", "create", "first")
    lab.shell(
        "for at in 1 2 3 4 5 6; do python3 -m resolver network create n$at >/run/$at.out 2>&1; echo $? >/run/$at.code; done &"
        " sleep 0.4; python3 -m resolver daemon stop; wait"
    )
    assert lab.shell("cat /run/*.code; cat /run/*.out | grep berth || true").split() == ["0"] * 6
    assert set(lab.berth("network", "ls", "--format", "{{.Name}}").stdout.split()) == {"first", *(f"n{at}" for at in range(1, 7))}
    lab.wait_for(lambda: lab.daemon.poll() is not None)


def test_what_is_stopped_is_within_reach_without_a_daemon(lab):
    def is_gone():
        return lab.run("test", "-S", "/run/berth/berth.sock", check=False).returncode == 1

    lab.berth("run", "-d", "--name", "job", "--", "sh", "-c", "echo hi; exit 3")
    lab.wait_for(is_gone)
    assert lab.berth("logs", "job").stdout == "hi\n"
    # A daemon that `logs` started may have ended by itself by now.
    lab.berth("daemon", "stop", check=False)
    lab.wait_for(is_gone)
    assert lab.berth("start", "job").stdout == "job\n"


def test_bad_requests_leave_everything_as_it_was(lab):
    prepared(lab)
    before = lab.kernel_state(), lab.berth("ps", "--format", "json").stdout, lab.berth("network", "inspect", "net").stdout
    taken = lab.inspect("web")["addresses"][0]
    subnet = json.loads(before[2])[0]["pools"][0]["subnet"]
    for expected, body in (
        (404, {"name": "x", "networks": [{"network": "nowhere"}]}),
        (400, {"name": "bad name", "networks": []}),
        (409, {"name": "web"}),
        (409, {"name": "x", "networks": [{"network": "net", "ip": taken}]}),
        (400, {"name": "x", "networks": [{"network": "net", "ip": "203.0.113.9"}]}),
        (400, {"name": "x", "networks": [{"network": "net", "ip6": "fd00::1"}]}),
        (400, {"name": "x", "networks": [{"network": "net", "aliases": ["a" * 64]}]}),
        (400, {"name": "x", "networks": [{"network": "net", "mac_address": "01:00:00:00:00:01"}]}),
        (400, {"name": "x", "networks": [{"network": "net"}, {"network": "net"}]}),
        (400, {"name": "x", "networks": [{"network": "net"}], "publish": ["80/icmp"]}),
        (409, {"name": "x", "networks": [{"network": "net"}], "publish": ["8080:80"]}),
        (400, {"name": "x", "networks": [{"network": "net"}], "dns": ["dns.google"]}),
        (400, {"name": "x", "networks": [{"network": "net"}], "dns_search": ["-bad-"]}),
        (400, {"name": "x", "networks": [{"network": "net"}], "extra_hosts": ["x"]}),
        (400, {"name": "x", "hostname": "h" * 65}),
        (400, {"name": "x", "colour": "blue"}),
        (404, {"name": "x", "networks": [{"network": "net", "links": {"db": "nobody"}}]}),
        (404, {"name": "x", "netns": "/run/netns/none"}),
        (400, {"name": "x", "netns": "/etc/hosts"}),
    ):
        status, answer = lab.api("POST", "/v1/sandboxes", body)
        assert status == expected, (body, answer)
        assert set(answer["error"]) == {"kind", "object", "message"}
        assert "\n" not in answer["error"]["message"]
    for expected, body in (
        (409, {"name": "net"}),
        (409, {"name": "bridge"}),
        (400, {"name": "x", "driver": "overlay"}),
        (400, {"name": "x", "options": {"icc": "perhaps"}}),
        (400, {"name": "x", "options": {"colour": "blue"}}),
        (409, {"name": "x", "subnets": [subnet]}),
        (400, {"name": "x", "subnets": ["10.1.2.3/8"]}),
        (400, {"name": "x", "subnets": ["fd00::/64"]}),
        (400, {"name": "x", "gateways": ["10.0.0.1"]}),
        (400, {"name": "x", "ipv4": False}),
        (409, {"name": "x", "options": {"name": "up0"}}),
    ):
        status, answer = lab.api("POST", "/v1/networks", body)
        assert status == expected, (body, answer)
    assert lab.api("DELETE", "/v1/networks/net")[0] == 409
    assert lab.api("POST", "/v1/networks/net/disconnect", {"sandbox": "web", "force": True})[0] == 400
    assert (
        lab.run(
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--unix-socket",
            "/run/berth/berth.sock",
            "-d",
            "@-",
            "http://b/v1/networks",
            stdin="x" * 2_000_000,
        ).stdout
        == "413"
    )
    after = lab.kernel_state(), lab.berth("ps", "--format", "json").stdout, lab.berth("network", "inspect", "net").stdout
    assert after == before


def test_every_response_fits_the_openapi_document(lab):
    import jsonschema

    prepared(lab)
    status, document = lab.api("GET", "/v1/openapi.json")
    assert status == 200
    calls = [
        ("POST", "/v1/networks", "/v1/networks", {"name": "more", "ipv6": True}),
        ("POST", "/v1/networks", "/v1/networks?dry_run=1", {"name": "other"}),
        ("GET", "/v1/networks", "/v1/networks", None),
        ("GET", "/v1/networks/{network}", "/v1/networks/net", None),
        ("POST", "/v1/networks/{network}/connect", "/v1/networks/more/connect", {"sandbox": "client", "aliases": ["x"]}),
        ("POST", "/v1/networks/{network}/disconnect", "/v1/networks/more/disconnect", {"sandbox": "client"}),
        ("POST", "/v1/sandboxes", "/v1/sandboxes", {"name": "third", "networks": [{"network": "net"}]}),
        ("GET", "/v1/sandboxes", "/v1/sandboxes", None),
        ("GET", "/v1/sandboxes/{sandbox}", "/v1/sandboxes/web", None),
        ("PATCH", "/v1/sandboxes/{sandbox}", "/v1/sandboxes/third", {"name": "fourth"}),
        ("DELETE", "/v1/sandboxes/{sandbox}", "/v1/sandboxes/fourth", None),
        ("POST", "/v1/resolve", "/v1/resolve", {"name": "web", "sandbox": "client"}),
        ("POST", "/v1/resolve", "/v1/resolve", {"name": "www.example.test"}),
        ("DELETE", "/v1/networks/{network}", "/v1/networks/more", None),
        ("POST", "/v1/networks/prune", "/v1/networks/prune", None),
        ("GET", "/v1/status", "/v1/status", None),
        ("GET", "/healthz", "/healthz", None),
        ("GET", "/readyz", "/readyz", None),
        ("GET", "/v1/networks/{network}", "/v1/networks/none-such", None),
    ]
    for method, template, path, body in calls:
        status, answer = lab.api(method, path, body)
        responses = document["paths"][template][method.lower()]["responses"]
        shape = responses.get(str(status), responses["default"] if status >= 400 else next(iter(responses.values())))
        schema = {**shape["content"]["application/json"]["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer)


def test_dry_run_makes_no_automatic_network(lab):
    lab.start_daemon()
    lab.berth("network", "create", "net")
    lab.api("POST", "/v1/sandboxes", {"name": "me", "networks": [{"network": "net"}]})
    before = lab.kernel_state(), lab.api("GET", "/v1/networks"), lab.api("GET", "/v1/sandboxes")
    for path, body, network in (
        ("/v1/sandboxes", {"name": "x", "default_network": True}, "default"),
        ("/v1/sandboxes", {"name": "x", "networks": [{"network": "bridge"}]}, "bridge"),
        ("/v1/networks/bridge/connect", {"sandbox": "me"}, "bridge"),
    ):
        status, plan = lab.api("POST", f"{path}?dry_run=1", body)
        assert status == 200, plan
        # The steps of the network that would be made come first.
        assert any("create link" in step for step in plan["steps"])
        assert f"on network {network}" in plan["steps"][-1]
        assert (lab.kernel_state(), lab.api("GET", "/v1/networks"), lab.api("GET", "/v1/sandboxes")) == before
    # What would be refused is refused.
    assert lab.api("POST", "/v1/sandboxes?dry_run=1", {"name": "x", "networks": [{"network": "bridge", "ip": "172.17.0.9"}]})[0] == 400
    assert lab.api("POST", "/v1/networks/prune?dry_run=1")[0] == 400
    assert lab.api("POST", "/v1/networks?dry_run=perhaps", {"name": "x"})[0] == 400
    assert (lab.kernel_state(), lab.api("GET", "/v1/networks"), lab.api("GET", "/v1/sandboxes")) == before


def test_metrics_and_events(lab):
    prepared(lab)
    lab.follow_events()
    lab.berth("run", "--name", "brief", "--network", "net", "--", "dig", "brief")
    text = lab.out("curl", "-s", "--unix-socket", "/run/berth/berth.sock", "http://berth/metrics")
    from resolver.daemon.metrics import NAMES

    for name in NAMES:
        assert f"# HELP {name} " in text, name
    assert float(next(line.split()[1] for line in text.splitlines() if line.startswith("berth_dns_requests_total"))) >= 1
    for pattern in (
        "sandbox create brief id=[0-9a-f]{12}",
        "endpoint connect brief id=[0-9a-f]{12} network=net",
        "sandbox remove brief id=[0-9a-f]{12} cause=command-ended exit_code=0",
    ):
        lab.wait_for(lambda pattern=pattern: re.search(pattern, lab.events()))


def test_configuration_errors_come_all_at_once(lab):
    lab.write("/run/bad.toml", 'suffix = "a..b"\nfirewall = "iptables"\ndns = ["nowhere"]\ncolour = 1\n')
    refused = lab.berth("daemon", "--config", "/run/bad.toml", check=False)
    assert refused.returncode == 1
    for word in ("suffix", "firewall: must be one of", "dns:", "colour: unknown", "4 problems"):
        assert word in refused.stderr, word
    assert "suffix" in lab.berth("daemon", "--check-config").stdout


def test_firewall_none_changes_nothing_and_says_what_is_needed(lab):
    lab.write("/run/c.toml", 'firewall = "none"\n')
    lab.start_daemon("--config", "/run/c.toml")
    lab.berth("network", "create", "net")
    assert "berth" not in lab.shell("nft list tables")
    assert "masquerade" in lab.berth("status").stdout
    assert lab.berth("run", "--network", "net", "--name", "me", "--", "dig", "+short", "me").stdout.strip()


def test_own_suffix_and_daemon_wide_dns(lab):
    upstream(lab, OUTSIDE_ADDRESS)
    lab.write("/run/c.toml", f'suffix = "my.lab"\ndns = ["{OUTSIDE_ADDRESS}"]\ndns_search = ["example.test"]\n')
    lab.start_daemon("--config", "/run/c.toml")
    lab.berth("network", "create", "net")
    said = lab.berth(
        "run", "--network", "net", "--name", "me", "--", "sh", "-c", "dig +short me.net.my.lab; getent ahostsv4 www; cat /etc/resolv.conf"
    ).stdout
    assert "192.0.2.80" in said
    assert "Overrides: [nameservers search]" in said
    assert len(said.splitlines()[0].split(".")) == 4


def test_neither_libnftables_nor_nft_is_needed(lab):
    program = lab.out("which", "nft")
    lab.shell(f"mkdir -p /run/lib; echo broken > /run/lib/libnftables.so.1; mount --bind /dev/null {program}")
    environment = dict(lab.environment)
    lab.environment |= {"LD_LIBRARY_PATH": "/run/lib"}
    lab.start_daemon()
    lab.berth("network", "create", "net")
    said = lab.berth("run", "--network", "net", "--name", "me", "--", "sh", "-c", "dig +short me; ss -lnut").stdout
    assert ip_address(said.splitlines()[0])
    # The resolver is behind its redirect.
    assert "127.0.0.11:" in said
    assert "127.0.0.11:53 " not in said
    lab.environment = environment
    lab.shell(f"umount {program}")
    assert "iifname @bridges" in lab.shell("nft list table inet berth")


def test_read_only_proc_sys_is_said_and_leaves_nothing(lab):
    lab.start_daemon()
    before = lab.kernel_state()
    lab.stop_daemon()
    lab.shell("mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys")
    lab.start_daemon()
    refused = lab.berth("network", "create", "--ipv6", "net", check=False)
    assert refused.returncode == 1
    assert "read-only" in refused.stderr
    assert lab.kernel_state() == before


def test_missing_capability_is_named(lab):
    refused = lab.run(
        "setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", sys.executable, "-m", "resolver", "daemon", check=False
    )
    assert refused.returncode == 1
    assert "CAP_NET_ADMIN" in refused.stderr
    assert "sudo" in refused.stderr


def test_no_descriptor_left_refuses_and_breaks_nothing_else(lab):
    prepared(lab)
    pid = str(json.loads(lab.berth("status", "--format", "json").stdout)["pid"])
    used = int(lab.shell(f"ls /proc/{pid}/fd | wc -l"))
    lab.run("prlimit", "--pid", pid, f"--nofile={used + 4}:")
    refused = lab.berth("run", "--network", "net", "--", "true", check=False)
    assert refused.returncode == 125
    lab.run("prlimit", "--pid", pid, "--nofile=4096:")
    lab.wait_for(lambda: lab.berth("run", "--network", "net", "--", "true", check=False).returncode == 0)
    works(lab)


@pytest.mark.slow
def test_many_at_once_are_all_answerable(lab):
    lab.start_daemon()
    lab.berth("network", "create", "net")
    script = 'for i in $(seq 40); do curl -s -o /dev/null -w \'%{http_code}\\n\' --unix-socket /run/berth/berth.sock -d \'{"name":"n\'$i\'","networks":[{"network":"net"}]}\' http://b/v1/sandboxes & done; wait'
    assert lab.shell(script).split() == ["201"] * 40
    assert lab.berth("resolve", "n40", "--from", "n1").returncode == 0
    addresses = [a for item in json.loads(lab.berth("ps", "--format", "json").stdout) for a in item["addresses"]]
    assert len(set(addresses)) == 40
    lab.shell(
        "for i in $(seq 40); do curl -s -o /dev/null -X DELETE --unix-socket /run/berth/berth.sock http://b/v1/sandboxes/n$i & done; wait"
    )
    lab.wait_for(lambda: json.loads(lab.berth("ps", "--format", "json").stdout) == [])
    lab.wait_for(lambda: lab.shell("ip -o link show type veth | grep -v up0 || true") == "")


EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_shop_of_the_readme(lab):
    up = lab.start(sys.executable, "-m", "resolver", "up", "-f", str(EXAMPLES / "shop.yaml"))
    lab.wait_for(lambda: "apple: 12" in lab.out("curl", "-s", "-m", "2", "http://127.0.0.1:8080/", check=False))
    assert "Berth shop" in lab.out("curl", "-sS", f"http://{HOST_ADDRESS}:8080/", where="outside")
    assert lab.in_sandbox("web", "getent", "hosts", "api")
    assert lab.berth("exec", "db", "curl", "-s", "-m", "1", f"http://{OUTSIDE_ADDRESS}/", check=False).returncode != 0
    assert "network examples_front" in lab.berth("resolve", "api", "--from", "web", "--explain").stdout
    up.send_signal(signal.SIGINT)
    up.wait(PATIENCE)
    said = up.stdout.read()
    assert "examples-web-1  | " in said or "examples-web-1 | " in said
    # The kernel deletes them behind the reply.
    lab.wait_for(lambda: lab.shell("ip -o link show type bridge") == "")


@pytest.mark.slow
def test_up_detached_then_down_and_two_projects_side_by_side(lab):
    lab.start_daemon()
    lab.shell("mkdir -p /run/p1 /run/p2")
    text = "services:\n  web:\n    command: sleep 1000\n    scale: 2\n  other:\n    image: x\n    links: ['web:w']\n"
    lab.write("/run/p1/compose.yaml", text)
    lab.write("/run/p2/compose.yaml", text)
    for project in ("p1", "p2"):
        lab.berth("up", "-d", "-f", f"/run/{project}/compose.yaml")
    ambiguous = lab.berth("exec", "web", "true", check=False)
    assert "ambiguous" in ambiguous.stderr
    assert "p2-web-1" in ambiguous.stderr
    addresses = lab.in_sandbox("p1-web-1", "dig", "+short", "web").split()
    assert len(addresses) == 2
    assert lab.in_sandbox("p1-other-1", "dig", "+short", "w")
    assert lab.berth("exec", "p1-web-1", "dig", "+short", "w").stdout == ""
    before = lab.kernel_state()
    lab.berth("up", "-d", "-f", "/run/p1/compose.yaml")
    assert lab.kernel_state() == before
    for project in ("p1", "p2"):
        lab.berth("down", "-f", f"/run/{project}/compose.yaml")
    assert json.loads(lab.berth("ps", "--format", "json").stdout) == []
    lab.wait_for(lambda: lab.shell("ip -o link show type bridge") == "")


def test_up_that_fails_takes_everything_down(lab):
    lab.start_daemon()
    before = lab.kernel_state()
    lab.write("/run/compose.yaml", "services:\n  a:\n    command: sleep 100\n  b:\n    command: /no/such/program\n    depends_on: [a]\n")
    refused = lab.berth("up", "-f", "/run/compose.yaml", check=False)
    assert refused.returncode == 1
    assert "service b: /no/such/program: command not found" in refused.stderr
    lab.wait_for(lambda: lab.kernel_state() == before)
