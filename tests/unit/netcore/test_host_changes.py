"""What notifications of the host's links change of the last look at it, and how many of them are read in full."""

import struct
from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest

from netcore.kernel import deferred_deletes, host_changes
from netcore.kernel.host import HostSnapshot
from netcore.kernel.host_changes import HostChanges
from netcore.kernel.netlink import attr
from netcore.kernel.routing_tables import read_routes
from netcore.kernel.rtnl import read_link

LEAVING = min(deferred_deletes._PAIRS)


def link(name, *, index=7, mtu=1500, group=0, up=True, gone=False):
    body = struct.pack("=BxHiII", 0, 1, index, int(up), 0) + attr(3, name.encode() + b"\0")
    body += attr(4, struct.pack("=I", mtu)) + attr(27, struct.pack("=I", group))
    return struct.pack("=IHHII", 16 + len(body), 17 if gone else 16, 0, 0, 0) + body


@pytest.fixture
def changes(monkeypatch):
    """`HostChanges` that have looked at a host with eth0."""

    class Notifications:
        def __init__(self):
            self.told = ()

        @classmethod
        def of_host(cls):
            return cls()

        def read(self):
            came, self.told = self.told, ()
            return came

        def fileno(self):
            return -1

    monkeypatch.setattr(host_changes, "Notifications", Notifications)
    made = HostChanges()
    made.start()
    made.begin_look()
    made.looked(HostSnapshot(links={2: read_link(link("eth0", index=2))}, addresses=(), routes=(), tables=frozenset()), ())
    return made


def hear(changes, *told, ours=()):
    changes._notifications.told = told
    return changes.is_outdated(ours)


@pytest.fixture
def read(changes, monkeypatch):
    """The messages of links that are read in full."""
    read = []
    monkeypatch.setattr(host_changes.rtnl, "read_link", lambda message: read.append(message) or read_link(message))
    return read


@pytest.mark.parametrize("ours", [("v0",), ()], ids=["ours", "of a sandbox"])
def test_of_a_burst_on_a_link_without_addresses_only_the_last_word_is_read_in_full(changes, read, ours):
    assert not hear(changes, link("v0"), *(link("v0", mtu=1000 + number) for number in range(20)), ours=ours)
    assert [read_link(message).mtu for message in read] == [1019]
    assert not hear(changes, *(link("v0", mtu=1100 + number) for number in range(20)), ours=ours)
    assert [read_link(message).mtu for message in read] == [1019, 1119]
    assert changes.link_named("v0").mtu == 1119
    assert changes.link_named("eth0").index == 2


def test_nothing_of_a_link_that_came_and_left_within_a_burst_is_read_in_full(changes, read):
    burst = [link("v0"), link("v0", mtu=1400), link("gone-7", group=LEAVING), link("gone-7", group=LEAVING, gone=True)]
    assert not hear(changes, *burst)
    assert (read, changes.renamed_links(), changes.link_named("v0"), changes.link_named("gone-7")) == ([], [], None, None)


def test_each_word_on_a_link_with_an_address_counts(changes, read):
    interface = ip_interface("192.0.2.1/24")
    changes.looked(replace(changes.snapshot, addresses=((2, interface),)), ())
    # Its routes went with its being down.
    assert hear(changes, link("eth0", index=2, up=False), link("eth0", index=2))
    assert len(read) == 2


def route(destination, *, index=7):
    subnet = ip_network(destination)
    body = struct.pack("=BBBBBBBBI", 10, subnet.prefixlen, 0, 0, 254, 2, 0, 1, 0)
    body += attr(1, subnet.network_address.packed) + attr(4, struct.pack("=I", index))
    return struct.pack("=IHHII", 16 + len(body), 24, 0, 0, 0) + body


def test_routes_that_each_link_has_by_itself_are_not_taken_apart(changes, monkeypatch):
    read = []
    monkeypatch.setattr(host_changes, "read_routes", lambda message: read.append(message) or read_routes(message))
    assert not hear(changes, link("v0"), route("fe80::/64"), route("fe80::1/128"), route("ff00::/8"))
    assert not read
    assert hear(changes, route("fd00::/8"))
    assert hear(changes, route("fe00::/8"))
    assert len(read) == 2


def test_a_link_of_ours_that_is_renamed_or_goes_within_a_burst(changes):
    changes.expect("v0")
    assert not hear(changes, link("v0"), link("v0", mtu=1400), link("v1"), ours=("v0", "v1"))
    assert changes.renamed_links() == [("v0", "v1")]
    assert (changes.link_named("v0"), changes.link_named("v1").mtu) == (None, 1500)
    assert not hear(changes, link("v1", mtu=1400), link("v1", gone=True), ours=("v0", "v1"))
    assert changes.link_named("v1") is None


def test_a_link_that_waits_for_its_deletion_is_gone(changes):
    changes.expect("v0")
    assert not hear(changes, link("v0"), link("v0", mtu=1400), ours=("v0",))
    assert not hear(changes, link("v0", group=LEAVING), ours=("v0",))
    assert changes.link_named("v0") is None
    # Its name may be another's by now.
    assert not hear(changes, link("v0", index=8), ours=("v0",))
    assert changes.link_named("v0").index == 8
    assert not hear(changes, link("v0", group=LEAVING, gone=True), ours=("v0",))
    assert changes.link_named("v0").index == 8


def test_a_link_that_is_no_longer_ours_is_looked_at_if_it_stays(changes):
    ours = {"br-a": None, "br-b": None}
    hear(changes, link("br-a", index=7), link("br-b", index=8), ours=ours.keys())
    del ours["br-a"], ours["br-b"]
    for name in ("br-a", "br-b"):
        changes.expect(name)
    # What is told of both in between is no news; the one that is gone is none afterwards, either.
    assert hear(changes, link("br-a", index=7, mtu=1400), link("br-b", index=8, gone=True), ours=ours.keys())
    changes.begin_look()
    assert not hear(changes, ours=ours.keys())
    assert changes.link_named("br-b") is None


def test_a_link_that_goes_with_its_network_is_no_reason_for_a_look(changes):
    ours = {"br-a": None}
    assert not hear(changes, link("br-a"), ours=ours.keys())
    del ours["br-a"]
    changes.expect("br-a")
    address_goes = struct.pack("=IHHII", 24, 21, 0, 0, 0) + struct.pack("=BBBBI", 2, 24, 0, 0, 7)
    assert not hear(changes, address_goes, link("br-a", gone=True), ours=ours.keys())
    # The next one of that name is somebody's.
    assert hear(changes, link("br-a"), address_goes, ours=ours.keys())
