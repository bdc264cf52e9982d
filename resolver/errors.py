"""The errors of the resolver half.

ResolverError
├─ DecodeError(offset, reason)    a peer's octets are malformed
├─ BadName(text, reason)          a text is not a domain name
└─ ConfigError(problems)          everything that is wrong with a configuration, at once
"""

from __future__ import annotations


class ResolverError(Exception):
    """Base of all errors raised by the resolver half on purpose."""


class DecodeError(ResolverError):
    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"malformed message at octet {offset}: {reason}")
        self.offset = offset
        self.reason = reason


class BadName(ResolverError):
    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{text[:80]!r} is no domain name: {reason}")
        self.text = text
        self.reason = reason


class ConfigError(ResolverError):
    """*problems*: (path of the key, what is wrong) of each."""

    def __init__(self, source: str, problems: tuple[tuple[str, str], ...]) -> None:
        lines = "".join(f"\n  {path}: {reason}" for path, reason in problems)
        super().__init__(f"{source} has {len(problems)} problem{'s' if len(problems) > 1 else ''}:{lines}")
        self.source = source
        self.problems = problems
