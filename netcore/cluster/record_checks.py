"""What a record of another host must be like to be of use: whoever can write to etcd can write anything. Pure."""

from __future__ import annotations

import re

from netcore.model import Network

_NODE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def check_identity(said: object, key_says: str) -> None:
    """Raise ValueError if a record is of something else than its key says."""
    if str(said) != key_says:
        raise ValueError(f"it is of another one, {str(said)!r:.80}")


def check_shared(network: Network) -> None:
    """Raise ValueError if *network* is none that hosts share."""
    if not network.is_overlay:
        raise ValueError(f"a network of driver {network.driver!r:.80} is not shared by hosts")


def holder_in(value: bytes) -> str | None:
    """Return the id of the node that the record of an address names, None if its value can't be a node's id: nobody holds it then."""
    text = value.decode(errors="replace")
    return text if _NODE_ID.fullmatch(text) else None


def checked_holder(value: bytes) -> str:
    """Return what `holder_in` returns; ValueError if that is None."""
    holder = holder_in(value)
    if holder is None:
        raise ValueError(f"{value!r:.80} is the id of no node")
    return holder
