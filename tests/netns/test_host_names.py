"""The host resolves sandboxes: the listener for it alone, and what leads there."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator

import pytest

from tests.netns.conftest import upstream
from tests.support.lab import HOST_ADDRESS, OUTSIDE_ADDRESS, Lab

CONFIG = """
host_listen = "127.0.0.153:53"
host_short_names = true

[update_keys.ddns]
secret_file = "/run/ddns.key"
networks = ["front"]
"""
SECRET = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
KEY = f'key "ddns" {{ algorithm hmac-sha256; secret "{SECRET}"; }};\n'


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        upstream(made, OUTSIDE_ADDRESS, where="outside")
        made.write("/run/berth.toml", CONFIG)
        made.write("/run/ddns.key", KEY)
        made.shell("chmod 600 /run/ddns.key")
        made.start_daemon("--config", "/run/berth.toml")
        made.berth("network", "create", "--ipv6", "front")
        made.berth("network", "create", "--internal", "inside")
        made.berth("run", "-d", "--name", "web", "--network", "front", "--network", "inside", "--", "sleep", "600")
        yield made


def asked(lab: Lab, *words: str) -> list[str]:
    return lab.out("dig", "+short", "+tries=1", "+time=20", "@127.0.0.153", *words).split()


def addresses(lab: Lab) -> dict[str, list[str]]:
    return {one["network"]: [text.partition("/")[0] for text in one["addresses"]] for one in lab.inspect("web")["endpoints"]}


def test_the_host_is_answered_and_nobody_else(lab: Lab):
    (v4, v6), (hidden,) = addresses(lab)["front"], addresses(lab)["inside"]
    assert asked(lab, "web.front.berth.internal", "web.front.berth.internal", "AAAA", "web.berth.internal", "-x", v4) == [
        v4, v6, v4, "web.front.berth.internal.",
    ]  # fmt: skip
    assert asked(lab, "+tcp", "web.front.berth.internal") == [v4]
    assert "status: REFUSED" in lab.out("dig", "@127.0.0.153", "example.com")
    assert "status: REFUSED" in lab.out("dig", "@127.0.0.153", "-x", hidden)
    assert "status: NXDOMAIN" in lab.out("dig", "@127.0.0.153", "web.inside.berth.internal")
    assert lab.out("ss", "-Hltun").count("127.0.0.153%lo:53 ") == 2
    # Where a link lets packets for 127.0.0.0/8 in, those behind it still reach nobody there.
    lab.shell("sysctl -qw net.ipv4.conf.up0.route_localnet=1 net.ipv4.conf.up0.rp_filter=0")
    prepare = "sysctl -qw net.ipv4.conf.up1.route_localnet=1 net.ipv4.conf.up1.rp_filter=0; ip addr del 127.0.0.1/8 dev lo"
    lab.run("sh", "-c", prepare, where="outside")
    lab.run("ip", "route", "add", "127.0.0.153", "via", HOST_ADDRESS, where="outside")
    for more in ("+notcp", "+tcp"):
        attempt = ("dig", "+tries=1", "+time=1", more, "-b", OUTSIDE_ADDRESS, "@127.0.0.153", "web.front.berth.internal")
        assert lab.run(*attempt, where="outside", check=False).returncode == 9


def test_a_program_that_speaks_rfc_2136_changes_static_names(lab: Lab):
    def nsupdate(*lines: str, key: tuple[str, ...] = ("-k", "/run/ddns.key"), where: str = "127.0.0.153") -> str:
        text = "\n".join((f"server {where}", *lines, "send", "answer", ""))
        done = lab.run("nsupdate", *key, stdin=text, check=False)
        return done.stdout + done.stderr

    db = "db.front.berth.internal"
    assert "NOERROR" in nsupdate(
        "zone front.berth.internal",
        f"prereq nxdomain {db}",
        f"update add {db} 60 A 10.9.0.77",
        f'update add {db} 60 TXT "made by nsupdate"',
    )
    assert asked(lab, db, "A") == ["10.9.0.77"]
    assert "YXDOMAIN" in nsupdate("zone front.berth.internal", f"prereq nxdomain {db}", f"update add {db} 60 A 10.9.0.78")
    assert "REFUSED" in nsupdate("zone front.berth.internal", "update add web.front.berth.internal 60 A 10.9.0.78")
    assert "NOTAUTH" in nsupdate("zone elsewhere.test", "update add a.elsewhere.test 60 A 10.9.0.78")
    assert "REFUSED" in nsupdate("zone front.berth.internal", f"update delete {db}", key=())
    assert "BADSIG" in nsupdate("zone front.berth.internal", f"update delete {db}", key=("-y", f"hmac-sha256:ddns:{'A' * 43}="))
    assert lab.berth("network", "record", "ls", "front").stdout.count("db ") == 2
    gateway = lab.inspect("web")["endpoints"][0]["gateway_addresses"][0]
    assert "NOERROR" in nsupdate("zone front", "update delete db.front", where=gateway)
    assert asked(lab, db, "A") == []


@pytest.mark.parametrize("options", [(), ("--egress", "none"), ("--privileged",), ("--confine",)])
def test_a_command_does_not_see_the_keys(lab: Lab, options: tuple[str, ...]):
    read = ("sh", "-c", "cat /run/ddns.key; umount /run/ddns.key; cat /run/ddns.key; echo x >> /run/ddns.key")
    done = lab.berth("run", "--network", "front", *options, "--", *read, check=False)
    # Who is privileged takes any cover away, as with Docker.
    assert (KEY.strip() in done.stdout, done.returncode != 0) == (options == ("--privileged",), options != ("--privileged",))
    assert lab.shell("cat /run/ddns.key").startswith(KEY.strip())


def test_the_host_is_answered_again_after_a_restart(lab: Lab):
    lab.stop_daemon(signal.SIGKILL)
    waiting = lab.start("dig", "+short", "+tries=1", "+time=20", "@127.0.0.153", "web.front.berth.internal")
    lab.start_daemon("--config", "/run/berth.toml")
    assert waiting.communicate()[0].split() == addresses(lab)["front"][:1]


DNSMASQ = f"""\
user=root
pid-file=
no-resolv
server={OUTSIDE_ADDRESS}
listen-address=127.0.0.1
bind-interfaces
conf-dir=/etc/dnsmasq.d/,*.conf
"""
UNBOUND = f"""\
server:
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    interface: 127.0.0.1
    module-config: "iterator"
    local-zone: "test." nodefault
