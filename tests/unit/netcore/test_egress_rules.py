"""The language of egress rules: what each form means, how it prints, what is refused and with which words."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netcore import limits
from netcore.egress import read
from netcore.egress.ports import DNS, EVERYTHING, NOTHING, Ports
from netcore.egress.rules import Below, Name, OwnNetwork, Prefix, Rule, SetName, Wide
from netcore.egress.sets import check, expanded
from netcore.errors import InvalidRequest

WEB = Ports.of("tcp", 80, 443)


@pytest.mark.parametrize(
    ("text", "target", "ports", "printed"),
    [
        ("packages.example.org", Name("packages.example.org"), WEB, None),
        ("Packages.EXAMPLE.org.", Name("packages.example.org"), WEB, "packages.example.org"),
        ("bücher.example", Name("xn--bcher-kva.example"), WEB, "xn--bcher-kva.example"),
        ("BÜCHER.example:443", Name("xn--bcher-kva.example"), Ports.of("tcp", 443), "xn--bcher-kva.example:443"),
        ("faß.example", Name("xn--fa-hia.example"), WEB, "xn--fa-hia.example"),
        ("*.bücher.example", Below("xn--bcher-kva.example"), WEB, "*.xn--bcher-kva.example"),
        ("例え。テスト", Name("xn--r8jz45g.xn--zckzah"), WEB, "xn--r8jz45g.xn--zckzah"),
        ("_dmarc.example.org", Name("_dmarc.example.org"), WEB, None),
        ("*.files.example.org:443", Below("files.example.org"), Ports.of("tcp", 443), None),
        ("name.example:8000-8010", Name("name.example"), Ports.of("tcp", (8000, 8010)), None),
        ("name.example:443/udp", Name("name.example"), Ports.of("udp", 443), None),
        ("name.example:443/UDP", Name("name.example"), Ports.of("udp", 443), "name.example:443/udp"),
        ("name.example/udp", Name("name.example"), Ports.of("udp", 80, 443), None),
        ("name.example:1-1000", Name("name.example"), Ports.of("tcp", (1, 52), (54, 852), (854, 1000)), None),
        ("10.1.0.0/16:5432", Prefix(ip_network("10.1.0.0/16")), Ports.of("tcp", 5432), None),
        ("10.1.0.0/16", Prefix(ip_network("10.1.0.0/16")), EVERYTHING, None),
        ("10.1.0.0/16/udp", Prefix(ip_network("10.1.0.0/16")), Ports.of("udp", (1, 65535)), None),
        ("9.9.9.9:53/udp", Prefix(ip_network("9.9.9.9/32")), Ports.of("udp", 53), None),
        ("9.9.9.9/32", Prefix(ip_network("9.9.9.9/32")), EVERYTHING, "9.9.9.9"),
        ("::ffff:192.0.2.1", Prefix(ip_network("192.0.2.1/32")), EVERYTHING, "192.0.2.1"),
        ("2001:db8::1", Prefix(ip_network("2001:db8::1/128")), EVERYTHING, None),
        ("2001:DB8::/32", Prefix(ip_network("2001:db8::/32")), EVERYTHING, "2001:db8::/32"),
        ("2001:db8::/32/sctp", Prefix(ip_network("2001:db8::/32")), Ports.of("sctp", (1, 65535)), None),
        ("2001:db8::1/tcp", Prefix(ip_network("2001:db8::1/128")), Ports.of("tcp", (1, 65535)), None),
        ("[2001:db8::1]:443", Prefix(ip_network("2001:db8::1/128")), Ports.of("tcp", 443), None),
        ("[2001:db8::/32]:443/udp", Prefix(ip_network("2001:db8::/32")), Ports.of("udp", 443), None),
        ("[2001:db8::]/32:443", Prefix(ip_network("2001:db8::/32")), Ports.of("tcp", 443), "[2001:db8::/32]:443"),
        ("[2001:db8::1]", Prefix(ip_network("2001:db8::1/128")), EVERYTHING, "2001:db8::1"),
        ("network:build", OwnNetwork("build"), EVERYTHING - DNS, None),
        ("NETWORK:Build_1.x:5432", OwnNetwork("Build_1.x"), Ports.of("tcp", 5432), "network:Build_1.x:5432"),
        ("network:build:53/udp", OwnNetwork("build"), Ports.of("udp", 53), None),
        ("host", Wide.HOST, EVERYTHING - DNS, None),
        ("host:8080", Wide.HOST, Ports.of("tcp", 8080), None),
        ("host.", Name("host"), WEB, None),
        ("PUBLIC", Wide.PUBLIC, EVERYTHING - DNS, "public"),
        ("public:443", Wide.PUBLIC, Ports.of("tcp", 443), None),
        ("all", Wide.ALL, EVERYTHING - DNS, None),
        ("all/udp", Wide.ALL, Ports.of("udp", (1, 65535)) - DNS, None),
        ("none", Wide.NONE, EVERYTHING - DNS, None),
        ("@build", SetName("build"), EVERYTHING - DNS, None),
        (" public ", Wide.PUBLIC, EVERYTHING - DNS, "public"),
    ],
)
def test_each_form_is_read_and_printed(text, target, ports, printed):
    rule = read.rule(text)
    assert (rule.target, rule.ports, rule.deny, rule.private) == (target, ports, False, False)
    assert str(rule) == (printed or text)
    assert read.rule(str(rule)) == rule
    assert read.from_json(read.to_json(rule)) == rule


def test_denied_and_private():
    denied = read.rule("deny:*.Example.org")
    assert (denied.target, denied.deny, denied.ports, str(denied)) == (Below("example.org"), True, EVERYTHING, "deny:*.example.org")
    assert read.rule("DENY:x.test:53").ports == Ports.of("tcp", 53)
    assert read.rule("deny:x.test/udp").ports == Ports.of("udp", (1, 65535))
    assert str(read.rule("deny:[2001:db8::]/32:443")) == "deny:[2001:db8::/32]:443"
    private = read.rule("db.corp.example+private:5432")
    assert (private.target, private.private, private.ports) == (Name("db.corp.example"), True, Ports.of("tcp", 5432))
    assert str(private) == "db.corp.example+private:5432"
    assert str(read.rule("*.corp.example+PRIVATE")) == "*.corp.example+private"
    both = read.rule("x.example+Address+private:5432")
    assert (both.private, both.by_address, str(both)) == (True, True, "x.example+private+address:5432")
    assert read.rule(str(both)) == both == read.from_json(read.to_json(both))
    assert read.from_json({"target": "x.example", "check": "address", "ports": [443]}) == read.rule("x.example+address:443")
    with pytest.raises(InvalidRequest, match="check is name or address"):
        read.from_json({"target": "x.example", "check": "none"})


def test_quic_passes_where_nothing_is_looked_at():
    assert read.rule("x.example").ports == Ports.of("tcp", 80, 443)
    assert read.rule("x.example+address").ports == Ports.of("tcp", 80, 443) | Ports.of("udp", 443)
    assert read.rule("*.example+private+address").ports == Ports.of("tcp", 80, 443) | Ports.of("udp", 443)
    assert read.rule("x.example+address:443").ports == Ports.of("tcp", 443)
    assert read.rule("x.example+address:443/udp").ports == read.rule("x.example:443/udp").ports == Ports.of("udp", 443)


def test_a_file_can_say_that_addresses_alone_count():
    text = 'check = "address"\nx.example:443, deny:y.example # and\n10.0.0.0/8\n@other\n'
    assert [*map(str, read.lines(text, "list"))] == ["x.example+address:443", "deny:y.example", "10.0.0.0/8", "@other"]
    assert [*map(str, read.lines("check = name\nx.example", "list"))] == ["x.example"]
    for wrong in ("check = nothing\nx.example", "check = name\ncheck = name\nx.example"):
        with pytest.raises(InvalidRequest, match="check is there once, and name or address"):
            read.lines(wrong, "list")
    assert read.rule("deny:@ads") == Rule(target=SetName("ads"), deny=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty; write a target"),
        ("deny:", "has no target"),
        (":443", "has no target"),
        ("https://example.org", "not a URL"),
        ("example.org/path", "'path' is none of the protocols tcp, udp, sctp; a path can't be part of a rule"),
        ("example.org/icmp", "'icmp' is none of the protocols tcp, udp, sctp"),
        ("example.org:", "'' is not a port or a range like 8000-8010"),
        ("example.org:0", "ports are 1 to 65535"),
        ("example.org:70000", "ports are 1 to 65535"),
        ("example.org:90-80", "the lower one first"),
        ("example.org:http", "'http' is not a port"),
        ("example.org:٨٠", "is not a port"),
        ("example.org:53", "does not open port 53; name the server by its address, as in 9.9.9.9:53"),
        ("example.org:853/udp", "does not open port 853"),
        ("all:53", "all does not open port 53"),
        ("public:853", "public does not open port 853"),
        ("host:53/udp", "host does not open port 53"),
        ("*", "* alone is no name; write public, or all"),
        ("a.*.example", "* stands for all labels in front"),
        ("*foo.example", "* stands for all labels in front"),
        ("*.*.example", "* stands for all labels in front"),
        ("a..b", "is no domain name"),
        ("-a.example", "is no domain name"),
        ("x" * 64 + ".example", "is no domain name"),
        (".".join(["x" * 60] * 5), "is no domain name"),
        ("a b.example", "not a URL or a sentence"),
        ("10.1.0.5/16", "has bits behind its prefix; did you mean 10.1.0.0/16?"),
        ("10.1.0.0/33", "is no IPv4 address or prefix"),
        ("2001:db8::/32:443", "is in brackets, as in [2001:db8::/32]:443"),
        ("10.1.0", "is no IPv4 address or prefix"),
        ("256.1.1.1", "is no IPv4 address or prefix"),
        ("0x7f.1", "is no IPv4 address or prefix"),
        ("1.2.3.4.", "is no IPv4 address or prefix"),
        ("010.1.1.1", "is no IPv4 address or prefix"),
        ("2130706433", "is no IPv4 address or prefix"),
        ("2001:db8::g", "is no IPv6 address or prefix"),
        ("2001:db8::1:443:1:1:1:1:1", "is no IPv6 address or prefix"),
        ("fe80::1%eth0", "is of one link only"),
        ("::ffff:10.0.0.0/104", "holds IPv4-mapped addresses only"),
        ("[2001:db8::1:443", "the bracket is not closed"),
        ("[2001:db8::1]443", "behind the bracket comes :PORT"),
        ("[10.0.0.1]:443", "brackets are for IPv6 addresses"),
        ("[example.org]:443", "brackets are for IPv6 addresses"),
        ("network:", "is followed by the name of a network"),
        ("network:-x", "is followed by the name of a network"),
        ("@", "@ is followed by the name of a list"),
        ("@a b", "not a URL or a sentence"),
        ("@./list.txt", "a file is read by the command line alone"),
        ("@../etc/passwd", "a file is read by the command line alone"),
        ("@build:443", "a list has no port"),
        ("none:443", "none stands alone"),
        ("deny:none", "none stands alone"),
        ("learn:80", "learn stands alone: it allows everything, and records it"),
        ("deny:learn", "learn stands alone"),
        ("10.0.0.1+private", "+private is for a name that is allowed"),
        ("deny:x.example+address", "+address is for a name that is allowed"),
        ("@build+address", "+address is for a name that is allowed"),
        ("x.example+private+private", "is no domain name"),
        ("public+private", "+private is for a name that is allowed"),
        ("deny:x.example+private", "+private is for a name that is allowed"),
        ("deny:deny:x", "is not a port"),
        ("x.example\n", None),
        ("x\n.example", "must be one line"),
        ("x" * 400, "must be one line of at most"),
        ("xn--ü.example", "is no domain name"),
        ("\u200d.example", "must be one line"),
        ("a\u3002", None),
    ],
)
def test_mistakes_name_the_rule_and_what_would_be_right(text, says):
    if says is None:
        assert read.rule(text)
        return
    with pytest.raises(InvalidRequest, match=r"egress rule '") as caught:
        read.rule(text)
    assert says in str(caught.value)


def test_all_mistakes_of_a_list_are_said_at_once_and_commas_part_rules():
    assert [str(rule) for rule in read.rules(["a.example, b.example:1", "a.example"])] == ["a.example", "b.example:1"]
    with pytest.raises(InvalidRequest, match=r"(?s)a\.\*.*70000"):
        read.rules(["a.*", "fine.example", "b.example:70000"])
    with pytest.raises(InvalidRequest, match="at most 1024"):
        read.rules(f"n{number}.example" for number in range(limits.EGRESS_RULES + 1))


def test_lines_of_a_file():
    text = "# what builds need\n\npackages.example.org   # the index\n*.files.example.org, 10.0.0.0/8:22\n"
    assert [str(rule) for rule in read.lines(text, "list build")] == ["packages.example.org", "*.files.example.org", "10.0.0.0/8:22"]
    with pytest.raises(InvalidRequest, match=r"list build rule .x\.\.y"):
        read.lines("x..y", "list build")


def test_json():
    rule = read.rule("deny:[2001:db8::/32]:1-2/udp")
    shown = {"rule": str(rule), "target": "2001:db8::/32", "action": "deny", "ports": [1, 2], "protocol": "udp"}
    assert read.to_json(rule) == shown
    assert read.from_json({key: value for key, value in shown.items() if key != "rule"}) == rule
    assert read.from_json({"target": "x.example", "private": True, "ports": [5432]}) == read.rule("x.example+private:5432")
    assert read.from_json("x.example") == read.rule("x.example")
    for wrong, says in (
        (3, "a rule is a text, or an object"),
        ({"traget": "x"}, "did you mean target"),
        ({"target": "x", "action": "no"}, "as action allow or deny"),
        ({"target": "x.example", "ports": ["1"]}, "ports is a list"),
        ({"target": "x.example", "ports": [True]}, "ports is a list"),
        ({"target": "x.example", "protocol": "icmp"}, "none of the protocols"),
    ):
        with pytest.raises(InvalidRequest, match=says):
            read.from_json(wrong)


# --- lists ----------------------------------------------------------------------------------------------------------

SETS = {
    "a": read.rules(["x.example", "@b"]),
    "b": read.rules(["y.example:22", "deny:z.example"]),
    "loop": read.rules(["@loop", "w.example"]),
}


def test_lists_are_put_in_place_and_what_is_missing_closes():
    assert [str(rule) for rule in expanded(read.rules(["q.example", "@a", "x.example"]), SETS)] == [
        "q.example", "x.example", "y.example:22", "deny:z.example",
    ]  # fmt: skip
    assert [str(rule) for rule in expanded(read.rules(["deny:@a"]), SETS)] == ["deny:x.example", "deny:y.example:22", "deny:z.example"]
    assert expanded(read.rules(["@gone", "x.example"]), SETS) == read.rules(["x.example"])
    assert expanded(read.rules(["deny:@gone"]), SETS) == read.rules(["deny:all"])
    assert expanded(read.rules(["@loop"]), SETS) == read.rules(["w.example"])


def test_lists_that_are_missing_or_name_each_other_are_refused():
    check(read.rules(["@a"]), SETS)
    with pytest.raises(InvalidRequest, match=r"there is no list gone.*there are: @a, @b, @loop"):
        check(read.rules(["@gone"]), SETS)
    with pytest.raises(InvalidRequest, match="in a circle: loop → loop"):
        check(read.rules(["@loop"]), SETS)


# --- properties -----------------------------------------------------------------------------------------------------

_labels = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,10}[a-z0-9_])?", fullmatch=True)
_names = st.lists(_labels, min_size=1, max_size=4).map(".".join)
_networks = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).flatmap(
    lambda address: st.integers(0, address.max_prefixlen).map(lambda length: ip_network(f"{address}/{length}", strict=False))
)
_ports = st.one_of(st.just(""), st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(lambda two: f":{min(two)}-{max(two)}"))
_protocols = st.sampled_from(["", "/tcp", "/udp", "/sctp"])


@given(st.builds(
    lambda deny, target, ports, protocol: f"{deny}{f'[{target}]' if ports and target.count(':') > 1 else target}{ports}{protocol}",
    st.sampled_from(["", "deny:"]),
    st.one_of(_names, _names.map("*.".__add__), _networks.map(str), st.sampled_from(["host", "public", "all", "network:x.y"])),
    _ports, _protocols,
))  # fmt: skip
def test_what_is_read_prints_as_it_is_read(text):
    try:
        rule = read.rule(text)
    except InvalidRequest:
        return
    assert read.rule(str(rule)) == rule
    assert str(read.rule(str(rule))) == str(rule)
    assert read.from_json(read.to_json(rule)) == rule
    assert rule.ports


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        rule = read.rule(text)
    except InvalidRequest as error:
        assert str(error).isprintable()
        return
    assert read.rule(str(rule)) == rule


_spans = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 8)).map(lambda one: (one[0], one[0] + one[1])), max_size=4)
_some_ports = st.builds(
    lambda tcp, udp, others: Ports.of("tcp", *tcp) | Ports.of("udp", *udp) | (Ports(others=True) if others else NOTHING),
    _spans, _spans, st.booleans(),
)  # fmt: skip


def _as_set(ports):
    numbers = {(protocol, port) for protocol in ("tcp", "udp", "sctp") for port in range(1, 60) if ports.has(protocol, port)}
    return numbers | ({"others"} if ports.has("icmp", 0) else set())


@given(_some_ports, _some_ports)
def test_ports_are_sets(one, other):
    assert _as_set(one & other) == _as_set(one) & _as_set(other)
    assert _as_set(one | other) == _as_set(one) | _as_set(other)
    assert _as_set(one - other) == _as_set(one) - _as_set(other)
    assert bool(one) == bool(_as_set(one))
    assert (one - other) | (one & other) == one
