"""Which ids of a host are mapped into the user namespace of an ordinary user, and to what. Pure.

Spec: user_namespaces(7), uid_map; subuid(5), newuidmap(1).
"""

from __future__ import annotations

from resolver.light import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class IdRange(NamedTuple):
    """*length* ids from *inside* on are those from *outside* on."""

    inside: int
    outside: int
    length: int


def subordinate(text: str, name: str, uid: int) -> list[tuple[int, int]]:
    """Return (first, count) of each range that the file *text* (/etc/subuid or /etc/subgid) gives to the user."""
    found = []
    for line in text.splitlines():
        fields = line.partition("#")[0].strip().split(":")
        if len(fields) == 3 and fields[0] in (name, str(uid)) and fields[1].isdigit() and fields[2].isdigit() and int(fields[2]):
            found.append((int(fields[1]), int(fields[2])))
    return found


def mapping(own: int, ranges: Iterable[tuple[int, int]]) -> list[IdRange]:
    """Return the map of a user whose id is *own*: he is root, and *ranges* are the ids from 1 on."""
    made, first = [IdRange(0, own, 1)], 1
    for outside, count in ranges:
        made.append(IdRange(first, outside, count))
        first += count
    return made


def as_arguments(ranges: Iterable[IdRange]) -> list[str]:
    """Return *ranges* as newuidmap takes them behind the pid."""
    return [str(number) for one in ranges for number in one]
