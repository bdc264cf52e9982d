"""Who may use the admin socket, and who is calling."""

import asyncio
import grp
import os
import socket
import stat
from contextlib import AsyncExitStack
from types import SimpleNamespace

import pytest
from aiohttp import web

from resolver.daemon.admin_socket import caller_of, serve
from resolver.daemon.api_route import Caller


async def test_owner_and_group_may_use_it_while_it_is_served(tmp_path):
    path = tmp_path / "berth.sock"
    path.write_text("left over by a crash")
    before = os.umask(0o22)
    os.umask(before)
    async with AsyncExitStack() as stack:
        await serve(web.Application(), str(tmp_path), grp.getgrgid(os.getgid()).gr_name, stack)
        found = path.stat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o660
        assert found.st_gid == os.getgid()
    assert not path.exists()
    after = os.umask(before)
    assert after == before


async def test_group_that_does_not_exist_is_a_warning(tmp_path, caplog):
    async with AsyncExitStack() as stack:
        await serve(web.Application(), str(tmp_path), "no-such-group", stack)
        assert "admin socket keeps its group group=no-such-group" in caplog.text


@pytest.mark.parametrize("is_there", [True, False])
async def test_caller_is_whom_the_kernel_names_and_nobody_once_it_has_gone(is_there):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = SimpleNamespace(get_extra_info=lambda _: ours if is_there else None)
        assert caller_of(transport) == (Caller(os.getpid(), os.getuid()) if is_there else Caller(0, 65_534))
    assert caller_of(None) == Caller(0, 65_534)
    await asyncio.sleep(0)
