import pytest

from netcore import options
from netcore.errors import InvalidRequest
from netcore.model import GatewayMode


def parse(**given):
    return options.parse_bridge_options("0123456789abcdef", given, egress_mtu=1450)


def test_defaults():
    made = parse()
    assert (made.bridge_name, made.mtu, made.icc, made.masquerade) == ("br-0123456789ab", 1450, True, True)
    assert made.bridge_mac == parse().bridge_mac
    assert int(made.bridge_mac[:2], 16) & 3 == 2


def test_docker_labels_and_short_names_mean_the_same():
    long = options.parse_bridge_options(
        "x" * 12,
        {"com.docker.network.bridge.enable_icc": "false", "com.docker.network.driver.mtu": "1400"},
        egress_mtu=1500,
    )
    short = options.parse_bridge_options("x" * 12, {"icc": "0", "mtu": "1400"}, egress_mtu=1500)
    assert long == short


def test_unknown_option_is_refused_with_the_nearest():
    with pytest.raises(InvalidRequest, match="did you mean mtu"):
        parse(mtuu="1")


@pytest.mark.parametrize(
    ("key", "value"),
    [("icc", "yes"), ("mtu", "-1"), ("mtu", "x"), ("gateway_mode_ipv4", "open"), ("name", "a" * 16), ("name", "a/b"), ("ttl", "-1"),
     ("announcements", "4"), ("announcement_interval_ms", "5"), ("host_binding", "nowhere"), ("host_ipv4", "fd00::1")],
)  # fmt: skip
def test_bad_values_name_the_option(key, value):
    with pytest.raises(InvalidRequest, match=f"option {key}"):
        parse(**{key: value})


def test_same_option_twice_is_refused():
    with pytest.raises(InvalidRequest, match="given twice"):
        options.canonical_options({"icc": "true", "com.docker.network.bridge.enable_icc": "true"})


def test_neither_family_is_refused():
    with pytest.raises(InvalidRequest, match="IPv4 or IPv6 must be enabled"):
        options.family_flags({}, ipv4=False, ipv6=None)
    assert options.family_flags({"enable_ipv6": "true"}, ipv4=None, ipv6=None) == (True, True)
    assert options.family_flags({"enable_ipv6": "true"}, ipv4=None, ipv6=False) == (True, False)


def test_gateway_modes():
    assert parse(gateway_mode_ipv6="routed").gateway_mode_ipv6 is GatewayMode.ROUTED
