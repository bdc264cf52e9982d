"""`.env`, `env_file` and `label_file` by the rules of Compose. Pure.

`NAME=value`, `NAME: value`, `export NAME=value`; `NAME` alone takes the value of whoever reads the file. Values may be in quotes, over
several lines; in double quotes escapes count, and everywhere but in single quotes variables do. ` #` begins a comment.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from resolver.cli.compose.interpolate import BadVariable, Variables, interpolate

_ESCAPE = re.compile(r'\\(?:[abcfnrtv$"\\]|0\d{0,3})')
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "$": "$$"}
_BLANKS = "\t\v\f\r \x85\xa0"
_EXPORT = re.compile(r"export\s+")


class BadEnvFile(Exception):
    """A file of variables can't be read; the text names the line and says why."""


Lookup = Callable[[str], str | None]
"""Returns the value of a variable, None if it has none."""


def parse_env(text: str, lookup: Lookup, known: dict[str, str], warn: Callable[[str], None]) -> None:
    """Add the variables of the file *text* to *known*. What *lookup* knows goes before them when values are interpolated."""
    _Parser(text.removeprefix("\ufeff"), lookup, known, warn).run()


class _Parser:
    def __init__(self, text: str, lookup: Lookup, known: dict[str, str], warn: Callable[[str], None]) -> None:
        self._text = text
        self._at = 0
        self._lookup = lookup
        self._known = known
        self._warn = warn

    def run(self) -> None:
        while self._find_statement():
            name, is_inherited = self._name()
            if not is_inherited:
                self._known[name] = self._value()
            elif (value := self._lookup(name)) is not None:
                self._known[name] = value

    def _find_statement(self) -> bool:
        """Go to the next statement, over comments and empty lines; return whether there is one."""
        text = self._text
        while self._at < len(text):
            if text[self._at].isspace():
                self._at += 1
            elif text[self._at] == "#":
                end = text.find("\n", self._at)
                self._at = len(text) if end < 0 else end
            else:
                return True
        return False

    def _name(self) -> tuple[str, bool]:
        """Read a name and what follows it; return it, and whether it stands alone."""
        if match := _EXPORT.match(self._text, self._at):
            self._at = match.end()
        start = self._at
        for at in range(start, len(self._text)):
            character = self._text[at]
            if character in _BLANKS:
                continue
            if character in "=:\n":
                self._at = at + 1
                break
            if character not in "_.-[]" and not character.isalpha() and not character.isnumeric():
                line = self._text[start:].partition("\n")[0]
                raise self._refusal(f"{character!r} is not allowed in a name: {line[:80]!r}")
        else:
            at = self._at = len(self._text)
            character = "\n"
        name = self._text[start:at].rstrip()
        if " " in name:
            raise self._refusal(f"a name has no spaces: {name[:80]!r}")
        while self._at < len(self._text) and self._text[self._at] in _BLANKS:
            self._at += 1
        return name, character == "\n"

    def _value(self) -> str:
        quote = self._text[self._at : self._at + 1]
        if quote in ("'", '"'):
            return self._quoted(quote)
        end = self._text.find("\n", self._at)
        end = len(self._text) if end < 0 else end
        value = self._text[self._at : end].partition(" #")[0].rstrip()
        self._at = min(end + 1, len(self._text))
        return self._interpolated(value)

    def _quoted(self, quote: str) -> str:
        characters: list[str] = []
        is_escaped = False
        for at in range(self._at + 1, len(self._text)):
            character = self._text[at]
            if character == quote and not is_escaped:
                self._at = at + 1
                value = "".join(characters)
                return self._interpolated(_ESCAPE.sub(_unescaped, value)) if quote == '"' else value
            if character == "\\" and not is_escaped:
                is_escaped = True
                continue
            if is_escaped and character != quote:
                characters.append("\\")
            is_escaped = False
            characters.append(character)
        raise self._refusal(f"a quote is not closed: {self._text[self._at :].partition(chr(10))[0][:80]}")

    def _interpolated(self, value: str) -> str:
        if "$" not in value:
            return value
        try:
            return interpolate(value, Variables(_Both(self._lookup, self._known), self._warn))
        except BadVariable as error:
            raise self._refusal(str(error)) from error

    def _refusal(self, reason: str) -> BadEnvFile:
        return BadEnvFile(f"line {self._text.count(chr(10), 0, self._at) + 1}: {reason}")


class _Both(dict[str, str]):
    """The variables that a lookup knows, and behind them those of a file."""

    def __init__(self, lookup: Lookup, known: dict[str, str]) -> None:
        super().__init__()
        self._lookup = lookup
        self._known = known

    def __contains__(self, name: object) -> bool:
        return self._lookup(str(name)) is not None or name in self._known

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        value = self._lookup(name)
        return self._known.get(name, default) if value is None else value


def _unescaped(match: re.Match[str]) -> str:
    text = match[0][1:]
    if text in _ESCAPED:
        return _ESCAPED[text]
    if text == "c":
        return match[0]
    # `\\0` and three octal digits are that character; of anything else Compose drops the zero.
    digits = text[1:]
    is_character = len(digits) == 3 and not set(digits) & {"8", "9"} and int(digits, 8) < 256
    return chr(int(digits, 8)) if is_character else f"\\{digits}"
