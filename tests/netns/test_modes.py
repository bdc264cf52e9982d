"""`--network host`, `none` and `container:NAME`: whose stack a sandbox has, what it reads, what is refused."""

import json

import pytest

from tests.support.lab import OUTSIDE_ADDRESS, Lab


@pytest.fixture(scope="module")
def lab(lab):
    lab.berth("network", "create", "net")
    return lab


def run(lab: Lab, mode: str, *command: str, options=(), **more):
    return lab.berth("run", "--network", mode, *options, "--", *command, **more)


def links(text: str) -> list[str]:
    """Return what ip tells of links, but for the names of other namespaces, which no sandbox sees."""
    return [line.partition(" link-netns")[0] for line in text.splitlines()]


def test_host_has_the_hosts_links_names_and_files(lab):
    # What the kernel says of carriers changes by itself.
    lab.wait_for(lambda: links(run(lab, "host", "ip", "-o", "link").stdout) == links(lab.run("ip", "-o", "link").stdout))
    assert run(lab, "host", "hostname").stdout == lab.run("hostname").stdout
    assert "10.1.2.3 only-on-the-host" in run(lab, "host", "cat", "/etc/hosts").stdout
    text = run(lab, "host", "cat", "/etc/resolv.conf").stdout
    assert f"nameserver {OUTSIDE_ADDRESS}" in text
    assert "127.0.0.11" not in text
    assert run(lab, "host", "getent", "ahostsv4", "www.example.test").stdout.startswith("192.0.2.80")


def test_host_with_settings_of_its_own(lab):
    text = run(lab, "host", "cat", "/etc/hosts", options=("--add-host", "extra:10.1.1.1")).stdout
    assert "10.1.1.1\textra" in text
    assert "only-on-the-host" not in text
    text = run(lab, "host", "cat", "/etc/resolv.conf", options=("--dns", "10.7.7.7", "--dns-search", "corp.test")).stdout
    assert "nameserver 10.7.7.7" in text
    assert "search corp.test" in text
    assert run(lab, "host", "hostname", options=("--hostname", "mine")).stdout == "mine\n"
    said = run(lab, "host", "true", options=("-p", "80:80"))
    assert "Published ports are discarded when using host network mode" in said.stderr


def test_none_has_loopback_only(lab):
    links = run(lab, "none", "ip", "-o", "link").stdout.splitlines()
    assert [line.split()[1] for line in links] == ["lo:"]
    text = run(lab, "none", "cat", "/etc/hosts", options=("--add-host", "extra:10.1.1.1")).stdout
    assert "10.1.1.1\textra" in text
    assert "only-on-the-host" not in text
    assert "127.0.0.11" not in run(lab, "none", "cat", "/etc/resolv.conf").stdout


def test_none_has_its_sysctls(lab):
    options = ("--sysctl", "net.ipv4.ip_unprivileged_port_start=0", "--sysctl", "net.ipv6.conf.lo.disable_ipv6=1")
    command = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ip -6 addr show dev lo; cat /etc/hosts"
    said = run(lab, "none", "sh", "-c", command, options=options).stdout
    assert said.splitlines()[0] == "0"
    assert "::1" not in said
    refused = run(lab, "none", "true", options=("--sysctl", "net.ipv4.conf.eth0.forwarding=1"), check=False)
    assert refused.returncode == 125
    assert "the sandbox has no link eth0; it has lo" in refused.stderr


@pytest.fixture
def owner(lab):
    lab.berth(
        "run",
        "-d",
        "--name",
        "owner",
        "--network",
        "net",
        "--hostname",
        "theirs",
        "--add-host",
        "extra:10.1.1.1",
        "-p",
        "9090:90",
        "--",
        "sleep",
        "300",
    )
    yield lab.inspect("owner")
    lab.berth("rm", "owner", check=False)


def test_shared_stack_is_the_same_in_everything(lab, owner):
    for command in (
        ("ip", "-o", "addr"),
        ("hostname",),
        ("cat", "/etc/hosts"),
        ("cat", "/etc/resolv.conf"),
        ("stat", "-c", "%d:%i", "/etc/hosts"),
    ):
        assert run(lab, "container:owner", *command).stdout == lab.in_sandbox("owner", *command) + "\n"
    server = "python3 -m http.server --bind 127.0.0.1 81 >/dev/null 2>&1 & sleep 100"
    lab.berth("run", "-d", "--name", "server", "--network", f"container:{owner['id'][:12]}", "--", "sh", "-c", server)
    lab.wait_for(lambda: "Directory" in run(lab, "container:owner", "curl", "-s", "-m", "2", "http://127.0.0.1:81/", check=False).stdout)
    shown = lab.inspect("server")
    assert (shown["stack"], shown["shared_with"], shown["hostname"]) == ("container", "owner", "theirs")
    assert "container:owner" in lab.berth("ps").stdout
    # Who shares with one that shares has the first one's stack.
    assert lab.berth("run", "--network", "container:server", "--", "hostname").stdout == "theirs\n"
    assert "forwarded to" in lab.berth("resolve", "x.example.test", "--from", "server", "--explain", check=False).stdout
    lab.berth("rm", "server")
    assert lab.in_sandbox("owner", "getent", "hosts", "owner")


