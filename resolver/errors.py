"""The errors of the resolver half.

ResolverError
├─ DecodeError(offset, reason)    octets from a peer are malformed
├─ BadName(text, reason)          a text is not a domain name
├─ ConfigError(source, problems)  everything that is wrong with a configuration, at once
├─ Unauthenticated(reason)        a client of the admin API does not show who it is
├─ Forbidden(subject, reason)     a client may not do this
├─ Busy(reason)                   a client asks for too much at once
└─ Stopping()                     the daemon ends; the next one can do what is asked for

They are reported as those of `netcore.errors` are: by `kind`, `status` and `subject`.
"""

from __future__ import annotations

from typing import ClassVar


class ResolverError(Exception):
    """Base of all errors that the resolver half raises on purpose. Abstract: a subclass sets `kind` and `status`."""

    kind: ClassVar[str]
    status: ClassVar[int]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not (hasattr(cls, "kind") and hasattr(cls, "status")):
            raise TypeError(f"{cls.__name__} must set kind and status")

    def __init__(self, message: str, subject: str | None) -> None:
        if type(self) is ResolverError:
            raise TypeError("ResolverError is abstract: raise one of its subclasses")
        super().__init__(message)
        self.subject = subject


class DecodeError(ResolverError):
    """A message that a peer sent is malformed at *offset*, in octets."""

    kind = "invalid"
    status = 400

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"malformed message at octet {offset}: {reason}", subject=None)
        self.offset = offset
        self.reason = reason


class BadName(ResolverError):
    """*text* is no domain name (RFC 1035 section 2.3.4)."""

    kind = "invalid"
    status = 400

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{text[:80]!r} is no domain name: {reason}", subject=text)
        self.text = text
        self.reason = reason


class ConfigError(ResolverError):
    """A configuration from *source* is wrong; *problems*: (path of the key, what is wrong) of each."""

    kind = "invalid"
    status = 400

    def __init__(self, source: str, problems: tuple[tuple[str, str], ...]) -> None:
        lines = "".join(f"\n  {path}: {reason}" for path, reason in problems)
        super().__init__(f"{source} has {len(problems)} problem{'s' if len(problems) > 1 else ''}:{lines}", subject=source)
        self.source = source
        self.problems = problems


class Unauthenticated(ResolverError):
    """A client of the admin API did not show what it must."""

    kind = "unauthenticated"
    status = 401

    def __init__(self, reason: str) -> None:
        super().__init__(reason, subject=None)


class Forbidden(ResolverError):
    """A client may not do this; *reason* says who may."""

    kind = "forbidden"
    status = 403

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(f"{subject}: {reason}", subject=subject)


class Busy(ResolverError):
    """A client asks for more at once than one may have."""

    kind = "busy"
    status = 429

    def __init__(self, reason: str) -> None:
        super().__init__(reason, subject=None)


class Stopping(ResolverError):
    """This daemon ends and changes nothing any more. Nothing was done: whoever asks the next one asks for the first time."""

    kind = "stopping"
    status = 503

    def __init__(self) -> None:
        super().__init__("the daemon stops, and nothing was changed; ask the next one", subject=None)
