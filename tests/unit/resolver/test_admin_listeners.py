"""Where the admin API listens, who may use it, and who is calling."""

import asyncio
import grp
import os
import shutil
import socket
import ssl
import stat
import subprocess
from contextlib import AsyncExitStack
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web

from resolver import limits
from resolver.daemon.admin_listeners import caller_of, serve
from resolver.daemon.admission import Admission, Scope
from resolver.daemon.api_route import ApiRoute
from resolver.daemon.config import DaemonConfig
from resolver.daemon.http_api import HttpApi
from resolver.errors import ConfigError

SOCKETS = ("berth.sock", "berth-ro.sock")


def application(_admission, _scope, *, token=None):
    return web.Application()


def admission():
    return Admission(lambda: 0.0)


async def test_owner_and_group_may_use_each_while_it_is_served(tmp_path):
    (tmp_path / "berth.sock").write_text("left over by a crash")
    group = grp.getgrgid(os.getgid()).gr_name
    async with AsyncExitStack() as stack:
        await serve(application, DaemonConfig(run_dir=str(tmp_path), socket_group=group, read_group=group), admission(), stack)
        for name in SOCKETS:
            found = (tmp_path / name).stat()
            assert stat.S_ISSOCK(found.st_mode)
            assert stat.S_IMODE(found.st_mode) == 0o660
            assert found.st_gid == os.getgid()
    assert not list(tmp_path.iterdir())


async def test_group_that_does_not_exist_is_a_warning(tmp_path, caplog):
    async with AsyncExitStack() as stack:
        await serve(application, DaemonConfig(run_dir=str(tmp_path), socket_group="no-such-group"), admission(), stack)
        assert f"admin socket keeps its group path={tmp_path}/berth.sock group=no-such-group" in caplog.text


@pytest.mark.parametrize("damage", ["socket", "directory", "file", "other"])
async def test_socket_that_somebody_removes_is_made_again(tmp_path, monkeypatch, caplog, damage):
    monkeypatch.setattr(limits, "RUN_DIRECTORY_LOOK", 0.005)
    run = tmp_path / "run"
    async with AsyncExitStack() as stack:
        await serve(application, DaemonConfig(run_dir=str(run)), admission(), stack)
        path = run / "berth.sock"
        if damage == "directory":
            shutil.rmtree(run)
        else:
            path.unlink()
        if damage == "file":
            path.write_text("")
        if damage == "other":
            with socket.socket(socket.AF_UNIX) as other:
                other.bind(str(path))
        while "is made again" not in caplog.text:
            await asyncio.sleep(0)
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session, session.get("http://berth/") as response:
            assert response.status == 404


@pytest.mark.parametrize("is_there", [True, False])
async def test_caller_is_whom_the_kernel_names_and_nobody_once_it_has_gone(is_there):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = SimpleNamespace(get_extra_info=lambda _: ours if is_there else None)
        found = caller_of(transport)
        assert (found.pid, found.uid) == ((os.getpid(), os.getuid()) if is_there else (0, 65_534))
    assert caller_of(None).uid == 65_534


async def test_connections_of_one_user_are_bounded_and_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "API_CONNECTIONS", 2)
    monkeypatch.setattr("resolver.daemon.admission._ROOT", -1)
    counted = admission()
    async with AsyncExitStack() as stack:
        await serve(application, DaemonConfig(run_dir=str(tmp_path)), counted, stack)
        connections = [await asyncio.open_unix_connection(str(tmp_path / name)) for name in (*SOCKETS, *SOCKETS)]
        assert [await reader.read() for reader, _ in connections[2:]] == [b"", b""]
        assert counted.refused == 2
        for _, writer in connections:
            writer.close()
        while counted._connections:
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "berth.sock"))
        writer.write(b"GET / HTTP/1.1\r\nHost: berth\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 404")
        writer.close()


def certificate(directory, name, issuer=None):
    """Make NAME.pem and NAME.key; with an *issuer* signed by it, else by itself."""
    key, pem = directory / f"{name}.key", directory / f"{name}.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        f"/CN={name}",
    ]
    signed = ["-CA", str(directory / f"{issuer}.pem"), "-CAkey", str(directory / f"{issuer}.key")] if issuer else []
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *signed, *names, "-keyout", str(key), "-out", str(pem)], check=True, capture_output=True)
    return str(pem), str(key)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    directory = tmp_path_factory.mktemp("keys")
    for name, issuer in (("ca", None), ("server", "ca"), ("alice", "ca"), ("mallory", None)):
        certificate(directory, name, issuer)
    (directory / "token").write_text("x" * 40)
    (directory / "token").chmod(0o600)
    return directory


