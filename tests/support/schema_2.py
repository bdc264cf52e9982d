"""What berth 0.2.0 (commit e51f399) stored, octet by octet: records of schema version 2, of both stores."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE item (
  key TEXT PRIMARY KEY, value BLOB, revision INTEGER NOT NULL, session TEXT NOT NULL DEFAULT ''
);
CREATE INDEX item_revision ON item (revision);
INSERT INTO meta VALUES ('schema', '2');
"""

ROWS = (
    (
        "network/wwww",
        b'{"network":{"id":"wwww","name":"weave","driver":"weave","common":{"mtu":1450,"ifname_prefix":"eth","announcements":3,'
        b'"announcement_interval_ms":1000,"ttl":5,"forward_single_label":true,"allow_rebinding":false,"forward":[]},"driver_options":'
        b'{"kind":"plugin","plugin":"weave","scope":"local","no_gateway4":true,"no_gateway6":false},"internal":false,"ipv4":true,'
        b'"ipv6":false,"pools":[{"subnet":"10.66.0.0/16","ip_range":null,"gateway":null,"auxiliary":[],"identity":"pool-1"},{"subnet":'
        b'"10.60.0.0/24","ip_range":null,"gateway":"10.60.0.1","auxiliary":[],"identity":""}],"ipam":{"plugin":"weave","space":"here",'
        b'"options":[],"needs_mac":true,"needs_replay":false},"options":[],"labels":[["a","b"]],"routes":[],"owner":null,"created":1.5},'
        b'"pending":false}',
        "",
    ),
    (
        "sandbox/aaaa",
        b'{"sandbox":{"id":"aaaa","name":"web","hostname":"web","netns_path":"/run/netns/berth-aaaa","boot_id":"boot","adopted":false,'
        b'"domainname":"","origin":"api","owner":null,"dns":{"servers":[],"search":[],"options":[]},"extra_hosts":[],"port_requests":[],'
        b'"ports":[],"exposed":["53/udp"],"publish_all":false,"labels":[],"created":3.5,"stack":"own","shared_with":"","ended":false,'
        b'"forwards":false,"sysctls":[]},"pending":false}',
        "boot",
    ),
    (
        "endpoints/aaaa",
        b'{"endpoints":[{"origin":"api","network_id":"wwww","sandbox_id":"aaaa","ifname":"plug0","host_ifname":"","mac":'
        b'"02:42:0a:3c:00:02","ipv4":"10.60.0.2/24","ipv6":null,"link_local":[],"aliases":["alias"],"services":[],"links":[],'
        b'"gateway_priority":0,"routes":[],"sysctls":[],"ports":[],"answer":{"link":"vc1","gateway4":"10.60.0.1","gateway6":null,'
        b'"wants_gateway":true}}],"pending":true,"before":[{"origin":"api","network_id":"wwww","sandbox_id":"aaaa","ifname":"eth0",'
        b'"host_ifname":"","mac":"02:42:0a:3c:00:02","ipv4":"10.60.0.2/24","ipv6":null,"link_local":[],"aliases":["alias"],"services":[],'
        b'"links":[],"gateway_priority":0,"routes":[],"sysctls":[],"ports":[],"answer":{"link":"","gateway4":null,"gateway6":null,'
        b'"wants_gateway":false}},{"origin":"api","network_id":"ffff","sandbox_id":"aaaa","ifname":"eth1","host_ifname":"","mac":'
        b'"02:42:0a:3c:00:02","ipv4":"10.40.0.2/24","ipv6":null,"link_local":[],"aliases":["alias"],"services":[],"links":[],'
        b'"gateway_priority":0,"routes":[],"sysctls":[],"ports":[],"answer":null}]}',
        "boot",
    ),
    (
        "sandbox/bbbb",
        b'{"sandbox":{"id":"bbbb","name":"side","hostname":"web","netns_path":"/run/netns/berth-bbbb","boot_id":"boot","adopted":false,'
        b'"domainname":"","origin":"api","owner":null,"dns":{"servers":[],"search":[],"options":[]},"extra_hosts":[],"port_requests":[],'
        b'"ports":[],"exposed":[],"publish_all":false,"labels":[],"created":4.5,"stack":"container","shared_with":"aaaa","ended":false,'
        b'"forwards":false,"sysctls":[]},"pending":false}',
        "boot",
    ),
    ("endpoints/bbbb", b'{"endpoints":[],"pending":false,"before":[]}', "boot"),
    ("rest/wwww/10.60.0.9", b"7.5", "boot"),
)
"""(key, value, session) of a host's own store."""

ENDPOINT = "a4f1c0caa5139c4c3f3a98924573cc96f789a6d7ea5c36b795f863350a704837"

SHARED = {
    "node/id-a": b'{"id":"id-a","name":"a","vtep":"10.99.0.1"}',
    "network/ffff": (
        b'{"id":"ffff","name":"far","driver":"overlay","common":{"mtu":1450,"ifname_prefix":"eth","announcements":3,'
        b'"announcement_interval_ms":1000,"ttl":5,"forward_single_label":true,"allow_rebinding":false,"forward":[]},"driver_options":'
        b'{"kind":"bridge","bridge_name":"br-ffff","bridge_mac":"02:42:00:00:00:01","reuse_bridge":false,"icc":true,"masquerade":true,'
        b'"host_binding":[],"gateway_mode_ipv4":"nat","gateway_mode_ipv6":"nat","inhibit_ipv4":false,"trusted_interfaces":[],'
        b'"snat_ipv4":null,"snat_ipv6":null,"vxlan":{"vni":4096,"port":4789,"encrypted":false}},"internal":false,"ipv4":true,'
        b'"ipv6":false,"pools":[{"subnet":"10.40.0.0/24","ip_range":null,"gateway":"10.40.0.1","auxiliary":[],"identity":""}],'
        b'"ipam":null,"options":[["vni","4096"]],"labels":[],"routes":[],"owner":null,"created":2.5}'
    ),
    "name/far": b"ffff",
    "networks": b"ffff",
    "address/ffff/10.40.0.2": b"id-a",
    f"endpoint/ffff/{ENDPOINT}": (
        b'{"node":"id-a","sandbox":"web","mac":"02:42:0a:3c:00:02","addresses":["10.40.0.2"],"names":["web","alias","aaaa"],'
        b'"ports":[[53,"udp"]]}'
    ),
    "key/1": b'{"number":1,"secret":"abababababababababababababababababababababababababababababababab"}',
}
"""What hosts shared in etcd."""


def write_database(directory: Path) -> None:
    """Make the database of a host's own store in *directory*."""
    with contextlib.closing(sqlite3.connect(directory / "berth.db")) as connection, connection:
        connection.executescript(TABLES)
        rows = [(key, value, number, session) for number, (key, value, session) in enumerate(ROWS, 1)]
        connection.executemany("INSERT INTO item VALUES (?, ?, ?, ?)", rows)