def test_shared_stack_lives_until_its_last_user_ends(lab, owner):
    lab.berth("run", "-d", "--name", "user", "--network", "container:owner", "--", "sleep", "300")
    said = lab.berth("rm", "owner")
    assert "stays until user ends" in said.stderr
    assert lab.inspect("owner")["ended"]
    # Addresses and the way out are as they were. Its names and its published port are free, as docker's are.
    assert owner["addresses"][0] in lab.in_sandbox("user", "ip", "-o", "addr")
    assert not lab.in_sandbox("user", "dig", "+short", "owner", "A")
    assert lab.in_sandbox("user", "dig", "+short", "www.example.test") == "192.0.2.80"
    refused = run(lab, "container:owner", "true", check=False)
    assert refused.returncode == 125
    assert "has ended" in refused.stderr
    lab.stop_daemon()
    lab.start_daemon()
    assert owner["addresses"][0] in lab.in_sandbox("user", "ip", "-o", "addr")
    assert not lab.in_sandbox("user", "dig", "+short", "owner", "A")
    lab.berth("rm", "user")
    assert json.loads(lab.berth("ps", "--format", "json").stdout) == []
    assert lab.shell("ls /run/netns | grep -v outside || true") == ""
    assert lab.shell("ls /run/berth/sandboxes") == ""


def test_user_that_is_killed_ends_the_stack_too(lab, owner):
    lab.berth("run", "-d", "--name", "user", "--network", "container:owner", "--", "sleep", "300")
    lab.berth("rm", "owner")
    lab.shell(f"kill -9 {lab.inspect('user')['leader']['pid']}")
    lab.wait_for(lambda: json.loads(lab.berth("ps", "--format", "json").stdout) == [])


SHARED_REFUSALS = [
    (("--hostname", "x"), "hostname and the network mode"),
    (("--domainname", "x.test"), "domainname and the network mode"),
    (("--link", "owner:x"), "can't be used with links"),
    (("--dns", "10.0.0.1"), "dns and the network mode"),
    (("--dns-search", "x.test"), "dns-search and the network mode"),
    (("--dns-opt", "ndots:2"), "dns-opt and the network mode"),
    (("--add-host", "x:10.0.0.1"), "custom host-to-IP mapping and the network mode"),
    (("--mac-address", "02:42:00:00:00:01"), "mac-address and the network mode"),
    (("-p", "80:80"), "port publishing and the container type network mode"),
    (("-P",), "port publishing and the container type network mode"),
    (("--expose", "80"), "port exposing and the container type network mode"),
    (("--ip", "10.0.0.9"), "user specified IP address is supported on user defined networks only"),
    (("--network-alias", "x"), "network-scoped aliases are only supported for user-defined networks"),
]


@pytest.mark.parametrize(("options", "text"), SHARED_REFUSALS)
def test_what_a_shared_stack_refuses(lab, owner, options, text):
    refused = run(lab, "container:owner", "true", options=options, check=False)
    assert refused.returncode == 125
    assert text in refused.stderr


@pytest.mark.parametrize(
    ("mode", "options", "text"),
    [
        ("container:", (), "invalid container format"),
        ("container:nobody", (), "nobody"),
        ("host", ("--network", "net"), "cannot be connected to any other network"),
        ("none", ("--network", "net"), "private (none) mode"),
        ("host", ("--link", "owner:x"), "host type networking can't be used with links"),
        ("host", ("--ip", "10.0.0.9"), "user specified IP address"),
        ("none", ("--network-alias", "x"), "network-scoped aliases"),
        ("host", ("--gw-priority", "1"), "gateway priority"),
    ],
)
def test_what_cannot_be(lab, owner, mode, options, text):
    refused = run(lab, mode, "true", options=options, check=False)
    assert refused.returncode == 125
    assert text in refused.stderr


