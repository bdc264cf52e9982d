"""What is no network namespace is refused at once, whatever it is."""

import gc
import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from netcore.errors import InvalidRequest, NotFound
from netcore.kernel import netns
from netcore.kernel.netns import open_netns


@pytest.mark.parametrize("path", ["/nowhere", "relative", "/proc/self/ns/net\0"])
def test_what_is_not_there(path):
    with pytest.raises(NotFound, match="no such netns"):
        open_netns(path)


@pytest.mark.parametrize("kind", ["file", "pipe", "directory"])
def test_what_is_something_else(tmp_path, kind):
    path = tmp_path / kind
    {"file": path.touch, "pipe": lambda: os.mkfifo(path), "directory": path.mkdir}[kind]()
    gc.collect()  # What earlier tests left open must not be closed in between.
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(InvalidRequest, match="is not a network namespace"):
        open_netns(str(path))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_another_kind_of_namespace():
    with pytest.raises(InvalidRequest, match="is not a network namespace"):
        open_netns("/proc/self/ns/uts")


def test_directory_whose_mount_is_covered_is_made(monkeypatch, tmp_path):
    # It is listed still, but what is seen there is the mount above it.
    monkeypatch.setattr(netns, "_is_mount_point", lambda path: True)
    netns._prepare_directory(tmp_path / "run" / "netns")
    assert (tmp_path / "run" / "netns").is_dir()


def test_a_mount_is_known_without_a_look_at_all_others(monkeypatch, tmp_path):
    opened = Mock(wraps=open)
    monkeypatch.setattr(netns, "open", opened, raising=False)
    assert netns._is_mount_point("/proc")
    assert not netns._is_mount_point(str(tmp_path))
    paths = [call.args[0] for call in opened.call_args_list]
    assert len(paths) == 4
    assert all(path.startswith("/proc/thread-self/fdinfo/") for path in paths)
