"""What is decided for an ordinary user: his ids, where his commands run, what is said when the host forbids it."""

import errno

import pytest

from resolver.rootless import commands, id_ranges, record, refusals
from resolver.rootless.commands import Where

SUBUID = """
# a comment
root:1000:5
ann:100000:65536
1000:300000:10
bob:165536:65536
ann:x:1
ann:400000:0
"""


def test_subordinate_ids_are_found_by_name_and_by_number():
    assert id_ranges.subordinate(SUBUID, "ann", 1000) == [(100_000, 65_536), (300_000, 10)]
    assert id_ranges.subordinate(SUBUID, "carl", 1003) == []
    made = id_ranges.mapping(1000, [(100_000, 65_536), (300_000, 10)])
    assert id_ranges.as_arguments(made) == ["0", "1000", "1", "1", "100000", "65536", "65537", "300000", "10"]


@pytest.mark.parametrize(
    ("typed", "place"),
    [
        ("run -- true", Where.STARTS), ("up -d", Where.STARTS), ("network create x", Where.STARTS), ("compose -p x up", Where.STARTS),
        ("exec web true", Where.STARTS), ("daemon", Where.STARTS), ("unshare -- ip addr", Where.STARTS), ("egress add job x", Where.STARTS),
        ("ps", Where.SHOWS), ("network ls", Where.SHOWS), ("daemon stop", Where.ENTERS), ("status", Where.ENTERS), ("egress log", Where.SHOWS),
        ("doctor", Where.ENTERS), ("logs web", Where.SHOWS),
        ("", Where.OUTSIDE), ("--help", Where.OUTSIDE), ("run --help", Where.OUTSIDE), ("service install --user", Where.OUTSIDE), ("host-dns enable", Where.OUTSIDE),
        ("daemon --check-config", Where.OUTSIDE), ("completion", Where.OUTSIDE), ("config", Where.OUTSIDE),
        ("run -- ls --help", Where.STARTS),
    ],
)  # fmt: skip
def test_each_command_has_its_place(typed, place):
    assert commands.where(typed.split()) is place


APPARMOR = {"user/max_user_namespaces": "15000", "kernel/apparmor_restrict_unprivileged_userns": "1"}


@pytest.mark.parametrize(
    ("code", "switches", "text"),
    [
        (errno.ENOSPC, {"user/max_user_namespaces": "0"}, "sudo sysctl -w user.max_user_namespaces=15000"),
        (errno.EPERM, {"kernel/unprivileged_userns_clone": "0"}, "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        (errno.EACCES, APPARMOR, "`berth doctor` prints the profile"),
        (errno.EPERM, {}, "seccomp=unconfined"),
        (errno.EUSERS, {}, "raise user.max_user_namespaces"),
        (errno.EINVAL, {}, "CONFIG_USER_NS"),
    ],
)
def test_refusal_of_the_host_says_what_helps(code, switches, text):
    said = refusals.reason("making a user namespace", code, switches, "/usr/bin/python3.12")
    assert said.startswith(f"making a user namespace: {errno.errorcode[code]}: ")
    assert text in said
    assert "run berth as root" in said


def test_profile_names_the_interpreter():
    assert 'profile berth "/usr/bin/python3.12" flags=(unconfined) {\n  userns,\n}' in refusals.apparmor_profile("/usr/bin/python3.12")


def test_record_is_read_as_it_was_written_and_a_broken_one_is_none():
    written = record.NestRecord(17, 4711, "why")
    assert record.decode(record.encode(written)) == written
    for broken in (b"", b"{", b"[]", b'{"pid": "x"}', b'{"pid": 1, "started": 2}'):
        assert record.decode(broken) is None
