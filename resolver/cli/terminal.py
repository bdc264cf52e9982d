"""What standard output is: how wide, and whether it shows colours."""

from __future__ import annotations

import os
import sys
from typing import TextIO

WIDTH = 80
"""Of a terminal that does not say."""
_STYLES = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "dim": "2"}

_DIGITS = 5
"""No terminal has a number of columns as long."""

COLOURS = ("auto", "never", "always")
"""When there are colours: auto is on terminals, unless NO_COLOR is set."""
_chosen = COLOURS[:1]


def show_colours(when: str) -> None:
    """Show colours *when*, one of `COLOURS`, from now on."""
    global _chosen
    _chosen = (when,)


def width() -> int | None:
    """Return the columns of the terminal: COLUMNS, or what the terminal says, or 80; None, as many as you like, if it is none."""
    if not sys.stdout.isatty():
        return None
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and len(given) < _DIGITS and int(given):
        return int(given)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or WIDTH
    except (OSError, ValueError):
        return WIDTH


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return *text* in *style* (bold, dim, red, green, yellow) if *stream*, by default standard output, shows colours."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if text and has_colours(stream) else text


def has_colours(stream: TextIO | None = None) -> bool:
    """Whether *stream* is a terminal with colours, and nobody has asked for none (https://no-color.org) or for some."""
    if _chosen != ("auto",):
        return _chosen == ("always",)
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb" and (stream or sys.stdout).isatty()
