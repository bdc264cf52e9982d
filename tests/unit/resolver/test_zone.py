from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from resolver.wire.name import from_text
from resolver.zone.zone import Record, Zone


def test_name_survives_until_its_last_owner_withdraws_it():
    name, value = from_text("x"), ip_address("10.1.0.7").packed
    start = Zone("n", from_text("n"), 5)
    both = start.with_changes((), [Record(name, value, "one"), Record(name, value, "two")])
    assert both.find(name) == (value,)
    one = both.with_changes([Record(name, value, "one")], ())
    assert one.find(name) == (value,)
    assert one.with_changes([Record(name, value, "other")], ()).find(name) == (value,)
    none = one.with_changes([Record(name, value, "two")], ())
    assert none.find(name) is None
    assert (start.size, both.size, none.size) == (0, 2, 0)
    # The old zone is as it was: readers that hold it see no mix.
    assert both.find(name) == (value,)


CHANGES = st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef"), st.integers(1, 3), st.sampled_from("xy")), max_size=40)


@given(CHANGES)
def test_zone_is_the_multiset_of_its_entries(changes):
    made, model = Zone("n", from_text("n"), 5), set()
    for add, label, number, owner in changes:
        entry = Record(from_text(label), bytes([10, 0, 0, number]), owner)
        made = made.with_changes((), [entry]) if add else made.with_changes([entry], ())
        (model.add if add else model.discard)(entry)
    for label in "abcdef":
        wanted = {entry.value for entry in model if entry.name == from_text(label)}
        assert set(made.find(from_text(label)) or ()) == wanted
    assert made.size == len(model)


def test_values_are_known_by_family():
    values = [ip_address(text).packed for text in ("10.1.0.7", "fd01::7")]
    zone = Zone("n", from_text("front"), 5).with_changes((), [Record(from_text("x"), value, "e") for value in values])
    records = zone.look(from_text("x"))
    assert [records.of_size(size) for size in (4, 16, 0)] == [(values[0],), (values[1],), ()]
    assert zone.look(from_text("y")) is None
    assert zone.source == "network front"
