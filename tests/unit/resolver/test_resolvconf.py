import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver import limits, resolvconf
from resolver.resolvconf import ResolvConf


def test_parse():
    content = resolvconf.parse(
        "# c\n;c\n  # blank before\nnameserver 10.0.0.1 # x\nnameserver nonsense\nnameserver fe80::1%eth0\nnameserver\n"
        "domain old.test\nsearch a.test b.test\nsearch\noptions ndots:2\noptions rotate timeout:1\nsortlist 1.2.3.4\n"
    )
    assert content.nameservers == ("10.0.0.1", "fe80::1%eth0")
    assert content.invalid == ("nonsense",)
    assert content.search == ("a.test", "b.test")
    assert content.options == ("ndots:2", "rotate", "timeout:1")
    assert content.other == ("sortlist 1.2.3.4",)
    assert (content.option("ndots"), content.option("rotate"), content.option("x")) == ("2", "", None)


@pytest.mark.parametrize("line", ["#" + "x" * 65_536, "nameserver 10.0.0.9 " + "é" * 32_769])
def test_too_long_a_line_loses_only_itself(line):
    content = resolvconf.parse(f"nameserver 10.0.0.1\n{line}\nnameserver 10.0.0.2\n")
    assert content.nameservers == ("10.0.0.1", "10.0.0.2")
    assert content.problems == ("line 2 is longer than 65536 octets and is skipped",)


@pytest.mark.parametrize("character", ["\v", "\f", "\x85", "\xa0", "\u2028", "\u3000", "\x1c", "\r"])
def test_only_a_line_feed_ends_a_line_and_only_blanks_end_a_word(character):
    content = resolvconf.parse(
        f"# comment{character}nameserver 10.0.0.9\nsearch a.test{character}b.test\tc.test\n"
        f"nameserver{character}10.0.0.8\nnameserver 10.0.0.7{character}nameserver 10.0.0.6\nnameserver\t10.0.0.1 \n"
    )
    assert content.nameservers == ("10.0.0.1",)
    assert content.search == (f"a.test{character}b.test", "c.test")
    assert content.invalid == (f"10.0.0.7{character}nameserver",)
    assert len(content.problems) == 2


def test_lines_that_end_in_cr_lf():
    content = resolvconf.parse("nameserver 10.0.0.1\r\nsearch a.test\r\n\r\nsortlist 1.2.3.4\r\n")
    assert (content.nameservers, content.search, content.other) == (("10.0.0.1",), ("a.test",), ("sortlist 1.2.3.4",))
    assert content.problems == ()


def test_what_is_not_understood_is_said():
    content = resolvconf.parse("nameserver dns.test\nnameserver\nnamserver 10.0.0.1\nsearch\nsortlist 10.0.0.0\noptions\n\x1b[2J\n")
    assert content.problems == (
        "line 1: 'dns.test' is not an IP address",
        "line 2: nothing follows 'nameserver'",
        "line 3: 'namserver' is unknown; sandboxes get the line as it is",
        "line 4: nothing follows 'search'",
        "line 7: '\\x1b[2J' is unknown; sandboxes get the line as it is",
    )
    assert len(resolvconf.parse("what\n" * 100).problems) == limits.RESOLV_CONF_PROBLEMS


@given(st.text(max_size=200))
def test_any_text_is_read(text):
    resolvconf.parse(text)


HOST = ResolvConf(nameservers=("10.0.0.1",), search=("host.test",), options=("ndots:3",))


def test_overrides_replace_whole_lists_and_dot_means_none():
    made = resolvconf.override(HOST, ["1.1.1.1"], ["."], [])
    assert (made.nameservers, made.search, made.options) == (("1.1.1.1",), (), ("ndots:3",))
    assert resolvconf.override(HOST, [], [], []) == HOST


@pytest.mark.parametrize(
    ("options", "wanted"),
    [((), ("ndots:0",)), (("ndots:2",), ("ndots:2",)), (("ndots:x", "rotate"), ("rotate", "ndots:0")), (("ndots",), ("ndots:0",))],
)
def test_ndots_is_added_unless_a_valid_one_is_there(options, wanted):
    assert resolvconf.for_sandbox(ResolvConf(options=options)).options == wanted


def test_no_server_is_ever_made_up():
    text = resolvconf.render(resolvconf.for_sandbox(ResolvConf()), source="/etc/resolv.conf", upstreams=[], overrides=[], invalid=[])
    assert "8.8.8.8" not in text
    assert "NO EXTERNAL NAMESERVERS DEFINED" in text
    assert [line for line in text.splitlines() if line.startswith("nameserver")] == ["nameserver 127.0.0.11"]


def test_rendered_file_reads_back_and_tells_who_asks_whom():
    content = resolvconf.for_sandbox(HOST)
    text = resolvconf.render(content, source="x", upstreams=[("10.0.0.1", True), ("1.1.1.1", False)], overrides=["search"], invalid=["bad"])
    assert resolvconf.parse(text) == content
    assert "# ExtServers: [host(10.0.0.1) 1.1.1.1]" in text
    assert "# Overrides: [search]" in text
    assert "# Invalid nameservers: [bad]" in text


@pytest.mark.parametrize("text", ["", "-a.test", "a..b", "1.2.3.4", "a" * 255, "a b"])
def test_bad_search_domains(text):
    with pytest.raises(ValueError, match=r"domain|letter"):
        resolvconf.check_search(text)


def test_good_search_domains():
    assert resolvconf.check_search(" a-b.test. ") == "a-b.test."
    assert resolvconf.check_search(".") == "."


def test_servers_for_dns_options_are_checked():
    assert resolvconf.check_server("tls://1.1.1.1#one.example") == "tls://1.1.1.1#one.example"
    with pytest.raises(ValueError, match="not an IP address"):
        resolvconf.check_server("dns.example")


@pytest.mark.parametrize(("ipv6", "wanted"), [(True, ("10.0.0.1", "fe80::1%eth0")), (False, ("10.0.0.1",))])
def test_only_servers_that_a_sandbox_can_reach_are_copied(ipv6, wanted):
    host = ResolvConf(nameservers=("127.0.0.53", "::1", "10.0.0.1", "fe80::1%eth0"))
    assert resolvconf.reachable(host, ipv6=ipv6).nameservers == wanted


def test_copy_says_nothing_of_upstreams():
    text = resolvconf.render(HOST, source="/etc/resolv.conf", upstreams=None, overrides=[], invalid=[])
    assert "# Based on host file: '/etc/resolv.conf'\n# Overrides: []" in text
