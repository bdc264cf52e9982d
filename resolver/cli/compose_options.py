"""The options of `docker compose`, by command: which berth's command has, which ask for what is so anyway, which have an answer. Pure.

`berth compose` reads them by this table, and hands on what is left to the command of berth. What stands in no row is handed on too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """An option. *answer*: None: the command has it; "": it is dropped, as its effect is there already; else what is said of it."""

    flags: tuple[str, ...]
    takes_value: bool
    answer: str | None


class Read(NamedTuple):
    """What stands behind a command. *options*: those that are handed on; *values*: of those that are kept."""

    options: tuple[str, ...]
    operands: tuple[str, ...]
    values: dict[str, tuple[str, ...]]

    @property
    def words(self) -> tuple[str, ...]:
        """All that is handed on."""
        return *self.options, *self.operands


class BadOption(ValueError):
    """An option that is answered, or has no value. Its text is for the user."""


def _rows(text: str, answer: str | None = None) -> tuple[Row, ...]:
    """Return the rows of *text*: options with blanks between, spellings with commas, a = behind one that takes a value."""
    return tuple(Row(tuple(word.removesuffix("=").split(",")), word.endswith("="), answer) for word in text.split())


def _so_anyway(text: str) -> tuple[Row, ...]:
    return _rows(text, "")


_SELECTION = _rows("-f,--file= -p,--project-name= --profile= --env-file= --project-directory= --compatibility --all-resources")
_NO_DIGESTS = "images are not looked up: no registry is asked"
_NO_DRY_RUN = "there is no dry run of it; `berth compose --dry-run up` and `down` have one"
_DRY_RUN = _rows("--dry-run")
_READS_ONLY = _so_anyway("--dry-run")

BEFORE = (
    *_SELECTION,
    *_rows("--workdir= --ansi= --progress= --no-ansi --dry-run"),
    *_so_anyway("--parallel= --verbose"),
)
"""What may stand before the command."""

OPTIONS: dict[str, tuple[Row, ...]] = {
    "up": (
        *_SELECTION, *_DRY_RUN,
        *_rows("-d,--detach --wait --wait-timeout= --scale= --no-deps --remove-orphans --force-recreate --always-recreate-deps "
               "--no-recreate -t,--timeout= --abort-on-container-exit --abort-on-container-failure --exit-code-from= --no-log-prefix "
               "--timestamps --attach= --no-attach= --attach-dependencies --progress= --format="),
        *_so_anyway("--build --no-build --quiet-build --pull= --quiet-pull -V,--renew-anon-volumes -y,--yes --no-color"),
        *_rows("--no-start", "a sandbox is there only with its command, so nothing is created without being started; "
                             "`berth up --dry-run` prints what would be created"),
        *_rows("--menu", "there are no keys to press beside Ctrl-C; leave it out"),
        *_rows("-w,--watch", "files are the host's, so a service sees each change at once; `berth compose restart SERVICE` "
                             "has it read them again"),
    ),
    "down": (
        *_SELECTION, *_DRY_RUN,
        *_rows("-t,--timeout= -v,--volumes --format="), *_so_anyway("--remove-orphans --rmi="),
    ),
    "config": (
        *_SELECTION, *_READS_ONLY,
        *_rows("--format= --services --networks --volumes --images --profiles --environment --models --variables --hash= -q,--quiet "
               "-o,--output= --no-normalize --no-path-resolution --no-consistency --no-env-resolution"),
        *_rows("--no-interpolate", "variables are always substituted; `--variables` lists those that the files ask for"),
        *_rows("--resolve-image-digests --lock-image-digests", _NO_DIGESTS),
    ),
    "run": (
        *_rows("-d,--detach --rm --name= -e,--env= --env-from-file= -w,--workdir= --entrypoint= --no-deps -P,--service-ports -p,--publish= "
               "--use-aliases -l,--label= -q,--quiet --remove-orphans -i,--interactive -T,--no-TTY,--no-tty -t,--tty -u,--user= --cap-add= "
               "--cap-drop= -v,--volume="),
        *_so_anyway("--build --quiet-build --pull= --quiet-pull"),
        *_rows("--dry-run", _NO_DRY_RUN),
    ),
    "exec": (
        *_rows("-d,--detach -e,--env= --env-file= -T,--no-tty,--no-TTY -i,--interactive -t,--tty --index= -u,--user= -w,--workdir= "
               "--privileged"),
        *_rows("--dry-run", _NO_DRY_RUN),
    ),
    "ps": (*_rows("-a,--all -f,--filter= --format= --no-trunc -q,--quiet --services --status= --orphans"), *_READS_ONLY),
    "ls": (*_rows("-a,--all -f,--filter= --format= -q,--quiet --no-trunc"), *_READS_ONLY),
    "logs": (
        *_rows("-f,--follow --index= --no-log-prefix --since= --until= -n,--tail= -t,--timestamps --format="), *_READS_ONLY,
        *_so_anyway("--no-color"),
    ),
    "stop": (*_rows("-t,--timeout= -s,--signal= --format="), *_DRY_RUN),
    "start": (*_rows("-a,--attach --wait --wait-timeout= --format="), *_DRY_RUN),
    "restart": (*_rows("-t,--timeout= -s,--signal= --no-deps --format="), *_DRY_RUN),
    "kill": (
        *_rows("-s,--signal= --format="), *_DRY_RUN,
        *_rows("--remove-orphans", "`berth up --remove-orphans` removes what the file no longer has"),
    ),
    "rm": (*_rows("-f,--force -s,--stop --format="), *_DRY_RUN, *_so_anyway("-v,--volumes -a,--all")),
    "wait": (*_rows("--down-project --format="), *_READS_ONLY),
    "port": (*_rows("--index= --protocol= --format="), *_READS_ONLY),
    "top": (*_rows("--format="), *_READS_ONLY),
    "stats": (*_rows("--format= --no-stream --no-trunc -a,--all"), *_READS_ONLY),
    "events": (*_rows("--json --since= --until= -f,--filter= --format="), *_READS_ONLY),
    "scale": (*_rows("--no-deps --format="), *_DRY_RUN),
    "version": (*_rows("-f,--format= --short"), *_READS_ONLY),
}  # fmt: skip
"""Command → what may stand behind it."""

UNTIL_OPERAND = ("run", "exec")
"""Commands whose options end with the first operand: what follows is for the command that they start."""


def read(command: str | None, words: Sequence[str], keep: Sequence[str] = ()) -> Read:
    """Return what *words* behind *command*, or without one before it, mean; BadOption for what is answered.

    The options called *keep* are not handed on; their values, or "true", are in `Read.values`. As with Docker, an option without a
    value may be written with `=true` or `=false`.
    """
    rows = {flag: row for row in (BEFORE if command is None else OPTIONS.get(command, ())) for flag in row.flags}
    kept: list[str] = []
    operands: list[str] = []
    values: dict[str, tuple[str, ...]] = {}
    rest = iter(words)
    for word in rest:
        if word == "--" or not word.startswith("-") or word == "-":
            if word == "--" or command is None or command in UNTIL_OPERAND:
                operands += [*([] if word == "--" else [word]), *rest]
                break
            operands.append(word)
            continue
        for flag, row, value in _options(word, rest, rows):
            if row is None:
                kept.append(flag)
            elif (name := next((name for name in keep if name in row.flags), None)) is not None:
                values[name] = (*values.get(name, ()), value or "true")
            elif not row.takes_value and value in FALSE:
                continue
            elif row.answer:
                raise BadOption(f"there is no option {flag}: {row.answer}")
            elif row.answer is None:
                kept += [flag] if value is None or not row.takes_value else [f"{flag}={value}"] if flag.startswith("--") else [flag, value]
    return Read(tuple(kept), tuple(operands), values)


FALSE = ("false", "False", "FALSE", "f", "F", "0")


def _options(word: str, rest: Iterator[str], rows: dict[str, Row]) -> Iterator[tuple[str, Row | None, str | None]]:
    """Yield the options in *word* as (flag, row, value); one that is in no row as it stands, without a row."""
    if word.startswith("--"):
        flag, equals, value = word.partition("=")
        row = rows.get(flag)
        if row is None:
            yield word, None, None
        elif equals:
            yield flag, row, value
        else:
            yield flag, row, _value(flag, rest) if row.takes_value else None
        return
    letters, equals, text = word[1:].partition("=")
    if any(f"-{letter}" not in rows for letter in letters[:1]):
        yield word, None, None
        return
    for at, letter in enumerate(letters):
        flag = f"-{letter}"
        row = rows.get(flag)
        if row is None:
            # One that nobody knows: its command says so.
            yield flag, None, None
        elif row.takes_value:
            given = letters[at + 1 :] + equals + text if at + 1 < len(letters) else text if equals else None
            yield flag, row, _value(flag, rest) if given is None else given
            return
        else:
            yield flag, row, text if equals and at + 1 == len(letters) else None


def _value(flag: str, rest: Iterator[str]) -> str:
    value = next(rest, None)
    if value is None:
        raise BadOption(f"{flag} needs a value")
    return value
