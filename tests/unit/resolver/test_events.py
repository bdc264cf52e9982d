"""Events: each happening has its words, each listener its own bounded queue."""

import asyncio
import logging

import pytest

from netcore.model import Sandbox
from resolver import limits
from resolver.daemon.events import Cause, Events
from resolver.daemon.schema import EventView
from tests.support.networks import bridge_network


async def heard(events, tell):
    """Return what a listener hears of what *tell* does."""
    listener = events.listen()
    first = asyncio.ensure_future(anext(listener))
    await asyncio.sleep(0)
    tell()
    events.close()
    return [await first, *[event async for event in listener]]


WEB = Sandbox(id="w1", name="web", hostname="h", netns_path="/x", boot_id="")
FRONT = bridge_network("front", identity="f1")


@pytest.mark.parametrize(
    ("method", "arguments", "event"),
    [
        ("network_created", (FRONT,), ("network", "create", "front", None, None, "f1")),
        ("network_removed", ("front", "f1", Cause.PRUNED), ("network", "remove", "front", None, None, "f1", "pruned")),
        ("sandbox_created", (WEB,), ("sandbox", "create", "web", None, None, "w1")),
        ("sandbox_renamed", (WEB,), ("sandbox", "rename", "web", None, None, "w1")),
        ("sandbox_removed", (WEB, Cause.COMMAND_ENDED, 3), ("sandbox", "remove", "web", None, None, "w1", "command ended", 3)),
        ("endpoint_connected", (WEB, FRONT), ("endpoint", "connect", "web", "front", None, "w1", None, None, "f1")),
        ("endpoint_disconnected", (WEB, FRONT), ("endpoint", "disconnect", "web", "front", None, "w1", None, None, "f1")),
    ],
)
async def test_words(method, arguments, event, caplog):
    events = Events(lambda: 12.5)
    with caplog.at_level(logging.INFO):
        assert await heard(events, lambda: getattr(events, method)(*arguments)) == [EventView(12.5, *event)]
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{event[0]} {event[1]} name={event[2]} id={event[5]}")


async def test_a_removal_is_logged_with_its_cause_and_exit_code(caplog):
    with caplog.at_level(logging.INFO):
        Events(lambda: 0.0).sandbox_removed(WEB, Cause.COMMAND_ENDED, 137)
    assert caplog.messages == ["sandbox remove name=web id=w1 cause=command-ended exit_code=137"]


async def test_what_has_other_lines_in_the_log_is_not_logged_twice(caplog):
    with caplog.at_level(logging.INFO):
        Events(lambda: 0.0).emit("drift", "repair", "link br-1")
    assert not caplog.messages


async def test_who_asks_is_told_what_happened_before():
    times = iter((1.0, 2.0, 3.0, 4.0, 4.0))
    events = Events(lambda: next(times))
    for name in ("one", "two", "three"):
        events.emit("network", "create", name)
    assert [event.name async for event in events.listen(2.0, 3.0)] == ["two", "three"]
    events.close()


async def test_what_is_remembered_is_bounded():
    events = Events(lambda: 0.0)
    for number in range(limits.PAST_EVENTS + 5):
        events.emit("network", "create", str(number))
    past = [event.name async for event in events.listen(0.0, 0.0)]
    assert (len(past), past[0]) == (limits.PAST_EVENTS, "5")


async def test_event_of_another_host_names_it():
    events = Events(lambda: 1.0)
    assert await heard(events, lambda: events.emit("node", "join", "two", None, "two")) == [
        EventView(1.0, "node", "join", "two", None, "two")
    ]


async def test_every_listener_hears_all_from_when_it_began_in_order():
    events = Events(lambda: 0.0)
    events.emit("network", "create", "before")
    listeners = [events.listen() for _ in range(2)]
    first = [asyncio.ensure_future(anext(listener)) for listener in listeners]
    await asyncio.sleep(0)
    events.emit("network", "create", "one")
    events.emit("network", "create", "two")
    events.close()
    for task, listener in zip(first, listeners, strict=True):
        assert [(await task).name, *[event.name async for event in listener]] == ["one", "two"]


async def test_listener_that_is_too_far_behind_is_cut_off():
    events = Events(lambda: 0.0)
    listener = events.listen()
    first = asyncio.ensure_future(anext(listener))
    await asyncio.sleep(0)
    for number in range(limits.EVENTS + 10):
        events.emit("network", "create", str(number))
    assert (await first).name == "0"
    assert len([event async for event in listener]) == limits.EVENTS - 1
