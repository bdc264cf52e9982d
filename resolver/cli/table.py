"""Tables for terminals: columns as wide as their contents, or as narrow as the terminal wants. No word is lost or broken. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

GAP = 2
_TIED = "\u00a0"
"""Stands for a space between words of a cell that belong together: it is printed as one (U+00A0, no-break space)."""


def lay_out(
    headings: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, cut: Collection[str] = (), keep: Sequence[str] = ()
) -> list[str]:
    """Return the table as lines of at most *width* characters; None: as wide as it is, a line for each row.

    A cell that is too wide goes on in the next line, from a space on if it has one. Those below the headings *cut* end with `…`
    instead. A word is never broken: one that is wider than its column takes the place of what follows, which comes below it; so
    only a word that is wider than the terminal makes a longer line. Columns *keep* become too narrow after all others, the last one's last.
    """
    if width is None:
        return aligned([headings, *rows])
    columns = [[heading, *(row[at] for row in rows)] for at, heading in enumerate(headings)]
    may_cut = [heading in cut for heading in headings]
    ranks = [keep.index(heading) + 1 if heading in keep else 0 for heading in headings]
    widths = _widths(columns, may_cut, ranks, width - GAP * (len(columns) - 1))
    lines: list[str] = []
    for row in (headings, *rows):
        sized = zip(row, widths, may_cut, strict=True)
        lines += _lines([[_cut(cell, size)] if cuts else _wrapped(cell, size) for cell, size, cuts in sized], widths, width)
    return [line.replace(_TIED, " ") for line in lines]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return *rows* as lines in which each column starts at one place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ((" " * GAP).join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return [line.replace(_TIED, " ") for line in lines]


def tied(text: str) -> str:
    """Return *text* as a cell, or a part of one, that goes on in no other line as long as there is room."""
    return text.replace(" ", _TIED)


def _widths(columns: Sequence[Sequence[str]], may_cut: Sequence[bool], ranks: Sequence[int], available: int) -> list[int]:
    """Return how wide each column is: what it needs if all fit; else what its longest word needs, if they fit, and a share of the rest."""
    wanted = [max(map(len, column)) for column in columns]
    if sum(wanted) <= available:
        return wanted
    headings = [_longest(column[0], " ") for column in columns]
    # First what is cut, then what is tied, then words that stand in the way of others: those of the fewest rows.
    widths = [heading if cuts else _longest_of(column, " ") for heading, column, cuts in zip(headings, columns, may_cut, strict=True)]
    least = [heading if cuts else _longest_of(column, None) for heading, column, cuts in zip(headings, columns, may_cut, strict=True)]
    for at in sorted(range(len(columns)), key=lambda at: ranks[at]):
        widths[at] -= min(widths[at] - least[at], max(sum(widths) - available, 0))
    while sum(widths) > available:
        steps = [_next_step(column, size, heading) for column, size, heading in zip(columns, widths, headings, strict=True)]
        possible = [(cost, ranks[at], at) for at, (cost, size) in enumerate(steps) if size < widths[at]]
        if not possible:
            break
        _, _, at = min(possible)
        widths[at] = max(steps[at][1], widths[at] - (sum(widths) - available))
    while sum(widths) < available:
        missing = [want / size if size < want else 0.0 for want, size in zip(wanted, widths, strict=True)]
        if max(missing) == 0.0:
            break
        widths[missing.index(max(missing))] += 1
    return widths


def _longest(cell: str, separator: str | None) -> int:
    """Return the length of the longest word of *cell*. *separator*: None splits what is tied, too."""
    return max(map(len, cell.split(separator)), default=0)


def _longest_of(column: Sequence[str], separator: str | None) -> int:
    return max(_longest(cell, separator) for cell in column)


def _next_step(column: Sequence[str], size: int, heading: int) -> tuple[float, int]:
    """Return the next narrower width at which fewer words fit, and how many cells become too wide for each character that it gains."""
    lengths = [_longest(cell, None) for cell in column[1:]]
    narrower = max([heading, *(length for length in lengths if length < size)])
    return sum(length > narrower for length in lengths) / max(size - narrower, 1), narrower


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: width - 1] + "…"


def _wrapped(cell: str, width: int) -> list[str]:
    """Return *cell* in lines of *width*; a word that is longer is a line of its own."""
    if _longest(cell, " ") > width:
        cell = cell.replace(_TIED, " ")
    lines: list[str] = []
    for word in cell.split(" "):
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [line for line in lines if line]


def _lines(cells: Sequence[Sequence[str]], widths: Sequence[int], width: int) -> list[str]:
    """Return the lines of a row; *cells*: of each column its lines, which may be wider than the column."""
    left = [list(cell) for cell in cells]
    starts = [sum(widths[:at]) + GAP * at for at in range(len(widths))]
    lines = []
    while any(left):
        line = ""
        for start, parts in zip(starts, left, strict=True):
            if not parts:
                continue
            # What is too wide begins further left, if that makes it fit.
            begin = max(min(start, width - len(parts[0])), len(line) + GAP if line else 0)
            if line and (begin > start or begin + len(parts[0]) > width):
                continue
            line = line.ljust(begin) + parts.pop(0)
        lines.append(line)
    return lines or [""]
