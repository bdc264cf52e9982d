"""Where a plugin listens: sockets, `.spec` and `.json` files in Docker's directories. Reads files; blocking.

Spec: https://docs.docker.com/engine/extend/plugin_api/ (plugin discovery), rule RM-1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from netcore.errors import InvalidRequest, NotFound

SOCKETS = "/run/docker/plugins"
SPECS = ("/etc/docker/plugins", "/usr/lib/docker/plugins")


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginAddress:
    """How to reach a plugin: at *url*, by a unix socket if there is a *path*. *ca*, *certificate*, *key*: files for TLS."""

    path: str | None = None
    url: str = "http://plugin"
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    insecure: bool = False


def find(name: str, sockets: str = SOCKETS, specs: Sequence[str] = SPECS) -> PluginAddress:
    """Return where the plugin called *name* listens: its socket first, then what the files say. NotFound if it is nowhere."""
    for path in (Path(sockets, f"{name}.sock"), Path(sockets, name, f"{name}.sock")):
        if path.is_socket():
            return PluginAddress(path=str(path))
    for directory in specs:
        for base in (Path(directory), Path(directory, name)):
            spec, description = base / f"{name}.spec", base / f"{name}.json"
            if spec.is_file():
                return parse_spec(str(spec), spec.read_text("utf-8", "replace").strip())
            if description.is_file():
                return parse_json(str(description), description.read_text("utf-8", "replace"))
    places = ", ".join([f"{sockets}/{name}.sock", *(f"{directory}/{name}.spec and .json" for directory in specs)])
    raise NotFound("plugin", f"{name}; it is looked for in {places}")


def parse_spec(source: str, text: str) -> PluginAddress:
    """Return the address that *text* in the file *source* means: unix://PATH, tcp://HOST:PORT, http or https."""
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise InvalidRequest("plugin", f"{source}: {text!r} is no URL: {error}") from error
    match parts.scheme:
        case "unix":
            return PluginAddress(path=parts.netloc + parts.path)
        case "tcp" | "http" if parts.netloc:
            return PluginAddress(url=f"http://{parts.netloc}{parts.path.rstrip('/')}")
        case "https" if parts.netloc:
            return PluginAddress(url=text.rstrip("/"))
    raise InvalidRequest("plugin", f"{source}: {text!r} is not like unix:///run/x.sock, tcp://localhost:8080 or https://host/path")


def parse_json(source: str, text: str) -> PluginAddress:
    """Return what a `.json` file says: Addr, and TLSConfig with CAFile, CertFile, KeyFile, InsecureSkipVerify."""
    try:
        content = json.loads(text)
        address = parse_spec(source, content["Addr"])
        tls = content.get("TLSConfig") or {}
        if tls and address.path is None and address.url.startswith("http://"):
            # Docker's files say tcp:// with TLS too.
            address = replace(address, url="https://" + address.url.removeprefix("http://"))
        return replace(
            address,
            ca=tls.get("CAFile") or None,
            certificate=tls.get("CertFile") or None,
            key=tls.get("KeyFile") or None,
            insecure=bool(tls.get("InsecureSkipVerify", False)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidRequest("plugin", f"{source}: not a plugin description with Addr: {error}") from error
