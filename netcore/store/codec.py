"""Model values to octets and back: JSON of the dataclass fields, addresses as text. Pure.

What was not written by us, or was damaged since, raises Undecodable, whatever is wrong with it.

A record of a store that hosts share has one field more, `schema`: the version that it was written with.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any, TypeVar

import msgspec

from netcore.store.upgrade import FIRST_SHARED_VERSION, SCHEMA_VERSION, upgraded

_T = TypeVar("_T")

_PARSERS: dict[type, Any] = {
    IPv4Address: ip_address,
    IPv6Address: ip_address,
    IPv4Interface: ip_interface,
    IPv6Interface: ip_interface,
    IPv4Network: ip_network,
    IPv6Network: ip_network,
}
_SCHEMA = "schema"


class Undecodable(ValueError):
    """Octets that are no record of the kind that was asked for; the text says why."""


def encode(value: object) -> bytes:
    """Return *value* (a model dataclass) as JSON."""
    return msgspec.json.encode(value, enc_hook=str)


def decode(kind: type[_T], octets: bytes) -> _T:
    """Return the *kind* that `encode` wrote; fields that are not there take their default. Undecodable if it did not write it."""
    try:
        result: _T = _build(kind, msgspec.json.decode(octets))
    except _WRONG as error:
        raise Undecodable(_reason(error)) from error
    return result


def encode_shared(value: object) -> bytes:
    """Return *value* (a model dataclass) as JSON that says with which schema version it was written."""
    return msgspec.json.encode({_SCHEMA: SCHEMA_VERSION, **msgspec.to_builtins(value, enc_hook=str)})


def decode_shared(kind: type[_T], key: str, octets: bytes) -> _T:
    """Return the *kind* that `encode_shared` wrote at *key*, now or in an earlier version. Undecodable if it did not write it."""
    try:
        record = msgspec.json.decode(octets)
        schema = record.pop(_SCHEMA, FIRST_SHARED_VERSION)
        result: _T = _build(kind, upgraded(schema, key, record))
    except _WRONG as error:
        raise Undecodable(_reason(error)) from error
    return result


def name_in(octets: bytes | str, *path: str) -> str | None:
    """Return the text at *path* of a record that can't be decoded, if that much of it is there."""
    try:
        found = msgspec.json.decode(octets)
        for key in path:
            found = found[key]
    except _WRONG:
        return None
    return found if isinstance(found, str) else None


_WRONG = (msgspec.DecodeError, ValueError, TypeError, LookupError, AttributeError, StopIteration, RecursionError, OverflowError)


def _reason(error: BaseException) -> str:
    return f"lacks {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__


_Reader = Callable[[Any], Any]
"""Makes a value of what a record holds in its place."""


def _build(hint: Any, raw: Any) -> Any:
    return _reader(hint)(raw)


@functools.cache
def _reader(hint: Any) -> _Reader:
    """Return what reads values of the type *hint*. Made once: to look at a type takes longer than to read a value."""
    read = _reader_of_value(hint)
    if _may_be_none(hint) or hint is type(None):
        return lambda raw: None if raw is None else read(raw)

    def read_value(raw: Any) -> Any:
        if raw is None:
            raise TypeError(f"null is no {getattr(hint, '__name__', hint)}")
        return read(raw)

    return read_value


def _reader_of_value(hint: Any) -> _Reader:
    """Return the same for values other than null."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return _reader_of_union(typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return _reader_of_tuple(typing.get_args(hint))
    if is_dataclass(hint) and isinstance(hint, type):
        return functools.partial(_read_dataclass, hint)
    if hint in _PARSERS:
        parse: _Reader = _PARSERS[hint]
        return parse
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
    if hint is float:
        return lambda raw: float(raw) if type(raw) is int else _read_scalar(float, raw)
    scalar = getattr(hint, "__supertype__", hint)
    if isinstance(scalar, type) and scalar in (str, int, float, bool):
        return functools.partial(_read_scalar, scalar)
    return lambda raw: raw


def _reader_of_union(hints: tuple[Any, ...]) -> _Reader:
    """Of several dataclasses a record is the one with its `kind`."""
    dataclasses: list[Any] = [hint for hint in hints if is_dataclass(hint)]
    if len(dataclasses) <= 1:
        return _reader(next(hint for hint in hints if hint is not type(None)))
    by_kind = {next(field.default for field in fields(hint) if field.name == "kind"): _reader(hint) for hint in dataclasses}
    return lambda raw: by_kind[raw["kind"]](raw)


def _reader_of_tuple(hints: tuple[Any, ...]) -> _Reader:
    readers = [_reader(hint) for hint in hints if hint is not Ellipsis]
    if len(hints) == 2 and hints[1] is Ellipsis:
        return lambda raw: tuple(map(readers[0], raw))
    return lambda raw: tuple(read(part) for read, part in zip(readers, raw, strict=True))


def _read_dataclass(kind: Callable[..., Any], raw: Any) -> Any:
    if not isinstance(raw, dict):
        raise TypeError(f"{raw!r:.80} is no {getattr(kind, '__name__', kind)}")
    return kind(**{name: read(raw[name]) for name, read in _fields(kind) if name in raw})


def _read_scalar(kind: type, raw: Any) -> Any:
    if type(raw) is not kind:
        raise TypeError(f"{raw!r:.80} is no {kind.__name__}")
    return raw


@functools.cache
def _fields(kind: Any) -> tuple[tuple[str, _Reader], ...]:
    """Return (field, what reads it) of a dataclass."""
    resolved = typing.get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    return tuple((name, _reader(resolved[name])) for name in names)


def _may_be_none(hint: Any) -> bool:
    return type(None) in typing.get_args(hint) or hint is Any
