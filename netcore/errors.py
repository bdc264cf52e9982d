"""The errors of netcore: what was refused or failed, on which object, and what would be right.

NetcoreError
├─ InvalidRequest(field, reason)         the request itself is wrong
├─ NotFound(object_kind, name)
├─ Conflict(object_kind, name, reason)   exists, in use, overlaps
├─ Exhausted(object_kind, name, reason)  a pool or a bound is used up
├─ KernelError(operation, target, errno, detail)
├─ Unavailable(capability, reason)       no root, module missing, IPv6 off, table locked
├─ PluginFailed(plugin, method, reason)  a plugin refuses, breaks off or answers what it must not
├─ TeardownFailed(target, reasons)       everything was tried; these steps failed
└─ CompareFailed, Compacted              of the store: `netcore.store.protocol`

Each class says how it is reported: `kind` is its word in the error body of the admin API, `status` the HTTP status. Each
error has a `subject`: the field, object or capability that it is about, None if it is about no single one. There is one
rule for all: the admin API answers with the status and {"error": {"kind", "object", "message"}}; a command prints the
message on one line and exits with 1 (`run` and `exec` with 125, as docker run does).
"""

from __future__ import annotations

import errno as errno_names
import os
from typing import ClassVar


class NetcoreError(Exception):
    """Base of all errors that netcore raises on purpose. Abstract: a subclass sets `kind` and `status`."""

    kind: ClassVar[str]
    status: ClassVar[int]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not (hasattr(cls, "kind") and hasattr(cls, "status")):
            raise TypeError(f"{cls.__name__} must set kind and status")

    def __init__(self, message: str, subject: str | None) -> None:
        if type(self) is NetcoreError:
            raise TypeError("NetcoreError is abstract: raise one of its subclasses")
        super().__init__(message)
        self.subject = subject


class InvalidRequest(NetcoreError):
    """A field of the request is wrong; *reason* says what would be right."""

    kind = "invalid"
    status = 400

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"invalid {field}: {reason}", subject=field)
        self.field = field
        self.reason = reason


class NotFound(NetcoreError):
    kind = "not-found"
    status = 404

    def __init__(self, object_kind: str, name: str, hint: str | None = None) -> None:
        super().__init__(f"no such {object_kind}: {name}" + (f"; {hint}" if hint else ""), subject=name)
        self.object_kind = object_kind
        self.name = name


class Conflict(NetcoreError):
    """The state of an object does not allow the request: it exists, is in use, overlaps with another."""

    kind = "conflict"
    status = 409

    def __init__(self, object_kind: str, name: str, reason: str | None = None, *, because: str | None = None) -> None:
        super().__init__(_about(object_kind, name, reason, because), subject=name)
        self.object_kind = object_kind
        self.name = name


class Exhausted(NetcoreError):
    """A pool or a bound is used up."""

    kind = "exhausted"
    status = 409

    def __init__(self, object_kind: str, name: str, reason: str | None = None, *, because: str | None = None) -> None:
        super().__init__(_about(object_kind, name, reason, because), subject=name)
        self.object_kind = object_kind
        self.name = name


def _about(object_kind: str, name: str, reason: str | None, because: str | None) -> str:
    """Return the sentence of an error about one object; exactly one of *reason* and *because* is given.

    *reason* is a predicate whose subject is the object: "network front" + "already exists". *because* is a sentence with a
    subject of its own: "state directory /x" + ": " + "another berth daemon is using it".
    """
    assert (reason is None) != (because is None)
    return f"{object_kind} {name} {reason}" if because is None else f"{object_kind} {name}: {because}"


class KernelError(NetcoreError):
    """The kernel refused an operation; decisions match on *errno*, never on text.

    *place*: where in the body of its request it found fault, if it said so.
    """

    kind = "kernel"
    status = 500

    def __init__(self, operation: str, target: str, errno: int, detail: str = "", place: int | None = None) -> None:
        name = errno_names.errorcode.get(errno, str(errno))
        super().__init__(f"{operation} {target}: {name} ({detail or os.strerror(errno)})", subject=target)
        self.operation = operation
        self.target = target
        self.errno = errno
        self.detail = detail
        self.place = place


class Unavailable(NetcoreError):
    """This host lacks something; *reason* says what to install, load or grant."""

    kind = "unavailable"
    status = 503

    def __init__(self, capability: str, reason: str) -> None:
        super().__init__(f"{capability} is not available: {reason}", subject=capability)
        self.capability = capability
        self.reason = reason


class PluginFailed(NetcoreError):
    """A third-party plugin refused a call, did not answer it, or answered what the protocol does not allow.

    *refused*: the plugin itself reported the error, so it has done nothing.
    """

    kind = "plugin"
    status = 502

    def __init__(self, plugin: str, method: str, reason: str, *, refused: bool = False) -> None:
        super().__init__(f"plugin {plugin}: {method}: {reason}", subject=plugin)
        self.plugin = plugin
        self.method = method
        self.reason = reason
        self.refused = refused


class TeardownFailed(NetcoreError):
    """*target* is removed as far as possible: every step was tried, and *reasons* are the errors of those that failed."""

    kind = "teardown"
    status = 500

    def __init__(self, target: str, reasons: tuple[str, ...]) -> None:
        super().__init__(f"removed {target}, but these steps failed: {'; '.join(reasons)}", subject=target)
        self.target = target
        self.reasons = reasons
