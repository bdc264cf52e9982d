"""One rule: from its words to its expressions. Pure.

A rule is a sequence of comparisons (`iifname @bridges`, `meta mark and 0x1 == 0`) and statements (`counter`, `accept`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from typing import Protocol

from netcore.kernel.ruleset import expressions, intervals, statements
from netcore.kernel.ruleset.data_types import BIG_ENDIAN, HOST_ORDER, TYPES, DataType
from netcore.kernel.ruleset.elements import Elements, read_element, read_elements
from netcore.kernel.ruleset.expressions import EQUAL, NOT_EQUAL, register
from netcore.kernel.ruleset.fields import Conntrack, Field, Meta, Payload, field_of, order_of
from netcore.kernel.ruleset.intervals import Range, is_range
from netcore.kernel.ruleset.protocols import Protocols
from netcore.kernel.ruleset.sets import INTERVAL, Set
from netcore.kernel.ruleset.words import RulesetError, Words

_OPERATORS = {
    "==": EQUAL,
    "!=": NOT_EQUAL,
    "<": expressions.LESS,
    "<=": expressions.LESS_OR_EQUAL,
    ">": expressions.GREATER,
    ">=": expressions.GREATER_OR_EQUAL,
}
_TRANSLATIONS = {"snat": expressions.SOURCE_NAT, "dnat": expressions.DESTINATION_NAT}
_CHANGES = {"add": expressions.ADD, "update": expressions.UPDATE, "delete": expressions.DELETE}
_FAMILIES = {"ip": 2, "ip6": 10}
_ADDRESSES = {"ip": "ipv4_addr", "ip6": "ipv6_addr"}
_FIRST = register(0)


class Sets(Protocol):
    """The sets of the table that a rule is in."""

    def named(self, name: str) -> Set:
        """Return a declared set; raises RulesetError if there is none."""

    def anonymous(self, key: Sequence[Field], data: Sequence[DataType], elements: Elements) -> Set:
        """Make a set without a name."""

    def anonymous_ranges(self, key: Field, ranges: Sequence[Range]) -> Set:
        """Make a set of ranges without a name."""


def _types(key: Sequence[Field]) -> list[DataType]:
    return [field.type for field in key]


def _loaded(key: Sequence[Field], held: Set | None = None) -> list[bytes]:
    """Return what puts the fields of a key side by side, each at the next register. *held*: where they are looked up.

    A set of intervals compares octets, so a number must have its highest octet first.
    """
    result, at = [], 0
    compares = held is not None and bool(held.flags & INTERVAL) and len(key) > 1
    for field in key:
        result += field.load_as_key(register(at))
        if compares and order_of(field) == HOST_ORDER and field.type is not TYPES["ifname"]:
            result.append(expressions.in_network_order(register(at), field.type.length))
        at += field.type.length + 3 >> 2
    return result


def _union(data_type: DataType, words: Sequence[str]) -> bytes:
    """Return the value that has all bits of *words*."""
    bits = 0
    for word in words:
        bits |= data_type.read(word)
    return data_type.encode(bits)


class Rule:
    """Reads the rule that comes next in *words*, up to the end of its line. The result is in `expressions`."""

    def __init__(self, words: Words, family: str, sets: Sets) -> None:
        self._words = words
        self._family = family
        self._sets = sets
        self._protocols = Protocols(family)
        self.expressions: list[bytes] = []
        while words.next not in ("\n", ";", "}"):
            is_last = words.next in statements.VERDICTS
            self._step()
            if is_last and words.next not in ("\n", ";", "}"):
                words.refuse("the end of the rule")
        if not self.expressions:
            words.refuse("a rule")

    def _step(self) -> None:
        found = field_of(self._words.following(3))
        if found is not None:
            self._of_field(*found)
        else:
            self.expressions += self._statement()

    # --- comparisons ---------------------------------------------------------------------------------------------

    def _of_field(self, field: Field, count: int) -> None:
        """Read what is done with a field: it is compared, alone or with more as a key, or set."""
        words = self._words
        if words.following(count + 1)[-1] == "set":
            words.take(count + 1)
            self._set(field)
            return
        key = self._key()
        if len(key) == 1 and words.next in ("and", "&"):
            self._compare_bits(field)
            return
        operator = _OPERATORS[words.take()] if words.next in _OPERATORS else None
        if operator not in (None, EQUAL, NOT_EQUAL) and (words.next == "{" or words.next.startswith("@")):
            words.refuse("one value")
        if operator is None and words.accept("vmap"):
            self.expressions += [*_loaded(key), expressions.look_up_verdict(_FIRST, self._verdict_map(key))]
        elif words.next.startswith("@"):
            held = self._named(key)
            self.expressions += [*_loaded(key, held), expressions.look_up(_FIRST, held.reference, inverted=operator == NOT_EQUAL)]
        elif words.next == "{":
            self._compare_with_several(key, inverted=operator == NOT_EQUAL)
        elif len(key) == 1:
            self._compare(field, operator)
        else:
            words.refuse("`@SET` or `{`")

    def _key(self) -> list[Field]:
        """Read fields that are joined by dots; ask for the protocols that they need."""
        key = []
        while True:
            found = field_of(self._words.following(3))
            if found is None:
                self._words.refuse("a field")
            field, count = found
            self._words.take(count)
            self.expressions += self._protocols.require(field)
            key.append(field)
            if not self._words.accept("."):
                return key

    def _compare(self, field: Field, operator: int | None) -> None:
        words = self._words
        word = words.take()
        if operator is None and field.type.flags:
            bits = [word]
            while words.accept(","):
                bits.append(words.take())
            self._test_bits(field, _union(field.type, bits), NOT_EQUAL)
        elif "/" in word and isinstance(field.source, Payload) and operator in (None, EQUAL, NOT_EQUAL):
            self._compare_prefix(field, field.source, word, operator or EQUAL)
        elif is_range(word):
            self._compare_range(field, *word.split("-"), inverted=operator == NOT_EQUAL)
        elif operator in (None, EQUAL, NOT_EQUAL):
            value = self._value(field, word)
            self.expressions += [*field.load(_FIRST), expressions.compare(_FIRST, operator or EQUAL, value)]
            if not operator:
                self._protocols.learn(field, value)
        else:
            self.expressions += [*self._load_in_order(field), expressions.compare(_FIRST, operator, self._in_order(field, word))]

    def _compare_prefix(self, field: Field, source: Payload, word: str, operator: int) -> None:
        network = ip_network(word)
        if TYPES[_ADDRESSES[f"ip{'' if network.version == 4 else 6}"]] is not field.type:
            self._words.refuse("a prefix of the other family before this")
        octets, value = network.prefixlen // 8, network.network_address.packed
        if network.prefixlen % 8 or not octets:
            mask = network.netmask.packed
            masked = [*field.load(_FIRST), expressions.masked(_FIRST, mask, bytes(len(mask)))]
            self.expressions += [*masked, expressions.compare(_FIRST, operator, value)]
        else:
            loaded = expressions.payload(source.base, source.offset, octets, _FIRST)
            self.expressions += [loaded, expressions.compare(_FIRST, operator, value[:octets])]

    def _compare_range(self, field: Field, low: str, high: str, *, inverted: bool) -> None:
        if inverted or field.bits is not None or int(low, 0) > int(high, 0):
            self._words.refuse("a range from a lower to a higher number of whole octets, and no `!=`, before this")
        self.expressions += self._load_in_order(field)
        self.expressions.append(expressions.compare(_FIRST, expressions.GREATER_OR_EQUAL, self._in_order(field, low)))
        self.expressions.append(expressions.compare(_FIRST, expressions.LESS_OR_EQUAL, self._in_order(field, high)))

    def _load_in_order(self, field: Field) -> list[bytes]:
        """Return what loads a field so that the greater of two numbers is the greater one as octets."""
        if order_of(field) == BIG_ENDIAN:
            return field.load(_FIRST)
        return [*field.load(_FIRST), expressions.in_network_order(_FIRST, field.type.length)]

    def _in_order(self, field: Field, word: str) -> bytes:
        value = self._value(field, word)
        return value if order_of(field) == BIG_ENDIAN or sys.byteorder == "big" else value[::-1]

    def _compare_bits(self, field: Field) -> None:
        """Read `and MASK == VALUE`."""
        words = self._words
        words.take()
        mask = self._bits(field)
        operator = _OPERATORS.get(words.take())
        if operator is None:
            words.refuse("`==` or `!=` before this")
        value = self._bits(field)
        self.expressions += [*field.load(_FIRST), expressions.masked(_FIRST, mask, bytes(len(mask)))]
        self.expressions.append(expressions.compare(_FIRST, operator, value))

    def _bits(self, field: Field) -> bytes:
        """Read a value, of a field of flags also `a|b` or `(a|b)`."""
        words = self._words
        in_brackets = words.accept("(")
        bits = [words.take()]
        while words.accept("|"):
            bits.append(words.take())
        if in_brackets:
            words.expect(")")
        return self._value(field, bits[0]) if len(bits) == 1 else _union(field.type, bits)

    def _test_bits(self, field: Field, bits: bytes, operator: int) -> None:
        nothing = bytes(len(bits))
        self.expressions += [*field.load(_FIRST), expressions.masked(_FIRST, bits, nothing)]
        self.expressions.append(expressions.compare(_FIRST, operator, nothing))

    def _compare_with_several(self, key: Sequence[Field], *, inverted: bool) -> None:
        if len(key) == 1 and intervals.follow(self._words):
            held = self._ranges(key[0])
        else:
            elements = [(element, None) for element in read_elements(self._words, _types(key))]
            if len(elements) == 1:
                self._words.refuse("a second element before this")
            held = self._sets.anonymous(key, (), elements)
        self.expressions += [*_loaded(key), expressions.look_up(_FIRST, held.reference, inverted=inverted)]

    def _ranges(self, field: Field) -> Set:
        if not isinstance(field.source, Payload) or field.bits is not None:
            self._words.refuse("a field of a header in whole octets before this")
        ranges = intervals.read(self._words, field.type)
        if len(ranges) == 1:
            self._words.refuse("a second range before this")
        return self._sets.anonymous_ranges(field, ranges)

    def _verdict_map(self, key: Sequence[Field]) -> expressions.SetReference:
        words = self._words
        elements: list[tuple[bytes, bytes | None]] = []
        words.expect("{")
        while True:
            value = read_element(words, _types(key))
            words.expect(":")
            elements.append((value, expressions.verdict(*statements.verdict(words))))
            if not words.accept(","):
                break
        words.expect("}")
        return self._sets.anonymous(key, (TYPES["verdict"],), elements).reference

    def _named(self, key: Sequence[Field]) -> Set:
        """Read `@SET`, whose elements are of *key*."""
        held = self._sets.named(self._words.take().removeprefix("@"))
        self._check(held, held.key, _types(key))
        return held

    def _check(self, held: Set, has: Sequence[DataType], wanted: Sequence[DataType]) -> None:
        """Raise RulesetError unless the types that a set *has* are those that are *wanted*."""
        if [(one.number, one.length) for one in has] != [(one.number, one.length) for one in wanted]:
            raise RulesetError(f"ruleset: {held.name} is of other fields: {self._words.line()}")

    def _value(self, field: Field, word: str) -> bytes:
        try:
            return field.octets(word)
        except (ValueError, KeyError, OverflowError) as error:
            raise RulesetError(f"ruleset: {word!r} is no value of this field: {self._words.line()}") from error

    # --- what is written -----------------------------------------------------------------------------------------

    def _set(self, field: Field) -> None:
        """Read what a field is set to: a value, bits of it changed, or what a map has for a key."""
        self.expressions += self._protocols.require(field)
        match field.source:
            case Meta(key) if field.type in (TYPES["mark"], TYPES["pkt_type"]):
                written = expressions.set_meta(key, _FIRST)
            case Conntrack(key) if field.type is TYPES["mark"]:
                written = expressions.set_conntrack(key, _FIRST)
            case Payload(base, offset, length, _, checksum) if checksum is not None:
                written = expressions.write_payload(base, offset, length, _FIRST, checksum)
            case _:
                self._words.refuse("something that can be set before this")
        if self._words.accept("numgen", "random", "mod"):
            self.expressions.append(statements.random_number(self._words, _FIRST))
        elif field_of(self._words.following(3)) is None:
            self.expressions.append(expressions.immediate(_FIRST, self._value(field, self._words.take())))
        else:
            given = self._key()
            if self._words.next == "map":
                held = self._look_up_in_map(given)
                self._check(held, held.data, [field.type])
            elif len(given) > 1 or given[0].type != field.type:
                self._words.refuse("a field of the same type before this")
            else:
                self.expressions += [*given[0].load(_FIRST), *self._changed_bits(given[0])]
        self.expressions.append(written)

    def _changed_bits(self, field: Field) -> Iterator[bytes]:
        """Read `and BITS`, `or BITS`, if they come next."""
        length = field.type.length
        mask, turned = (1 << 8 * length) - 1, 0
        if self._words.next not in ("and", "or", "&", "|"):
            return
        while self._words.next in ("and", "or", "&", "|"):
            operation, value = self._words.take(), self._words.number()
            if operation in ("and", "&"):
                mask, turned = mask & value, turned & value
            else:
                mask, turned = mask & ~value, turned & ~value | value
        encode = field.type.encode
        yield expressions.masked(_FIRST, encode(mask), encode(turned))

    def _look_up_in_map(self, key: Sequence[Field]) -> Set:
        """Read `map @MAP`; load what it has for *key*."""
        self._words.expect("map")
        held = self._named(key)
        self.expressions += [*_loaded(key, held), expressions.look_up(_FIRST, held.reference, into=_FIRST)]
        return held

    # --- statements ----------------------------------------------------------------------------------------------

    def _statement(self) -> list[bytes]:
        """Read one statement."""
        words = self._words
        if words.next in statements.VERDICTS:
            return [expressions.give(*statements.verdict(words))]
        word = words.take()
        if word in _CHANGES:
            return self._change(_CHANGES[word])
        if word in _TRANSLATIONS:
            return self._translate(_TRANSLATIONS[word])
        if word == "reject":
            protocol, rejected = statements.rejection(words)
            return [*self._protocols.require_protocol(protocol), rejected]
        if word not in statements.STATEMENTS:
            words.back()
            words.refuse("a field or a statement")
        return statements.STATEMENTS[word](words)

    def _translate(self, kind: int) -> list[bytes]:
        """Read `ip to KEY map @MAP`, or `ip to ADDRESS`."""
        protocol = self._words.take()
        self._words.expect("to")
        if field_of(self._words.following(3)) is None:
            address = expressions.immediate(_FIRST, TYPES[_ADDRESSES[protocol]].octets(self._words.take()))
            return [address, expressions.translate(kind, _FAMILIES[protocol], _FIRST, None)]
        held = self._look_up_in_map(self._key())
        data = held.data
        self._check(held, data, [TYPES[_ADDRESSES[protocol]], *[TYPES["inet_service"]] * (len(data) - 1)])
        port = register(data[0].length // 4) if len(data) > 1 else None
        return [expressions.translate(kind, _FAMILIES[protocol], _FIRST, port)]

    def _change(self, operation: int) -> list[bytes]:
        """Read `@SET { KEY timeout 1s STATEMENTS }`."""
        words = self._words
        held = self._sets.named(words.take().removeprefix("@"))
        words.expect("{")
        key = self._key()
        self._check(held, held.key, _types(key))
        timeout = statements.duration(words.take()) if words.accept("timeout") else None
        inner: list[bytes] = []
        while not words.accept("}"):
            inner += self._statement()
        return [*_loaded(key), expressions.change_set(operation, held.reference, _FIRST, timeout, tuple(inner))]
