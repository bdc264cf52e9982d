"""Whole numbers as users write them. Pure."""

from __future__ import annotations


def whole_number(text: str, least: int, most: int) -> int | None:
    """Return the number that *text* means, None if it is none from *least* to *most*.

    Only the digits 0 to 9 count: `str.isdigit` also takes others, which `int` does not, and `int` refuses thousands of them.
    """
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(most)):
        return None
    number = int(digits)
    return number if least <= number <= most else None
