"""This host as one of several: its id, its address, its store."""

import socket
from ipaddress import ip_address

import pytest

from netcore.errors import InvalidRequest
from resolver.daemon import clustering
from resolver.daemon.config import DaemonConfig

CONFIG = {"store": "etcd://user:secret@127.0.0.1:2379/x", "store_ttl": 9, "store_grace": 90}


def test_settings_of_etcd():
    settings = clustering.etcd_settings(DaemonConfig(**CONFIG, store_ca="/ca", store_certificate="/c", store_key="/k"))
    assert settings.endpoints == ("http://127.0.0.1:2379",)
    assert (settings.ca, settings.certificate, settings.key, settings.ttl, settings.grace) == ("/ca", "/c", "/k", 9, 90)


def test_address_that_others_reach_this_host_at():
    assert clustering.find_vtep(DaemonConfig()) is None
    assert clustering.find_vtep(DaemonConfig(**CONFIG, advertise="192.0.2.7")) == ip_address("192.0.2.7")
    assert clustering.find_vtep(DaemonConfig(**CONFIG)) == ip_address("127.0.0.1")


def test_host_that_does_not_find_etcd_must_be_told_its_address(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror("unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(InvalidRequest, match="invalid advertise: there is no route to etcd"):
        clustering.find_vtep(DaemonConfig(**CONFIG))


async def test_node_keeps_its_id(tmp_path):
    config = DaemonConfig(**CONFIG, state_dir=str(tmp_path))
    first = await clustering.make(config, ip_address("127.0.0.1"), lambda: 0.0)
    again = await clustering.make(config, ip_address("127.0.0.1"), lambda: 0.0)
    assert len(first.node.id) == 32
    assert first.node == again.node
