"""The client for programs: every operation has a method and every field a typed attribute; commands, their ends, and what goes wrong.

A fake daemon answers, and a program in the place of `berth run` and `berth exec` runs the commands without a sandbox.
"""

import asyncio
import gc
import inspect
import json
import os
import re
import runpy
import signal
import sys
import threading
import time
import typing
from pathlib import Path

import msgspec
import pytest

from resolver.client import (
    Berth,
    BerthError,
    FileFailed,
    NoDaemon,
    Refused,
    SandboxFailed,
    WrongUse,
    WrongVersion,
    operations,
    sandbox,
    shapes,
    sync_operations,
)
from resolver.client import sync as plain
from resolver.client.options import SandboxOptions, exec_words, run_words
from resolver.daemon import client_code, openapi
from resolver.daemon.admin import ROUTES
from tests.support.fake_daemon import FakeDaemon

ROOT = Path(__file__).parents[3]
DOCUMENT = openapi.document(ROUTES, "1.2.3")
OPERATIONS = [(path, verb, operation) for path, item in DOCUMENT["paths"].items() for verb, operation in item.items()]
BOX = shapes.SandboxView(
    id="b" * 64, name="box", hostname="", domainname="", netns="", directory="", files="", adopted=False, leader=None, forward=False,
    stack="own", shared_with="", ended=False, environment={}, egress=[], pid=0, owner_pid=None, origin="", labels={}, networks=[],
    addresses=["172.17.0.2"], names=[], endpoints=[], created=1.0,
)  # fmt: skip
DENIED = shapes.RefusedView("box", BOX.id, "question", "evil.test", "", "", 0, "no rule allows it", "evil.test", 1.0, 1.0, 1)


class Prepared(dict):
    """Responses by path; what is asked behind the question mark does not matter."""

    def get(self, key, default=None):
        path = key.partition("?")[0]
        return super().get("GET /v1/sandboxes/box" if path.startswith("GET /v1/sandboxes/box-") else path, default)


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    fake = Path(ROOT, "tests/support/fake_berth.py")
    monkeypatch.setattr(sandbox, "command_of_berth", lambda *words: [sys.executable, str(fake), *words])
    monkeypatch.setenv("FAKE_BERTH_LOG", str(tmp_path / "log"))
    with FakeDaemon(tmp_path) as made:
        made.responses = Prepared({"GET /v1/openapi.json": DOCUMENT, "GET /v1/egress/log": [msgspec.to_builtins(DENIED)]})
        for name in ("box", BOX.id):
            made.responses[f"GET /v1/sandboxes/{name}"] = msgspec.to_builtins(BOX)
        yield made


@pytest.fixture
async def box(daemon, tmp_path):
    async with Berth.connect(str(tmp_path), start=False) as berth, berth.sandbox(name="box", grace=0.3) as made:
        yield made


def told(tmp_path):
    return [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def gone(*pids):
    async with asyncio.timeout(30):
        while any(map(alive, pids)):
            await asyncio.sleep(0.01)


# --- the API ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", client_code.FILES)
def test_methods_are_those_of_the_table_of_routes(name):
    written = (ROOT / "resolver" / "client" / name).read_text()
    assert written == client_code.module(ROUTES, asynchronous=client_code.FILES[name]), (
        "python -m resolver.daemon.client_code resolver/client"
    )


def answer_of(operation, *, plan):
    """The names of the shapes that an operation answers with, as its document says."""
    answers = [response["content"] for status, response in operation["responses"].items() if status[0] == "2"]
    names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(answers)))
    return {"PlanView"} if plan else names - {"PlanView"} if len(names & {"PlanView"}) and names != {"PlanView"} else names


