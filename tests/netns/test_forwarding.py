"""Upstreams alive, dead, lying; resolv.conf of the host changing; the gateway resolver; clients of every kind."""

import json
import sys

import pytest

from tests.netns.conftest import UPSTREAM, upstream
from tests.support.lab import OUTSIDE_ADDRESS, Lab


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        for number, behaviour in (("1", "ok"), ("11", "silent"), ("12", "refused"), ("13", "spoof"), ("14", "big"), ("15", "servfail")):
            address = f"10.9.0.{number}"
            if number != "1":
                made.run("ip", "addr", "add", f"{address}/24", "dev", "up1", where="outside")
            upstream(made, address, behaviour)
        made.start_daemon()
        made.berth("network", "create", "net")
        made.berth("network", "create", "--internal", "inside")
        yield made


def servers(lab: Lab, *addresses: str, extra: str = "") -> None:
    lab.write("/etc/resolv.conf", "".join(f"nameserver {item}\n" for item in addresses) + extra)
    lab.wait_for(lambda: f"nameservers of /etc/resolv.conf: {', '.join(addresses) or 'none'}" in lab.berth("status").stdout)


def run(lab: Lab, *command: str, options=(), check=True) -> str:
    return lab.berth("run", "--network", "net", *options, "--", *command, check=check).stdout.strip()


def dig_within(lab: Lab, seconds: int, *arguments: str) -> str:
    """Return what dig says in a sandbox; it gives up, with other words, after *seconds* without a reply."""
    return run(lab, "dig", "+tries=1", f"+time={seconds}", *arguments, check=False)


def beside(server: str, command: str) -> str:
    """Return a script that runs *command* once the name server at the address *server* listens."""
    said = f"/run/said-{server}"
    return f"rm -f {said}; {sys.executable} {UPSTREAM} {server} > {said} & until grep -qs listening {said}; do sleep 0.02; done; {command}"


def test_alive_upstream(lab):
    servers(lab, OUTSIDE_ADDRESS)
    assert run(lab, "dig", "+short", "www.example.test") == "192.0.2.80"
    assert run(lab, "getent", "ahostsv4", "www.example.test").split()[0] == "192.0.2.80"
    assert "NXDOMAIN" in run(lab, "dig", "no.such.name")


def test_host_search_domain_works_and_does_not_shadow_a_peer(lab):
    servers(lab, OUTSIDE_ADDRESS, extra="search example.test\n")
    assert "192.0.2.80" in run(lab, "getent", "ahostsv4", "www")
    lab.berth("run", "-d", "--name", "www", "--network", "net", "--", "sleep", "60")
    own = lab.inspect("www")["addresses"][0]
    assert own in run(lab, "getent", "hosts", "www")
    assert own in run(lab, "busybox", "nslookup", "www.net")
    lab.berth("rm", "www")


@pytest.mark.parametrize("first", ["10.9.0.11", "10.9.0.12", "10.9.0.15", "10.9.0.99"])
def test_next_upstream_answers_when_the_first_does_not(lab, first):
    servers(lab, first, OUTSIDE_ADDRESS)
    assert dig_within(lab, 15, "+short", "www.example.test") == "192.0.2.80"


def test_dead_upstreams_give_servfail_with_a_reason(lab):
    """Before glibc gives up, which the unit tests of the time of a query are about."""
    servers(lab, "10.9.0.11")
    said = dig_within(lab, 15, "www.example.test")
    assert "SERVFAIL" in said
    assert "EDE: 22" in said
    assert "10.9.0.11 did not answer" in said


def test_reply_to_another_question_is_not_taken(lab):
    servers(lab, "10.9.0.13")
    assert run(lab, "dig", "+short", "www.example.test") == "192.0.2.80"


