"""What an error of the resolver half says and how it is reported."""

import pytest

from resolver.errors import BadName, Busy, ConfigError, DecodeError, Forbidden, ResolverError, Stopping, Unauthenticated

ERRORS = [
    (DecodeError(12, "cut off"), "malformed message at octet 12: cut off", None),
    (Unauthenticated("no token"), "no token", None),
    (Forbidden("/v1/networks", "for reading"), "/v1/networks: for reading", "/v1/networks"),
    (Busy("ask later"), "ask later", None),
    (Stopping(), "the daemon stops, and nothing was changed; ask the next one", None),
    (BadName("a..b", "empty part"), "'a..b' is no domain name: empty part", "a..b"),
    (ConfigError("x.toml", (("dns", "wrong"),)), "x.toml has 1 problem:\n  dns: wrong", "x.toml"),
    (ConfigError("x.toml", (("dns", "wrong"), ("file", "odd"))), "x.toml has 2 problems:\n  dns: wrong\n  file: odd", "x.toml"),
]


@pytest.mark.parametrize(("error", "text", "subject"), ERRORS)
def test_text_and_report(error, text, subject):
    assert str(error) == text
    reported = {Unauthenticated: ("unauthenticated", 401), Forbidden: ("forbidden", 403), Busy: ("busy", 429), Stopping: ("stopping", 503)}
    assert (error.kind, error.status, error.subject) == (*reported.get(type(error), ("invalid", 400)), subject)


def test_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        ResolverError("text", None)
    with pytest.raises(TypeError, match="Incomplete must set kind and status"):
        type("Incomplete", (ResolverError,), {})


def test_every_class_is_covered():
    assert {type(row[0]) for row in ERRORS} == {cls for cls in ResolverError.__subclasses__() if hasattr(cls, "kind")}
