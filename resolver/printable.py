"""Text of others for terminals and logs. Pure."""

from __future__ import annotations

_ESCAPES = {number: ascii(chr(number))[1:-1] for number in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)} | {0x09: "\t"}


def printable(text: str) -> str:
    """Return *text* with its control characters and line ends written as escapes, so that it can't steer a terminal or forge a line."""
    # Nearly all is, and to look takes a tenth of the time.
    return text if text.isprintable() else text.translate(_ESCAPES)
