"""Templates as `docker --format` has them: the part of Go's text/template that people use, with Docker's functions. Pure.

| question | module |
|---|---|
| what a text means | `parse` |
| what it prints for some data | `render` |
| its functions | `functions` |

Left out, and refused by name: `define`, `template`, `block`, methods.
"""

from resolver.cli.templates.nodes import BadTemplate
from resolver.cli.templates.parse import parse
from resolver.cli.templates.render import render

__all__ = ["BadTemplate", "parse", "render"]