def test_truncated_reply_is_fetched_over_tcp_and_cut_for_small_clients(lab):
    servers(lab, "10.9.0.14")
    assert run(lab, "dig", "+bufsize=8192", "+ignore", "+short", "TXT", "big.example.test").count("xxx") > 10
    said = run(lab, "dig", "+noedns", "+ignore", "TXT", "big.example.test")
    assert "flags: qr tc" in said
    assert run(lab, "dig", "+noedns", "+short", "TXT", "big.example.test").count("xxx") > 10


def test_no_nameserver_at_all_is_said(lab):
    servers(lab)
    said = run(lab, "dig", "+tries=1", "www.example.test")
    assert "SERVFAIL" in said
    assert "names no nameserver" in said
    assert "NO EXTERNAL NAMESERVERS" in run(lab, "cat", "/etc/resolv.conf")


def test_dns_option_is_asked_from_the_sandbox(lab):
    servers(lab, OUTSIDE_ADDRESS)
    script = beside("127.0.0.1", "dig +tries=1 +short www.example.test")
    said = run(lab, "sh", "-c", script, options=("--dns", "127.0.0.1"))
    assert said == "192.0.2.80"
    said = run(lab, "dig", "+tries=1", "www.example.test", options=("--dns", "127.0.0.1"))
    assert "SERVFAIL" in said
    assert "127.0.0.1" in said


def test_internal_sandbox_may_ask_a_server_on_its_network(lab):
    servers(lab, OUTSIDE_ADDRESS)
    lab.berth("run", "-d", "--name", "ns", "--network", "inside", "--ip", "172.18.0.53", "--", "sleep", "60", check=False)
    inside = next(pool["subnet"] for pool in json.loads(lab.berth("network", "inspect", "inside").stdout)[0]["pools"])
    address = inside.rpartition(".")[0] + ".53"
    lab.berth("rm", "ns", check=False)
    lab.berth("run", "-d", "--name", "ns", "--network", "inside", "--ip", address, "--", sys.executable, UPSTREAM, address)
    lab.wait_for(lambda: f"{address}:53 " in lab.in_sandbox("ns", "ss", "-Hlnt"))
    said = lab.berth("run", "--network", "inside", "--dns", address, "--", "dig", "+tries=1", "+short", "www.example.test").stdout.strip()
    assert said == "192.0.2.80"
    said = lab.berth("run", "--network", "inside", "--", "dig", "+tries=1", "www.example.test").stdout
    assert "EDE: 18" in said
    lab.berth("rm", "ns")


def test_resolv_conf_of_sandboxes_follows_the_host_unless_edited(lab):
    servers(lab, OUTSIDE_ADDRESS)
    lab.berth("run", "-d", "--name", "follows", "--network", "net", "--", "sleep", "60")
    lab.berth("run", "-d", "--name", "edited", "--network", "net", "--", "sleep", "60")
    lab.berth("exec", "edited", "sh", "-c", "echo '# mine' >> /etc/resolv.conf")
    servers(lab, OUTSIDE_ADDRESS, extra="search later.test\n")
    lab.wait_for(lambda: "later.test" in lab.in_sandbox("follows", "cat", "/etc/resolv.conf"))
    assert "later.test" not in lab.in_sandbox("edited", "cat", "/etc/resolv.conf")
    assert "# mine" in lab.in_sandbox("edited", "cat", "/etc/resolv.conf")
    lab.wait_for(lambda: "its resolv.conf was edited" in lab.berth("status").stdout)
    # Edited or not, upstreams are used.
    assert lab.in_sandbox("edited", "dig", "+short", "www.example.test") == "192.0.2.80"
    lab.berth("rm", "follows", "edited")


