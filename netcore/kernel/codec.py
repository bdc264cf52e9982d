"""The one import of pyroute2: its message classes encode rtnetlink requests. Its sockets are not used.

Importing the whole package takes 200 ms, its message classes alone a third of that. So an empty package of that name is
put in place, which the classes are imported from, unless this process has imported the whole package already.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

if "pyroute2" not in sys.modules:
    _spec = importlib.util.find_spec("pyroute2")
    if _spec is None or _spec.submodule_search_locations is None:
        raise ImportError("pyroute2 is not installed")
    _package = types.ModuleType("pyroute2")
    _package.__path__ = list(_spec.submodule_search_locations)
    sys.modules["pyroute2"] = _package

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
