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
    second = SharedRecords(path, 4, 3)
    assert second.take() == b"ddddbbbb\0\0\0\0"
    assert second.take() == bytes(12)
    first.close()
    second.close()


def test_a_link_in_its_place_is_not_followed(path, tmp_path):
    (tmp_path / "other").write_text("x")
    (tmp_path / "records").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="records"):
        SharedRecords(path, 4, 3)
    assert (tmp_path / "other").read_text() == "x"
