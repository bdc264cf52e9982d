"""Processes in networks of their own that find each other by name, with real clients."""

import json

import pytest

from tests.support.lab import HOST_ADDRESS, OUTSIDE_ADDRESS, Lab


@pytest.fixture(scope="module", autouse=True)
def shop(lab: Lab):
    lab.berth("network", "create", "front")
    lab.berth("network", "create", "--internal", "--ipv6", "back")
    lab.berth("run", "-d", "--name", "web", "--network", "front", "--network", "back,alias=inner", "--network-alias", "www",
              "-p", "8080:80", "--hostname", "webhost", "--", "python3", "-m", "http.server", "80")  # fmt: skip
    lab.berth("run", "-d", "--name", "Client", "--network", "front", "--", "sleep", "infinity")
    lab.berth("run", "-d", "--name", "db", "--network", "back", "--", "sleep", "infinity")
    lab.wait_for(lambda: lab.listens("web", 80))
    yield
    lab.berth("rm", "web", "Client", "db")
    lab.berth("network", "rm", "front", "back")


def address(lab: Lab, name: str, network: str) -> str:
    return next(e["addresses"][0].partition("/")[0] for e in lab.inspect(name)["endpoints"] if e["network"] == network)


@pytest.mark.parametrize("name", ["web", "WEB", "www", "webhost", "web.front", "Web.Front", "web.front.berth.internal", "web."])
def test_names_resolve_by_dig(lab, name):
    assert lab.in_sandbox("Client", "dig", "+short", name) == address(lab, "web", "front")


def test_short_id_resolves_and_own_name_too(lab):
    short = lab.inspect("web")["id"][:12]
    assert lab.in_sandbox("Client", "dig", "+short", short) == address(lab, "web", "front")
    assert lab.in_sandbox("Client", "dig", "+short", "client") == address(lab, "Client", "front")


def test_getent_busybox_and_curl_find_it(lab):
    wanted = address(lab, "web", "front")
    assert wanted in lab.in_sandbox("Client", "getent", "hosts", "web")
    assert wanted in lab.in_sandbox("Client", "busybox", "nslookup", "web.front")
    assert "Directory listing" in lab.in_sandbox("Client", "curl", "-sS", "-m", "15", "http://web/")


def test_node_finds_it(lab):
    script = "require('dns').lookup('web', {all: true}, (e, a) => console.log(e ? e.code : a[0].address))"
    assert lab.in_sandbox("Client", "node", "-e", script) == address(lab, "web", "front")
    script = "require('dns').resolve4('web', (e, a) => console.log(e ? e.code : a[0]))"
    assert lab.in_sandbox("Client", "node", "-e", script) == address(lab, "web", "front")


def test_names_of_other_networks_do_not_resolve(lab):
    assert "NXDOMAIN" in lab.in_sandbox("Client", "dig", "db")
    assert "NXDOMAIN" in lab.in_sandbox("Client", "dig", "inner")


def test_reverse_lookup_has_one_target(lab):
    assert lab.in_sandbox("Client", "dig", "+short", "-x", address(lab, "web", "front")) == "web.front."


def test_reverse_lookup_of_free_address_of_our_subnet_stays_here(lab):
    free = address(lab, "web", "front").rpartition(".")[0] + ".250"
    said = lab.in_sandbox("Client", "dig", "-x", free)
    assert "NXDOMAIN" in said
    assert "SOA" in said


def test_other_types_of_a_known_name_are_nodata_with_soa_and_flags(lab):
    said = lab.in_sandbox("Client", "dig", "web", "HTTPS")
    assert "status: NOERROR" in said
    assert "ANSWER: 0" in said
    assert "SOA" in said
    assert "flags: qr aa rd ra;" in said
    assert "EDNS: version: 0" in said


def test_ipv6_address_over_the_internal_network(lab):
    found = lab.in_sandbox("db", "dig", "+short", "AAAA", "web")
    assert found == next(a for a in lab.inspect("web")["addresses"] if ":" in a)
    assert "Directory" in lab.in_sandbox("db", "curl", "-sS", "-m", "15", f"http://{address(lab, 'web', 'back')}/")


def test_tcp_answers_too(lab):
    assert lab.in_sandbox("Client", "dig", "+tcp", "+short", "web") == address(lab, "web", "front")


def test_foreign_names_are_forwarded(lab):
    assert lab.in_sandbox("Client", "dig", "+short", "www.example.test") == "192.0.2.80"


