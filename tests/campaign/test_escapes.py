"""Every attempt to escape from egress rules, in each runtime. `TIMES`: how often each moment is tried; `RUNTIMES`: some of them."""

import os

import pytest

from tests.escape.attempts import RUNTIMES, all_attempts
from tests.escape.moments import chosen
from tests.escape.test_escapes import run
from tests.escape.world import missing


@pytest.mark.campaign
@pytest.mark.timeout(3 * 3600)
def test_nothing_gets_through():
    runtimes = [name for name in os.environ.get("RUNTIMES", ",".join(RUNTIMES)).split(",") if not missing(name)]
    made = run(all_attempts(), chosen(), int(os.environ.get("TIMES", "10")), runtimes)
    made.check_control()
    for runtime in runtimes:
        made.check(runtime)
    if lacking := {name: missing(name) for name in RUNTIMES if missing(name)}:
        pytest.skip(f"without {lacking}")
