"""The guard table: what keeps networks closed while our own firewall tables are gone, whoever flushed them.

Our tables mark what comes from a bridge of ours, and what they let pass to one. `inet berth_guard` drops what lacks that
mark. The kernel lets only the netlink socket that made the table change it (flag `owner`), and keeps it when that
socket is closed (flag `persist`), from then on open to everybody. So the socket is kept by what outlives the daemon: see
`Guard`.

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

from netcore.desired.firewall import MARK, SEEN
from netcore.errors import KernelError
from netcore.kernel import nf_tables, nft, ruleset
from netcore.kernel.netlink import CREATE, NETFILTER, NetlinkSocket, Request

log = logging.getLogger(__name__)

TABLE = "berth_guard"
_PRIORITY = 1001
"""Just behind the chain that marks, and before the one that takes the mark off again."""
_RULES = f"""
table inet {TABLE} {{
  set bridges {{ type ifname; }}
  chain from_bridges {{
    type filter hook prerouting priority {_PRIORITY}; policy accept;
    iifname @bridges meta mark and {SEEN:#x} == 0 counter drop
  }}
  chain to_bridges {{
    type filter hook forward priority {_PRIORITY}; policy accept;
    oifname @bridges meta mark and {MARK:#x} == 0 counter drop
  }}
}}
"""
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
_DELETION = (nf_tables.DELTABLE, nf_tables.of_table("inet", TABLE))


class Guard:
    """The table and the socket that owns it. Thread-safe; blocking.

    *open_socket*: in the host's namespace. *keep*: told the socket's descriptor before it owns the table, and None when there is
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
        self._links: set[str] = set()
        self._lock = Lock()
        self.protection = Protection.NONE

    def adopt(self, descriptor: int) -> None:
        """Go on with a socket that an earlier daemon had, and that owns its table. Before the first use; takes the descriptor.

        It is kept already.
        """
        with self._lock:
            self._socket, self._is_kept = NetlinkSocket.adopted(descriptor), True

    def write(self, links: Iterable[str]) -> None:
        """Make the table anew with exactly *links*, in one transaction, whatever there was; without links remove it."""
        with self._lock:
            self._write(set(links))

    def add(self, link: str) -> None:
        """Guard *link*, which need not exist yet."""
        with self._lock:
            if link in self._links:
                return
            if self._links and self.protection is not Protection.HELD and self._commit([_element(link, delete=False)]) is None:
                self._links.add(link)
                return
            self._write({*self._links, link})

    def remove(self, link: str) -> None:
        """Stop guarding *link*; with the last one the table goes."""
        with self._lock:
            if link not in self._links:
                return
            rest = self._links - {link}
            if rest and self._commit([_element(link, delete=True)]) is None:
                self._links = rest
                return
            self._write(rest)

    def guards(self, link: str) -> bool:
        """Return whether *link* is guarded, as far as this process knows; others can't change that while it owns the table."""
        with self._lock:
            return link in self._links

    def is_whole(self) -> bool:
        """Return whether the table is there, if it is needed. Only where the kernel knows no owner others can remove it."""
        with self._lock:
            if not self._links or self.protection is Protection.HELD:
                return True
            return nft.has_table(self._opened(), "inet", TABLE)

    def rewrite(self) -> None:
        """Make the table anew with the links that it has."""
        with self._lock:
            self._write(set(self._links))

    def close(self) -> None:
        """Close the socket. The table stays if the kernel can keep it, or while another process holds the socket."""
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

    def _write(self, links: set[str]) -> None:
        if links:
            self._keep_socket(wanted=True)
        self._write_table(links)
        self._keep_socket(wanted=self.protection in (Protection.LASTING, Protection.OWNED))

    def _keep_socket(self, *, wanted: bool) -> None:
        if wanted != self._is_kept:
            self._is_kept = wanted
            self._keep(self._opened().fileno() if wanted else None)

    def _write_table(self, links: set[str]) -> None:
        if not links and self.protection is Protection.NONE and self._commit([_request(*_DELETION)]) is not None:
            # There was none.
            self._links = links
            return
        # Taken over first: only its owner may delete it, and one without an owner may be claimed. One that never had an owner, from
        # a saved ruleset, can't be: that is deleted as what it is.
        for (flags, protection), before in product(_FLAGS, (None, 0)):
            creation = _request(nf_tables.NEWTABLE, nf_tables.new_table("inet", TABLE, flags))
            first = creation if before is None else _request(nf_tables.NEWTABLE, nf_tables.new_table("inet", TABLE, before))
            rebuilt = [first, _request(*_DELETION)]
            if links:
                rebuilt += [creation, *_content(), *(_element(link, delete=False) for link in sorted(links))]
            error = self._commit(rebuilt)
            if error is None:
                self._links, self.protection = links, protection if links else Protection.NONE
                return
            if error.errno == errno.EPERM:
                log.error("guard table is owned by another process, so it is not changed links=%s", ",".join(sorted(links)))
                self._links, self.protection = links, Protection.HELD
                return
            if error.errno not in _UNKNOWN_FLAG or not flags:
                raise error


def _request(type_: int, body: bytes) -> Request:
    return Request(type_, CREATE, body, "change", f"table inet {TABLE}")


def _element(link: str, *, delete: bool) -> Request:
    return nft.link_element_request(TABLE, "bridges", link, delete=delete)


@cache
def _content() -> tuple[Request, ...]:
    """Return what makes all but the table itself, which gets flags of its own."""
    return ruleset.requests(_RULES)[1:]
