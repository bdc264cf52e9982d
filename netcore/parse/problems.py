"""Several things that are wrong with one request, said at once. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from netcore.errors import InvalidRequest

Problem = tuple[str, str]
"""(field, what is wrong with it)."""


def refuse(problems: Iterable[Problem]) -> None:
    """Raise one InvalidRequest for all of *problems*, with the field of the first; return if there is none."""
    all_of_them = [*problems]
    if all_of_them:
        (field, reason), *others = all_of_them
        raise InvalidRequest(field, "; ".join([reason, *(f"{other}: {text}" for other, text in others)]))
