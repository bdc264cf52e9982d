"""Egress rules at work: what a sandbox with rules reaches, and that nothing else leaves it.

Outside there are a name server that notes each question, and servers that note each connection and packet.
"""

import json
import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from netcore.kernel.egress_elements import _kernel_renews
from tests.support.lab import HOST_ADDRESS, OUTSIDE_ADDRESS, Lab

CANARY = str(Path(__file__).parents[1] / "support" / "canary.py")
ALLOWED, OTHER, ALLOWED6 = "192.0.2.1", "192.0.2.66", "2001:db8:2::1"
_OUTSIDE = f"""
ip addr add {ALLOWED}/32 dev lo; ip addr add {OTHER}/32 dev lo; ip addr add 10.200.0.9/32 dev lo
ip -6 addr add {ALLOWED6}/128 dev lo nodad; ip -6 addr add 2001:db8:2::66/128 dev lo nodad
"""


@pytest.fixture(scope="module", params=["0", pytest.param("1", marks=pytest.mark.slow)], ids=["nf-call=0", "nf-call=1"])
def lab(request):
    with Lab() as made:
        made.set_bridge_nf_call(request.param)
        made.shell(_OUTSIDE, where="outside")
        made.canary = made.start(sys.executable, CANARY, "/run/canary", where="outside")
        assert made.canary.stdout.readline() == "listening\n"
        # Lists of whoever types it are not the host's.
        made.environment["XDG_CONFIG_HOME"] = "/mnt/config"
        made.start_daemon()
        made.berth("network", "create", "--ipv6", "-o", "name=br-a", "a")
        made.berth("network", "create", "--internal", "-o", "name=br-i", "inside")
        server = (sys.executable, "-m", "http.server", "80", "--bind", "::")
        made.berth("run", "-d", "--name", "peer", "--network", "a", "--", *server)
        made.berth("run", "-d", "--name", "inner", "--network", "inside", "--", *server)
        made.start("python3", "-m", "http.server", "9001", "--bind", "0.0.0.0")
        made.berth("run", "-d", "--name", "job", "--network", "a", "--egress", "ok.test,*.wild.test:443", "--", *server)
        made.wait_for(lambda: all(made.listens(name, 80) for name in ("peer", "inner", "job")) and ":9001 " in made.shell("ss -Hlnt"))
        yield made


def seen(lab: Lab) -> str:
    """What the canaries have noted until now."""
    return lab.shell("cat /run/canary")


def fetch(lab: Lab, url: str, who: str = "job", seconds: int = 15) -> int:
    """The exit code of curl: 0 for an answer, 6 for a name that does not exist, 7 for a refused connection, 22 for a 403, 28 for none."""
    return lab.berth("exec", who, "curl", "-sf", "-o", "/dev/null", "-m", str(seconds), url, check=False).returncode


def ask(lab: Lab, name: str, rtype: str = "A", who: str = "job", server: str = "127.0.0.11") -> tuple[str, list[str], str]:
    """(rcode, answers, extended error) of a question."""
    script = (
        "import dns.message, dns.query, dns.rcode, sys\n"
        "query = dns.message.make_query(sys.argv[1], sys.argv[2], use_edns=0)\n"
        "reply = dns.query.udp(query, sys.argv[3], timeout=20)\n"
        "print(dns.rcode.to_text(reply.rcode()))\n"
        "print(' '.join(item.to_text() for rrset in reply.answer for item in rrset))\n"
        "print('; '.join(option.to_text() for option in reply.options))\n"
    )
    lines = lab.run(sys.executable, "-c", script, name, rtype, server, where=f"berth-{who}").stdout.split("\n")
    return lines[0], lines[1].split(), lines[2]


def change(lab: Lab, **egress: object) -> list[str]:
    status, body = lab.api("PATCH", "/v1/sandboxes/job", {"egress": egress})
    assert status == 200, body
    return body["egress"]


@pytest.fixture
def fresh(lab):
    """The sandbox with its first rules, and nothing opened by earlier ones."""
    change(lab, rules=["none"])
    change(lab, rules=["ok.test", "*.wild.test:443"])
    return lab


def connects(lab: Lab, address: str, port: int = 80) -> bool:
    """Whether the sandbox is answered there, also while no daemon runs."""
    url = f"http://{address}:{port}/"
    return lab.run("curl", "-s", "-o", "/dev/null", "-m", "15", url, where="berth-job", check=False).returncode == 0


def several(lab: Lab, urls: dict[str, int], who: str = "job") -> None:
    """Fetch *urls* at once and compare each exit code."""
    with ThreadPoolExecutor(8) as pool:
        got = dict(zip(urls, pool.map(lambda url: fetch(lab, url, who), urls), strict=True))
    assert got == urls


def address(lab: Lab, name: str, family: int = 4) -> str:
    return next(a for a in lab.inspect(name)["addresses"] if (":" in a) == (family == 6))


def bracketed(text: str) -> str:
    return f"[{text}]" if ":" in text else text


def test_an_allowed_name_is_reached_at_its_ports_and_nothing_else_is(fresh):
    gateway = "172.17.0.1"
    before = seen(fresh).count("\n")
    # Its address means nothing before the name has been asked for.
    several(fresh, {f"http://{ALLOWED}/": 7, f"http://[{ALLOWED6}]/": 7})
    several(fresh, {
        "http://ok.test/": 0, "http://ok.test:443/": 0, "http://ok.test:22/": 7, "http://a.wild.test:443/": 0,
        "http://nope.test/": 6, "http://peer/": 6, f"http://{OTHER}/": 7, "http://[2001:db8:2::66]/": 7, f"http://{OUTSIDE_ADDRESS}/": 7,
        f"http://{OUTSIDE_ADDRESS}:853/": 7, f"http://{ALLOWED}:8443/": 7, f"http://{gateway}:9001/": 7, f"http://{HOST_ADDRESS}:9001/": 7,
        f"http://{address(fresh, 'peer')}/": 7, f"http://{bracketed(address(fresh, 'peer', 6))}/": 7, "http://10.200.0.9/": 7,
    })  # fmt: skip
    new = seen(fresh).splitlines()[before:]
    assert {line for line in new if not line.startswith("question")} <= {
        f"tcp {ALLOWED} 80", f"tcp {ALLOWED} 443", f"tcp {ALLOWED6} 80", f"tcp {ALLOWED6} 443",
    }  # fmt: skip
    assert not [line for line in new if "nope" in line or "peer" in line]
    # Others are as before: who has no rules, and who begins to talk to it.
    several(
        fresh, {f"http://{address(fresh, 'job')}/": 0, f"http://{bracketed(address(fresh, 'job', 6))}/": 0, f"http://{OTHER}/": 0}, "peer"
    )


