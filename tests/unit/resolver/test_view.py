"""What a view finds, where it looks, and where it forwards."""

from ipaddress import ip_address

from resolver.engine.upstream import Upstream, UpstreamSet
from resolver.engine.view import View, ZoneLookup
from resolver.wire.name import from_text, reverse
from resolver.zone.zone import Record
from tests.support.zones import view, zone

FRONT = zone("front", (["web"], ["10.1.0.2"]), (["db"], ["10.1.0.3", "fd01::3"]))
BACK = zone("back", (["web"], ["fd01::9"]), ttl=3, forward_single_label=False)
COMMON, CORPORATE, LAB = (UpstreamSet((Upstream(address),)) for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"))
DOMAINS = {from_text("corp.test"): CORPORATE, from_text("lab.corp.test"): LAB}


def texts(lookups):
    return [
        (lookup.zone.source, lookup.name, None if lookup.values is None else [str(ip_address(value)) for value in lookup.values])
        for lookup in lookups
    ]


def found(where, text, size=4):
    lookups = []
    match = where.find(from_text(text), size, {4: 1, 16: 28}[size], lookups)
    return match, texts(lookups)


def test_upstreams_of_the_longest_domain_are_chosen():
    made = View(upstreams=COMMON, upstreams_by_domain=DOMAINS)
    chosen = [made.upstreams_for(from_text(text)) for text in ("x.corp.test", "corp.test", "a.lab.corp.test", "notcorp.test", "test", "")]
    assert chosen == [CORPORATE, CORPORATE, LAB, COMMON, COMMON, COMMON]
    assert set(made.upstream_sets()) == {COMMON, CORPORATE, LAB}


def test_a_view_is_as_strict_as_its_strictest_network():
    assert (view(FRONT).ttl, view(FRONT, BACK).ttl, View().ttl) == (5, 3, 5)
    assert view(FRONT).forwards_single_labels
    assert not view(FRONT, BACK).forwards_single_labels


def test_look_ups_are_noted_in_order():
    both = view(FRONT, BACK)
    match, looked = found(both, "web", 16)
    assert looked == [("network front", from_text("web"), ["10.1.0.2"]), ("network back", from_text("web"), ["fd01::9"])]
    assert match.source == "network back"
    match, looked = found(both, "web.front")
    assert looked[-1] == ("network front", from_text("web"), ["10.1.0.2"])
    assert [values for _, _, values in looked[:-1]] == [None, None]
    assert found(both, "web.front.berth.internal")[1] == looked[-1:]
    assert found(both, "nobody.test")[0] is None


def test_private_alias_is_noted():
    lookups = []
    view(FRONT, links=(("store", "db"),)).find(from_text("store"), 4, 1, lookups)
    assert lookups == [ZoneLookup(FRONT.current, from_text("db"), FRONT.current.find(from_text("db")), from_text("store"))]


def test_shortest_network_name_is_tried_first():
    short, long = zone("b", (["x.a"], ["10.1.0.5"])), zone("a.b", (["x"], ["10.1.0.6"]))
    match, _ = found(view(long, short), "x.a.b")
    assert str(ip_address(match.values[0])) == "10.1.0.5"
    assert found(view(long, short), "y.a.b")[0] is None


def test_service_and_pointer_look_ups_are_noted():
    published = zone("front", (["web"], ["10.1.0.2"]))
    name, value = from_text("_80._tcp.web"), b"\0\x50" + from_text("web.front")
    published.change((), [Record(name, value, "e")])
    lookups = []
    made = view(published)
    assert made.find_service(from_text("_80._tcp.web.front.berth.internal"), lookups).values == (value,)
    assert [(lookup.name, lookup.values) for lookup in lookups] == [(from_text("_80._tcp.web.front"), None), (name, (value,))]
    assert made.find_service(from_text("_81._tcp.web")) is None
    lookups = []
    assert made.find_pointer(reverse(ip_address("10.1.0.2")), lookups).values == (from_text("web.front"),)
    assert made.find_pointer(reverse(ip_address("10.1.0.9")), lookups) is None
    assert [lookup.values for lookup in lookups] == [(from_text("web.front"),), None]
