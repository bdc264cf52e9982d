"""`berth config`: a project as it is read, without bringing anything up."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from resolver.cli.client import Refused
from resolver.cli.compose import Reading
from resolver.cli.compose.consistency import in_order
from resolver.cli.compose.documents import value_of
from resolver.cli.compose.shapes import Form
from resolver.cli.compose.sources import EVERY_STEP, Steps
from resolver.cli.output import complain
from resolver.cli.table import lay_out
from resolver.cli.up.project_file import Selection, read_project, refused
from resolver.cli.words import nearest_or_all


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What `berth config` is to print. *listed*: the names of these things only; *hashed*: the hash of this service, * for all.

    *services*: only of these, if there are any; *output*: to this file. *steps*: those of the reading that are done.
    """

    services: tuple[str, ...] = ()
    form: str = "yaml"
    listed: str | None = None
    hashed: str | None = None
    quiet: bool = False
    output: str | None = None
    steps: Steps = EVERY_STEP


def print_config(selection: Selection, wanted: Wanted) -> int:
    """Print the project of *selection*."""
    with_env_files = wanted.listed in (None, "environment") and wanted.steps.reads_env_files
    reading, warnings = read_project(selection, replace(wanted.steps, reads_env_files=with_env_files))
    for warning in warnings:
        complain(warning)
    if wanted.services:
        with refused():
            reading = reading.of_services(wanted.services)
    if wanted.quiet:
        return 0
    text = _text(reading, wanted, everything=selection.all_resources)
    if wanted.output is None:
        print(text, end="")
        return 0
    try:
        Path(wanted.output).write_text(text)
    except OSError as error:
        raise Refused(f"{wanted.output}: {error.strerror}") from error
    return 0


def _text(reading: Reading, wanted: Wanted, *, everything: bool) -> str:
    if wanted.hashed is not None:
        lines = _hashes(reading, wanted.hashed)
    elif wanted.listed == "variables":
        return _variables_text(reading, Form(wanted.form))
    elif wanted.listed is not None:
        lines = _names(reading, wanted.listed)
    else:
        return text_of(reading, Form(wanted.form), everything=everything)
    return "".join(f"{line}\n" for line in lines)


def _hashes(reading: Reading, wanted: str) -> list[str]:
    """Return lines `SERVICE HASH`: a hash is another one if anything is of what the service is made of."""
    services = reading.printed(Form.JSON)["services"]
    names = sorted(services) if wanted == "*" else wanted.split(",")
    for name in names:
        if name not in services:
            raise Refused(f"--hash {name}: there is no such service{nearest_or_all(name, services)}")
    made_of = {name: {key: value for key, value in services[name].items() if key not in _NOT_HASHED} for name in names}
    return [f"{name} {hashlib.sha256(json.dumps(made_of[name], sort_keys=True).encode()).hexdigest()}" for name in names]


_NOT_HASHED = ("build", "depends_on", "profiles", "pull_policy", "scale")
"""Keys of a service that Compose leaves out of its hash."""


def _variables_text(reading: Reading, form: Form) -> str:
    """Return the variables that the files ask for, as a table or as JSON."""
    found = reading.variables
    if form is Form.JSON:
        made = {
            one.name: {"Name": one.name, "DefaultValue": one.default, "PresenceValue": one.alternate, "Required": one.required}
            for one in found
        }
        return f"{json.dumps(made, indent=4, ensure_ascii=False)}\n"
    columns = ("NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE")
    rows = [(one.name, str(one.required).lower(), one.default, one.alternate) for one in found]
    return "".join(f"{line.rstrip()}\n" for line in lay_out(columns, rows, None))


def text_of(reading: Reading, form: Form, *, everything: bool = False) -> str:
    """Return the project as text; a dollar sign is doubled, so that the text can be read again."""
    made = _with_doubled_dollars(reading.printed(form, everything=everything))
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
