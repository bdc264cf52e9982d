"""Signals as users write them, and the one that berth has a meaning for. Pure."""

from __future__ import annotations

from resolver.light import signal
from resolver.numbers import whole_number

START_NO_MORE: int = signal.SIGRTMIN + 1
"""With it the daemon tells the process that holds a sandbox to start its command no more."""
WHAT_IS_ONE = "one is TERM, SIGTERM, 15 or RTMIN+3"


def signal_number(text: str) -> int | None:
    """Return the number of the signal called *text*, with or without SIG, or with that number; None if there is none.

    Real-time signals are RTMIN, RTMIN+N, RTMAX and RTMAX-N (signal(7)).
    """
    if text.isdigit():
        return whole_number(text, 1, signal.SIGRTMAX)
    # Few name one.
    from signal import Signals

    name = text.upper().removeprefix("SIG")
    for base, sign in (("RTMIN", "+"), ("RTMAX", "-")):
        if name.startswith(base + sign):
            offset = whole_number(name.removeprefix(base + sign), 0, signal.SIGRTMAX - signal.SIGRTMIN)
            least = int(Signals["SIG" + base])
            return None if offset is None else least + offset if sign == "+" else least - offset
    members = Signals.__members__
    return int(members["SIG" + name]) if "SIG" + name in members else None
