"""Changes of nftables by others: whether there was one since somebody asked last, without a look at what there is.

The kernel tells of each transaction before it answers who asked for it. So what another program has finished is known at once.
"""

from __future__ import annotations

from netcore.kernel import nft
from netcore.kernel.netlink import message_port
from netcore.kernel.notifications import Notifications


class ForeignCommits:
    """See the module; about the namespace of the thread that makes it. OSError if the kernel refuses."""

    def __init__(self) -> None:
        self._commits = Notifications.of_commits()

    def came(self) -> bool:
        """Return whether anybody but this process changed nftables since the last call, or may have: the kernel dropped some."""
        commits = self._commits.read()
        if commits is None:
            return True
        own = nft.own_ports() if commits else ()
        return any(message_port(commit) not in own for commit in commits)

    def close(self) -> None:
        """End the subscription."""
        self._commits.close()
