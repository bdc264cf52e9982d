from dataclasses import dataclass

import pytest

from netcore.errors import InvalidRequest, NotFound
from netcore.plan.references import find


@dataclass
class Named:
    name: str


KNOWN = {"aa1": Named("front"), "aa22": Named("back"), "b": Named("aa1x")}


def test_by_id_by_name_and_by_the_beginning_of_an_id():
    assert find("network", "aa1", KNOWN).name == "front"
    assert find("network", "back", KNOWN).name == "back"
    # A name goes before the beginning of an id.
    assert find("network", "aa1x", KNOWN).name == "aa1x"
    assert find("network", "aa2", KNOWN).name == "back"
    assert find("network", "b", KNOWN).name == "aa1x"


def test_ambiguous_and_unknown():
    with pytest.raises(InvalidRequest, match="aa is ambiguous: the ids of front, back begin with it"):
        find("network", "aa", KNOWN)
    for reference in ("", "c"):
        with pytest.raises(NotFound, match="no such network"):
            find("network", reference, KNOWN)


@pytest.mark.parametrize(
    ("reference", "known", "said"),
    [
        ("wbe", ("web", "db"), "no such sandbox: wbe; did you mean web?"),
        ("nobody", ("web", "db"), "no such sandbox: nobody; there is db, web"),
        ("nobody", (), "no such sandbox: nobody; there is none"),
        ("nobody", tuple("abcdef"), "no such sandbox: nobody"),
    ],
)
def test_what_is_not_there_is_answered_with_what_may_have_been_meant(reference, known, said):
    things = {f"{at}f": Named(name) for at, name in enumerate(known)}
    with pytest.raises(NotFound) as caught:
        find("sandbox", reference, things)
    assert str(caught.value) == said
