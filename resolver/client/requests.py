"""Requests of the admin API and their answers, as octets. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from resolver.client.errors import Refused, WrongVersion
from resolver.client.shapes import ErrorView

API_VERSIONS = ("v1",)
"""The versions of the admin API that this client speaks."""
_Answer = TypeVar("_Answer")


def segment(text: str) -> str:
    """Return *text* as one segment of a path."""
    return quote(text, safe="")


def target(path: str, query: Mapping[str, object]) -> str:
    """Return *path* with those parameters of *query* that are given: neither None nor False."""
    given = {name: "1" if value is True else str(value) for name, value in query.items() if value is not None and value is not False}
    return f"{path}?{urlencode(given)}" if given else path


def decoded(octets: bytes, shape: type[_Answer]) -> _Answer:
    """Return the answer that *octets* are; WrongVersion if they are something else."""
    try:
        return msgspec.json.decode(octets, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WrongVersion(f"the daemon answers what this client does not understand ({error}); {_speaks()}") from error


def refusal(octets: bytes, status: int) -> Refused | WrongVersion:
    """Return the error that the daemon answered with *status*."""
    try:
        error = msgspec.json.decode(octets, type=ErrorView).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return WrongVersion(f"what answers at the socket is no berth daemon: status {status}; {_speaks()}")
    return Refused(error.message, error.kind, error.object, status)


def no_such_version(document: Mapping[str, Any]) -> WrongVersion | None:
    """Return what to say of a daemon whose OpenAPI *document* has no version of the API that this client speaks, None if it has one."""
    versions = {path.split("/")[1] for path in document.get("paths", {}) if path.count("/") > 1}
    if versions & set(API_VERSIONS):
        return None
    version = document.get("info", {}).get("version", "of an unknown version")
    return WrongVersion(f"the daemon, berth {version}, speaks {', '.join(sorted(versions)) or 'no version'} of the API; {_speaks()}")


def _speaks() -> str:
    return f"this client speaks {', '.join(API_VERSIONS)}: install the same version of berth for both"
