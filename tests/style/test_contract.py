"""The rules of the structure: who may import whom, one door to each dangerous thing, total error tables, small modules."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = [path for package in ("netcore", "resolver") for path in (ROOT / package).rglob("*.py")]
PURE = (
    "netcore/model", "netcore/common_options", "netcore/default_route", "netcore/isolation", "netcore/limits", "netcore/internet_checksum", "netcore/classic_bpf", "netcore/tap", "netcore/taps/", "netcore/parse/", "netcore/egress/", "netcore/desired/", "netcore/drivers/", "netcore/plan/",
    "netcore/look/findings", "netcore/look/host_names", "netcore/look/client_hello", "netcore/look/http_request", "netcore/look/first_data",
    "netcore/look/segments", "netcore/look/stream", "netcore/look/refusals", "netcore/look/flow", "netcore/look/flows", "netcore/look/steps", "netcore/look/decisions",
    "netcore/way_out/packets", "netcore/way_out/report", "netcore/way_out/room", "netcore/way_out/rules",
    "netcore/taps/", "netcore/plugins/messages", "netcore/relay/clients", "netcore/cluster/state", "netcore/cluster/encryption",
    "netcore/cluster/publications", "netcore/cluster/shared_pools", "netcore/kernel/ruleset/", "netcore/kernel/nf_tables", "netcore/store/upgrade", "netcore/store/codec", "netcore/store/protocol",
    "resolver/wire/", "resolver/zone/", "resolver/engine/", "resolver/resolvconf", "resolver/nsswitch", "resolver/dns_client", "resolver/reply_cache",
    "resolver/forwarding", "resolver/state_owner", "resolver/quota", "resolver/daemon/redirect",
    "resolver/rootless/id_ranges", "resolver/rootless/refusals", "resolver/rootless/record", "resolver/rootless/commands",
    "resolver/daemon/proxies", "resolver/daemon/allowance", "resolver/cli/sandbox_options", "resolver/cli/command_table", "resolver/cli/root_help", "resolver/cli/words", "resolver/cli/table",
    "resolver/cli/list_options", "resolver/cli/filters", "resolver/cli/age", "resolver/cli/sandbox_fields", "resolver/cli/network_fields",
    "resolver/cli/templates/", "resolver/cli/compose/", "resolver/cli/duration", "resolver/cli/record_line", "resolver/cli/host_dns/setups", "resolver/cli/host_dns/detect",
    "resolver/cli/up/plan", "resolver/cli/up/reconcile", "resolver/cli/up/conditions", "resolver/cli/health_rules", "resolver/cli/health_options", "resolver/daemon/health_shapes", "resolver/daemon/isolation_shapes", "resolver/isolation/", "resolver/cli/completion_scripts", "resolver/cli/reference/model", "resolver/cli/reference/tree", "resolver/cli/reference/own",
    "resolver/cli/reference/man", "resolver/cli/reference/text", "resolver/cli/reference/markdown",
)  # fmt: skip


FLOORS = (
    (
        "model",
        "common_options",
        "health",
        "isolation",
        "default_route",
        "dns_settings",
        "errors",
        "limits",
        "internet_checksum",
        "classic_bpf",
        "tap",
        "threads",
    ),
    ("parse", "taps"),
    ("egress",),
    ("desired",),
    ("drivers",),
    ("plan",),
    ("store",),
    ("plugins",),
    ("kernel", "keeper", "edge"),
    ("cluster",),
    ("relay", "look", "way_out"),
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
    assert not [item for item in found if item.startswith("pyroute2")], "only the tests compare with it"
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
    users = {name(path) for path in MODULES if "libc.setns" in path.read_text() or "os.setns" in path.read_text()}
    # The client enters for itself, an ordinary user's into his nest first; the daemon has one door.
    assert users == {"netcore/kernel/netns", "resolver/cli/enter", "resolver/rootless/namespaces"}


def _opens_netlink(tree):
    """Return whether a module opens a netlink socket: by AF_NETLINK, or by its number as the family of a socket."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "AF_NETLINK":
            return True
        if isinstance(node, ast.ImportFrom) and any(alias.name == "AF_NETLINK" for alias in node.names):
            return True
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "family")]
            if called == "socket" and any(isinstance(value, ast.Constant) and value.value == 16 for value in given):
                return True
    return False


