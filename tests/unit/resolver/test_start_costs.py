"""What a command imports: the time until it prints something is nearly all imports."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resolver.client.children import command_of_berth
from tests.support.fake_daemon import FakeDaemon
from tests.unit.resolver.test_command_line import FRONT, WEB

HEAVY = {
    "aiohttp", "argparse", "asyncio", "click", "dataclasses", "datetime", "dns", "inspect", "logging", "msgspec", "netcore", "pathlib",
    "pyroute2", "resolver.cli.compose", "subprocess", "tempfile", "urllib", "yaml",
}  # fmt: skip
LONG = {"collections", "contextlib", "enum", "functools", "json", "re", "shutil", "signal", "typing"}
"""What takes longer than all that is imported of ours; `resolver.light` has what is needed of it."""
SCRIPT = """
import sys
before = set(sys.modules)
from resolver.cli import run_command
try:
    code = run_command(sys.argv[1:])
except SystemExit as error:
    code = error.code
assert not code, code
print(*sorted(set(sys.modules) - before), file=sys.stderr)
"""
"""`re` and what it needs come with a template only; the site of an editable install brings some of it, so `before` is left out."""


UNTIL_IT_ASKS = """
import os, sys
before = set(sys.modules)
from resolver.cli import connection, run_command

def send(*request):
    print(*sorted(set(sys.modules) - before), file=sys.stderr)
    sys.stderr.flush()
    os._exit(0)

connection.send = send
run_command(sys.argv[1:])
"""


LOADED = """
import sys
before = set(sys.modules)
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*sorted(set(sys.modules) - before), file=sys.stderr)
"""


def imported(tmp_path, *arguments, script=SCRIPT):
    command = [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{script}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"BERTH_RUN_DIR": str(tmp_path)})
    return set(done.stderr.split())


@pytest.mark.parametrize(
    ("command", "ours", "all_of_them"),
    [
        ("--help", 4, 5),
        ("run --help", 22, 78),
        ("ps", 23, 62),
        ("network ls", 21, 60),
        ("ps -q", 23, 62),
        ("run --dry-run -- true", 17, 28),
        ("run --dry-run -q -- true", 19, 55),
    ],
)
def test_a_command_imports_only_what_it_uses(tmp_path, command, ours, all_of_them):
    with FakeDaemon(tmp_path) as daemon:
        daemon.responses |= {
            "GET /v1/sandboxes": [WEB],
            "GET /v1/networks": [FRONT],
            "POST /v1/sandboxes?dry_run=1": {"steps": ["x"], "warnings": []},
        }
        found = imported(tmp_path, *command.split())
    if command != "run --help":
        assert not {name for name in found if name in HEAVY or name.partition(".")[0] in HEAVY}
    assert len([name for name in found if name.startswith("resolver")]) <= ours
    assert len(found) <= all_of_them


@pytest.mark.parametrize(
    ("command", "ours", "all_of_them"),
    [("run -- true", 13, 20), ("exec web true", 15, 22), ("run -d -- true", 18, 26)],
)
def test_what_enters_a_sandbox_is_loaded_while_the_daemon_works(tmp_path, command, ours, all_of_them):
    with FakeDaemon(tmp_path):
        found = imported(tmp_path, *command.split(), script=UNTIL_IT_ASKS)
    assert not {name for name in found if name in HEAVY or name.partition(".")[0] in HEAVY | {"ctypes", "selectors", "socket"}}
    assert not found & {"resolver.cli.enter", "resolver.cli.mounts", "resolver.cli.rights", "resolver.isolation.rights"}
    assert len([name for name in found if name.startswith("resolver")]) <= ours
    assert len(found) <= all_of_them


@pytest.mark.parametrize(
    "modules",
    [
        "resolver.cli.run resolver.cli.foreground",
        "resolver.cli.run resolver.cli.sandbox_parser resolver.cli.foreground",
        "resolver.cli.exec resolver.cli.sandbox_parser resolver.cli.command_record resolver.cli.enter",
        "resolver.cli.without_daemon resolver.rootless.entry resolver.rootless.commands",
    ],
)
def test_what_runs_a_command_loads_no_module_that_takes_long(tmp_path, modules):
    found = imported(tmp_path, *modules.split(), script=LOADED)
    assert not found & LONG
    assert len([name for name in found if not name.startswith("resolver")]) <= 26


@pytest.mark.parametrize("command", ["status", "rm web", "resolve web", "network inspect front", "cache ls", "network --help"])
def test_a_click_command_imports_no_other_one(tmp_path, command):
    status = {"version": "0", "pid": 7, "exits_when_idle": False, "uptime_seconds": 1, "firewall": "nftables", "guard": "none", "networks": 0,
              "sandboxes": 0, "queries": 0, "resolv_conf": "/etc/resolv.conf", "nameservers": [], "upstreams": [], "warnings": []}  # fmt: skip
    with FakeDaemon(tmp_path) as daemon:
        daemon.responses |= {
            "GET /v1/status": status, "GET /v1/sandboxes/web": WEB, f"DELETE /v1/sandboxes/{WEB['id']}": {"warnings": []},
            "POST /v1/resolve": {"records": [{"name": "web.", "ttl": 5, "type": "A", "data": "10.5.0.2"}]}, "GET /v1/networks/front": FRONT,
            "GET /v1/cache?limit=1000": {"entries": [], "found": 0},
        }  # fmt: skip
        found = imported(tmp_path, *command.split())
    topics = {name for name in found if name.startswith("resolver.cli.commands.")} - {
        "resolver.cli.commands.declare",
        "resolver.cli.commands.options",
    }
    assert len(topics) <= 3, topics
    assert not {name for name in found if name.partition(".")[0] in {"aiohttp", "dns", "msgspec", "netcore", "pyroute2", "yaml"}}


def test_the_installed_program_imports_nothing_before_ours():
    program = (Path(__file__).parents[3] / "resolver" / "cli" / "berth").read_text()
    assert [line for line in program.splitlines() if "import" in line and not line.startswith('"""')] == [
        "import sys",
        "from resolver.cli import program",
    ]
    assert Path(sys.executable).with_name("berth").read_text().partition("\n")[2] == program.partition("\n")[2]


def test_a_program_starts_berth_without_what_runs_modules():
    done = subprocess.run(
        command_of_berth("--help"), capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    )
    found = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "resolver.cli" in found
    assert "runpy" not in found
