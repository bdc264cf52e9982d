"""Who reaches whom, with bridge-nf-call-iptables off and on."""

import json
import signal
import sys
from pathlib import Path

import pytest

from tests.netns.conftest import upstream
from tests.support.lab import HOST_ADDRESS, HOST_ADDRESS6, OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6, Lab

SERVER = ("python3", "-m", "http.server", "80", "--bind", "::")


@pytest.fixture(scope="module", params=["0", pytest.param("1", marks=pytest.mark.slow)], ids=["nf-call=0", "nf-call=1"])
def lab(request):
    with Lab() as made:
        made.set_bridge_nf_call(request.param)
        upstream(made, OUTSIDE_ADDRESS, where="outside")
        made.start_daemon()
        made.berth("network", "create", "--ipv6", "a")
        made.berth("network", "create", "--ipv6", "-o", "icc=false", "b")
        made.berth("network", "create", "--internal", "inside")
        open_modes = ("-o", "gateway_mode_ipv4=nat-unprotected", "-o", "gateway_mode_ipv6=nat-unprotected")
        made.berth("network", "create", "--ipv6", "-o", "icc=false", *open_modes, "open")
        for name, more in (
            ("a1", ("--network", "a", "-p", "8081:80", "-p", "127.0.0.1:8181:80", "-p", "5353:5353/udp")),
            ("a2", ("--network", "a")),
            ("b1", ("--network", "b", "-p", "8082:80")),
            ("b2", ("--network", "b")),
            ("i1", ("--network", "inside")),
            ("i2", ("--network", "inside")),
            ("o1", ("--network", "open")),
            ("o2", ("--network", "open")),
        ):
            made.berth("run", "-d", "--name", name, *more, "--", *SERVER)
        made.start("python3", "-m", "http.server", "9000", "--bind", "127.0.0.1")
        made.start("python3", "-m", "http.server", "9001", "--bind", HOST_ADDRESS)
        made.wait_for(lambda: all(made.listens(name, 80) for name in ("a1", "a2", "b1", "b2", "i1", "i2", "o1", "o2")))
        made.wait_for(lambda: all(f":{port} " in made.shell("ss -Hlnt") for port in (9000, 9001)))
        yield made


def ip(lab: Lab, name: str, family: int = 4) -> str:
    return next(a for a in lab.inspect(name)["addresses"] if (":" in a) == (family == 6))


def reaches(lab: Lab, who: str, url: str, seconds: int = 15) -> bool:
    command = ("curl", "-s", "-o", "/dev/null", "-m", str(seconds), url)
    if who in ("host", "outside"):
        return lab.run(*command, where=who, check=False).returncode == 0
    return lab.berth("exec", who, *command, check=False).returncode == 0


def is_kept_from(lab: Lab, who: str, url: str) -> bool:
    """Whether nobody answers there within two seconds, or it is refused."""
    return not reaches(lab, who, url, 2)


def test_same_network_reaches_each_other(lab):
    assert reaches(lab, "a1", f"http://{ip(lab, 'a2')}/")
    assert reaches(lab, "a1", f"http://[{ip(lab, 'a2', 6)}]/")
    assert reaches(lab, "i1", f"http://{ip(lab, 'i2')}/")


@pytest.mark.slow
def test_unprotected_network_is_open_to_other_networks_of_the_host(lab):
    for family in (4, 6):
        address = ip(lab, "o1", family)
        url = f"http://{address}/" if family == 4 else f"http://[{address}]/"
        lab.wait_for(lambda url=url: reaches(lab, "host", url))
        assert reaches(lab, "a1", url)
        # Another network's ICC and its own protection stay what they are.
        assert reaches(lab, "b1", url)
        assert is_kept_from(lab, "o2", url)
    assert is_kept_from(lab, "i1", f"http://{ip(lab, 'o1')}/")
    assert is_kept_from(lab, "o1", f"http://{ip(lab, 'b1')}/")


