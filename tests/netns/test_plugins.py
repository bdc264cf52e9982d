"""Third-party network and IPAM plugins: every call in Docker's order, and what happens when they refuse, die or lie."""

import contextlib
import json
import signal
import sys

import pytest

from tests.support.lab import PATIENCE

DIRECTORY = "/run/plugin-test"


@pytest.fixture(scope="module")
def lab(lab):
    lab.plugin = lab.start_plugin()
    return lab


@pytest.fixture(autouse=True)
def clean(lab):
    lab.shell(f"rm -f {DIRECTORY}/calls {DIRECTORY}/answers")
    yield
    lab.shell(f"rm -f {DIRECTORY}/answers")
    for sandbox in json.loads(lab.berth("ps", "--format", "json").stdout):
        lab.berth("rm", sandbox["name"], check=False)
    for network in json.loads(lab.berth("network", "ls", "--format", "json").stdout):
        lab.berth("network", "rm", network["name"], check=False)


def calls(lab):
    with contextlib.suppress(AssertionError):
        # One may be about to be written.
        return [json.loads(line) for line in lab.shell(f"cat {DIRECTORY}/calls").splitlines() if line.endswith("]")]
    return []


def methods(lab):
    return [method.partition(".")[2] for method, _ in calls(lab)]


def answers(lab, **special):
    lab.write(f"{DIRECTORY}/answers", json.dumps({f"NetworkDriver.{key}": value for key, value in special.items()}))


def bodies(lab, method):
    return [body for name, body in calls(lab) if name.endswith(f".{method}")]


@pytest.mark.parametrize("driver", ["weave", "plugin:weave"])
def test_life_of_a_network_and_its_endpoints(lab, driver):
    lab.berth("network", "create", "-d", driver, "-o", "color=red", "--subnet", "10.60.0.0/24", "--label", "a=b", "net")
    (made,) = bodies(lab, "CreateNetwork")
    assert made["Options"]["com.docker.network.generic"] == {"color": "red"}
    assert made["IPv4Data"] == [{"AddressSpace": "LocalDefault", "Pool": "10.60.0.0/24", "Gateway": "10.60.0.1/24", "AuxAddresses": {}}]
    shown = json.loads(lab.berth("network", "inspect", "net").stdout)[0]
    assert (shown["driver"], shown["scope"], shown["id"]) == ("weave", "local", made["NetworkID"])
    lab.shell(f"rm {DIRECTORY}/calls")
    lab.berth(
        "run",
        "-d",
        "--name",
        "one",
        "--network",
        "net,alias=one-alias",
        "-p",
        "8090-8091:80-81/udp",
        "--expose",
        "90",
        "--",
        "sleep",
        "300",
    )
    lab.berth("run", "-d", "--name", "two", "--network", "net", "--", "sleep", "300")
    assert methods(lab)[:3] == ["CreateEndpoint", "Join", "ProgramExternalConnectivity"]
    first = bodies(lab, "CreateEndpoint")[0]
    assert first["Interface"] == {"Address": "10.60.0.2/24", "AddressIPv6": "", "MacAddress": ""}
    # Who publishes on its network is the plugin.
    assert first["Options"]["com.docker.network.endpoint.exposedports"] == [
        {"Proto": 6, "Port": 90},
        {"Proto": 17, "Port": 80},
        {"Proto": 17, "Port": 81},
    ]
    assert [(binding["HostPort"], binding["Port"]) for binding in first["Options"]["com.docker.network.portmap"]] == [
        (8090, 80),
        (8091, 81),
    ]
    assert bodies(lab, "Join")[0]["SandboxKey"] == lab.inspect("one")["netns"]
    text = lab.in_sandbox("one", "ip", "-o", "addr", "show", "plug0")
    assert "10.60.0.2/24" in text
    assert "02:66:00:00:00:07" in lab.in_sandbox("one", "ip", "link", "show", "plug0")
    routes = lab.in_sandbox("one", "ip", "route")
    assert "default via 10.60.0.1 dev plug0" in routes
    assert "10.67.0.0/16 dev plug0" in routes
    # Names are ours, whoever makes the network.
    assert lab.in_sandbox("two", "getent", "hosts", "one-alias").startswith("10.60.0.2")
    endpoint = lab.inspect("one")["endpoints"][0]
    assert endpoint["told_by_plugin"] == {"id": first["EndpointID"][:7]}
    lab.shell(f"rm {DIRECTORY}/calls")
    lab.berth("network", "disconnect", "net", "one")
    assert methods(lab) == ["RevokeExternalConnectivity", "Leave", "DeleteEndpoint"]
    assert "plug0" not in lab.in_sandbox("one", "ip", "-o", "link")
    lab.berth("rm", "one", "two")
    lab.berth("network", "rm", "net")
    assert methods(lab)[-1] == "DeleteNetwork"
    assert lab.shell("ip -o link | grep -e plug -e ' v[cp]' || true") == ""


