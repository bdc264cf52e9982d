"""What libnftables sends to the kernel for a text, to compare our own messages with. Needs the program `nft`."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from collections.abc import Iterable, Iterator
from typing import Any

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TYPE = re.compile(r"\| (\d{5}) \|")
_OCTETS = re.compile(r"\| ([0-9a-f]{2}) ([0-9a-f]{2}) ([0-9a-f]{2}) ([0-9a-f]{2})  \|")
_ATTRIBUTE = re.compile(r"\|(\d{5})\|([N-])([B-])\|(\d{5})\|")
_BEGIN, _NESTED = 16, 0x8000
_NEWRULE, _NEWSET, _NEWELEM = 6, 9, 12

Message = tuple[int, bytes]
"""(type, body with the family)."""


def messages(text: str) -> list[Message]:
    """Return what libnftables sends for *text*, which it only checks, in a namespace made for that."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--net", "nft", "--debug=mnl", "-c", "-f", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sent = list(_printed(_COLOUR.sub("", done.stdout)))
    # Without an end the kernel checks a transaction and does not carry it out.
    return sent[[type_ for type_, _ in sent].index(_BEGIN) + 1 :]


def _printed(output: str) -> Iterator[Message]:
    """Yield each message that libmnl printed: a line for each attribute, and for each four octets of its value."""
    for block in output.split("message length |")[1:]:
        type_ = _TYPE.search(block)
        assert type_ is not None
        body = b""
        for line in block.splitlines():
            octets, attribute = _OCTETS.match(line), _ATTRIBUTE.match(line)
            if octets is not None:
                body += bytes(int(one, 16) for one in octets.groups())
            elif attribute is not None:
                length, nested, _, number = attribute.groups()
                body += struct.pack("=HH", int(length), int(number) | (_NESTED if nested == "N" else 0))
        yield int(type_[1]), body


def readable(sent: Iterable[Message]) -> list[str]:
    """Return the messages as lines: each attribute with its type and its octets, in their order.

    Two things are made equal that differ and say the same: sets are numbered as they appear, since libnftables numbers those with
    names first; and `bitwise` without an operation, as libnftables sends some, has operation 0.
    """
    numbers: dict[bytes, int] = {}
    lines: list[str] = []
    for type_, body in sent:
        kind = type_ & 0xFF
        lines.append(f"message {kind} family {body[0]}")
        for number, value in _attributes(body[4:]):
            if (kind, number) in ((_NEWSET, 10), (_NEWELEM, 4)):
                value = _numbered(numbers, value)
            if (kind, number) == (_NEWRULE, 4):
                value = [(one, _expression(expression, numbers)) for one, expression in value]
            lines += _lines(number, value, 1)
    return lines


def _expression(attributes: Any, numbers: dict[bytes, int]) -> Any:
    (_, name), *data = attributes
    if not data:
        return attributes
    inner = data[0][1]
    match name.rstrip(b"\0"):
        case b"lookup":
            inner = [(number, _numbered(numbers, value) if number == 4 else value) for number, value in inner]
        case b"dynset":
            inner = [(number, _numbered(numbers, value) if number == 2 else value) for number, value in inner]
        case b"bitwise":
            inner = [(number, value) for number, value in inner if (number, value) != (6, bytes(4))]
    return [attributes[0], (data[0][0], inner)]


def _numbered(numbers: dict[bytes, int], value: bytes) -> str:
    return f"set {numbers.setdefault(value, len(numbers) + 1)}"


def _attributes(octets: bytes) -> list[tuple[int, Any]]:
    """Return (type, value) of each attribute; the value of one that holds attributes is such a list."""
    found: list[tuple[int, Any]] = []
    at = 0
    while at < len(octets):
        size, type_ = struct.unpack_from("=HH", octets, at)
        assert size >= 4
        value = octets[at + 4 : at + size]
        found.append((type_ & ~_NESTED, _attributes(value) if type_ & _NESTED else value))
        at += (size + 3) & ~3
    return found


def _lines(number: int, value: Any, depth: int) -> Iterator[str]:
    before = "  " * depth
    if not isinstance(value, list):
        yield f"{before}{number}: {value if isinstance(value, str) else f'{value.hex()} {value!r}'}"
        return
    yield f"{before}{number}:"
    for inner, one in value:
        yield from _lines(inner, one, depth + 1)
