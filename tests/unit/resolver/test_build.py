from ipaddress import ip_address

from resolver.wire.name import from_text, reverse, to_text
from resolver.zone.build import records
from resolver.zone.zone import Record

ADDRESS = ip_address("10.1.0.2")


def test_names_addresses_and_pointer():
    made = records(endpoint="e", network="front", endpoint_names=["Web", "www", "WEB"], addresses=[ADDRESS])
    assert made == (
        Record(from_text("web"), ADDRESS.packed, "e"),
        Record(from_text("www"), ADDRESS.packed, "e"),
        Record(reverse(ADDRESS), from_text("web.front"), "e"),
    )


def test_ports_are_services_below_each_name():
    made = records(endpoint="e", network="front", endpoint_names=["web", "shop"], addresses=[], ports=[(80, "tcp")])
    value = b"\0\x50" + from_text("web.front")
    assert made == (Record(from_text("_80._tcp.web"), value, "e"), Record(from_text("_80._tcp.shop"), value, "e"))


def test_without_names_there_is_nothing():
    assert records(endpoint="e", network="front", endpoint_names=[], addresses=[ADDRESS]) == ()


def test_names_that_nobody_looks_up_have_no_records():
    made = records(endpoint="e", network="front", endpoint_names=["123", "web", "1.2"], addresses=[ADDRESS], ports=[(80, "tcp")])
    assert {to_text(record.name) for record in made} == {"web.", to_text(reverse(ADDRESS)), "_80._tcp.web."}
    assert records(endpoint="e", network="front", endpoint_names=["123"], addresses=[ADDRESS]) == ()