def test_way_outside_moves_between_networks(lab):
    lab.berth("network", "create", "-d", "weave", "--subnet", "10.60.0.0/24", "net")
    lab.berth("network", "create", "front")
    lab.berth("run", "-d", "--name", "one", "--network", "net", "--", "sleep", "300")
    lab.shell(f"rm {DIRECTORY}/calls")
    lab.berth("network", "connect", "--gw-priority", "5", "front", "one")
    assert methods(lab) == ["RevokeExternalConnectivity"]
    lab.berth("network", "disconnect", "front", "one")
    assert methods(lab) == ["RevokeExternalConnectivity", "ProgramExternalConnectivity"]


def test_addresses_by_a_plugin(lab):
    lab.berth("network", "create", "--ipam-driver", "weave", "--ipam-opt", "zone=a", "net")
    pool = bodies(lab, "RequestPool")[0]
    assert (pool["AddressSpace"], pool["Options"], pool["V6"]) == ("here", {"zone": "a"}, False)
    assert bodies(lab, "RequestAddress")[0]["Options"]["RequestAddressType"] == "com.docker.network.gateway"
    shown = json.loads(lab.berth("network", "inspect", "net").stdout)[0]
    assert (shown["driver"], shown["ipam_driver"], shown["pools"][0]["subnet"], shown["pools"][0]["gateway"]) == (
        "bridge",
        "weave",
        "10.66.0.0/16",
        "10.66.0.1",
    )
    lab.berth("run", "-d", "--name", "one", "--network", "net", "--", "sleep", "300")
    one = lab.inspect("one")["endpoints"][0]
    assert one["addresses"][0].startswith("10.66.0.")
    # It says that it needs the MAC (RequiresMACAddress).
    assert bodies(lab, "RequestAddress")[-1]["Options"]["com.docker.network.endpoint.macaddress"] == one["mac"]
    lab.berth("run", "-d", "--name", "two", "--network", "net,ip=10.66.7.7", "--", "sleep", "300")
    assert lab.inspect("two")["addresses"] == ["10.66.7.7"]
    lab.in_sandbox("one", "ping", "-c1", "-W1", "two")
    # It forgets with our restart (RequiresRequestReplay), and is told again.
    lab.shell(f"rm {DIRECTORY}/calls")
    lab.stop_daemon()
    lab.start_daemon()
    lab.wait_for(lambda: "10.66.7.7" in [body["Address"] for body in bodies(lab, "RequestAddress")])
    assert bodies(lab, "RequestPool")[0]["Pool"] == "10.66.0.0/16"
    lab.berth("rm", "one", "two")
    assert [body["Address"] for body in bodies(lab, "ReleaseAddress")][-1] == "10.66.7.7"
    lab.berth("network", "rm", "net")
    assert methods(lab)[-1] == "ReleasePool"
    assert "10.66.0.1" in [body["Address"] for body in bodies(lab, "ReleaseAddress")]


def test_both_and_a_pool_that_is_given(lab):
    options = ("--subnet", "10.61.0.0/24", "--gateway", "10.61.0.254", "--aux-address", "router=10.61.0.9")
    lab.berth("network", "create", "-d", "weave", "--ipam-driver", "weave", *options, "net")
    assert bodies(lab, "CreateNetwork")[0]["IPv4Data"] == [
        {"AddressSpace": "here", "Pool": "10.61.0.0/24", "Gateway": "10.61.0.254/24", "AuxAddresses": {"router": "10.61.0.9/24"}}
    ]


