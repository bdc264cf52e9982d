"""What stands in for modules of the standard library: it does what they do."""

import copy
import json
import subprocess
import sys

import pytest

from resolver.cli.mount_calls import _without_escapes
from resolver.light import Enum, NamedTuple, read_json, suppress, write_json


class Point(NamedTuple):
    x: int
    y: int = 2
    names: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        return self.x + self.y


class Colour(Enum):
    RED = "red"
    BLUE = "blue"
    """Cold."""

    @property
    def is_cold(self) -> bool:
        return self is Colour.BLUE


def test_a_named_tuple_is_a_tuple_with_names():
    point = Point(1, names=("a",))
    assert point == (1, 2, ("a",)) == Point(1, 2, ("a",)) == Point(names=("a",), x=1)
    assert (point.x, point.y, point.names, point.total) == (1, 2, ("a",), 3)
    assert point._replace(y=5) == Point(1, 5, ("a",))
    assert point._asdict() == {"x": 1, "y": 2, "names": ("a",)}
    assert repr(point) == "Point(x=1, y=2, names=('a',))"
    assert copy.copy(point) == copy.deepcopy(point) == point
    match point:
        case Point(x, y):
            assert (x, y) == (1, 2)


@pytest.mark.parametrize(("values", "named"), [((), {}), ((1, 2, (), 4), {}), ((1,), {"z": 3}), ((1,), {"x": 1}), ((), {"y": 2})])
def test_a_named_tuple_takes_each_of_its_fields_once(values, named):
    with pytest.raises(TypeError, match="Point has the fields x, y, names"):
        Point(*values, **named)


def test_a_named_tuple_is_frozen():
    point = Point(1)
    for name in ("x", "other"):
        with pytest.raises(AttributeError):
            setattr(point, name, 3)


def test_members_are_single_and_have_their_names_and_values():
    assert Colour.RED is Colour.RED is not Colour.BLUE
    assert (Colour.RED.name, Colour.RED.value, repr(Colour.BLUE)) == ("RED", "red", "Colour.BLUE")
    assert (Colour.RED.is_cold, Colour.BLUE.is_cold) == (False, True)
    assert isinstance(Colour.RED, Colour)


def test_only_what_is_named_is_suppressed():
    with suppress(KeyError, OSError):
        raise FileNotFoundError
    with pytest.raises(ValueError, match="x"), suppress(KeyError, OSError):
        raise ValueError("x")


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "", 'ä\n"\\\u2028\x00', [], {}, {"a": [1, {"b": None}], "c": "x"}, 1e300, 10**30])
def test_json_is_written_and_read_as_by_the_standard_library(value):
    assert write_json(value) == json.dumps(value)
    assert read_json(write_json(value)) == read_json(json.dumps(value, indent=2).encode()) == value


@pytest.mark.parametrize("text", ["", " ", "{", "[1,]", "{} x", "nul", '"\x01"', b"\xff", "[" * 3])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (its own kind is compared)
        read_json(text)
    with pytest.raises(type(error.value)):
        json.loads(text)


def test_what_json_has_not_is_refused():
    circle = []
    circle.append(circle)
    for value, kind in (({1, 2}, TypeError), (circle, ValueError)):
        with pytest.raises(kind):
            write_json(value)


def test_it_loads_next_to_nothing():
    script = "import sys; before = set(sys.modules); import resolver.light; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {script}"], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) <= {"__future__", "_collections", "_json", "resolver", "resolver.light"}


@pytest.mark.parametrize(("written", "meant"), [("/a", "/a"), (r"/a\040b", "/a b"), (r"\134040\011x", "\\040\tx"), (r"/a\012", "/a\n")])
def test_paths_of_mounts_are_read_as_the_kernel_writes_them(written, meant):
    assert _without_escapes(written) == meant


def test_what_could_not_be_written_can_be_written_later():
    content = {"a": [object()]}
    with pytest.raises(TypeError):
        write_json(content)
    content["a"].clear()
    assert write_json(content) == '{"a": []}'
