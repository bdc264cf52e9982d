"""Several things that are wrong with one request, said at once. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from netcore.errors import Conflict, InvalidRequest

Problem = tuple[str, str]
"""(field, what is wrong with it)."""


def refuse(problems: Iterable[Problem]) -> None:
    """Raise one InvalidRequest for all of *problems*, with the field of the first; return if there is none."""
    all_of_them = [*problems]
    if all_of_them:
        (field, reason), *others = all_of_them
        raise InvalidRequest(field, "; ".join([reason, *(f"{other}: {text}" for other, text in others)]))


class _Noted:
    """A block whose InvalidRequest or Conflict is put into *found*. A request has a dozen of them, and a generator takes longer."""

    def __init__(self, found: list[InvalidRequest | Conflict]) -> None:
        self._found = found

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool:
        if isinstance(error, InvalidRequest | Conflict):
            self._found.append(error)
            return True
        return False


class Problems:
    """What is wrong with one request, noted as it is found."""

    def __init__(self) -> None:
        self._found: list[InvalidRequest | Conflict] = []
        self._noted = _Noted(self._found)

    def noted(self) -> _Noted:
        """Return a block in which an InvalidRequest or Conflict that is raised is noted; what is behind it goes on."""
        return self._noted

    def __len__(self) -> int:
        return len(self._found)

    def refuse(self) -> None:
        """Raise one error for everything that was noted: InvalidRequest if one of it is, else Conflict; return if there is nothing."""
        said = {str(error): error for error in sorted(self._found, key=lambda error: isinstance(error, Conflict))}
        if not said:
            return
        (_, first), *others = said.items()
        if not others:
            raise first
        texts = [text for text, _ in others]
        if isinstance(first, InvalidRequest):
            raise InvalidRequest(first.field, "; ".join([first.reason, *texts]))
        own = str(first).removeprefix(f"{first.object_kind} {first.name}").lstrip(": ")
        raise Conflict(first.object_kind, first.name, because="; ".join([own, *texts]))
