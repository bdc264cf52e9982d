"""What options of rights, files and bounds mean, and where control groups of version 2 are made."""

import os

import pytest

from netcore.errors import InvalidRequest
from netcore.isolation import Isolation
from resolver.cli import cgroups, docker_inspect
from resolver.cli.entering import EnterFailed
from resolver.cli.environment import inherited
from resolver.daemon import isolation_shapes
from resolver.daemon.schema import IsolationView
from resolver.isolation import bounds, files, rights
from resolver.isolation.told import isolation_of, withheld_of
from tests.unit.resolver.test_command_line import WEB

DOCKER = 0xA80425FB
"""What a container has by default."""


def test_default_is_dockers_without_what_is_no_sandboxs_own():
    usual = rights.kept(add=(), drop=(), privileged=False)
    assert usual == DOCKER & ~(1 << rights.NAMES.index("MKNOD")) & ~(1 << rights.NAMES.index("AUDIT_WRITE"))
    assert rights.kept(add=(), drop=(), privileged=False, confined=True) == 0


@pytest.mark.parametrize(
    ("add", "drop", "privileged", "confined", "names"),
    [
        (("cap_sys_admin",), ("ALL",), False, False, {"SYS_ADMIN"}),
        (("ALL",), ("net_raw",), False, False, set(rights.NAMES) - {"NET_RAW"}),
        (("NET_ADMIN",), (), False, True, {"NET_ADMIN"}),
        ((), ("CHOWN",), False, False, set(rights.DEFAULT) - {"CHOWN"}),
        (("NET_RAW",), ("NET_RAW",), False, True, {"NET_RAW"}),
    ],
)
def test_capabilities(add, drop, privileged, confined, names):
    kept = rights.kept(add=add, drop=drop, privileged=privileged, confined=confined)
    assert {name for at, name in enumerate(rights.NAMES) if kept >> at & 1} == names


def test_what_is_withheld_is_had_by_nobody():
    for given in ({"privileged": True, "add": ()}, {"privileged": False, "add": ("ALL",)}, {"privileged": False, "add": ("SYS_ADMIN",)}):
        kept = rights.kept(drop=(), withheld=rights.WITH_RULES, **given)
        assert not [name for name in rights.WITH_RULES if kept >> rights.NAMES.index(name) & 1]


@pytest.mark.parametrize(
    ("options", "privileged", "gains"),
    [
        ((), False, False),
        ((), True, True),
        (("no-new-privileges=false",), False, True),
        (("no-new-privileges:true",), True, False),
        (("no-new-privileges",), True, False),
        (("no-new-privileges", "no-new-privileges=false"), False, True),
    ],
)
def test_new_privileges(options, privileged, gains):
    for option in options:
        rights.check_security_option(option)
    assert rights.may_gain(options, privileged=privileged) is gains


@pytest.mark.parametrize(
    ("text", "octets"), [("512", 512), ("64m", 64 << 20), ("1.5g", 3 << 29), ("2GiB", 2 << 30), ("10 kb", 10_240), ("-1", -1)]
)
def test_sizes(text, octets):
    assert bounds.size_of(text) == octets


@pytest.mark.parametrize("text", ["", "m", "1x", "-5", "1e9", "0x10"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="is no size"):
        bounds.size_of(text)


@pytest.mark.parametrize(
    ("text", "limit"),
    [("nofile=1024", (7, 1024, 1024)), ("nproc=10:20", (6, 10, 20)), ("core=-1", (4, -1, -1)), ("stack=8:-1", (3, 8, -1))],
)
def test_limits(text, limit):
    assert bounds.limit_of(text) == limit


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        ("/a:/b", ("/a", "/b", False)),
        ("/a/../c:/b/:ro", ("/c", "/b", True)),
        ("/a:/b:rw,z", ("/a", "/b", False)),
    ],
)
def test_volumes(text, volume):
    assert files.volume_of(text) == volume


@pytest.mark.parametrize(
    ("text", "tmpfs"),
    [
        ("/a", ("/a", 14, "mode=1777")),
        ("/a:size=1m,exec,mode=700", ("/a", 6, "mode=700,size=1048576")),
        ("/a:ro,size=10%", ("/a", 15, "mode=1777,size=10%")),
    ],
)
def test_directories_in_memory(text, tmpfs):
    assert files.tmpfs_of(text) == tmpfs


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"cap_add": ["FLY"]}, "cap-add"),
        ({"cap_drop": [""]}, "cap-drop"),
        ({"security_options": ["seccomp=x"]}, "security-opt"),
        ({"tmpfs": ["tmp"]}, "tmpfs"),
        ({"tmpfs": ["/a:suidd"]}, "tmpfs"),
        ({"tmpfs": ["/proc/x"]}, "tmpfs"),
        ({"volumes": ["data:/a"]}, "volume"),
        ({"volumes": ["/a"]}, "volume"),
        ({"volumes": ["/a:/b:rx"]}, "volume"),
        ({"volumes": ["/a:/../proc"]}, "volume"),
        ({"ulimits": ["nofile"]}, "ulimit"),
        ({"ulimits": ["nofile=2:1"]}, "ulimit"),
        ({"ulimits": ["nofile=-2"]}, "ulimit"),
        ({"memory": 5}, "memory"),
        ({"cpus": float("nan")}, "cpus"),
        ({"cpus": 0.001}, "cpus"),
        ({"pids": -2}, "pids-limit"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": -1.0}, "timeout"),
        ({"shm_size": -1}, "shm-size"),
        ({"confine": "here"}, "confine"),
        ({"confine": "/run/.."}, "confine"),
        ({"confine": "/dev/shm"}, "confine"),
        ({"confine": "/a", "privileged": True}, "privileged"),
        ({"user": "a\nb"}, "user"),
        ({"groups": ["a\0"]}, "group-add"),
    ],
)
def test_what_is_wrong_is_refused_by_its_field(given, field):
    with pytest.raises(InvalidRequest) as caught:
        isolation_shapes.isolation(IsolationView(**given))
    assert caught.value.subject == field


