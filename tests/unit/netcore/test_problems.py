import pytest

from netcore.errors import InvalidRequest
from netcore.parse.problems import refuse


def test_all_problems_are_in_one_refusal_and_no_word_is_doubled():
    refuse([])
    with pytest.raises(InvalidRequest) as caught:
        refuse([("subnet 10.0.0.0/8", "too big"), ("gateway 1.2.3.4", "elsewhere")])
    assert str(caught.value) == "invalid subnet 10.0.0.0/8: too big; gateway 1.2.3.4: elsewhere"
    assert caught.value.field == "subnet 10.0.0.0/8"
