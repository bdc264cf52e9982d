"""Calls to a plugin over its socket: one that ends connections as it likes, and one that never answers."""

import asyncio
import contextlib

import pytest

from netcore import limits
from netcore.errors import PluginFailed
from netcore.plugins import discovery
from netcore.plugins.client import PluginClient
from netcore.plugins.discovery import PluginAddress

ANSWER = b'{"Implements": ["NetworkDriver"]}'


@pytest.fixture
async def plugin(tmp_path, monkeypatch):
    """`plugin(answer)` serves a plugin whose every response is what *answer* writes; returns a client of it."""
    path = str(tmp_path / "plugin.sock")
    monkeypatch.setattr(discovery, "find", lambda name: PluginAddress(path=path))
    client = PluginClient()
    servers, exchanges = [], []

    async def serve(answer):
        async def serve_one(reader, writer):
            exchanges.append(asyncio.current_task())
            await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

        servers.append(await asyncio.start_unix_server(serve_one, path))
        return client

    yield serve
    await client.close()
    await asyncio.gather(*exchanges)
    for server in servers:
        server.close()


async def test_plugin_that_ends_each_connection_without_a_word_is_called_again(plugin):
    async def answer(reader, writer):
        # No "Connection: close": a client may believe that the connection stays.
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER))
        await writer.drain()

    client = await plugin(answer)
    for _ in range(20):
        assert (await client.call("late", "NetworkDriver", "GetCapabilities", {}))["Implements"]


async def test_plugin_that_never_answers_is_said_to_take_too_long(plugin, monkeypatch):
    monkeypatch.setattr(limits, "PLUGIN_CALL", 0.05)

    async def answer(reader, writer):
        await reader.read()

    client = await plugin(answer)
    with pytest.raises(PluginFailed, match=r"Plugin.Activate: no answer: it takes longer than 0\.05 s$"):
        await client.call("mute", "NetworkDriver", "GetCapabilities", {})


async def test_plugin_that_does_not_speak_http_is_reported_on_one_line(plugin):
    async def answer(reader, writer):
        writer.write(b"blah blah\r\n\r\n")
        await writer.drain()

    client = await plugin(answer)
    with pytest.raises(PluginFailed, match=r"Plugin.Activate: no answer: .*Bad status line") as failed:
        await client.call("blah", "NetworkDriver", "GetCapabilities", {})
    assert "\n" not in str(failed.value)


async def test_plugin_that_hangs_is_not_waited_for_again_to_take_back_what_it_made(plugin, monkeypatch):
    monkeypatch.setattr(limits, "PLUGIN_CALL", 0.05)
    asked = []

    async def answer(reader, writer):
        asked.append(1)
        await reader.read()

    client = await plugin(answer)
    with pytest.raises(PluginFailed):
        await client.call("mute", "NetworkDriver", "CreateEndpoint", {})
    # From here on a call would take so long that the test would not end.
    await client.close()
    monkeypatch.setattr(limits, "PLUGIN_CALL", 10_000)
    monkeypatch.setattr(limits, "PLUGIN_TAKE_BACK", 0.05)
    for method in ("Leave", "DeleteEndpoint"):
        with pytest.raises(
            PluginFailed, match=rf"{method}: no answer within 0\.05 s, and none to the call before; what the plugin made may"
        ):
            await client.take_back("mute", "NetworkDriver", method, {})
    assert len(asked) == 3


async def test_plugin_that_answers_again_has_its_full_time_to_take_back(plugin, monkeypatch):
    monkeypatch.setattr(limits, "PLUGIN_CALL", 0.05)
    monkeypatch.setattr(limits, "PLUGIN_TAKE_BACK", 0)
    hangs = [True]

    async def answer(reader, writer):
        if hangs.pop() if hangs else False:
            await reader.read()
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER))
        await writer.drain()

    client = await plugin(answer)
    with pytest.raises(PluginFailed):
        await client.call("slow", "NetworkDriver", "CreateEndpoint", {})
    monkeypatch.setattr(limits, "PLUGIN_CALL", 30)
    await client.call("slow", "NetworkDriver", "CreateEndpoint", {})
    await client.take_back("slow", "NetworkDriver", "Leave", {})