include: "/etc/unbound/conf.d/*.conf"
forward-zone:
    name: "."
    forward-addr: {OUTSIDE_ADDRESS}
"""
SERVERS = {
    "dnsmasq": ("/etc/dnsmasq.conf", DNSMASQ, ("dnsmasq", "--keep-in-foreground", "--conf-file=/etc/dnsmasq.conf")),
    "unbound": ("/etc/unbound/unbound.conf", UNBOUND, ("unbound", "-d", "-c", "/etc/unbound/unbound.conf")),
}
EVERYTHING = "find /etc | sort | sha256sum; find /etc -type f -exec sha256sum {} + | sort"


@pytest.mark.parametrize("kind", SERVERS)
def test_the_hosts_name_server_asks_berth_for_its_names_and_no_others(lab: Lab, kind: str):
    path, text, program = SERVERS[kind]
    if shutil.which(kind) is None:
        pytest.skip(f"{kind} is not installed")
    lab.shell("rm -rf /etc/dnsmasq.conf /etc/default/dnsmasq /etc/unbound; mkdir -p /etc/unbound/conf.d /etc/dnsmasq.d")
    lab.write(path, text)
    lab.shell("printf 'nameserver 127.0.0.1\n' > /etc/resolv.conf")
    before = lab.shell(EVERYTHING)

    def found(name: str) -> list[str]:
        return lab.run("getent", "ahostsv4", name, check=False).stdout.split()[:1]

    def served(expected: dict[str, list[str]]) -> None:
        """Run the name server, and wait until programs of the host find what they should."""
        server = lab.start(*program)
        lab.wait_for(lambda: {name: found(name) for name in expected} == expected)
        server.terminate()
        server.wait()

    web, outside = addresses(lab)["front"][0], ["192.0.2.80"]
    made = lab.berth("host-dns", "enable", "--config", "/run/berth.toml", "--no-restart")
    assert "127.0.0.153" in made.stdout
    served({"web.front.berth.internal": [web], "web.berth.internal": [web], "nobody.front.berth.internal": [], "a.example.test": outside})
    status = lab.berth("host-dns", "status", "--config", "/run/berth.toml")
    assert "the daemon answers at 127.0.0.153 port 53" in status.stdout
    lab.berth("host-dns", "disable", "--no-restart")
    assert lab.shell(EVERYTHING) == before
    served({"web.front.berth.internal": [], "a.example.test": outside})


def test_names_in_the_hosts_file_are_kept_current(lab: Lab):
    lab.shell("printf '127.0.0.1 localhost' > /etc/hosts; printf 'nameserver 10.9.0.9\n' > /etc/resolv.conf")
    before = lab.shell(EVERYTHING)
    lab.berth("host-dns", "enable", "--hosts", "--config", "/run/berth.toml")
    (v4, v6), (hidden,) = addresses(lab)["front"], addresses(lab)["inside"]
    hosts = lab.out("cat", "/etc/hosts")
    assert v4 in hosts
    assert v6 in hosts
    assert hidden not in hosts
    assert lab.out("getent", "ahostsv4", "web.front.berth.internal").split()[0] == v4
    assert lab.out("getent", "hosts", v4).split()[1] == "web.front.berth.internal"
    lab.berth("run", "-d", "--name", "second", "--network", "front,alias=also", "--", "sleep", "600")
    lab.wait_for(lambda: "also.front.berth.internal" in lab.out("cat", "/etc/hosts"))
    lab.berth("rm", "second")
    lab.wait_for(lambda: "also.front.berth.internal" not in lab.out("cat", "/etc/hosts"))
    lab.berth("host-dns", "disable", "--no-restart")
    assert lab.shell(EVERYTHING) == before


def test_a_port_that_is_held_is_said_and_taken_once_it_is_free(lab: Lab):
    lab.stop_daemon()
    lab.write("/run/other.toml", 'host_listen = "127.0.0.154:5399"\n')
    holder = lab.start(
        "python3", "-c", "import socket, time; s = socket.socket(); s.bind(('127.0.0.154', 5399)); s.listen(); time.sleep(600)"
    )
    lab.wait_for(lambda: "5399" in lab.out("ss", "-Hltn"))
    lab.start_daemon("--config", "/run/other.toml")
    warnings = json.loads(lab.berth("status", "--format", "json").stdout)["warnings"]
    assert any("the host's names are not answered at 127.0.0.154: port 5399 is held by" in text for text in warnings)
    holder.kill()
    attempt = ("dig", "+short", "+tries=1", "+time=1", "@127.0.0.154", "-p", "5399", "web.front.berth.internal")
    lab.wait_for(lambda: lab.run(*attempt, check=False).stdout.split() == addresses(lab)["front"][:1])
