"""Validation of the names a user gives: networks, sandboxes, aliases, host names, MACs. Pure.

Aliases and host names become DNS labels, so they are checked when registered and not when first asked for (rule W-38). The name of a
network or sandbox may be longer, as with Docker: Compose makes it of three others. It then has no label (rule DNS-38).
"""

from __future__ import annotations

import re

from netcore import limits
from netcore.errors import InvalidRequest

# Docker's rule for object names. It keeps names usable as file names and in URLs.
_OBJECT_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
_MAC = re.compile(r"(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\Z")


def check_object_name(kind: str, name: str) -> str:
    """Return *name* if it is a valid name of a network or sandbox, whether or not DNS can have it; InvalidRequest otherwise."""
    if not _OBJECT_NAME.match(name):
        raise InvalidRequest(f"{kind} name", f"{name!r} must begin with a letter or digit and contain only letters, digits, _ . and -")
    if len(name) > limits.OBJECT_NAME_LENGTH:
        raise InvalidRequest(f"{kind} name", f"{name[:40]!r} must have 1 to {limits.OBJECT_NAME_LENGTH} characters")
    if not all(name.removesuffix(".").split(".")):
        raise InvalidRequest(f"{kind} name", f"{name!r}: each part between dots must have a character")
    return name


def fits_in_dns(name: str) -> bool:
    """Return whether the name of a network or sandbox, which has been checked, can be asked for."""
    return all(len(label) <= limits.LABEL_LENGTH for label in name.split("."))


def check_dns_name(field: str, name: str) -> str:
    """Return *name* if every label fits in DNS (63 octets a label, 253 in all); InvalidRequest otherwise.

    Spec: RFC 1035 section 2.3.4. Any printable ASCII but space is allowed in a label (RFC 2181 section 11).
    """
    if not name or len(name) > 253:
        raise InvalidRequest(field, f"{name[:40]!r} must have 1 to 253 characters")
    for label in name.removesuffix(".").split("."):
        if not 0 < len(label) <= limits.LABEL_LENGTH:
            raise InvalidRequest(field, f"{name[:80]!r}: each part between dots must have 1 to {limits.LABEL_LENGTH} characters")
        if any(not 0x20 < ord(char) < 0x7F for char in label):
            raise InvalidRequest(field, f"{name!r} must be printable ASCII; write international names in their xn-- form")
    return name


def check_network_alias(name: str) -> str:
    """Return *name* if it is a name, or a wildcard such as *.app (RFC 4592); InvalidRequest otherwise."""
    if name.removesuffix(".") == "*":
        raise InvalidRequest("network-alias", "'*' alone would take every name there is; give a domain with it, such as '*.app'")
    return check_dns_name("network-alias", name)


def check_single_name(field: str, name: str) -> str:
    """Return *name* if it is a name and no wildcard; InvalidRequest otherwise."""
    if name.startswith("*."):
        raise InvalidRequest(field, f"{name!r} is a wildcard, which only a network alias can be")
    return check_dns_name(field, name)


def check_hostname(name: str) -> str:
    """Return *name* if the kernel and DNS take it as a host name (rule HO-16)."""
    if len(name.encode()) > limits.HOSTNAME_LENGTH:
        raise InvalidRequest("hostname", f"{name!r} is too long (maximum {limits.HOSTNAME_LENGTH} bytes)")
    return check_single_name("hostname", name)


def check_mac(text: str) -> str:
    """Return *text* as a lower-case colon-separated unicast MAC; InvalidRequest otherwise."""
    if not _MAC.match(text):
        raise InvalidRequest("mac-address", f"{text!r} is not of the form 02:42:ac:11:00:02")
    mac = text.lower().replace("-", ":")
    if int(mac[:2], 16) & 1:
        raise InvalidRequest("mac-address", f"{text} is a multicast address; the first octet must be even")
    if mac == "00:00:00:00:00:00":
        raise InvalidRequest("mac-address", "must not be all zeros")
    return mac
