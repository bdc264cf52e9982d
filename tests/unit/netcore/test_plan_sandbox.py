"""Which sandbox a request means."""

import pytest

from netcore.errors import InvalidRequest
from netcore.model import Sandbox, SandboxRequest, Stack
from netcore.plan.sandbox import check_networks, new_id, plan_sandbox
from tests.support.networks import bridge_network


def plan(kind=Stack.OWN, target=None, taken=(), **more):
    return plan_sandbox(
        SandboxRequest(name="web", **more), kind, target, netns_directory="/run/netns", is_taken=taken.__contains__, host_name="box.example.org",
        boot_id="boot", now=5.0, random_hex=lambda octets: "0123456789abcdef" * (octets // 8),
    )  # fmt: skip


def test_what_is_chosen_where_nothing_is_said():
    made = plan()
    assert (made.short_id, made.hostname, made.netns_path, made.created) == ("0123456789ab", "0123456789ab", "/run/netns/berth-web", 5.0)
    assert (made.stack, made.shared_with, made.adopted) == (Stack.OWN, None, False)
    # A sandbox that was renamed keeps its path.
    assert plan(taken=["/run/netns/berth-web"]).netns_path == "/run/netns/berth-web-0123456789ab"


def test_what_is_said_is_read():
    made = plan(
        netns="/proc/9/ns/net", hostname="h", domainname="d.test", publish=("8080:80",), publish_all=True, expose=("53/udp",),
        sysctls=("net.ipv4.ip_forward=1",), extra_hosts=("a:10.0.0.1",),
    )  # fmt: skip
    assert (made.hostname, made.domainname, made.adopted, made.publish_all) == ("h", "d.test", True, True)
    assert [request.host_first for request in made.port_requests] == [8080]
    assert made.sysctls == (("net/ipv4/ip_forward", "1"),)


def test_host_names_of_other_stacks():
    host = plan(Stack.HOST, publish=("80",), publish_all=True)
    assert (host.hostname, host.domainname, host.port_requests, host.publish_all) == ("box", "example.org", (), False)
    assert plan(Stack.HOST, hostname="mine").hostname == "mine"
    owner = Sandbox(id="o", name="o", hostname="theirs", domainname="there", netns_path="/x", boot_id="")
    shared = plan(Stack.SHARED, owner)
    assert (shared.hostname, shared.domainname, shared.shared_with) == ("theirs", "there", "o")


@pytest.mark.parametrize(
    "more", [{"extra_hosts": ("a",)}, {"expose": ("a",)}, {"domainname": "a b"}, {"hostname": "a b"}, {"publish": ("a",)}]
)
def test_what_is_wrong_is_refused(more):
    with pytest.raises(InvalidRequest):
        plan(**more)


def test_networks_to_begin_with():
    front, default = bridge_network("front"), bridge_network("bridge")
    check_networks([front, bridge_network("back")])
    check_networks([default])
    with pytest.raises(InvalidRequest, match="each network can be given once"):
        check_networks([front, front])
    with pytest.raises(InvalidRequest, match="cannot attach both"):
        check_networks([front, default])


def test_short_id_is_never_a_number():
    drawn = iter(["1" * 64, "123456789012" + "a" * 52, "12345678901a" + "1" * 52])
    assert new_id(lambda _: next(drawn)) == "12345678901a" + "1" * 52
