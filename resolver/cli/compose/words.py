"""A command in one text as words, as Compose splits it: quotes and backslashes, nothing else of a shell. Pure."""

from __future__ import annotations

_BLANKS = " \t\r\n"


def words_of(text: str) -> list[str]:
    """Return the words of *text*, up to the first of `; & | < >`; ValueError for a quote or bracket that stays open."""
    splitter = _Splitter()
    for character in text:
        if not splitter.take(character):
            break
    return splitter.end(text)


class _Splitter:
    """Takes a command character by character."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._word: list[str] = []
        self._is_word = False
        self._escaped = False
        # What is open: a double or single quote, a backtick, or "(" for `$(`.
        self._open: set[str] = set()

    def take(self, character: str) -> bool:
        """Take one character; return whether to go on."""
        if self._escaped:
            self._add(character)
            self._escaped = False
        elif character == "\\":
            if "'" in self._open:
                self._word.append(character)
            else:
                self._escaped = True
        elif character in _BLANKS:
            self._blank(character)
        elif character in ";&|<>" and not self._open:
            # A number before `>` is a descriptor, no word.
            self._is_word = self._is_word and not (character == ">" and "".join(self._word[:1]).isdigit())
            return False
        elif not self._quote(character):
            self._add(character)
        return True

    def end(self, text: str) -> list[str]:
        """Return the words."""
        if self._escaped or self._open:
            raise ValueError(f"{text[:80]!r} has a quote or bracket that is not closed")
        return [*self._words, "".join(self._word)] if self._is_word else self._words

    def _add(self, character: str) -> None:
        self._word.append(character)
        self._is_word = True

    def _blank(self, character: str) -> None:
        if self._open:
            self._word.append(character)
        elif self._is_word:
            self._words.append("".join(self._word))
            self._word, self._is_word = [], False

    def _quote(self, character: str) -> bool:
        """Open or close what *character* opens or closes; return whether it is no part of the word."""
        match character:
            case "'" | '"':
                if self._open & ({"'", '"', "("} - {character}):
                    return False
                self._is_word = self._is_word or character in self._open
                self._open ^= {character}
                return True
            case "`" if not self._open & {"'", '"', "("}:
                self._open ^= {"`"}
            case ")" if not self._open & {"'", '"', "`"}:
                self._open ^= {"("}
            case "(" if not self._open & {"'", '"', "`"}:
                if "(" in self._open or self._word[-1:] != ["$"]:
                    raise ValueError("a bracket is only allowed in quotes, or as $(")
                self._open.add("(")
        return False
