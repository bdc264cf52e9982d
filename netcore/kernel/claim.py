"""One daemon in a network namespace: an empty nftables table that belongs to a socket of this process and ends with it.

Only who has CAP_NET_ADMIN can make such a table, nobody else can remove it, and a daemon that is killed leaves none.

Spec: Linux include/uapi/linux/netfilter/nf_tables.h, NFT_TABLE_F_OWNER (since Linux 5.12).
"""

from __future__ import annotations

import errno
import logging

from netcore.errors import Conflict, KernelError
from netcore.kernel import nf_tables, nft
from netcore.kernel.netlink import CREATE, NETFILTER, NetlinkSocket, Request

log = logging.getLogger(__name__)

TABLE = "berth_daemon"


def claim() -> NetlinkSocket | None:
    """Claim the namespace of the calling thread until the returned socket is closed. None: this kernel can't tell.

    Raises Conflict if another process has claimed it.
    """
    try:
        netlink = NetlinkSocket(NETFILTER)
    except OSError as error:
        _log_unknown(error)
        return None
    body = nf_tables.new_table("inet", TABLE, nf_tables.TABLE_OWNER)
    try:
        nft.commit(netlink, [Request(nf_tables.NEWTABLE, CREATE, body, "create table", f"inet {TABLE}")])
    except KernelError as error:
        netlink.close()
        if error.errno == errno.EPERM:
            because = (
                "a berth daemon with other directories serves it; stop that one, or use its directories (BERTH_RUN_DIR, BERTH_STATE_DIR)"
            )
            raise Conflict("network namespace", "of this host", because=because) from error
        _log_unknown(error)
        return None
    return netlink


def _log_unknown(error: Exception) -> None:
    log.info("whether another daemon serves this network namespace is not known reason=%s", error)
