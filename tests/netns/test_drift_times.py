"""How long every kind of damage lasts, from the end of the command that did it to the end of the repair. Prints a table.

The times are those of the daemon's log, so they do not depend on how often the test looks.
"""

import re
import time
from datetime import datetime

import pytest

from tests.netns.conftest import upstream
from tests.support.damage import IN_THE_SANDBOX, INSIDE, ON_THE_HOST, VETH, WITHOUT_NOTICE, make_front, picture, repairs, start_box
from tests.support.lab import OUTSIDE_ADDRESS, Lab

REPAIRED = re.compile(r'^time=(\S+) .*msg="(?:changed by another program and repaired|sysctl was set again)')


def seconds_to_repair(lab, command, where):
    """Return how long the damage lasted; None if it was not repaired. In a sandbox of its own, as what is inside is repaired once."""
    lab.berth("rm", "--wait", "box", check=False)
    start_box(lab)
    before, count, veth = picture(lab), repairs(lab), lab.shell(VETH)
    lab.shell(f"VETH={veth}; {command}", where=where)
    done = time.time()
    try:
        lab.wait_for(lambda: repairs(lab) > count and picture(lab) == before, timeout=100)
    except AssertionError:
        return None
    lines = lab.out("cat", "/run/daemon.log").splitlines()
    times = [datetime.fromisoformat(found[1]).timestamp() for found in map(REPAIRED.match, lines) if found]
    return times[-1] - done


@pytest.mark.campaign
@pytest.mark.timeout(7200)
def test_every_kind_of_damage_is_repaired(capsys):
    kinds = [("host", name, command) for name, command in {**ON_THE_HOST, **WITHOUT_NOTICE}.items()]
    kinds += [("sandbox", name, command) for name, command in IN_THE_SANDBOX.items()]
    left = []
    with Lab() as lab, capsys.disabled():
        upstream(lab, OUTSIDE_ADDRESS, where="outside")
        lab.start_daemon()
        make_front(lab)
        start_box(lab)
        print("\n| Where | Damage | Seconds |\n|---|---|--:|")
        for where, name, command in kinds:
            seconds = seconds_to_repair(lab, command, "host" if where == "host" else INSIDE)
            if seconds is None:
                left.append(name)
            print(f"| {where} | {name} | {'not repaired' if seconds is None else f'{seconds:.1f}'} |", flush=True)
    assert left == []
