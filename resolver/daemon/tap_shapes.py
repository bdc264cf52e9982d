"""The shapes of taps in the admin API."""

from __future__ import annotations

from typing import Annotated

import msgspec

Number = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class TapShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A tap of the host, called as the endpoint's `ifname`. *owner*, *group*: who may open it, by number; null: root alone."""

    owner: Number | None = None
    group: Number | None = None
