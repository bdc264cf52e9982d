import pytest

from resolver.daemon.config import parse
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
