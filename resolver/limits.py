"""Every bound and time of the resolver half: a name, a unit and a reason."""

from __future__ import annotations

UDP_PAYLOAD = 65_535
"""Octets that we read from a datagram: queries with large EDNS options are legal (rule W-9)."""

UDP_DRAIN = 64
"""Datagrams read in one go before other sockets get their turn: at 5 us each no sandbox waits longer than 0.3 ms for one."""

UDP_DRAIN_SLOW = 8
"""The same for a socket most of whose datagrams are not repeated queries, and so cost up to ten times as much."""

GATEWAY_LOOK = 1024
"""Datagrams at a gateway address after which is looked who sent how many, if the socket was full all the while."""

GATEWAY_RATE = 2000
"""Datagrams in a second below which an asker is let through whole again."""

GATEWAY_HALVINGS = 8
"""Times that the datagrams of one asker are halved there at most: one of 256 is let through then."""

GATEWAY_THINNED = 16
"""Askers at one gateway address that may be halved at a time: the filter has to look at each of them for each datagram."""

GATEWAY_RELEASE = 1.0
"""Seconds between looks whether they send less again."""

READY_SOCKETS = 256
"""Sockets served in one round before the loop gets its turn."""

UDP_RESPONSE = 4096
"""Octets of a response by UDP at most, whatever the client says that it can receive: what is longer is asked for over TCP."""

OUR_PAYLOAD = 1232
"""The UDP size we announce in OPT: fits every path without fragments (DNS flag day 2020)."""

REPLIES = 64 << 20
"""Octets that the remembered replies to all clients take; beyond it the client whose replies take most loses them."""

REPLIES_LOOKS = 64
"""Looks at how many octets that is while as many are added: a look goes over all clients."""

REPLY_OVERHEAD, REPLY_ORDER_OVERHEAD = 400, 48
"""Octets that one remembered reply takes beside its octets and its key, and each order of its addresses, measured."""

REPLIES_PER_CLIENT = 4 << 20
"""Octets that the remembered replies to one client take; beyond it the client loses them."""

SHAPES_PER_CLIENT = 16
"""Forms (flags, type, EDNS) in which one sandbox's repeated queries come; with more its remembered replies start anew."""

ROTATIONS = 16
"""Orders in which the addresses of one name are rendered; more addresses than that rotate in steps."""

STRANGERS = 256
"""Addresses that are no sandbox's and are told apart at one network's gateway: each has a share of its own."""

TCP_CONNECTIONS = 64
"""Open TCP connections of one client: a sandbox must not use up the daemon's descriptors (aardvark CVE-2024-8418)."""

TCP_CONNECTIONS_OF_ALL = 1024
"""Those of all clients of one gateway address. When half are taken, each client may have an equal share."""

TCP_READ = 16_384
"""Octets read from a connection at once, into memory that all connections share."""

TCP_MESSAGE = 2 + 65_535
"""Octets of the longest message with its length: what a connection keeps before it is read no further."""

TCP_OCTETS = 1 << 20
"""Octets that all connections of one client keep, read and unsent; beyond it the one that keeps most is closed."""

TCP_TURN_OCTETS = 131_072
"""Octets of responses written in one turn of the loop, over all connections of one listener."""

TCP_FIRST_READ = 2.0
"""Seconds until the first message of a TCP connection is there (rule DNS-17)."""

TCP_IDLE = 8.0
"""Seconds between messages of a TCP connection (rule DNS-17)."""

TCP_IN_FLIGHT = 32
"""Unanswered queries of one TCP connection; further ones are read when one is answered."""

TCP_TURN = 32
"""Queries of all TCP connections of one listener answered in one turn of the loop."""

TCP_SHARE = 8
"""Queries of one connection among them."""

TCP_UNREAD = 65_536
"""Octets of responses that a client may leave unread before its queries are left unread."""

TCP_WRITE = 5.0
"""Seconds that a client may take to read its responses before the connection is closed."""

BUDGET = 2.2
"""Seconds that forwarding one query may take: two of them (a search list) fit in glibc's 5 s."""

NEXT_UPSTREAM = 0.4
"""Seconds at most before the next upstream is asked too, while the earlier ones may still answer."""

HEDGE = 0.05
"""Seconds at least before that: a resolver that must ask others takes that long."""

MISSES = 3
"""Queries in a row that others answered while an upstream was late, before it counts as failed."""

RESEND = 0.8
"""Seconds after the last upstream was asked before those that are silent are asked again, and once more after as many: UDP may
lose a datagram, a socket may have a source address that the host has no longer, and an outage may be over."""

DOWN = 15.0
"""Seconds during which an upstream that did not answer is asked last."""

NO_EDNS = 900.0
"""Seconds during which an upstream that refused EDNS is asked without."""

LOOP = 60.0
"""Seconds during which an upstream that leads back to us is not asked; then it is tried again."""