def test_questions_are_refused_with_the_reason_and_never_leave(fresh):
    assert ask(fresh, "nope.test")[::2] == (
        "NXDOMAIN",
        "EDE 15 (Blocked): sandbox job may not ask for nope.test: no egress rule of sandbox job allows it; nope.test would",
    )
    assert ask(fresh, "test")[0] == ask(fresh, "wild.test")[0] == "NOERROR"
    assert "network:a would" in ask(fresh, "peer")[2]
    gateway = json.loads(fresh.berth("network", "inspect", "a").stdout)[0]["pools"][0]["gateway"]
    for rtype in ("TXT", "MX", "ANY", "HTTPS"):
        assert ask(fresh, "nope.test", rtype, server=gateway)[0] == "NXDOMAIN"
    assert ask(fresh, "66.2.0.192.in-addr.arpa", "PTR")[0] == "NXDOMAIN"
    assert ask(fresh, "ok.test")[1] == [ALLOWED]
    assert ask(fresh, "1.2.0.192.in-addr.arpa", "PTR")[0] == "NOERROR"
    questions = [line for line in seen(fresh).splitlines() if line.startswith("question")]
    assert not [line for line in questions if "nope" in line or "66.2" in line or line in ("question test.", "question wild.test.")]
    explained = fresh.berth("resolve", "--explain", "--from", "job", "nope.test", check=False).stdout
    assert "no egress rule of sandbox job allows it" in explained


def test_answers_open_nothing_that_is_special_private_or_the_hosts(fresh):
    for name in ("meta.wild.test", "host.wild.test", "inside.wild.test"):
        assert ask(fresh, name)[0] in ("NOERROR", "REFUSED")
        ask(fresh, name, "AAAA")
    opened = fresh.shell("nft list set inet berth egress_named4; nft list set inet berth egress_named6")
    assert "elements" not in opened
    several(fresh, {"http://inside.wild.test:443/": 7, "http://10.200.0.9:443/": 7})
    change(fresh, add=["*.wild.test+private:443"])
    several(fresh, {"http://inside.wild.test:443/": 0})
    assert "169.254" not in fresh.shell("nft list set inet berth egress_named4")


def test_an_answer_through_a_chain_opens_for_the_name_that_is_allowed(fresh):
    assert ALLOWED in ask(fresh, "chain.wild.test")[1]
    assert ask(fresh, "cdn.elsewhere.test")[0] == "NXDOMAIN"
    several(fresh, {"http://chain.wild.test:443/": 0})
    assert 'comment "chain.wild.test"' in fresh.shell("nft list set inet berth egress_asked4")


def test_an_alias_is_the_server_that_it_leads_to_where_rules_allow_both(fresh):
    fresh.berth("network", "record", "add", "a", "out", "CNAME", "ok.test.")
    try:
        assert ask(fresh, "out")[2].endswith("on network a: no egress rule of sandbox job allows it; network:a would")
        change(fresh, add=["network:a"])
        assert ask(fresh, "out")[1] == ["ok.test.", ALLOWED]
        # It is open, but nothing says that this server may be called so.
        several(fresh, {"http://out/": 22, "http://ok.test/": 0})
        change(fresh, add=["out", "*.berth.internal:80"])
        several(fresh, {"http://out/": 0, "http://out.a.berth.internal/": 0, "http://out.a/": 22})
        change(fresh, remove=["ok.test"])
        several(fresh, {"http://out/": 6})
    finally:
        fresh.berth("network", "record", "remove", "a", "out")


_TALK = (
    "import socket, sys\n"
    "sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
    "print('connected', flush=True)\n"
    "for line in sys.stdin:\n"
    "    try:\n"
    "        host = f'Host: {sys.argv[3]}\\r\\nUser-Agent: {line.strip()}'\n"
    "        sock.sendall(f'GET / HTTP/1.1\\r\\n{host}\\r\\n\\r\\n'.encode() if sys.argv[3] else line.encode())\n"
    "        print('ok' if sock.recv(100) else 'closed', flush=True)\n"
    "    except OSError as error:\n"
    "        print(type(error).__name__, flush=True)\n"
)


@contextmanager
def talking_to(lab: Lab, address: str, port: int, name: str = "", who: str = "job"):
    """A program in the sandbox that has a connection there, and asks for *name* in HTTP if it has one."""
    process = lab.start_talking(who, _TALK, address, str(port), name)
    with process.stdin:
        yield process


_ECHO = (
    "import socket, threading, time\n"
    "server = socket.create_server(('0.0.0.0', 7777))\n"
    "def serve(sock):\n"
    "    threading.Thread(target=chatter, args=(sock,), daemon=True).start()\n"
    "    while octets := sock.recv(100):\n"
    "        sock.sendall(octets)\n"
    "def chatter(sock):\n"
    "    try:\n"
    "        while True:\n"
    "            sock.sendall(b'.')\n"
    "            time.sleep(0.05)\n"
    "    except OSError:\n"
    "        pass\n"
    "while True:\n"
    "    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()\n"
)
"""A peer that also talks by itself, so that its packets are the first ones that the host sees of a connection."""


