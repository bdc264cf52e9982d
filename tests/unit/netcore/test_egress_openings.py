"""Which addresses answers open, for how long, and what makes room for them; the bound on new names."""

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore import limits
from netcore.egress import read
from netcore.egress.layer import Layer
from netcore.egress.new_names import NewNames
from netcore.egress.openings import Change, NoRoom, Openings
from netcore.egress.policy import Policy
from netcore.egress.ports import Ports
from netcore.egress.surroundings import Surroundings

HOLD = 300.0


def policy(*rules):
    return Policy("job", [Layer(read.rules(rules), "sandbox job")], Surroundings())


def made(*rules, bound=limits.EGRESS_ADDRESSES):
    return Openings(policy(*rules), HOLD, bound)


def addresses(*texts):
    return [ip_address(text) for text in texts]


def answer(openings, name, *texts, ttl=1.0, now=0.0, live=None):
    """Carry an answer out; return what was opened and closed."""
    opened = openings.answered(name, addresses(*texts), ttl, now)
    closed = openings.room_for(opened, now, live)
    openings.apply(Change(opened, closed), now)
    return opened, closed


def test_an_answer_opens_for_its_ttl_and_at_least_for_the_hold():
    openings = made("*.example")
    (opening,), _ = answer(openings, "a.example", "192.0.2.1", ttl=1)
    assert (str(opening.address), opening.ports) == ("192.0.2.1", Ports.of("tcp", 80, 443))
    assert opening.until == HOLD + HOLD / 2
    (opening,), _ = answer(openings, "b.example", "192.0.2.2", ttl=3600)
    assert opening.until == 3600 + HOLD / 2
    (opening,), _ = answer(openings, "c.example", "192.0.2.3", ttl=10**9)
    assert opening.until == limits.EGRESS_LONGEST + HOLD / 2


def test_the_same_answer_changes_nothing_while_there_is_time_enough():
    openings = made("*.example")
    answer(openings, "a.example", "192.0.2.1", "192.0.2.2")
    assert answer(openings, "a.example", "192.0.2.2", "192.0.2.1", now=HOLD / 2) == ((), ())
    opened, _ = answer(openings, "a.example", "192.0.2.1", "192.0.2.2", now=HOLD / 2 + 1)
    assert len(opened) == 2
    assert {opening.until for opening in openings} == {HOLD / 2 + 1 + HOLD * 1.5}
    opened, _ = answer(openings, "a.example", "192.0.2.1", "192.0.2.9", now=HOLD / 2 + 2)
    assert [str(opening.address) for opening in opened] == ["192.0.2.9"]


def test_what_no_rule_lets_a_name_open_is_not_opened():
    openings = made("a.example", "deny:192.0.2.7")
    assert answer(openings, "a.example", "169.254.169.254", "10.0.0.1", "127.0.0.1", "192.0.2.7") == ((), ())
    assert answer(openings, "b.example", "192.0.2.1") == ((), ())
    assert answer(made("all"), "a.example", "192.0.2.1") == ((), ())
    assert len(openings) == 0


def test_a_name_may_go_where_it_was_answered_to_and_only_while_that_counts():
    openings = made("*.example", "a.example:22", "198.51.100.0/24:443")
    answer(openings, "a.example", "192.0.2.1")

    def allows(name, address="192.0.2.1", port=443, now=1.0):
        return openings.allows(name, ip_address(address), "tcp", port, now).allowed

    assert allows("a.example")
    assert allows("a.example", port=22)
    assert not allows("b.example"), "allowed, but it was not answered with this address"
    assert not allows("a.test"), "not allowed"
    assert not allows("a.example", "192.0.2.2")
    assert not allows("a.example", port=8080)
    assert not allows("a.example", now=HOLD * 2)
    assert allows("a.example", "198.51.100.1"), "a rule about addresses allows it whatever its name is"
    assert allows(None, "198.51.100.1")
    assert not allows(None)
    assert openings.names_of(ip_address("192.0.2.1"), 1.0) == ("a.example",)
    assert openings.names_of(ip_address("192.0.2.1"), HOLD * 2) == ()
    assert "was not answered with this address" in openings.allows("b.example", ip_address("192.0.2.1"), "tcp", 443, 1.0).reason


