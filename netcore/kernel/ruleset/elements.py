"""Elements of sets as a text writes them: each a value for each field. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from netcore.kernel.ruleset.data_types import DataType, joined
from netcore.kernel.ruleset.words import RulesetError, Words

Elements = Sequence[tuple[bytes, bytes | None]]
"""(key, datum): octets, and what a map has for them."""


def read_elements(words: Words, types: Sequence[DataType]) -> list[bytes]:
    """Read the elements of a set: `{ a . b, c . d }`; return their octets."""
    words.expect("{")
    elements = [read_element(words, types)]
    while words.accept(","):
        elements.append(read_element(words, types))
    words.expect("}")
    return elements


def read_element(words: Words, types: Sequence[DataType]) -> bytes:
    """Read one element: `a . b`; return its octets."""
    parts = []
    for at, one in enumerate(types):
        if at:
            words.expect(".")
        word = words.take()
        try:
            parts.append(one.octets(word))
        except (ValueError, KeyError, OverflowError) as error:
            raise RulesetError(f"ruleset: {word!r} is no such element: {words.line()}") from error
    return joined(parts)
