"""The admin socket: where it is, who may use it, and who is calling.

`berth.sock` in the run directory, mode 0660, owned by root and the group of `socket_group`. Whoever can connect can make
the daemon do anything that root can.
"""

from __future__ import annotations

import asyncio
import grp
import logging
import os
import socket
import struct
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from resolver.daemon.api_route import Caller

log = logging.getLogger(__name__)

_NAME = "berth.sock"
_UMASK = 0o117
_STOP_WITHIN = 2.0
_UCRED = struct.Struct("iII")


_GONE = Caller(pid=0, uid=65_534)


def caller_of(transport: asyncio.Transport | None) -> Caller:
    """Return who is calling; nobody's uid if the connection is closed already."""
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None:
        return _GONE
    pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Caller(pid, uid)


async def serve(application: web.Application, run_directory: str, group: str | None, stack: AsyncExitStack) -> None:
    """Serve *application* on the admin socket until *stack* closes. *group*: who may use it beside root."""
    path = Path(run_directory, _NAME)
    path.unlink(missing_ok=True)
    runner = web.AppRunner(application, shutdown_timeout=_STOP_WITHIN)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    stack.callback(path.unlink, missing_ok=True)
    old = os.umask(_UMASK)
    try:
        await web.UnixSite(runner, str(path)).start()
    finally:
        os.umask(old)
    if group is not None:
        try:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
        except (KeyError, OSError) as error:
            log.warning("admin socket keeps its group group=%s reason=%s", group, error)
