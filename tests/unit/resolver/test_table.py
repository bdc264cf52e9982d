"""Tables on narrow and wide terminals: nothing is lost."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from resolver.cli import output, terminal
from resolver.cli.table import lay_out, tied

HEADINGS = ("NAME", "COMMAND", "STATUS", "AGE", "NETWORKS", "ADDRESSES", "PORTS")
PORTS = " ".join(f"0.0.0.0:{8000 + number}->{number}/tcp" for number in range(20))
ROWS = [
    ("web", "python3 -m http.server --bind 0.0.0.0 80", "running", "12m", "front back", "10.5.0.2 fd00:1234:5678:9abc::2", PORTS),
    ("a-sandbox-with-a-name-of-sixty-three-characters-which-is-the-most", "sleep 1", "created", "3d", "x" * 40, "10.5.0.3", ""),
]


@pytest.mark.parametrize("width", [20, 40, 80, 100, 200])
def test_a_table_fits_and_breaks_no_word(width):
    lines = lay_out(HEADINGS, ROWS, width, cut=("COMMAND",), keep=("STATUS", "NAME", "ADDRESSES", "PORTS"))
    words = [word for row in ROWS for at, cell in enumerate(row) if HEADINGS[at] != "COMMAND" for word in cell.split()]
    shown = " ".join(lines).split()
    assert not [word for word in words if words.count(word) > shown.count(word)]
    assert not [line for line in lines if len(line) > width and len(line.split()) > 1]
    assert max(map(len, lines)) <= max(width, *map(len, words))


LONG = [
    ("shop-api-1", "python3 -m http.server 80", tied("running (healthy)"), "12m", "shop_front shop_back", "10.5.0.2 10.6.0.2",
     "0.0.0.0:8080->80/tcp 0.0.0.0:8443->443/tcp"),
    ("shop-migrate-1", "sh -c true", tied("Exited (0) Less than a second ago"), "3s", "shop_back", "", ""),
    ("n-x-1", "sleep 100", tied("running"), "3s", "container:n-w-1", "", ""),
]  # fmt: skip


def test_the_status_gives_way_before_any_name():
    lines = lay_out(HEADINGS, LONG, 80, cut=("COMMAND",), keep=("STATUS", "NAME", "ADDRESSES", "PORTS"))
    assert lines == [
        "NAME            COMMAND  STATUS     AGE  NETWORKS         ADDRESSES  PORTS",
        "shop-api-1      python…  running    12m  shop_front       10.5.0.2",
        "                         (healthy)       shop_back        10.6.0.2",
        "                                                            0.0.0.0:8080->80/tcp",
        "                                                           0.0.0.0:8443->443/tcp",
        "shop-migrate-1  sh -c …  Exited     3s   shop_back",
        "                         (0) Less",
        "                         than a",
        "                         second",
        "                         ago",
        "n-x-1           sleep …  running    3s   container:n-w-1",
    ]


def test_what_is_tied_stays_in_a_line_while_there_is_room():
    lines = lay_out(HEADINGS, LONG[1:2], 100, cut=("COMMAND",), keep=("STATUS", "NAME", "ADDRESSES", "PORTS"))
    assert "Exited (0) Less than a second ago" in lines[1]
    assert len(lines) == 2


def test_what_fits_is_not_touched():
    assert lay_out(("A", "B"), [("one", "two three")], 80) == ["A    B", "one  two three"]


def test_a_whole_table_has_a_line_for_each_row():
    lines = lay_out(HEADINGS, ROWS, None, cut=("COMMAND",))
    assert len(lines) == 3
    assert PORTS in lines[1]


def test_a_cell_that_may_be_cut_ends_with_dots():
    assert lay_out(("A", "CMD"), [("xxxxxxxxxx", "python3 -m http.server")], 24, cut=("CMD",)) == [
        "A           CMD",
        "xxxxxxxxxx  python3 -m …",
    ]


def test_the_pair_of_both_families_is_one_port():
    def port(address, host_port):
        return {"protocol": "udp", "host_address": address, "host_port": host_port, "sandbox_port": 53}

    both = [port("0.0.0.0", 53), port("::", 53)]
    assert output.port_texts(both) == ["0.0.0.0:53->53/udp"]
    assert output.port_texts([port("::", 53)]) == ["[::]:53->53/udp"]
    assert output.port_texts([*both, port("::", 54)]) == ["0.0.0.0:53->53/udp", "[::]:54->53/udp"]
    assert output.port_texts([port("127.0.0.1", 53), port("::", 53), port("0.0.0.0", 0)]) == [
        "127.0.0.1:53->53/udp", "[::]:53->53/udp", "53/udp",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "is_terminal", "coloured"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
        ({}, True, False),
    ],
)
def test_colours_are_for_terminals_of_who_wants_them(monkeypatch, variables, is_terminal, coloured):
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    assert terminal.styled("NAME", "bold") == ("\x1b[1mNAME\x1b[0m" if coloured else "NAME")


def test_columns_says_how_wide_a_terminal_is(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "132")
    assert terminal.width() == 132
    monkeypatch.setenv("COLUMNS", "many")
    assert terminal.width() == 80
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    monkeypatch.setenv("COLUMNS", "132")
    assert terminal.width() is None


PRINT = f"from resolver.cli.output import print_table; print_table({HEADINGS!r}, {LONG!r}, cut=('COMMAND',), keep=('STATUS', 'NAME', 'ADDRESSES', 'PORTS'))"


def test_a_pipe_has_a_line_for_each_row_with_all_of_it():
    done = subprocess.run([sys.executable, "-c", PRINT], capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "80"})
    _, *lines = done.stdout.splitlines()
    assert len(lines) == len(LONG)
    for line, row in zip(lines, LONG, strict=True):
        assert [cell.replace("\u00a0", " ") for cell in row if cell] == re.split(" {2,}", line)


def test_a_terminal_of_80_columns_is_not_left():
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"TERM": "dumb"}
    subprocess.run([sys.executable, "-c", PRINT], stdout=slave, check=True, env=environment)
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):
        while part := os.read(master, 65_536):
            shown += part
    os.close(master)
    lines = shown.decode().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines == lay_out(HEADINGS, LONG, 80, cut=("COMMAND",), keep=("STATUS", "NAME", "ADDRESSES", "PORTS"))
