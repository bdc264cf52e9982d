"""What a view answers to a query, or that it is forwarded."""

from ipaddress import ip_address

import dns.message
import pytest

from resolver.engine.answer import Addresses, Forward, Negative, Pointer, Services, answer, render
from resolver.engine.request import screen
from resolver.wire.message import Rcode, Type
from resolver.wire.name import from_text, reverse
from resolver.zone.zone import Record
from tests.support.zones import view, zone

FRONT = zone("front", (["Web", "www"], ["10.1.0.2"]), (["db"], ["10.1.0.3", "fd01::3"]), (["www"], ["10.1.0.4"]))
BACK = zone("back", (["web"], ["fd01::9"]), (["only"], ["10.1.0.9"]))
BOTH = view(FRONT, BACK)


def addresses(found):
    assert isinstance(found, Addresses), found
    return [str(ip_address(value)) for value in found.values]


def ask(where, text, qtype=Type.A):
    return answer(where, from_text(text), qtype)


@pytest.mark.parametrize("text", ["web", "WEB", "web.front", "Web.FRONT", "web.front.berth.internal", "web."])
def test_every_form_of_a_name(text):
    assert addresses(ask(BOTH, text)) == ["10.1.0.2"]


def test_shared_alias_gives_every_address():
    assert addresses(ask(BOTH, "www")) == ["10.1.0.2", "10.1.0.4"]


def test_each_family_is_looked_for_alone():
    assert addresses(ask(BOTH, "web")) == ["10.1.0.2"]
    assert addresses(ask(BOTH, "web", Type.AAAA)) == ["fd01::9"]


def test_first_network_in_order_wins():
    assert addresses(ask(view(BACK, FRONT), "web")) == ["10.1.0.2"]
    other = zone("other", (["db"], ["10.1.9.9"]))
    assert addresses(ask(view(other, FRONT), "db")) == ["10.1.9.9"]
    assert addresses(ask(view(FRONT, other), "db")) == ["10.1.0.3"]


def test_known_name_of_any_type_is_nodata_and_never_forwarded():
    for qtype in (Type.AAAA, 15, 16, 65, 33, 5):
        found = ask(view(FRONT), "web", qtype)
        assert isinstance(found, Negative)
        assert found.rcode is Rcode.NOERROR


def test_any_gives_one_rrset():
    assert addresses(ask(BOTH, "db", Type.ANY)) == ["10.1.0.3"]
    assert addresses(ask(view(BACK), "web", Type.ANY)) == ["fd01::9"]


def test_names_of_networks_not_attached_are_forwarded():
    assert isinstance(ask(view(FRONT), "only"), Forward)
    assert isinstance(ask(view(FRONT), "only.back"), Forward)
    assert isinstance(ask(BOTH, "nobody.example.com"), Forward)


def test_private_alias_is_seen_by_its_sandbox_only():
    linked = view(FRONT, links=(("store", "db"),))
    assert addresses(ask(linked, "STORE")) == ["10.1.0.3"]
    assert isinstance(ask(view(FRONT), "store"), Forward)


def test_our_own_domain_is_never_forwarded():
    assert ask(BOTH, "nobody.front.berth.internal").rcode is Rcode.NXDOMAIN
    assert ask(BOTH, "front.berth.internal").rcode is Rcode.NOERROR
    assert ask(BOTH, "berth.internal", Type.SOA).rcode is Rcode.NOERROR


def test_special_names():
    assert addresses(ask(BOTH, "localhost")) == ["127.0.0.1"]
    assert addresses(ask(BOTH, "a.b.LOCALHOST", Type.AAAA)) == ["::1"]
    assert isinstance(ask(BOTH, "notlocalhost"), Forward)
    assert ask(BOTH, "x.invalid").rcode is Rcode.NXDOMAIN
    assert ask(BOTH, "abc.onion").rcode is Rcode.NXDOMAIN
    assert isinstance(ask(BOTH, "printer.local"), Forward)


def test_single_labels_are_forwarded_unless_switched_off():
    assert isinstance(ask(BOTH, "intranet"), Forward)
    closed = view(zone("n", forward_single_label=False))
    assert ask(closed, "intranet").rcode is Rcode.NXDOMAIN
    assert isinstance(ask(closed, "intranet.example"), Forward)


def pointer(where, text):
    return answer(where, reverse(ip_address(text)), Type.PTR)


def test_reverse_mapping():
    assert pointer(BOTH, "10.1.0.2") == Pointer(from_text("web.front"), 5, "network front")
    assert pointer(BOTH, "fd01::3").target == from_text("db.front")
    assert pointer(BOTH, "10.1.77.77").rcode is Rcode.NXDOMAIN
    assert isinstance(pointer(BOTH, "10.2.0.1"), Forward)
    assert pointer(BOTH, "127.0.0.1").target == from_text("localhost")
    assert ask(BOTH, "1.10.in-addr.arpa", Type.SOA).rcode is Rcode.NOERROR
    assert isinstance(ask(BOTH, "10.in-addr.arpa", Type.SOA), Forward)


def test_other_types_of_reverse_names():
    web, lo = reverse(ip_address("10.1.0.2")), reverse(ip_address("127.0.0.1"))
    for name, source in ((web, "network front"), (lo, "special-use address of loopback")):
        found = answer(BOTH, name, Type.TXT)
        assert (found.rcode, found.source) == (Rcode.NOERROR, source)
    # What is below .arpa and stands for no network is not ours.
    assert isinstance(ask(BOTH, "x.in-addr.arpa"), Forward)


def test_other_types_of_localhost():
    assert ask(BOTH, "localhost", Type.TXT).rcode is Rcode.NOERROR


def test_services_have_the_addresses_of_their_targets():
    published = zone("front", (["web"], ["10.1.0.2", "fd01::2"]))
    target = from_text("web.front")
    published.change((), [Record(from_text("_80._tcp.web"), (80).to_bytes(2, "big") + target, "e")])
    found = ask(view(published), "_80._tcp.web.front", Type.SRV)
    assert isinstance(found, Services)
    assert [str(ip_address(packed)) for packed in found.addresses[target]] == ["10.1.0.2", "fd01::2"]
    assert ask(view(published), "_80._tcp.web", Type.A).rcode is Rcode.NOERROR
    assert isinstance(ask(view(published), "_81._tcp.web", Type.SRV), Forward)


def rendered(text, qtype):
    query = dns.message.make_query(text, qtype)
    return dns.message.from_wire(render(screen(query.to_wire()), ask(BOTH, text, query.question[0].rdtype), 0, tcp=False))


def test_each_kind_of_answer_is_rendered():
    assert rendered("web", "A").answer[0][0].address == "10.1.0.2"
    assert rendered("2.0.1.10.in-addr.arpa", "PTR").answer[0][0].target.to_text() == "web.front."
    assert rendered("web", "TXT").authority[0].rdtype.name == "SOA"
    assert rendered("berth.internal", "SOA").answer[0].rdtype.name == "SOA"
    published = zone("front", (["web"], ["10.1.0.2"]))
    published.change((), [Record(from_text("_80._tcp.web"), (80).to_bytes(2, "big") + from_text("web.front"), "e")])
    query = dns.message.make_query("_80._tcp.web", "SRV")
    found = ask(view(published), "_80._tcp.web", Type.SRV)
    assert dns.message.from_wire(render(screen(query.to_wire()), found, 1, tcp=False)).answer[0][0].port == 80
