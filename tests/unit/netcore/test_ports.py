from dataclasses import replace
from ipaddress import ip_address

import pytest

from netcore.errors import Conflict, InvalidRequest
from netcore.model import PortMapping
from netcore.parse import ports
from netcore.plan import port_allocation


def allocate(*texts, taken=(), families=(4, 6), find_busy=lambda *_: None, binding=(), start=0):
    return port_allocation.allocate_ports(
        [ports.parse_port(text) for text in texts],
        families=families,
        default_binding=[ip_address(item) for item in binding],
        taken=taken,
        find_busy=find_busy,
        ephemeral=(32768, 60999),
        start=start,
    )


def shown(mappings):
    return [(m.family, str(m.host_address or "*"), m.host_port, m.sandbox_port, m.protocol) for m in mappings]


@pytest.mark.parametrize(
    ("text", "host", "first", "last", "sandbox", "protocol"),
    [
        ("80", None, 0, 0, 80, "tcp"),
        ("8080:80", None, 8080, 8080, 80, "tcp"),
        ("127.0.0.1:8080:80/UDP", "127.0.0.1", 8080, 8080, 80, "udp"),
        ("127.0.0.1::80", "127.0.0.1", 0, 0, 80, "tcp"),
        ("[fd00::1]:8080:80", "fd00::1", 8080, 8080, 80, "tcp"),
        ("8000-8010:80", None, 8000, 8010, 80, "tcp"),
    ],
)
def test_port_forms(text, host, first, last, sandbox, protocol):
    request = ports.parse_port(text)
    assert (str(request.host_address) if request.host_address else None) == host
    assert (request.host_first, request.host_last, request.sandbox_first, request.protocol) == (first, last, sandbox, protocol)


@pytest.mark.parametrize(
    "text", ["", "0", "80/icmp", "localhost:80:80", "::1:80:80", "8000-8001:80-82", "70000", "90-80", "a:b", "1:2:3:4", "[::1]80"]
)
def test_bad_ports_are_refused_by_name(text):
    with pytest.raises(InvalidRequest, match="publish"):
        ports.parse_port(text)


def test_no_host_address_means_both_families_and_the_same_port():
    made = shown(allocate("80"))
    assert [item[0] for item in made] == [4, 6]
    assert made[0][2] == made[1][2] == 32768


def test_default_binding_limits_the_families():
    assert shown(allocate("8080:80", binding=["127.0.0.1"])) == [(4, "127.0.0.1", 8080, 80, "tcp")]


def test_unspecified_address_means_its_family_only():
    assert shown(allocate("0.0.0.0:8080:80")) == [(4, "*", 8080, 80, "tcp")]


def test_range_is_mapped_pairwise():
    assert [item[2:4] for item in shown(allocate("8000-8002:80-82", families=(4,)))] == [(8000, 80), (8001, 81), (8002, 82)]


def test_exact_port_is_served_before_a_range():
    made = shown(allocate("8000-8001:80", "8000:81", families=(4,)))
    assert [item[2:4] for item in made] == [(8001, 80), (8000, 81)]


def held(address, port, protocol="tcp", family=4):
    mapping = PortMapping(
        family=family, protocol=protocol, host_address=ip_address(address) if address else None, host_port=port, sandbox_port=1
    )
    return [("web", mapping)]


def test_unspecific_binding_conflicts_with_a_specific_one_and_names_the_holder():
    with pytest.raises(Conflict, match="port is already allocated by web"):
        allocate("8080:80", taken=held("10.0.0.1", 8080))
    with pytest.raises(Conflict):
        allocate("10.0.0.1:8080:80", taken=held(None, 8080))


def test_different_addresses_and_protocols_do_not_conflict():
    allocate("10.0.0.2:8080:80", taken=held("10.0.0.1", 8080))
    allocate("8080:80/udp", taken=held(None, 8080))


def test_port_held_by_the_host_is_refused():
    with pytest.raises(Conflict, match="by a program of the host"):
        allocate("8080:80", find_busy=lambda bindings, *_: bindings[0])


def test_ephemeral_search_goes_on_behind_the_last_one_and_wraps():
    busy = {60998, 60999}
    made = allocate("80", families=(4,), start=60998, find_busy=lambda bindings, _, port: bindings[0] if port in busy else None)
    assert made[0].host_port == 32768


