"""The way to a file, and what is read of it."""

import os

import pytest

from resolver import limits
from resolver.daemon.hostfile import HostResolvConf, read, way_to


def names(way, directory):
    return way.entries[str(directory)]


def test_way_to_a_plain_file(tmp_path):
    (tmp_path / "file").touch()
    way = way_to(str(tmp_path / "file"))
    assert way.file == str(tmp_path / "file")
    assert names(way, tmp_path) == {"file"}
    assert names(way, tmp_path.parent) == {tmp_path.name}
    assert "/" in way.entries


def test_way_leads_through_links_of_directories_and_files(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").touch()
    (tmp_path / "directory").symlink_to("real")
    (tmp_path / "link").symlink_to("directory/../directory/file")
    way = way_to(str(tmp_path / "link"))
    assert way.file == str(tmp_path / "real/file")
    assert names(way, tmp_path) == {"link", "directory", "real"}
    assert names(way, tmp_path / "real") == {"file"}


def test_way_ends_where_nothing_is(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "later/still/file")
    way = way_to(str(tmp_path / "link"))
    assert way.file is None
    assert names(way, tmp_path) == {"link", "later"}
    (tmp_path / "later").mkdir()
    assert names(way_to(str(tmp_path / "link")), tmp_path / "later") == {"still"}


def test_links_that_go_in_circles_end(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert way_to(str(tmp_path / "a")).file is None
    assert read(str(tmp_path / "a")).problems == ("can't be read: Too many levels of symbolic links",)


def test_no_file_is_no_problem(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("link", "nothing"):
        assert HostResolvConf(str(tmp_path / name)).problems() == []


@pytest.mark.timeout(10)
def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        assert HostResolvConf(str(path)).problems() == [f"{path}: is not a regular file and is not read"]


def test_very_long_file_is_read_as_far_as_whole_lines_go(tmp_path):
    (tmp_path / "file").write_text("nameserver 10.0.0.1\n" + "# comment\n" * (limits.RESOLV_CONF // 10) + "nameserver 10.0.0.2\n")
    content = read(str(tmp_path / "file"))
    assert content.nameservers == ("10.0.0.1",)
    assert content.problems == ("is longer than 1048576 octets; what follows is not read",)


def test_octets_that_are_no_text_lose_nothing_else(tmp_path):
    (tmp_path / "file").write_bytes(b"# \xff\xfe\nnameserver 10.0.0.1\n")
    assert read(str(tmp_path / "file")).nameservers == ("10.0.0.1",)
