"""`berth config`: a project as it is read, without bringing anything up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from resolver.cli.client import Refused
from resolver.cli.compose import Reading
from resolver.cli.compose.consistency import in_order
from resolver.cli.compose.documents import value_of
from resolver.cli.compose.shapes import Form
from resolver.cli.output import complain
from resolver.cli.up.project_file import Selection, read_project, refused


def print_config(selection: Selection, services: tuple[str, ...], form: str, listed: str | None, *, quiet: bool, output: str | None) -> int:
    """Print the project of *selection* in *form*, or the names of what is *listed*; only of *services* if there are any."""
    reading, warnings = read_project(selection, with_env_files=listed in (None, "environment"))
    for warning in warnings:
        complain(warning)
    if services:
        with refused():
            reading = reading.of_services(services)
    if quiet:
        return 0
    text = text_of(reading, Form(form)) if listed is None else "".join(f"{line}\n" for line in _names(reading, listed))
    if output is None:
        print(text, end="")
        return 0
    try:
        Path(output).write_text(text)
    except OSError as error:
        raise Refused(f"{output}: {error.strerror}") from error
    return 0


def text_of(reading: Reading, form: Form) -> str:
    """Return the project as text; a dollar sign is doubled, so that the text can be read again."""
    made = _with_doubled_dollars(reading.printed(form))
    if form is Form.JSON:
        return f"{json.dumps(made, indent=2, ensure_ascii=False)}\n"
    return yaml.dump(made, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**31, default_flow_style=False)


def _with_doubled_dollars(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_doubled_dollars(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_doubled_dollars(member) for member in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


class _Dumper(yaml.SafeDumper):
    """Writes lists as Compose does, further in than their key, and never a reference to what was there before."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT002 (as it is called)
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    """Return *text* in quotes if it would be read as something else, by the rules that a Compose file is read by."""
    style = None if isinstance(value_of(text), str) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


def _names(reading: Reading, listed: str) -> list[str]:
    match listed:
        case "services":
            return in_order(sorted(reading.services), lambda name: reading.services[name].get("depends_on") or ())
        case "profiles":
            return list(reading.profiles)
        case "images":
            return [
                service["image"] if service.get("image") else f"{reading.name}-{name}" for name, service in sorted(reading.services.items())
            ]
        case "environment":
            return [f"{name}={value}" for name, value in sorted(reading.sources.environment.items())]
        case _:
            return sorted(reading.printed(Form.JSON).get(listed, ()))
