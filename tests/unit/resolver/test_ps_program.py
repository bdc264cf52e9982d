"""`berth top NAME [PS_OPTION]...`: what the host's ps prints of some processes. Without a sandbox."""

import os
import subprocess
import sys

import pytest

from resolver.cli import proc, ps_program
from resolver.cli.client import Refused
from resolver.cli.commands import processes
from tests.unit.resolver.test_command_line import WEB, berth, daemon  # noqa: F401 (fixtures)


@pytest.fixture
def child():
    """A process of our own, as one that runs in a sandbox."""
    made = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield made.pid
    made.communicate(b"\n")


@pytest.mark.parametrize(
    ("options", "heading"),
    [
        ("-ef", "UID PID PPID C STIME TTY TIME CMD"), ("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
        ("-o pid,cmd", "PID CMD"), ("-eo user,pid,args --sort=pid", "USER PID COMMAND"), ("-ef f", "UID PID PPID C STIME TTY STAT TIME CMD"),
    ],
)  # fmt: skip
def test_options_are_those_of_ps_and_processes_those_that_were_asked_for(child, options, heading):
    first, *lines = ps_program.listed(options.split(), [os.getpid(), child])
    assert first.split() == heading.split()
    at = heading.split().index("PID")
    assert sorted(int(line.split()[at]) for line in lines) == sorted([os.getpid(), child])


def test_nobody_is_listed_where_nothing_runs():
    assert len(ps_program.listed(["-ef"], [])) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("-o args", "ps -o args: its output has no column PID, by which processes are chosen; add -o pid,…"),
        ("-Q", "ps -Q: unsupported SysV option"),
    ],
)
def test_what_is_wrong_with_them_is_told_in_a_line(options, said):
    with pytest.raises(Refused) as refused:
        ps_program.listed(options.split(), [os.getpid()])
    assert str(refused.value) == said


def test_a_host_without_ps(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Refused, match="there is no program ps here; leave its options out"):
        ps_program.listed(["-ef"], [1])


@pytest.mark.parametrize(
    ("typed", "names", "options"),
    [
        ("web", ["web"], []), ("web -ef", ["web"], ["-ef"]), ("web aux", ["web"], ["aux"]), ("web shop", ["web", "shop"], []),
        ("web -o pid,cmd", ["web"], ["-o", "pid,cmd"]), ("web shop -eo pid", ["web", "shop"], ["-eo", "pid"]), ("web --sort=pid", ["web"], ["--sort=pid"]),
        ("web -a u -x", ["web"], ["-a", "u", "-x"]),
    ],
)  # fmt: skip
def test_options_of_ps_follow_the_names(daemon, berth, monkeypatch, typed, names, options):  # noqa: F811
    listed = []
    monkeypatch.setattr(processes, "check_runs", lambda sandbox: None)
    monkeypatch.setattr(proc, "members", lambda sandboxes: [[1] for _ in sandboxes])
    monkeypatch.setattr(ps_program, "listed", lambda given, pids: listed.append([*given]) or ["  PID CMD", "    1 init"])
    code, shown, said = berth("top", *typed.split())
    assert (code, said) == (0, "")
    assert listed == [options] * len(names) * bool(options)
    if options:
        assert shown.count("    1 init\n") == len(names)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--sort=pid web", "there is no option --sort"),
        ("nobody aux", "not found"),
        ("web wbe", "ps wbe: unsupported option (BSD syntax); and no sandbox is called wbe"),
    ],
)
def test_what_is_neither_is_told_in_a_line(daemon, berth, monkeypatch, typed, said):  # noqa: F811
    monkeypatch.setattr(processes, "check_runs", lambda sandbox: None)
    monkeypatch.setattr(proc, "members", lambda sandboxes: [[1] for _ in sandboxes])
    code, shown, error = berth("top", *typed.split())
    assert (code in (1, 2), shown, error.count("\n"), said in error) == (True, "", 1, True), error
