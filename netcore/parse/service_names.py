"""Names of services: those that users give to ports, and the well-known ones. Pure.

Spec: RFC 6335; the port numbers are those of IANA's registry. /etc/services is not read, because many hosts have none.
"""

from __future__ import annotations

import re

_NAME = re.compile(r"(?=.*[a-z])[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\Z")
_LONGEST = 62
"""An SRV label has an underscore before the name (RFC 2782), and 63 octets at most."""

_TCP = {
    "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "http": 80, "kerberos": 88, "pop3": 110, "imap": 143, "ldap": 389,
    "https": 443, "submissions": 465, "submission": 587, "ldaps": 636, "imaps": 993, "pop3s": 995, "ms-sql-s": 1433, "mqtt": 1883,
    "nfs": 2049, "etcd-client": 2379, "etcd-server": 2380, "mysql": 3306, "ms-wbt-server": 3389, "sip": 5060, "sips": 5061,
    "xmpp-client": 5222, "xmpp-server": 5269, "postgresql": 5432, "amqp": 5672, "redis": 6379, "http-alt": 8080, "secure-mqtt": 8883,
    "git": 9418, "memcache": 11211, "mongodb": 27017,
}  # fmt: skip
_UDP = {
    "domain": 53, "tftp": 69, "kerberos": 88, "ntp": 123, "snmp": 161, "https": 443, "syslog": 514, "radius": 1812, "sip": 5060,
    "coap": 5683, "memcache": 11211,
}  # fmt: skip
WELL_KNOWN: dict[str, dict[str, int]] = {"tcp": _TCP, "udp": _UDP, "sctp": {}}
"""Protocol → name → port."""
_BY_PORT = {(protocol, port): name for protocol, known in WELL_KNOWN.items() for name, port in known.items()}


def is_service_name(text: str) -> bool:
    """Return whether *text*, in lower case, can name a port: letters, digits, - and _, with a letter among them."""
    return len(text) <= _LONGEST and _NAME.match(text) is not None


def well_known(port: int, protocol: str) -> str | None:
    """Return the name that IANA gives to *port*, None for one that is not well known."""
    return _BY_PORT.get((protocol, port))
