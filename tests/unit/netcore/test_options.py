import pytest

from netcore import drivers
from netcore.drivers import bridge, parent
from netcore.errors import InvalidRequest
from netcore.model import GatewayMode
from netcore.parse import options


def parse(**given):
    labels = drivers.named("bridge").read_options(given)
    return options.parse_common(labels, mtu=1450), bridge.parse_options("0123456789abcdef", labels)


def test_defaults():
    common, made = parse()
    assert (made.bridge_name, common.mtu, made.icc, made.masquerade) == ("br-0123456789ab", 1450, True, True)
    assert made.bridge_mac == parse()[1].bridge_mac
    assert int(made.bridge_mac[:2], 16) & 3 == 2


def test_docker_labels_and_short_names_mean_the_same():
    long = parse(**{"com.docker.network.bridge.enable_icc": "false", "com.docker.network.driver.mtu": "1400"})
    assert long == parse(icc="0", mtu="1400")


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
        drivers.named("bridge").read_options({"icc": "true", "com.docker.network.bridge.enable_icc": "true"})


def test_families_by_flag_option_and_default():
    label = {"com.docker.network.enable_ipv6": "true"}
    assert options.family_flags({}, ipv4=None, ipv6=None) == (True, False)
    assert options.family_flags(label, ipv4=None, ipv6=None) == (True, True)
    assert options.family_flags(label, ipv4=None, ipv6=False) == (True, False)


def test_gateway_modes():
    assert parse(gateway_mode_ipv6="routed")[1].gateway_mode_ipv6 is GatewayMode.ROUTED


@pytest.mark.parametrize(
    ("driver", "key", "value"),
    [("macvlan", "parent", "lo"), ("macvlan", "macvlan_mode", "l2"), ("ipvlan", "ipvlan_mode", "bridge"), ("ipvlan", "ipvlan_flag", "x"),
     ("macvlan", "ipvlan_mode", "l2"), ("bridge", "parent", "eth0"), ("macvlan", "icc", "true"), ("macvlan", "parent", "a b")],
)  # fmt: skip
def test_options_of_other_drivers_and_bad_ones_are_refused(driver, key, value):
    made = drivers.named(driver)
    with pytest.raises(InvalidRequest, match=f"option {key}"):
        labels = made.read_options({key: value})
        made.parse_options("n" * 12, labels)


@pytest.mark.parametrize("text", ["eth0", "eth0.0", "eth0.4095", "eth0.x", "eth0."])
def test_what_is_no_vlan_of_a_link_is_refused(text):
    with pytest.raises(InvalidRequest, match=r"like eth0\.10"):
        parent.vlan_of(text)
    assert parent.vlan_of("eth0.10") == ("eth0", 10)
