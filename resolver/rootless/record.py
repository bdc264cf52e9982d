"""The file that says where a user's nest is: the pid of its first process, and when that started. Pure."""

from __future__ import annotations

from resolver.light import NamedTuple, read_json, write_json


class NestRecord(NamedTuple):
    """*pid*: of the first process, outside. *started*: in clock ticks since boot. *one_id*: why only one id is mapped, "" if more are."""

    pid: int
    started: int
    one_id: str


def encode(record: NestRecord) -> bytes:
    return write_json(record._asdict()).encode()


def decode(octets: bytes) -> NestRecord | None:
    """Return the record in *octets*, None if there is none: nobody has started a nest, or its writer was killed."""
    try:
        fields = read_json(octets)
        return NestRecord(int(fields["pid"]), int(fields["started"]), str(fields["one_id"]))
    except (ValueError, TypeError, KeyError):
        return None
