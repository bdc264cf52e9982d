"""What one operation of the admin API is, and what its handler is given and gives back. Pure.

The table of all operations is `admin.ROUTES`; `http_api` serves it and `openapi` describes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import msgspec

from netcore.errors import InvalidRequest

_Body = TypeVar("_Body")
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Caller:
    """The process at the other end of a connection, as the kernel knows it (unix(7), SO_PEERCRED); over TCP: nobody's rights.

    *name*: how the log names it. *peer*: whose share of the API it takes, the uid if "".
    """

    pid: int
    uid: int
    name: str = ""
    peer: str = ""


@dataclass(frozen=True, slots=True)
class QueryParameter:
    """One parameter behind the question mark. *most*: of an integer from 1 on."""

    name: str
    description: str
    type: Literal["boolean", "integer", "string"] = "string"
    most: int | None = None


DRY_RUN = QueryParameter("dry_run", "Answer with the steps and do nothing.", "boolean")


@dataclass(frozen=True, slots=True)
class ApiRequest(Generic[_Body]):
    """What a handler is given. *body*: decoded, None if the route has none. *path*: the parts in braces, by name."""

    body: _Body
    path: Mapping[str, str]
    query: Mapping[str, str]
    caller: Caller

    def flag(self, parameter: str) -> bool:
        """Return a boolean query parameter; InvalidRequest if it is neither true nor false."""
        text = self.query.get(parameter, "false")
        if text not in ("1", "true", "0", "false"):
            raise InvalidRequest(parameter, f"{text!r} is neither true nor false")
        return text in ("1", "true")

    @property
    def dry_run(self) -> bool:
        """Whether the caller only wants to know the steps."""
        return self.flag(DRY_RUN.name)


@dataclass(frozen=True, slots=True)
class ApiReply:
    """A handler's result with another status than the route's."""

    view: Any
    status: int


@dataclass(frozen=True, slots=True)
class OtherResponse:
    """What a handler may answer with another status than the route's."""

    status: int
    description: str
    shape: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRoute:
    """One operation of the API.

    *handler*: called with the object of handlers and an `ApiRequest`; returns a *response*, or an `ApiReply` of one of
    *other_responses*. *body*: None if there is none; *body_required* False: an empty one means one of defaults.
    *stream*: the handler returns an asynchronous generator, and each value of it is sent as one line as soon as it is there.
    *ends_daemon*: it may be asked for while the daemon stops.
    """

    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    operation_id: str
    summary: str
    handler: Callable[[Any, ApiRequest[Any]], Awaitable[Any]]
    response: Any
    status: int = 200
    other_responses: tuple[OtherResponse, ...] = ()
    body: type[msgspec.Struct] | None = None
    body_required: bool = True
    query: tuple[QueryParameter, ...] = ()
    media_type: str = JSON
    stream: bool = False
    reads_only: bool = False
    ends_daemon: bool = False

    @property
    def changes(self) -> bool:
        """Whether a request may change something: every one but GET does, unless its route says that it only reads."""
        return self.method != "GET" and not self.reads_only