@pytest.mark.parametrize("module", [operations, sync_operations])
@pytest.mark.parametrize(("path", "verb", "operation"), OPERATIONS, ids=[operation["operationId"] for *_, operation in OPERATIONS])
def test_every_operation_of_the_document_has_a_typed_method(module, path, verb, operation):
    name = client_code.method_name(operation["operationId"])
    kinds = [kind for kind in (getattr(module, group) for group in client_code.GROUPS) if hasattr(kind, name)]
    assert len(kinds) == 1
    has_plan = any(parameter["name"] == "dry_run" for parameter in operation["parameters"])
    for plan in (False, True) if has_plan else (False,):
        method = getattr(kinds[0], f"plan_{name}" if plan else name)
        hints = typing.get_type_hints(method)
        assert set(re.findall(r"\.(\w+View)\b", str(hints["return"]))) == answer_of(operation, plan=plan) - {""}
        wanted = {parameter["name"] for parameter in operation["parameters"]} - {"dry_run"} | (
            {"body"} if "requestBody" in operation else set()
        )
        assert set(inspect.signature(method).parameters) - {"self"} == wanted
        if "requestBody" in operation:
            assert re.findall(r"schemas/(\w+)", json.dumps(operation["requestBody"]))[0] in str(hints["body"])


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_every_shape_of_the_document_is_a_type_with_its_fields(name):
    schema, kind = DOCUMENT["components"]["schemas"][name], getattr(shapes, name)
    assert name in shapes.__all__
    if "properties" in schema:
        hints = typing.get_type_hints(kind)
        assert set(hints) == set(schema["properties"])
        assert typing.Any not in hints.values()


async def test_operations_ask_for_what_they_are_called(daemon, tmp_path):
    daemon.responses["DELETE /v1/networks/a%2Fb"] = {"done": "network removed", "warnings": []}
    daemon.responses["POST /v1/networks"] = (409, {"error": {"kind": "conflict", "object": "front", "message": "front is there"}})
    daemon.responses["GET /readyz"] = (503, {"status": "starting"})
    daemon.responses["GET /v1/events"] = {"time": 1.0, "kind": "network", "action": "create", "name": "front", "new": 1}
    async with Berth.connect(str(tmp_path), start=False) as berth:
        assert (await berth.networks.remove_network("a/b", wait="gone")).done == "network removed"
        assert daemon.requests[-1] == ("DELETE", "/v1/networks/a%2Fb?wait=gone", None)
        with pytest.raises(Refused, match="front is there") as refused:
            await berth.networks.create_network(shapes.NetworkBody(name="front"))
        assert (refused.value.kind, refused.value.object, refused.value.status) == ("conflict", "front", 409)
        assert daemon.requests[-1][2]["name"] == "front"
        assert (await berth.daemon.show_readiness()).status == "starting"
        assert [event.name async for event in berth.daemon.stream_events(since="0")] == ["front"]


async def test_daemon_of_another_version_is_named(daemon, tmp_path):
    daemon.responses["GET /v1/openapi.json"] = {"info": {"version": "9.0"}, "paths": {"/v2/networks": {}}}
    with pytest.raises(WrongVersion, match=r"berth 9\.0, speaks v2 of the API; this client speaks v1"):
        async with Berth.connect(str(tmp_path), start=False):
            pass
    daemon.responses["GET /v1/openapi.json"] = DOCUMENT
    daemon.responses["GET /v1/status"] = {"version": 3}
    async with Berth.connect(str(tmp_path), start=False) as berth:
        with pytest.raises(WrongVersion, match="does not understand"):
            await berth.daemon.show_status()


async def test_no_daemon_is_an_error_of_its_own(tmp_path):
    with pytest.raises(NoDaemon, match="no berth daemon answers at"):
        async with Berth.connect(str(tmp_path), start=False):
            pass


# --- sandboxes --------------------------------------------------------------------------------------------------------


def test_options_are_those_of_the_command_line():
    given: SandboxOptions = {
        "egress": ["pypi.org", "net:10.0.0.0/8"], "networks": ["front,alias=a"], "environment": {"A": "b c"}, "user": "nobody", "confine": "work",
        "read_only": True, "tmpfs": ["/tmp"], "memory": "64m", "pids": 9, "labels": {"k": "v"}, "options": ["--dns", "10.0.0.53"],
    }  # fmt: skip
    assert run_words("box", given) == [
        "--name=box", "--egress=pypi.org", "--egress=net:10.0.0.0/8", "--user=nobody", "--confine=work", "--memory=64m", "--pids-limit=9",
        "--network=front,alias=a", "--tmpfs=/tmp", "--env=A=b c", "--label=k=v", "--read-only", "--dns", "10.0.0.53",
    ]  # fmt: skip
    assert run_words("box", {"egress": []}) == ["--name=box", "--egress=none"]
    assert run_words("box", {"confine": True}) == ["--name=box", "--confine"]
    assert run_words("box", {"confine": False}) == ["--name=box"]
    with pytest.raises(TypeError, match="no option image"):
        run_words("box", {"image": "alpine"})
    with pytest.raises(TypeError, match="egress is a list of texts"):
        run_words("box", {"egress": "pypi.org"})


