"""Restarts by hand, for the figures: `python -m tests.campaign.restarts [--sandboxes 50] [--rounds 50]`, as root.

A lab with so many sandboxes, whose daemon is ended and started again in each of three ways, while three clients ask without a
pause: by UDP and by TCP for names of sandboxes, and by UDP for outside names that are new each time. Prints how often was asked,
what went wrong, and how long answers took at most. The exit code is 1 if a query was lost or an answer was wrong.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys

from tests.support.lab import Lab
from tests.support.restarts import KINDS, Restarts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sandboxes", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--kinds", default=",".join(KINDS))
    given = parser.parse_args()
    bad = 0
    with Lab() as lab:
        restarts = Restarts(lab, given.sandboxes)
        print(f"{given.sandboxes} sandboxes, {given.rounds} restarts of each kind; load of the machine {os.getloadavg()[0]:.1f}")
        for kind in given.kinds.split(","):
            restarts.begin()
            took = [restarts.restart(kind) for _ in range(given.rounds)]
            told = restarts.end()
            # The three clients wait for the same restart; one of them tells.
            waits = sorted(told.waits)[-len(took) :]
            print(
                f"{kind}: {told.asked} asked, {len(told.errors)} lost, {len(told.wrong)} wrong; longest wait {told.longest:.2f} s,"
                f" median of the longest {statistics.median(waits):.2f}; ready again after {statistics.median(took):.2f} s (median);"
                f" load {os.getloadavg()[0]:.1f}",
                *told.errors[:3],
                *told.wrong[:3],
                flush=True,
            )
            bad += len(told.errors) + len(told.wrong)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
