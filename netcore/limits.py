"""Every bound of netcore: a name, a unit and a reason."""

from __future__ import annotations

BRIDGE_PORTS = 1023
"""Ports of one bridge. The kernel numbers ports in 10 bits, 0 excluded, and answers EXFULL beyond."""

MULTICAST_GROUPS = 64
"""Multicast groups that one sandbox may join on a bridge of the host's own that snoops; its table takes 4,096 of all."""

IFNAME_LENGTH = 15
"""Visible characters of a link name (IFNAMSIZ less the final NUL)."""

HOSTNAME_LENGTH = 64
"""Octets of a host name (HOST_NAME_MAX; sethostname refuses more)."""

OBJECT_NAME_LENGTH = 200
"""Characters of the name of a network or sandbox: it is part of file names, which have 255 octets."""

LABEL_LENGTH = 63
"""Octets of one DNS label (RFC 1035 section 2.3.4)."""

ADDRESS_QUARANTINE = 30.0
"""Seconds before a released address is handed out again: longer than neighbour and DNS caches of its old peers."""

KNOWN_OBJECTS = 128
"""Sandboxes whose objects are remembered: those of the operations of a burst. Each has some kilobytes."""

DUMP_RETRIES = 5
"""Attempts at a netlink dump that the kernel marks as interrupted by a change."""

KERNEL_WORKERS = 8
"""Threads that do kernel work. Eight parallel link removals take as long as one (35 ms measured)."""

FORWARDING_WAIT = 1.0
"""Seconds to wait for a bridge port to reach the forwarding state; 2 ms is usual."""

PUBLISHED_PORTS_PER_SANDBOX = 4096
"""Published ports of one sandbox: a whole /20 of the port space, and one nftables transaction stays small."""

CONNECTIONS_PER_SANDBOX = 32_768
"""Tracked connections that one sandbox may open to the host and to the outside. More than a client has ports for one server;
an eighth of the kernel's usual table of 262,144. The kernel counts them one by one: 0.1 ms for each further one at the limit."""

NEIGHBORS_AT_ONCE, NEIGHBORS_PER_SECOND = 64, 8
"""New neighbours that one sandbox may have the host look for. A search takes the kernel 3 s; its table takes 1,024 of all."""

BOUNDED_SENDERS, BOUNDED_NEIGHBORS = 65_536, 65_536
"""Elements of the sets that count these: of each sandbox, and of each neighbour of each sandbox."""

HOST_PORTS = 1024
"""Ports of the host that `host_access=ports=..` may open: each is an element."""

NETWORKS = 4096
"""Networks of one host: the kernel's interface lists and our start-up dump stay quick."""

SYSCTL_VALUE_LENGTH = 256
"""Octets read back from one sysctl file."""

HELD_PORTS = 4096
"""Published host ports that are held by a socket of ours; further ones are published without that."""

PROXY_BACKLOG = 128
"""Connections that wait to be accepted on a published port that is relayed."""

ACCEPT_PAUSE, ACCEPT_TOLD_AGAIN = 0.5, 60.0
"""Seconds before the next attempt to accept a connection when no descriptor is free, and until the log says so again."""

PROXY_CONNECTIONS = 1024
"""Connections at once through one relayed port; each costs two descriptors. Further ones are reset."""

PROXY_CONNECTIONS_PER_SOURCE = 512
"""Those of one source among them. When half are taken, each source may have an equal share."""

RELAYED_CONNECTIONS, RELAYED_CLIENTS = 8192, 8192
"""Connections and UDP clients at once through all relayed ports; with few descriptors (`ulimit -n`) fewer. One sandbox has half of them
at most; when half are taken, each an equal share."""

RELAYED_TOLD_AGAIN = 60.0
"""Seconds until the log says again that a sandbox's ports relay no more."""

PROXY_TCP_IDLE = 7440.0
"""Seconds after which a relayed connection is closed on which nothing was sent: 2 hours 4 minutes, the least that RFC 5382
section 5 allows a NAT."""

PROXY_HALF_CLOSED = 240.0
"""The same for one of which one side has ended already (RFC 5382 section 5)."""

