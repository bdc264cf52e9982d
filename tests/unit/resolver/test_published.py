from resolver.wire.name import from_text
from resolver.zone.published import NameChange, PublishedZone
from resolver.zone.zone import Record, Zone


class Watcher:
    def __init__(self):
        self.changes = []

    def on_names_changed(self, change):
        self.changes.append((change.names, change.qualified))


def test_watchers_hear_of_changes_once_they_are_visible():
    published = PublishedZone(Zone("n", from_text("front"), 5))
    watcher = Watcher()
    published.watchers.add(watcher)
    old, new = (Record(from_text(name), bytes(4), "e") for name in ("old", "new"))
    published.change((), [old])
    before = published.current
    published.change([old], [new])
    assert published.current.find(from_text("old")) is None
    assert published.current.find(from_text("new")) == (bytes(4),)
    # Readers that hold the old zone see no mix.
    assert before.find(from_text("new")) is None
    assert watcher.changes[-1] == ({from_text("old"), from_text("new")}, {from_text("old.front"), from_text("new.front")})


def test_what_is_derived_is_derived_once_for_each_key():
    change, made = NameChange(frozenset(), frozenset()), []
    for key in ("a", "b", "a"):
        assert change.derive(key, lambda key=key: (made.append(key), frozenset([key.encode()]))[1]) == {key.encode()}
    assert made == ["a", "b"]