def say(process) -> str:
    process.stdin.write("hello\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_rules_change_at_once_and_only_what_they_forbid_is_cut(fresh):
    ask(fresh, "ok.test")
    ask(fresh, "a.wild.test")
    with talking_to(fresh, ALLOWED, 443, "a.wild.test") as kept, talking_to(fresh, ALLOWED, 80, "ok.test") as cut:
        change_rules(fresh, kept, cut)


def change_rules(fresh, kept, cut):
    assert say(kept) == say(cut) == "ok"
    assert change(fresh, remove=["ok.test"]) == ["*.wild.test:443"]
    assert say(kept) == "ok"
    assert say(cut) in ("ConnectionResetError", "closed")
    several(fresh, {"http://ok.test/": 6, f"http://{ALLOWED}/": 7, f"http://{ALLOWED}:443/": 22, "http://a.wild.test:443/": 0})
    peer, peer6 = address(fresh, "peer"), address(fresh, "peer", 6)
    change(fresh, add=["network:a:80", "host:9001", "deny:192.0.2.1:443"])
    several(fresh, {f"http://{peer}/": 0, f"http://{bracketed(peer6)}/": 0, "http://peer/": 0, "http://172.17.0.1:9001/": 0,
                    f"http://{HOST_ADDRESS}:9001/": 7, f"http://{ALLOWED}:443/": 7})  # fmt: skip
    assert say(kept) in ("ConnectionResetError", "closed")
    change(fresh, rules=["none"])
    several(fresh, {f"http://{peer}/": 0, "http://peer/": 0, "http://ok.test/": 6, "http://172.17.0.1:9001/": 7})
    change(fresh, rules=["public"])
    several(
        fresh, {f"http://{OTHER}/": 0, f"http://{OTHER}:853/": 7, "http://nope.test/": 0, f"http://{peer}/": 7, "http://10.200.0.9/": 7}
    )
    change(fresh, rules=["all", "deny:192.0.2.64/26"])
    several(fresh, {f"http://{OTHER}/": 7, "http://10.200.0.9/": 0, f"http://{peer}/": 0, f"http://{HOST_ADDRESS}:9001/": 7})
    change(fresh, inherit=True)
    several(fresh, {f"http://{OTHER}:853/": 0, f"http://{HOST_ADDRESS}:9001/": 0})


def test_a_kill_opens_nothing_and_cuts_nothing_and_what_was_open_is_read_back(fresh):
    change(fresh, add=["ok.test:5432"])
    ask(fresh, "ok.test")
    with talking_to(fresh, ALLOWED, 5432) as talking, talking_to(fresh, ALLOWED, 80, "ok.test") as web:
        kill_and_go_on(fresh, talking, web)


def kill_and_go_on(fresh, talking, web):
    assert say(talking) == say(web) == "ok"
    fresh.stop_daemon(signal.SIGKILL)
    assert say(talking) == "ok"
    assert not connects(fresh, OTHER)
    # It begins, and is held until somebody looks.
    waiting = fresh.start("curl", "-sf", "-m", "60", "--resolve", f"ok.test:80:{ALLOWED}", "http://ok.test/", where="berth-job")
    fresh.start_daemon()
    assert waiting.wait(60) == 0
    assert say(talking) == say(web) == "ok"
    several(fresh, {"http://ok.test/": 0, f"http://{OTHER}/": 7, "http://nope.test/": 6})
    assert 'comment "ok.test"' in fresh.shell("nft list set inet berth egress_asked4")
    change(fresh, rules=["*.wild.test:443"])
    assert {say(talking), say(web)} <= {"ConnectionResetError", "closed"}
    assert "ok.test" not in fresh.shell("nft list set inet berth egress_asked4")


def test_what_is_opened_again_has_its_new_time(fresh):
    """Also on kernels that leave the time of an element that is added again as it is."""
    script = (
        "import sys\n"
        "from ipaddress import ip_address\n"
        "from netcore.desired.egress_rules import opening_elements\n"
        "from netcore.egress.openings import Opening\n"
        "from netcore.egress.ports import Ports\n"
        "from netcore.kernel.egress_elements import EgressElements\n"
        "for renews in ([False, True] if sys.argv[1] == 'both' else [False]):\n"
        "    elements = EgressElements(renews=renews)\n"
        "    for seconds in (50.0, 500.0, 5000.0):\n"
        "        opening = Opening('again.test', ip_address('192.0.2.200'), Ports.of('tcp', 80), seconds)\n"
        "        elements.write([*opening_elements(ip_address('172.17.0.200'), opening, 0.0)])\n"
        "        print([round(one.left, -1) for one in elements.asked() if one.name == 'again.test'])\n"
    )
    renews = _kernel_renews(os.uname().release)
    lines = fresh.run(sys.executable, "-c", script, "both" if renews else "one").stdout.splitlines()
    assert lines == ["[50.0]", "[500.0]", "[5000.0]"] * (1 + renews)


def test_what_it_said_first_while_no_daemon_ran_waits_for_the_next_one(fresh):
    """The next daemon has it, so that nothing depends on when the client sends it again."""
    assert fetch(fresh, "http://ok.test/") == 0
    fresh.stop_daemon(signal.SIGKILL)
    headers = "-H", "Host: ok.test", "-A", 200 * "x"
    client = fresh.start("curl", "-s", "-o", "/dev/null", "-m", "25", *headers, f"http://{ALLOWED}/", where="berth-job")

    def has_spoken():
        lines = fresh.out("ss", "-Htn", "state", "established", "dport = :80", where="berth-job").splitlines()
        return any(int(line.split()[1]) > 0 for line in lines)

    fresh.wait_for(has_spoken)
    chain = "add chain inet mute output { type filter hook output priority 0; }"
    fresh.run("nft", f"add table inet mute; {chain}; add rule inet mute output tcp dport 80 meta length > 200 drop", where="berth-job")
    try:
        fresh.start_daemon()
        assert client.wait(30) == 0
    finally:
        fresh.run("nft", "delete table inet mute", where="berth-job")


def test_nothing_passes_while_the_ruleset_is_flushed_and_all_is_back_then(fresh):
    ask(fresh, "ok.test")
    job, peer, peer6 = address(fresh, "job"), address(fresh, "peer"), bracketed(address(fresh, "peer", 6))
    # It knows who has these addresses already.
    several(fresh, {f"http://{peer}/": 7, f"http://{peer6}/": 7})
    several(fresh, {f"http://{job}/": 0}, "peer")
    fresh.daemon.send_signal(signal.SIGSTOP)
    try:
        fresh.shell("nft flush ruleset")
        tried = {("job", ALLOWED): 28, ("job", peer): 28, ("job", peer6): 28, ("peer", job): 28}
        with ThreadPoolExecutor() as pool:
            assert dict(zip(tried, pool.map(lambda one: exit_code(fresh, *one), tried), strict=True)) == tried
        assert fresh.run("nft", "delete", "table", "bridge", "berth_guard", check=False).returncode != 0
    finally:
        fresh.daemon.send_signal(signal.SIGCONT)
    fresh.wait_for(lambda: fresh.run("nft", "list", "set", "inet", "berth", "egress_named4", check=False).returncode == 0)
    several(fresh, {"http://ok.test/": 0, f"http://{ALLOWED}/": 22, f"http://{OTHER}/": 7, f"http://{peer}/": 7})


def exit_code(lab: Lab, who: str, where: str) -> int:
    """Of curl, also while no daemon runs, and after a second at the latest."""
    return lab.run("curl", "-s", "-o", "/dev/null", "-m", "1", f"http://{where}/", where=f"berth-{who}", check=False).returncode


def test_its_port_is_guarded_as_long_as_it_has_rules(fresh):
    fresh.berth("run", "-d", "--name", "later", "--network", "a", "--", "sleep", "inf")
    try:
        port = next(endpoint["host_ifname"] for endpoint in fresh.inspect("later")["endpoints"])
        guarded = fresh.shell("nft list table bridge berth_guard")
        assert port not in guarded
        fresh.berth("egress", "set", "later", "none")
        assert port in fresh.shell("nft list table bridge berth_guard")
        fresh.berth("egress", "set", "later", "--inherit")
        assert fresh.shell("nft list table bridge berth_guard") == guarded
    finally:
        fresh.berth("rm", "-f", "later")


_ATTEMPTS = """
import socket, sys
four, six, resolver = sys.argv[1:4]

def raw(family, protocol, payload, target):
    sock = socket.socket(family, socket.SOCK_RAW, protocol)
    sock.sendto(payload, (target, 0))

def try_all(*attempts):
    for attempt in attempts:
        try:
            attempt()
        except OSError:
            pass

def datagram(family, target, port, octets):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.sendto(octets, (target, port))
    sock.sendto(octets, (target, port))

secret = b"secret" * 300
question = b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\6secret\\4test\\0\\0\\1\\0\\1"
echo = b"\\x08\\0\\xf7\\xff\\0\\0\\0\\0"
echo6 = b"\\x80\\0\\0\\0\\0\\0\\0\\0" + secret[:64]
try_all(
    lambda: raw(socket.AF_INET, 1, echo, four), lambda: raw(socket.AF_INET, 4, secret, four), lambda: raw(socket.AF_INET, 47, secret, four),
    lambda: raw(socket.AF_INET, 132, secret, four), lambda: raw(socket.AF_INET6, 58, echo6, six), lambda: raw(socket.AF_INET6, 4, secret, six),
    lambda: raw(socket.AF_INET6, 47, secret, six),
    *(lambda port=port: datagram(socket.AF_INET, four, port, secret) for port in (443, 853, 9999)),
    *(lambda port=port: datagram(socket.AF_INET6, six, port, secret[:900]) for port in (443, 853, 9999)),
    lambda: datagram(socket.AF_INET, resolver, 53, question), lambda: datagram(socket.AF_INET6, six, 53, question),
    lambda: datagram(socket.AF_INET, "9.9.9.9", 53, question),
)
"""


def test_what_root_in_the_sandbox_sends_by_other_protocols_reaches_nobody(fresh):
    ask(fresh, "ok.test")
    arguments = (sys.executable, "-c", _ATTEMPTS, ALLOWED, ALLOWED6, OUTSIDE_ADDRESS)

    def noted(who: str, before: int) -> set[str]:
        fresh.berth("exec", who, *arguments)
        # One that may be sent comes last, so everything before it is here then.
        fresh.berth("exec", who, "curl", "-sf4", "-m", "15", "http://ok.test/")
        return {line for line in seen(fresh).splitlines()[before:] if line != "question ok.test."}

    before = seen(fresh).count("\n")
    assert noted("job", before) == {f"tcp {ALLOWED} 80"}
    without_rules = noted("peer", seen(fresh).count("\n"))
    assert {"packet 1", "packet 47", "packet 58", "question secret.test."} <= without_rules
    assert {line.split()[2] for line in without_rules if line.startswith("udp")} == {"443", "853", "9999"}


def test_only_addresses_that_the_resolver_knows_it_by_may_ask_at_the_gateway(lab):
    lab.berth("network", "create", "--ipv6", "-o", "name=br-v6", "six")
    lab.berth("run", "-d", "--name", "sly", "--network", "six,link-local-ip=169.254.7.7", "--egress", "ok.test", "--", "sleep", "600")
    try:
        pools = json.loads(lab.berth("network", "inspect", "six").stdout)[0]["pools"]
        four, six = (pool["gateway"] for pool in pools)
        script = (
            "import socket, sys, dns.message\n"
            "source, server, name, seconds = sys.argv[1:]\n"
            "family = socket.AF_INET6 if ':' in server else socket.AF_INET\n"
            "sock = socket.socket(family, socket.SOCK_DGRAM)\n"
            "sock.settimeout(float(seconds))\n"
            "scope = (0, socket.if_nametoindex('eth0')) if source.startswith('fe80') else ()\n"
            "sock.bind((source, 0, *scope))\n"
            "sock.sendto(dns.message.make_query(name, 'A').to_wire(), (server, 53))\n"
            "print(dns.message.from_wire(sock.recv(4096)).rcode())\n"
        )
        local = next(
            line.split()[1].split("/")[0]
            for line in lab.shell("ip -6 addr show dev eth0", where="berth-sly").splitlines()
            if "fe80" in line
        )

        def asked(source: str, server: str, name: str, seconds: str) -> str:
            return lab.run(sys.executable, "-c", script, source, server, name, seconds, where="berth-sly", check=False).stdout.strip()

        own, own6 = address(lab, "sly"), address(lab, "sly", 6)
        tried = {
            (own, four, "secret1.test", "15"): "3",
            (own6, six, "secret2.test", "15"): "3",
            ("169.254.7.7", four, "secret3.test", "1"): "",
            (local, six, "secret4.test", "1"): "",
        }
        with ThreadPoolExecutor() as pool:
            assert dict(zip(tried, pool.map(lambda one: asked(*one), tried), strict=True)) == tried
        assert "secret" not in "".join(line for line in seen(lab).splitlines() if line != "question secret.test.")
    finally:
        lab.berth("rm", "sly")
        lab.berth("network", "rm", "six")


_MANY_FRAMES = """
import socket, struct, sys, zlib
from ipaddress import ip_address
own4, own6, peer4, peer6, peer_mac, marker = sys.argv[1:]
own4, own6, peer4, peer6 = (ip_address(text).packed for text in (own4, own6, peer4, peer6))
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.bind(("eth0", 0))
mac = sock.getsockname()[4]
peer_mac = bytes.fromhex(peer_mac.replace(":", ""))
words = marker.encode()
broadcast = b"\\xff" * 6

def checksum(source, target, body):
    octets = source + target + struct.pack("!II", len(body), 58) + body + bytes(len(body) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

def discovery(to, type_, target, body):
    body = bytes([type_, 0, 0, 0]) + body
    body = body[:2] + struct.pack("!H", checksum(own6, target, body)) + body[4:]
    return to + mac + b"\\x86\\xdd" + struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + own6 + target + body

all_nodes, nodes_mac = ip_address("ff02::1").packed, bytes.fromhex("333300000001")
option = bytes([253, 2]) + words.ljust(14, b".")
for to in (broadcast, peer_mac):
    for operation in (1, 2, 3, 8, 9):
        for target in (peer4, own4, words[:4]):
            for tail in (words, words.ljust(300, b"."), b""):
                for there in (bytes(6), words[:6], peer_mac):
                    sock.send(to + mac + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, operation) + mac + own4 + there + target + tail)
for to, target in ((nodes_mac, all_nodes), (peer_mac, peer6), (peer_mac, all_nodes)):
    for body in (bytes(4) + peer6 + option, words[:4] + own6 + b"\\2\\1" + words[:6], bytes(4) + own6 + b"\\2\\1" + mac + words):
        for type_ in (133, 135, 136):
            sock.send(discovery(to, type_, target, body))
    sock.send(discovery(to, 133, target, bytes(4) + option))
"""
_HEARD = """
import socket, sys
marker, mac, last = sys.argv[1].encode(), bytes.fromhex(sys.argv[2].replace(":", "")), sys.argv[3].encode()
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
sock.bind(("eth0", 3))
print("listening", flush=True)
heard = []
while True:
    frame, where = sock.recvfrom(2048)
    if where[2] == 4:
        continue
    if last in frame:
        break
    if frame[6:12] == mac or marker in frame:
        heard.append(frame.hex())
print(" ".join(heard), flush=True)
"""


def test_the_search_for_neighbours_tells_peers_nothing(fresh):
    job, peer = fresh.inspect("job")["endpoints"][0], fresh.inspect("peer")["endpoints"][0]
    listener = fresh.start_talking("peer", _HEARD, "seCret", job["mac"], "all-is-sent")
    own = [address(fresh, who, family) for who in ("job", "peer") for family in (4, 6)]
    fresh.run(sys.executable, "-c", _MANY_FRAMES, *own, peer["mac"], "seCret", where="berth-job")
    # Behind all of that, by the same way.
    fresh.run(sys.executable, "-c", _SENT_LAST, own[2], where="host")
    with listener.stdin:
        assert listener.stdout.readline().split() == []
    # Peers that ask are answered, in both families, also when they have forgotten who it is.
    fresh.shell("ip neigh flush all", where="berth-peer")
    several(fresh, {f"http://{own[0]}/": 0, f"http://[{own[1]}]/": 0}, "peer")
    # And who may not reach peers is told so at once, not after a search.
    fresh.shell("ip neigh flush all", where="berth-job")
    for text in (own[2], f"[{own[3]}]"):
        said = fresh.run("curl", "-sv", "-o", "/dev/null", "-m", "15", f"http://{text}/", where="berth-job", check=False).stderr
        assert "Connection refused" in said, said


_SENT_LAST = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.sendto(b"all-is-sent", (sys.argv[1], 9))
"""


def curl(lab: Lab, *arguments: str) -> tuple[int, str]:
    """(exit code, what it printed)."""
    done = lab.berth("exec", "job", "curl", "-s", "-m", "15", *arguments, check=False)
    return done.returncode, done.stdout


def test_another_name_of_the_same_address_is_refused_in_the_words_of_its_protocol(fresh):
    change(fresh, rules=["ok.test", "ok.test:5432"])
    for family in ("A", "AAAA"):
        ask(fresh, "ok.test", family)
    before = seen(fresh).count("\n")
    for at in (ALLOWED, ALLOWED6):
        code, said = curl(fresh, "--resolve", f"evil.test:80:{at}", "http://evil.test/")
        assert (code, said) == (
            0, f"sandbox job may not reach evil.test ({at}) tcp port 80: no egress rule of sandbox job allows it; evil.test:80 would\n",
        )  # fmt: skip
        # 35: the server's alert.
        assert curl(fresh, "--resolve", f"evil.test:443:{at}", "https://evil.test/")[0] == 35
        assert curl(fresh, "-k", f"https://{bracketed(at)}/")[0] == 35
        assert curl(fresh, "--resolve", f"evil.test:5432:{at}", "http://evil.test:5432/")[1].startswith(
            "sandbox job may not reach evil.test"
        )
    # What names nobody counts by its address, but not at the ports of the web.
    with talking_to(fresh, ALLOWED, 5432) as talking:
        assert say(talking) == "ok"
    with talking_to(fresh, ALLOWED, 80) as talking:
        assert say(talking) in ("ConnectionResetError", "closed")
    assert not [line for line in seen(fresh).splitlines()[before:] if "evil" in line]
    refused = json.loads(fresh.berth("egress", "log", "--sandbox", "job", "--format", "json").stdout)
    assert [(one["address"], one["port"], one["lacks"]) for one in refused if one["name"] == "evil.test"][:2] == [
        (ALLOWED, 80, "evil.test:80"), (ALLOWED, 443, "evil.test:443"),
    ]  # fmt: skip


_REQUESTS = (
    "import socket, sys\n"
    "sock = socket.create_connection((sys.argv[1], 80))\n"
    "sock.settimeout(15)\n"
    "for host in sys.argv[2:]:\n"
    "    sock.sendall(f'GET / HTTP/1.1\\r\\nHost: {host}\\r\\nContent-Length: 0\\r\\n\\r\\n'.encode())\n"
    "    print(sock.recv(1000).split()[1].decode())\n"
    "print('end' if not sock.recv(1000) else 'more')\n"
)


def test_each_request_of_a_connection_names_its_server(fresh):
    change(fresh, rules=["ok.test", "b.wild.test"])
    for family, at in (("A", ALLOWED), ("AAAA", ALLOWED6)):
        ask(fresh, "ok.test", family)
        ask(fresh, "b.wild.test", family)
        before = seen(fresh).count("\n")
        hosts = ("ok.test", "b.wild.test", "ok.test", "evil.test")
        done = fresh.berth("exec", "job", sys.executable, "-c", _REQUESTS, at, *hosts)
        assert done.stdout.split() == ["200", "200", "200", "403", "end"]
        assert not [line for line in seen(fresh).splitlines()[before:] if "evil" in line]


def test_the_look_can_be_turned_off_for_a_name_and_on_for_all(fresh):
    change(fresh, rules=["ok.test+address"])
    ask(fresh, "ok.test")
    assert curl(fresh, "--resolve", f"evil.test:80:{ALLOWED}", "http://evil.test/") == (0, "ok\n")
    change(fresh, rules=["ok.test"])
    assert "may not reach" in curl(fresh, "--resolve", f"evil.test:80:{ALLOWED}", "http://evil.test/")[1]
    # A name that is denied is denied at addresses that are allowed.
    change(fresh, rules=["public", "deny:evil.test"])
    several(fresh, {f"http://{ALLOWED}:5432/": 22, "http://ok.test/": 0, "http://evil.test/": 6})
    code, said = curl(fresh, "--resolve", f"evil.test:80:{OTHER}", "http://evil.test/")
    assert (code, said) == (
        0, f"sandbox job may not reach evil.test ({OTHER}) tcp port 80: the egress rule deny:evil.test of sandbox job denies it\n",
    )  # fmt: skip


def test_the_first_thing_that_it_sends_is_judged(lab):
    before = seen(lab).count("\n")
    arguments = ("--network", "a", "--egress", "ok.test:80", "--", sys.executable, "-c", _ATTEMPTS, ALLOWED, ALLOWED6, OUTSIDE_ADDRESS)
    for number in range(3):
        lab.berth("run", "--name", f"early{number}", *arguments)
    lab.berth("run", "--network", "a", "--", "curl", "-s", "-o", "/dev/null", "-m", "15", f"http://{OTHER}/")
    # An earlier connection to what is allowed may be noted late.
    noted = {line for line in seen(lab).splitlines()[before:] if not line.startswith("question")}
    assert {f"tcp {OTHER} 80"} <= noted <= {f"tcp {OTHER} 80", f"tcp {ALLOWED} 80"}


@pytest.mark.slow
def test_connections_to_peers_from_before_there_were_rules_are_cut(lab):
    lab.berth("run", "-d", "--name", "echo", "--network", "a", "--", sys.executable, "-c", _ECHO)
    lab.berth("run", "-d", "--name", "free", "--network", "a", "--", "sleep", "600")
    try:
        peer = address(lab, "echo")
        reach = (sys.executable, "-c", "import socket, sys; socket.create_connection((sys.argv[1], 7777), 1)", peer)
        lab.wait_for(lambda: lab.run(*reach, where="berth-free", check=False).returncode == 0)
        with talking_to(lab, peer, 7777, who="free") as process:
            assert say(process) == "ok"
            status, _ = lab.api("PATCH", "/v1/sandboxes/free", {"egress": {"rules": ["ok.test"]}})
            assert status == 200
            # What the peer had sent before is still read.
            lab.wait_for(lambda: say(process) in ("ConnectionResetError", "closed", "BrokenPipeError"))
    finally:
        for name in ("free", "echo"):
            lab.berth("rm", name)


def test_rules_on_an_internal_network_and_between_two(lab):
    lab.berth("run", "-d", "--name", "shut", "--network", "inside", "--egress", "network:inside:80", "--", "sleep", "600")
    try:
        inner = address(lab, "inner")
        several(
            lab,
            {f"http://{inner}/": 0, f"http://{inner}:81/": 7, "http://inner/": 0, f"http://{ALLOWED}/": 7, "http://ok.test/": 6},
            "shut",
        )
        lab.berth("network", "connect", "a", "shut")
        peer = address(lab, "peer")
        several(lab, {f"http://{peer}/": 7, "http://peer/": 6, f"http://{inner}/": 0, f"http://{ALLOWED}/": 7}, "shut")
    finally:
        lab.berth("rm", "shut")


@pytest.mark.slow
def test_who_joins_a_network_with_rules_has_them(lab):
    lab.berth("network", "create", "--egress", "ok.test:80", "ruled")
    lab.berth("run", "-d", "--name", "joins", "--network", "ruled", "--", "sleep", "600")
    lab.berth("run", "-d", "--name", "later", "--network", "a", "--", "sleep", "600")
    try:
        several(lab, {"http://ok.test/": 0, "http://nope.test/": 6, f"http://{OTHER}/": 7}, "joins")
        several(lab, {f"http://{OTHER}/": 0}, "later")
        lab.berth("network", "connect", "ruled", "later")
        several(lab, {"http://ok.test/": 0, "http://nope.test/": 6, f"http://{OTHER}/": 7}, "later")
        lab.berth("network", "disconnect", "ruled", "later")
        several(lab, {f"http://{OTHER}/": 0}, "later")
    finally:
        for name in ("joins", "later"):
            lab.berth("rm", name)
        lab.berth("network", "rm", "ruled")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "--network", "host", "--egress", "none", "true"), "network mode host has the host's own, so rules for it can't be kept"),
        (("run", "--network", "none", "--egress", "none", "true"), "network mode none has no network"),
        (("run", "--network", "container:peer", "--egress", "none", "true"), "container:.. has another's"),
        (("run", "--network", "a", "--forward", "--egress", "none", "true"), "as a router (--forward) it would send in the name of others"),
        (("run", "--network", "a", "--egress", "a..b", "true"), "invalid egress rule 'a..b'"),
        (("run", "--network", "a", "--egress", "@gone", "true"), "there is no list gone"),
        (("run", "--network", "a", "--egress", "@./gone", "true"), "invalid egress list ./gone"),
        (("network", "create", "--egress", "x.test", "-d", "macvlan", "-o", "parent=up0", "m"), "whose packets do not pass the host's firewall"),
        (("network", "create", "--egress", "x.test:0", "m"), "ports are 1 to 65535"),
    ],
)  # fmt: skip
def test_rules_that_can_not_be_kept_are_refused_before_anything_happens(lab, arguments, says):
    before = lab.kernel_state()
    done = lab.berth(*arguments, check=False)
    assert done.returncode in (1, 125)
    assert says in done.stderr
    assert lab.kernel_state() == before


@pytest.mark.slow
def test_an_adopted_namespace_with_a_way_out_of_its_own_is_refused(lab):
    lab.shell("ip netns add foreign; ip link add w0 type veth peer name w1 netns foreign")
    try:
        arguments = ("attach", "--name", "foreign", "--netns", "/run/netns/foreign", "--network", "a", "--egress", "ok.test")
        done = lab.berth(*arguments, check=False)
        assert "its namespace has links that berth did not make: w1" in done.stderr
        lab.shell("ip link del w0")
        lab.berth(*arguments)
        assert lab.run("curl", "-s", "-m", "15", f"http://{OTHER}/", where="foreign", check=False).returncode == 7
        # One that comes later is set down when the sandbox is compared next.
        lab.shell("ip link add w0 type veth peer name w1 netns foreign; ip -n foreign link set w1 up")
        lab.berth("doctor", "--fix", check=False)
        lab.wait_for(lambda: "UP" not in lab.shell("ip -n foreign -br link show dev w1").split()[1])
        lab.berth("detach", "foreign")
        assert "confined" in lab.shell("nft list set inet berth confined")
    finally:
        lab.shell("ip netns del foreign")


@pytest.mark.slow
def test_what_others_change_of_it_is_put_right_and_nothing_else_is_noticed(fresh):
    change(fresh, rules=["ok.test", "10.1.0.0/16:5432", "10.0.0.0/8:22", "host:9001", "network:a", "deny:10.1.9.0/24"])
    ask(fresh, "ok.test")
    sets = ("confined", "egress_prefixes4", "egress_denied4", "egress_peers4", "egress_host", "egress_generations4")

    def held() -> dict[str, list[str]]:
        listed = {name: fresh.shell(f"nft -s list set inet berth {name}") for name in sets}
        return {name: sorted(part.strip() for part in re.split(r"[,{}]", text)) for name, text in listed.items()}

    before = held()
    assert all(any("elements" in part for part in parts) for parts in before.values())
    fresh.follow_events()
    source = address(fresh, "job")
    fresh.shell(f"nft 'delete element inet berth egress_prefixes4 {{ {source} . 10.1.0.0-10.1.255.255 . tcp . 5432 }}'")
    fresh.wait_for(lambda: held() == before)
    fresh.shell(f"nft 'add element inet berth egress_prefixes4 {{ {source} . 192.0.2.66 . tcp . 80 }}'")
    fresh.wait_for(lambda: held() == before)
    fresh.shell("nft flush set inet berth confined")
    fresh.wait_for(lambda: held() == before)
    drifted = {line.split(" ", 3)[3] for line in fresh.events().splitlines() if " drift " in line}
    assert all("egress_prefixes4" in line or "confined" in line for line in drifted), drifted
    several(fresh, {"http://ok.test/": 0, f"http://{ALLOWED}/": 22, f"http://{OTHER}/": 7})


_WAYS_OUT = """
import ctypes, glob, os
libc = ctypes.CDLL(None, use_errno=True)
status = dict(line.split(":\\t") for line in open("/proc/self/status"))
lacks = [number for number in (16, 19, 21, 39) if not any(int(status[kind], 16) >> number & 1 for kind in ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"))]
print("lacks", lacks, "has", int(status["CapEff"], 16) >> 12 & 1)
print("netns", glob.glob("/run/netns/*"), "run", sorted(glob.glob("/run/berth/*")), "state", glob.glob("/var/lib/berth/*.db"))
print("resolver", "127.0.0.11" in open("/etc/resolv.conf").read())
for what, tried in {
    "umount": lambda: libc.umount2(b"/run/netns", 2), "mount": lambda: libc.mount(b"proc", b"/mnt", b"proc", 0, None),
    "unshare": lambda: libc.unshare(0x20000), "namespace": lambda: libc.unshare(0x10020000) or libc.umount2(b"/run/netns", 2),
}.items():
    pid = os.fork()
    if not pid:
        os._exit(0 if tried() < 0 else 1)
    print(what, "refused" if os.waitpid(pid, 0)[1] == 0 else "done")
"""


def test_commands_in_it_have_no_rights_and_paths_to_other_namespaces(lab):
    closed = ["lacks [16, 19, 21, 39] has 1", "netns [] run ['/run/berth/sandboxes'] state []", "resolver True"]
    closed += [f"{what} refused" for what in ("umount", "mount", "unshare", "namespace")]
    script = (sys.executable, "-c", _WAYS_OUT)
    # Whoever asks for all rights gets no such one either.
    assert lab.berth("run", "--rm", "--privileged", "--network", "a", "--egress", "none", "--", *script).stdout.splitlines() == closed
    assert lab.berth("exec", "--privileged", "job", *script).stdout.splitlines() == closed
    assert lab.berth("run", "--rm", "--privileged", "--network", "container:job", "--", *script).stdout.splitlines() == closed
    free = lab.berth("exec", "--privileged", "peer", *script).stdout
    assert "lacks [] has 1" in free
    assert "umount refused" not in free


def test_what_a_run_needs_is_learned_and_is_enough(lab):
    lab.berth("run", "-d", "--name", "study", "--network", "a", "--egress", "learn", "--", "sleep", "1000")
    peer = address(lab, "peer")
    # Two names have the same address, and which were asked for counts.
    assert ask(lab, "ok.test", who="study")[1] == ask(lab, "a.wild.test", who="study")[1] == [ALLOWED]
    urls = {"http://ok.test/": 0, "http://a.wild.test:443/": 0, f"http://{OTHER}/": 0, "http://inside.wild.test/": 0, "http://peer/": 0,
            "http://172.17.0.1:9001/": 0}  # fmt: skip
    several(lab, urls, "study")
    both = ["a.wild.test:443", "a.wild.test:80", "ok.test:443", "ok.test:80"]
    needed = sorted([*both, "192.0.2.66:80", "host:9001", "inside.wild.test+private:80", "network:a:80"])
    lab.wait_for(lambda: lab.berth("egress", "learn", "study").stdout.split() == needed)
    lab.berth("rm", "-f", "study")
    assert lab.berth("egress", "learn", "study").stdout.split() == needed
    saved = lab.berth("egress", "learn", "study", "--save", "studied", "--clear").stdout
    assert saved.endswith("studied: 8 rules, for --egress @studied\n")
    lab.berth("run", "-d", "--name", "again", "--network", "a", "--egress", "@studied", "--", "sleep", "1000")
    several(lab, urls, "again")
    several(lab, {"http://b.wild.test/": 6, f"http://{OTHER}:22/": 7, f"http://{peer}:81/": 7}, "again")
    lab.berth("rm", "-f", "again")
    for name in ("nobody", "study"):
        assert name in lab.berth("egress", "learn", name, check=False).stderr


def test_commands(fresh):
    assert fresh.berth("egress", "add", "job", "198.51.100.0/24:22", "@./gone", check=False).returncode == 1
    added = fresh.berth("egress", "add", "job", "198.51.100.0/24:22").stdout.split()
    assert added == ["ok.test", "*.wild.test:443", "198.51.100.0/24:22"]
    fresh.write("/run/list", "# a list\nlisted.test  # one\n")
    assert "listed.test" in fresh.berth("egress", "add", "job", "@/run/list").stdout
    assert fresh.berth("egress", "remove", "job", "listed.test", "198.51.100.0/24:22").stdout.split() == ["ok.test", "*.wild.test:443"]
    assert "is not among the rules" in fresh.berth("egress", "remove", "job", "x.test", check=False).stderr
    ask(fresh, "ok.test")
    shown = fresh.berth("egress", "show", "job").stdout
    assert "sandbox job:\n  ok.test\n  *.wild.test:443\n" in shown
    assert re.search(rf"ok.test +{ALLOWED} +80/tcp, 443/tcp +\d+ s +name\n", shown)
    for target, allowed in (
        ("ok.test", True),
        ("ok.test:22", False),
        ("a.wild.test:443", True),
        ("b.test", False),
        ("192.0.2.1:80", False),
    ):
        done = fresh.berth("egress", "test", "job", target, check=False)
        assert (done.returncode == 0) is allowed, done.stdout
    assert "ok.test:22 would" in fresh.berth("egress", "test", "job", "ok.test:22", check=False).stdout
    assert fresh.berth("egress", "set", "job", "--inherit").stdout == ""
    assert "has no egress rules" in fresh.berth("egress", "show", "job").stdout


def test_rules_that_were_changed_hold_after_a_restart_too(fresh):
    fresh.berth("run", "-d", "--name", "again", "--network", "a", "--egress", "ok.test,b.test", "--", "sleep", "600")
    try:
        fresh.berth("egress", "remove", "again", "b.test")
        fresh.berth("restart", "-t", "0", "again")
        assert fresh.inspect("again")["egress"] == ["ok.test"]
        fresh.berth("stop", "-t", "0", "again")
        assert fresh.berth("egress", "set", "again", "c.test", "none").stdout.split() == ["c.test", "none"]
        assert "c.test" in fresh.berth("egress", "show", "again").stdout
        assert "is no domain name" in fresh.berth("egress", "add", "again", "a..b", check=False).stderr
        fresh.berth("start", "again")
        assert fresh.inspect("again")["egress"] == ["c.test", "none"]
    finally:
        fresh.berth("rm", "-f", "again")


def test_what_is_refused_is_told(fresh):
    ask(fresh, "nope.test")
    ask(fresh, "ok.test")
    several(fresh, {f"http://{OTHER}:8443/": 7, f"http://{ALLOWED}:22/": 7})

    def logged() -> list[dict[str, object]]:
        return json.loads(fresh.berth("egress", "log", "--sandbox", "job", "--format", "json").stdout)

    def told(**wanted: object) -> bool:
        return any(all(one[key] == value for key, value in wanted.items()) for one in logged())

    fresh.wait_for(lambda: told(kind="connection", address=OTHER, port=8443, protocol="tcp", name="", lacks=f"{OTHER}:8443"))
    fresh.wait_for(lambda: told(kind="connection", address=ALLOWED, port=22, name="ok.test", lacks="ok.test:22"))
    assert told(kind="question", name="nope.test", lacks="nope.test")
    line = next(line for line in fresh.berth("egress", "log").stdout.splitlines() if "8443" in line)
    assert f" job connection {OTHER}:8443/tcp count=" in line
    status, metrics = (
        fresh.run("curl", "-s", "--unix-socket", "/run/berth/berth.sock", "http://x/metrics").returncode,
        fresh.shell("curl -s --unix-socket /run/berth/berth.sock http://x/metrics"),
    )
    assert status == 0
    assert 'berth_egress_refused_total{sandbox="job"}' in metrics


@pytest.mark.slow
def test_the_configuration_is_followed_at_once(fresh):
    """The default, the ceiling and lists: what they forbid is cut, and nothing else."""
    fresh.stop_daemon(signal.SIGTERM)
    fresh.write(
        "/run/c.toml", '[egress]\nceiling = ["network:a", "host", "*.test", "*.test:5432"]\nsets = {web = ["ok.test", "ok.test:5432"]}\n'
    )
    fresh.start_daemon("--config", "/run/c.toml")
    change(fresh, rules=["@web", "a.wild.test:5432"])
    ask(fresh, "ok.test")
    ask(fresh, "a.wild.test")
    with talking_to(fresh, ALLOWED, 5432) as both, talking_to(fresh, ALLOWED, 80, "ok.test") as web:
        assert say(both) == say(web) == "ok"
        several(fresh, {f"http://{OTHER}/": 7}, "peer")
        fresh.write("/run/c.toml", '[egress]\nceiling = ["network:a", "*.test:5432"]\nsets = {web = ["ok.test:5432"]}\n')
        fresh.daemon.send_signal(signal.SIGHUP)
        fresh.wait_for(lambda: "changed=egress" in fresh.shell("cat /run/daemon.log"))
        assert say(both) == "ok"
        assert say(web) in ("ConnectionResetError", "closed")
        several(fresh, {"http://ok.test/": 7, "http://ok.test:5432/": 0})
    fresh.write("/run/c.toml", "")
    fresh.daemon.send_signal(signal.SIGHUP)
    fresh.wait_for(lambda: fresh.shell("cat /run/daemon.log").count("changed=egress") == 2)
    several(fresh, {f"http://{OTHER}/": 0}, "peer")
    # Its list is gone: it allows nothing.
    several(fresh, {"http://ok.test:5432/": 6, "http://a.wild.test:5432/": 0})
    change(fresh, rules=["ok.test", "*.wild.test:443"])