def test_internal_sandbox_gets_a_reason_at_once(lab):
    said = lab.in_sandbox("db", "dig", "+tries=1", "+time=15", "www.example.test")
    assert "SERVFAIL" in said
    assert "EDE: 18 (Prohibited)" in said


def test_internal_network_reaches_nothing_outside(lab):
    failed = lab.berth("exec", "db", "ping", "-c1", "-W1", OUTSIDE_ADDRESS, check=False)
    assert failed.returncode != 0
    assert lab.in_sandbox("Client", "ping", "-c1", "-W2", OUTSIDE_ADDRESS)


def test_published_port_from_everywhere(lab):
    for where, host in (("host", "127.0.0.1"), ("host", HOST_ADDRESS), ("outside", HOST_ADDRESS)):
        assert "Directory" in lab.out("curl", "-sS", "-m", "15", f"http://{host}:8080/", where=where), (where, host)
    # From another sandbox of the network, and from itself, through the host's address.
    for sandbox in ("Client", "web"):
        assert "Directory" in lab.in_sandbox(sandbox, "curl", "-sS", "-m", "15", f"http://{HOST_ADDRESS}:8080/"), sandbox


def test_files_of_the_sandbox(lab):
    hosts = lab.in_sandbox("web", "cat", "/etc/hosts")
    assert f"{address(lab, 'web', 'front')}\twebhost" in hosts
    assert "only-on-the-host" not in hosts
    assert lab.in_sandbox("web", "hostname") == "webhost"
    assert lab.in_sandbox("web", "cat", "/etc/hostname") == "webhost"
    assert "nameserver 127.0.0.11" in lab.in_sandbox("web", "cat", "/etc/resolv.conf")
    assert "hosts: files dns" in lab.in_sandbox("web", "cat", "/etc/nsswitch.conf")


def test_process_tree_is_its_own(lab):
    processes = lab.in_sandbox("web", "ps", "ax")
    assert "http.server" in processes
    assert len(processes.splitlines()) < 6


def test_connect_and_disconnect_while_it_runs(lab):
    lab.berth("network", "connect", "--alias", "late", "back", "Client")
    assert lab.in_sandbox("db", "dig", "+short", "late") == address(lab, "Client", "back")
    assert lab.in_sandbox("Client", "ip", "route", "show", "default").count("default") == 1
    lab.berth("network", "disconnect", "back", "Client")
    assert "NXDOMAIN" not in lab.in_sandbox("Client", "dig", "web")
    assert lab.in_sandbox("db", "dig", "+short", "late") == ""
    assert "eth1" not in lab.in_sandbox("Client", "ip", "-o", "link")


def test_gateway_moves_with_priority_and_back(lab):
    lab.berth("network", "create", "second")
    before = lab.in_sandbox("Client", "ip", "route", "show", "default")
    lab.berth("network", "connect", "--gw-priority", "5", "second", "Client")
    assert "dev eth1" in lab.in_sandbox("Client", "ip", "route", "show", "default")
    lab.berth("network", "disconnect", "second", "Client")
    assert lab.in_sandbox("Client", "ip", "route", "show", "default") == before
    lab.berth("network", "rm", "second")


def test_rename_is_live(lab):
    lab.berth("rename", "db", "store")
    assert lab.in_sandbox("web", "dig", "+short", "store") == address(lab, "store", "back")
    assert "NXDOMAIN" in lab.in_sandbox("web", "dig", "db.back.berth.internal")
    lab.berth("rename", "store", "db")


def test_explain_says_which_network(lab):
    said = lab.berth("resolve", "inner", "--from", "web", "--explain").stdout
    assert "answered from network back" in said
    said = lab.berth("resolve", "www.example.test", "--from", "db", "--explain", check=False).stdout
    assert "not forwarded" in said


def test_listing_in_json(lab):
    names = [item["name"] for item in json.loads(lab.berth("ps", "--format", "json").stdout)]
    assert {"web", "Client", "db"} <= set(names)
    assert "berth-web" in lab.out("ip", "netns")


def test_dry_run_prints_steps_and_changes_nothing(lab):
    before = lab.kernel_state()
    assert "create link" in lab.berth("network", "create", "--dry-run", "never").stdout
    assert "veth" in lab.berth("network", "connect", "--dry-run", "back", "Client").stdout
    assert "delete link" in lab.berth("network", "disconnect", "--dry-run", "front", "Client").stdout
    assert "delete" in lab.berth("rm", "--dry-run", "web").stdout
    assert "create" in lab.berth("run", "--dry-run", "--network", "front", "-p", "9999:1", "--", "true").stdout
    assert lab.kernel_state() == before
