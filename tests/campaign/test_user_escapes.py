"""Every attempt to escape from the egress rules of an ordinary user's berth, on each kind of host. `TIMES`: how often each moment is tried."""

import os

import pytest

from tests.escape.test_user_escapes import HOSTS, run


@pytest.mark.campaign
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("host", HOSTS)
def test_nothing_gets_through(host):
    made = run(host, 1, 1, int(os.environ.get("TIMES", "10")))
    made.run.check_control()
    for runtime in made.run.runtimes:
        made.run.check(runtime)
    if made.lacking:
        pytest.skip(f"without {made.lacking}")
