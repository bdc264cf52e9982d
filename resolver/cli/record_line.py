"""A static record in one line, as in a zone file: `printer A 192.168.1.20`, or with a TTL `printer 60 A 192.168.1.20`. Pure."""

from __future__ import annotations

from typing import Any


def record_of(text: str) -> dict[str, Any]:
    """Return the body of a record for the admin API; ValueError if *text* has not NAME, TYPE and VALUE. Their meaning is not checked."""
    words = text.split(maxsplit=2)
    ttl = int(words[1]) if len(words) == 3 and words[1].isdecimal() else None
    if ttl is not None:
        words = [words[0], *words[2].split(maxsplit=1)]
    if len(words) != 3:
        raise ValueError(f"{text!r}: it should be 'NAME TYPE VALUE', as in 'printer A 192.168.1.20'")
    name, rtype, data = words
    return {"name": name, "type": rtype, "data": data, "ttl": ttl}
