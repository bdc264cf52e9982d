"""The process of a container of Docker, by its Engine API: `GET /containers/NAME/json`, and `GET /events` for when to ask again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from resolver import limits
from resolver.daemon.following.protocol import CannotTell
from resolver.daemon.following.source_text import Source

if TYPE_CHECKING:
    # Imported where it is used: it takes a quarter of a second, and names are answered before it is needed.
    import aiohttp

_SOCKET = "/var/run/docker.sock"


class PidOfDocker:
    """See the module. The socket is that of $DOCKER_HOST, if it names one."""

    def __init__(self, source: Source, on_change: Callable[[], None]) -> None:
        self._name = source.name
        self._on_change = on_change
        host = os.environ.get("DOCKER_HOST", "")
        self._socket = host.removeprefix("unix://") if host.startswith("unix://") else _SOCKET
        self._opened: aiohttp.ClientSession | None = None
        self._task = asyncio.get_running_loop().create_task(self._follow())

    def _session(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._opened is None:
            self._opened = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=self._socket))
        return self._opened

    async def look(self) -> int | None:
        import aiohttp

        patience = aiohttp.ClientTimeout(total=limits.FOLLOW_PROGRAM)
        try:
            async with self._session().get(f"http://docker/containers/{quote(self._name, safe='')}/json", timeout=patience) as reply:
                if reply.status == 404:
                    return None
                body: Any = await reply.json(content_type=None)
                if reply.status != 200:
                    raise CannotTell(f"docker: {body.get('message', reply.status)}")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise CannotTell(f"docker does not answer at {self._socket}: {error or type(error).__name__}") from error
        pid = body.get("State", {}).get("Pid")
        return pid if isinstance(pid, int) and pid > 0 else None

    async def _follow(self) -> None:
        """Read events of the container; begin again when Docker is restarted."""
        import aiohttp

        wanted = json.dumps({"type": ["container"], "container": [self._name]})
        forever = aiohttp.ClientTimeout(total=None)
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with self._session().get("http://docker/events", params={"filters": wanted}, timeout=forever) as reply:
                    # What has happened before it listened.
                    self._on_change()
                    async for _ in reply.content:
                        self._on_change()
            await asyncio.sleep(limits.FOLLOW_PAUSE)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._opened is not None:
            await self._opened.close()
