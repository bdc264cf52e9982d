"""Every bound and time of the resolver half: a name, a unit and a reason."""

from __future__ import annotations

UDP_PAYLOAD = 65_535
"""Octets that we read from a datagram: queries with large EDNS options are legal (docker-behaviour W-9)."""

UDP_DRAIN = 64
"""Datagrams read in one go before other sockets get their turn: at 7 us each no sandbox waits longer than 0.5 ms."""

OUR_PAYLOAD = 1232
"""The UDP size we announce in OPT: fits every path without fragments (DNS flag day 2020)."""

ANSWERS_PER_VIEW = 2048
"""Rendered replies kept for one view; beyond it they are forgotten together. About 1 MB at the worst."""

ROTATIONS = 16
"""Orders in which the addresses of one name are rendered; more addresses than that rotate in steps."""

TCP_CONNECTIONS = 64
"""Open TCP connections of one listener: a sandbox must not use up the daemon's descriptors (aardvark CVE-2024-8418)."""

TCP_FIRST_READ = 2.0
"""Seconds until the first message of a TCP connection is there (docker-behaviour DNS-17)."""

TCP_IDLE = 8.0
"""Seconds between messages of a TCP connection (docker-behaviour DNS-17)."""

TCP_IN_FLIGHT = 32
"""Unanswered questions of one TCP connection; further ones are read when one is answered."""

TCP_WRITE = 5.0
"""Seconds that a client may take to read its answers before the connection is closed."""

BUDGET = 2.2
"""Seconds that forwarding one question may take: two of them (a search list) fit in glibc's 5 s."""

NEXT_UPSTREAM = 0.4
"""Seconds before the next upstream is asked too, while the earlier ones may still answer."""

RESEND = 0.8
"""Seconds before an only upstream is asked again: UDP may lose a datagram."""

DOWN = 15.0
"""Seconds during which an upstream that gave no answer is asked last."""

PROBE_PAUSE = 1.0
"""Seconds after a failure during which questions are refused at once, if all upstreams have failed."""

IN_FLIGHT_PER_VIEW = 256
"""Forwarded questions of one sandbox at a time; more get SERVFAIL at once."""

IN_FLIGHT = 8192
"""Forwarded questions of all sandboxes at a time."""

SOCKETS_PER_UPSTREAM = 4
"""UDP sockets to one upstream: each question picks one at random, so port and ID are both unknown to a spoofer."""

SOCKET_QUERIES = 1024
"""Questions on one UDP socket before a fresh one, with a fresh random port, takes its place (RFC 5452 section 9.2)."""

SOCKET_AGE = 30.0
"""Seconds after which a UDP socket to an upstream is replaced."""

SOCKET_IDLE = 5.0
"""Seconds without a question after which a socket to an upstream is closed."""

UPSTREAMS = 16
"""Upstreams used of one list; more are named in a warning."""

BODY = 1 << 20
"""Octets of one request to the admin API."""

EVENTS = 1024
"""Events kept for a slow reader of /v1/events; it is cut off beyond that."""

RESOLV_CONF = 1 << 20
"""Octets of a resolv.conf that we read."""

RESOLV_CONF_LINE = 65_536
"""Octets of one line of it (docker-behaviour RC-7)."""

EXIT_WHEN_IDLE = 2.0
"""Seconds without a lease or sandbox after which a daemon started by `run` or `up` ends."""
