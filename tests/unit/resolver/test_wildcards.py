"""Wildcards among the names of networks: RFC 4592, and the order beside names that exist."""

from ipaddress import ip_address

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.errors import InvalidRequest
from netcore.parse.names import check_network_alias, check_single_name
from resolver.engine.answer import Addresses, Forward, Records, answer
from resolver.wire.message import Rcode, Type
from resolver.wire.name import from_text
from resolver.zone.build import records
from resolver.zone.known_zones import KnownZones
from resolver.zone.static_names import by_name
from resolver.zone.zone import Record, Zone
from tests.support.zones import view, zone
from tests.unit.resolver.test_service import World
from tests.unit.resolver.test_static_names import on_front, record, reply, texts

PROXY = (["proxy", "*.app"], ["10.1.0.2"])
FRONT = zone("front", PROXY, (["x.y.app"], ["10.1.0.3"]), (["exact.app"], ["10.1.0.4"]))


def found(name, qtype=Type.A, where=None):
    result = answer(where or view(FRONT), from_text(name), qtype)
    return [str(ip_address(value)) for value in result.values] if isinstance(result, Addresses) else result


@pytest.mark.parametrize("name", ["a.app", "A.APP", "a.b.app", "a.app.front", "a.app.front.berth.internal", "*.app", "_80._tcp.a.app"])
def test_wildcard_answers_for_names_that_do_not_exist(name):
    assert found(name.lower()) == ["10.1.0.2"]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("exact.app", ["10.1.0.4"]),
        ("x.y.app", ["10.1.0.3"]),
        ("y.app", Forward()),
        ("z.y.app", Forward()),
        ("a.exact.app", Forward()),
        ("app", Forward()),
        ("b.xapp", Forward()),
    ],
)
def test_names_that_exist_and_what_is_below_them_are_not_its_own(name, what):
    assert found(name) == what


def test_types_that_the_wildcard_lacks_are_nodata():
    for qtype in (Type.AAAA, Type.TXT, Type.SRV):
        assert found("a.app", qtype).rcode is Rcode.NOERROR
    assert found("a.app", Type.ANY) == ["10.1.0.2"]


def test_name_that_has_another_type_only_hides_the_wildcard():
    published = zone("front", PROXY)
    published.change_static(by_name([record("text.app", "TXT", "x"), record("*.txt", "TXT", "y")], 5))
    assert found("text.app", where=view(published)).rcode is Rcode.NOERROR
    assert found("any.txt", Type.TXT, view(published)) == Records(Type.TXT, (b"\x01y",), 5, "network front")
    assert found("any.txt", Type.A, view(published)).rcode is Rcode.NOERROR


def test_names_that_exist_on_another_network_come_before_wildcards():
    back = zone("back", (["a.app"], ["10.2.0.2"]), (["other", "*.app"], ["10.2.0.3"]))
    both = view(FRONT, back)
    assert found("a.app", where=both) == ["10.2.0.2"]
    assert found("b.app", where=both) == ["10.1.0.2"]
    assert found("b.app.back", where=both) == ["10.2.0.3"]
    # On front the name exists without records of its own.
    assert found("y.app", where=both) == ["10.2.0.3"]


def test_sandboxes_share_a_wildcard():
    published = zone("front", PROXY, (["second", "*.app"], ["10.1.0.9"]))
    assert found("a.app", where=view(published)) == ["10.1.0.2", "10.1.0.9"]


def test_name_below_a_wildcard_of_a_network_one_is_not_on_does_not_exist():
    away = view(zone("back"), known=KnownZones([FRONT]))
    assert answer(away, from_text("a.app.front"), Type.A).rcode is Rcode.NXDOMAIN
    assert isinstance(answer(away, from_text("z.y.app.front"), Type.A), Forward)


def test_wildcard_is_no_target_and_has_no_services():
    made = records(
        endpoint="e",
        network="front",
        endpoint_names=["*.app", "proxy"],
        addresses=[ip_address("10.1.0.2")],
        ports=[(80, "tcp")],
        services=[],
    )
    assert {one.name for one in made if one.value.endswith(from_text("proxy.front"))} == {
        from_text("2.0.1.10.in-addr.arpa"), from_text("_80._tcp.proxy"),
    }  # fmt: skip


@pytest.mark.parametrize(("name", "reason"), [("*", "such as"), ("*.", "such as"), ("*..app", "1 to 63")])
def test_wildcard_needs_a_domain(name, reason):
    with pytest.raises(InvalidRequest, match=reason):
        check_network_alias(name)
    assert check_network_alias("*.app") == "*.app"
    with pytest.raises(InvalidRequest, match="only a network alias"):
        check_single_name("service", "*.app")


def test_remembered_replies_follow_wildcards_and_the_names_before_them():
    world = World()
    ask = lambda name: texts(reply(world, name, "A").answer)  # noqa: E731
    wildcard = Record(from_text("*.app"), ip_address("10.1.0.7").packed, "e")
    world.zone.change((), [wildcard])
    assert [ask("a.app."), ask("a.app.")] == [["a.app. 5 A 10.1.0.7"]] * 2
    exact = Record(from_text("a.app"), ip_address("10.1.0.8").packed, "f")
    world.zone.change((), [exact])
    assert ask("a.app.") == ["a.app. 5 A 10.1.0.8"]
    world.zone.change([exact], ())
    assert [ask("a.app."), ask("b.app.")] == [["a.app. 5 A 10.1.0.7"], ["b.app. 5 A 10.1.0.7"]]
    # A name further up comes between.
    between = Record(from_text("b.app"), ip_address("10.1.0.9").packed, "g")
    assert ask("c.b.app.") == ["c.b.app. 5 A 10.1.0.7"]
    world.zone.change((), [between])
    assert reply(world, "c.b.app.", "A") is None
    world.zone.change([wildcard], ())
    assert reply(world, "a.app.", "A") is None


def test_answer_of_a_wildcard_has_the_name_that_was_asked_for():
    world = on_front(("*.dev", "CNAME", "web"))
    sent = reply(world, "X.Dev.", "A")
    assert texts(sent.answer) == ["X.Dev. 5 CNAME web.front.berth.internal.", "web.front.berth.internal. 5 A 10.1.0.2"]
    assert isinstance(sent, dns.message.Message)


NAMES = st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=4).map(".".join).filter(lambda text: text != "*")


def _by_the_book(names, qname):
    """RFC 4592 section 3.3: the name itself, or the wildcard below its closest encloser."""
    exist = {tuple(labels[at:]) for name in names for labels in [name.split(".")] for at in range(len(labels) + 1)} | {()}
    labels = tuple(qname.split("."))
    if labels in exist:
        return qname if qname in names else None
    closest = next(labels[at:] for at in range(1, len(labels) + 1) if labels[at:] in exist)
    source = ".".join(("*", *closest))
    return source if source in names else None


@given(st.sets(NAMES, max_size=6), st.sets(NAMES, max_size=6), NAMES)
def test_closest_encloser_is_that_of_the_rfc(first, then, qname):
    as_records = lambda names: [Record(from_text(name), name.encode(), "e") for name in names]  # noqa: E731
    made = Zone("n", from_text("front"), 5).with_changes((), as_records(first)).with_changes(as_records(first - then), as_records(then))
    records = made.look(from_text(qname))
    below = made.find_wildcard(from_text(qname)) if records is None else None
    got = records.values[0].decode() if records is not None else below[1].values[0].decode() if below is not None else None
    assert got == _by_the_book(then, qname)
