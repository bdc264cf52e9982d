"""Services: several sandboxes behind one name, and SRV records of what they serve (RFC 2782)."""

from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rcode
import pytest

from resolver.engine.answer import Forward, Negative, Services, answer, render
from resolver.engine.explain import Trace, explain
from resolver.engine.request import screen
from resolver.engine.view import AttachedZone, View
from resolver.wire.message import Rcode, Type
from resolver.wire.name import from_text, to_text
from resolver.zone.build import records
from resolver.zone.published import PublishedZone
from resolver.zone.zone import Zone


def made(count=2, ports=((80, "tcp"), (53, "udp"))):
    zone = Zone("front", from_text("front"), 5)
    for number in range(count):
        zone = zone.with_changes(
            (),
            records(
                endpoint=str(number), network="front", endpoint_names=(f"web{number}", "shop", "tasks.shop"),
                addresses=[ip_address(f"10.1.0.{2 + number}"), ip_address(f"fd01::{2 + number}")], ports=ports,
                services=[("http", "tcp", 80), ("admin", "tcp", 81), ("admin", "tcp", 82)],
            ),
        )  # fmt: skip
    return View(attached=(AttachedZone(PublishedZone(zone)),))


def ask(view, text, qtype=Type.SRV):
    return answer(view, from_text(text), qtype)


@pytest.mark.parametrize("name", ["shop", "tasks.shop"])
def test_service_has_the_addresses_of_all(name):
    assert [str(ip_address(item)) for item in ask(made(), name, Type.A).values] == ["10.1.0.2", "10.1.0.3"]


@pytest.mark.parametrize(
    "name", ["_http._tcp.shop", "_80._tcp.shop", "_80._tcp.tasks.shop", "_80._TCP.shop.front", "_80._tcp.shop.front.berth.internal"]
)
def test_srv_tells_ports_targets_and_their_addresses(name):
    found = ask(made(), name.lower())
    assert isinstance(found, Services)
    assert [(port, to_text(target)) for port, target in found.values] == [(80, "web0.front."), (80, "web1.front.")]
    query = dns.message.make_query(name, "SRV", use_edns=0, payload=1232)
    told = set()
    for rotation in range(2):
        reply = dns.message.from_wire(render(screen(query.to_wire()), found, rotation, tcp=False))
        assert reply.flags & dns.flags.AA
        first = reply.answer[0][0]
        told.add(first.target.to_text())
        assert (first.priority, first.weight, first.port) == (0, 1, 80)
        beside = {(item.name.to_text(), item.rdtype, record.to_text()) for item in reply.additional for record in item}
        assert beside == {
            (f"web{n}.front.", kind, address) for n in (0, 1) for kind, address in ((1, f"10.1.0.{2 + n}"), (28, f"fd01::{2 + n}"))
        }
    assert told == {"web0.front.", "web1.front."}


def test_one_sandbox_has_srv_below_its_own_name():
    assert [(port, to_text(target)) for port, target in ask(made(), "_53._udp.web1").values] == [(53, "web1.front.")]


def test_what_is_not_served_or_not_asked_as_srv():
    assert isinstance(ask(made(), "_81._tcp.shop"), Forward)
    assert isinstance(ask(made(), "_80._udp.shop"), Forward)
    for qtype in (Type.A, Type.TXT, Type.AAAA):
        found = ask(made(), "_80._tcp.shop", qtype)
        assert isinstance(found, Negative)
        assert found.rcode is Rcode.NOERROR
    assert isinstance(ask(made(), "_80._tcp.shop", Type.ANY), Services)
    # An underscore alone makes no service.
    assert isinstance(ask(made(), "_x.shop", Type.A), Forward)


def test_room_is_for_the_answer_first():
    found = ask(made(12), "_80._tcp.shop")
    query = screen(dns.message.make_query("_80._tcp.shop", "SRV", use_edns=0, payload=600).to_wire())
    reply = dns.message.from_wire(render(query, found, 0, tcp=False))
    assert (len(reply.answer[0]), reply.additional, bool(reply.flags & dns.flags.TC)) == (12, [], False)
    query = screen(dns.message.make_query("_80._tcp.shop", "SRV").to_wire())
    reply = dns.message.from_wire(render(query, ask(made(30), "_80._tcp.shop"), 0, tcp=False))
    assert reply.flags & dns.flags.TC
    assert 0 < len(reply.answer[0]) < 30


def test_what_goes_takes_its_records_along():
    zone = made().attached[0].published
    gone = records(
        endpoint="0", network="front", endpoint_names=("web0", "shop", "tasks.shop"), addresses=[ip_address("10.1.0.2"), ip_address("fd01::2")],
        ports=((80, "tcp"), (53, "udp")),
    )  # fmt: skip
    zone.change(gone, ())
    view = View(attached=(AttachedZone(zone),))
    assert [to_text(target) for _, target in ask(view, "_80._tcp.shop").values] == ["web1.front."]
    assert isinstance(ask(view, "_80._tcp.web0"), Forward)


def test_explained():
    trace = Trace(query=screen(dns.message.make_query("_80._tcp.shop", "SRV").to_wire()))
    trace.answer = answer(made(), from_text("_80._tcp.shop"), int(Type.SRV), trace.lookups)
    lines = explain(trace)
    assert "_80._tcp.shop. is port 80 of web0.front., port 80 of web1.front." in lines[0]
    assert lines[-1] == "answered from network front: port 80 of web0.front., port 80 of web1.front."


def test_a_name_of_several_ports_has_a_record_for_each():
    found = ask(made(count=1), "_admin._tcp.web0")
    assert isinstance(found, Services)
    assert [(port, to_text(target)) for port, target in found.values] == [(81, "web0.front."), (82, "web0.front.")]
