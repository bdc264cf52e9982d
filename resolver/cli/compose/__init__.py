"""The networking part of a Compose file. Pure.

| question | module |
|---|---|
| what a file means: one `Project` | `file` |
| a key of a service | `services`; those that are options of `berth run` too are rows of `sandbox_options` |
| a key of a network | `networks` |
| text, list, number, boolean, duration as values | `values` |
| YAML 1.2 with line numbers; `${VAR}` and `.env` | `yaml12`; `interpolate` |
| the result | `project` |
"""

from resolver.cli.compose.file import parse, project_name

__all__ = ["parse", "project_name"]