def test_exposed_ports():
    for text, expected in (
        ("80", (80, 80, "tcp", ())),
        ("8000-8010/udp", (8000, 8010, "udp", ())),
        ("metrics=9100", (9100, 9100, "tcp", ("metrics",))),
        ("Web,http=8080/TCP", (8080, 8080, "tcp", ("web", "http"))),
        ("https", (443, 443, "tcp", ("https",))),
        ("domain/udp", (53, 53, "udp", ("domain",))),
        ("web=http", (80, 80, "tcp", ("web", "http"))),
        ("play_1=7000-7001/udp", (7000, 7001, "udp", ("play_1",))),
    ):
        asked = ports.parse_exposed(text)
        assert (asked.sandbox_first, asked.sandbox_last, asked.protocol, asked.names) == expected
    for text, reason in (("80:80", "without a host part"), ("127.0.0.1::80", "without a host part"), ("80/icmp", "is not one of tcp, udp")):
        with pytest.raises(InvalidRequest, match=f"invalid expose {text}: .*{reason}"):
            ports.parse_exposed(text)


def test_at_most_so_many_ports_are_published():
    requests = [replace(ports.parse_port("1-5000"), host_first=1, host_last=5000)]
    with pytest.raises(InvalidRequest, match="at most 4096 ports can be published"):
        port_allocation.allocate_ports(
            [*requests, ports.parse_port("6000-10000:6000-10000")], families=(4,), default_binding=[], taken=(),
            find_busy=lambda *_: None, ephemeral=(1, 2), start=0,
        )  # fmt: skip


def test_an_address_of_a_family_that_nothing_is_published_in():
    with pytest.raises(InvalidRequest, match=r"publish \[::1\]:8080:80: nothing can be published on IPv6 for the sandbox"):
        allocate("[::1]:8080:80", families=(4,))
    # The default binding is left out instead.
    assert shown(allocate("8080:80", families=(4,), binding=["127.0.0.1", "::1"])) == [(4, "127.0.0.1", 8080, 80, "tcp")]


def test_refusals_name_the_port_once():
    with pytest.raises(Conflict) as caught:
        allocate("8080:80", taken=held(None, 8080))
    assert str(caught.value) == "publish 0.0.0.0:8080/tcp: port is already allocated by web; choose another port of the host"
    with pytest.raises(Conflict) as caught:
        allocate("[fd00::1]:8080:80", find_busy=lambda bindings, *_: bindings[0])
    assert str(caught.value) == "publish [fd00::1]:8080/tcp: address already in use by a program of the host"
    with pytest.raises(Conflict, match="no free tcp host port in 8000 to 8001"):
        allocate("8000-8001:80", find_busy=lambda bindings, *_: bindings[0])
    assert (
        port_allocation.allocate_ports(
            [], families=(6,), default_binding=[], taken=(), find_busy=lambda *_: None, ephemeral=(1, 2), start=0
        )
        == ()
    )


def test_a_port_with_a_name_is_published_as_without():
    for named, plain in (
        ("http=8080:80", "8080:80"), ("web,http=[::1]:8080:80/tcp", "[::1]:8080:80/tcp"), ("8080:http", "8080:80"),
        ("127.0.0.1:8080:http", "127.0.0.1:8080:80"), ("http", "80"), ("x=53:domain/udp", "53:53/udp"),
    ):  # fmt: skip
        assert replace(ports.parse_port(named), names=(), text="") == replace(ports.parse_port(plain), text="")
    assert ports.parse_port("8080:http").names == ("http",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("=80", "'' can't name a port"),
        ("80=80", "'80' can't name a port"),
        ("a b=80", "'a b' can't name a port"),
        ("a.b=80", "'a.b' can't name a port"),
        ("-a=80", "'-a' can't name a port"),
        ("a,=80", "'' can't name a port"),
        (f"{'a' * 63}=80", "can't name a port"),
        ("htp", "'htp' is no well-known service over tcp; did you mean http?"),
        ("x=zzzz/udp", "'zzzz' is no well-known service over udp; give the number, as in NAME=8080"),
        ("mysql/udp", "is no well-known service over udp"),
    ],
)
def test_wrong_names_of_ports(text, reason):
    for parse in (ports.parse_port, ports.parse_exposed):
        with pytest.raises(InvalidRequest) as refused:
            parse(text)
        assert reason in str(refused.value)
