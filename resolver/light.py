"""What the commands that must start fast have in the place of modules of the standard library which take longer to load than to use.

| here | in the place of | which load |
|---|---|---|
| `NamedTuple`, `TYPE_CHECKING` | `typing` | `collections`, `contextlib`, `functools`, `re` |
| `Enum` | `enum` | `functools`, `types` |
| `signal`, with numbers for its names | `signal` | `enum` |
| `suppress` | `contextlib` | `collections`, `functools` |
| `read_json`, `write_json` | `json` | `re` |

To a type checker each is what it stands for. Names that only annotations use are imported below `if TYPE_CHECKING`. CPython only.
"""

from __future__ import annotations

import _json

__all__ = ["TYPE_CHECKING", "Enum", "NamedTuple", "read_json", "signal", "suppress", "write_json"]

TYPE_CHECKING = False

if TYPE_CHECKING:
    import signal
    from contextlib import suppress
    from enum import Enum
    from typing import Any, NamedTuple
else:
    import _signal as signal
    from _collections import _tuplegetter

    class suppress:  # noqa: N801
        """As `contextlib.suppress`."""

        def __init__(self, *kinds):
            self._kinds = kinds

        def __enter__(self):
            return None

        def __exit__(self, kind, error, traceback):
            return kind is not None and issubclass(kind, self._kinds)

    class _OfFields(type):
        """Makes a class of tuples whose fields are its annotations."""

        def __new__(cls, name, bases, namespace):
            made = super().__new__(cls, name, bases, {"__slots__": (), **namespace})
            if bases != (tuple,):
                fields = tuple(made.__annotations__)
                made._fields = made.__match_args__ = fields
                made._defaults = {field: namespace[field] for field in fields if field in namespace}
                for at, field in enumerate(fields):
                    setattr(made, field, _tuplegetter(at, None))
            return made

    class NamedTuple(tuple, metaclass=_OfFields):
        """As `typing.NamedTuple`, as far as it is used."""

        __slots__ = ()

        def __new__(cls, *values, **named):
            if named or len(values) != len(cls._fields):
                given = {**cls._defaults, **dict(zip(cls._fields, values, strict=False)), **named}
                twice = len(values) > len(cls._fields) or named.keys() & cls._fields[: len(values)]
                if twice or len(given) != len(cls._fields) or given.keys() - set(cls._fields):
                    raise TypeError(f"{cls.__name__} has the fields {', '.join(cls._fields)}; given are {values} and {named}")
                values = map(given.__getitem__, cls._fields)
            return tuple.__new__(cls, values)

        def __getnewargs__(self):
            return tuple(self)

        def __repr__(self):
            return f"{type(self).__name__}({', '.join(f'{field}={value!r}' for field, value in self._asdict().items())})"

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def _replace(self, **named):
            return type(self)(**{**self._asdict(), **named})

    class _OfMembers(type):
        """Makes a class whose plain attributes become its only instances."""

        def __new__(cls, name, bases, namespace):
            made = super().__new__(cls, name, bases, namespace)
            for key, value in namespace.items():
                if key[0] != "_" and not hasattr(value, "__get__"):
                    member = made()
                    member.name, member.value = key, value
                    setattr(made, key, member)
            return made

    class Enum(metaclass=_OfMembers):
        """As `enum.Enum`, as far as it is used."""

        def __repr__(self):
            return f"{type(self).__name__}.{self.name}"


class _AsJsonHas:
    """How JSON is read: as `json.loads` does by default."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int
    parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__


def read_json(text: str | bytes) -> Any:
    """Return what *text* means as JSON; ValueError if it is none."""
    whole = text if isinstance(text, str) else text.decode()
    try:
        value, end = _scan(whole, 0)
    except StopIteration:
        end = -1
    if end != len(whole):
        # There is space around it, or it is wrong.
        import json

        return json.loads(whole)
    return value


def write_json(value: Any) -> str:
    """Return *value* as JSON, as `json.dumps` does by default."""
    # A new one each time: it remembers what it is in, to find circles.
    write = _json.make_encoder({}, _refuse, _json.encode_basestring_ascii, None, ": ", ", ", False, False, True)
    return "".join(write(value, 0))


def _refuse(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is no JSON")


_scan = _json.make_scanner(_AsJsonHas)  # type: ignore[arg-type]  # its attributes are all it needs
