"""Model values to octets and back: JSON of the dataclass fields, addresses as text. Pure.

What was not written by us, or was damaged since, raises Undecodable, whatever is wrong with it.

A record of a store that hosts share has one field more, `schema`: the version that it was written with.
"""

from __future__ import annotations

import types
import typing
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
_HINTS: dict[type, dict[str, Any]] = {}
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


def _build(hint: Any, raw: Any) -> Any:
    if raw is None and hint is not type(None) and not _may_be_none(hint):
        raise TypeError(f"null is no {getattr(hint, '__name__', hint)}")
    if raw is None:
        return None
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return _build(_alternative(typing.get_args(hint), raw), raw)
    if typing.get_origin(hint) is tuple:
        arguments = typing.get_args(hint)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_build(arguments[0], part) for part in raw)
        return tuple(_build(argument, part) for argument, part in zip(arguments, raw, strict=True))
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(raw, dict):
            raise TypeError(f"{raw!r:.80} is no {hint.__name__}")
        hints = _HINTS.setdefault(hint, typing.get_type_hints(hint))
        return hint(**{field.name: _build(hints[field.name], raw[field.name]) for field in fields(hint) if field.name in raw})
    if hint in _PARSERS:
        return _PARSERS[hint](raw)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint(raw)
    if hint is float and type(raw) is int:
        return float(raw)
    if isinstance(scalar := getattr(hint, "__supertype__", hint), type) and scalar in (str, int, float, bool) and type(raw) is not scalar:
        raise TypeError(f"{raw!r:.80} is no {scalar.__name__}")
    return raw


def _may_be_none(hint: Any) -> bool:
    return type(None) in typing.get_args(hint) or hint is Any


def _alternative(hints: tuple[Any, ...], raw: Any) -> Any:
    """Return which of the types of a union *raw* is: of several dataclasses the one with its `kind`."""
    dataclasses = [hint for hint in hints if is_dataclass(hint)]
    if len(dataclasses) > 1:
        return next(hint for hint in dataclasses if next(field.default for field in fields(hint) if field.name == "kind") == raw["kind"])
    return next(hint for hint in hints if hint is not type(None))