def test_resolv_conf_behind_a_link_is_followed(lab):
    lab.shell(
        "mkdir -p /run/elsewhere; cp /etc/resolv.conf /run/elsewhere/r1; ln -sfn /run/elsewhere/r1 /etc/link; ln -sf /etc/link /etc/resolv.conf"
    )
    lab.write("/run/elsewhere/r1", "nameserver 10.9.0.12\n")
    lab.wait_for(lambda: "resolv.conf: 10.9.0.12" in lab.berth("status").stdout)
    lab.write("/run/elsewhere/r2", f"nameserver {OUTSIDE_ADDRESS}\n")
    lab.shell("mv /run/elsewhere/r2 /run/elsewhere/r1")
    lab.wait_for(lambda: f"resolv.conf: {OUTSIDE_ADDRESS}" in lab.berth("status").stdout)
    assert run(lab, "dig", "+short", "www.example.test") == "192.0.2.80"
    assert lab.out("readlink", "/etc/resolv.conf") == "/etc/link"
    lab.shell("rm /etc/resolv.conf")


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "cp /etc/{name} /etc/.new && mv /etc/.new /etc/{name}",
        "rm /etc/{name} && cp /run/kept /etc/{name}",
        "cp /run/kept /run/other; ln -s /run/other /etc/.new && mv -T /etc/.new /etc/{name}",
        "rm /etc/{name}",
    ],
    ids=["renamed over", "removed and made", "made a link", "removed"],
)
@pytest.mark.parametrize(("name", "line"), [("resolv.conf", "nameserver 127.0.0.11"), ("hosts", "kept-here")])
def test_files_of_a_running_sandbox_are_its_own_when_the_host_replaces_its_own(lab, change, name, line):
    # As NetworkManager, DHCP clients and `sed -i` do. The kernel takes mounts away with what they are on.
    servers(lab, OUTSIDE_ADDRESS)
    lab.shell(f"cp /etc/{name} /run/kept")
    lab.berth("run", "-d", "--name", "held", "--network", "net", "--hostname", "kept-here", "--", "sleep", "300")
    try:
        for _ in range(2):
            lab.shell(change.format(name=name), check=False)
            lab.wait_for(lambda: line in lab.in_sandbox("held", "cat", f"/etc/{name}", check=False))
        assert lab.in_sandbox("held", "getent", "hosts", "held")
    finally:
        lab.berth("rm", "held")
        lab.shell(f"rm -f /etc/{name}; cp /run/kept /etc/{name}")


def test_dangling_resolv_conf_does_not_break_run(lab):
    lab.shell("ln -sf /nowhere/at/all /etc/resolv.conf")
    assert "nameserver 127.0.0.11" in run(lab, "cat", "/etc/resolv.conf")
    lab.shell("rm /etc/resolv.conf")
    assert "nameserver 127.0.0.11" in run(lab, "cat", "/etc/resolv.conf")
    assert lab.run("test", "-e", "/etc/resolv.conf", check=False).returncode == 1
    servers(lab, OUTSIDE_ADDRESS)


def test_gateway_answers_its_own_bridge_only(lab):
    lab.berth("run", "-d", "--name", "one", "--network", "net", "--", "sleep", "60")
    lab.berth("run", "-d", "--name", "two", "--network", "inside", "--", "sleep", "60")
    gateways = {name: json.loads(lab.berth("network", "inspect", name).stdout)[0]["pools"][0]["gateway"] for name in ("net", "inside")}
    own = lab.inspect("one")["addresses"][0]
    assert lab.in_sandbox("one", "dig", "+short", f"@{gateways['net']}", "one") == own
    assert lab.in_sandbox("one", "dig", "+tcp", "+short", f"@{gateways['net']}", "one") == own
    assert lab.in_sandbox("one", "dig", "+short", f"@{gateways['net']}", "www.example.test") == "192.0.2.80"
    assert "EDE: 18" in lab.in_sandbox("two", "dig", "+tries=1", f"@{gateways['inside']}", "www.example.test")
    # The other network's gateway, and a gateway asked from outside, say nothing.
    assert lab.berth("exec", "one", "dig", "+tries=1", "+time=1", f"@{gateways['inside']}", "two", check=False).returncode != 0
    lab.run("ip", "route", "replace", gateways["net"], "via", "10.9.0.2", where="outside")
    assert lab.run("dig", "+tries=1", "+time=1", f"@{gateways['net']}", "one", where="outside", check=False).returncode != 0
    lab.berth("rm", "one", "two")


