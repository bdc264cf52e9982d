"""Where a plugin listens: sockets, `.spec` and `.json` files in Docker's directories. Reads files; blocking.

Spec: https://docs.docker.com/engine/extend/plugin_api/ (plugin discovery), docker-behaviour RM-1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from netcore.errors import InvalidRequest, NotFound

SOCKETS = "/run/docker/plugins"
SPECS = ("/etc/docker/plugins", "/usr/lib/docker/plugins")


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """How to reach a plugin: at a unix socket *path*, or at *url*. *ca*, *certificate*, *key*: files for TLS."""

    path: str = ""
    url: str = "http://plugin"
    ca: str = ""
    certificate: str = ""
    key: str = ""
    insecure: bool = False


def find(name: str, sockets: str = SOCKETS, specs: Sequence[str] = SPECS) -> Where:
    """Return where the plugin called *name* is: its socket first, then what the files say. NotFound if it is nowhere."""
    for path in (Path(sockets, f"{name}.sock"), Path(sockets, name, f"{name}.sock")):
        if path.is_socket():
            return Where(path=str(path))
    for directory in specs:
        for base in (Path(directory), Path(directory, name)):
            spec, described = base / f"{name}.spec", base / f"{name}.json"
            if spec.is_file():
                return of_address(str(spec), spec.read_text().strip())
            if described.is_file():
                return of_json(str(described), described.read_text())
    places = ", ".join([f"{sockets}/{name}.sock", *(f"{item}/{name}.spec and .json" for item in specs)])
    raise NotFound("plugin", f"{name}; it is looked for in {places}")


def of_address(source: str, text: str) -> Where:
    """Return what the address *text* of the file *source* means: unix://PATH, tcp://HOST:PORT, http or https."""
    parts = urlsplit(text)
    match parts.scheme:
        case "unix":
            return Where(path=parts.netloc + parts.path)
        case "tcp" | "http" if parts.netloc:
            return Where(url=f"http://{parts.netloc}{parts.path.rstrip('/')}")
        case "https" if parts.netloc:
            return Where(url=text.rstrip("/"))
    raise InvalidRequest("plugin", f"{source}: {text!r} is not like unix:///run/x.sock, tcp://localhost:8080 or https://host/path")


def of_json(source: str, text: str) -> Where:
    """Return what a `.json` file says: Addr, and TLSConfig with CAFile, CertFile, KeyFile, InsecureSkipVerify."""
    try:
        content = json.loads(text)
        found = of_address(source, content["Addr"])
        tls = content.get("TLSConfig") or {}
        if tls and found.url.startswith("http://") and not found.path:
            # Docker's files say tcp:// with TLS too.
            found = Where(url="https://" + found.url.removeprefix("http://"))
        return Where(
            path=found.path,
            url=found.url,
            ca=tls.get("CAFile", ""),
            certificate=tls.get("CertFile", ""),
            key=tls.get("KeyFile", ""),
            insecure=bool(tls.get("InsecureSkipVerify", False)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidRequest("plugin", f"{source}: not a plugin description with Addr: {error}") from error
