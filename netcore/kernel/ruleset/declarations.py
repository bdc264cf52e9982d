"""A whole ruleset: tables with their counters, sets, chains and rules; from its text to requests. Pure.

The language is a part of nft's (nft(8)): each text is also one for the program `nft`, and means the same there. What is not
understood is refused. One statement a line; a table is declared, or deleted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from netcore.kernel import nf_tables
from netcore.kernel.netlink import APPEND, CREATE, Request, attr, nested
from netcore.kernel.ruleset import expressions, intervals, sets
from netcore.kernel.ruleset.data_types import TYPES, DataType
from netcore.kernel.ruleset.elements import Elements, read_elements
from netcore.kernel.ruleset.fields import Field, field_of, listed, order_of
from netcore.kernel.ruleset.intervals import Range
from netcore.kernel.ruleset.rules import Rule
from netcore.kernel.ruleset.sets import Set
from netcore.kernel.ruleset.statements import duration
from netcore.kernel.ruleset.words import END, RulesetError, Words

_HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
_POLICIES = {"accept": expressions.ACCEPT, "drop": expressions.DROP}
_ANY_NAME = {False: "__set%d", True: "__map%d"}
"""What the kernel is asked to call a set without a name, and a map."""


def read(text: str) -> Iterator[Request]:
    """Yield the requests of *text* in their order; raises RulesetError at what is not understood."""
    words = Words(text)
    numbers = iter(range(1, 1 << 31))
    while True:
        words.skip_breaks()
        if words.next == END:
            return
        is_deletion = words.accept("delete")
        words.expect("table")
        family, name = words.take(), words.take()
        if family not in nf_tables.FAMILIES:
            raise RulesetError(f"ruleset: {family!r} is no family of tables")
        target = f"table {family} {name}"
        if is_deletion:
            yield Request(nf_tables.DELTABLE, 0, nf_tables.of_table(family, name), "delete", target)
        else:
            yield Request(nf_tables.NEWTABLE, CREATE, nf_tables.new_table(family, name, 0), "create", target)
            yield from _Table(words, family, name, numbers).requests()


class _Table:
    """Reads what a table has. The kernel gets chains first, since rules lead to later ones too, and rules last."""

    def __init__(self, words: Words, family: str, name: str, numbers: Iterator[int]) -> None:
        self._words = words
        self._family = family
        self._name = name
        self._numbers = numbers
        self._sets: dict[str, Set] = {}
        self._chains: list[Request] = []
        self._counters: list[Request] = []
        self._set_requests: list[Request] = []
        self._rules: list[Request] = []
        words.expect("{")
        while not self._ends():
            match words.take():
                case "counter":
                    self._counter()
                case "set":
                    self._set(is_map=False)
                case "map":
                    self._set(is_map=True)
                case "chain":
                    self._chain()
                case _:
                    words.back()
                    words.refuse("`counter`, `set`, `map` or `chain`")

    def requests(self) -> Iterator[Request]:
        """Yield what makes it all."""
        yield from self._chains
        yield from self._counters
        yield from self._set_requests
        yield from self._rules

    def _ends(self) -> bool:
        """Return whether the block ends here."""
        self._words.skip_breaks()
        return self._words.accept("}")

    def _of_table(self) -> bytes:
        return nf_tables.of_table(self._family, self._name)

    def _counter(self) -> None:
        name = self._words.take()
        self._words.expect("{")
        self._words.expect("}")
        empty = nested(4, attr(1, bytes(8)), attr(2, bytes(8)))
        kind = expressions.u32(3, expressions.OBJECT_COUNTER)
        body = self._of_table() + expressions.text(2, name) + kind + empty
        self._counters.append(Request(nf_tables.NEWOBJ, CREATE, body, "create", f"counter {name} of table {self._family} {self._name}"))

    # --- sets ----------------------------------------------------------------------------------------------------

    def _set(self, *, is_map: bool) -> None:
        words = self._words
        name = words.take()
        key: Sequence[DataType] = ()
        data: Sequence[DataType] = ()
        fields: Sequence[Field] = ()
        elements: list[bytes] = []
        flags, size, timeout = 0, None, None
        words.expect("{")
        while not self._ends():
            match words.take():
                case "type":
                    key = self._types()
                    if is_map:
                        words.expect(":")
                        data = self._types()
                case "typeof":
                    fields = self._fields()
                    key = [field.type for field in fields]
                case "flags":
                    flags = self._flags()
                case "size":
                    size = words.number()
                case "timeout":
                    timeout = duration(words.take())
                case "elements":
                    words.expect("=")
                    elements = read_elements(words, key)
                case _:
                    words.back()
                    words.refuse("a property of a set")
        if elements and flags & sets.INTERVAL:
            raise RulesetError(f"ruleset: set {name} of intervals is filled by its owner, not by the ruleset")
        made = Set(
            family=self._family,
            table=self._name,
            name=name,
            number=next(self._numbers),
            key=tuple(key),
            data=tuple(data),
            flags=flags | (sets.TIMEOUT if timeout is not None else 0),
            size=len(elements) if size is None and flags & sets.CONSTANT else size,
            timeout=timeout,
            listed=listed(fields),
        )
        self._sets[name] = made
        self._set_requests.append(sets.creation(made))
        if elements:
            self._set_requests.append(sets.filling(made, [(key, None) for key in elements]))

    def _types(self) -> list[DataType]:
        types = [self._type()]
        while self._words.accept("."):
            types.append(self._type())
        return types

    def _type(self) -> DataType:
        word = self._words.take()
        if word not in TYPES:
            raise RulesetError(f"ruleset: {word!r} is no data type: {self._words.line()}")
        return TYPES[word]

    def _fields(self) -> list[Field]:
        fields = []
        while True:
            found = field_of(self._words.following(3))
            if found is None:
                self._words.refuse("a field")
            fields.append(found[0])
            self._words.take(found[1])
            if not self._words.accept("."):
                return fields

    def _flags(self) -> int:
        flags = self._words.one_of(sets.FLAGS)
        while self._words.accept(","):
            flags |= self._words.one_of(sets.FLAGS)
        return flags

    def named(self, name: str) -> Set:
        if name not in self._sets:
            raise RulesetError(f"ruleset: table {self._family} {self._name} has no set {name!r} above this: {self._words.line()}")
        return self._sets[name]

    def anonymous(self, key: Sequence[Field], data: Sequence[DataType], elements: Elements) -> Set:
        """Make a set of *elements* just before the rule that is being read."""
        made = Set(
            family=self._family,
            table=self._name,
            name=_ANY_NAME[bool(data)],
            number=next(self._numbers),
            key=tuple(field.type for field in key),
            data=tuple(data),
            flags=sets.ANONYMOUS | sets.CONSTANT,
            size=len(elements),
            listed=listed(key) if not data else b"",
            order=order_of(key[0]) if len(key) == 1 and not data else None,
        )
        self._rules += [sets.creation(made), sets.filling(made, elements)]
        return made

    def anonymous_ranges(self, key: Field, ranges: Sequence[Range]) -> Set:
        """Make a set of *ranges* just before the rule that is being read."""
        made = Set(
            family=self._family,
            table=self._name,
            name=_ANY_NAME[False],
            number=next(self._numbers),
            key=(key.type,),
            flags=sets.ANONYMOUS | sets.CONSTANT | sets.INTERVAL,
            size=intervals.size(ranges),
            listed=listed([key]),
            order=order_of(key),
        )
        self._rules += [sets.creation(made), sets.filling_encoded(made, intervals.encoded(ranges, key.type.length))]
        return made

    # --- chains --------------------------------------------------------------------------------------------------

    def _chain(self) -> None:
        words = self._words
        name = words.take()
        words.expect("{")
        words.skip_breaks()
        body = self._of_table() + expressions.text(3, name)
        if words.accept("type"):
            body += self._hook()
        chain = f"chain {name} of table {self._family} {self._name}"
        self._chains.append(Request(nf_tables.NEWCHAIN, CREATE, body, "create", chain))
        while not self._ends():
            line = words.line()
            try:
                rule = Rule(words, self._family, self)
            except RulesetError:
                raise
            except (KeyError, ValueError) as error:
                raise RulesetError(f"ruleset: {error} in {line}") from error
            body = self._of_table() + expressions.text(2, name) + expressions.expression_list(4, rule.expressions)
            self._rules.append(Request(nf_tables.NEWRULE, CREATE | APPEND, body, "create", f"rule `{line}` in {chain}"))

    def _hook(self) -> bytes:
        """Read `filter hook forward priority -10; policy accept;`."""
        words = self._words
        kind = words.take()
        words.expect("hook")
        hook = words.one_of(_HOOKS)
        words.expect("priority")
        priority = words.number()
        words.expect(";", "policy")
        policy = words.one_of(_POLICIES)
        where = nested(4, expressions.u32(1, hook), attr(2, struct.pack("!i", priority)))
        return expressions.text(7, kind) + expressions.u32(5, policy) + where