@pytest.mark.slow
def test_way_outside_where_the_plugin_gives_none(lab):
    """GW-9: a bridge network comes in, and goes when another network has a gateway."""
    answers(lab, GwAllocCheck={"SkipIPv4": True})
    lab.berth("network", "create", "-d", "weave", "--subnet", "10.60.0.0/24", "net")
    lab.berth("network", "create", "front")
    assert bodies(lab, "CreateNetwork")[0]["IPv4Data"][0]["Gateway"] == ""
    for name in ("one", "two"):
        lab.berth("run", "-d", "--name", name, "--network", "net", "-p", "80", "--", sys.executable, "-m", "http.server", "80")
    assert lab.inspect("one")["networks"] == ["net", "berth_gwbridge"]
    assert "dev eth0" in lab.in_sandbox("one", "ip", "route", "show", "default")
    lab.in_sandbox("one", "ping", "-c1", "-W1", "10.9.0.1")
    assert lab.in_sandbox("one", "dig", "+short", "www.example.test") == "192.0.2.80"
    # It is no network to be found on: neither name nor hosts line, and no traffic among its sandboxes.
    assert lab.in_sandbox("one", "dig", "+short", "two") == lab.inspect("two")["addresses"][0]
    other = lab.inspect("two")["endpoints"][1]["addresses"][0].partition("/")[0]
    assert other not in lab.in_sandbox("two", "cat", "/etc/hosts")
    assert lab.berth("exec", "one", "ping", "-c1", "-W1", other, check=False).returncode
    port = lab.inspect("one")["endpoints"][1]["ports"][0]["host_port"]
    lab.wait_for(lambda: "Directory" in lab.run("curl", "-s", "-m", "2", f"http://10.9.0.2:{port}/", where="outside", check=False).stdout)
    lab.berth("network", "connect", "front", "one")
    assert lab.inspect("one")["networks"] == ["net", "front"]
    assert "Directory" in lab.run("curl", "-s", "-m", "15", f"http://10.9.0.2:{port}/", where="outside").stdout
    lab.berth("network", "disconnect", "front", "one")
    assert lab.inspect("one")["networks"] == ["net", "berth_gwbridge"]
    assert "pre-defined network" in lab.berth("network", "rm", "berth_gwbridge", check=False).stderr
    assert "not permitted on predefined" in lab.berth("network", "create", "berth_gwbridge", check=False).stderr
    # A plugin may say that it needs none of it.
    lab.shell(f"rm {DIRECTORY}/answers")
    answers(lab, Join={"DisableGatewayService": True})
    lab.berth("run", "-d", "--name", "three", "--network", "net", "--", "sleep", "300")
    assert lab.inspect("three")["networks"] == ["net"]
    assert [line.split()[1] for line in lab.in_sandbox("three", "ip", "-o", "link").splitlines()] == ["lo:"]


FAILURES = [
    ("GetCapabilities", {"Scope": "galactic"}, "Scope is 'galactic'"),
    ("CreateNetwork", {"Err": "no more networks"}, "no more networks"),
    ("CreateNetwork", 500, "HTTP 500"),
    ("CreateNetwork", 404, "does not know this method"),
    ("CreateNetwork", "nonsense", "nonsense"),
]


@pytest.mark.parametrize(("method", "answer", "reason"), FAILURES)
def test_network_that_the_plugin_refuses(lab, method, answer, reason):
    before = lab.kernel_state()
    answers(lab, **{method: answer})
    done = lab.berth("network", "create", "-d", "weave", "net", check=False)
    assert done.returncode == 1
    assert "plugin weave: NetworkDriver." in done.stderr
    assert reason in done.stderr
    assert lab.kernel_state() == before
    assert "net" not in [network["name"] for network in json.loads(lab.berth("network", "ls", "--format", "json").stdout)]


LINK = {"SrcName": "vcgone", "DstPrefix": "plug"}
ENDPOINT_FAILURES = [
    ("CreateEndpoint", {"Err": "no more endpoints"}, "no more endpoints", ["CreateEndpoint"]),
    ("CreateEndpoint", {"Interface": {"Address": "10.60.0.9/24"}}, "may fill in only what is empty", ["CreateEndpoint", "DeleteEndpoint"]),
    ("CreateEndpoint", {"Interface": {"MacAddress": "x"}}, "mac-address", ["CreateEndpoint", "DeleteEndpoint"]),
    ("CreateEndpoint", {"Interface": 5}, "not an object", ["CreateEndpoint", "DeleteEndpoint"]),
    ("Join", {"Err": "no way"}, "no way", ["CreateEndpoint", "Join", "DeleteEndpoint"]),
    ("Join", {"InterfaceName": LINK, "Gateway": "up"}, "Gateway", ["CreateEndpoint", "Join", "Leave", "DeleteEndpoint"]),
    (
        "Join",
        {"InterfaceName": {"SrcName": "vcgone"}},
        "neither DstPrefix nor DstName",
        ["CreateEndpoint", "Join", "Leave", "DeleteEndpoint"],
    ),
    ("Join", {"InterfaceName": {"SrcName": "a b"}}, "SrcName", ["CreateEndpoint", "Join", "Leave", "DeleteEndpoint"]),
    ("Join", {"InterfaceName": LINK}, "vcgone", ["CreateEndpoint", "Join", "Leave", "DeleteEndpoint"]),
    (
        "Join",
        {"InterfaceName": LINK, "StaticRoutes": [{"Destination": "x"}]},
        "StaticRoutes",
        ["CreateEndpoint", "Join", "Leave", "DeleteEndpoint"],
    ),
    (
        "ProgramExternalConnectivity",
        {"Err": "no outside"},
        "no outside",
        ["CreateEndpoint", "Join", "ProgramExternalConnectivity", "Leave", "DeleteEndpoint"],
    ),
]


