"""Whole numbers as users write them."""

import pytest

from resolver.numbers import whole_number


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("010", 10), ("100", 100), ("0" * 5000 + "7", 7), ("0", None), ("101", None), ("9" * 5000, None)]
    + [(text, None) for text in ("", "²", "٣", "-1", "+1", "1.0", "1e1", " 1", "1_0", "x")],
)
def test_only_what_is_a_number_in_the_range(text, number):
    assert whole_number(text, 1, 100) == number
