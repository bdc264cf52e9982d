"""Where etcd is and how to get in: what `store` of the configuration means. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from netcore.errors import InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdSettings:
    """Where etcd is and how to log in. *endpoints*: base URLs. *prefix*: of all keys. *ca*, *certificate*, *key*: files for TLS.

    *ttl*: seconds of a session's lease; *grace*: the same for sessions whose name begins with `hold/`.
    """

    endpoints: tuple[str, ...]
    prefix: str = "berth/"
    user: str | None = None
    password: str = ""
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    ttl: int = 15
    grace: int = 600


def parse_url(text: str) -> EtcdSettings:
    """Return the meaning of `etcd://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]..][/PREFIX]`; `etcds://` is TLS."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in ("etcd", "etcds"):
        raise InvalidRequest("store", f"{text!r} is not like etcd://HOST:2379 or etcds://HOST:2379")
    access, _, places = rest.rpartition("@")
    hosts, _, prefix = places.partition("/")
    user, _, password = access.partition(":")
    named = [host.strip() for host in hosts.split(",") if host.strip()]
    if not named:
        raise InvalidRequest("store", f"{text!r} names no host")
    protocol = "https" if scheme == "etcds" else "http"
    urls = tuple(f"{protocol}://{host if _has_port(host) else f'{host}:2379'}" for host in named)
    return EtcdSettings(endpoints=urls, prefix=f"{prefix.strip('/') or 'berth'}/", user=user or None, password=password)


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]
