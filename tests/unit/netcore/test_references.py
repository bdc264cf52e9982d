from dataclasses import dataclass

import pytest

from netcore.errors import InvalidRequest, NotFound
from netcore.plan.references import References


@dataclass
class Named:
    name: str


KNOWN = {"aa1": Named("front"), "aa22": Named("back"), "b": Named("aa1x")}


def test_by_id_by_name_and_by_the_beginning_of_an_id():
    assert References("network", KNOWN).find("aa1").name == "front"
    assert References("network", KNOWN).find("back").name == "back"
    # A name goes before the beginning of an id.
    assert References("network", KNOWN).find("aa1x").name == "aa1x"
    assert References("network", KNOWN).find("aa2").name == "back"
    assert References("network", KNOWN).find("b").name == "aa1x"


def test_ambiguous_and_unknown():
    with pytest.raises(InvalidRequest, match="aa is ambiguous: the ids of front, back begin with it"):
        References("network", KNOWN).find("aa")
    for reference in ("", "c"):
        with pytest.raises(NotFound, match="no such network"):
            References("network", KNOWN).find(reference)


class Counted(dict):
    """Counts how many objects are looked at."""

    looks = 0

    def __getitem__(self, key):
        self.looks += 1
        return super().__getitem__(key)

    def __iter__(self):
        raise AssertionError("went through all")

    items = values = keys = __iter__


def test_nobody_goes_through_all():
    known = Counted({f"{number:04x}": Named(f"n{number}") for number in range(1000)})
    references = References("network", {})
    references._known = known
    for number in range(1000):
        references.changed(f"{number:04x}")
    known.looks = 0
    assert references.find("0007").name == "n7"
    assert references.find("n700").name == "n700"
    assert references.find("03e7").name == "n999"
    with pytest.raises(InvalidRequest, match="the ids of n16, n17"):
        references.find("001")
    with pytest.raises(NotFound):
        references.find("nowhere")
    assert known.looks == 3 + 16


def test_objects_that_go_and_change_their_names():
    known = {"aa": Named("front"), "ab": Named("back")}
    references = References("network", known)
    known["aa"] = Named("renamed")
    references.changed("aa")
    assert references.named("front") is None
    assert references.find("renamed") is known["aa"]
    del known["ab"]
    references.changed("ab")
    references.changed("ab")
    assert references.find("a") is known["aa"]
    assert references.named("back") is None


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
        References("sandbox", things).find(reference)
    assert str(caught.value) == said
