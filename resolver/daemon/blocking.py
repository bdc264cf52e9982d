"""How blocking work is kept off the event loop: the parts of the daemon are given a function of this shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

_T = TypeVar("_T")


class RunBlocking(Protocol):
    """Runs *body* on a worker thread and returns what it returns, or raises what it raises."""

    async def __call__(self, body: Callable[[], _T]) -> _T: ...
