"""Words that nobody knows, and those that were meant. Pure."""

from __future__ import annotations

from collections.abc import Iterable

_CLOSE = 0.75
"""How alike two words are (difflib) of which one may be meant for the other."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence that asks whether the one of *known* was meant that is a slip of the keyboard away; or ""."""
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=_CLOSE)
    return f"; did you mean {near[0]}?" if near else ""


def nearest_or_all(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence as `nearest` does, or one that tells all that are known."""
    names = list(known)
    return nearest(word, names) or f"; there are {', '.join(names) or 'none'}"