def test_foreign_holder_of_port_53_is_named_and_breaks_nothing(lab):
    script = "import socket,time; s=socket.socket(2,2); s.setsockopt(0,15,1); s.bind(('10.77.0.1',53)); print('bound',flush=True); time.sleep(60)"
    holder = lab.start("python3", "-c", script)
    assert holder.stdout.readline() == "bound\n"
    lab.berth("network", "create", "--subnet", "10.77.0.0/24", "held")
    said = lab.berth("status").stdout
    assert "port 53 is held by python3" in said
    assert lab.berth("run", "--network", "held", "--name", "me", "--", "dig", "+short", "me").stdout.strip()
    lab.berth("network", "rm", "held")
    holder.kill()


def test_own_port_53_of_the_sandbox_stays_free(lab):
    script = beside("0.0.0.0", "dig +short @127.0.0.1 www.example.test; dig +short self")
    lines = lab.berth("run", "--network", "net", "--name", "self", "--", "sh", "-c", script).stdout.split()
    assert lines[0] == "192.0.2.80"
    assert len(lines) == 2


def test_query_from_another_address_of_the_sandbox_is_answered(lab):
    said = lab.berth(
        "run", "--network", "net", "--name", "src", "--", "sh", "-c", "dig -b $(hostname -i) +short src; dig -b 127.0.0.1 +short src"
    ).stdout.split()
    assert len(said) == 2


def test_large_edns_query_is_read(lab):
    script = (
        "import socket,struct; name=b'\\x02me\\0'; opt=struct.pack('!BHHIH',0,41,4096,0,3004)+struct.pack('!HH',65001,3000)+b'x'*3000;"
        "s=socket.socket(2,2); s.settimeout(20); s.sendto(struct.pack('!6H',7,256,1,0,0,1)+name+struct.pack('!HH',1,1)+opt,('127.0.0.11',53));"
        "reply=s.recv(9999); print(reply[3]&15, reply[7])"
    )
    assert lab.berth("run", "--network", "net", "--name", "me", "--", "python3", "-c", script).stdout.split() == ["0", "1"]


def test_nss_daemon_sockets_are_hidden(lab):
    lab.shell("mkdir -p /run/nscd /run/systemd/resolve")
    script = "import socket,time\nfor p in ('/run/nscd/socket','/run/systemd/resolve/io.systemd.Resolve'):\n s=socket.socket(1); s.bind(p); s.listen()\n globals()[p]=s\ntime.sleep(60)"
    process = lab.start("python3", "-c", script)
    lab.wait_for(lambda: lab.run("test", "-S", "/run/systemd/resolve/io.systemd.Resolve", check=False).returncode == 0)
    lab.shell("sed -i 's/^hosts:.*/hosts: resolve [!UNAVAIL=return] dns/' /etc/nsswitch.conf")
    said = run(
        lab,
        "sh",
        "-c",
        "ls -l /run/nscd/socket /run/systemd/resolve/io.systemd.Resolve; grep ^hosts: /etc/nsswitch.conf; timeout 20 getent ahostsv4 www.example.test",
    )
    assert "hosts: files dns" in said
    assert "srw" not in said
    assert "192.0.2.80" in said
    process.kill()


@pytest.mark.slow
def test_file_mounted_over_resolv_conf_and_written_by_its_other_name_is_followed(lab):
    servers(lab, OUTSIDE_ADDRESS)
    lab.write("/run/mounted.conf", "nameserver 10.9.0.12\n")
    lab.shell("mount --bind /run/mounted.conf /etc/resolv.conf")
    # A mount is announced to nobody; the file is looked at every few seconds.
    lab.wait_for(lambda: "resolv.conf: 10.9.0.12" in lab.berth("status").stdout)
    lab.write("/run/mounted.conf", "nameserver 10.9.0.11\n")
    lab.wait_for(lambda: "resolv.conf: 10.9.0.11" in lab.berth("status").stdout)
    lab.shell("umount /etc/resolv.conf")
    servers(lab, OUTSIDE_ADDRESS)


