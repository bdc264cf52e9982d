"""Whose daemon has a state directory."""

import pytest

from resolver.state_owner import TAKEN, is_elsewhere, words


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        (words("process 7", "host", "/run/berth"), False),
        (words("process 7", "host", "/run/berth2"), True),
        (words("the nest of process 7", "other", "/run/berth"), True),
    ],
)
def test_a_daemon_of_the_same_place_is_waited_for_and_no_other(owner, expected):
    assert is_elsewhere(f"state directory /x: {TAKEN}: {owner}; stop that one", "host", "/run/berth") is expected


def test_a_daemon_that_says_nothing_of_itself_is_waited_for():
    assert not is_elsewhere(f"state directory /x: {TAKEN}; stop that one", "host", "/run/berth")
