"""The default network `bridge` with its documented differences, and link-local addresses."""

import json

import pytest

from tests.support.lab import OUTSIDE_ADDRESS


@pytest.fixture(scope="module")
def lab(lab):
    lab.berth("network", "create", "mine")
    return lab


@pytest.fixture
def two(lab):
    for name in ("one", "two"):
        lab.berth("run", "-d", "--name", name, "--network", "bridge", "--", "sleep", "300")
    yield lab
    for name in ("one", "two"):
        lab.berth("rm", name, check=False)


def test_no_names_and_a_copy_of_resolv_conf(two):
    lab = two
    text = lab.in_sandbox("one", "cat", "/etc/resolv.conf")
    assert f"nameserver {OUTSIDE_ADDRESS}" in text
    assert "127.0.0.11" not in text
    assert lab.berth("exec", "one", "getent", "hosts", "two", check=False).stdout == ""
    assert lab.in_sandbox("one", "getent", "ahostsv4", "www.example.test").startswith("192.0.2.80")
    assert lab.inspect("one")["names"] == []
    # They reach each other by address, and know themselves by the hosts file.
    address = lab.inspect("two")["addresses"][0]
    lab.in_sandbox("one", "ping", "-c1", "-W1", address)
    assert lab.inspect("one")["addresses"][0] in lab.in_sandbox("one", "getent", "hosts", lab.inspect("one")["hostname"])


def test_network_of_its_own_brings_names_and_takes_them_away(two):
    lab = two
    lab.berth("network", "connect", "mine", "one")
    assert "nameserver 127.0.0.11" in lab.in_sandbox("one", "cat", "/etc/resolv.conf")
    assert lab.in_sandbox("one", "getent", "hosts", "one")
    assert lab.berth("exec", "one", "getent", "hosts", "two", check=False).stdout == ""
    lab.berth("network", "disconnect", "mine", "one")
    assert f"nameserver {OUTSIDE_ADDRESS}" in lab.in_sandbox("one", "cat", "/etc/resolv.conf")
    lab.berth("network", "connect", "mine", "one")
    lab.berth("network", "disconnect", "bridge", "one")
    assert "nameserver 127.0.0.11" in lab.in_sandbox("one", "cat", "/etc/resolv.conf")


def test_restart_keeps_what_a_sandbox_reads(two):
    lab = two
    lab.stop_daemon()
    lab.start_daemon()
    assert f"nameserver {OUTSIDE_ADDRESS}" in lab.in_sandbox("one", "cat", "/etc/resolv.conf")
    assert "berth0" in lab.shell("ip -o link show berth0")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--network", "bridge,alias=x"), "network-scoped aliases are only supported for user-defined networks"),
        (("--network", "bridge", "--network-alias", "x"), "network-scoped aliases are only supported for user-defined networks"),
        (("--network", "bridge", "--ip", "172.17.0.9"), "user-specified IP address is supported on user-defined networks only"),
        (("--network", "bridge", "--link", "one:x"), "links on the default network bridge are deprecated"),
        (("--network", "bridge", "--network", "mine"), "cannot attach both user-defined and non-user-defined"),
    ],
)
def test_what_it_does_not_give(two, options, reason):
    done = two.berth("run", *options, "--", "true", check=False)
    assert done.returncode == 125
    assert reason in done.stderr


def test_predefined_networks_stay(two):
    lab = two
    for command in (
        ("rm", "bridge"),
        ("rm", json.loads(lab.berth("network", "inspect", "bridge").stdout)[0]["id"]),
        ("rm", "host"),
        ("rm", "none"),
    ):
        done = lab.berth("network", *command, check=False)
        assert done.returncode == 1
        assert "is a pre-defined network and cannot be removed" in done.stderr
    for name in ("bridge", "host", "none"):
        done = lab.berth("network", "create", name, check=False)
        assert "operation is not permitted on predefined network" in done.stderr
    lab.berth("rm", "one", "two")
    lab.berth("network", "prune", "-f", "--filter", "label!=x")
    assert [item["name"] for item in json.loads(lab.berth("network", "ls", "-f", "type=builtin", "--format", "json").stdout)] == ["bridge"]
    assert "bridge" not in [item["name"] for item in json.loads(lab.berth("network", "ls", "-f", "type=custom", "--format", "json").stdout)]
    lab.berth("network", "create", "mine", check=False)


