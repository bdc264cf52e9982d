"""Records that outlive a process: written in turn, erased only as what they are, taken by the next one."""

import pytest

from netcore.kernel.shared_records import SharedRecords


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "records")


def test_the_next_one_takes_what_is_left(path):
    first = SharedRecords(path, 4, 3)
    places = [first.write(record) for record in (b"aaaa", b"bbbb", b"cccc", b"dddd")]
    assert places == [0, 4, 8, 0]
    # The place has another record by now.
    first.erase(0, b"aaaa")
    first.erase(8, b"cccc")
    for _ in range(2):
        second = SharedRecords(path, 4, 3)
        assert second.left == {0: b"dddd", 4: b"bbbb"}
        second.close()
    first.close()


def test_a_record_stays_as_long_as_there_is_another_place(path):
    first = SharedRecords(path, 4, 3)
    lasting = first.write(b"aaaa")
    for _ in range(5):
        first.erase(first.write(b"bbbb"), b"bbbb")
    first.close()
    second = SharedRecords(path, 4, 3)
    for _ in range(5):
        second.erase(second.write(b"bbbb"), b"bbbb")
    assert second.left == {lasting: b"aaaa"}
    assert [second.write(b"cccc"), second.write(b"dddd"), second.write(b"eeee")] == [4, 8, 0]
    second.close()


def test_a_link_in_its_place_is_not_followed(path, tmp_path):
    (tmp_path / "other").write_text("x")
    (tmp_path / "records").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="records"):
        SharedRecords(path, 4, 3)
    assert (tmp_path / "other").read_text() == "x"
