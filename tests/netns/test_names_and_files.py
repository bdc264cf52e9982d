"""What a sandbox's files and names say of its host, its links and other sandboxes."""

import json
import sys
from typing import Any

import pytest

from tests.support.lab import HOST_ADDRESS, HOST_ADDRESS6, Lab


@pytest.fixture(scope="module")
def lab(lab):
    # In a namespace of its own, which the lab is, /sys shows the links of whoever mounted it: here the real host's.
    lab.shell("mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /sys/fs/cgroup && mkdir '/sys/fs/cgroup/a b' && touch /sys/fs/cgroup/kept")
    lab.shell("mount -t tmpfs tmpfs '/sys/fs/cgroup/a b' && touch '/sys/fs/cgroup/a b/kept'")
    lab.berth("network", "create", "--ipv6", "net")
    lab.berth("network", "create", "--internal", "--ipv6", "inside")
    return lab


def links_of(text: str) -> list[str]:
    return sorted(text.split())


LINKS = "ls /sys/class/net; test -e /sys/fs/cgroup/kept && test -e '/sys/fs/cgroup/a b/kept' && echo kept"


def test_sys_shows_the_links_of_the_sandbox(lab: Lab):
    assert "up0" in lab.shell("ls /sys/class/net")
    # What is mounted below it is the host's, and only for who wants to be without protection.
    assert links_of(lab.berth("run", "--network", "net", "--", "sh", "-c", LINKS, check=False).stdout) == ["eth0", "lo"]
    assert links_of(lab.berth("run", "--network", "net", "--privileged", "--", "sh", "-c", LINKS).stdout) == ["eth0", "kept", "lo"]
    assert links_of(lab.berth("run", "--network", "none", "--", "ls", "/sys/class/net").stdout) == ["lo"]
    lab.berth("run", "-d", "--name", "web", "--network", "net", "--", "sleep", "600")
    assert links_of(lab.in_sandbox("web", "ls", "/sys/class/net")) == ["eth0", "lo"]
    assert links_of(lab.berth("run", "--network", "container:web", "--", "ls", "/sys/class/net").stdout) == ["eth0", "lo"]
    assert "up0" in lab.berth("run", "--network", "host", "--", "ls", "/sys/class/net").stdout
    # A link that comes later is there too.
    lab.berth("network", "connect", "inside", "web")
    assert links_of(lab.in_sandbox("web", "ls", "/sys/class/net")) == ["eth0", "eth1", "lo"]
    lab.berth("rm", "web")


def test_sys_of_an_adopted_namespace_and_of_a_service(lab: Lab):
    lab.run("ip", "netns", "add", "theirs")
    lab.berth("attach", "--name", "theirs", "--network", "net", "--netns", "/run/netns/theirs")
    assert links_of(lab.in_sandbox("theirs", "ls", "/sys/class/net")) == ["eth0", "lo"]
    lab.berth("detach", "theirs")
    lab.write("/run/compose.yaml", "services: {look: {command: ls /sys/class/net}}")
    said = lab.berth("up", "-f", "/run/compose.yaml").stdout
    assert {line.split()[-1] for line in said.splitlines() if line.startswith(("look", "run-look"))} >= {"eth0", "lo"}
    assert "up0" not in said


def test_sys_that_is_read_only_stays_so(lab: Lab):
    lab.run("mount", "-o", "remount,ro,bind", "/sys")
    done = lab.berth("run", "--network", "net", "--", "sh", "-c", "ls /sys/class/net; touch /sys/x", check=False)
    lab.run("mount", "-o", "remount,rw,bind", "/sys")
    assert links_of(done.stdout) == ["eth0", "lo"]
    assert "Read-only file system" in done.stderr


def test_sys_that_can_not_be_mounted_is_said(lab: Lab):
    """A user namespace may mount sysfs for network namespaces of its own only."""
    script = (
        "from resolver.cli import kernel_files; print(kernel_files.own_sys(whole=False)); import os; print(os.listdir('/sys/class/net'))"
    )
    said = lab.out("unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", script)
    assert said.startswith("mounting sysfs: Operation not permitted\n")
    assert "up0" in said


