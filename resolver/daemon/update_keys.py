"""The keys that may update static names by RFC 2136: as configured, and their secrets, which are in files of their own."""

from __future__ import annotations

import base64
import binascii
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resolver.errors import BadName, ConfigError
from resolver.wire import name as names

ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512")
_FIELDS = ("algorithm", "secret_file", "networks")
_LEAST_SECRET = 16
"""Octets of the shortest secret: those that anybody could guess are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateKey:
    """A TSIG key. *secret_file*: has its secret. *networks*: whose static names it may change."""

    name: str
    algorithm: str
    secret_file: str
    networks: tuple[str, ...]


def parse(value: Any) -> tuple[UpdateKey, ...]:
    """Return the keys that the setting `update_keys` means; ValueError says what is wrong."""
    if not isinstance(value, dict):
        raise ValueError('must be a table of NAME = {secret_file = "/etc/berth/update.key", networks = ["front"]}')
    return tuple(_key(name, given) for name, given in value.items())


def _key(name: str, given: Any) -> UpdateKey:
    try:
        names.from_text(name)
    except BadName as error:
        raise ValueError(str(error)) from error
    if not isinstance(given, dict) or not given.keys() <= set(_FIELDS):
        raise ValueError(f"{name}: must be a table of {', '.join(_FIELDS)}")
    algorithm, file, networks = given.get("algorithm", ALGORITHMS[0]), given.get("secret_file"), given.get("networks")
    if algorithm not in ALGORITHMS:
        raise ValueError(f"{name}: algorithm must be one of {', '.join(ALGORITHMS)}")
    if not isinstance(file, str) or not file.startswith("/"):
        raise ValueError(f"{name}: secret_file must be the path of a file with the secret, such as /etc/berth/update.key")
    if not isinstance(networks, list) or not networks or not all(isinstance(network, str) for network in networks):
        raise ValueError(f"{name}: networks must be a list of the networks whose static names the key may change")
    return UpdateKey(name=name, algorithm=algorithm, secret_file=file, networks=tuple(networks))


def read_secrets(keys: tuple[UpdateKey, ...]) -> Mapping[str, bytes]:
    """Return key name → secret; ConfigError names every file that can't be used."""
    secrets: dict[str, bytes] = {}
    problems: list[tuple[str, str]] = []
    for key in keys:
        try:
            secrets[key.name] = _read_secret(key)
        except OSError as error:
            problems.append((f"update_keys.{key.name}", f"{key.secret_file}: {error.strerror}"))
        except ValueError as error:
            problems.append((f"update_keys.{key.name}", f"{key.secret_file}: {error}"))
    if problems:
        raise ConfigError("the configuration", tuple(problems))
    return secrets


def _read_secret(key: UpdateKey) -> bytes:
    path = Path(key.secret_file)
    if stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError("others than its owner may use it; `chmod 600` it")
    text = path.read_text(errors="replace")
    # As tsig-keygen(8) writes it, or the secret alone.
    written = re.search(r'secret\s+"([^"]*)"', text)
    algorithm = re.search(r"algorithm\s+\"?([\w-]+)", text)
    if algorithm is not None and algorithm[1].lower() != key.algorithm:
        raise ValueError(f"is for {algorithm[1]}, and the key's algorithm is {key.algorithm}")
    try:
        secret = base64.b64decode("".join((written[1] if written is not None else text).split()), validate=True)
    except binascii.Error as error:
        raise ValueError("has no secret in base64; `tsig-keygen NAME` makes such a file") from error
    if len(secret) < _LEAST_SECRET:
        raise ValueError(f"its secret has {len(secret)} octets; at least {_LEAST_SECRET} are needed")
    return secret