PROXY_KEEPALIVE = (60, 15, 4)
"""Seconds of silence before a peer is asked whether it is still there, seconds between such probes, and how many stay unanswered."""

PROXY_CONNECT = 5.0
"""Seconds for a sandbox to accept a relayed connection."""

PROXY_SESSIONS = 1024
"""UDP clients at once of one relayed port; each costs a descriptor. Datagrams of further ones are dropped."""

PROXY_SESSIONS_PER_SOURCE = 512
"""Those of one source among them. When half are taken, each source may have an equal share."""

PROXY_IDLE = 90.0
"""Seconds after which a UDP client that is silent is forgotten, as by Docker's proxy."""

PROXY_DATAGRAMS = 64
"""Datagrams relayed for one port before the loop looks at others."""

PROXY_UNANSWERED = 8
"""Datagrams of a UDP client that are kept until the first answer, for the sandbox's other family if the first one refuses them."""

RECORD_REMOVALS_AFTER = 0.02
"""Seconds from a removal until its end is recorded, unless something else is written before."""

FORGET_PORTS_AFTER, FORGET_ADDRESSES_AFTER = 0.05, 0.25
"""Seconds from an operation until flows are forgotten: those to ports that lead elsewhere now; those of addresses that rest."""

LINKS_IN_A_DELETE = 16
"""Pairs that are deleted together: for a part of that time nobody else can change a link (2 take 17 ms in all, 50 take 29)."""

DELETE_LINKS_AFTER, DELETE_LINKS_BY = 0.05, 0.5
"""Seconds from when a pair was taken down until it is deleted if no operation is under way, and in any case. So several go together."""

DELETE_BRIDGES_AFTER, DELETE_BRIDGES_SOON, DELETE_BRIDGES_BY = 0.1, 5.0, 60.0
"""Seconds without an operation until a bridge that was taken down is deleted: it keeps others from changing links for 15 ms. From
when it was taken down until it goes in any moment without an operation; and until it goes in any case."""

DELETE_PAUSE, DELETE_RETRY, DELETES_AT_END = 0.02, 2.0, 2.0
"""Seconds between looks at what is to be deleted; until what failed is tried again; for all that is left when the daemon ends."""

SPARE_QUIET, SPARE_PAUSE, SPARE_PAUSE_IN_BURST, SPARE_RETRY = 0.2, 0.005, 0.1, 10.0
"""Seconds: a burst of sandboxes is over when none was made for the first; between two spare namespaces after and during one, as making
one holds up whoever changes links; until one that failed is tried again."""

ANNOUNCE_FOR, ANNOUNCE_PAUSE = 0.001, 0.02
"""Seconds for which addresses are announced again in a row, and for which none is then: one takes 5 ms on a bridge with 1,000 ports."""

FLOW_FILTERS = 32
"""Requests by filter, each a walk through the table of flows (0.25 ms and more), rather than one look at all flows (6 ms and more)."""

PLUGIN_PATIENCE = 15.0
"""Seconds for which a plugin that is not there is tried again, from the first pause on doubling."""

PLUGIN_FIRST_PAUSE = 0.25
"""Seconds before the second attempt to reach a plugin."""

PLUGIN_CALL = 30.0
"""Seconds for a plugin to answer one call: it may talk to a whole cluster."""

PLUGIN_TAKE_BACK = 1.0
"""Seconds for a plugin that has just not answered to take back what it may have made: the user waits for the refusal."""

PLUGIN_SILENCE = 60.0
"""Seconds for which a plugin that did not answer counts as one that has just not answered."""

PLUGIN_ANSWER = 1 << 20
"""Octets of a plugin's answer."""

STORE_OPERATIONS = 128
"""Keys in one transaction, and in its compares: etcd's --max-txn-ops."""

STORE_PAGE = 2000
"""Items asked of etcd at once: an answer stays at some megabytes."""

STORE_CALL = 2.0
"""Seconds for one member of etcd to answer one call."""

STORE_DEADLINE = 5.0
"""Seconds in which some member must have answered, an election included."""