def test_networks_are_not_added_to_a_stack_that_is_not_its_own(lab, owner):
    for name, mode, text in (
        ("on-host", "host", "sharing network namespace"),
        ("on-none", "none", "private (none) mode"),
        ("on-owner", "container:owner", "sharing network namespace"),
    ):
        lab.berth("run", "-d", "--name", name, "--network", mode, "--", "sleep", "60")
        refused = lab.berth("network", "connect", "net", name, check=False)
        assert refused.returncode == 1
        assert text in refused.stderr
        lab.berth("rm", name)
    for mode in ("host", "none"):
        refused = lab.berth("network", "connect", mode, "owner", check=False)
        assert "is no network but a mode of a whole sandbox" in refused.stderr
        assert lab.berth("network", "create", mode, check=False).returncode == 1
        assert lab.berth("network", "rm", mode, check=False).returncode == 1


def test_nothing_is_left(lab):
    before = lab.kernel_state()
    for mode in ("host", "none"):
        run(lab, mode, "true")
        run(lab, mode, "no-such-program", check=False)
    lab.wait_for(lambda: lab.kernel_state() == before)


def test_host_file_changes_are_followed(lab):
    lab.berth("run", "-d", "--name", "follower", "--network", "host", "--", "sleep", "60")
    text = lab.shell("cat /etc/resolv.conf") + "\n"
    lab.write("/etc/resolv.conf", text + "search new.test\n")
    lab.wait_for(lambda: "search new.test" in lab.in_sandbox("follower", "cat", "/etc/resolv.conf"))
    lab.write("/etc/resolv.conf", text)
    lab.berth("rm", "follower")


def test_compose_modes(lab):
    lab.run("mkdir", "-p", "/run/modes")
    lab.write(
        "/run/modes/compose.yaml",
        """
services:
  app: {command: python3 -m http.server --bind 127.0.0.1 85}
  side: {command: sleep 100, network_mode: "service:app"}
  alone: {command: sleep 100, network_mode: none}
  outer: {command: sleep 100, network_mode: host}
  linking: {command: sleep 100, network_mode: bridge, links: ["linked:store"]}
  linked: {command: sleep 100, network_mode: bridge}
  a-name-that-fits-by-itself-and-with-the-project-no-longer: {command: sleep 100}
""",
    )
    lab.berth("up", "-d", "-f", "/run/modes/compose.yaml")
    (linked,) = json.loads(lab.berth("inspect", "modes-linked-1").stdout)
    assert lab.in_sandbox("linking", "getent", "hosts", "store").split()[0] == linked["endpoints"][0]["addresses"][0].partition("/")[0]
    assert "a-name-that-fits" in lab.in_sandbox("app", "getent", "hosts", "a-name-that-fits-by-itself-and-with-the-project-no-longer")
    lab.wait_for(lambda: "Directory" in lab.in_sandbox("side", "curl", "-s", "-m", "3", "http://127.0.0.1:85/", check=False))
    assert lab.in_sandbox("alone", "ip", "-o", "link").count("\n") == 0
    lab.wait_for(lambda: links(lab.in_sandbox("outer", "ip", "-o", "link")) == links(lab.out("ip", "-o", "link")))
    lab.berth("down", "-f", "/run/modes/compose.yaml")
    assert json.loads(lab.berth("ps", "--format", "json").stdout) == []


def test_proxy_settings_are_the_environment_of_commands():
    with Lab() as lab:
        lab.write(
            "/run/berth.toml",
            '[proxies.default]\nhttpProxy = "http://10.0.0.1:3128"\n[proxies.special]\nhttpProxy = "http://10.0.0.2:3128"\nnoProxy = "localhost"\n',
        )
        lab.start_daemon("--config", "/run/berth.toml")
        for name in ("plain", "special"):
            lab.berth("network", "create", name)
        shown = "echo $HTTP_PROXY $http_proxy $NO_PROXY"
        for options, wanted in (
            (("--network", "plain"), "http://10.0.0.1:3128 http://10.0.0.1:3128"),
            (("--network", "plain", "--network", "special,gw-priority=1"), "http://10.0.0.2:3128 http://10.0.0.2:3128 localhost"),
            (("--network", "host"), "http://10.0.0.1:3128 http://10.0.0.1:3128"),
            (("--network", "plain", "-e", "HTTP_PROXY=mine"), "mine http://10.0.0.1:3128"),
        ):
            assert lab.berth("run", *options, "--", "sh", "-c", shown).stdout.strip() == wanted
        lab.berth("run", "-d", "--name", "s", "--network", "plain", "--", "sleep", "60")
        assert lab.in_sandbox("s", "sh", "-c", shown) == "http://10.0.0.1:3128 http://10.0.0.1:3128"
