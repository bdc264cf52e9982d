"""When pins of namespaces are looked at: all at once, so not at each mount."""

from types import SimpleNamespace

from netcore import limits
from netcore.controller.drift.sources import Sources


async def test_pins_are_looked_at_once_a_second_however_many_sandboxes_come_and_go(monkeypatch):
    now, later = [100.0], []
    sources = Sources(SimpleNamespace(), lambda: None)
    sources._loop = SimpleNamespace(time=lambda: now[0], call_at=lambda when, _: later.append(when) or SimpleNamespace())
    due = []
    for step in (0.0, 0.1, 0.2, 0.8, 0.05):
        now[0] += step
        # A sandbox comes, and with it a mount.
        sources._are_mounts_changed = True
        due.append(sources._pins_due())
    assert due == [True, False, False, True, False]
    # What was not looked at is, a second after the last look.
    assert later == [100.0 + limits.DRIFT_PAUSE]
    assert sources._are_mounts_changed
