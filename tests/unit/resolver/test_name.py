import socket
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.errors import BadName
from resolver.wire import name


def test_names_to_wire_and_back():
    assert name.from_text("Web.Net.") == b"\x03web\x03net\0"
    assert name.to_text(b"\x03web\x03net\0") == "web.net."
    assert name.from_text("") == b"\0"
    assert name.to_text(b"\x03a.b\0") == "a\\.b."


@pytest.mark.parametrize("text", ["a..b", "a" * 64, ".a", "ä", ".".join(["a" * 60] * 5)])
def test_bad_names_are_refused(text):
    with pytest.raises(BadName):
        name.from_text(text)


@given(st.ip_addresses())
def test_reverse_names_are_right_and_come_back(address):
    wire = name.reverse(address)
    assert name.to_text(wire) == address.reverse_pointer + "."
    assert name.reverse_network(wire) == ip_network(address)


def test_partial_reverse_names_stand_for_networks():
    assert name.reverse_network(name.from_text("17.172.in-addr.arpa")) == ip_network("172.17.0.0/16")
    assert name.reverse_network(name.from_text("x.172.in-addr.arpa")) is None
    assert name.reverse_network(name.from_text("1.2.3.4.5.in-addr.arpa")) is None
    assert name.reverse_network(name.from_text("example.com")) is None


def test_partial_ipv6_reverse_names_stand_for_networks():
    assert name.reverse_network(name.from_text("1.0.d.f.ip6.arpa")) == ip_network("fd01::/16")
    assert name.reverse_network(name.from_text("x.d.f.ip6.arpa")) is None
    assert name.reverse_network(name.from_text("10.d.f.ip6.arpa")) is None


def test_parent_and_join():
    assert name.parent(name.from_text("www.example.test")) == name.from_text("example.test")
    assert name.parent(name.ROOT) == name.ROOT
    assert name.join(name.from_text("www"), name.from_text("example.test")) == name.from_text("www.example.test")


@pytest.mark.parametrize(
    "text", ["1", "123", "1.2", "1.2.3", "10.0.0.1", "0x7f", "0X7F.1", "017", "4294967295", "1.16777215", "1.2.65535", "0"]
)
def test_names_that_c_libraries_take_for_addresses(text):
    assert name.is_address_form(text)
    assert len(socket.inet_aton(text)) == 4


@pytest.mark.parametrize(
    "text",
    ["web", "1a", "a1", "web1", "1.2.3.4.5", "256.1", "1.16777216", "4294967296", "1.2.65536", "08", "0xg", "0x", "1-2", "1_2", "0x1_2",
     "1.web", "123.net", "٣"],
)  # fmt: skip
def test_names_that_are_looked_up(text):
    assert not name.is_address_form(text)
    with pytest.raises((OSError, UnicodeError)):
        socket.inet_aton(text)
