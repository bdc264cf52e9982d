"""Words that nobody knows, and those that were meant. Pure."""

from __future__ import annotations

from collections.abc import Iterable

_CLOSE = 0.75
"""How alike two words are (difflib) of which one may be meant for the other."""


_OPPOSITES = (
    {"attach", "detach"}, {"connect", "disconnect"}, {"start", "restart"}, {"install", "uninstall"},
)  # fmt: skip
"""Words that are alike and mean the opposite, or something else: nobody writes one for the other by a slip."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence that asks whether the one of *known* was meant that is a slip of the keyboard away; or ""."""
    import difflib

    names = [name for name in known if not _is_opposite(word, name)]
    near = [name for name in names if _is_swapped(word, name)] or difflib.get_close_matches(word, names, n=1, cutoff=_CLOSE)
    return f"; did you mean {near[0]}?" if near else ""


def _is_swapped(word: str, name: str) -> bool:
    """Return whether *word* is *name* with two letters beside each other swapped."""
    differing = [at for at, (one, other) in enumerate(zip(word, name, strict=False)) if one != other]
    if len(word) != len(name) or len(differing) != 2 or differing[1] - differing[0] != 1:
        return False
    first, second = differing
    return (word[first], word[second]) == (name[second], name[first])


def _is_opposite(word: str, name: str) -> bool:
    bare, other = word.lstrip("-"), name.lstrip("-")
    return f"no-{bare}" == other or f"no-{other}" == bare or {bare, other} in _OPPOSITES


def nearest_or_all(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence as `nearest` does, or one that tells all that are known."""
    names = list(known)
    return nearest(word, names) or f"; there are {', '.join(names) or 'none'}"
