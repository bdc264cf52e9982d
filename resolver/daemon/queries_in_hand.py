"""The queries that a daemon has read and not answered: they outlive it, and the next daemon answers them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from netcore.keeper.kept_sockets import KeptSockets
from resolver.transport import in_hand
from resolver.transport.in_hand import InHand, Unanswered

_QUERIES = f"queries/{in_hand.VERSION}"


@dataclass(frozen=True, slots=True)
class Queries:
    """*left*: what an earlier daemon had read and not answered. *here*: what this one reads."""

    left: Sequence[Unanswered]
    here: InHand


def take_over(kept: KeptSockets) -> Queries:
    """Return what an earlier daemon had read, and where this one notes what it reads, which is kept from now on."""
    left = kept.take_descriptor(_QUERIES)
    unanswered = in_hand.read(left, time.monotonic()) if left is not None else []
    here = in_hand.create()
    kept.keep({_QUERIES: here})
    if left is not None:
        os.close(left)
    return Queries(unanswered, InHand(here))
