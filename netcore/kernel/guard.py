"""The guard tables: what keeps networks closed while our own firewall tables are gone, whoever flushed them.

Our tables mark what comes from a bridge of ours, and what they let pass from or to one, or to the host. `inet berth_guard`
drops what lacks that mark. They mark each frame of a sandbox too; `bridge berth_guard` drops what lacks that mark and comes
from a sandbox with egress rules, which those tables keep from its peers on the same bridge. `bridge berth_guard_icc` keeps
the sandboxes of a network without ICC from each other. Both are there only if there are such sandboxes.
Each mark is set by the chain that decides, or by a later one of the same hook: a flush may come while a packet is between two
chains, and what has met only the first ones must not pass for judged.
The kernel lets only the netlink socket that made a table change it (flag `owner`), and keeps it when that socket is closed
(flag `persist`), from then on open to everybody. So the socket is kept by what outlives the daemon: see `Guard`.

Spec: Linux include/uapi/linux/netfilter/nf_tables.h (NFT_TABLE_F_OWNER since 5.12, NFT_TABLE_F_PERSIST since 6.9).
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import cache
from itertools import product
from threading import Lock

from netcore.desired.firewall import HAIRPIN, MARK, SEEN
from netcore.desired.frame_rules import JUDGED, KNOWN
from netcore.errors import KernelError
from netcore.kernel import nf_tables, nft, ruleset
from netcore.kernel.netlink import CREATE, NETFILTER, NetlinkSocket, Request

log = logging.getLogger(__name__)


class Group(Enum):
    """Links that have a guard table of their own: its family, its name, and its set of them."""

    BRIDGES = ("inet", "berth_guard", "bridges")
    CONFINED_PORTS = ("bridge", "berth_guard", "ports")
    """Of sandboxes with egress rules."""
    SEPARATE_PORTS = ("bridge", "berth_guard_icc", "ports")
    """Of sandboxes on networks without ICC."""

    @property
    def table(self) -> tuple[str, str]:
        """Return the family and the name of the table."""
        return self.value[:2]


_PRIORITY = 1001
"""Just behind the chain that marks, and before the one that takes the mark off again."""
_INPUT_PRIORITY = -9
"""The same, of the input hook."""
_FRAME_PRIORITY = -290
"""Behind the chain that marks frames, and before bridge-nf-call-iptables has the host's chains take the mark off."""
_FRAME_FORWARD_PRIORITY = 11
"""Behind the host's chains, which bridge-nf-call-iptables calls before all of these."""
_RULES = {
    Group.BRIDGES: f"""
table inet berth_guard {{
  set bridges {{ type ifname; }}
  chain from_bridges {{
    type filter hook prerouting priority {_PRIORITY}; policy accept;
    iifname @bridges meta mark and {SEEN:#x} == 0 counter drop
  }}
  chain between {{
    type filter hook forward priority {_PRIORITY}; policy accept;
    iifname @bridges meta mark and {MARK:#x} == 0 counter drop
    oifname @bridges meta mark and {MARK:#x} == 0 counter drop
  }}
  chain to_host {{
    type filter hook input priority {_INPUT_PRIORITY}; policy accept;
    iifname @bridges meta mark and {MARK:#x} == 0 counter drop
  }}
}}
""",
    Group.CONFINED_PORTS: f"""
table bridge berth_guard {{
  set ports {{ type ifname; }}
  chain from_ports {{
    type filter hook prerouting priority {_FRAME_PRIORITY}; policy accept;
    iifname @ports meta mark and {KNOWN | JUDGED:#x} != {KNOWN | JUDGED:#x} counter drop
  }}
}}
""",
    Group.SEPARATE_PORTS: f"""
table bridge berth_guard_icc {{
  set ports {{ type ifname; }}
  chain between {{
    type filter hook forward priority {_FRAME_FORWARD_PRIORITY}; policy accept;
    iifname @ports meta mark and {HAIRPIN:#x} == 0 counter drop
  }}
}}
""",
}
_UNKNOWN_FLAG = (errno.EOPNOTSUPP, errno.EINVAL)


class Protection(Enum):
    """What the kernel lets the guard withstand; the value is what `berth status` says."""

    LASTING = "lasting"
    """Flushes by others, also while no daemon runs, as long as somebody holds the socket; Linux 6.9."""
    OWNED = "while berth runs"
    """Flushes by others, as long as somebody holds the socket; then the table is gone. Linux 5.12."""
    PLAIN = "deleted tables only"
    """That somebody deletes our other tables; not `nft flush ruleset`."""
    HELD = "held by another process"
    """The table is there and owned by a socket that is not ours, so it can't be changed."""
    NONE = "none"
    """There is no guard: no network needs it, or berth programs no firewall."""


_FLAGS = (
    (nf_tables.TABLE_OWNER | nf_tables.TABLE_PERSIST, Protection.LASTING),
    (nf_tables.TABLE_OWNER, Protection.OWNED),
    (0, Protection.PLAIN),
)


