"""The host moves and names go on: the uplink is renumbered, routes go by another link, sandboxes change networks.

The name servers are behind a router, each on an address of its own. They are asked by UDP (the host's resolv.conf), over
TCP (`forward`) and from inside sandboxes (`--dns`). Each first query after a change must be answered.
"""

import itertools

import pytest

from tests.netns.conftest import upstream
from tests.support.lab import HOST_ADDRESS, HOST_ADDRESS6, OUTSIDE_ADDRESS, OUTSIDE_ADDRESS6, Lab

DATAGRAM, STREAM = "10.99.0.53", "10.99.0.54"
DATAGRAM6, STREAM6 = "fd99::53", "fd99::54"
SECOND, SECOND_OUTSIDE, SECOND6, SECOND_OUTSIDE6 = "10.10.0.2", "10.10.0.1", "fd10::2", "fd10::1"

# A second link. What comes from an address of the other link is dropped, as networks of providers do.
LINKS = f"""set -e
ip link add ul0 type veth peer name ul1 netns outside; ip link set ul0 up; ip -n outside link set ul1 up
ip addr add {SECOND}/24 dev ul0; ip -6 addr add {SECOND6}/64 dev ul0 nodad
ip -n outside addr add {SECOND_OUTSIDE}/24 dev ul1; ip -n outside -6 addr add {SECOND_OUTSIDE6}/64 dev ul1 nodad
for address in {DATAGRAM} {STREAM}; do ip -n outside addr add $address/32 dev lo; done
for address in {DATAGRAM6} {STREAM6}; do ip -n outside -6 addr add $address/128 dev lo nodad; done
ip netns exec outside nft -f - <<END
table inet provider {{ chain prerouting {{ type filter hook prerouting priority raw;
iifname up1 ip saddr 10.10.0.0/24 drop
iifname ul1 ip saddr 10.9.0.0/24 drop
iifname up1 ip6 saddr fd10::/64 drop
iifname ul1 ip6 saddr fd09::/64 drop
}}
}}
END
"""


@pytest.fixture(scope="module", params=["IPv4", pytest.param("IPv6", marks=pytest.mark.slow)], ids=["IPv4", "IPv6"])
def lab(request):
    with Lab() as made:
        made.is_ipv6 = request.param == "IPv6"
        made.shell(LINKS)
        made.servers = (DATAGRAM6, STREAM6) if made.is_ipv6 else (DATAGRAM, STREAM)
        for address in made.servers:
            upstream(made, address)
        made.write("/etc/resolv.conf", f"nameserver {made.servers[0]}\n")
        stream = f"tcp://[{made.servers[1]}]" if made.is_ipv6 else f"tcp://{made.servers[1]}"
        made.write("/run/berth.toml", f'forward = {{ "stream.example.test" = ["{stream}"] }}\n')
        made.start_daemon("--config", "/run/berth.toml")
        for network in ("one", "two"):
            made.berth("network", "create", "--ipv6", network)
        made.berth("run", "-d", "--name", "asker", "--network", "one", "--", "sleep", "infinity")
        made.berth("run", "-d", "--name", "own", "--network", "one", "--dns", made.servers[0], "--", "sleep", "infinity")
        made.berth("run", "-d", "--name", "stream", "--network", "one", "--dns", stream, "--", "sleep", "infinity")
        yield made


NUMBERS = itertools.count()


def names_work(lab: Lab, *sandboxes: str) -> None:
    """Each way of asking a name server answers its first query, and several in a row: they go by different sockets."""
    number = next(NUMBERS)
    for sandbox in sandboxes or ("asker",):
        names = [f"n{number}-{query}.example.test" for query in range(6)]
        if sandbox == "asker":
            names += [f"n{number}-{query}.stream.example.test" for query in range(3)]
        said = lab.in_sandbox(sandbox, "dig", "+tries=1", "+time=15", "+short", *itertools.chain(*((name, "A") for name in names)))
        assert said.split() == ["192.0.2.80"] * len(names), (sandbox, said)


def move(lab: Lab, family4: str, family6: str) -> None:
    """Run one of two scripts on the host."""
    lab.shell(f"set -e; {family6 if lab.is_ipv6 else family4}")


