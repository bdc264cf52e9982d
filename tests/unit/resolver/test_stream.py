"""A connection to an upstream at odd moments."""

from types import SimpleNamespace

import pytest

from resolver.transport.pending import PendingQuery
from resolver.transport.stream import _Connection


class Closing:
    """A transport of uvloop between the end of its connection and `connection_lost`. It may not say that it is closing."""

    def __init__(self, *, says_so):
        self.is_closing = lambda: says_so

    def write(self, octets):
        raise RuntimeError("unable to perform operation on a closed transport; the handler is closed")


@pytest.mark.parametrize("says_so", [True, False])
def test_one_that_is_closing_takes_no_query_and_loses_none(says_so):
    connection = _Connection(SimpleNamespace(on_open=lambda _: None), None, lambda: 7, lambda: 0.0)
    connection.connection_made(Closing(says_so=says_so))
    query = PendingQuery(None, None, b"", b"a message", 0.0)
    connection.write(query, pads=False)
    assert dict(connection.pending) == {7: query}
