"""Proxy settings as environment variables of commands (rules PX-1..PX-3). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

DEFAULT = "default"
VARIABLES = {
    "httpProxy": "HTTP_PROXY",
    "httpsProxy": "HTTPS_PROXY",
    "ftpProxy": "FTP_PROXY",
    "noProxy": "NO_PROXY",
    "allProxy": "ALL_PROXY",
}
"""Docker's keys → the variable, which is set in lower case too: programs differ in which one they read."""


def environment(proxies: Mapping[str, Mapping[str, str]], networks: Sequence[str]) -> dict[str, str]:
    """Return the variables for a sandbox on *networks*, in gateway order: of the first that has settings, else the default.

    Settings of a network take the place of the default ones entirely (PX-1); empty values set nothing.
    """
    chosen = next((proxies[name] for name in networks if name in proxies), proxies.get(DEFAULT, {}))
    result: dict[str, str] = {}
    for key, value in chosen.items():
        if value:
            result[VARIABLES[key]] = result[VARIABLES[key].lower()] = value
    return result