def test_icc_off_keeps_them_apart(lab):
    assert reaches(lab, "host", f"http://{ip(lab, 'b1')}/")
    assert is_kept_from(lab, "b2", f"http://{ip(lab, 'b1')}/")
    assert is_kept_from(lab, "b2", f"http://[{ip(lab, 'b1', 6)}]/")


def test_networks_are_isolated(lab):
    assert is_kept_from(lab, "a1", f"http://{ip(lab, 'b1')}/")
    assert is_kept_from(lab, "a1", f"http://[{ip(lab, 'b1', 6)}]/")
    assert is_kept_from(lab, "a1", f"http://{ip(lab, 'i1')}/")
    assert is_kept_from(lab, "i1", f"http://{ip(lab, 'a1')}/")


def test_published_ports_over_host_addresses(lab):
    for who in ("host", "outside", "a2", "b2", "a1"):
        assert reaches(lab, who, f"http://{HOST_ADDRESS}:8081/"), who
    for who in ("host", "outside", "a2", "a1"):
        assert reaches(lab, who, f"http://[{HOST_ADDRESS6}]:8081/"), who
    assert reaches(lab, "host", "http://127.0.0.1:8081/")
    assert reaches(lab, "b1", f"http://{HOST_ADDRESS}:8082/")
    assert reaches(lab, "b2", f"http://{HOST_ADDRESS}:8082/")


def test_client_address_is_kept_from_outside(lab):
    lab.run("curl", "-s", "-m", "15", "-A", "probe", f"http://{HOST_ADDRESS}:8081/", where="outside")
    # The second address pair is that of the replies: they go to the client itself.
    connections = lab.shell(f"conntrack -L -p tcp --orig-port-dst 8081 --orig-src {OUTSIDE_ADDRESS} 2>/dev/null")
    assert f"src={ip(lab, 'a1')} dst={OUTSIDE_ADDRESS}" in connections


def test_port_on_loopback_is_for_the_host_only(lab):
    assert reaches(lab, "host", "http://127.0.0.1:8181/")
    assert is_kept_from(lab, "outside", f"http://{HOST_ADDRESS}:8181/")
    lab.run("ip", "route", "add", "127.0.0.1/32", "via", HOST_ADDRESS, "table", "99", where="outside", check=False)
    assert is_kept_from(lab, "a2", f"http://{HOST_ADDRESS}:8181/")


def test_loopback_of_the_host_is_closed_to_sandboxes(lab):
    assert reaches(lab, "host", "http://127.0.0.1:9000/")
    # A sandbox that routes 127.0.0.1 to its gateway gets nowhere.
    lab.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1", where="berth-a2")
    gateway = lab.in_sandbox("a2", "ip", "route", "show", "default").split()[2]
    lab.berth("exec", "--privileged", "a2", "ip", "route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local", check=False)
    lab.berth("exec", "--privileged", "a2", "ip", "route", "del", "local", "127.0.0.1", "dev", "lo", "table", "local", check=False)
    lab.berth("exec", "--privileged", "a2", "ip", "route", "add", "127.0.0.1/32", "via", gateway, check=False)
    assert is_kept_from(lab, "a2", "http://127.0.0.1:9000/")


def test_address_of_a_sandbox_is_not_reachable_from_outside_even_with_a_route(lab):
    lab.run("ip", "route", "replace", f"{ip(lab, 'a1')}/32", "via", HOST_ADDRESS, where="outside")
    lab.run("ip", "-6", "route", "replace", f"{ip(lab, 'a1', 6)}/128", "via", HOST_ADDRESS6, where="outside")
    assert is_kept_from(lab, "outside", f"http://{ip(lab, 'a1')}/")
    assert is_kept_from(lab, "outside", f"http://[{ip(lab, 'a1', 6)}]/")


def test_host_reaches_sandboxes_also_internal_ones(lab):
    assert reaches(lab, "host", f"http://{ip(lab, 'a1')}/")
    assert reaches(lab, "host", f"http://{ip(lab, 'i1')}/")


