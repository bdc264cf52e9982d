import errno
from ipaddress import ip_address

import pytest

from netcore.desired.diff import Step
from netcore.desired.objects import DEFAULT4, DEFAULT6, Route
from netcore.errors import KernelError
from netcore.kernel.apply import Executor


def route(destination, gateway):
    return Route(sandbox_id="s", destination=destination, gateway=ip_address(gateway), ifname="eth0")


def test_what_a_batch_did_behind_an_error_is_undone_too(monkeypatch):
    steps = [
        Step(route(DEFAULT4, "10.0.0.1"), route(DEFAULT4, "10.0.0.9")),
        Step(route(DEFAULT6, "fd00::1"), route(DEFAULT6, "fd00::9")),
    ]
    executor = Executor(lambda _: "/nowhere", lambda *_: None)
    undone = []
    refused = KernelError("set route", "default", errno.EINVAL)
    monkeypatch.setattr(executor, "_run", lambda _doors, lane: iter([(lane[0], refused), (lane[1], None)]))
    monkeypatch.setattr(executor, "remove", lambda undo, _target: undone.extend(undo))
    with pytest.raises(KernelError):
        executor.apply(steps)
    assert undone == [Step(steps[1].after, steps[1].before)]
