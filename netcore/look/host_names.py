"""The name of a host as clients write it, in a form in which it can be compared."""

from __future__ import annotations

import re

from netcore import limits

_LABEL = re.compile(rf"[a-z0-9_](?:[a-z0-9_-]{{0,{limits.LABEL_LENGTH - 2}}}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_NAME_LENGTH = 253


class BadName(ValueError):
    """The octets are no name of a host; the text is a clause that says why."""


def read_name(octets: bytes) -> str:
    """Return the name in lower case and without trailing dot; raises BadName.

    A name is made of labels of letters, digits, "-" and "_" (RFC 1123 section 2.1; the underscore is in use). What ends in a
    number is an address, in whatever form (WHATWG URL, "ends in a number").
    """
    try:
        text = octets.decode("ascii").lower().removesuffix(".")
    except UnicodeDecodeError:
        raise BadName("is not ASCII") from None
    if not text:
        raise BadName("is empty")
    if len(text) > _NAME_LENGTH:
        raise BadName(f"has more than {_NAME_LENGTH} characters")
    if ":" in text or "[" in text:
        raise BadName("is an address")
    labels = text.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise BadName("is not the name of a host")
    if _NUMBER.fullmatch(labels[-1]):
        raise BadName("is an address")
    return text
