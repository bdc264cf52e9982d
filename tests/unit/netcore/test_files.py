"""Files in reach of a sandbox: nothing that is put there holds up the daemon, fills its memory, or is read through a link."""

import os
import socket
import tracemalloc

import pytest

from netcore import limits
from netcore.desired.objects import HostsLines
from netcore.kernel import files
from netcore.kernel.handlers.files import HOSTS_LINES


def _pipe(path):
    os.mkfifo(path)


def _socket(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def _directory(path):
    path.mkdir()
    (path / "inner").mkdir()
    (path / "inner" / "file").write_text("x")


def _link(path):
    secret = path.with_name("secret")
    secret.write_text("secret\n")
    path.symlink_to(secret)


def _link_to_nothing(path):
    path.symlink_to(path.with_name("nothing"))


ODD = pytest.mark.parametrize("make", [_pipe, _socket, _directory, _link, _link_to_nothing])


@ODD
def test_what_is_no_file_is_not_read(tmp_path, make):
    path = tmp_path / "hosts"
    make(path)
    with pytest.raises(files.NotRegular, match="not a regular file"):
        files.read(str(path))


@ODD
def test_what_is_no_file_is_replaced_by_one(tmp_path, make):
    path = tmp_path / "hosts"
    make(path)
    files.write_in_place(str(path), "new\n")
    assert path.read_text() == "new\n"
    assert not path.is_symlink()
    assert not tmp_path.joinpath("nothing").exists()
    secret = tmp_path / "secret"
    assert not secret.exists() or secret.read_text() == "secret\n"


def test_a_pipe_with_a_reader_is_replaced_too(tmp_path):
    path = tmp_path / "hosts"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    files.write_in_place(str(path), "new\n")
    assert path.read_text() == "new\n"
    os.close(reader)


def test_a_link_of_the_host_is_followed(tmp_path):
    path = tmp_path / "hosts"
    _link(path)
    assert files.read(str(path), follow=True) == "secret\n"


def test_a_sparse_gigabyte_is_neither_read_nor_replaced(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("")
    os.truncate(path, 1 << 30)
    with pytest.raises(files.TooLarge, match=str(limits.SANDBOX_FILE)):
        files.read(str(path))
    HOSTS_LINES.create(None, HostsLines(path=str(path), lines=("10.0.0.1\tweb",)))
    assert path.stat().st_size == 1 << 30


@ODD
def test_hosts_lines_go_into_a_new_file(tmp_path, make):
    path = tmp_path / "hosts"
    make(path)
    HOSTS_LINES.create(None, HostsLines(path=str(path), lines=("10.0.0.1\tweb",)))
    assert path.read_text() == "10.0.0.1\tweb\n"


@ODD
def test_anything_is_removed(tmp_path, make):
    path = tmp_path / "hosts"
    make(path)
    files.remove(str(path))
    assert not os.path.lexists(path)
    files.remove(str(path))


def test_a_file_keeps_its_inode(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("old, and longer\n")
    before = path.stat().st_ino
    files.write_in_place(str(path), "new\n")
    assert (path.read_text(), path.stat().st_ino) == ("new\n", before)


def test_a_small_file_takes_little_memory_and_a_large_one_is_read_to_the_bound(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("x")
    tracemalloc.start()
    assert files.read(str(path)) == "x"
    assert tracemalloc.get_traced_memory()[1] < limits.SANDBOX_FILE / 10
    tracemalloc.stop()
    path.write_bytes(bytes(range(256)) * 300)
    assert files.read_octets(str(path), 70_000, follow=False) == path.read_bytes()[:70_000]
    assert files.read_octets(str(path), 1 << 20, follow=False) == path.read_bytes()
