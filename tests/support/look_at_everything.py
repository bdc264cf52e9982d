"""Run inside a lab: print as JSON what there is of berth in the kernel, in the store, in files and in names.

Standard input: a JSON object, pin → names that are asked for in that namespace.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype

from tests.support.lab import TABLES

HOST = -1
_LIBC = ctypes.CDLL(None, use_errno=True)


def enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")


def out(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def links() -> list[list[str]]:
    """Return [name, master, alias, kind] of each link but lo."""
    return [
        [one["ifname"], one.get("master", ""), one.get("ifalias", ""), one.get("linkinfo", {}).get("info_kind", "")]
        for one in json.loads(out("ip", "-d", "-j", "link") or "[]")
        if one.get("ifname", "lo") != "lo"
    ]


def addresses() -> list[list[str]]:
    """Return [link, address with length] of what is not link-local and not on lo."""
    return [
        [link["ifname"], f"{one['local']}/{one['prefixlen']}"]
        for link in json.loads(out("ip", "-j", "addr") or "[]")
        for one in link.get("addr_info", ())
        if one.get("scope") != "link" and link["ifname"] != "lo"
    ]


def ask(name: str) -> list[str]:
    """Return the IPv4 addresses of a name, "no such name", or another response code.

    What a network does not have is asked for outside, where an internal network may not ask: it answers SERVFAIL.
    """
    query = dns.message.make_query(name, "A")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.connect(("127.0.0.11", 53))
        sock.send(query.to_wire())
        response = dns.message.from_wire(sock.recv(4096))
    found = [record.address for rrset in response.answer for record in rrset if rrset.rdtype == dns.rdatatype.A]
    if response.rcode() in (dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL):
        return ["no such name"]
    return sorted(found) or [dns.rcode.to_text(response.rcode())]


def answers(names: list[str]) -> dict[str, list[str]]:
    made = {}
    for name in names:
        try:
            made[name] = ask(name)
        except OSError as error:
            made[name] = [str(error)]
    return made


def store() -> dict[str, Any]:
    with sqlite3.connect("file:/var/lib/berth/berth.db?mode=ro", uri=True) as database:
        rows = database.execute("SELECT key, value FROM item WHERE value IS NOT NULL").fetchall()
    return {key: json.loads(value) for key, value in rows}


def main() -> None:
    asked = json.load(sys.stdin)
    host = os.open("/proc/self/ns/net", os.O_RDONLY)
    inside = {}
    for pin in sorted(one.name for one in Path("/run/netns").iterdir()):
        descriptor = os.open(f"/run/netns/{pin}", os.O_RDONLY)
        enter(descriptor)
        inode = os.fstat(descriptor).st_ino
        os.close(descriptor)
        inside[pin] = {
            "inode": inode,
            "links": links(),
            "addresses": addresses(),
            "tables": len(re.findall("^table", out("nft", "list", "tables"), re.MULTILINE)),
            "answers": answers(asked.get(pin, [])),
        }
        enter(host)
    directory = Path("/run/berth/sandboxes")
    made = {
        "links": links(),
        "addresses": addresses(),
        "inside": inside,
        "tables": out("sh", "-c", TABLES),
        "neighbours": [line.split() for line in out("ip", "neigh", "show", "nud", "permanent").splitlines()],
        "store": store(),
        "directories": {one.name: (one / "hosts").read_text() if (one / "hosts").exists() else "" for one in directory.glob("*")},
        "sockets": sorted({line.split()[4].rpartition(":")[2] for line in out("ss", "-Hlntu").splitlines()}),
    }
    json.dump(made, sys.stdout)


main()
