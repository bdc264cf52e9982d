"""`--filter` of what removes all that is unused."""

from __future__ import annotations

from typing import Any

import click


def prune_body(filters: tuple[str, ...]) -> dict[str, Any]:
    """Return the body of a prune of the admin API that *filters* mean: label, label! and until."""
    # Only this needs it, and not every command on networks.
    from resolver.cli.commands.moments import moment

    body: dict[str, Any] = {"labels": [], "other_labels": [], "until": None}
    for text in filters:
        key, _, value = text.partition("=")
        match key:
            case "label":
                body["labels"].append(value)
            case "label!":
                body["other_labels"].append(value)
            case "until":
                body["until"] = moment("--filter until", value)
            case _:
                raise click.UsageError(f"--filter {text}: {key!r} is not one of label, label!, until")
    return body