@pytest.mark.slow
def test_settings_of_it_and_nameservers_that_it_can_reach(lab):
    lab.stop_daemon()
    lab.write("/etc/berth.toml", '[default_bridge]\nsubnets = ["10.88.0.0/16"]\noptions = {name = "docker9", icc = "false"}\n')
    lab.write("/etc/resolv.conf", f"nameserver 127.0.0.53\nnameserver fd09::1\nnameserver {OUTSIDE_ADDRESS}\nsearch corp.test\n")
    lab.start_daemon("--config", "/etc/berth.toml")
    text = lab.berth("run", "--network", "bridge", "--", "cat", "/etc/resolv.conf").stdout
    assert [line for line in text.splitlines() if line.startswith(("nameserver", "search"))] == [
        f"nameserver {OUTSIDE_ADDRESS}",
        "search corp.test",
    ]
    text = lab.berth("run", "--network", "bridge", "--dns", "127.0.0.1", "--", "cat", "/etc/resolv.conf").stdout
    assert "nameserver 127.0.0.1\n" in text
    # Behind the stub of systemd-resolved (RC-1).
    lab.shell(
        "mkdir -p /run/systemd/resolve; echo nameserver 10.9.0.77 > /run/systemd/resolve/resolv.conf; echo nameserver 127.0.0.53 > /etc/resolv.conf"
    )
    lab.wait_for(lambda: "10.9.0.77" in lab.berth("run", "--network", "bridge", "--", "cat", "/etc/resolv.conf").stdout)
    shown = json.loads(lab.berth("network", "inspect", "bridge").stdout)[0]
    assert (shown["link"], shown["pools"][0]["subnet"]) == ("docker9", "10.88.0.0/16")
    lab.stop_daemon()
    lab.write("/etc/berth.toml", "[default_bridge]\nsubnet = 5\n")
    done = lab.berth("daemon", "--config", "/etc/berth.toml", "--check-config", check=False)
    assert done.returncode != 0
    assert "default_bridge: subnet is unknown; did you mean subnets?" in done.stderr
    lab.write("/etc/resolv.conf", f"nameserver {OUTSIDE_ADDRESS}\n")
    lab.start_daemon()


def test_link_local_addresses(lab):
    options = ("--network", "mine,link-local-ip=169.254.7.7,link-local-ip=fe80::77")
    lab.berth("run", "-d", "--name", "local", *options, "--", "sleep", "300")
    lab.berth("run", "-d", "--name", "other", "--network", "mine", "--", "sleep", "300")
    lab.berth("network", "disconnect", "mine", "other")
    lab.berth("network", "connect", "--link-local-ip", "169.254.7.8", "mine", "other")
    text = lab.in_sandbox("local", "ip", "-o", "addr")
    assert "169.254.7.7/16" in text
    assert "fe80::77/64" in text
    assert lab.inspect("local")["endpoints"][0]["link_local"] == ["169.254.7.7/16", "fe80::77/64"]
    # They have no names, and the firewall knows them as the link's own.
    lab.in_sandbox("other", "ping", "-c1", "-W1", "-I", "169.254.7.8", "169.254.7.7")
    assert "169.254" not in lab.in_sandbox("other", "dig", "+short", "local")
    done = lab.berth("run", "--network", "mine", "--link-local-ip", "10.0.0.1", "--", "true", check=False)
    assert "invalid link-local IP address: 10.0.0.1" in done.stderr
    lab.berth("rm", "local", "other")