STORE_PAUSE = 0.1
"""Seconds before all members are tried again."""

STORE_WATCH_SILENCE = 1200.0
"""Seconds without a message on a watch, after which it is asked anew: etcd tells of its progress every 10 minutes."""

STORE_PROBE = 1.0
"""Seconds between looks whether etcd answers."""

STORE_RETRY = 1.0
"""Seconds before a store that can't be reached is tried again."""

ADDRESS_ATTEMPTS = 64
"""Addresses tried when other hosts take the same ones at the same time."""

STORE_FIRST_WAIT = 2.0
"""Seconds for which a start waits for etcd; behind that it goes on without."""

SERVICE_PORTS = 64
"""Ports of one sandbox that SRV records tell of: each is a name for each of its names."""

KEY_SETTLE = 10.0
"""Seconds from when a new key between hosts is known until it is sent with: all others take it in by then."""

KEY_LIFE = 43_200.0
"""Seconds after which a key between hosts is followed by a new one (12 hours, as Docker's)."""

SANDBOX_FILE = 1 << 20
"""Octets of a file of a sandbox (hosts, resolv.conf) that we read: whoever is root in it may write gigabytes."""

SYSCTL_POLL = 0.5
"""Seconds between looks at one sysctl whose change the kernel does not always announce (see `Uplinks.is_reset`)."""

HOST_SETTLE = 0.1
"""Seconds from a change on the host until it is looked at, so that a burst of changes means one look."""

HOST_LOOK_SHARE = 10
"""Pause between looks, in times of what the last one took: a host with a million routes is not looked at all the time."""

HOST_LOOK_FREE = 0.05
"""Seconds that a look may take before there is such a pause."""

HOST_POLL = 30.0
"""Seconds between looks at a host of which no change was noticed."""

KEEPER_STARTS = 5
"""Keepers started in `KEEPER_PERIOD`; when they all end, the daemon goes on without."""

KEEPER_PERIOD = 60.0
"""Seconds, see `KEEPER_STARTS`."""

STATE_COPY_AFTER = 5.0
"""Seconds from a change of the state until it is copied; so there is at most one copy in this time."""

STATE_TIDY_EVERY = 256
"""Commits after which old deletions are forgotten and free pages given back; a watch can be this far behind."""

STATE_LOG_PAGES = 256
"""Pages of SQLite's write-ahead log after which it is brought into the database (1 MiB)."""

STATE_LOG_BYTES = 1_048_576
"""Size that the write-ahead log is cut to once it was brought in."""

STATE_RETRY = 2.0
"""Seconds after which it is tried again to write a state that could not be written."""

SET_ASIDE_RETRY = 10.0
"""Seconds after which what could not be restored is tried again, if nothing on the host changes before."""

SET_ASIDE_PAUSE = 2.0
"""Seconds after a retry in which changes on the host mean no other one: it makes some itself."""

DRIFT_ATTEMPTS = 10
"""Times in `DRIFT_PERIOD` that an object is repaired which another program changes; then it is left alone."""

DRIFT_ATTEMPTS_INSIDE = 1
"""The same for what is inside a sandbox, whose own root may have changed it."""

DRIFT_PERIOD = 3600.0
"""Seconds, see `DRIFT_ATTEMPTS`. What is inside a sandbox is not repaired again with time."""

UNREADABLE_WARNINGS = 20
"""Records of the cluster that can't be read and that the status names; it counts the rest."""

DRIFT_WARNINGS = 20
"""Objects changed by others that the status names; it counts the rest."""

DRIFT_INTERVAL = 60.0
"""Seconds in which everything is compared with what must exist, a few objects at a time; most changes are noticed at once."""

DRIFT_RATE = 100
"""Networks and sandboxes a second that are compared at most without a change; beyond 6,000 a round takes longer."""

DRIFT_SETTLE = 0.2
"""Seconds from a change that somebody made to the comparison: what changes several things has finished by then."""

DRIFT_PAUSE = 1.0
"""Seconds at least between two comparisons of one sandbox or network, whoever changes it all the time."""

