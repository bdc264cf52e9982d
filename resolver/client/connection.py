"""Requests of the admin API over its Unix socket, by aiohttp. A daemon that is not there, or has ended because it was idle, is started."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar

import aiohttp
import msgspec

from resolver.cli.connection import PATIENCE, socket_path
from resolver.client.children import python_of_berth
from resolver.client.errors import NoDaemon, Refused, WrongUse
from resolver.client.requests import decoded, refusal, target

_Answer = TypeVar("_Answer")
_LONGEST_LINE = 1 << 20
"""Octets of one event."""
_STOPPING_PAUSE = 0.05
"""Seconds until a change is asked for again that a daemon refused because it ends."""


class Connection:
    """See the module. *environment*: of the processes that start a daemon. Open it, and close it."""

    def __init__(self, path: str, environment: Mapping[str, str], *, starts: bool) -> None:
        self._path = path
        self.environment = environment
        self._starts = starts
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Open it, on the running loop; WrongUse if it is open."""
        if self._session is not None:
            raise WrongUse("this Berth is connected already; make another one to connect twice")
        connector = aiohttp.UnixConnector(path=self._path, force_close=True)
        patience = aiohttp.ClientTimeout(total=PATIENCE)
        self._session = aiohttp.ClientSession(connector=connector, timeout=patience, read_bufsize=_LONGEST_LINE)

    async def close(self) -> None:
        """Close it."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise WrongUse("this Berth is not connected; use it inside of its `async with`")
        return self._session

    async def ask(
        self,
        method: str,
        path: str,
        shape: type[_Answer],
        *,
        query: Mapping[str, object] | None = None,
        body: msgspec.Struct | None = None,
        accepted: tuple[int, ...] = (),
    ) -> _Answer:
        """Return the answer of one request as *shape*; Refused with what the daemon says. *accepted*: statuses that are no refusal."""
        octets = None if body is None else msgspec.json.encode(body)
        return decoded(await self._answer(method, target(path, query or {}), octets, accepted), shape)

    async def text(self, method: str, path: str) -> str:
        """Return the answer of one request that is no JSON."""
        return (await self._answer(method, path, None, ())).decode()

    async def follow(self, path: str, shape: type[_Answer], *, query: Mapping[str, object]) -> AsyncIterator[_Answer]:
        """Yield what the daemon tells until it ends. Nothing may happen for days."""
        response = await self._send("GET", target(path, query), None, aiohttp.ClientTimeout(total=None))
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(response.close)
            if response.status != 200:
                raise refusal(await response.read(), response.status)
            with contextlib.suppress(aiohttp.ClientPayloadError):
                async for line in response.content:
                    yield decoded(line, shape)

    async def _answer(self, method: str, target_: str, body: bytes | None, accepted: tuple[int, ...]) -> bytes:
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while True:
            response = await self._send(method, target_, body, None)
            async with response:
                octets = await response.read()
            if response.status < 400 or response.status in accepted:
                return octets
            error = refusal(octets, response.status)
            # It did nothing of it, so the next daemon is asked.
            if not isinstance(error, Refused) or error.kind != "stopping" or loop.time() > end:
                raise error
            await asyncio.sleep(_STOPPING_PAUSE)

    async def _send(self, method: str, target_: str, body: bytes | None, patience: aiohttp.ClientTimeout | None) -> aiohttp.ClientResponse:
        headers = {"Content-Type": "application/json"}
        more: dict[str, Any] = {} if patience is None else {"timeout": patience}
        for has_started in (False, True):
            try:
                return await self._opened().request(method, f"http://berth{target_}", data=body, headers=headers, **more)
            except aiohttp.ClientConnectorError as error:
                if has_started or not self._starts or isinstance(error.os_error, PermissionError):
                    raise NoDaemon(f"no berth daemon answers at {self._path}: {os.strerror(error.os_error.errno or 0)}") from error
                await start_daemon(self.environment)
            except TimeoutError as error:
                raise NoDaemon(f"the daemon at {self._path} did not answer within {PATIENCE:g} s") from error
            except aiohttp.ClientError as error:
                raise NoDaemon(f"the daemon at {self._path} has ended before it answered; what was asked for is done or not") from error
        raise AssertionError("the second try returns or raises")


def connection(run_dir: str | None, *, starts: bool) -> Connection:
    """Return a connection to the daemon of *run_dir*, or to the one that the command line would use."""
    if run_dir is not None:
        return Connection(f"{run_dir}/berth.sock", {**os.environ, "BERTH_RUN_DIR": run_dir}, starts=starts)
    path = socket_path()
    read_only = f"{os.path.dirname(path)}/berth-ro.sock"
    is_for_reading = os.path.exists(path) and not os.access(path, os.W_OK) and os.access(read_only, os.W_OK)
    return Connection(read_only if is_for_reading else path, os.environ, starts=starts)


async def start_daemon(environment: Mapping[str, str]) -> None:
    """Start a daemon as the command line does, in the nest of an ordinary user; NoDaemon says why there is none."""
    process = await asyncio.create_subprocess_exec(
        *python_of_berth("resolver.client.start"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    _, told = await process.communicate()
    if process.returncode:
        raise NoDaemon(told.decode(errors="replace").strip().removeprefix("berth: ") or "no daemon could be started")
