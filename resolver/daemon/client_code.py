"""The methods of the client for programs (`resolver.client`), written from the table of routes, as the OpenAPI document is.

Pure but for `main`.

`python -m resolver.daemon.client_code resolver/client` writes them; a test sees that they are current.
"""

from __future__ import annotations

import re
import sys
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from resolver.daemon.admin import ROUTES
from resolver.daemon.api_route import DRY_RUN, JSON, ApiRoute, QueryParameter
from resolver.daemon.schema import PlanView

GROUPS = {
    "Networks": ("/v1/networks",),
    "Sandboxes": ("/v1/sandboxes",),
    "Egress": ("/v1/egress",),
    "Daemon": ("/",),
}
"""Classes, and what the paths of their operations begin with; the first one that fits has it."""
_ABOUT = {
    "Networks": "Networks and their static names.",
    "Sandboxes": "Sandboxes, and what each of them may reach.",
    "Egress": "What egress rules have refused, and what they have learned.",
    "Daemon": "The daemon itself, its cache, its look-ups and its cluster.",
}
_TYPES = {"string": "str | None", "integer": "int | None", "boolean": "bool"}


def module(routes: Sequence[ApiRoute], *, asynchronous: bool) -> str:
    """Return the source of the operations of *routes*, as coroutines or as plain methods."""
    iterator, connection = ("AsyncIterator", "Connection") if asynchronous else ("Iterator", "SyncConnection")
    place = "connection" if asynchronous else "sync_connection"
    lines = [
        f'"""The operations of the admin API{"" if asynchronous else ", for programs without asyncio"}.',
        "",
        "A class for each part of it, a method for each operation. Written by `python -m resolver.daemon.client_code`; not by hand.",
        '"""',
        "# fmt: off",
        "",
        "from __future__ import annotations",
        "",
        f"from collections.abc import {iterator}",
        "from typing import Any",
        "",
        "from resolver.client import shapes",
    ]
    imports = [f"from resolver.client.{place} import {connection}", "from resolver.client.requests import segment"]
    lines += sorted(imports)
    for group in GROUPS:
        lines += ["", "", f"class {group}:", f'    """{_ABOUT[group]}"""', ""]
        lines += [f"    def __init__(self, connection: {connection}) -> None:", "        self._connection = connection"]
        for route in routes:
            if group_of(route) == group:
                lines += _methods(route, asynchronous=asynchronous)
    return "\n".join(lines) + "\n"


def group_of(route: ApiRoute) -> str:
    """Return the class that has the operation of *route*."""
    return next(name for name, beginnings in GROUPS.items() if route.path.startswith(beginnings))


def method_name(operation_id: str) -> str:
    """Return what the method of an operation is called: showOpenApi is show_open_api."""
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", operation_id)


def _methods(route: ApiRoute, *, asynchronous: bool) -> list[str]:
    shapes = [shape for shape in _alternatives(route.response) if shape is not PlanView]
    lines = _method(route, method_name(route.operation_id), shapes[0], asynchronous=asynchronous)
    if DRY_RUN in route.query:
        lines += _method(route, f"plan_{method_name(route.operation_id)}", PlanView, asynchronous=asynchronous)
    return lines


def _method(route: ApiRoute, name: str, shape: Any, *, asynchronous: bool) -> list[str]:
    is_plan = shape is PlanView
    text = _expression(shape)
    given = f"{'AsyncIterator' if asynchronous else 'Iterator'}[{text}]" if route.stream else text
    keyword, waiting = ("async def", "await ") if asynchronous and not route.stream else ("def", "")
    query = [parameter for parameter in route.query if parameter is not DRY_RUN]
    lines = ["", *_call(f"    {keyword} {name}(", _parameters(route, query), f") -> {given}:")]
    lines += _docstring(route, query, is_plan=is_plan)
    path = re.sub(r"\{(\w+)\}", r"{segment(\1)}", route.path)
    words = [] if route.stream else [f'"{route.method}"']
    words.append(f'f"{path}"' if "{" in path else f'"{path}"')
    if route.media_type == JSON or route.stream:
        words.append(text)
    pairs = [f'"{parameter.name}": {parameter.name}' for parameter in query] + (['"dry_run": True'] if is_plan else [])
    if pairs:
        words.append(f"query={{{', '.join(pairs)}}}")
    if route.body is not None:
        words.append("body=body")
    accepted = [other.status for other in route.other_responses if other.status >= 400]
    if accepted:
        words.append(f"accepted=({', '.join(map(str, accepted))},)")
    return [*lines, *_call(f"        return {waiting}self._connection.{_asked_of(route)}(", words, ")")]


def _call(begin: str, parts: Sequence[str], end: str) -> list[str]:
    """Return *parts* with commas between, in one line if they fit."""
    line = f"{begin}{', '.join(parts)}{end}"
    if len(line) <= _WIDTH:
        return [line]
    indent = " " * (len(begin) - len(begin.lstrip()))
    return [begin, *(f"{indent}    {part}," for part in parts), f"{indent}{end}"]


def _asked_of(route: ApiRoute) -> str:
    if route.stream:
        return "follow"
    return "ask" if route.media_type == JSON else "text"


def _parameters(route: ApiRoute, query: Iterable[QueryParameter]) -> list[str]:
    found = ["self", *(f"{name}: str" for name in re.findall(r"\{(\w+)\}", route.path))]
    if route.body is not None:
        found.append(f"body: {_expression(route.body)}" + ("" if route.body_required else " | None = None"))
    named = [f"{parameter.name}: {_TYPES[parameter.type]} = {False if parameter.type == 'boolean' else None}" for parameter in query]
    return [*found, *(["*", *named] if named else [])]


def _docstring(route: ApiRoute, query: Sequence[QueryParameter], *, is_plan: bool) -> list[str]:
    operation = f"`{route.method} {route.path}`"
    first = f"Say what `{method_name(route.operation_id)}` would do, and do nothing" if is_plan else route.summary
    line = f'        """{first}: {operation}.'
    lines = [line] if len(line) <= _WIDTH - 3 else [f'        """{first}.', "", f"        {operation}"]
    if query:
        lines += ["", *(f"        *{parameter.name}*: {parameter.description}" for parameter in query)]
    return [f'{line}"""'] if lines == [line] else [*lines, '        """']


def _expression(shape: Any) -> str:
    """Return *shape* as source: a class of `resolver.client.shapes`, a list of them, or built in."""
    inner = typing.get_args(shape)
    if typing.get_origin(shape) is list:
        return f"list[{_expression(inner[0])}]"
    if typing.get_origin(shape) is dict:
        return "dict[str, Any]"
    return "str" if shape is str else f"shapes.{shape.__name__}"


def _alternatives(shape: Any) -> tuple[Any, ...]:
    return typing.get_args(shape) if isinstance(shape, types.UnionType) else (shape,)


_WIDTH = 140
FILES = {"operations.py": True, "sync_operations.py": False}
"""Files in `resolver/client`, and whether their methods are coroutines."""


def main(directory: Path) -> None:
    """Write the files into *directory*."""
    for name, asynchronous in FILES.items():
        (directory / name).write_text(module(ROUTES, asynchronous=asynchronous))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