def test_the_bound_gives_up_what_has_not_been_used_for_longest_and_nothing_that_is_live():
    openings = made("*.example", bound=3)
    for number in (1, 2, 3):
        answer(openings, "a.example", f"192.0.2.{number}", now=float(number))
    openings.used(addresses("192.0.2.1"), 4.0)
    with pytest.raises(NoRoom):
        answer(openings, "a.example", "192.0.2.4", now=5.0)
    _, closed = answer(openings, "a.example", "192.0.2.4", now=5.0, live=addresses("192.0.2.2"))
    assert [str(opening.address) for opening in closed] == ["192.0.2.3"]
    with pytest.raises(NoRoom):
        answer(openings, "a.example", "192.0.2.5", now=6.0, live=addresses("192.0.2.1", "192.0.2.2", "192.0.2.4"))
    assert len(openings) == 3
    with pytest.raises(NoRoom):
        answer(openings, "a.example", *(f"192.0.2.{number}" for number in range(10, 20)), now=6.0, live=[])
    # What is over needs nobody's word.
    _, closed = answer(openings, "a.example", "192.0.2.6", now=1000.0)
    assert len(closed) == 1


def test_who_was_given_up_is_not_told_that_it_was_never_answered():
    openings = Openings(made("*.example").policy, HOLD, bound_of_names=3)
    given_up = ip_address("192.0.2.1")

    def reason():
        return openings.allows("a.example", given_up, "tcp", 443, 1.0).reason

    answer(openings, "b.example", "192.0.2.1")
    assert reason().endswith("that name was not answered with this address")
    for name in ("a.example", "c.example", "d.example"):
        answer(openings, name, "192.0.2.1")
    assert openings.allows("b.example", given_up, "tcp", 443, 1.0).reason.endswith(
        "that name was not answered with this address, or that was given up: as many addresses (1) and names of them (3) are open as may be;"
        " look the name up again"
    )


def test_names_that_a_service_leads_to():
    openings = made("a.example")
    openings.lead_to("a.example", ["pool.cdn.test"], 60, 0.0)
    assert openings.meant_by("pool.cdn.test", HOLD - 1) == "a.example"
    assert openings.meant_by("pool.cdn.test", HOLD + 1) is None
    assert openings.meant_by("other.cdn.test", 0.0) is None
    openings.lead_to("a.example", (f"n{number}.test" for number in range(2 * limits.EGRESS_TARGETS)), 60, 1.0)
    assert openings.meant_by("pool.cdn.test", 2.0) is None
    assert openings.meant_by("n2047.test", 2.0) == "a.example"


def test_other_rules():
    openings = made("*.example", "a.example:22")
    answer(openings, "a.example", "192.0.2.1", now=5.0)
    answer(openings, "b.example", "192.0.2.1", "192.0.2.2", now=5.0)
    left, changed, closed = openings.under(policy("a.example:443", "c.example"), 6.0)
    assert [(opening.name, str(opening.address), opening.ports) for opening in left] == [("a.example", "192.0.2.1", Ports.of("tcp", 443))]
    assert [opening.name for opening in changed] == ["a.example"]
    assert [(opening.name, str(opening.address)) for opening in closed] == [
        ("a.example", "192.0.2.1"), ("b.example", "192.0.2.1"), ("b.example", "192.0.2.2"),
    ]  # fmt: skip
    same, changed, closed = openings.under(openings.policy, 6.0)
    assert (list(same), changed, closed) == (list(openings), (), ())
    assert not openings.under(policy("none"), 6.0)[0]


@given(st.lists(st.tuples(st.integers(0, 12), st.floats(0, 400), st.integers(0, 3)), max_size=40))
def test_whoever_was_answered_may_connect_for_as_long_as_was_promised(steps):
    openings, now, promised = made("*.example", bound=8), 0.0, {}
    for number, later, ttl in steps:
        now += later
        address = ip_address(f"192.0.2.{number}")
        live = [one for one, until in promised.items() if until > now]
        try:
            answer(openings, "a.example", str(address), ttl=ttl * 200.0, now=now, live=live)
        except NoRoom:
            continue
        promised[address] = now + max(ttl * 200.0, HOLD)
        assert len(openings) <= 8
        assert all(openings.allows("a.example", one, "tcp", 443, now).allowed for one, until in promised.items() if until > now)


class Counted(IPv4Address):
    """An address that counts how often it is looked for."""

    looks = 0

    def __hash__(self):
        Counted.looks += 1
        return super().__hash__()