@pytest.mark.parametrize(("method", "answer", "reason", "expected"), ENDPOINT_FAILURES)
def test_endpoint_that_the_plugin_refuses_or_lies_about(lab, method, answer, reason, expected):
    lab.berth("network", "create", "-d", "weave", "--subnet", "10.60.0.0/24", "net")
    lab.berth("network", "create", "front")
    lab.berth("run", "-d", "--name", "one", "--network", "front", "--", "sleep", "300")

    def state():
        # The plugin's own bridge takes another MAC with its ports.
        host = [line for line in lab.kernel_state().splitlines() if not line.startswith("plug")]
        return host, *(lab.in_sandbox("one", *words) for words in (("ip", "-o", "addr"), ("ip", "route"), ("cat", "/etc/hosts")))

    before = state()
    lab.shell(f"rm {DIRECTORY}/calls")
    answers(lab, **{method: answer})
    done = lab.berth("network", "connect", "--gw-priority", "5", "net", "one", check=False)
    assert done.returncode == 1
    assert reason in done.stderr
    assert methods(lab) == expected
    assert state() == before
    assert lab.inspect("one")["networks"] == ["front"]
    lab.shell(f"rm {DIRECTORY}/answers")
    lab.berth("network", "connect", "net", "one")
    assert lab.inspect("one")["endpoints"][1]["addresses"] == ["10.60.0.2/24"]


@pytest.mark.parametrize(
    ("method", "answer", "reason"),
    [
        ("RequestPool", {"Error": "no pools"}, "no pools"),
        ("RequestPool", {"PoolID": "x", "Pool": "fd00::/64"}, "no IPv4 subnet"),
        ("RequestPool", {"Pool": "10.0.0.0/24"}, "no PoolID"),
        ("RequestAddress", {"Address": "10.99.0.1/16"}, "is not in 10.66.0.0/16"),
        ("RequestAddress", {"Address": ""}, "is not in 10.66.0.0/16"),
    ],
)
def test_addresses_that_the_plugin_refuses_or_lies_about(lab, method, answer, reason):
    lab.write(f"{DIRECTORY}/answers", json.dumps({f"IpamDriver.{method}": answer}))
    done = lab.berth("network", "create", "--ipam-driver", "weave", "net", check=False)
    assert done.returncode == 1
    assert reason in done.stderr
    if method == "RequestAddress":
        assert methods(lab)[-1] == "ReleasePool"


def test_teardown_goes_on_without_the_plugin(lab):
    lab.berth("network", "create", "-d", "weave", "--subnet", "10.60.0.0/24", "net")
    lab.berth("run", "-d", "--name", "one", "--network", "net", "--", "sleep", "300")
    answers(lab, Leave={"Err": "cannot leave"}, DeleteEndpoint={"Err": "cannot delete"}, DeleteNetwork={"Err": "cannot go"})
    done = lab.berth("network", "disconnect", "net", "one", check=False)
    assert "cannot leave" in done.stderr
    assert "cannot delete" in done.stderr
    assert lab.inspect("one")["networks"] == []
    assert "plug0" not in lab.in_sandbox("one", "ip", "-o", "link")
    lab.berth("rm", "one")
    assert json.loads(lab.berth("ps", "--format", "json").stdout) == []
    # The network is the plugin's: it stays until that lets it go.
    assert "cannot go" in lab.berth("network", "rm", "net", check=False).stderr
    lab.shell(f"rm {DIRECTORY}/answers; ip -o link | sed -n 's/.*: \\(vp[^@:]*\\).*/\\1/p' | while read n; do ip link del $n; done")
    lab.berth("network", "rm", "net")


