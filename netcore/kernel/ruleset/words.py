"""The words of a ruleset's text, in order. Pure."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from typing import NoReturn, TypeVar

_T = TypeVar("_T")

_WORD = re.compile(r'"[^"]*"|@(?:ll|nh|th),\d+,\d+|[!=<>]=|[{}();,|&<>=\n]|[^\s{}();,|&"#!=<>]+|[^\s]')
_COMMENT = re.compile(r"#.*")
END = ""
"""Follows the last word."""
BREAKS = ("\n", ";")
"""What ends a rule or a property."""


class RulesetError(ValueError):
    """A text says what is not understood here; only its writer can mend that."""


class Words:
    """A place in a text. Errors (RulesetError) say the line."""

    __slots__ = ("_at", "_breaks", "_lines", "_words")

    def __init__(self, text: str) -> None:
        self._words: list[str] = _WORD.findall(_COMMENT.sub("", text))
        self._lines = text.splitlines()
        self._breaks = [at for at, word in enumerate(self._words) if word == "\n"]
        self._at = 0

    @property
    def next(self) -> str:
        """The word that comes next, `END` behind the last."""
        return self._words[self._at] if self._at < len(self._words) else END

    def following(self, count: int) -> tuple[str, ...]:
        """Return the next *count* words, or what there is of them."""
        return tuple(self._words[self._at : self._at + count])

    def take(self, count: int = 1) -> str:
        """Pass *count* words of this line; return the last of them."""
        if self.next in ("\n", END):
            self.refuse("more")
        self._at += count
        return self._words[self._at - 1]

    def back(self) -> None:
        """Make the last word the next one again."""
        self._at -= 1

    def number(self) -> int:
        """Pass a number and return it."""
        word = self.take()
        try:
            return int(word, 0)
        except ValueError:
            self.back()
            self.refuse("a number")

    def one_of(self, known: Mapping[str, _T]) -> _T:
        """Pass a word of *known*; return what it stands for."""
        if self.next not in known:
            self.refuse(" or ".join(f"`{word}`" for word in known))
        return known[self.take()]

    def accept(self, *words: str) -> bool:
        """Pass *words* if they come next; return whether they did."""
        if self.following(len(words)) != words:
            return False
        self._at += len(words)
        return True

    def expect(self, *words: str) -> None:
        if not self.accept(*words):
            self.refuse(f"`{' '.join(words)}`")

    def skip_breaks(self) -> None:
        while self.next in BREAKS:
            self._at += 1

    def line(self) -> str:
        """Return the line of the next word."""
        number = bisect_left(self._breaks, self._at)
        return self._lines[number].strip() if number < len(self._lines) else ""

    def refuse(self, wanted: str) -> NoReturn:
        """Raise RulesetError: *wanted* is what should come next."""
        found = {END: "the end", "\n": "the end of the line"}.get(self.next, f"`{self.next}`")
        raise RulesetError(f"ruleset: {wanted} is expected in place of {found}: {self.line()}")
