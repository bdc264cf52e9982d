"""What a sandbox is made with, as words of `berth run` and `berth exec`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict


class SandboxOptions(TypedDict, total=False):
    """Options of a sandbox, each as the option of `berth run` that has its name (docs/cli.md).

    *egress*: rules, [] for none at all, None for no limits. *networks*: NAME[,key=value...]. *environment*: variables of its commands.
    *workdir*: where they run. *confine*: the directory that stays writable under bubblewrap, True: the current one. *memory*: such as
    "512m", or octets. *options*: further options of `berth run`, as words: ["--dns", "10.0.0.53"].
    """

    name: str | None
    egress: Sequence[str] | None
    networks: Sequence[str]
    publish: Sequence[str]
    environment: Mapping[str, str]
    workdir: str | None
    user: str | None
    confine: str | bool | None
    read_only: bool
    tmpfs: Sequence[str]
    volumes: Sequence[str]
    memory: str | int | None
    cpus: float | None
    pids: int | None
    labels: Mapping[str, str]
    options: Sequence[str]


_NAMED = {"workdir": "--workdir", "user": "--user", "confine": "--confine", "memory": "--memory", "cpus": "--cpus", "pids": "--pids-limit"}
_REPEATED = {"networks": "--network", "publish": "--publish", "tmpfs": "--tmpfs", "volumes": "--volume"}
_KNOWN = frozenset(SandboxOptions.__annotations__)


def run_words(name: str, given: SandboxOptions) -> list[str]:
    """Return the options of `berth run` for a sandbox called *name*; TypeError for one that is not known."""
    unknown = given.keys() - _KNOWN
    if unknown:
        raise TypeError(f"a sandbox has no option {', '.join(sorted(unknown))}; it has {', '.join(sorted(_KNOWN))}")
    return [*_words({**given, "name": name}), *given.get("options", ())]


def _words(given: Mapping[str, object]) -> Iterator[str]:
    yield f"--name={given['name']}"
    egress = given.get("egress")
    if egress is not None:
        rules = _texts("egress", egress)
        yield from (f"--egress={rule}" for rule in (rules or ["none"]))
    for field, option in _NAMED.items():
        value = given.get(field)
        if value is True:
            yield option
        elif value is not None and value is not False:
            yield f"{option}={value}"
    for field, option in _REPEATED.items():
        yield from (f"{option}={text}" for text in _texts(field, given.get(field, ())))
    for field, option in (("environment", "--env"), ("labels", "--label")):
        pairs = given.get(field, {})
        assert isinstance(pairs, Mapping)
        yield from _pairs(field, option, pairs)
    if given.get("read_only"):
        yield "--read-only"


def _texts(field: str, value: object) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{field} is a list of texts, not {value!r:.60}")
    return [str(text) for text in value]


def _pairs(field: str, option: str, pairs: Mapping[str, str]) -> Iterator[str]:
    for key, value in pairs.items():
        # The command line would split it at the first one.
        if not key or "=" in key:
            raise ValueError(f"{field}: {key!r:.60} can't be a name: it is empty or has = in it")
        yield f"{option}={key}={value}"


def exec_words(environment: Mapping[str, str], workdir: str | None, user: str | None) -> list[str]:
    """Return the options of `berth exec`."""
    found = [*_pairs("environment", "--env", environment)]
    if workdir is not None:
        found.append(f"--workdir={workdir}")
    return found if user is None else [*found, f"--user={user}"]


def check_command(command: Sequence[str]) -> list[str]:
    """Return the words of *command*; TypeError for a text, which would be read letter by letter, and ValueError for none."""
    if isinstance(command, str | bytes):
        raise TypeError(f'a command is a list of words, not {command!r:.60}; a line for a shell is ["sh", "-c", line]')
    if not command:
        raise ValueError("a command has at least one word")
    return [str(word) for word in command]