def test_uplink_is_renumbered(lab):
    names_work(lab)
    move(
        lab,
        f"ip addr del {HOST_ADDRESS}/24 dev up0; ip addr add 10.9.0.77/24 dev up0; ip route replace default via {OUTSIDE_ADDRESS}",
        f"ip -6 addr del {HOST_ADDRESS6}/64 dev up0; ip -6 addr add fd09::77/64 dev up0 nodad; ip -6 route replace default via {OUTSIDE_ADDRESS6}",
    )
    names_work(lab)
    move(
        lab,
        f"ip addr del 10.9.0.77/24 dev up0; ip addr add {HOST_ADDRESS}/24 dev up0; ip route replace default via {OUTSIDE_ADDRESS}",
        f"ip -6 addr add {HOST_ADDRESS6}/64 dev up0 nodad; ip -6 addr del fd09::77/64 dev up0; ip -6 route replace default via {OUTSIDE_ADDRESS6}",
    )
    names_work(lab)


def test_default_route_goes_by_another_link_and_back(lab):
    names_work(lab)
    move(
        lab,
        f"ip route replace default via {SECOND_OUTSIDE} dev ul0",
        f"ip -6 route del default; ip -6 route add default via {SECOND_OUTSIDE6} dev ul0",
    )
    names_work(lab)
    move(
        lab,
        f"ip route replace default via {OUTSIDE_ADDRESS} dev up0",
        f"ip -6 route del default; ip -6 route add default via {OUTSIDE_ADDRESS6} dev up0",
    )
    names_work(lab)


def test_rule_sends_traffic_by_another_table(lab):
    names_work(lab)
    move(
        lab,
        f"ip route add default via {SECOND_OUTSIDE} dev ul0 table 77; ip rule add to 10.99.0.0/24 lookup 77",
        f"ip -6 route add default via {SECOND_OUTSIDE6} dev ul0 table 77; ip -6 rule add to fd99::/64 lookup 77",
    )
    names_work(lab)
    move(lab, "ip rule del to 10.99.0.0/24 lookup 77", "ip -6 rule del to fd99::/64 lookup 77")
    names_work(lab)


def test_names_work_as_soon_as_there_is_a_way_again(lab):
    names_work(lab)
    move(lab, "ip addr flush dev up0; ip link set ul0 down", "ip -6 addr flush dev up0; ip link set ul0 down")
    for number in range(4):
        said = lab.berth("exec", "asker", "dig", "+tries=1", "+time=15", f"down{number}.example.test", "A", check=False).stdout
        assert "SERVFAIL" in said
    move(
        lab,
        f"ip addr add {HOST_ADDRESS}/24 dev up0; ip route replace default via {OUTSIDE_ADDRESS}; ip link set ul0 up",
        f"ip -6 addr add {HOST_ADDRESS6}/64 dev up0 nodad; ip -6 route replace default via {OUTSIDE_ADDRESS6}; ip link set ul0 up;"
        f"ip -6 addr replace {SECOND6}/64 dev ul0 nodad",
    )
    # No failure is remembered: not that the name server can't be reached, and not that these names failed.
    for number in range(4):
        said = lab.in_sandbox("asker", "dig", "+tries=1", "+time=15", "+short", f"down{number}.example.test", "A")
        assert said == "192.0.2.80"
    names_work(lab)


def test_name_servers_of_a_sandbox_are_asked_through_the_network_that_it_is_on_now(lab):
    names_work(lab, "own", "stream")
    for sandbox in ("own", "stream"):
        lab.berth("network", "connect", "--gw-priority", "9", "two", sandbox)
    names_work(lab, "own", "stream")
    for sandbox in ("own", "stream"):
        lab.berth("network", "disconnect", "two", sandbox)
    names_work(lab, "own", "stream")
    for sandbox in ("own", "stream"):
        lab.berth("network", "connect", "two", sandbox)
        lab.berth("network", "disconnect", "one", sandbox)
    names_work(lab, "own", "stream")


def test_subscriptions_end_with_their_sandboxes(lab):
    before = lab.shell(f"ls -l /proc/{lab.daemon.pid}/fd | wc -l")
    for _ in range(5):
        lab.berth("run", "--name", "short", "--network", "one", "--dns", lab.servers[0], "--", "dig", "+short", "a.example.test")
    lab.wait_for(lambda: int(lab.shell(f"ls -l /proc/{lab.daemon.pid}/fd | wc -l")) <= int(before) + 2)


def test_name_server_that_refuses_is_passed_over(lab):
    lab.write("/etc/resolv.conf", f"nameserver 127.127.127.1\nnameserver {lab.servers[0]}\n")
    lab.wait_for(lambda: "127.127.127.1" in lab.berth("status").stdout)
    names_work(lab)
    status = lab.api("GET", "/v1/status")[1]
    refused = next(item for item in status["upstreams"] if item["address"] == "127.127.127.1")
    # It was not waited for: it answered with an error.
    assert refused["failures"] >= 1
