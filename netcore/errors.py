"""The errors of netcore: what was refused or failed, on which object, and what would be right.

NetcoreError
├─ InvalidRequest(field, reason)       the request itself is wrong
├─ NotFound(kind, name)
├─ Conflict(kind, name, reason)        exists, in use, overlaps
├─ Exhausted(kind, name, reason)       a pool or a bound is used up
├─ KernelError(operation, target, errno, detail)
├─ Unavailable(capability, reason)     no root, module missing, IPv6 off, table locked
├─ PluginFailed(plugin, method, reason)  a plugin refuses, breaks off or answers what it must not
└─ TeardownFailed(reasons)             everything was tried; these parts failed
"""

from __future__ import annotations

import errno as errno_names
import os


class NetcoreError(Exception):
    """Base of all errors raised by netcore on purpose."""


class InvalidRequest(NetcoreError):
    """A field of the request is wrong; *reason* says what would be right."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"invalid {field}: {reason}")
        self.field = field
        self.reason = reason


class NotFound(NetcoreError):
    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"no such {kind}: {name}")
        self.kind = kind
        self.name = name


class Conflict(NetcoreError):
    def __init__(self, kind: str, name: str, reason: str) -> None:
        super().__init__(f"{kind} {name}: {reason}")
        self.kind = kind
        self.name = name
        self.reason = reason


class Exhausted(NetcoreError):
    def __init__(self, kind: str, name: str, reason: str) -> None:
        super().__init__(f"{kind} {name}: {reason}")
        self.kind = kind
        self.name = name
        self.reason = reason


class KernelError(NetcoreError):
    """The kernel refused an operation; decisions match on *errno*, never on text."""

    def __init__(self, operation: str, target: str, errno: int, detail: str = "") -> None:
        name = errno_names.errorcode.get(errno, str(errno))
        text = f"{operation} {target}: {name} ({detail or os.strerror(errno)})"
        super().__init__(text)
        self.operation = operation
        self.target = target
        self.errno = errno
        self.detail = detail


class Unavailable(NetcoreError):
    """This host lacks something; *reason* says what to install, load or grant."""

    def __init__(self, capability: str, reason: str) -> None:
        super().__init__(f"{capability} is not available: {reason}")
        self.capability = capability
        self.reason = reason


class PluginFailed(NetcoreError):
    """A third-party plugin refused a call, did not answer it, or answered what the protocol does not allow.

    *refused*: it said so itself, and so has done nothing.
    """

    def __init__(self, plugin: str, method: str, reason: str, *, refused: bool = False) -> None:
        super().__init__(f"plugin {plugin}: {method}: {reason}")
        self.plugin = plugin
        self.method = method
        self.reason = reason
        self.refused = refused


class TeardownFailed(NetcoreError):
    """Everything was tried; *reasons* are the parts that failed."""

    def __init__(self, target: str, reasons: tuple[str, ...]) -> None:
        super().__init__(f"{target} was removed except: {'; '.join(reasons)}")
        self.target = target
        self.reasons = reasons
