"""Words that look like images of containers, which berth has none of. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

# Spec: distribution/reference of the OCI registry: [HOST[:PORT]/]PATH[:TAG][@DIGEST].
_REFERENCE = re.compile(
    r"(?P<path>[a-z0-9][a-z0-9._-]*(?::\d+(?=/))?(?:/[a-z0-9][a-z0-9._-]*)*)(?P<tag>:[\w][\w.-]*)?(?P<digest>@sha256:[0-9a-f]+)?"
)
_WELL_KNOWN = frozenset((
    "adminer", "alpine", "amazonlinux", "archlinux", "bash", "busybox", "caddy", "cassandra", "centos", "consul", "couchdb",
    "debian", "elasticsearch", "fedora", "gcc", "ghost", "gitea", "golang", "grafana", "haproxy", "hello-world", "httpd",
    "influxdb", "jenkins", "kibana", "mariadb", "maven", "memcached", "mongo", "mosquitto", "mysql", "nats", "neo4j",
    "nextcloud", "nginx", "node", "openjdk", "php", "postgres", "prometheus", "python", "rabbitmq", "redis", "registry",
    "rockylinux", "ruby", "rust", "solr", "sonarqube", "swift", "telegraf", "tomcat", "traefik", "ubuntu", "valkey", "vault",
    "wordpress", "zookeeper",
))  # fmt: skip
"""Those that Docker Hub has by one word and that people begin with."""


def looks_like_one(word: str) -> bool:
    """Return whether *word* is a reference of an image rather than a program: it has a tag, a path, or is well known."""
    found = _REFERENCE.fullmatch(word)
    return found is not None and (bool(found["tag"] or found["digest"]) or "/" in word or word in _WELL_KNOWN)


def hint(command: Sequence[str], *, run: str = "berth run") -> str:
    """Return the end of a sentence for a *command* that was not found and may begin with an image; "" if it does not.

    *run*: what was written before it.
    """
    if not looks_like_one(command[0]):
        return ""
    rest = list(command[1:])
    # Options behind an image are for a program that only the image knows.
    has_program = rest and not rest[0].startswith("-")
    instead = f"leave the image out: `{run} {shlex.join(rest)}`" if has_program else "give a program, with its arguments"
    return f"; berth runs programs of this host, not images: {instead}"
