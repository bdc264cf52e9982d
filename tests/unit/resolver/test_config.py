"""The daemon's configuration: what each key takes, where it comes from, and that all that is wrong is named."""

import tomllib
from ipaddress import ip_network

import pytest

from resolver.daemon import config_toml
from resolver.daemon.config import HELP, DaemonConfig, load, parse
from resolver.daemon.schema import NetworkBody
from resolver.errors import ConfigError
from resolver.rootless import places


def test_settings_of_the_resolver():
    made = parse(
        {"forward": {"corp.example": ["10.0.0.53", "tls://10.0.0.54#ns.corp.example"]}, "cache_size": 0, "allow_rebinding": True}, "x"
    )
    assert made.forward == (("corp.example", ("10.0.0.53", "tls://10.0.0.54#ns.corp.example")),)
    assert (made.cache_size, made.allow_rebinding, made.serve_stale) == (0, True, 86_400)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"forward": []}, "must be a table"),
        ({"forward": {"corp.example": []}}, "at least one nameserver"),
        ({"forward": {"a..b": ["10.0.0.1"]}}, "no domain name"),
        ({"forward": {"corp.example": ["ns.corp.example"]}}, "not an IP address"),
        ({"cache_size": -1}, "whole number"),
        ({"cache_size": True}, "whole number"),
        ({"cache_min_ttl": 100, "cache_max_ttl": 10}, "more than cache_max_ttl"),
        ({"cache_min_ttl": 86_400, "cache_max_ttl": 86_399}, "more than cache_max_ttl"),
        ({"serve_stale": 10_000_000}, "whole number"),
        ({"dns": ["tls://dns.example"]}, "not an IP address"),
    ],
)
def test_wrong_settings_are_named(value, text):
    with pytest.raises(ConfigError, match=text):
        parse(value, "berth.toml")


WRONG = [
    ({"colour": 1}, "colour: unknown; known are advertise, "),
    ({"state_dir": 1}, "state_dir: must be a string"),
    ({"gateway_resolver": 1}, "gateway_resolver: must be true or false"),
    ({"uplinks": "eth0"}, "uplinks: must be a list of strings"),
    ({"uplinks": [1]}, "uplinks: must be a string"),
    ({"firewall": "iptables"}, "firewall: must be one of nftables, none"),
    ({"default_address_pools": {}}, "must be a list of tables with base and size"),
    ({"default_address_pools": [{"base": "10.0.0.0/8"}]}, "entry 0 must have base and size and nothing else"),
    ({"default_address_pools": [{"base": "10.0.0.0/8", "size": 7}]}, "entry 0: size must be 8 to 32"),
    ({"default_address_pools": [{"base": "x", "size": 7}]}, "does not appear to be"),
    ({"suffix": "a..b"}, "is no domain name"),
    ({"suffix": ""}, "'' is no domain name"),
    ({"suffix": "a b"}, "'a b' is no domain name"),
    ({"suffix": "lab*"}, "'lab*' is no domain name"),
    ({"suffix": "10.in-addr.arpa"}, "names that end in arpa have a meaning of their own"),
    ({"suffix": "x.localhost"}, "names that end in localhost"),
    ({"suffix": "lab.1"}, "names that end in 1 have"),
    ({"state_dir": ""}, "state_dir: must be a path"),
    ({"resolv_conf": ""}, "resolv_conf: must be a path"),
    ({"uplinks": ["eth 0"]}, "a link name has 1 to 15 octets"),
    ({"dns_options": ["ndots:1\nnameserver 10.0.0.1"]}, "must be one line"),
    ({"cache_min_ttl": 90, "cache_max_ttl": 60}, "cache_min_ttl: 90 is more than cache_max_ttl, 60"),
    ({"default_bridge": {"subnets": ["10.0.0.0/99"], "options": {"mtu": "lots"}}}, "subnet: '10.0.0.0/99' is not a subnet"),
    ({"default_bridge": {"subnets": ["10.0.0.0/99"], "options": {"mtu": "lots"}}}, "option mtu: 'lots': must be 0"),
    ({"default_bridge": {"options": {"colour": "red"}}}, "has no such option"),
    ({"default_bridge": {"subnets": ["fd00::/64"]}}, "needs IPv6, which is off"),
    ({"default_bridge": {"gateways": ["10.0.0.1"]}}, "needs a --subnet of its family"),
    ({"default_bridge": {"subnets": ["10.1.0.0/24"], "ip_ranges": ["10.2.0.0/25"]}}, "doesn't contain ip-range"),
    ({"default_bridge": {"ipv4": False}}, "IPv4 or IPv6 must be enabled"),
    ({"default_bridge": {"options": {"forward": "corp.test=ns.corp.test"}}}, "option forward"),
    ({"default_bridge": {"name": "x"}}, "default_bridge: must be a table of subnets"),
    ({"default_bridge": {"subnets": 1}}, "Expected `array`"),
    ({"store": "http://x"}, "is not like etcd://HOST:2379"),
    ({"advertise": "x"}, "does not appear to be"),
]


@pytest.mark.parametrize(("value", "text"), WRONG)
def test_wrong_values_are_named_with_their_key(value, text):
    with pytest.raises(ConfigError) as caught:
        parse(value, "berth.toml")
    assert text in str(caught.value)


def test_everything_that_is_wrong_is_named_at_once():
    with pytest.raises(ConfigError) as caught:
        parse({key: value for wrong, _ in WRONG for key, value in wrong.items()}, "berth.toml")
    assert {key for key, _ in caught.value.problems} == {key for wrong, _ in WRONG for key in wrong} - {"cache_max_ttl"}


