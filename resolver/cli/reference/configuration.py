"""The keys of the configuration file, with meanings and defaults, from the daemon's own table."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from resolver.cli.reference.model import Key, sentence
from resolver.daemon.config import HELP, DaemonConfig


def keys() -> tuple[Key, ...]:
    """Return all keys, in the order of the configuration's fields."""
    defaults = DaemonConfig()
    return tuple(
        Key(name=field.name, meaning=sentence(HELP[field.name]), default=_default(getattr(defaults, field.name)))
        for field in dataclasses.fields(DaemonConfig)
    )


def _default(value: Any) -> str | None:
    """Return *value* in TOML; None for what is empty or not a simple value."""
    return json.dumps(value) if isinstance(value, str | int) and value != "" else None
