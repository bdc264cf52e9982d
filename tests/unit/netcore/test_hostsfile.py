from ipaddress import ip_address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore.desired import hostsfile
from netcore.errors import InvalidRequest
from netcore.model import Endpoint


def test_extra_host_forms():
    assert hostsfile.parse_extra_host("db:10.0.0.1") == ("db", ip_address("10.0.0.1"))
    assert hostsfile.parse_extra_host("db:fd00::1") == ("db", ip_address("fd00::1"))
    assert hostsfile.parse_extra_host("db=[fd00::1]") == ("db", ip_address("fd00::1"))
    assert hostsfile.parse_extra_host("db:::ffff:10.0.0.1") == ("db", ip_address("10.0.0.1"))
    assert hostsfile.parse_extra_host("gate:host-gateway") == ("gate", None)


@pytest.mark.parametrize("text", ["db", ":10.0.0.1", "db:10.0.0", "db:", "a b:10.0.0.1"])
def test_bad_extra_hosts_are_refused(text):
    with pytest.raises(InvalidRequest, match="add-host"):
        hostsfile.parse_extra_host(text)


def test_default_lines_without_ipv6_and_with_host_gateway():
    lines = hostsfile.base_lines(["g:host-gateway", "x:fd00::9", "y:10.0.0.9"], ipv6=False, host_gateways=[ip_address("10.0.0.1")])
    assert lines == ("127.0.0.1\tlocalhost", "10.0.0.1\tg", "10.0.0.9\ty")


def test_endpoint_lines_have_the_full_and_the_short_name():
    endpoint = Endpoint(
        origin="api", network_id="n", sandbox_id="s", ifname="eth0", host_ifname="v", mac="02:00:00:00:00:01",
        ipv4=ip_interface("10.0.0.2/24"), ipv6=ip_interface("fd00::2/64"),
    )  # fmt: skip
    assert hostsfile.endpoint_lines(endpoint, "web", "example.org") == (
        "10.0.0.2\tweb.example.org web",
        "fd00::2\tweb.example.org web",
    )


LINE = st.text("abc1.#\t ", min_size=1, max_size=8).map(str.strip).filter(bool)


@given(st.lists(LINE, max_size=6), st.lists(LINE, max_size=4, unique=True), st.lists(LINE, max_size=4, unique=True))
def test_lines_of_others_stay_in_order(others, before, after):
    others = [line for line in others if line not in before and line not in after]
    current = hostsfile.render_hosts([*before, *others])
    merged = hostsfile.merge_hosts(current, before, after).splitlines()
    assert [line for line in merged if line in others] == others
    assert set(after) <= set(merged)
    assert not [line for line in merged if line in before and line not in after]


def test_line_removed_by_the_user_stays_removed():
    assert hostsfile.merge_hosts("a\nmine\n", ["a", "b"], ["a", "b", "c"]) == "a\nc\nmine\n"


def test_line_that_replaces_the_first_of_the_file_is_the_first():
    assert hostsfile.merge_hosts("old\nmine\n", ["old"], ["new"]) == "new\nmine\n"
    assert hostsfile.merge_hosts("old\na\nmine\n", ["old", "a"], ["new", "b"]) == "new\nb\nmine\n"
    assert hostsfile.merge_hosts("old\nmine\na\n", ["old", "a"], ["new", "b"]) == "new\nmine\nb\n"
    assert hostsfile.merge_hosts("old\nmine\n", ["old"], ["new", "more"]) == "new\nmore\nmine\n"


@given(st.lists(LINE, max_size=4, unique=True), LINE, LINE, st.integers(0, 4))
def test_line_that_replaces_another_takes_its_place(others, before, after, place):
    others = [line for line in others if line not in (before, after)]
    current = [*others[:place], before, *others[place:]]
    expected = [*others[:place], after, *others[place:]]
    assert hostsfile.merge_hosts(hostsfile.render_hosts(current), [before], [after]) == hostsfile.render_hosts(expected)


def test_only_a_line_feed_ends_a_line():
    assert hostsfile.merge_hosts("a\n# x\x0cy\u2028z\r\n", ["a"], ["b"]) == "b\n# x\x0cy\u2028z\r\n"


def test_merging_twice_changes_nothing():
    once = hostsfile.merge_hosts("", [], ["a", "b"])
    assert hostsfile.merge_hosts(once, [], ["a", "b"]) == once


@given(st.lists(LINE, max_size=4, unique=True), st.lists(LINE, max_size=4, unique=True))
def test_undone_change_leaves_the_lines_of_before(before, after):
    there = hostsfile.merge_hosts(hostsfile.render_hosts(before), before, after)
    back = hostsfile.merge_hosts(there, after, before)
    assert sorted(back.splitlines()) == sorted(before)


def test_file_stays_as_it_is_when_nothing_changes():
    assert hostsfile.merge_hosts("no newline at its end", ["a"], ["a"]) == "no newline at its end"


def test_hostname_file_is_one_line():
    assert hostsfile.render_hostname("web") == "web\n"


def test_endpoint_without_domain_has_one_name_and_one_with_dots_its_first_label_too():
    endpoint = Endpoint(
        origin="api", network_id="n", sandbox_id="s", ifname="eth0", host_ifname="v", mac="02:00:00:00:00:01",
        ipv4=ip_interface("10.0.0.2/24"), ipv6=None,
    )  # fmt: skip
    assert hostsfile.endpoint_lines(endpoint, "web", "") == ("10.0.0.2\tweb",)
    assert hostsfile.endpoint_lines(endpoint, "web.lan", "") == ("10.0.0.2\tweb.lan web",)
