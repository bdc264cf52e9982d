"""Events: each happening has its words, each listener its own bounded queue."""

import asyncio

import pytest

from resolver import limits
from resolver.daemon.events import Events
from resolver.daemon.schema import EventView


async def heard(events, tell):
    """Return what a listener hears of what *tell* does."""
    listener = events.listen()
    first = asyncio.ensure_future(anext(listener))
    await asyncio.sleep(0)
    tell()
    events.close()
    return [await first, *[event async for event in listener]]


@pytest.mark.parametrize(
    ("method", "arguments", "words"),
    [
        ("network_created", ("front",), ("network", "create", "front", None)),
        ("network_removed", ("front",), ("network", "remove", "front", None)),
        ("sandbox_created", ("web",), ("sandbox", "create", "web", None)),
        ("sandbox_renamed", ("web",), ("sandbox", "rename", "web", None)),
        ("sandbox_removed", ("web",), ("sandbox", "remove", "web", None)),
        ("endpoint_connected", ("web", "front"), ("endpoint", "connect", "web", "front")),
        ("endpoint_disconnected", ("web", "front"), ("endpoint", "disconnect", "web", "front")),
    ],
)
async def test_words(method, arguments, words):
    events = Events(lambda: 12.5)
    assert await heard(events, lambda: getattr(events, method)(*arguments)) == [EventView(12.5, *words)]


async def test_event_of_another_host_names_it():
    events = Events(lambda: 1.0)
    assert await heard(events, lambda: events.emit("node", "join", "two", None, "two")) == [
        EventView(1.0, "node", "join", "two", None, "two")
    ]


async def test_every_listener_hears_all_from_when_it_began_in_order():
    events = Events(lambda: 0.0)
    events.network_created("before")
    listeners = [events.listen() for _ in range(2)]
    first = [asyncio.ensure_future(anext(listener)) for listener in listeners]
    await asyncio.sleep(0)
    events.network_created("one")
    events.network_created("two")
    events.close()
    for task, listener in zip(first, listeners, strict=True):
        assert [(await task).name, *[event.name async for event in listener]] == ["one", "two"]


async def test_listener_that_is_too_far_behind_is_cut_off():
    events = Events(lambda: 0.0)
    listener = events.listen()
    first = asyncio.ensure_future(anext(listener))
    await asyncio.sleep(0)
    for number in range(limits.EVENTS + 10):
        events.network_created(str(number))
    assert (await first).name == "0"
    assert len([event async for event in listener]) == limits.EVENTS - 1
