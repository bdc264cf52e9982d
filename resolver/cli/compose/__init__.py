"""Compose files: what a project's files mean, the same as to Compose. Pure, but for the `Files` that it is handed.

Data flows down this table, which is the order in which a file is read:

| question | module |
|---|---|
| which files, which directory, which variables | `sources`; `.env` and `env_file`: `dotenv` |
| YAML, with positions, tags, and a budget for aliases | `documents`, into the tree of `tree` |
| `${VAR}`, and the numbers and booleans that texts become | `interpolate`, `casts` |
| `extends`, `include` | `extends`, `include` |
| one file over another | `merge` |
| what the specification allows | `schema`, by `compose-spec.json` |
| short forms, defaults, paths | `canonical`; `ports`, `volumes`; `paths` |
| all of these, file by file | `load`, with what it knows in `context` |
| what follows without being written | `normalize` |
| each key's value in its own form, and how it is printed | `specification`, of the `shapes`; `durations`, `words` |
| what refers to what, profiles, variables of services | `consistency`, `environment` |
| all of that: one `Reading` | `read` |
| what that means to berth: one `Project` | `meaning`; `services`, `networks`, `notes`; the values: `project` |
"""

from resolver.cli.compose.meaning import project_of
from resolver.cli.compose.read import Reading, read
from resolver.cli.compose.sources import Files, Request
from resolver.cli.compose.tree import ComposeError

__all__ = ["ComposeError", "Files", "Reading", "Request", "project_of", "read"]
