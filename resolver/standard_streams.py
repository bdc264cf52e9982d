"""The three standard streams, of which the caller of a program may have closed some."""

import os
import sys


def open_missing() -> None:
    """Open those that are closed: otherwise what is opened next gets their descriptors. Nobody reads them, or writes to them."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # It gets the lowest number that is free, which is this one.
            os.open("/dev/null", os.O_RDWR)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