def test_only_one_place_opens_netlink_sockets():
    assert {name(path) for path in MODULES if _opens_netlink(ast.parse(path.read_text()))} == {
        "netcore/kernel/netlink", "netcore/edge/program",
    }  # fmt: skip


def _reaches_past_netlink(tree):
    """Return whether a module loads libnftables or runs `nft`."""
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return any(text == "nft" or text.startswith("libnftables.") for text in texts)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_task_that_is_cancelled_ends(path):
    """`asyncio.wait_for` of Python 3.11 swallows a cancellation that comes in the turn in which what it waits for is done."""
    assert not re.search(r"\basyncio\.wait_for\b", path.read_text()), "use asyncio.timeout"


def test_nftables_is_reached_by_netlink_alone():
    assert [name(path) for path in MODULES if _reaches_past_netlink(ast.parse(path.read_text()))] == []


def test_only_one_place_sends_transactions_to_nftables():
    assert {name(path) for path in MODULES if ".run_transaction(" in path.read_text()} == {"netcore/kernel/nft"}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_modules_and_functions_fit_in_the_head(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno <= 75, node.name


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_class_has_more_than_thirty_methods(path):
    """Inherited ones are counted, as far as they are ours."""
    if path.name == "__main__.py":
        return
    module = importlib.import_module(name(path).replace("/", ".").removesuffix(".__init__"))
    for kind in vars(module).values():
        if isinstance(kind, type) and kind.__module__ == module.__name__:
            members = {key: value for base in reversed(kind.__mro__) if _is_ours(base) for key, value in vars(base).items()}
            methods = [key for key, value in members.items() if callable(getattr(value, "__func__", value)) or isinstance(value, property)]
            written = [key for key in methods if not (key.startswith("__") and key != "__init__")]
            assert len(written) <= 30, kind.__name__


def _is_ours(kind):
    return kind.__module__.partition(".")[0] in ("netcore", "resolver")


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text())) or path.name == "__init__.py"


def subclasses(kind):
    for item in kind.__subclasses__():
        yield item
        yield from subclasses(item)


def test_every_error_has_a_kind_a_status_and_a_base_that_nobody_raises():
    from netcore.errors import NetcoreError
    from netcore.store import etcd, sqlite  # noqa: F401 (their errors must be known)
    from resolver.errors import ResolverError

    for base in (NetcoreError, ResolverError):
        for kind in subclasses(base):
            assert re.fullmatch("[a-z-]+", kind.kind), kind
            assert 400 <= kind.status < 600, kind
        with pytest.raises(TypeError, match="abstract"):
            base("text", subject=None)
        with pytest.raises(TypeError, match="must set kind and status"):
            type("Incomplete", (base,), {})


CHEAP = (
    "netcore", "resolver", "resolver.cli.run", "resolver.cli.exec", "resolver.cli.attach", "resolver.cli.sandbox_options", "resolver.cli.ps",
    "resolver.cli.network_ls", "resolver.cli.root_help",
    "resolver.engine.answer", "netcore.plan.network",
)  # fmt: skip


@pytest.mark.parametrize("module", CHEAP)
def test_cheap_modules_stay_cheap(module):
    heavy = ("aiohttp", "pyroute2", "click", "dns", "yaml", "prometheus_client", "uvloop", "msgspec")
    if module.startswith("resolver.cli."):
        # Each of these takes as long as everything that `berth run` imports of ours.
        heavy += ("argparse", "dataclasses", "inspect", "netcore")
    if module == "resolver.engine.answer":
        heavy = tuple(item for item in heavy if item != "msgspec")
    script = f"import sys, {module}; print(*[m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""


def test_nothing_stands_at_the_top_but_what_belongs_there():
    done = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        pytest.skip("not a git checkout")
    files = {"pyproject.toml", "Dockerfile", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
    folders = {"resolver", "netcore", "tests", "benchmarks", "docs", "examples"}
    top = {line.partition("/")[0] for line in done.stdout.splitlines()}
    assert {entry for entry in top if not entry.startswith(".")} <= files | folders
