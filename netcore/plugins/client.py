"""Calls to plugins: JSON by HTTP POST over their socket, the handshake first. On the loop.

A plugin that is not there is tried again with growing pauses for `limits.PLUGIN_PATIENCE` seconds: it may be starting. A
call that was sent is never sent twice. What takes something back does not wait that long for a plugin that has just been
waited for in vain.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any, Protocol

import aiohttp
import msgspec

from netcore import limits
from netcore.errors import PluginFailed, Unavailable
from netcore.plugins import discovery
from netcore.plugins.discovery import PluginAddress

_HEADERS = {"Accept": "application/vnd.docker.plugins.v1.2+json", "Content-Type": "application/vnd.docker.plugins.v1.2+json"}


class PluginCalls(Protocol):
    """What the drivers need of a client. *kind*: the interface, NetworkDriver or IpamDriver."""

    async def call(self, plugin: str, kind: str, method: str, body: object) -> dict[str, Any]:
        """Return what *plugin* answers to `KIND.METHOD`; NotFound, Unavailable, and PluginFailed for an error of the plugin."""

    async def call_optional(self, plugin: str, kind: str, method: str, body: object) -> dict[str, Any] | None:
        """Return what `call` does, but None if the plugin does not know the method."""

    async def take_back(self, plugin: str, kind: str, method: str, body: object, *, optional: bool = False) -> None:
        """Call a method that takes something back; a plugin that has just not answered gets `limits.PLUGIN_TAKE_BACK` seconds.

        *optional*: the plugin need not know the method.
        """


class PluginClient:
    """Connections to plugins by name. Each is opened, with a handshake, when it is first needed. See `PluginCalls`."""

    def __init__(self) -> None:
        self._connections: dict[str, tuple[PluginAddress, aiohttp.ClientSession]] = {}
        self._implements: dict[str, frozenset[str]] = {}
        self._silent_since: dict[str, float] = {}

    async def call(self, plugin: str, kind: str, method: str, body: object) -> dict[str, Any]:
        answer = await self.call_optional(plugin, kind, method, body)
        if answer is None:
            raise PluginFailed(plugin, f"{kind}.{method}", "it does not know this method", refused=True)
        return answer

    async def call_optional(self, plugin: str, kind: str, method: str, body: object) -> dict[str, Any] | None:
        await self._activate(plugin, kind)
        return await self._post(plugin, f"{kind}.{method}", body)

    async def take_back(self, plugin: str, kind: str, method: str, body: object, *, optional: bool = False) -> None:
        call = self.call_optional if optional else self.call
        silent_since = self._silent_since.get(plugin)
        if silent_since is None or asyncio.get_running_loop().time() - silent_since > limits.PLUGIN_SILENCE:
            await call(plugin, kind, method, body)
            return
        try:
            async with asyncio.timeout(limits.PLUGIN_TAKE_BACK):
                await call(plugin, kind, method, body)
        except TimeoutError as error:
            reason = f"no answer within {limits.PLUGIN_TAKE_BACK:g} s, and none to the call before; what the plugin made may be left"
            raise PluginFailed(plugin, f"{kind}.{method}", reason) from error

    async def _activate(self, plugin: str, kind: str) -> None:
        """Shake hands, unless that has been done; PluginFailed if *plugin* does not implement *kind*."""
        if plugin not in self._implements:
            answer = await self._post(plugin, "Plugin.Activate", None)
            listed = answer.get("Implements") if answer is not None else None
            if not isinstance(listed, list):
                raise PluginFailed(plugin, "Plugin.Activate", "the answer has no list Implements: this is no Docker plugin")
            self._implements[plugin] = frozenset(str(interface) for interface in listed)
        if kind not in self._implements[plugin]:
            have = ", ".join(sorted(self._implements[plugin])) or "nothing"
            raise PluginFailed(plugin, "Plugin.Activate", f"it implements {have}, not {kind}")

    async def _post(self, plugin: str, method: str, body: object) -> dict[str, Any] | None:
        pause, left = limits.PLUGIN_FIRST_PAUSE, limits.PLUGIN_PATIENCE
        data = b"" if body is None else json.dumps(body).encode()
        while True:
            try:
                address, session = await self._connection(plugin)
                async with session.post(f"{address.url}/{method}", data=data, headers=_HEADERS) as response:
                    octets = await _read(plugin, method, response)
                    self._silent_since.pop(plugin, None)
                    return _answer(plugin, method, response.status, octets)
            except aiohttp.ClientConnectorError as error:
                # Nothing was sent. The next attempt may find the plugin at another socket.
                await self._disconnect(plugin)
                if left <= 0:
                    self._note_silence(plugin)
                    raise Unavailable(f"plugin {plugin}", f"{method}: {error}; is it running?") from error
            except (aiohttp.ClientError, TimeoutError) as error:
                await self._disconnect(plugin)
                if isinstance(error, TimeoutError):
                    self._note_silence(plugin)
                reason = " ".join(str(error).split()) or f"it takes longer than {limits.PLUGIN_CALL:g} s"
                raise PluginFailed(plugin, method, f"no answer: {reason}") from error
            await asyncio.sleep(min(pause, left))
            left -= pause
            pause *= 2

    def _note_silence(self, plugin: str) -> None:
        self._silent_since[plugin] = asyncio.get_running_loop().time()

    async def _connection(self, plugin: str) -> tuple[PluginAddress, aiohttp.ClientSession]:
        if plugin not in self._connections:
            address = await asyncio.to_thread(discovery.find, plugin)
            tls = await asyncio.to_thread(_tls, plugin, address) if address.url.startswith("https:") else True
            connector = (
                # A connection for each call: a kept one may be closed by the plugin just when the next call is sent on it.
                aiohttp.UnixConnector(address.path, force_close=True)
                if address.path is not None
                else aiohttp.TCPConnector(ssl=tls, force_close=True)
            )
            timeout = aiohttp.ClientTimeout(total=limits.PLUGIN_CALL)
            self._connections[plugin] = address, aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self._connections[plugin]

    async def _disconnect(self, plugin: str) -> None:
        self._implements.pop(plugin, None)
        connection = self._connections.pop(plugin, None)
        if connection is not None:
            await connection[1].close()

    async def close(self) -> None:
        """End all connections."""
        for plugin in [*self._connections]:
            await self._disconnect(plugin)


def _tls(plugin: str, address: PluginAddress) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=address.ca)
        if address.certificate is not None:
            context.load_cert_chain(address.certificate, address.key)
    except OSError as error:
        raise Unavailable(f"plugin {plugin}", f"its TLS files can't be read: {error}") from error
    if address.insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _read(plugin: str, method: str, response: aiohttp.ClientResponse) -> bytes:
    octets = await response.content.read(limits.PLUGIN_ANSWER + 1)
    while len(octets) <= limits.PLUGIN_ANSWER and not response.content.at_eof():
        octets += await response.content.read(limits.PLUGIN_ANSWER + 1 - len(octets))
    if len(octets) > limits.PLUGIN_ANSWER:
        raise PluginFailed(plugin, method, f"the answer is longer than {limits.PLUGIN_ANSWER} octets")
    return octets


def _answer(plugin: str, method: str, status: int, octets: bytes) -> dict[str, Any] | None:
    """Return the content of an answer, None if the plugin does not know the method; PluginFailed if it failed."""
    if status == 404:
        return None
    try:
        # Stricter than the module json: no lone surrogates, which could be neither stored nor sent.
        content = msgspec.json.decode(octets or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = None
    if not isinstance(content, dict):
        said = octets[:200].decode(errors="replace").strip() or "no body"
        raise PluginFailed(plugin, method, f"HTTP {status}, but no JSON object: {said}" if status == 200 else f"HTTP {status}: {said}")
    reason = content.get("Err") or content.get("Error")
    if reason or status != 200:
        raise PluginFailed(plugin, method, str(reason or f"HTTP {status}"), refused=bool(reason))
    return content
