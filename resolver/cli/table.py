"""Tables for terminals: columns as wide as their contents, or as narrow as the terminal wants, without losing a word. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

GAP = 2
_TIED = "\u00a0"
"""Stands for a space between words of a cell that belong together: it is printed as one (U+00A0, no-break space)."""
_LEAST_BROKEN = 8
"""Words are broken into parts of at least this, as long as that is enough."""


def lay_out(
    headings: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, cut: Collection[str] = (), keep: Sequence[str] = ()
) -> list[str]:
    """Return the table as lines of at most *width* characters; None: as wide as it is.

    A cell that is too wide goes on in the next line, from a space on if it has one. Those below the headings *cut* end with `…`
    instead. Words below the headings *keep* are broken after all others, the last one's last.
    """
    if width is None:
        return aligned([headings, *rows])
    columns = [[heading, *(row[at] for row in rows)] for at, heading in enumerate(headings)]
    may_cut = [heading in cut for heading in headings]
    ranks = [keep.index(heading) + 1 if heading in keep else 0 for heading in headings]
    widths = _widths(columns, may_cut, ranks, width - GAP * (len(columns) - 1))
    lines = []
    for row in (headings, *rows):
        sized = list(zip(headings, row, widths, strict=True))
        cells = [[_cut(cell, size)] if heading in cut else _wrapped(cell, size) for heading, cell, size in sized]
        for at in range(max(map(len, cells))):
            parts = [(cell[at] if at < len(cell) else "").ljust(size) for cell, size in zip(cells, widths, strict=True)]
            lines.append((" " * GAP).join(parts).rstrip().replace(_TIED, " "))
    return lines


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return *rows* as lines in which each column starts at one place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ((" " * GAP).join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return [line.replace(_TIED, " ") for line in lines]


def tied(text: str) -> str:
    """Return *text* as a cell, or a part of one, that goes on in no other line as long as there is room."""
    return text.replace(" ", _TIED)


def _widths(columns: Sequence[Sequence[str]], may_cut: Sequence[bool], ranks: Sequence[int], available: int) -> list[int]:
    """Return how wide each column is: what it needs if all fit, else what its longest word needs and a share of the rest."""
    wanted = [max(map(len, column)) for column in columns]
    if sum(wanted) <= available:
        return wanted
    words = [max((len(word) for cell in column for word in cell.split(" ")), default=0) for column in columns]
    headings = [len(column[0]) for column in columns]
    widths = [heading if cuts else word for heading, word, cuts in zip(headings, words, may_cut, strict=True)]
    while sum(widths) > available and max(widths) > 1:
        least = min((rank for rank, size in zip(ranks, widths, strict=True) if size > _LEAST_BROKEN), default=None)
        giving = widths if least is None else [size * (rank == least) for rank, size in zip(ranks, widths, strict=True)]
        widths[giving.index(max(giving))] -= 1
    while sum(widths) < available:
        missing = [want / size if size < want else 0.0 for want, size in zip(wanted, widths, strict=True)]
        widths[missing.index(max(missing))] += 1
    return widths


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: width - 1] + "…"


def _wrapped(cell: str, width: int) -> list[str]:
    lines = [""]
    if any(len(word) > width for word in cell.split(" ")):
        cell = cell.replace(_TIED, " ")
    for word in cell.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if len(joined) <= width:
            lines[-1] = joined
            continue
        parts = [word[at : at + width] for at in range(0, len(word), width)]
        lines[-1:] = [lines[-1], *parts] if lines[-1] else parts
    return lines
