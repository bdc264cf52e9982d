"""A codec of rtnetlink that is told by names what to write: pyroute2's message classes. Our own octets are compared with its."""

from __future__ import annotations

from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

_CLASSES = {"link": ifinfmsg, "address": ifaddrmsg, "route": rtmsg, "neighbor": ndmsg}


def encode(kind: str, fields: dict[str, Any], attrs: list[tuple[str, Any]]) -> bytes:
    """Return the body of a message (behind the 16-octet netlink header) of *kind*."""
    message = _CLASSES[kind]()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attrs
    message.encode()
    return bytes(message.data[16:])