DRIFT_MESSAGES = 2000
"""Notifications read at once. If there are more, everything is compared instead."""

DRIFT_FULL_PAUSE = 10.0
"""Seconds at least in which everything is compared because notifications were lost."""

DESCRIPTORS_KEPT = 64
"""Descriptors that resolvers leave free: for the admin socket, the store, netlink and queries to upstreams."""

EGRESS_RULES = 1024
"""Egress rules of one sandbox, one network or one list: each is looked at for each new name, and is some elements of the firewall."""

EGRESS_RULE_LENGTH = 320
"""Characters of one egress rule: a name has 253, and there are a port and a few words."""

EGRESS_ADDRESSES = 16_384
"""Addresses that answers may have opened for one sandbox at a time: names that rotate a thousand addresses, sixteen of them."""

EGRESS_NAMES = 32_768
"""Names, each with each of its addresses, that are open for one sandbox at a time. A wildcard may have any number at one address."""

EGRESS_LONGEST = 86_400.0
"""Seconds for which one answer opens an address, whatever its TTL: a day, after which whoever still needs it has asked again."""

EGRESS_TARGETS = 1024
"""Names that SVCB and HTTPS answers led one sandbox to, and that it may ask for therefore."""

EGRESS_NEW_NAMES = 600
"""New names a minute that one sandbox may ask for below its wildcards. A browser asks for a few hundred; a tunnel needs ten a second."""

EGRESS_REMEMBERED_NAMES = 4096
"""Names that are not new for one sandbox, because it has asked for them lately."""

EGRESS_LOGGED_PER_SECOND, EGRESS_LOGGED_AT_ONCE = 50, 100
"""Refused packets of one sandbox that are told to the daemon, each destination once a second. A reader takes some ten thousand."""

EGRESS_NEIGHBORS_PER_SECOND, EGRESS_NEIGHBORS_AT_ONCE = 20, 100
"""Searches for neighbours, and answers to those of neighbours, of one sandbox whose rules allow no peer."""

EGRESS_SINGLE_PORTS = 64
"""Ports that an answer opens as elements of their own; more are ranges, whose set takes a millisecond for each change."""

EGRESS_REFUSALS, EGRESS_REFUSING_SANDBOXES = 256, 1024
"""Different things refused to one sandbox that are remembered, and sandboxes of which that is: 64 MB at most, at 250 octets each."""

EGRESS_TOLD_AGAIN = 60.0
"""Seconds after which a thing that is refused again is an event again."""

EGRESS_ASKED_LATELY = 86_400.0
"""Seconds after its last question for which an exact name is asked again by the daemon: nginx and a JVM may never ask a second time."""

EGRESS_ASKED_AT_ONCE = 256
"""Names of all sandboxes together that are asked again at one time."""

FIRST_DATA = 32_768
"""Octets in which the first data of a looked-at connection must name the server. A ClientHello has 0.3 to 2 KiB, with large tickets
and many keys 12; servers take headers of 8 to 16 KiB. More than its first window, about 14 KiB, no client sends unacknowledged."""

FIRST_DATA_PIECES = 64
"""Pieces of them that are kept behind a gap. A first window has ten segments; what is not kept comes again."""

FIRST_DATA_PATIENCE = 30.0
"""Seconds from the first octet until the server must be named."""

LOOKED_FLOW_IDLE = 120.0
"""Seconds after which a looked-at connection is forgotten of which nothing came. If it goes on, it is asked for anew."""

LOOKED_FLOWS_PER_SANDBOX, LOOKED_FLOWS = 1024, 16_384
"""Connections at once that are looked at, each for one or two round trips. Beyond that the oldest is forgotten, and asked for anew."""

FIRST_DATA_PER_SANDBOX = 4 << 20
"""Octets of them that are kept for one sandbox. What is not kept comes again."""

REFUSALS_REPEATED = 3
"""Times that a refused connection is told so, as its client repeats its data."""

INJECTED_AT_ONCE = 10
"""Segments that are sent again when a client sends again, as many as TCP begins with (RFC 6928)."""

