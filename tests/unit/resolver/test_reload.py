"""The configuration read again while the daemon runs."""

import logging
from dataclasses import fields

from resolver.daemon.config import DaemonConfig
from resolver.daemon.reload import LIVE, Reload, reloaded
from resolver.errors import ConfigError


def test_what_can_change_changes_and_the_rest_waits():
    now = DaemonConfig(dns=("192.0.2.1",), cache_size=1)
    read = DaemonConfig(dns=("192.0.2.2",), cache_size=2, log_level="debug", suffix="x.internal")
    after, at_once, later = reloaded(now, read)
    assert after == DaemonConfig(dns=("192.0.2.2",), cache_size=1, log_level="debug")
    assert (set(at_once), set(later)) == ({"dns", "log_level"}, {"cache_size", "suffix"})


def test_live_keys_are_keys():
    assert {key.name for key in fields(DaemonConfig)} >= LIVE


async def test_keys_that_wait_are_named_each_time_and_a_mistake_changes_nothing(caplog):
    caplog.set_level(logging.INFO)
    applied = []
    answers = [
        DaemonConfig(suffix="x.internal"),
        DaemonConfig(suffix="x.internal", dns=("192.0.2.1",)),
        ConfigError("f", (("dns", "bad"),)),
    ]

    def load():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def apply(config):
        applied.append(config)

    reload = Reload(DaemonConfig(), load, apply)
    await reload.run()
    assert "take effect at the next start of the daemon keys=suffix" in caplog.text
    assert applied == []
    await reload.run()
    assert applied == [DaemonConfig(dns=("192.0.2.1",))]
    await reload.run()
    assert "configuration is not read again reason=" in caplog.text
    assert len(applied) == 1
