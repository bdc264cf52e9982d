"""A connect looks into a sandbox only where it has to, and announces an address only to who may remember another one's."""

import pytest

from tests.support.lab import Lab


@pytest.fixture(scope="module")
def lab():
    with Lab() as made:
        made.start_daemon()
        for name in ("front", "back"):
            assert made.api("POST", "/v1/networks", {"name": name})[0] == 201
        yield made


def make(lab, name, **endpoint):
    status, view = lab.api("POST", "/v1/sandboxes", {"name": name, "networks": [{"network": "front", **endpoint}]})
    assert status == 201, view
    return view["endpoints"][0]


def test_a_link_that_root_in_a_sandbox_has_made_keeps_its_name(lab):
    make(lab, "box")
    lab.run("ip", "-n", "berth-box", "link", "add", "eth1", "type", "bridge")
    before = lab.kernel_state()
    status, refused = lab.api("POST", "/v1/networks/back/connect", {"sandbox": "box", "ifname": "eth1"})
    assert status == 409
    assert "eth1" in refused["error"]["message"]
    lab.wait_for(lambda: lab.kernel_state() == before)
    status, view = lab.api("POST", "/v1/networks/back/connect", {"sandbox": "box"})
    assert status == 200
    assert [endpoint["ifname"] for endpoint in view["endpoints"]] == ["eth0", "eth2"]
    assert "eth1" in lab.out("ip", "-n", "berth-box", "-o", "link", "show", "type", "bridge")


def test_who_remembers_an_address_learns_whose_it_is_now(lab):
    make(lab, "asker")
    first = make(lab, "first")
    address = first["addresses"][0].partition("/")[0]
    lab.run("ip", "netns", "exec", "berth-asker", "ping", "-c1", "-W2", address)
    assert first["mac"] in lab.out("ip", "-n", "berth-asker", "neigh", "show", address)
    assert lab.api("DELETE", "/v1/sandboxes/first")[0] == 200
    again = make(lab, "again", ip=address)
    assert again["mac"] != first["mac"]
    # Told before the answer was there.
    lab.run("ip", "netns", "exec", "berth-asker", "ping", "-c1", "-W1", address)
    assert again["mac"] in lab.out("ip", "-n", "berth-asker", "neigh", "show", address)


def test_the_hosts_end_of_a_pair_has_no_ipv6_of_its_own(lab):
    assert lab.api("POST", "/v1/networks", {"name": "six", "ipv6": True})[0] == 201
    status, view = lab.api("POST", "/v1/sandboxes", {"name": "six", "networks": [{"network": "six"}]})
    assert status == 201, view
    for port in (name for name in lab.out("ls", "/sys/class/net").split() if name.startswith("veth")):
        assert lab.out("ip", "-6", "-o", "addr", "show", "dev", port) == ""
        assert lab.out("ip", "-6", "route", "show", "table", "all", "dev", port) == ""
    # The sandbox and the bridge do.
    gateway = next(one for one in view["endpoints"][0]["gateway_addresses"] if ":" in one)
    lab.run("ip", "netns", "exec", "berth-six", "ping", "-c1", "-W5", gateway)