@pytest.mark.parametrize("name", ["", "A=", "A=b"])
def test_a_variable_whose_name_cannot_be_one_is_refused(name):
    with pytest.raises(ValueError, match=r"environment: .* can.t be a name"):
        run_words("box", {"environment": {name: "x"}})
    with pytest.raises(ValueError, match=r"environment: .* can.t be a name"):
        exec_words({name: "x"}, None, None)


def test_every_option_of_a_sandbox_is_one_of_the_command_line():
    from resolver.cli.sandbox_parser import parse

    given = {
        "egress": ["all"],
        "networks": ["a"],
        "publish": ["80"],
        "environment": {"A": "b"},
        "workdir": "/",
        "user": "0",
        "confine": "/",
        "read_only": True,
        "tmpfs": ["/a"],
        "volumes": ["/a:/b"],
        "memory": 1,
        "cpus": 1.5,
        "pids": 1,
        "labels": {"a": "b"},
    }
    assert given.keys() == SandboxOptions.__annotations__.keys() - {"name", "options"}
    values, operands = parse("run", [*run_words("box", given), "--", "cat"])
    assert len(values) == len(given) + 1
    assert operands[-1] == "cat"


async def test_a_command_gives_what_it_does(box, tmp_path):
    result = await box.run(["sh", "-c", 'cat; echo "$A" "$PWD"; echo err >&2; exit 3'], stdin="in\n", environment={"A": "b"}, workdir="/")
    assert (result.exit_code, result.text, result.error_text, result.timed_out) == (3, "in\nb /\n", "err\n", False)
    assert result.denied == (DENIED,)
    assert told(tmp_path)[-1][:5] == ["exec", "--env=A=b", "--workdir=/", "--", BOX.id]


async def test_large_input_and_output_pass_at_the_same_time(box):
    octets = bytes(range(256)) * 8192
    assert (await box.run(["cat"], stdin=octets)).stdout == octets
    assert (await box.run(["true"], stdin=octets)).exit_code == 0


@pytest.mark.parametrize(("script", "code"), [("exec sleep 1000", 143), ("trap '' TERM; while :; do sleep 0.05; done", 137)])
async def test_what_takes_too_long_is_ended_and_told(box, script, code):
    result = await box.run(["sh", "-c", f"echo $$; {script}"], timeout=0.5)
    assert (result.timed_out, result.exit_code) == (True, code)
    await gone(int(result.text))


async def test_output_that_something_left_running_holds_is_not_waited_for(box):
    result = await box.run(["sh", "-c", "sleep 1000 & echo $!"])
    assert result.exit_code == 0
    os.kill(int(result.text), 9)


async def test_streams_come_as_they_are_written(box):
    async with box.start(["sh", "-c", "read a; echo got $a; echo warn >&2; read b; echo got $b"]) as command:
        command.stdin.write(b"1\n")
        assert await command.stdout.readline() == b"got 1\n"
        assert command.exit_code is None
        command.stdin.write(b"2\n")
        assert {part async for part in command.output()} == {("stdout", b"got 2\n"), ("stderr", b"warn\n")}
        assert await command.wait() == 0


async def test_files_go_in_and_come_out(box, tmp_path):
    inside, outside = tmp_path / "deep" / "-er" / "x y", tmp_path / "out"
    await box.write(str(inside), b"\0octets")
    assert await box.read(str(inside)) == b"\0octets"
    await box.get(str(inside), outside)
    await box.put(outside, str(tmp_path / "again"))
    assert (tmp_path / "again").read_bytes() == b"\0octets"
    with pytest.raises(FileFailed, match=r"nothing in sandbox box could not be read: .*No such file"):
        await box.read(str(tmp_path / "nothing"))
    with pytest.raises(FileFailed, match="could not be written"):
        await box.write(str(outside / "below"), "")


