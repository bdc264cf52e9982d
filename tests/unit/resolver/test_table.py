"""Tables on narrow and wide terminals: nothing is lost."""

import sys

import pytest

from resolver.cli import output, terminal
from resolver.cli.table import lay_out

HEADINGS = ("NAME", "COMMAND", "STATUS", "AGE", "NETWORKS", "ADDRESSES", "PORTS")
PORTS = " ".join(f"0.0.0.0:{8000 + number}->{number}/tcp" for number in range(20))
ROWS = [
    ("web", "python3 -m http.server --bind 0.0.0.0 80", "running", "12m", "front back", "10.5.0.2 fd00:1234:5678:9abc::2", PORTS),
    ("a-sandbox-with-a-name-of-sixty-three-characters-which-is-the-most", "sleep 1", "created", "3d", "x" * 40, "10.5.0.3", ""),
]


@pytest.mark.parametrize("width", [20, 40, 80, 100, 200])
def test_a_table_fits_and_loses_no_word(width):
    lines = lay_out(HEADINGS, ROWS, width, cut=("COMMAND",), keep=("PORTS",))
    assert max(map(len, lines)) <= max(width, 2 * len(HEADINGS))
    text = "".join("".join(lines).split())
    if width >= 80:
        for port in PORTS.split():
            assert any(f" {port} " in f" {line} " for line in lines), port
    for row in ROWS:
        assert sum(row.count(char) for char in "0123456789") <= sum(text.count(char) for char in "0123456789")


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


def test_columns_says_how_wide_it_is(monkeypatch):
    monkeypatch.setenv("COLUMNS", "132")
    assert terminal.width() == 132
    monkeypatch.setenv("COLUMNS", "many")
    assert terminal.width() == 80