def remote(keys, tmp_path, port, **more):
    return DaemonConfig(
        run_dir=str(tmp_path),
        api_listen=f"127.0.0.1:{port}",
        api_certificate=str(keys / "server.pem"),
        api_key=str(keys / "server.key"),
        **more,
    )


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def ask(keys, port, *, own=None, token=None, method="GET"):
    context = ssl.create_default_context(cafile=str(keys / "ca.pem"))
    if own:
        context.load_cert_chain(keys / f"{own}.pem", keys / f"{own}.key")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession() as session:
        try:
            async with session.request(method, f"https://127.0.0.1:{port}/v1/thing", ssl=context, headers=headers) as response:
                return response.status
        except (aiohttp.ClientError, OSError):
            return "no connection"


class Handlers:
    def __init__(self):
        self.callers = []

    async def answer(self, request):
        self.callers.append(request.caller)
        return {}


def api(handlers):
    routes = [
        ApiRoute(method=method, path="/v1/thing", operation_id="x", summary="x", response=dict, handler=Handlers.answer)
        for method in ("GET", "DELETE")
    ]
    return HttpApi(routes, handlers).application


async def test_over_tcp_a_certificate_of_our_ca_is_needed(keys, tmp_path):
    port, counted, handlers = free_port(), admission(), Handlers()
    async with AsyncExitStack() as stack:
        await serve(api(handlers), remote(keys, tmp_path, port, api_client_ca=str(keys / "ca.pem")), counted, stack)
        assert await ask(keys, port, own="alice") == 200
        assert handlers.callers[-1].name == "certificate alice at 127.0.0.1"
        assert handlers.callers[-1].uid == 65_534
        assert await ask(keys, port, own="alice", method="DELETE") == 403
        assert await ask(keys, port) == "no connection"
        assert await ask(keys, port, own="mallory") == "no connection"
        while counted._connections:
            await asyncio.sleep(0)


async def test_over_tcp_a_token_is_needed_and_changes_if_they_are_allowed(keys, tmp_path):
    port = free_port()
    async with AsyncExitStack() as stack:
        await serve(
            api(Handlers()), remote(keys, tmp_path, port, api_token_file=str(keys / "token"), api_access="change"), admission(), stack
        )
        assert await ask(keys, port, token="x" * 40, method="DELETE") == 200
        assert await ask(keys, port, token="x" * 39) == 401
        assert await ask(keys, port) == 401


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.chmod(0o644), "can be read by others"), (lambda path: path.write_text("short"), "has 5 characters"),
        (lambda path: path.unlink(), "No such file"),
    ],
)  # fmt: skip
async def test_token_that_is_none_keeps_the_daemon_from_listening(keys, tmp_path, change, reason):
    token = tmp_path / "token"
    token.write_text("x" * 40)
    token.chmod(0o600)
    change(token)
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigError, match=reason):
            await serve(api(Handlers()), remote(keys, tmp_path, free_port(), api_token_file=str(token)), admission(), stack)


def test_requests_of_one_user_are_bounded_and_come_back():
    now = [0.0]
    counted = Admission(lambda: now[0])
    assert all(counted.ask(1000) for _ in range(int(limits.API_BURST)))
    assert not counted.ask(1000)
    assert counted.ask(1001)
    assert all(counted.ask(0) for _ in range(2 * int(limits.API_BURST)))
    now[0] = 1.0
    assert [counted.ask(1000) for _ in range(int(limits.API_RATE) + 1)] == [True] * int(limits.API_RATE) + [False]


def test_users_that_ask_no_longer_are_forgotten(monkeypatch):
    monkeypatch.setattr(limits, "API_PEERS", 10)
    now = [0.0]
    counted = Admission(lambda: now[0])
    for number in range(100):
        now[0] += 5.0
        counted.ask(f"192.0.2.{number}")
    assert len(counted._allowances) <= 12
    assert Scope("read") is Scope.READ


async def test_who_has_connected_is_answered_when_the_socket_goes_and_nobody_can_connect_any_more(tmp_path):
    """A client is in the queue when the daemon stops; it sends its request a moment later."""
    served = HttpApi((ApiRoute(method="POST", path="/x", operation_id="x", summary="x", response=dict, handler=None),), object())
    async with AsyncExitStack() as stack:
        await serve(served.application, DaemonConfig(run_dir=str(tmp_path)), admission(), stack)
        await served.take_no_more_changes(0.0)
        waiting = socket.socket(socket.AF_UNIX)
        # Nothing is accepted before this has returned to the loop.
        waiting.connect(str(tmp_path / "berth.sock"))
        stopping = asyncio.create_task(stack.aclose())
        while (tmp_path / "berth.sock").exists():
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection(sock=waiting)
        writer.write(b"POST /x HTTP/1.1\r\nHost: berth\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
        assert b'"kind":"stopping"' in await reader.read()
        writer.close()
        await stopping