class _Table:
    """One of the tables, as far as this process knows it. Its socket is its owner's."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.links: set[str] = set()
        self.protection = Protection.NONE


class Guard:
    """The tables and the socket that owns them. Thread-safe; blocking.

    *open_socket*: in the host's namespace. *keep*: told the socket's descriptor before it owns a table, and None when there is
    nothing that it owns.
    """

    def __init__(
        self,
        open_socket: Callable[[], NetlinkSocket] = lambda: NetlinkSocket(NETFILTER),
        keep: Callable[[int | None], None] = lambda _: None,
    ) -> None:
        self._open_socket = open_socket
        self._keep = keep
        self._is_kept = False
        self._socket: NetlinkSocket | None = None
        self._tables = {group: _Table(group) for group in Group}
        self._lock = Lock()

    @property
    def protection(self) -> Protection:
        """What the weaker of the tables withstands."""
        there = {table.protection for table in self._tables.values() if table.protection is not Protection.NONE}
        return next((weak for weak in reversed(Protection) if weak in there), Protection.NONE)

    def adopt(self, descriptor: int) -> None:
        """Go on with a socket that an earlier daemon had, and that owns its tables. Before the first use; takes the descriptor.

        It is kept already.
        """
        with self._lock:
            self._socket, self._is_kept = NetlinkSocket.adopted(descriptor), True

    def write(self, links: Iterable[str], group: Group = Group.BRIDGES) -> None:
        """Make a table anew with exactly *links*, in one transaction, whatever there was; without links remove it."""
        with self._lock:
            self._write(self._tables[group], set(links))

    def add(self, link: str, group: Group = Group.BRIDGES) -> None:
        """Guard *link*, which need not exist yet."""
        with self._lock:
            table = self._tables[group]
            if link in table.links:
                return
            if table.links and table.protection is not Protection.HELD and self._commit([_element(group, link, delete=False)]) is None:
                table.links.add(link)
                return
            self._write(table, {*table.links, link})

    def remove(self, link: str, group: Group = Group.BRIDGES) -> None:
        """Stop guarding *link*; with the last one the table goes."""
        with self._lock:
            table = self._tables[group]
            if link not in table.links:
                return
            rest = table.links - {link}
            if rest and self._commit([_element(group, link, delete=True)]) is None:
                table.links = rest
                return
            self._write(table, rest)

    def guards(self, link: str, group: Group = Group.BRIDGES) -> bool:
        """Return whether *link* is guarded, as far as this process knows; others can't change that while it owns the table."""
        with self._lock:
            return link in self._tables[group].links

    def has_written(self, links: Iterable[str], group: Group = Group.BRIDGES) -> bool:
        """Return whether this process has made a table with exactly *links*."""
        with self._lock:
            table = self._tables[group]
            return table.protection not in (Protection.NONE, Protection.HELD) and table.links == set(links)

    def damaged(self) -> Sequence[tuple[str, str]]:
        """Return family and name of each table that is needed and not there. Only where the kernel knows no owner others can remove one."""
        with self._lock:
            needed = [table.group.table for table in self._tables.values() if table.links and table.protection is not Protection.HELD]
            return [table for table in needed if not nft.has_table(self._opened(), *table)]

    def rewrite(self) -> None:
        """Make the tables anew with the links that they have."""
        with self._lock:
            for table in self._tables.values():
                self._write(table, set(table.links))

    def close(self) -> None:
        """Close the socket. The tables stay if the kernel can keep them, or while another process holds the socket."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    # --- how -----------------------------------------------------------------------------------------------------

    def _opened(self) -> NetlinkSocket:
        if self._socket is None:
            self._socket = self._open_socket()
        return self._socket

    def _commit(self, requests: Sequence[Request]) -> KernelError | None:
        try:
            nft.commit(self._opened(), requests)
        except KernelError as error:
            return error
        return None

    def _write(self, table: _Table, links: set[str]) -> None:
        if links:
            self._keep_socket(wanted=True)
        self._write_table(table, links)
        owned = (Protection.LASTING, Protection.OWNED)
        self._keep_socket(wanted=any(each.protection in owned for each in self._tables.values()))

    def _keep_socket(self, *, wanted: bool) -> None:
        if wanted != self._is_kept:
            self._is_kept = wanted
            self._keep(self._opened().fileno() if wanted else None)

    def _write_table(self, table: _Table, links: set[str]) -> None:
        group, in_order = table.group, sorted(links)
        deletion = _request(group, nf_tables.DELTABLE, nf_tables.of_table(*group.table))
        if not links and table.protection is Protection.NONE and self._commit([deletion]) is not None:
            # There was none.
            table.links = links
            return
        # Taken over first: only its owner may delete it, and one without an owner may be claimed. One that never had an owner, from
        # a saved ruleset, can't be: that is deleted as what it is.
        for (flags, protection), before in product(_FLAGS, (None, 0)):
            creation = _request(group, nf_tables.NEWTABLE, nf_tables.new_table(*group.table, flags))
            unowned = _request(group, nf_tables.NEWTABLE, nf_tables.new_table(*group.table, 0))
            rebuilt = [creation if before is None else unowned, deletion]
            if links:
                rebuilt += [creation, *_content(group), *(_element(group, link, delete=False) for link in in_order)]
            error = self._commit(rebuilt)
            if error is None:
                table.links, table.protection = links, protection if links else Protection.NONE
                return
            if error.errno == errno.EPERM:
                log.error("guard table is owned by another process, so it is not changed links=%s", ",".join(in_order))
                table.links, table.protection = links, Protection.HELD
                return
            if error.errno not in _UNKNOWN_FLAG or not flags:
                raise error


def _request(group: Group, type_: int, body: bytes) -> Request:
    return Request(type_, CREATE, body, "change", "table {} {}".format(*group.table))


def _element(group: Group, link: str, *, delete: bool) -> Request:
    return nft.link_element_request(*group.value, link, delete=delete)


@cache
def _content(group: Group) -> tuple[Request, ...]:
    """Return what makes all but the table itself, which gets flags of its own."""
    return ruleset.requests(_RULES[group])[1:]
