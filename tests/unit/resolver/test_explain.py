"""The words for each kind of answer. `test_service.py` walks the stages."""

from ipaddress import ip_address

import dns.message
import pytest

from resolver.engine.answer import answer
from resolver.engine.exchange import Done, GiveUp
from resolver.engine.explain import Trace, explain, source
from resolver.engine.query_policy import Refusal
from resolver.engine.request import screen
from resolver.engine.upstream import Upstream, UpstreamSet
from resolver.engine.upstream_health import UpstreamHealth
from resolver.wire.name import from_text
from resolver.zone.zone import Record
from tests.support.zones import view, zone

FRONT = zone("front", (["web", "www"], ["10.1.0.2"]), (["db"], ["10.1.0.3", "fd01::3"]))
FRONT.change((), [Record(from_text("_80._tcp.web"), b"\0\x50" + from_text("web.front"), "e")])
BACK = zone("back", (["web"], ["fd01::9"]))


def explained(where, name, qtype="A", **more):
    query = screen(dns.message.make_query(name, qtype).to_wire())
    trace = Trace(query=query, **more)
    trace.answer = answer(where, query.qname, query.qtype, trace.lookups)
    return explain(trace), source(trace)


@pytest.mark.parametrize("name", ["web", "web.front", "web.front.berth.internal"])
def test_network_that_answers_has_the_name(name):
    lines, where = explained(view(FRONT), name)
    assert lines == ["network front: web. is 10.1.0.2", "answered from network front with TTL 5"]
    assert where == "network front"


def test_network_that_lacks_the_name_is_told_with_what_was_looked_for():
    lines, _ = explained(view(FRONT, BACK), "db.front")
    assert lines == [
        "network front: db. is 10.1.0.3, fd01::3",
        "network back: has no name db.front. among its 2 records",
        "answered from network front with TTL 5",
    ]
    lines, _ = explained(view(FRONT), "x.front")
    assert lines[0] == f"network front: has no name x.front. or x. among its {FRONT.current.size} records"


def test_any_says_each_thing_once():
    assert explained(view(FRONT), "db", "ANY")[0] == ["network front: db. is 10.1.0.3, fd01::3", "answered from network front with TTL 5"]
    assert len(explained(view(BACK), "web", "ANY")[0]) == 2


def test_private_alias():
    lines, _ = explained(view(FRONT, links=(("store", "db"),)), "store")
    assert lines[0] == "network front: store. is a private alias of db., which is 10.1.0.3, fd01::3"


def test_service():
    lines, _ = explained(view(FRONT), "_80._tcp.web", "SRV")
    assert lines == ["network front: _80._tcp.web. is port 80 of web.front.", "answered from network front: port 80 of web.front."]


def test_pointer():
    lines, _ = explained(view(FRONT), "2.0.1.10.in-addr.arpa", "PTR")
    assert lines == ["network front: 2.0.1.10.in-addr.arpa. is web.front.", "answered from network front: web.front."]


@pytest.mark.parametrize(
    ("name", "qtype", "wanted"),
    [
        ("x.front.berth.internal", "A", "NXDOMAIN, the name does not exist"),
        ("abc.onion", "A", "NXDOMAIN, the name does not exist"),
        ("9.0.1.10.in-addr.arpa", "PTR", "NXDOMAIN, the name does not exist"),
        ("web", "TXT", "NODATA, the name has no record of this type"),
        ("localhost", "TXT", "NODATA, the name has no record of this type"),
        ("berth.internal", "SOA", "the SOA of the zone"),
    ],
)
def test_what_is_not_there(name, qtype, wanted):
    assert explained(view(FRONT), name, qtype)[0][-1].endswith(wanted)


def test_upstreams_inside_the_sandbox_are_told_apart():
    inside = UpstreamSet((Upstream("127.0.0.1", sandbox_id="s"), Upstream("192.0.2.1")))
    lines, where = explained(view(FRONT), "x.test", upstreams=inside, is_sent=True)
    assert (lines[-1], where) == ("not ours: forwarded to 127.0.0.1 (from the sandbox), 192.0.2.1", "upstream")


def test_names_that_are_not_forwarded():
    lines, where = explained(view(FRONT), "x.test", upstreams=UpstreamSet((), "closed"))
    assert (lines[-1], where) == ("not ours, and not forwarded: closed", "policy")


def test_values_are_readable():
    assert str(ip_address("fd01::3")) in explained(view(FRONT), "db", "AAAA")[0][0]


def test_refusals_come_before_everything():
    assert (explain(Trace()), source(Trace())) == (["the query was refused before anything was looked at"], "policy")
    refused = Trace(query=screen(dns.message.make_query("web", "A").to_wire()), refusal=Refusal(5, "not for you"))
    assert (explain(refused), source(refused)) == (["refused by the sandbox's policy: not for you"], "policy")


OUTSIDE = UpstreamSet((Upstream("192.0.2.53"),))
DONE = Done(UpstreamHealth(Upstream("192.0.2.53")), b"")


@pytest.mark.parametrize(
    ("stages", "wanted"),
    [
        ({"is_cached": True}, ["not ours: answered from the cache (upstreams: 192.0.2.53)"]),
        ({"is_sent": True, "result": DONE}, ["not ours: forwarded to 192.0.2.53", "192.0.2.53 answered"]),
        ({"is_sent": True, "is_coalesced": True}, ["not ours: an equal query had been forwarded to 192.0.2.53"]),
        ({"failure": "silent"}, ["not ours, and not forwarded to 192.0.2.53", "no answer: silent"]),
        (
            {"is_sent": True, "result": GiveUp("just now", asked=False), "failure": "just now"},
            ["not ours, and not forwarded to 192.0.2.53", "no answer: just now"],
        ),
        (
            {"is_sent": True, "result": GiveUp("silent"), "failure": "silent", "is_stale": True},
            [
                "not ours: forwarded to 192.0.2.53",
                "no answer: silent",
                "answered with what the cache still had, although it has expired",
            ],
        ),
        (
            {"is_sent": True, "result": DONE, "blocked": "the answer points into a network of this host (rebinding)", "has_waited": True},
            [
                "not ours: forwarded to 192.0.2.53",
                "192.0.2.53 answered",
                "the answer points into a network of this host, and was replaced by REFUSED",
                "the response waited until the firewall had been opened for it",
            ],
        ),
    ],
)
def test_each_way_of_forwarding(stages, wanted):
    assert explained(view(FRONT), "x.test", upstreams=OUTSIDE, **stages)[0][1:] == wanted
