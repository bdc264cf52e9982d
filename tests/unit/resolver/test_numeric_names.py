from types import SimpleNamespace

from resolver.daemon.numeric_names import warnings


def endpoint(*, aliases=(), services=(), links=()):
    return SimpleNamespace(aliases=aliases, services=services, links=links)


def sandbox(name="web", hostname="web", short_id="0123456789ab"):
    return SimpleNamespace(name=name, hostname=hostname, short_id=short_id)


def test_each_name_that_was_given_is_warned_of_once():
    made = warnings(
        sandbox(name="123", hostname="123"),
        [endpoint(aliases=("1.2", "www"), services=("7",)), endpoint(aliases=("1.2",), links=(("db", "0x7f"),))],
    )
    assert [line.split()[2] for line in made] == ["123", "1.2", "7", "0x7f"]
    assert made[0] == "the name 123 has no DNS record: C libraries take it for an IPv4 address and never look it up"


def test_names_that_nobody_chose_are_not_warned_of():
    assert warnings(sandbox(hostname="000012345670", short_id="000012345670"), [endpoint()]) == ()