async def test_a_command_is_words(box):
    with pytest.raises(TypeError, match='\\["sh", "-c", line\\]'):
        await box.run("ls -l")
    with pytest.raises(ValueError, match="at least one word"):
        await box.run([])


async def test_a_sandbox_that_is_refused_says_why(daemon, tmp_path):
    async with Berth.connect(str(tmp_path), start=False) as berth:
        with pytest.raises(SandboxFailed, match=r"^network nowhere: no such network$"):
            async with berth.sandbox(name="refused"):
                pass
        with pytest.raises(SandboxFailed, match="use it inside of its `async with`"):
            await berth.sandbox(name="box").run(["true"])
    assert issubclass(SandboxFailed, BerthError)


async def test_cancelling_ends_command_and_sandbox(daemon, tmp_path):
    pids = []

    async def work():
        async with Berth.connect(str(tmp_path), start=False) as berth, berth.sandbox(name="box", grace=0.3) as box:
            pids.append(box._keeper.pid)
            async with box.start(["sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.05; done"]) as command:
                pids.append(int(await command.stdout.readline()))
                await command.wait()

    task = asyncio.ensure_future(work())
    async with asyncio.timeout(30):
        while len(pids) < 2:
            await asyncio.sleep(0.01)
    assert all(map(alive, pids))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not any(map(alive, pids))


async def test_cancelling_at_any_moment_leaves_no_process(daemon, tmp_path):
    async def work():
        async with Berth.connect(str(tmp_path), start=False) as berth, berth.sandbox(name="box", grace=0.3) as box:
            await box.run(["sleep", "1000"])

    for turns in (0, 9, 21, 34):
        task = asyncio.ensure_future(work())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if alive(pid) and b"fake_berth" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_an_exception_ends_the_sandbox(daemon, tmp_path):
    with pytest.raises(ZeroDivisionError):
        async with Berth.connect(str(tmp_path), start=False) as berth, berth.sandbox(name="box") as box:
            keeper = box._keeper
            raise ZeroDivisionError
    assert keeper.returncode == 0


def test_without_asyncio_it_is_the_same(daemon, tmp_path):
    with plain.Berth.connect(str(tmp_path), start=False) as berth, berth.sandbox(name="box", grace=0.3) as box:
        result = box.run(["cat"], stdin="in")
        assert (result.text, result.exit_code, result.denied) == ("in", 0, (DENIED,))
        assert box.run(["sleep", "1000"], timeout=0.3).timed_out
        box.write(str(tmp_path / "file"), "x")
        assert box.read(str(tmp_path / "file")) == b"x"
        assert box.show().addresses == ["172.17.0.2"]
        with box.start(["sh", "-c", "cat; exit 4"]) as command:
            command.write(b"1\n")
            command.close_stdin()
            assert list(command.output()) == [("stdout", b"1\n")]
            assert command.wait() == 4
        daemon.responses["GET /v1/events"] = {"time": 1.0, "kind": "network", "action": "create", "name": "front"}
        assert [event.name for event in berth.daemon.stream_events()] == ["front"]
        assert berth.sandboxes.show_sandbox("box").id == BOX.id


def test_an_interrupt_without_asyncio_ends_command_and_sandbox(daemon, tmp_path):
    found = []

    def interrupt():
        while not (tmp_path / "started").exists() or not (tmp_path / "started").read_text().strip():
            time.sleep(0.01)
        found.append(int((tmp_path / "started").read_text()))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with (
        pytest.raises(KeyboardInterrupt),
        plain.Berth.connect(str(tmp_path), start=False) as berth,
        berth.sandbox(name="box", grace=0.3) as box,
    ):
        found.append(box._sandbox._keeper.pid)
        thread.start()
        box.run(["sh", "-c", 'echo $$ > "$1"; exec sleep 1000', "sh", str(tmp_path / "started")])
    thread.join()
    assert len(found) == 2
    assert not any(map(alive, found))


