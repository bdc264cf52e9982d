"""What a command has changed, for people and for programs."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from resolver.cli.output import print_json, print_plan


class Changed:
    """What a command changes, object by object. *form*: `table` prints each name at once, `json` one array at the end.

    The array is printed after a failure too: it has what was done before, and the exit code tells that something was not.
    """

    def __init__(self, form: str) -> None:
        self._objects: list[dict[str, Any]] | None = [] if form == "json" else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._objects is not None and (self._objects or kind is None):
            print_json(self._objects)

    def tell(self, name: str, **fields: Any) -> None:
        """Tell of the object called *name*; *fields*: what else programs get."""
        self.tell_as(name, name=name, **fields)

    def tell_as(self, text: str, **fields: Any) -> None:
        """Print *text*, or give *fields* to programs."""
        if self._objects is None:
            print(text)
        else:
            self._objects.append(fields)

    def tell_plan(self, name: str, plan: dict[str, Any]) -> None:
        """Tell what a dry run would do to the object called *name*."""
        if self._objects is None:
            print_plan(plan)
        else:
            self._objects.append({"name": name, **plan})