def test_host_gateway_on_an_internal_network_is_reached(lab: Lab):
    options = ("--network", "inside", "--add-host", "up:host-gateway")
    said = lab.berth("run", *options, "--", "sh", "-c", "grep up$ /etc/hosts; ping -4 -c1 -W5 up; ping -6 -c1 -W5 up").stdout
    assert [line.split()[0] for line in said.splitlines() if line.endswith("up")] == gateways(lab, "inside")
    assert said.count(" 0% packet loss") == 2
    lab.berth("network", "create", "--internal", "-o", "gateway_mode_ipv4=isolated", "closed")
    done = lab.berth("run", "--network", "closed", "--add-host", "up:host-gateway", "--", "grep", "up", "/etc/hosts", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "up is not in the hosts file (--add-host up:host-gateway): the host has no address on network closed" in done.stderr
    lab.berth("network", "rm", "closed")


@pytest.mark.slow
def test_links_of_others_follow_a_rename_and_a_restart(lab: Lab):
    lab.berth("run", "-d", "--name", "db", "--network", "net", "--", "sleep", "600")
    lab.berth("run", "-d", "--name", "web", "--network", "net", "--link", "db:store", "--", "sleep", "600")
    addresses = sorted(lab.inspect("db")["addresses"])

    def found() -> list[str]:
        return sorted(lab.in_sandbox("web", "dig", "+short", "store", "A", "store", "AAAA").split())

    assert found() == addresses
    lab.berth("rename", "db", "pg")
    assert found() == addresses
    lab.stop_daemon()
    lab.start_daemon()
    assert found() == addresses
    # A sandbox that is made anew under the name is the target again.
    lab.berth("rm", "pg")
    lab.berth("run", "-d", "--name", "pg", "--network", "net", "--", "sleep", "600")
    assert found() == sorted(lab.inspect("pg")["addresses"]) != addresses
    lab.berth("rm", "pg", "web")


def test_services_are_found_by_the_names_of_their_ports(lab: Lab):
    lab.write(
        "/run/services.yaml",
        "name: srv\nservices:\n  shop:\n    command: sleep 600\n    networks: [net]\n    expose: [metrics=9100, https]\n"
        "    ports: [{target: 8080, name: web, app_protocol: http}, {target: 5432}]\nnetworks: {net: {external: true}}\n",
    )
    lab.berth("up", "-d", "-f", "/run/services.yaml")
    lab.berth("run", "-d", "--name", "asking", "--network", "net", "--", "sleep", "600")
    wanted = {"_web": 8080, "_http": 8080, "_8080": 8080, "_metrics": 9100, "_https": 443, "_postgresql": 5432}
    queries = [part for name in wanted for part in (f"{name}._tcp.shop.net", "SRV")]
    said = lab.in_sandbox("asking", "dig", "+short", *queries).splitlines()
    assert said == [f"0 1 {port} srv-shop-1.net." for port in wanted.values()]
    refused = lab.berth("run", "--network", "net", "-p", "8080:htp", "--", "true", check=False)
    assert "did you mean http?" in refused.stderr
    lab.berth("rm", "asking")
    lab.berth("down", "-f", "/run/services.yaml")


SERVER = """
import socket, sys, threading
name = sys.argv[1].encode()
def answer(query):
    end = query.index(b"\\0", 12) + 5
    return query[:2] + b"\\x85\\x80" + query[4:6] + b"\\0\\1\\0\\0\\0\\0" + query[12:end] + b"\\xc0\\x0c\\0\\x10\\0\\1\\0\\0\\0\\0\\0" + bytes([len(name) + 1, len(name)]) + name
def udp(sock):
    while True:
        query, peer = sock.recvfrom(4096)
        sock.sendto(answer(query), peer)
def tcp(sock):
    while True:
        client, _ = sock.accept()
        query = client.recv(4096)
        reply = answer(query[2:])
        client.sendall(len(reply).to_bytes(2, "big") + reply)
        client.close()
one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); one.bind(("::", 53))
threading.Thread(target=udp, args=[one], daemon=True).start()
tcp(socket.create_server(("::", 53), family=socket.AF_INET6, dualstack_ipv6=True))
"""


def ask(lab: Lab, *queries: tuple[str, str], where: str = "host", sandbox: str | None = None) -> list[str]:
    """Return what is answered to (server, question) over UDP and over TCP, in this order; "" for no answer."""
    command = ["dig"]
    for server, question in queries:
        for transport in ("+notcp", "+tcp"):
            command += [f"@{server}", *question.split(), "+short", "+tries=1", "+time=15", transport]
    if sandbox is not None:
        command = [sys.executable, "-m", "resolver", "exec", sandbox, *command]
    lines = lab.run(*command, where=where, check=False).stdout.splitlines()
    # Where nobody is, dig says so.
    return [line for line in lines if not line.startswith(";; communications error")]


def ports(lab: Lab, *servers: str, **more: Any) -> list[str]:
    """Return what the server in the sandbox says: its name as a TXT record, which berth's resolver does not have."""
    return ask(lab, *((server, "who.test TXT") for server in servers), **more)


def gateways(lab: Lab, network: str) -> list[str]:
    return [pool["gateway"] for pool in json.loads(lab.berth("network", "inspect", network).stdout)[0]["pools"]]


def everybody_is_served(lab: Lab) -> None:
    hosts = (HOST_ADDRESS, HOST_ADDRESS6)
    assert ports(lab, "127.0.0.1", "::1", *hosts) == ['"hole"'] * 8
    assert ports(lab, *hosts, where="outside") == ['"hole"'] * 4
    for sandbox, network in (("asking", "net"), ("other", "apart"), ("hole", "net")):
        # What a network asks its gateway, berth's resolver answers: it knows the network's names.
        own = [(gateway, f"{sandbox} A") for gateway in gateways(lab, network)]
        assert ask(lab, *own, sandbox=sandbox) == [lab.inspect(sandbox)["addresses"][0]] * 4
        # At another network's gateway the port is as at any address of the host.
        assert ports(lab, *hosts, *gateways(lab, "net" if network == "apart" else "apart"), sandbox=sandbox) == ['"hole"'] * 8


@pytest.mark.slow
def test_port_53_is_published_beside_the_resolvers_at_gateways(lab: Lab):
    options = ("-p", "53:53", "-p", "53:53/udp")
    done = lab.berth("run", "-d", "--name", "hole", "--network", "net", *options, "--", sys.executable, "-c", SERVER, "hole")
    assert done.stderr == ""
    lab.berth("run", "-d", "--name", "asking", "--network", "net", "--", "sleep", "600")
    # A network, and so a gateway, that is made later.
    lab.berth("network", "create", "--ipv6", "apart")
    lab.berth("run", "-d", "--name", "other", "--network", "apart", "--", "sleep", "600")
    assert "no resolver" not in lab.berth("status").stdout
    lab.wait_for(lambda: ports(lab, "127.0.0.1") == ['"hole"'] * 2)
    everybody_is_served(lab)
    lab.stop_daemon()
    lab.start_daemon()
    assert "no resolver" not in lab.berth("status").stdout
    everybody_is_served(lab)
    refused = lab.berth("run", "--network", "net", *options, "--", "true", check=False)
    assert "port is already allocated by hole" in refused.stderr
    lab.berth("rm", "hole", "other", "asking")
    lab.berth("network", "rm", "apart")
    assert ports(lab, "127.0.0.1") != ['"hole"'] * 2


def test_port_53_of_another_program_is_not_taken(lab: Lab):
    script = """
import socket, sys, time
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
sock = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET, kind)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
sock.bind((sys.argv[2], 53))
if sys.argv[1] == "tcp": sock.listen()
print("bound", flush=True)
time.sleep(600)
"""
    for protocol, address in (("udp", "0.0.0.0"), ("tcp", "0.0.0.0"), ("udp", "127.0.0.1"), ("tcp", "::1")):
        # It shares its port with whoever wants to, as unbound does.
        other = lab.start(sys.executable, "-c", script, protocol, address)
        assert other.stdout is not None
        assert other.stdout.readline() == "bound\n"
        done = lab.berth("run", "--network", "net", "-p", f"53:53/{protocol}", "--", "true", check=False)
        assert "address already in use by a program of the host" in done.stderr, (protocol, address)
        other.kill()
        other.wait()
        assert lab.berth("run", "--network", "net", "-p", f"53:53/{protocol}", "--", "true").stderr == ""


def test_port_53_at_a_gateway_address_is_for_others(lab: Lab):
    lab.berth("run", "-d", "--name", "asking", "--network", "net", "--", "sleep", "600")
    for address in gateways(lab, "net"):
        at = f"[{address}]" if ":" in address else address
        options = ("-p", f"{at}:53:53", "-p", f"{at}:53:53/udp")
        done = lab.berth("run", "-d", "--name", "hole", "--network", "net", *options, "--", sys.executable, "-c", SERVER, "hole")
        assert done.stderr.count("berth's resolver answers there") == 2
        lab.wait_for(lambda address=address: ports(lab, address) == ['"hole"'] * 2)
        assert ask(lab, (address, "asking A"), sandbox="asking") == [lab.inspect("asking")["addresses"][0]] * 2
        lab.berth("rm", "hole")
    lab.berth("rm", "asking")


def test_static_names_and_wildcards_last(lab: Lab):
    """As long as their network: over a restart, and not beyond the network's end."""
    lab.berth("network", "create", "--record", "printer 60 A 192.0.2.20", "--record", "*.dev CNAME web", "front")
    lab.berth("network", "record", "add", "front", "192.0.2.20", "PTR", "printer")
    lab.berth("run", "-d", "--name", "web", "--network", "front,alias=*.app.test", "--", "sleep", "600")

    def answers() -> list[str]:
        return lab.in_sandbox("web", "dig", "+short", "printer", "-x", "192.0.2.20", "a.dev", "a.b.app.test", "web.app.test", "TXT").split()

    web = lab.inspect("web")["addresses"][0]
    expected = ["192.0.2.20", "printer.front.berth.internal.", "web.front.berth.internal.", web, web]
    assert answers() == expected
    lab.stop_daemon()
    lab.start_daemon()
    assert answers() == expected
    assert lab.berth("network", "record", "remove", "front", "printer").stdout == "printer A 192.0.2.20\n"
    assert answers() == expected[1:]
    assert "alone would take every name" in lab.berth("run", "--network", "front,alias=*", "--", "true", check=False).stderr
    lab.berth("rm", "web")
    lab.berth("network", "rm", "front")
    lab.berth("network", "create", "front")
    assert lab.api("GET", "/v1/networks/front")[1]["records"] == []
    lab.berth("network", "rm", "front")


@pytest.mark.parametrize("absent", ["hosts", "resolv.conf", "hosts resolv.conf"])
def test_files_that_the_host_lacks_hide_no_other_ones(lab, absent):
    lab.shell(f"mkdir /run/aside; for name in {absent}; do mv /etc/$name /run/aside/; done")
    try:
        script = "cat /etc/resolv.conf /etc/hosts; awk '{print $5}' /proc/self/mountinfo | grep -c /layers"
        said = lab.berth("run", "--hostname", "bare", "--", "sh", "-c", script, check=False)
    finally:
        lab.shell("mv /run/aside/* /etc/; rmdir /run/aside")
    lines = said.stdout.splitlines()
    assert [line for line in lines if line.startswith("nameserver")] == ["nameserver 127.0.0.11"]
    assert any(line.endswith("\tbare") for line in lines)
    assert said.stderr == ""
    # Nothing is left of the layers, so that the directory of the sandbox can be removed.
    assert lines[-1] == "0"