PROBE_PAUSE = 0.5
"""Seconds after a failure during which queries fail at once, if all upstreams have failed: it is the longest that nobody notices
that one is back."""

IN_FLIGHT_PER_CLIENT = 256
"""Forwarded queries of one sandbox at a time; more get SERVFAIL at once."""

IN_FLIGHT = 8192
"""Forwarded queries of all sandboxes at a time. When half are taken, each sandbox may have an equal share."""

UPSTREAM_OCTETS = 16_384
"""Octets of responses read from one upstream's socket in one go, if it sends longer ones than `OUR_PAYLOAD`: they cost more."""

SOCKETS_PER_UPSTREAM = 4
"""UDP sockets to one upstream: each query picks one at random, so that a spoofer knows neither port nor ID."""

SOCKET_QUERIES = 1024
"""Queries on one UDP socket before a fresh one, with a fresh random port, takes its place (RFC 5452 section 9.2)."""

SOCKET_AGE = 30.0
"""Seconds after which a UDP socket to an upstream is replaced."""

SOCKET_IDLE = 5.0
"""Seconds without a query after which a socket to an upstream is closed."""

STREAM_IDLE = 10.0
"""Seconds without a query after which a TCP or TLS connection to an upstream is closed (RFC 7766 section 6.2.3)."""

STREAM_OPEN = 1.5
"""Seconds that connecting to an upstream by TCP or TLS may take."""

STREAM_TURN = 16
"""Messages from one connection to an upstream that are looked at in one turn of the loop."""

STREAM_IN_FLIGHT = 1024
"""Unanswered queries of one connection to an upstream."""

WAITING_OCTETS = 512
"""Octets that a query may keep while it waits for upstreams; of a longer one only the question is kept."""

RUNS = 512
"""Records, and runs of equal ones, in one answer of an upstream; more cost too much. BIND takes 100 records of one type."""

ALIASES = 16
"""CNAME, SVCB and HTTPS records in one answer of an upstream. Resolvers follow 11 (Unbound) to 16 (BIND)."""

SERVICE_RECORD = 2048
"""Octets of the data of one SVCB or HTTPS record; 128 IPv6 addresses fit in."""

SERVICE_PARAMETERS = 64
"""Parameters looked at in one SVCB or HTTPS record; 8 are defined."""

SERVICE_TARGETS = 64
"""Targets of one SRV name whose addresses come in the same response; with more there is no room for them."""

RECORDS_BEHIND_OPT = 64
"""Additional records that are kept if they come behind the OPT record; nearly no server has any there."""

OPTIONS = 32
"""EDNS options looked at in one OPT record; some thousands would fit."""

EXTENDED_ERRORS = 512
"""Octets of an upstream's extended DNS errors that are kept and passed on."""

RUN_OVERHEAD = 260
"""Octets that one run of records, or one alias, takes beside the records themselves, measured."""

CACHE_OVERHEAD = 900
"""Octets that one cached answer takes beside its records and its key, measured."""

CACHE_SHOWN, CACHE_SHOWN_MOST = 1000, 10_000
"""Cached answers in one response of the admin API: by default, and at most."""

CACHE_ROOM = 65_536
"""Octets that are freed together when the cache is full; a sixteenth of a small cache."""

CACHE_GHOSTS = 4096
"""Evicted names that are recognised if they come back, for one set of upstreams."""

FAILURES = 256 << 10
"""Octets of the queries that failed lately and are not sent again at once, for one set of upstreams (RFC 9520)."""

FAILURE_OVERHEAD = 300
"""Octets that one of them takes beside its name and its reason, measured."""

FAILURE_FIRST, FAILURE_LONGEST = 1.0, 2.0
"""Seconds that a failure is remembered, at first and from the second time on (RFC 9520 section 3.2): after an outage a name fails
no longer than that. Queries to silent upstreams are few anyway, see PROBE_PAUSE."""

LONGEST_TTL = 604_800
"""Seconds: any longer TTL counts as this (RFC 8767 section 4 suggests a week)."""

NEGATIVE_TTL = 3600
"""Seconds that a negative answer is cached at most (RFC 2308 section 5 suggests one to three hours)."""

STALE_TTL = 30
"""TTL of an expired answer that is served all the same (RFC 8767 section 4)."""

PREFETCH = 0.1
"""Share of its lifetime that a popular answer has left when it is fetched again (Unbound's value)."""

PREFETCH_HITS = 2
"""Hits that make an answer popular enough for that."""

UPSTREAMS = 16
"""Upstreams used of one list."""

BODY = 1 << 20
"""Octets of one request to the admin API."""

API_CONNECTIONS = 64
"""Connections to the admin API of one user (not root) or address: each takes a descriptor."""

API_RATE, API_BURST = 50.0, 500.0
"""Requests a second of one user (not root) or address, and how many it may save up."""

GUEST_RATE, GUEST_BURST = 5.0, 20.0
"""Questions a second by DHCP and router discovery of one virtual machine, and how many it may save up."""

