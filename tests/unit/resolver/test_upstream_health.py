import pytest

from resolver import limits
from resolver.engine.upstream import Upstream
from resolver.engine.upstream_health import UpstreamHealth


@pytest.fixture
def health():
    return UpstreamHealth(Upstream("10.0.0.1"))


def test_patience_follows_the_round_trip_time(health):
    assert health.patience == limits.NEXT_UPSTREAM
    health.answered(0.1)
    assert (health.rtt, health.patience) == (0.1, pytest.approx(0.3))
    for _ in range(100):
        health.answered(0.001)
    assert health.patience == limits.HEDGE
    health.answered(3.0)
    assert health.patience == limits.NEXT_UPSTREAM


def test_failure_and_answer(health):
    assert health.state(0) == "ok"
    health.loop_checked = True
    health.failed(1)
    assert (health.state(1), health.failures, health.is_unsure, health.loop_checked) == ("down", 1, True, False)
    assert health.refuses(1 + limits.PROBE_PAUSE / 2)
    assert not health.refuses(1 + limits.PROBE_PAUSE)
    health.answered(0.01)
    assert (health.state(1), health.is_unsure) == ("ok", False)


def test_trial_when_its_time_has_come_and_silence_to_it(health):
    health.failed(0)
    assert not health.is_due(limits.DOWN - 1)
    assert health.is_due(limits.DOWN)
    assert not health.is_due(limits.DOWN + 0.1)
    assert not health.is_due(limits.DOWN + limits.NEXT_UPSTREAM)
    assert health.failures == 2


def test_misses_in_a_row_are_a_failure(health):
    for _ in range(limits.MISSES - 1):
        health.missed(0)
    health.answered(0.01)
    for _ in range(limits.MISSES - 1):
        health.missed(0)
    assert not health.failures
    health.missed(0)
    assert health.failures == 1


def test_loop(health):
    health.loop_checked = True
    health.loops(1)
    assert (health.state(2), health.loop_checked) == ("looping", False)
    assert health.state(1 + limits.LOOP) == "ok"


def test_streams_are_known():
    assert [UpstreamHealth(Upstream("10.0.0.1", transport=transport)).is_stream for transport in ("udp", "tcp", "tls")] == [
        False,
        True,
        True,
    ]
