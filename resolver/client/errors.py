"""What can go wrong for a program that uses berth.

BerthError
├─ NoDaemon                           no daemon answers, and none could be started
├─ WrongUse                           a client is used outside of its `with`, or entered twice
├─ WrongVersion                       the daemon's API is none that this client speaks
├─ Refused(kind, object, status)      the daemon refused, or failed
├─ SandboxFailed                      a sandbox could not be started, or has ended
└─ FileFailed                         a file could not be put into a sandbox or taken out
"""

from __future__ import annotations


class BerthError(Exception):
    """Base of all errors that the client raises on purpose. Its text is for people."""


class NoDaemon(BerthError):
    """No daemon answers at the socket, and none could be started."""


class WrongUse(BerthError):
    """A client is used outside of its `with`, or entered a second time inside of it."""


class WrongVersion(BerthError):
    """The daemon speaks no version of the API that this client does, or answers what this client does not understand."""


class Refused(BerthError):
    """The daemon refused a request, or failed with it.

    *kind*: what sort of error, such as `not-found`; *object*: the field, object or capability that it is about, "" if there is none;
    *status*: of HTTP. The page docs/api.md lists them.
    """

    def __init__(self, message: str, kind: str, object_: str, status: int) -> None:
        super().__init__(message)
        self.kind = kind
        self.object = object_
        self.status = status


class SandboxFailed(BerthError):
    """A sandbox could not be started, or has ended while it was used."""


class FileFailed(BerthError):
    """A file could not be put into a sandbox, or taken out of it."""
