"""The daemon's configuration: what each key takes, where it comes from, and that all that is wrong is named."""

import tomllib
from ipaddress import ip_network

import pytest

from resolver.daemon import config as daemon_config
from resolver.daemon import config_toml
from resolver.daemon.config import HELP, DaemonConfig, load, parse
from resolver.daemon.schema import NetworkBody
from resolver.errors import ConfigError


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
    assert {key for key, _ in caught.value.problems} == {key for wrong, _ in WRONG for key in wrong}


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
    monkeypatch.setattr(daemon_config, "DEFAULT_PATH", str(tmp_path / "berth.toml"))
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
    ],
)  # fmt: skip
def test_printed_configuration_is_a_configuration_file(raw):
    config = parse(raw, "x")
    assert parse(tomllib.loads("\n".join(config_toml.lines(config))), "printed") == config
