"""What this host has published to all hosts."""

from dataclasses import replace
from ipaddress import ip_interface

from netcore.cluster.publications import Publications
from netcore.model import Endpoint, Sandbox
from tests.support.networks import overlay_network, pool

FAR = overlay_network("far", pool("10.40.0.0/24"))
SANDBOX = Sandbox(id="s" * 12, name="web", hostname="web", netns_path="/x", boot_id="")
ENDPOINT = Endpoint(
    origin="api", network_id=FAR.id, sandbox_id=SANDBOX.id, ifname="eth0", host_ifname="v", mac="02:42:00:00:00:01",
    ipv4=ip_interface("10.40.0.2/24"), ipv6=ip_interface("fd40::2/64"),
)  # fmt: skip


def test_everything_can_be_published_again():
    published = Publications("id-a")
    assert published.keys() == set()
    key = published.add(SANDBOX, ENDPOINT, FAR)
    other = published.add(SANDBOX, replace(ENDPOINT, sandbox_id="t", ipv4=ip_interface("10.40.0.3/24"), ipv6=None), FAR)
    assert published.records[key].node == "id-a"
    assert published.keys() == {key, other, "address/far/10.40.0.2", "address/far/fd40::2", "address/far/10.40.0.3"}
    # A rename changes the record and nothing else.
    before = published.records[key]
    assert published.add(replace(SANDBOX, name="bee"), ENDPOINT, FAR) == key
    assert published.records[key] != before
    assert published.networks() == {FAR.id: FAR}
    assert published.users_of("address/far/fd40::2") == [ENDPOINT]
    assert len(published.endpoints_on(FAR.id)) == 2
    # Its addresses are in use until they are given back by themselves.
    assert published.remove(ENDPOINT) == published.remove(ENDPOINT) == key
    assert published.keys() == {other, "address/far/10.40.0.2", "address/far/fd40::2", "address/far/10.40.0.3"}
    assert published.users_of("address/far/fd40::2") == []
    published.claimed.discard("address/far/10.40.0.2")
    assert published.keys() == {other, "address/far/fd40::2", "address/far/10.40.0.3"}