SEGMENT_SIZE = {4: 536, 6: 1220}
"""Octets of a segment to a server that has not said what it takes (RFC 9293 section 3.7.1)."""

LARGEST_SEGMENT = 1220
"""Octets of a segment that is sent in place of a client's: fits in 1280 octets, so through every path."""

LOOKED_PACKETS_PER_SECOND, LOOKED_PACKETS_AT_ONCE = 2000, 1000
"""Packets of one sandbox that are copied, and packets to it; each takes the daemon 0.1 ms. What is not copied is sent again."""

LOOKED_PACKETS_PER_TURN = 64
"""Copies that are read before the loop looks at others."""

LOOK_PERIOD = 1.0
"""Seconds between two looks at which connections are late."""

ACKNOWLEDGE_AFTER_SEGMENTS, ACKNOWLEDGE_AFTER_OCTETS = 8, 8000
"""Held segments or octets after which a client is told that they have come: it sends ten, and no more before it hears of them."""

LOOK_DECISIONS = 16_384
"""Decisions that the next daemon is left with if this one is killed, two of a connection: each matters for one round trip to a server, or
for as long as a connection of HTTP lasts."""

FOLLOWED_NOTED = 1 << 28
"""Octets of a body after which it is noted again how much of it is left: sequence numbers say nothing of more than 2^31."""

CHUNK_LINE = 4096
"""Octets of one line between the chunks of an HTTP body, and of one trailer."""

FOLLOWED_DATA = 262_144
"""Octets of an HTTP connection that are on their way to the server at a time: it is followed to its end, so this bounds its upload."""

FOLLOWED_FLOW_IDLE = 3600.0
"""Seconds after which an HTTP connection without packets is forgotten; a request that comes later is refused."""

EGRESS_NAMES_LEARNED = 16
"""Names of one address that `--egress learn` makes rules for; the oldest go first."""

EGRESS_RECORDS = 256
"""Sandboxes of which it is kept what they have used, with `EGRESS_RULES` rules each; the oldest go first."""

WAY_OUT_CONNECTIONS = 16_384
"""Connections from one nest to the outside at once. One sandbox has half of them at most; when half are taken, each an equal share."""

WAY_OUT_DESCRIPTORS, WAY_OUT_FLOW_DESCRIPTORS = 6, 2
"""Descriptors of one such connection, two sockets and four ends of pipes, and of a pair that exchanges datagrams."""

WAY_OUT_OWN_DESCRIPTORS = 32
"""Descriptors that the way out has for itself: about 20, and some for what comes and is refused."""

WAY_OUT_BACKLOG = 1024
"""Connections that were answered and are not accepted yet."""

WAY_OUT_READY = 10.0
"""Seconds for a client to take a connection that the outside has taken."""

WAY_OUT_FLOWS = 4096
"""Pairs of client and server that exchange datagrams, with shares as above."""

WAY_OUT_PINGS = 256
"""Programs that ping, times addresses, with shares as above."""

WAY_OUT_GIVES_WAY = 5.0
"""Seconds of silence after which a sandbox's own flow of datagrams or ping gives way to a new one of the same sandbox."""

WAY_OUT_REPORT, WAY_OUT_TOLD_AGAIN = 1.0, 60.0
"""Seconds between two reports to the daemon, and until the log says again that a sandbox has its share."""

WAY_OUT_UNANSWERED, WAY_OUT_IDLE = 30.0, 180.0
"""Seconds of silence after which a flow of datagrams ends: before the first answer, and after it (as nf_conntrack_udp_timeout)."""

WAY_OUT_LOOK = 5.0
"""Seconds between looks for what is silent."""

WAY_OUT_TURN = 64
"""Packets, datagrams or connections that are taken before the loop looks at others."""

WAY_OUT_ROUTES = 1000
"""Subnets of the host that a nest leaves out."""

WAY_OUT_LARGE_PIPES = 16
"""Pipes of connections that are enlarged to 1 MiB because they were full; an ordinary user's pipes may have 64 MiB altogether."""