def test_outgoing_traffic_is_masqueraded(lab):
    lab.start("python3", "-m", "http.server", "8000", "--bind", OUTSIDE_ADDRESS, where="outside")
    lab.wait_for(lambda: reaches(lab, "host", f"http://{OUTSIDE_ADDRESS}:8000/"))
    assert reaches(lab, "a1", f"http://{OUTSIDE_ADDRESS}:8000/")
    assert is_kept_from(lab, "i1", f"http://{OUTSIDE_ADDRESS}:8000/")
    lab.in_sandbox("a1", "ping", "-6", "-c1", "-W2", OUTSIDE_ADDRESS6)


def test_spoofed_source_is_dropped_for_ip_arp_and_nd(lab):
    other = ip(lab, "a2")
    lab.berth("exec", "--privileged", "a1", "ip", "addr", "add", "10.99.0.1/32", "dev", "eth0")
    assert lab.berth("exec", "a1", "ping", "-c1", "-W1", "-I", "10.99.0.1", other, check=False).returncode != 0
    # Claiming another's address by ARP, or by a neighbour advertisement, changes nothing for third parties.
    mac = lab.inspect("a2")["endpoints"][0]["mac"]
    lab.berth("exec", "--privileged", "a1", "ip", "addr", "add", f"{other}/32", "dev", "eth0")
    lab.berth("exec", "--privileged", "a1", "arping", "-U", "-c", "2", "-I", "eth0", other, check=False)
    gateway_sees = lab.out("ip", "neigh", "show", other)
    assert mac in gateway_sees
    assert "PERMANENT" in gateway_sees
    lab.berth("exec", "--privileged", "a1", "ip", "addr", "del", f"{other}/32", "dev", "eth0")
    lab.berth("exec", "--privileged", "a1", "ip", "addr", "del", "10.99.0.1/32", "dev", "eth0")
    assert reaches(lab, "a1", f"http://{other}/")


def test_changed_mac_is_dropped(lab):
    mac = lab.inspect("b2")["endpoints"][0]["mac"]
    url = f"http://{HOST_ADDRESS}:9001/"
    # Otherwise berth gives the link its address back soon after.
    lab.daemon.send_signal(signal.SIGSTOP)
    try:
        lab.run("ip", "link", "set", "eth0", "address", "02:42:de:ad:be:ef", where="berth-b2")
        assert lab.run("curl", "-s", "-o", "/dev/null", "-m", "1", url, where="berth-b2", check=False).returncode == 28
        lab.run("ip", "link", "set", "eth0", "address", mac, where="berth-b2")
    finally:
        lab.daemon.send_signal(signal.SIGCONT)
    assert reaches(lab, "b2", url)


def test_number_of_rules_stays_the_same(lab):
    def rules() -> int:
        return lab.shell("nft -a list table inet berth; nft -a list table bridge berth").count("# handle")

    def count() -> int:
        return len(
            [
                line
                for line in lab.shell("nft list table inet berth; nft list table bridge berth").splitlines()
                if "accept" in line or "drop" in line
            ]
        )

    before = count(), rules()
    lab.berth("network", "create", "c")
    lab.berth("run", "-d", "--name", "c1", "--network", "c", "-p", "7000-7050:7000-7050", "--", "sleep", "9")
    assert (count(), rules()) == before
    assert len(json.loads(lab.berth("inspect", "c1").stdout)[0]["endpoints"][0]["ports"]) == 2 * 51  # both families of the host
    lab.berth("rm", "c1")
    lab.berth("network", "rm", "c")


def test_busy_port_is_refused_with_its_holder_and_nothing_is_left(lab):
    before = lab.kernel_state()
    refused = lab.berth("run", "--network", "a", "-p", "8081:80", "--", "true", check=False)
    assert refused.returncode == 125
    assert "port is already allocated by a1" in refused.stderr
    refused = lab.berth("run", "--network", "a", "-p", f"{HOST_ADDRESS}:9001:80", "--", "true", check=False)
    assert "by a program of the host" in refused.stderr
    assert lab.kernel_state() == before