def test_both_clients_have_the_same_methods():
    for name in ("Berth", "Sandbox"):
        own, other = getattr(sys.modules["resolver.client"], name), getattr(plain, name)
        public = lambda kind: {key for key in vars(kind) if not key.startswith("_")} - {"name", "id"}  # noqa: E731
        assert public(own) == public(other)


def test_example_of_an_agent_builder(daemon, tmp_path, monkeypatch, capsys):
    example, code = ROOT / "examples" / "agent.py", tmp_path / "x.py"
    assert len(example.read_text().splitlines()) <= 24
    code.write_text("print('hello')")
    monkeypatch.setenv("BERTH_RUN_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["agent.py", str(code)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(example), run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out == "hello\ndenied: evil.test: no rule allows it\nexit code 0\n"
    assert "--egress=www.example.org" in told(tmp_path)[0]


# --- used outside of its `with` -------------------------------------------------------------------------------------


def uses_of(berth):
    """What a program may do with a `Berth` for programs without asyncio, and with what it was given by one."""
    yield berth.sandboxes.list_sandboxes
    yield lambda: next(berth.daemon.stream_events())
    yield berth.sandbox(name="box").__enter__
    yield berth.sandbox(name="box").show
    yield lambda: berth.sandbox(name="box").run(["true"])
    yield lambda: berth.sandbox(name="box").start(["true"]).__enter__()
    yield lambda: berth.sandbox(name="box").read("/x")


def threads():
    return [thread.name for thread in threading.enumerate() if thread.name == "berth client"]


@pytest.fixture
def nothing_leaks(recwarn):
    """Nothing that was made is left without being awaited or closed, nor a thread."""
    yield
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []
    assert threads() == []


@pytest.mark.usefixtures("nothing_leaks")
def test_a_plain_client_says_that_it_is_used_outside_of_its_with(daemon, tmp_path):
    berth = plain.Berth.connect(str(tmp_path), start=False)
    before = len(daemon.requests)
    for use in uses_of(berth):
        with pytest.raises(WrongUse, match="use it inside of its `with`"):
            use()
    with berth:
        assert threads() == ["berth client"]
        with pytest.raises(WrongUse, match="is connected already"), berth:
            pass
        assert berth.daemon.show_open_api()
    for use in uses_of(berth):
        with pytest.raises(WrongUse, match="use it inside of its `with`"):
            use()
    # It may be used again.
    with berth:
        assert berth.daemon.show_open_api()
    assert len(daemon.requests) == before + 4


@pytest.mark.usefixtures("nothing_leaks")
def test_what_another_thread_asks_ends_when_a_plain_client_is_closed(daemon, tmp_path):
    berth = plain.Berth.connect(str(tmp_path), start=False)
    told, asks = [], threading.Event()

    async def never():
        asks.set()
        await asyncio.Event().wait()

    def ask():
        try:
            berth._loop.do(never())
        except BerthError as error:
            told.append(str(error))

    with berth:
        asking = threading.Thread(target=ask)
        asking.start()
        asks.wait()
    asking.join()
    assert told == ["this Berth is not connected; use it inside of its `with`"]


@pytest.mark.usefixtures("nothing_leaks")
async def test_a_client_says_that_it_is_used_outside_of_its_with(daemon, tmp_path):
    berth = Berth.connect(str(tmp_path), start=False)

    async def follow():
        return [event async for event in berth.daemon.stream_events()]

    async def check():
        for use in (berth.sandboxes.list_sandboxes, berth.daemon.show_metrics, follow, berth.sandbox(name="box").show):
            with pytest.raises(WrongUse, match="use it inside of its `async with`"):
                await use()

    await check()
    async with berth:
        assert await berth.daemon.show_open_api()
        with pytest.raises(WrongUse, match="is connected already"):
            async with berth:
                pass
        assert await berth.daemon.show_open_api()
    await check()


@pytest.mark.usefixtures("nothing_leaks")
def test_clients_that_are_never_used_leave_nothing(tmp_path):
    plain.Berth.connect(str(tmp_path), start=False)
    Berth.connect(str(tmp_path), start=False)
