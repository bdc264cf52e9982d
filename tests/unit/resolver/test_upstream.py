import pytest

from resolver.engine.upstream import Upstream, UpstreamSet, parse


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("10.0.0.53", Upstream("10.0.0.53")),
        ("10.0.0.53:5353", Upstream("10.0.0.53", 5353)),
        ("fd00::53", Upstream("fd00::53")),
        ("fe80::1%eth0", Upstream("fe80::1%eth0")),
        ("[fd00::53]:5353", Upstream("fd00::53", 5353)),
        ("udp://10.0.0.53", Upstream("10.0.0.53")),
        ("tcp://10.0.0.53", Upstream("10.0.0.53", 53, None, "tcp")),
        ("tls://1.1.1.1", Upstream("1.1.1.1", 853, None, "tls")),
        ("tls://1.1.1.1:8853#one.example", Upstream("1.1.1.1", 8853, None, "tls", "one.example")),
        ("tls://[fd00::53]#one.example", Upstream("fd00::53", 853, None, "tls", "one.example")),
    ],
)
def test_forms(text, wanted):
    assert parse(text) == wanted
    assert parse(str(wanted)) == wanted
    assert parse(text, "sandbox").sandbox_id == "sandbox"


@pytest.mark.parametrize(
    "text",
    ["", "dns.example", "10.0.0.53#53", "tcp://1.1.1.1#name", "10.0.0.53:0", "10.0.0.53:x", "http://1.1.1.1", "[fd00::53", "[fd00::53]53"],
)
def test_what_is_none(text):
    with pytest.raises(ValueError, match=r".+"):
        parse(text)


def test_sets_are_told_apart_by_identity():
    servers = (Upstream("10.0.0.53"),)
    one, other = UpstreamSet(servers), UpstreamSet(servers)
    assert one.servers == other.servers
    assert len({one, other}) == 2
    assert (one.is_trusted, UpstreamSet().reason) == (False, "no nameserver is configured")


@pytest.mark.parametrize(
    ("text", "shown"),
    [("::ffff:10.0.0.53", "10.0.0.53"), ("[::ffff:10.0.0.53]:5353", "10.0.0.53:5353"), ("tcp://::ffff:10.0.0.53", "tcp://10.0.0.53")],
)
def test_ipv4_mapped_server_is_asked_over_ipv4(text, shown):
    assert str(parse(text)) == shown
