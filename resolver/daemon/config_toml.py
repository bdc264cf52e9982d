"""The effective configuration as TOML, for `berth daemon --check-config`. `config.load` reads what is printed here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from resolver.daemon import egress_config
from resolver.daemon.config import BRIDGE_KEYS, HELP, DaemonConfig


def lines(config: DaemonConfig) -> list[str]:
    """Return a line for each key, with its meaning as a comment. A key that is not set is a comment altogether."""
    settings = {key.name: _file_value(key.name, getattr(config, key.name)) for key in dataclasses.fields(config)}
    return [
        f"# {name} is not set  # {HELP[name]}" if value == "" else f"{name} = {_inline(value)}  # {HELP[name]}"
        for name, value in settings.items()
    ]


def _file_value(name: str, value: Any) -> Any:
    """Return *value* in the form that the file has it in."""
    match name:
        case "default_address_pools":
            return [{"base": str(base), "size": size} for base, size in value]
        case "forward":
            return dict(value)
        case "update_keys":
            return {key.name: {"algorithm": key.algorithm, "secret_file": key.secret_file, "networks": key.networks} for key in value}
        case "egress":
            return egress_config.as_table(value)
        case "default_bridge":
            given = {key: getattr(value, key) for key in BRIDGE_KEYS}
            return {key: setting for key, setting in given.items() if setting not in (None, [], {})}
    return value


def _inline(value: Any) -> str:
    """Return *value* in TOML on one line. Strings, numbers and booleans are written as in JSON, but for DEL, which TOML escapes."""
    if isinstance(value, Mapping):
        members = ", ".join(f"{_inline(key)} = {_inline(member)}" for key, member in value.items())
        return f"{{{members}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_inline(member) for member in value)}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