def test_routed_network_opens_published_ports_without_nat(lab):
    lab.berth("network", "create", "-o", "gateway_mode_ipv4=routed", "r")
    lab.berth("run", "-d", "--name", "r1", "--network", "r", "-p", "80", "--", *SERVER)
    target = ip(lab, "r1")
    lab.run("ip", "route", "replace", f"{target}/32", "via", HOST_ADDRESS, where="outside")
    lab.wait_for(lambda: reaches(lab, "r1", "http://127.0.0.1/"))
    assert reaches(lab, "outside", f"http://{target}/")
    assert lab.run("ping", "-c1", "-W1", target, where="outside", check=False).returncode == 0
    lab.berth("exec", "r1", "sh", "-c", "python3 -m http.server 81 >/dev/null 2>&1 &")
    lab.wait_for(lambda: reaches(lab, "r1", "http://127.0.0.1:81/"))
    assert is_kept_from(lab, "outside", f"http://{target}:81/")
    lab.berth("rm", "r1")
    lab.berth("network", "rm", "r")


def test_conntrack_entries_of_a_removed_sandbox_are_gone(lab):
    lab.berth("run", "-d", "--name", "short", "--network", "a", "--", "sleep", "60")
    address = ip(lab, "short")
    lab.in_sandbox("short", "ping", "-c1", "-W2", OUTSIDE_ADDRESS)
    assert lab.shell(f"conntrack -L -s {address} 2>/dev/null")
    lab.berth("rm", "short")
    lab.wait_for(lambda: not lab.shell(f"conntrack -L -s {address} 2>/dev/null"))


def test_flow_from_before_the_port_was_published_reaches_the_sandbox(lab):
    """A UDP client that never stops asking keeps the old entry alive: it must be cut off."""
    echo = str(Path(__file__).parents[1] / "support" / "echo.py")
    ask = (
        "import socket\ns=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 40404)); s.settimeout(0.05)\n"
        "print('asking', flush=True)\n"
        "while True:\n"
        f"    s.sendto(b'hello', ('{HOST_ADDRESS}', 7171))\n"
        "    try: print(s.recv(100).decode()); break\n"
        "    except OSError: continue\n"
    )
    client = lab.start(sys.executable, "-c", ask, where="outside")
    assert client.stdout.readline() == "asking\n"
    lab.wait_for(lambda: lab.shell("conntrack -L -p udp --dport 7171 2>/dev/null"))
    lab.berth("run", "-d", "--name", "late", "--network", "a", "-p", "7171:7171/udp", "--", sys.executable, echo, "udp", "7171")
    assert client.communicate(timeout=30)[0] == f"::ffff:{OUTSIDE_ADDRESS} hello\n"
    lab.berth("rm", "late")


def test_sctp_is_translated_both_ways(lab):
    """The kernel of the test machine has no SCTP sockets: the packets are made by hand, the translation is the kernel's."""
    script = str(Path(__file__).parents[1] / "support" / "sctp.py")
    lab.berth("run", "-d", "--name", "sctp", "--network", "a", "-p", "3868:3868/sctp", "--", sys.executable, script, "listen", "3868")
    assert lab.inspect("sctp")["endpoints"][0]["ports"][0]["protocol"] == "sctp"
    said = []

    def is_answered() -> bool:
        said[:] = [lab.run(sys.executable, script, "ask", HOST_ADDRESS, "3868", where="outside", check=False).stdout]
        return said != [""]

    lab.wait_for(is_answered)
    assert said == [f"init ack from {HOST_ADDRESS}\n"]
    assert lab.berth("run", "--network", "a", "-p", "3868:1/sctp", "--", "true", check=False).returncode == 125
    lab.berth("rm", "sctp")
    assert lab.run(sys.executable, script, "ask", HOST_ADDRESS, "3868", where="outside", check=False).returncode != 0
