"""State of an earlier schema: a copy of it before it is brought to this one, and a look at it without changing anything. Blocking."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netcore.drivers.uplinks import SwitchedSysctl
from netcore.store import last_copy
from netcore.store.codec import decode
from netcore.store.records import EndpointsRecord, NetworkRecord, SandboxRecord
from netcore.store.upgrade import SCHEMA_VERSION, upgraded, why_unreadable

_KINDS: dict[str, Any] = {
    "network": NetworkRecord,
    "sandbox": SandboxRecord,
    "endpoints": EndpointsRecord,
    "sysctl": SwitchedSysctl,
    "rest": float,
}


def copy_name(schema: int) -> str:
    """Return the name of the file that a copy of the state with *schema* is kept in."""
    return f"{last_copy.DATABASE}.schema-{schema}"


def keep_copy(connection: sqlite3.Connection, schema: int) -> None:
    """Copy the database, which has *schema*, to a file beside it; sqlite3.Error or OSError if that is not possible."""
    main = next(row[2] for row in connection.execute("PRAGMA database_list") if row[1] == "main")
    # One in memory stands for a file that stays as it is until it can be written.
    if main:
        last_copy.write(connection, Path(main).with_name(copy_name(schema)))


@dataclass(frozen=True, slots=True)
class StateLook:
    """What is in a state directory. *schema*: None if there is no state. *problems*: why this berth can't read it, or some of it."""

    schema: int | None
    networks: int
    sandboxes: int
    problems: tuple[str, ...]


def look(directory: str) -> StateLook:
    """Return what this berth would find in the state in *directory*, which may be in use; sqlite3.Error if it is no database."""
    path = Path(directory, last_copy.DATABASE)
    if not path.exists():
        return StateLook(None, 0, 0, ())
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        row = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        schema = int(row[0]) if row is not None else SCHEMA_VERSION
        rows = connection.execute("SELECT key, value FROM item WHERE value IS NOT NULL").fetchall()
    finally:
        connection.close()
    networks, sandboxes = (sum(key.startswith(kind) for key, _ in rows) for kind in ("network/", "sandbox/"))
    reason = why_unreadable(schema)
    problems = (reason,) if reason is not None else tuple(text for key, value in rows if (text := _problem(schema, key, value)))
    return StateLook(schema, networks, sandboxes, problems)


def _problem(schema: int, key: str, value: bytes) -> str | None:
    kind = _KINDS.get(key.partition("/")[0])
    if kind is None:
        return None
    try:
        decode(kind, json.dumps(upgraded(schema, key, json.loads(value))).encode())
    except Exception as error:
        return f"record {key} can't be read: {type(error).__name__}: {error}"
    return None