@pytest.mark.slow
def test_what_is_wrong_with_resolv_conf_is_said_and_blocks_nothing(lab):
    servers(lab, OUTSIDE_ADDRESS, extra="nameserver dns.test\n#" + "x" * 70_000 + "\n")
    lab.wait_for(lambda: "/etc/resolv.conf: line 2: 'dns.test' is not an IP address" in lab.berth("status").stdout)
    assert "line 3 is longer than 65536 octets and is skipped" in lab.berth("status").stdout
    assert run(lab, "dig", "+short", "www.example.test") == "192.0.2.80"
    lab.shell("rm /etc/resolv.conf; mkfifo /etc/resolv.conf")
    lab.wait_for(lambda: "/etc/resolv.conf: is not a regular file and is not read" in lab.berth("status").stdout)
    assert run(lab, "true") == ""
    lab.shell("rm /etc/resolv.conf; ln -s /run/none /etc/resolv.conf")
    lab.wait_for(lambda: "/etc/resolv.conf: " not in lab.berth("status").stdout.replace("nameservers of /etc/resolv.conf: none", ""))
    lab.shell("rm /etc/resolv.conf")
    servers(lab, OUTSIDE_ADDRESS)


@pytest.mark.slow
def test_name_with_thirty_addresses_is_found_by_clients_that_know_no_tcp(lab):
    lab.berth("network", "create", "--subnet", "10.30.0.0/24", "many")
    for number in range(30):
        lab.berth("run", "-d", "--name", f"m{number}", "--network", "many,alias=many", "--", "sleep", "infinity")
    said = lab.in_sandbox("m0", "dig", "+ignore", "+notcp", "+bufsize=512", "many")
    assert "flags: qr aa tc rd ra" in said
    assert said.count("\tA\t10.30.0.") == 29
    assert "\tA\t10.30.0." in lab.in_sandbox("m0", "dig", "+ignore", "+notcp", "+noedns", "many")
    assert lab.in_sandbox("m0", "dig", "+tcp", "+short", "many").count("10.30.0.") == 30
    lab.berth("rm", *(f"m{number}" for number in range(30)))
    lab.berth("network", "rm", "many")


def test_numeric_names_have_a_warning_and_no_record(lab):
    done = lab.berth("run", "-d", "--name", "123", "--network", "net,alias=1.2,alias=one-two", "--", "sleep", "infinity")
    for name in ("123", "1.2"):
        warning = f"the name {name} has no DNS record: C libraries take it for an IPv4 address and never look it up"
        assert warning in done.stderr
        assert f"sandbox 123: {warning}" in lab.berth("status").stdout
        assert "NOERROR" not in lab.in_sandbox("123", "dig", f"{name}.net.berth.internal")
    own = lab.inspect("123")["addresses"][0]
    assert lab.in_sandbox("123", "dig", "+short", "one-two") == own
    assert lab.in_sandbox("123", "dig", "+short", "-x", own) == "one-two.net."
    lab.berth("rm", "123")


def test_resolve_takes_addresses_and_says_why_it_failed(lab):
    lab.berth("run", "-d", "--name", "web", "--network", "net", "--", "sleep", "infinity")
    own = lab.inspect("web")["addresses"][0]
    assert "PTR\tweb.net." in lab.berth("resolve", own).stdout
    lab.berth("rm", "web")
    servers(lab, "10.9.0.15")
    said = lab.berth("resolve", "cause.example.test", check=False)
    assert said.returncode == 1
    assert "SERVFAIL: 10.9.0.15 answered SERVFAIL" in said.stdout
    servers(lab, OUTSIDE_ADDRESS)
