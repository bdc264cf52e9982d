"""Man pages and `docs/cli.md`: current, whole, and accepted by the programs that read them."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from resolver.cli import command_table, root_help
from resolver.cli.commands import cli, network_options
from resolver.cli.reference import __main__ as reference
from resolver.cli.reference import text
from resolver.cli.reference.configuration import keys
from resolver.cli.reference.man import pages
from resolver.cli.reference.own import own_command
from resolver.cli.reference.tree import tree
from resolver.cli.sandbox_options import COMMANDS, OPTIONS, flags_of, of_command

ROOT = Path(__file__).parents[3]
MADE = reference.files()
PAGES = sorted(name for name in MADE if name.startswith("man/"))


@pytest.mark.parametrize("name", sorted(MADE))
def test_files_in_the_repository_are_current(name):
    path = ROOT / "docs" / name
    assert path.exists(), f"run python -m resolver.cli.reference docs: {name} is missing"
    assert path.read_text() == MADE[name], f"run python -m resolver.cli.reference docs: {name} is not current"


def test_an_option_is_not_taken_for_a_directory(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "resolver.cli.reference", "--help"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr[:6], list(tmp_path.iterdir())) == (1, "usage:", [])


def test_no_page_is_left_of_what_is_gone():
    assert sorted(f"man/{path.name}" for path in (ROOT / "docs" / "man").iterdir()) == PAGES


@pytest.mark.parametrize("arguments", [(), ("--help",), ("missing",)])
def test_the_reference_is_only_written_below_a_directory_that_exists(arguments, tmp_path):
    command = [sys.executable, "-m", "resolver.cli.reference", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "usage: python -m resolver.cli.reference DIRECTORY\n"
    assert not list(tmp_path.iterdir())


def test_a_wheel_ships_every_page():
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    found = {f"man/{path.name}": target for target, patterns in shipped.items() for pattern in patterns for path in ROOT.glob(pattern)}
    assert found == {name: f"share/man/man{name[-1]}" for name in PAGES}


def test_there_is_a_page_for_every_command():
    assert set(PAGES) == {"man/berth.1", "man/berth.toml.5", *(f"man/berth-{name}.1" for name in cli.list_commands(None))}


def plain(page):
    return page.replace(r"\-", "-").replace(r"\(aq", "'").replace(r"\fR", "").replace(r"\fB", "").replace(r"\fI", "").replace("\n", " ")


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_option_of_a_sandbox_is_in_page_and_document(command):
    page = plain(MADE[f"man/berth-{command}.1"])
    section = MADE["cli.md"].split(f"\n## berth {command}\n")[1].split("\n## ")[0]
    for option in of_command(command):
        assert f"{', '.join(flags_of(option, command))}{f' {option.metavar}' if option.metavar else ''}" in page
        row = next(line for line in section.splitlines() if line.startswith(f"| `{flags_of(option, command)[0]}`"))
        assert option.meaning in row
        assert (option.docker or "") in row
        assert (option.compose or "").rpartition(".")[2] in row


def test_every_click_option_is_in_its_page():
    for command in tree().commands:
        page = plain(MADE[f"man/berth-{command.name}.1"])
        for inner in command.commands or (command,):
            for option in inner.options:
                assert ", ".join(option.flags) in page


def test_keys_of_network_are_in_run_and_attach():
    for name in ("run", "attach"):
        for option in OPTIONS:
            if option.key:
                assert f"{option.key}=" in plain(MADE[f"man/berth-{name}.1"])


def test_network_create_lists_every_driver_and_option():
    from click.testing import CliRunner

    from netcore import drivers

    shown = " ".join(CliRunner().invoke(cli, ["network", "create", "--help"]).output.split())
    for name in (*network_options.driver_names(), *drivers.short_names()):
        assert f" {name} " in shown, name
    for name in ("overlay", "plugin:NAME"):
        assert name in shown
    titles = [section.title for section in network_options.sections()]
    assert titles[:2] == ["Drivers", "Options of every driver"]


def every_command(root):
    for command in root.commands:
        yield command
        yield from every_command(command)


@pytest.mark.parametrize("command", list(every_command(tree())), ids=lambda command: command.path)
def test_every_help_is_whole_at_80_columns(command):
    shown = text.page(command)
    assert max(map(len, shown.splitlines())) <= 80
    flat = "".join(shown.split())
    for option in command.options:
        assert "".join(text.meaning_of(option).split()) in flat
        assert all(flag in shown for flag in option.flags)
    for inner in command.commands:
        assert "".join(inner.summary.split()) in flat
    if command.commands:
        return
    assert "Example" in shown
    for example in command.examples:
        assert example.startswith("berth ")
        assert "".join(example.split()) in flat


def test_the_list_of_commands_is_whole_and_says_what_the_commands_say():
    shown = root_help.root_help()
    assert max(map(len, shown.splitlines())) <= 80
    by_name = {command.name: command.summary for command in tree().commands}
    rows = {name: summary for name, summary, _ in command_table.ROWS}
    assert rows == by_name
    for name, summary in rows.items():
        assert f"\n  {name} " in shown
        assert "".join(summary.split()) in "".join(shown.split())
    for group, listed in (
        ("network", command_table.NETWORK_ROWS),
        ("cache", command_table.CACHE_ROWS),
        ("node", command_table.NODE_ROWS),
        ("compose", command_table.COMPOSE_ROWS),
        ("service", command_table.SERVICE_ROWS),
    ):
        found = next(command for command in tree().commands if command.name == group)
        assert {inner.name: inner.summary for inner in found.commands} == {name: summary for name, summary, _ in listed}
    network = next(command for command in tree().commands if command.name == "network")
    record = next(command for command in network.commands if command.name == "record")
    assert {inner.name: inner.summary for inner in record.commands} == {name: summary for name, summary, _ in command_table.RECORD_ROWS}


def test_every_key_of_the_configuration_has_its_default():
    by_name = {key.name: key for key in keys()}
    assert (by_name["suffix"].default, by_name["cache_size"].default, by_name["gateway_resolver"].default) == (
        '"berth.internal"',
        "16777216",
        "true",
    )
    assert (by_name["dns"].default, by_name["store"].default) == (None, None)
    for key in keys():
        assert key.meaning.endswith(".")
        assert rf"\fB{key.name}\fR" in MADE["man/berth.toml.5"]


def test_roff_escapes():
    run = own_command("run")
    page = pages(tree(), ())["berth-run.1"]
    assert run.summary in page
    for line in page.splitlines():
        assert not line.startswith("'")
        if line.startswith("."):
            assert line.split()[0] in {'.\\"', ".TH", ".SH", ".SS", ".TP", ".PP", ".br", ".nf", ".fi"}


@pytest.mark.parametrize("name", PAGES)
def test_mandoc_and_groff_accept_every_page(name):
    programs = [(("mandoc", "-Tlint", "-W", "warning"), "mandoc"), (("groff", "-man", "-Tutf8", "-ww", "-z"), "groff")]
    installed = [command for command, program in programs if shutil.which(program)]
    if not installed:
        pytest.skip("neither mandoc nor groff is installed")
    for command in installed:
        done = subprocess.run([*command, ROOT / "docs" / name], capture_output=True, text=True, check=False)
        complaints = [line for line in (done.stdout + done.stderr).splitlines() if "missing date" not in line]
        assert not complaints


def test_writing_removes_pages_of_commands_that_are_gone(tmp_path):
    (tmp_path / "man").mkdir()
    (tmp_path / "man" / "berth-gone.1").write_text("x")
    reference.main(str(tmp_path))
    assert not (tmp_path / "man" / "berth-gone.1").exists()
    assert (tmp_path / "cli.md").read_text() == MADE["cli.md"]
