"""The book: complete, reachable, without dead links; every rule that the code cites is in it."""

import ast
import re

import pytest

from tests.support import book
from tests.support.book import ROOT, name

README = ROOT / "README.md"
DOCS = ROOT / "docs"
CODE = [path for part in ("netcore", "resolver", "tests", "benchmarks") for path in sorted((ROOT / part).rglob("*.py"))]

# A prefix of its own for each group of rules; other things are written the same way (UTF-8, CVE-2024).
_GROUPS = "DNS|RC|HO|GW|IP|BR|IN|HN|MV|IV|OV|RM|CL|PX|W|SN"
_CITED = re.compile(rf"\b({_GROUPS})-(\d+)(?:\.\.(?:(?:{_GROUPS})-)?(\d+))?\b")


def cited(text):
    """Yield the IDs that *text* cites; those of a range all."""
    for group, first, last in _CITED.findall(text):
        for number in range(int(first), int(last or first) + 1):
            yield f"{group}-{number}"


def test_ranges_are_cited_whole():
    assert list(cited("rules IP-25..IP-27, GW-1..3; W-9 and UTF-8")) == ["IP-25", "IP-26", "IP-27", "GW-1", "GW-2", "GW-3", "W-9"]


def test_every_rule_that_the_code_cites_is_in_the_book():
    known = re.findall(r"^- \*\*([A-Z]+-\d+)\*\* \S", (DOCS / "rules.md").read_text(), re.MULTILINE)
    assert len(known) == len(set(known))
    missing = {rule: name(path) for path in CODE if path.name != "test_book.py" for rule in cited(path.read_text()) if rule not in known}
    assert not missing


def test_rules_are_cited_by_their_page_or_as_rules():
    """Nothing cites a document that a reader of the repository doesn't have; "docker-behaviour" is the old word for the page."""
    documents = re.compile(r"\b([\w-]+\.md)\b")
    for path in CODE:
        for document in documents.findall(path.read_text()):
            # Docker's own documents are cited by their URL.
            there = list(ROOT.glob(f"**/{document}")) or document in ("remote.md", "ipam.md", "README.md")
            assert there, f"{name(path)} cites {document}"


def logged():
    """Yield every warning and error that the code logs: its text before the first value."""
    for path in (path for part in ("netcore", "resolver") for path in (ROOT / part).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("log.warning", "log.error"):
                for constant in (part for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)):
                    yield re.split(r" [a-z_]+=", constant.value)[0]


def test_every_warning_and_error_in_the_log_is_explained():
    page = (DOCS / "troubleshooting.md").read_text()
    assert "changes are not noticed at once" in logged()
    assert not {text for text in logged() if text not in page}


def test_every_explained_message_in_the_log_exists():
    section = (DOCS / "troubleshooting.md").read_text().split("## Warnings in the log")[1].split("\n## ")[0]
    texts = set(logged())
    rows = re.findall(r"^\| ([a-z/].*?) \|", section, re.MULTILINE)
    messages = {message for row in rows for message in ([row] if row in texts else row.split("; "))}
    assert messages
    assert not messages - texts


@pytest.mark.parametrize("page", book.PAGES, ids=name)
def test_modules_that_the_book_names_exist(page):
    for path in re.findall(r"`((?:benchmarks|examples|netcore|resolver|tests)/[\w/-]+\.\w+)`", page.read_text()):
        assert (ROOT / path).exists(), path


def test_readme_is_short():
    assert len(README.read_text().split()) <= 1200


def test_readme_has_the_command_that_ci_runs():
    assert re.search(r"^<!-- tests -->\n```sh\n.*pytest -q\n```$", README.read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", book.PAGES, ids=name)
def test_links_lead_somewhere(page):
    for link in book.links(page):
        file, anchor = book.target(page, link), link.partition("#")[2]
        assert file.exists(), link
        if anchor:
            assert anchor in book.anchors(file), link


def test_every_page_is_reached_from_the_table_of_contents():
    seen, waiting = set(), [book.CONTENTS]
    while waiting:
        page = waiting.pop()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            waiting += [book.target(page, link) for link in book.links(page)]
    assert {name(page) for page in DOCS.rglob("*.md")} <= {name(page) for page in seen}
    direct = {book.target(book.CONTENTS, link) for link in book.links(book.CONTENTS)}
    assert {name(page) for page in DOCS.rglob("*.md")} - {name(page) for page in direct} == {"docs/README.md"}


@pytest.mark.parametrize("page", book.PAGES, ids=name)
def test_examples_need_nothing_of_the_tests(page):
    text = page.read_text()
    assert "$PYTHON" not in text
    assert "tests/support" not in text
    assert text.count("```") % 2 == 0
    assert text.startswith("# ")


DRIVER_PAGE = (
    "What a sandbox gets", "Options", "How it works", "Names, gateway and ports", "Limits and refusals", "Differences from Docker", "Tested by",
)  # fmt: skip


@pytest.mark.parametrize("page", sorted((DOCS / "drivers").glob("*.md")), ids=name)
def test_driver_pages_have_one_form(page):
    headings = [heading for heading in re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE) if heading not in ("Create one", "Use one")]
    assert tuple(headings) == DRIVER_PAGE
    for test in re.findall(r"`((?:tests/[\w/]+/)?test_\w+\.py)`", page.read_text()):
        assert list((ROOT / "tests").rglob(test.rpartition("/")[2])), test


def test_configuration_page_has_every_setting_with_its_default():
    from resolver.daemon.config import HELP, DaemonConfig

    text = (DOCS / "configuration.md").read_text()
    assert set(HELP) == set(DaemonConfig.__dataclass_fields__)
    for setting in HELP:
        row = re.search(rf"^\| `{setting}` \| (.*?) \|", text, re.MULTILINE)
        assert row, setting
        default = DaemonConfig.__dataclass_fields__[setting].default
        if isinstance(default, bool):
            assert row[1] == str(default).lower(), setting
        elif isinstance(default, int) or (isinstance(default, str) and default):
            assert row[1] == str(default), setting


def test_metrics_page_has_every_metric():
    from resolver.daemon.metrics import NAMES

    rows = re.findall(r"^\| `(berth_\w+)`", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(NAMES)


def test_network_pages_have_every_option():
    from netcore import drivers
    from netcore.parse import endpoint_options

    text = "\n".join(page.read_text() for page in [DOCS / "networks.md", *(DOCS / "drivers").glob("*.md")])
    for short, label in (*drivers.short_names().items(), *((option.name, option.label) for option in endpoint_options.OPTIONS)):
        assert f"| `{short}` | `{label}` |" in text, short


def test_api_page_has_every_path():
    from resolver.daemon.admin import ROUTES

    text = (DOCS / "api.md").read_text()
    for route in ROUTES:
        assert f"`{route.path}`" in text or f"`{route.path}?" in text, route.path


def test_commands_page_has_every_command():
    import click

    from resolver.cli.commands import cli

    text = (DOCS / "cli.md").read_text()
    for command in cli.list_commands(None):
        value = cli.get_command(None, command)
        names = [f"{command} {inner}" for inner in value.list_commands(None)] if isinstance(value, click.Group) else [command]
        for each in names:
            assert f"berth {each}" in text, each
