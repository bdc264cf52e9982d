"""Every step fails in turn; the kernel, the store and the names are as before."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.lab import Lab

PROGRAM = str(Path(__file__).parents[1] / "support" / "fail_every_step.py")


@pytest.fixture
def lab():
    with Lab() as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_failing_step_is_undone_completely(lab):
    done = json.loads(lab.out(sys.executable, PROGRAM, timeout=290))
    assert done["failures"] == []
    # Not vacuous: each operation has this many steps and each failed once.
    assert done["tried"]["network"] >= 10
    assert done["tried"]["connect"] >= 15
    assert done["tried"]["sandbox"] >= 30
    assert done["tried"]["router"] >= 30
    assert done["tried"]["macvlan"] >= 12
    assert done["tried"]["default bridge"] >= 12
    assert done["tried"]["plugin"] >= 18
    assert done["tried"]["late delete"] == 1
    assert min(done["tried"][mode] for mode in ("host", "none", "container:s")) >= 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_write_that_the_store_refuses_is_undone_completely(lab):
    done = json.loads(lab.out(sys.executable, PROGRAM, "store", timeout=290))
    assert done["failures"] == []
    tried = done["tried"]
    print(sum(tried.values()), "writes refused:", tried)
    creates = ("network", "connect", "sandbox", "router", "none", "macvlan", "default bridge", "plugin", "connect again", "run again")
    assert min(tried[name] for name in creates) >= 2
    assert min(tried[name] for name in ("disconnect", "rm", "network rm")) >= 1
