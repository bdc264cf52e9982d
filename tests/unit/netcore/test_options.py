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


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"icc": "yes"}, "invalid option icc: 'yes': must be true or false"),
        ({"mtu": "x"}, "invalid option mtu: 'x': must be 0 (that of the egress route) or 68 to 65535"),
        ({"ttl": "x"}, "invalid option ttl: 'x': must be 0 to 86400"),
        ({"host_binding": "nowhere"}, "invalid option host_binding: 'nowhere': must be an IP address"),
        ({"host_ipv4": "fd00::1"}, "invalid option host_ipv4: 'fd00::1': must be an IPv4 address"),
        ({"host_ipv6": "10.0.0.1"}, "invalid option host_ipv6: '10.0.0.1': must be an IPv6 address"),
        ({"gateway_mode_ipv4": "open"}, "invalid option gateway_mode_ipv4: 'open': must be one of nat, nat-unprotected, routed, isolated"),
        ({"name": "a/b"}, "invalid option name: 'a/b': a link name has 1 to 15 octets, without / : % or space"),
        (
            {"ifname_prefix": "a" * 12},
            "invalid option ifname_prefix: 'aaaaaaaaaaaa': must have at most 11 characters, because a number follows",
        ),
        ({"forward": "x"}, "invalid option forward: 'x': must be DOMAIN=SERVER[,SERVER], with a semicolon before the next domain"),
        ({"names_from": "a b"}, "invalid option names_from: 'a b': must be names of networks, with commas between; 'a b' must begin"),
        ({"names_to": "front,bridge"}, "invalid option names_to: 'front,bridge': the network bridge has no names"),
        ({"forward": "a=1;a=2"}, "invalid option forward: 'a=1;a=2': domain a is given twice"),
        ({"zzz": "1"}, "invalid option zzz: the bridge driver has no such option; known are mtu, ifname_prefix, enable_ipv4,"),
    ],
)
def test_a_refusal_says_once_what_is_wrong_and_what_would_be_right(given, message):
    with pytest.raises(InvalidRequest) as caught:
        parse(**given)
    assert str(caught.value).startswith(message)


def test_what_every_driver_reads():
    common, _ = parse(
        mtu="0", ifname_prefix="lan", announcements="0", announcement_interval_ms="100", ttl="60", forward_single_label="f",
        allow_rebinding="T", forward=" corp.example = 10.0.0.53, 10.0.0.54 ; ; lab.test=10.0.0.60",
    )  # fmt: skip
    assert (common.mtu, common.ifname_prefix, common.announcements, common.announcement_interval_ms) == (1450, "lan", 0, 100)
    assert (common.ttl, common.forward_single_label, common.allow_rebinding) == (60, False, True)
    assert common.forward == (("corp.example", ("10.0.0.53", "10.0.0.54")), ("lab.test", ("10.0.0.60",)))
    assert options.parse_forward({"forward": "a=1"}) == options.parse_forward({"berth.forward": "a=1"}) == (("a", ("1",)),)
    assert options.parse_forward({}) == ()


def test_dockers_own_synonyms():
    assert parse(**{"com.docker.network.bridge.mtu": "1400"})[0].mtu == 1400
    assert parse(**{"com.docker.network.bridge.container_iface_prefix": "lan"})[0].ifname_prefix == "lan"


def test_an_option_is_described_with_its_default():
    def described(default, **more):
        return options.Option(name="x", label="x", meaning="what it means", parse=str, default=default, **more).described()

    assert described(True) == "what it means (true)"
    assert described(False) == "what it means (false)"
    assert described(5) == "what it means (5)"
    assert described(GatewayMode.NAT) == "what it means (nat)"
    assert described(None) == described("") == described(()) == "what it means"
    assert described(0, default_text="as the parent") == "what it means (as the parent)"


def test_names_of_links_and_addresses_outside_of_options():
    assert options.check_ifname("ifname", "eth0.7") == "eth0.7"
    assert [str(address) for address in options.parse_addresses("gateway", ("10.0.0.1", "fd00::1"))] == ["10.0.0.1", "fd00::1"]
    with pytest.raises(InvalidRequest, match=r"invalid ifname: '\.\.': a link name has"):
        options.check_ifname("ifname", "..")
    with pytest.raises(InvalidRequest, match="invalid gateway: 'x': must be an IP address"):
        options.parse_addresses("gateway", ("10.0.0.1", "x"))
