"""Where sandboxes are found by name: links that follow a rename, and nothing of a user's."""

import pytest

from netcore.kernel.named_paths import Named, NamedPaths


@pytest.fixture
def host(tmp_path):
    """A host with the directories of two sandboxes, `a` and `b`."""
    for name in "ab":
        (tmp_path / "run/sandboxes" / name).mkdir(parents=True)
        for file in ("hosts", "hostname", "resolv.conf"):
            (tmp_path / "run/sandboxes" / name / file).write_text(f"{file} of {name}")
    return tmp_path


def named(host, name, identity="a"):
    return Named(name, f"/run/netns/berth-{name}", str(host / "run/sandboxes" / identity))


def paths(host, etc="etc/netns"):
    return NamedPaths(str(host / "run"), etc and str(host / etc))


def found(host):
    return sorted(str(path.relative_to(host)) for top in ("run/by-name", "etc") for path in (host / top).rglob("*"))


def test_files_are_found_by_the_name(host):
    paths(host).put(named(host, "web"), owns_files=True)
    assert (host / "run/by-name/web/hosts").read_text() == "hosts of a"
    assert (host / "etc/netns/berth-web/resolv.conf").read_text() == "resolv.conf of a"
    assert str((host / "run/by-name/web/netns").readlink()) == "/run/netns/berth-web"
    # The whole run directory may be seen elsewhere, as in a container.
    (host / "run").rename(host / "elsewhere")
    assert (host / "elsewhere/by-name/web/hosts").read_text() == "hosts of a"


def test_another_name_leads_there_and_the_old_one_nowhere(host):
    both = paths(host)
    both.put(named(host, "web"), owns_files=True)
    both.put(named(host, "shop"), owns_files=True)
    both.drop("web", "/run/netns/berth-web")
    assert str((host / "run/by-name/shop/netns").readlink()) == "/run/netns/berth-shop"
    assert not [path for path in found(host) if "web" in path]
    both.drop("shop", "/run/netns/berth-shop")
    both.drop("shop", "/run/netns/berth-shop")
    assert found(host) == ["etc"] or found(host) == []


def test_a_name_that_is_somebody_elses_by_now_leads_to_him(host):
    both = paths(host)
    both.put(named(host, "web"), owns_files=True)
    both.put(named(host, "web", "b"), owns_files=True)
    assert (host / "run/by-name/web/hosts").read_text() == "hosts of b"
    assert (host / "etc/netns/berth-web/hosts").read_text() == "hosts of b"


def test_who_shares_a_stack_has_the_files_of_the_other(host):
    both = paths(host)
    both.put(named(host, "web"), owns_files=True)
    both.put(named(host, "side", "a"), owns_files=False)
    assert (host / "run/by-name/side/hosts").read_text() == "hosts of a"
    assert str((host / "run/by-name/side/netns").readlink()) == "/run/netns/berth-web"


def test_only_what_an_earlier_daemon_left_is_swept(host):
    both = paths(host)
    both.put(named(host, "web"), owns_files=True)
    both.put(named(host, "gone", "b"), owns_files=True)
    for name in ("theirs", "berth-theirs"):
        (host / "etc/netns" / name).mkdir()
        (host / "etc/netns" / name / "hosts").write_text("mine")
    (host / "etc/netns/berth-gone/services").write_text("mine")
    both.keep_only([named(host, "web")])
    assert (host / "etc/netns/berth-web/hosts").read_text() == "hosts of a"
    assert [path for path in found(host) if "gone" in path] == ["etc/netns/berth-gone", "etc/netns/berth-gone/services"]
    assert (host / "etc/netns/berth-theirs/hosts").read_text() == "mine"


def test_files_of_the_user_stay(host):
    (host / "etc/netns/berth-web").mkdir(parents=True)
    (host / "etc/netns/berth-web/hosts").write_text("mine")
    both = paths(host)
    both.put(named(host, "web"), owns_files=True)
    assert (host / "etc/netns/berth-web/hosts").read_text() == "mine"
    assert (host / "etc/netns/berth-web/hostname").read_text() == "hostname of a"
    both.drop("web", "/run/netns/berth-web")
    assert [path for path in found(host) if "berth-web" in path] == ["etc/netns/berth-web", "etc/netns/berth-web/hosts"]


def test_nothing_is_written_to_etc_if_that_is_switched_off(host):
    both = paths(host, etc="")
    both.put(named(host, "web"), owns_files=True)
    both.keep_only([named(host, "web")])
    both.drop("web", "/run/netns/berth-web")
    assert found(host) == []


def test_what_cannot_be_written_is_told_of_and_stops_nothing(host, caplog):
    (host / "etc").write_text("no directory")
    both = paths(host)
    both.put(named(host, "web"), owns_files=True)
    assert (host / "run/by-name/web/hosts").exists()
    assert "is not found by its name sandbox=web" in caplog.text


def test_names_that_look_like_those_of_new_links_are_left_alone(host):
    both = paths(host)
    both.put(named(host, "web.new", "b"), owns_files=True)
    both.put(named(host, "web"), owns_files=True)
    assert (host / "run/by-name/web.new/hosts").read_text() == "hosts of b"


def test_links_of_a_run_directory_that_is_gone_are_replaced(host):
    (host / "etc/netns/berth-web").mkdir(parents=True)
    (host / "etc/netns/berth-web/hosts").symlink_to(host / "gone/sandboxes/x/hosts")
    (host / "etc/netns/berth-web/resolv.conf").symlink_to(host / "gone/mine")
    paths(host).put(named(host, "web"), owns_files=True)
    assert (host / "etc/netns/berth-web/hosts").read_text() == "hosts of a"
    assert str((host / "etc/netns/berth-web/resolv.conf").readlink()) == str(host / "gone/mine")


def test_a_name_that_nobody_has_is_one_step(host, monkeypatch):
    steps = []
    for call in ("readlink", "unlink", "rename"):
        monkeypatch.setattr(f"os.{call}", lambda *_, call=call: steps.append(call))
    paths(host).put(named(host, "web"), owns_files=True)
    assert (host / "etc/netns/berth-web/hosts").read_text() == "hosts of a"
    assert not steps