API_PEERS = 4096
"""Users and addresses whose requests are counted, before those that ask no longer are forgotten."""

API_STREAMS = 128
"""Followers of events at a time: each may be `EVENTS` behind."""

API_HANDSHAKE = 10.0
"""Seconds that a client of the admin API over TCP may take for TLS."""

RUN_DIRECTORY_LOOK = 1.0
"""Seconds between looks whether the admin sockets and the keeper's are still there."""

EVENTS = 1024
"""Events kept for a slow reader of /v1/events; it is cut off beyond that."""
PAST_EVENTS = 1000
"""Events kept for who asks what happened before; those before them are forgotten. About 500 octets each."""

RESOLV_CONF = 1 << 20
"""Octets of a resolv.conf that we read."""

RESOLV_CONF_LINE = 65_536
"""Octets of one line of it (rule RC-7); a longer one is skipped."""

RESOLV_CONF_PROBLEMS = 8
"""Mistakes in it that `berth status` shows."""

RESOLV_CONF_POLL = 10.0
"""Seconds between looks at it that nothing asked for: a file that is mounted over it, for one, is not announced."""

RESOLVERS_AT_ONCE = 32
"""Resolvers of sandboxes that a start opens before their first queries are read. Without kept sockets each is a firewall table."""

STOP_WITHIN = 15.0
"""Seconds in which a daemon that stops is done with the work at hand. Then it ends as if it were killed: the next undoes the rest."""

LAST_CHANGES = 2.0
"""Seconds in which a daemon that stops ends the changes that it has begun before it goes on; further ones are refused."""

LAST_REQUESTS = 0.5
"""Seconds that a daemon which stops waits for the request of somebody who has just connected, to send him to the next daemon."""

LAST_ANSWERS = 0.3
"""Seconds for which a daemon that stops waits for name servers, so that what was asked is answered; new queries wait for the next."""

EXIT_WHEN_IDLE = 2.0
"""Seconds without a sandbox, an owner or a request after which a daemon started by `run` or `up` exits."""

PROCESS_GRACE = 2.0
"""Seconds that the process of a sandbox has between SIGTERM and SIGKILL when the sandbox is removed."""

ENDED_LOOK = 0.02
"""Seconds between looks whether the caller of `berth run` has removed the sandbox whose command was stopped."""

HOLDER_GRACE = 10.0
"""Seconds in which the process that holds a sandbox has written the last output of a command that has ended; then it is killed."""

FOLLOW_PAUSE = 1.0
"""Seconds before a program is asked again for events that has ended, is not there or refuses."""
FOLLOW_PROGRAM = 30.0
"""Seconds that a program may take to tell a pid."""
FOLLOW_LOOK = 60.0
"""Seconds after which a source is asked again that has said nothing."""
FOLLOW_HOST_NAMESPACE = (0.02, 1.0)
"""Seconds between looks at a process that is still in the host's namespace, first and at most: the kernel tells nobody when it leaves."""
FOLLOW_RETRY = (0.25, 30.0)
"""Seconds before a namespace that could not be attached is tried again, first and at most."""
STATIC_RECORDS = 10_000
"""Static records of one network. They are in memory, and copied with the zone's shards."""

STATIC_DATA = 32_768
"""Octets of data of the static records of one name and type: with their heads they fit into one response over TCP (65,535)."""

HOST_RESOLVER_LOOK = 3.0
"""Seconds between looks whether the host is still answered, or can be by now."""

HOSTS_BLOCK_LOOK = 10.0
"""Seconds between looks at /etc/hosts that nothing asked for: others write it anew."""

HOSTS_BLOCK_PAUSE = 0.2
"""Seconds for which changes of names are collected before /etc/hosts is written."""

STATIC_VALUES = 256
"""Static records of one name and type: each that is added is compared with those there are."""

STATIC_OCTETS = 4 << 20
"""Octets of data of the static records of one network."""

UPDATES_WAITING = 64
"""Signed updates of static names that wait for those before them; more are dropped, and their senders ask again."""

UPDATE_RECORDS = 1000
"""Records of one update, with its prerequisites and its signature."""

UPDATES_TOLD_AGAIN = 1.0
"""Seconds between two lines of the log about updates that are not signed as they should be."""

EGRESS_LOOK_RETRY = 1.0
"""Seconds until the look at names is tried again, where an earlier daemon that is ending still has its log group."""

EGRESS_OPENED_FLOWS = 65_536
"""Connections of which it is remembered for which name they were opened, 64 octets each. Of older ones all names of the address must stay
allowed for them to go on when rules change."""

EGRESS_RECORD_PAUSE = 1.0
"""Seconds until what a sandbox has used is written, so that many connections are one change of the file."""

MOST_SPARES = 1000
"""Namespaces that are kept ready: five descriptors each, and memory of the kernel."""
