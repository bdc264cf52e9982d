"""What an error says and how it is reported."""

import errno

import pytest

from netcore.errors import (
    Conflict,
    Exhausted,
    InvalidRequest,
    KernelError,
    NetcoreError,
    NotFound,
    PluginFailed,
    TeardownFailed,
    Unavailable,
)
from netcore.store.protocol import Compacted, CompareFailed

ERRORS = [
    (InvalidRequest("subnet", "give one"), "invalid subnet: give one", "invalid", 400, "subnet"),
    (NotFound("network", "front"), "no such network: front", "not-found", 404, "front"),
    (Conflict("network", "front", "already exists"), "network front already exists", "conflict", 409, "front"),
    (Conflict("state directory", "/x", because="somebody is there"), "state directory /x: somebody is there", "conflict", 409, "/x"),
    (Exhausted("network", "front", "has no address left"), "network front has no address left", "exhausted", 409, "front"),
    (Exhausted("host", "networks", because="at most 3"), "host networks: at most 3", "exhausted", 409, "networks"),
    (KernelError("create", "link x", errno.EEXIST), "create link x: EEXIST (File exists)", "kernel", 500, "link x"),
    (KernelError("create", "link x", 9999, "odd"), "create link x: 9999 (odd)", "kernel", 500, "link x"),
    (Unavailable("nftables", "install it"), "nftables is not available: install it", "unavailable", 503, "nftables"),
    (PluginFailed("p", "N.Join", "no"), "plugin p: N.Join: no", "plugin", 502, "p"),
    (TeardownFailed("sandbox x", ("a", "b")), "removed sandbox x, but these steps failed: a; b", "teardown", 500, "sandbox x"),
    (CompareFailed("network/1"), "network/1 was changed by somebody else; try again", "conflict", 409, "network/1"),
    (Compacted(7), "the changes after revision 7 are no longer known; load everything again", "unavailable", 503, None),
]  # fmt: skip


@pytest.mark.parametrize(("error", "text", "kind", "status", "subject"), ERRORS, ids=[type(row[0]).__name__ for row in ERRORS])
def test_text_and_report(error, text, kind, status, subject):
    assert str(error) == text
    assert (error.kind, error.status, error.subject) == (kind, status, subject)


def test_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        NetcoreError("text", None)
    with pytest.raises(TypeError, match="Incomplete must set kind and status"):
        type("Incomplete", (NetcoreError,), {})


def test_every_class_is_covered():
    assert {type(row[0]) for row in ERRORS} == {cls for cls in NetcoreError.__subclasses__() if hasattr(cls, "kind")}