@pytest.mark.parametrize(
    ("overrides", "environment"),
    [({"store": "nonsense"}, {}), ({"run_dir": "a\0b"}, {}), ({"log_level": "loud"}, {}), ({}, {"BERTH_STATE_DIR": "a\0b"})],
)
def test_what_comes_before_the_file_is_checked_as_well(overrides, environment, monkeypatch, tmp_path):
    monkeypatch.setattr(places, "ROOT", places.ROOT._replace(config=str(tmp_path / "berth.toml")))
    with pytest.raises(ConfigError) as caught:
        load(None, overrides, environment)
    assert caught.value.source == ("the command line" if overrides else "the environment")


def test_values_of_every_kind():
    made = parse(
        {
            "suffix": ".Corp.Test.", "default_address_pools": [{"base": "10.0.0.0/8", "size": 24}], "uplinks": ["eth0"], "advertise": "192.0.2.1",
            "default_bridge": {"subnets": ["10.88.0.0/16"]}, "store": "etcd://h:2379", "log_level": "debug", "dns_search": ["x.test"],
        },
        "x",
    )  # fmt: skip
    assert (made.suffix, made.uplinks, made.advertise, made.log_level) == ("corp.test", ("eth0",), "192.0.2.1", "debug")
    assert made.default_address_pools == ((ip_network("10.0.0.0/8"), 24),)
    assert made.default_bridge == NetworkBody(name="bridge", subnets=["10.88.0.0/16"])


def test_every_key_has_a_help_text():
    assert set(HELP) == set(DaemonConfig.__dataclass_fields__)


def test_command_line_goes_before_environment_before_file(tmp_path):
    path = tmp_path / "berth.toml"
    path.write_text('run_dir = "/file"\nstate_dir = "/file"\nlog_level = "debug"\n')
    environment = {"BERTH_CONFIG": str(path), "BERTH_RUN_DIR": "/environment"}
    made = load(None, {"log_level": "error", "store": None}, environment)
    assert (made.run_dir, made.state_dir, made.log_level) == ("/environment", "/file", "error")
    assert load(str(path), {"run_dir": "/line"}, {}).run_dir == "/line"


def test_default_file_is_read_if_it_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "ROOT", places.ROOT._replace(config=str(tmp_path / "berth.toml")))
    assert load(None, {}, {}) == DaemonConfig()
    (tmp_path / "berth.toml").write_text('suffix = "x.test"')
    assert load(None, {}, {}).suffix == "x.test"


@pytest.mark.parametrize(("text", "reason"), [(None, "No such file"), ("x =", "Invalid value")])
def test_file_that_cannot_be_read_is_named(tmp_path, text, reason):
    path = tmp_path / "berth.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(str(path), {}, {})
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {
            "dns": ["10.0.0.53"], "suffix": "my.lab", "store": "etcd://10.0.0.1:2379", "cache_size": 0, "gateway_resolver": False,
            "default_address_pools": [{"base": "10.100.0.0/16", "size": 24}],
            "forward": {"corp.example": ["10.0.0.53", "tls://10.0.0.54#ns"]},
            "proxies": {"default": {"httpProxy": "http://10.0.0.1:3128"}},
            "default_bridge": {"subnets": ["10.88.0.0/16"], "options": {"icc": "false"}, "ipv6": False},
        },
        {
            "run_dir": '/run/"odd\\ \x7f\t\u2028ü', "socket_group": "\x7f", "suffix": "x", "dns_options": ["a:\"b"], "dns_search": ["."],
            "proxies": {'a "b".\x7f=': {"noProxy": "a,\x7f"}}, "uplinks": ["e#"], "advertise": "2001:db8::1", "store_ttl": 0,
            "default_bridge": {
                "subnets": ["10.88.0.0/16", "fd88::/64"], "gateways": ["10.88.0.9"], "ip_ranges": ["10.88.1.0/24"], "ipv6": True,
                "auxiliary": {"a.b \x7f": "10.88.0.3"}, "options": {"com.docker.network.driver.mtu": "1400"},
            },
        },
    ],
)  # fmt: skip
def test_printed_configuration_is_a_configuration_file(raw):
    config = parse(raw, "x")
    printed = "\n".join(config_toml.lines(config))
    assert parse(tomllib.loads(printed), "printed") == config
    # What is printed again is the same.
    assert "\n".join(config_toml.lines(parse(tomllib.loads(printed), "printed"))) == printed


@pytest.mark.parametrize("octets", [b"dns = \xff", b"dns = " + b"[" * 5000, b"dns = 2026-99-99"], ids=["no UTF-8", "brackets", "no date"])
def test_octets_that_are_no_toml_are_refused_with_their_file(tmp_path, octets):
    path = tmp_path / "berth.toml"
    path.write_bytes(octets)
    with pytest.raises(ConfigError) as caught:
        load(str(path), {}, {})
    assert str(path) in str(caught.value)


def test_run_directory_of_a_user_is_named_by_the_variable_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    inside = {"BERTH_ROOTLESS": "1000", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": "/r"}
    assert load(None, {}, inside).run_dir == "/r/berth"
    assert load(None, {}, inside | {"BERTH_RUN_DIR": "/a"}).netns_dir == "/a/netns"
    path = tmp_path / "berth.toml"
    path.write_text('run_dir = "/file"\n')
    for given, overrides, source in ((str(path), {}, str(path)), (None, {"run_dir": "/line"}, "the command line")):
        with pytest.raises(ConfigError, match="without root BERTH_RUN_DIR names it") as caught:
            load(given, overrides, inside)
        assert caught.value.source == source
    path.write_text('host_listen = "127.0.0.153:53"\n')
    with pytest.raises(ConfigError, match="host_listen: without root the daemon is in a network namespace of its own"):
        load(str(path), {}, inside)
    assert load(str(path), {}, {}).host_listen