def test_what_the_api_takes_it_tells_again():
    asked = IsolationView(
        cap_add=["NET_ADMIN"], cap_drop=["ALL"], security_options=["label=disable"], user="nobody", groups=["4"], read_only=True,
        tmpfs=["/a"], volumes=["/a:/b"], confine="/c", memory=6 << 20, cpus=0.5, pids=3, ulimits=["core=0"], shm_size=5, timeout=1.5,
    )  # fmt: skip
    assert isolation_shapes.view(isolation_shapes.isolation(asked)) == asked
    assert isolation_shapes.isolation(IsolationView(memory=-1, pids=-1)) == Isolation()


def test_a_daemon_of_an_earlier_version_tells_less():
    assert isolation_of({})["cap_add"] == ()
    assert isolation_of({"isolation": {"user": "a"}})["user"] == "a"
    # It hid directories only where there are egress rules.
    assert withheld_of({"hides": ["/run/berth"]}) == rights.WITH_RULES
    assert not withheld_of({"hides": []})
    assert not withheld_of({"withheld": [], "hides": ["/run/berth"]})


def test_variables_of_the_caller(monkeypatch):
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name in ("PATH", "HOME", "LC_ALL", "LC_TIME", "LCX", "TERM", "TZ", "LANG", "USER", "SHELL", "SECRET", "BERTH_ROOTLESS", "LANGUAGE"):
        monkeypatch.setenv(name, "x")
    assert set(inherited()) == {"PATH", "HOME", "LC_ALL", "LC_TIME", "TERM", "TZ", "LANG", "USER", "SHELL"}
    assert set(inherited(everything=True)) == {*inherited(), "SECRET", "LCX", "LANGUAGE"}
    assert inherited(user="root")["HOME"] == "/root"
    # Who has no entry has no name and no shell, and not the caller's.
    assert set(inherited(user="4711")) == set(inherited()) - {"USER", "SHELL"}
    assert inherited(user="4711")["HOME"] == "/"


# --- control groups of version 2 ----------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """A hierarchy as a user's session has it: of files, which says nothing of what the kernel allows."""
    for path, controllers in (("", "cpu memory pids"), ("user.slice", "memory pids"), ("user.slice/session.scope", "")):
        directory = tmp_path / path
        directory.mkdir(exist_ok=True)
        (directory / "cgroup.subtree_control").write_text(controllers)
    return tmp_path


def test_a_group_is_made_below_the_nearest_that_hands_its_controllers_down(tree):
    hierarchy = cgroups._Hierarchy(2, str(tree), str(tree / "user.slice/session.scope"))
    assert cgroups._create(hierarchy, ["memory", "pids"], "berth-a") == str(tree / "user.slice/berth-a")
    assert cgroups._create(hierarchy, ["memory", "cpu"], "berth-b") == str(tree / "berth-b")


def test_groups_that_can_not_be_had_are_refused_with_what_helps(tree):
    hierarchy = cgroups._Hierarchy(2, str(tree / "none"), str(tree / "none"))
    with pytest.raises(EnterFailed, match=r"--memory: no control group can be made here \(version 2\): .*systemd-run --user --scope"):
        cgroups._create(hierarchy, ["memory"], "berth-a")
    with pytest.raises(EnterFailed, match=r"with version 1 only root can"):
        cgroups._create(cgroups._Hierarchy(1, str(tree), str(tree / "none")), ["cpu"], "berth-a")


def test_files_of_both_versions():
    assert bounds.files_of(2, memory=10, cpus=1.5, pids=0) == {
        "memory": [("memory.max", "10", True), ("memory.swap.max", "10", False)],
        "cpu": [("cpu.max", "150000 100000", True)],
    }
    assert bounds.files_of(1, memory=10, cpus=0, pids=7) == {
        "memory": [("memory.limit_in_bytes", "10", True), ("memory.memsw.limit_in_bytes", "20", False)],
        "pids": [("pids.max", "7", True)],
    }


def test_inspection_has_dockers_fields():
    asked = {"user": "nobody", "cap_add": ["NET_ADMIN"], "cpus": 0.5, "memory": 7, "ulimits": ["nofile=1:2"], "tmpfs": ["/a:size=1m"]}
    shown = {**WEB, "hostname": "web", "domainname": "", "files": "/x", "owner_pid": None, "endpoints": [], "isolation": asked}
    fields = docker_inspect.sandbox(shown, "serve")
    assert fields["Config"]["User"] == "nobody"
    host = fields["HostConfig"]
    assert (host["CapAdd"], host["NanoCpus"], host["Memory"], host["Privileged"]) == (["NET_ADMIN"], 500_000_000, 7, False)
    assert (host["Ulimits"], dict(host["Tmpfs"])) == ([{"Name": "nofile", "Soft": 1, "Hard": 2}], {"/a": "size=1m"})
