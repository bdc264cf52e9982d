"""The admin API over TCP: always with TLS, and a client certificate or a token. Reads the files that the configuration names."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from resolver.daemon.admission import Scope
from resolver.daemon.config import DaemonConfig, parse_listen
from resolver.errors import ConfigError

_SHORTEST_TOKEN = 32


@dataclass(frozen=True, slots=True)
class RemoteApi:
    """Where to listen, and what a client must show. *token* None: its certificate is enough."""

    address: tuple[str, int]
    family: socket.AddressFamily
    tls: ssl.SSLContext
    token: str | None
    scope: Scope


def remote_api(config: DaemonConfig) -> RemoteApi | None:
    """Return the TCP listener that *config* asks for, None if it asks for none. Raises ConfigError."""
    if not config.api_listen:
        return None
    address = parse_listen(config.api_listen)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.api_certificate, config.api_key)
    except OSError as error:
        raise _wrong("api_certificate", f"{config.api_certificate} with api_key {config.api_key}: {error}") from error
    if config.api_client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(config.api_client_ca)
        except OSError as error:
            raise _wrong("api_client_ca", f"{config.api_client_ca}: {error}") from error
    family = socket.AF_INET6 if isinstance(ip_address(address[0]), IPv6Address) else socket.AF_INET
    token = _token(config.api_token_file) if config.api_token_file else None
    return RemoteApi(address, family, context, token, Scope(config.api_access))


def _token(path: str) -> str:
    try:
        status = Path(path).stat()
        token = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong("api_token_file", f"{path}: {error}") from error
    if status.st_mode & 0o077:
        raise _wrong("api_token_file", f"{path} can be read by others; `chmod 600` it")
    if len(token) < _SHORTEST_TOKEN:
        raise _wrong("api_token_file", f"{path} has {len(token)} characters; at least {_SHORTEST_TOKEN} are needed: `openssl rand -hex 32`")
    return token


def _wrong(key: str, reason: str) -> ConfigError:
    return ConfigError("configuration", ((key, reason),))
