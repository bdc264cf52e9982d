"""The rules of the structure: who may import whom, one door to each dangerous thing, total error tables, small modules."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = [path for package in ("netcore", "resolver") for path in (ROOT / package).rglob("*.py")]
PURE = (
    "netcore/model", "netcore/limits", "netcore/parse/", "netcore/desired/", "netcore/drivers/", "netcore/plan/",
    "netcore/plugins/messages", "netcore/cluster/state", "netcore/cluster/encryption", "netcore/store/upgrade", "netcore/store/codec",
    "resolver/wire/", "resolver/zone/", "resolver/engine/", "resolver/resolvconf", "resolver/nsswitch", "resolver/client",
    "resolver/reply_cache", "resolver/forwarding", "resolver/daemon/redirect", "resolver/daemon/proxies", "resolver/cli/project", "resolver/cli/compose", "resolver/cli/duration", "resolver/cli/interpolate",
    "resolver/cli/yaml12",
)  # fmt: skip


FLOORS = (
    ("model", "errors", "limits"),
    ("parse",),
    ("desired",),
    ("drivers",),
    ("plan",),
    ("store",),
    ("plugins",),
    ("kernel",),
    ("cluster",),
    ("relay",),
    ("controller",),
)
"""The parts of netcore from the ground up. A part imports its own floor's and lower ones only, so there is no circle between them."""


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name(path):
    return str(path.relative_to(ROOT).with_suffix(""))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_keep_the_contract(path):
    found = set(imports(path))
    where = name(path)
    if where.startswith("netcore"):
        assert not [item for item in found if item.startswith("resolver")]
    elif not where.startswith(("resolver/daemon", "resolver/cli/commands")):
        assert not [item for item in found if item.startswith("netcore")], "only the daemon knows both halves"
    if where != "netcore/kernel/codec":
        assert not [item for item in found if item.startswith("pyroute2")]
    if where.startswith(PURE):
        forbidden = {"asyncio", "os", "socket", "logging", "subprocess", "threading", "time"}
        assert not {item.partition(".")[0] for item in found} & forbidden


def _floor(module):
    part = module.split(".")[1]
    return next(i for i, parts in enumerate(FLOORS) if part in parts)


@pytest.mark.parametrize("path", [path for path in MODULES if name(path).startswith("netcore/")], ids=name)
def test_no_import_leads_upwards(path):
    where = name(path).replace("/", ".").removesuffix(".__init__")
    if where == "netcore":
        return
    found = {item for item in imports(path) if item.startswith("netcore.")}
    upwards = [item for item in found if _floor(item) > _floor(where)]
    assert not upwards


def test_no_modules_import_each_other():
    graph = {}
    known = {name(path).replace("/", ".").removesuffix(".__init__"): path for path in MODULES}
    for module, path in known.items():
        graph[module] = {item for item in imports(path) if item in known and item != module and not module.startswith(f"{item}.")}
    done, under_way = set(), []

    def visit(module):
        assert module not in under_way, " -> ".join([*under_way, module])
        if module not in done:
            under_way.append(module)
            for item in graph[module]:
                visit(item)
            under_way.pop()
            done.add(module)

    for module in graph:
        visit(module)


def test_only_one_place_enters_namespaces():
    users = {name(path) for path in MODULES if "_libc.setns" in path.read_text() or "os.setns" in path.read_text()}
    # The client enters for itself; the daemon has one door.
    assert users == {"netcore/kernel/netns", "resolver/cli/enter"}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_modules_and_functions_fit_in_the_head(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno <= 75, node.name


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text())) or path.name == "__init__.py"


def subclasses(kind):
    for item in kind.__subclasses__():
        yield item
        yield from subclasses(item)


def test_every_error_has_a_status():
    from netcore.errors import NetcoreError
    from netcore.store import sqlite  # noqa: F401 (its errors must be known)
    from resolver.daemon.admin import STATUS
    from resolver.errors import ResolverError

    missing = {item for base in (NetcoreError, ResolverError) for item in subclasses(base)} - set(STATUS)
    assert not missing


def test_readme_names_every_metric_setting_and_limit_of_the_command_line():
    from resolver.daemon.config import HELP, DaemonConfig
    from resolver.daemon.metrics import NAMES

    text = (ROOT / "README.md").read_text()
    assert set(HELP) == set(DaemonConfig.__dataclass_fields__)
    for item in (*NAMES, *HELP):
        assert f"`{item}`" in text, item


def test_readme_names_every_command_and_network_option():
    import click

    from netcore.parse.options import SHORT_NAMES
    from resolver.cli.commands import cli

    text = (ROOT / "README.md").read_text()
    for command, item in cli.commands.items():
        assert f"berth {command}" in text, command
        if isinstance(item, click.Group):
            for inner in item.commands:
                assert f"berth {command} {inner}" in text, inner
    for short, label in SHORT_NAMES.items():
        assert f"`{short}`" in text, short
        assert f"`{label}`" in text, label


@pytest.mark.parametrize("module", ["netcore", "resolver", "resolver.cli.run_exec", "resolver.engine.answer", "netcore.plan.network"])
def test_cheap_modules_stay_cheap(module):
    heavy = ("aiohttp", "pyroute2", "click", "rich", "yaml", "prometheus_client", "uvloop", "msgspec")
    if module == "resolver.engine.answer":
        heavy = tuple(item for item in heavy if item != "msgspec")
    script = f"import sys, {module}; print(*[m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""
