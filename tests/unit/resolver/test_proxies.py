import pytest

from resolver.daemon.config import parse
from resolver.daemon.proxies import environment
from resolver.errors import ConfigError

SETTINGS = {
    "default": {"httpProxy": "http://10.0.0.1:3128", "noProxy": "localhost"},
    "front": {"httpsProxy": "http://10.0.0.2:3128", "httpProxy": ""},
}


def test_every_variable_is_set_in_both_spellings():
    made = environment({"default": dict.fromkeys(("httpProxy", "httpsProxy", "ftpProxy", "noProxy", "allProxy"), "x")}, [])
    names = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    assert set(made) == {*names, *map(str.lower, names)}


def test_settings_are_taken_as_they_are():
    assert parse({"proxies": SETTINGS}, "berth.toml").proxies == SETTINGS


def test_a_networks_settings_take_the_place_of_the_default():
    assert environment(SETTINGS, ["back"])["HTTP_PROXY"] == "http://10.0.0.1:3128"
    assert environment(SETTINGS, ["back", "front"]) == {"HTTPS_PROXY": "http://10.0.0.2:3128", "https_proxy": "http://10.0.0.2:3128"}
    assert environment({}, ["front"]) == {}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "must be a table"),
        ({"default": "x"}, "must be a table"),
        ({"default": {"http": "x"}}, "http is not one of"),
        ({"n": {"noProxy": 1}}, "must be a string"),
    ],
)
def test_bad_settings_are_named(value, text):
    with pytest.raises(ConfigError, match=text):
        parse({"proxies": value}, "berth.toml")