def test_an_answer_costs_the_same_with_any_number_of_openings():
    openings, looks = made("*.example"), []
    for number in range(300):
        before = Counted.looks
        opened = openings.answered(f"n{number}.example", [Counted(0xC000_0200 + number)], 1.0, 0.0)
        openings.apply(Change(opened, openings.room_for(opened, 0.0)), 0.0)
        looks.append(Counted.looks - before)
    assert len(set(looks[1:])) == 1


# --- connections when rules change ----------------------------------------------------------------------------------

ONE = "192.0.2.1"


@pytest.mark.parametrize(
    ("before", "after", "flow", "begun_for", "goes_on"),
    [
        # One name of an address is denied: whose connection it was counts, and where the address alone counts any name will do.
        (["*.example"], ["*.example", "deny:b.example"], (ONE, "tcp", 443), "a.example", True),
        (["*.example"], ["*.example", "deny:b.example"], (ONE, "tcp", 443), "b.example", False),
        (["*.example"], ["*.example", "deny:b.example"], (ONE, "tcp", 443), None, False),
        (["*.example:9/udp"], ["*.example:9/udp", "deny:b.example"], (ONE, "udp", 9), None, True),
        (["*.example:9/udp"], ["a.test:9/udp"], (ONE, "udp", 9), None, False),
        (["*.example+address"], ["*.example+address", "deny:b.example"], (ONE, "tcp", 443), None, True),
        # What an address opens goes on unless it may be of a name that is denied now.
        (["public"], ["public", "deny:b.example"], (ONE, "tcp", 443), None, False),
        (["public"], ["public", "deny:c.example"], (ONE, "tcp", 443), None, True),
        (["public"], ["public", "deny:b.example"], ("192.0.2.99", "tcp", 443), None, True),
        (["public"], ["public", "deny:b.example"], ("192.0.2.99", "udp", 443), None, False),
        (["public", "deny:x.example"], ["public", "deny:b.example"], (ONE, "tcp", 443), "a.example", True),
        (["public", "deny:x.example"], ["public", "deny:b.example"], (ONE, "tcp", 443), "b.example", False),
        (["public", "deny:x.example"], ["public", "deny:b.example"], (ONE, "tcp", 443), "never-asked.example", False),
        (["public", "deny:x.example"], ["public"], (ONE, "tcp", 443), "never-asked.example", True),
        (["a.example"], ["192.0.2.0/24"], (ONE, "tcp", 443), "a.example", True),
    ],
)
def test_connections_go_on_that_the_new_rules_allow(before, after, flow, begun_for, goes_on):
    openings = made(*before)
    for name in ("a.example", "b.example"):
        openings.note_names(name, addresses(ONE))
        answer(openings, name, ONE)
    address, protocol, port = flow
    is_of = None if begun_for is None else lambda name: name == begun_for
    assert openings.may_go_on(policy(*after), ip_address(address), protocol, port, is_of) is goes_on


def test_a_connection_that_goes_on_needs_no_answer_that_counts():
    openings = made("a.example")
    answer(openings, "a.example", ONE)
    late = HOLD * 1.5 + limits.FIRST_DATA_PATIENCE
    assert openings.allows("a.example", ip_address(ONE), "tcp", 443, late - 1).allowed, "what began in time may say its name a little later"
    assert not openings.allows("a.example", ip_address(ONE), "tcp", 443, late + 1).allowed
    assert openings.allows("a.example", ip_address(ONE), "tcp", 443, late + 1, goes_on=True).allowed
    assert not openings.allows("b.example", ip_address(ONE), "tcp", 443, late + 1, goes_on=True).allowed


# --- new names ------------------------------------------------------------------------------------------------------


def test_new_names_are_bounded_and_known_ones_are_not():
    names = NewNames(60)
    assert all(names.take(f"n{number}", 0.0) for number in range(60))
    assert not names.take("one-more", 0.0)
    assert names.take("n5", 0.0)
    assert names.take("one-more", 1.0)
    assert not names.take("another", 1.0)
    assert sum(names.take(f"later{number}", 3600.0) for number in range(200)) == 60


def test_memory_of_names_is_bounded():
    names = NewNames(10**6)
    for number in range(limits.EGRESS_REMEMBERED_NAMES + 10):
        assert names.take(f"n{number}", 0.0)
    assert len(names._recent) == limits.EGRESS_REMEMBERED_NAMES
