"""Where berth has its files, by who runs it."""

from types import SimpleNamespace

import pytest

from resolver.rootless.places import ROOT, places, user_of

HOME = {"HOME": "/home/ann"}


def test_root_has_what_it_always_had():
    assert places(0, {**HOME, "XDG_RUNTIME_DIR": "/run/user/0", "XDG_STATE_HOME": "/s"}) == ROOT


def test_user_has_everything_below_own_directories(monkeypatch):
    monkeypatch.setattr("os.path.isdir", lambda path: path == "/run/user/1000")
    made = places(1000, HOME)
    assert made.run_dir == "/run/user/1000/berth"
    assert made.netns_dir == "/run/user/1000/berth/netns"
    assert made.state_dir == "/home/ann/.local/state/berth"
    assert made.config == "/home/ann/.config/berth/berth.toml"
    assert made.lists == "/home/ann/.config/berth/egress"
    given = {**HOME, "XDG_RUNTIME_DIR": "/r", "XDG_STATE_HOME": "/s", "XDG_CONFIG_HOME": "/c"}
    assert places(1000, given) == ("/r/berth", "/s/berth", "/r/berth/netns", "/c/berth/berth.toml", "/c/berth/egress")


@pytest.mark.parametrize("uid", [0, 1000])
def test_variables_go_before_both(uid):
    given = {**HOME, "BERTH_RUN_DIR": "/a", "BERTH_STATE_DIR": "/b", "BERTH_NETNS_DIR": "/c", "BERTH_CONFIG": "/d"}
    assert places(uid, given)[:4] == ("/a", "/b", "/c", "/d")


def test_namespaces_follow_the_run_directory_of_a_user_only():
    assert places(1000, {**HOME, "BERTH_RUN_DIR": "/a"}).netns_dir == "/a/netns"
    assert places(0, {**HOME, "BERTH_RUN_DIR": "/a"}).netns_dir == "/run/netns"


def test_user_without_a_session_has_a_directory_below_tmp(monkeypatch):
    monkeypatch.setattr("os.path.isdir", lambda path: False)
    assert places(1000, HOME).run_dir == "/tmp/berth-1000/berth"


def test_who_is_root_in_a_nest_has_the_places_of_its_user():
    inside = {**HOME, "BERTH_ROOTLESS": "1000"}
    assert places(0, inside) == places(1000, HOME)
    assert (user_of(0, inside), user_of(0, HOME), user_of(1001, inside), user_of(0, {"BERTH_ROOTLESS": "x"})) == (1000, 0, 1001, 0)


def test_home_that_the_environment_lacks_is_that_of_the_database_of_users(monkeypatch):
    # Of the user outside: who is root in a nest is not the host's root.
    monkeypatch.setattr("pwd.getpwuid", lambda uid: SimpleNamespace(pw_dir=f"/home/of{uid}"))
    for uid, environment in ((1000, {}), (1000, {"HOME": ""}), (0, {"BERTH_ROOTLESS": "1000"})):
        assert places(uid, environment).state_dir == "/home/of1000/.local/state/berth"


def test_directories_that_are_not_absolute_are_as_if_they_were_not_set():
    given = {**HOME, "XDG_RUNTIME_DIR": "r", "XDG_STATE_HOME": "./s", "XDG_CONFIG_HOME": "c"}
    assert places(1000, given) == places(1000, HOME)
