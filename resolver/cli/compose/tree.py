"""The tree that a Compose file is between its text and its meaning: mappings that know where each key stands, and rules by path. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

_Rule = TypeVar("_Rule")


Path = tuple[str, ...]


class Position(NamedTuple):
    """Where something stands. *line*: 1 for the first."""

    file: str
    line: int


class Located(dict[str, Any]):
    """A mapping that knows the position of each key, as far as it came from a file."""

    __slots__ = ("positions",)

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.positions: dict[str, Position] = {}

    def put(self, key: str, value: Any, position: Position | None) -> None:
        """Set *key* to what stands at *position*."""
        self[key] = value
        if position is not None:
            self.positions[key] = position


class Moment(NamedTuple):
    """A date, or a date and a time, which YAML knows and no key takes. *written*: in the file; *shown*: as Compose prints it."""

    written: str
    shown: str


class Problem(NamedTuple):
    """Something wrong in a file. *position*: None if it is about no place in particular."""

    position: Position | None
    text: str


class ComposeError(Exception):
    """What is wrong with a project's files, one line each."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(
            "\n".join(map(_line, sorted(set(problems), key=lambda problem: (problem.position or Position("", 0), problem.text))))
        )
        self.problems = problems


def _line(problem: Problem) -> str:
    where = problem.position
    return problem.text if where is None else f"{where.file}:{where.line}: {problem.text}"


def position_of(mapping: Any, key: str) -> Position | None:
    """Return where *key* of *mapping* stands, None if nobody knows."""
    return mapping.positions.get(key) if isinstance(mapping, Located) else None


def position_at(tree: Any, path: Iterable[str]) -> Position | None:
    """Return where the deepest known key on *path* below *tree* stands; parts of *path* that are numbers are members of lists."""
    found: Position | None = None
    for part in path:
        if isinstance(tree, Mapping):
            found = position_of(tree, part) or found
            tree = tree.get(part)
        elif isinstance(tree, list) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            break
    return found


class Rules(Generic[_Rule]):
    """Rules for the nodes of a tree, by path: `services.*.ports.*`. `*` stands for any key, and for each member of a list."""

    __slots__ = ("_any", "_children", "rule")

    def __init__(self, rules: Mapping[str, _Rule]) -> None:
        self.rule: _Rule | None = rules.get("")
        below: dict[str, dict[str, _Rule]] = {}
        for path, rule in rules.items():
            if path:
                first, _, rest = path.partition(".")
                below.setdefault(first, {})[rest] = rule
        every = below.pop("*", {})
        self._any = Rules(every) if every else None
        self._children = {key: Rules({**every, **own}) for key, own in below.items()}

    def below(self, key: str) -> Rules[_Rule] | None:
        """Return the rules for the node *key* below this one, None if there are none."""
        return self._children.get(key, self._any)

    @property
    def of_members(self) -> Rules[_Rule] | None:
        """The rules for the members of the list that this node is."""
        return self._any


class BadValue(ValueError):
    """A rule can't make sense of a value. *path*: to the value, from the tree that the rules were applied to."""

    def __init__(self, text: str, path: tuple[str, ...]) -> None:
        super().__init__(text)
        self.path = path

    @classmethod
    def below(cls, key: str, error: ValueError) -> BadValue:
        """Return *error*, which is about the value of *key* or something below, as it is told of what *key* is in."""
        return cls(str(error), (key, *error.path) if isinstance(error, BadValue) else (key,))


def change(tree: Located, rules: Rules[Callable[[Any], Any]]) -> None:
    """Replace each node of *tree* that has a rule by what the rule makes of it. ComposeError where a rule raises ValueError.

    Below a node that has a rule only that rule decides.
    """
    try:
        changed(tree, rules)
    except BadValue as error:
        raise ComposeError(Problem(position_at(tree, error.path), f"{'.'.join(error.path)}: {error}")) from error


def changed(tree: Any, rules: Rules[Callable[[Any], Any]] | None) -> Any:
    """Return *tree*, part of a greater one, as `change` does; mappings are changed in place. BadValue where a rule raises ValueError."""
    if rules is None:
        return tree
    if rules.rule is not None:
        return rules.rule(tree)
    if isinstance(tree, dict):
        for key, value in tree.items():
            try:
                tree[key] = changed(value, rules.below(key))
            except ValueError as error:
                raise BadValue.below(key, error) from error
    elif isinstance(tree, list):
        for number, member in enumerate(tree):
            try:
                tree[number] = changed(member, rules.of_members)
            except ValueError as error:
                raise BadValue.below(str(number), error) from error
    return tree


def copied(tree: Any) -> Any:
    """Return a copy of *tree* that shares nothing with it that can change."""
    if isinstance(tree, Located):
        result = Located((key, copied(value)) for key, value in tree.items())
        result.positions = dict(tree.positions)
        return result
    return [copied(member) for member in tree] if isinstance(tree, list) else tree


def size_of(tree: Any) -> int:
    """Return how many values *tree* has."""
    if isinstance(tree, dict):
        return 1 + sum(map(size_of, tree.values()))
    return 1 + sum(map(size_of, tree)) if isinstance(tree, list) else 1
