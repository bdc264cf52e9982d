"""A hundredth of the campaign, so that its script does not rot."""

import pytest

from tests.support.lab import Lab
from tests.support.restarts import KINDS, Restarts


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_sandboxes_through_ten_restarts_of_each_kind():
    with Lab() as lab:
        restarts = Restarts(lab, 50)
        restarts.begin()
        for number in range(30):
            restarts.restart(KINDS[number % 3])
        told = restarts.end()
    assert (told.errors, told.wrong) == ([], [])
    assert told.ended >= 30