def test_who_is_no_plugin(lab):
    done = lab.berth("network", "create", "-d", "overlay9", "net", check=False)
    assert "'overlay9' is not one of bridge, macvlan, ipvlan, overlay, and there is no such plugin: overlay9" in done.stderr
    assert "/run/docker/plugins/overlay9.sock" in done.stderr
    assert "no such plugin: nobody" in lab.berth("network", "create", "--ipam-driver", "nobody", "net", check=False).stderr
    assert "has no options" in lab.berth("network", "create", "--ipam-opt", "a=b", "net", check=False).stderr
    other = lab.start_plugin("IpamDriver", socket="/run/docker/plugins/other/other.sock")
    assert "it implements IpamDriver, not NetworkDriver" in lab.berth("network", "create", "-d", "other", "net", check=False).stderr
    other.kill()


@pytest.mark.slow
def test_plugin_by_spec_that_starts_late_and_one_that_is_dead(lab):
    lab.run("mkdir", "-p", "/etc/docker/plugins")
    lab.write("/etc/docker/plugins/late.spec", "unix:///run/late/late.sock\n")
    lab.write("/etc/docker/plugins/late2.json", '{"Name": "late2", "Addr": "unix:///run/late/late.sock"}')
    waiting = lab.start(sys.executable, "-m", "resolver", "network", "create", "-d", "late", "net")
    lab.shell("sleep 0.6")
    assert waiting.poll() is None
    late = lab.start_plugin(socket="/run/late/late.sock")
    assert waiting.wait(PATIENCE) == 0
    lab.berth("network", "create", "-d", "late2", "net2")
    late.send_signal(signal.SIGKILL)
    late.wait()
    done = lab.berth("network", "rm", "net", check=False, timeout=60)
    assert "plugin late is not available" in done.stderr
    assert "is it running?" in done.stderr
    # It comes back, and all goes on.
    lab.start_plugin(socket="/run/late/late.sock")
    lab.berth("network", "rm", "net", "net2")


def test_crash_in_the_middle_is_taken_back(lab):
    lab.berth("network", "create", "-d", "weave", "--subnet", "10.60.0.0/24", "net")
    lab.berth("run", "-d", "--name", "one", "--network", "net", "--", "sleep", "300")
    lab.berth("network", "create", "-d", "weave", "--subnet", "10.62.0.0/24", "net2")
    answers(lab, Join="hang")
    waiting = lab.start(sys.executable, "-m", "resolver", "network", "connect", "net2", "one")
    lab.wait_for(lambda: "Join" in methods(lab)[-1:])
    lab.stop_daemon(signal.SIGKILL)
    waiting.wait(PATIENCE)
    lab.shell(f"rm {DIRECTORY}/answers {DIRECTORY}/calls")
    lab.start_daemon()
    lab.wait_for(lambda: "DeleteEndpoint" in methods(lab))
    assert lab.inspect("one")["networks"] == ["net"]
    assert "default via 10.60.0.1" in lab.in_sandbox("one", "ip", "route")
    lab.berth("network", "connect", "net2", "one")


@pytest.mark.slow
def test_what_a_plugin_was_not_told_before_the_next_crash_is_told_by_the_start_after(lab):
    lab.berth("network", "create", "-d", "weave", "--subnet", "10.62.0.0/24", "net")
    lab.berth("run", "-d", "--rm", "--name", "one", "--network", "net", "--", "sleep", "600")
    answers(lab, DeleteEndpoint="hang")
    lab.start(sys.executable, "-m", "resolver", "rm", "one")
    lab.wait_for(lambda: len(bodies(lab, "DeleteEndpoint")) == 1)
    lab.stop_daemon(signal.SIGKILL)
    # The records of the sandbox go with the start, and the plugin is told behind it.
    lab.start_daemon()
    lab.wait_for(lambda: len(bodies(lab, "DeleteEndpoint")) == 2)
    assert lab.berth("ps", "-q").stdout == ""
    lab.stop_daemon(signal.SIGKILL)
    lab.shell(f"rm {DIRECTORY}/answers")
    lab.start_daemon()
    lab.wait_for(lambda: len(bodies(lab, "DeleteEndpoint")) == 3)
    assert len({body["EndpointID"] for body in bodies(lab, "DeleteEndpoint")}) == 1
    lab.wait_for(lambda: lab.shell("ip -o link show | grep ' vp' || true") == "")
    # Once is enough.
    lab.stop_daemon(signal.SIGKILL)
    lab.shell(f"rm {DIRECTORY}/calls")
    lab.start_daemon()
    lab.berth("run", "--name", "one", "--network", "net", "--", "true")
    assert [body["EndpointID"] for body in bodies(lab, "DeleteEndpoint")] == [body["EndpointID"] for body in bodies(lab, "CreateEndpoint")]
