"""What a command in a sandbox has of the host beside the network: rights, files, bounds. A value; the client sees to it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """What was asked for, in Docker's words; nothing means the default.

    *cap_add*, *cap_drop*: names of capabilities. *user*: `USER[:GROUP]`, by name or number of the host; *groups*: additional ones. *tmpfs*:
    `PATH[:OPTIONS]`; *volumes*: `SOURCE:TARGET[:ro]`. *confine*: the directory that is writable under bubblewrap, "": not confined.
    *ulimits*: `NAME=SOFT[:HARD]`. *memory* and *shm_size*: in octets; *timeout*: in seconds; 0: without bound.
    """

    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    security_options: tuple[str, ...] = ()
    user: str = ""
    groups: tuple[str, ...] = ()
    read_only: bool = False
    tmpfs: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    confine: str = ""
    memory: int = 0
    cpus: float = 0.0
    pids: int = 0
    ulimits: tuple[str, ...] = ()
    shm_size: int = 0
    timeout: float = 0.0
