"""A connection to an upstream at odd moments."""

from types import SimpleNamespace

from resolver.transport.pending import PendingQuery
from resolver.transport.stream import _Connection


class Closing:
    """A transport of uvloop between the end of its connection and `connection_lost`."""

    def is_closing(self):
        return True

    def write(self, octets):
        raise RuntimeError("unable to perform operation on a closed transport; the handler is closed")


def test_one_that_is_closing_takes_no_query_and_loses_none():
    connection = _Connection(SimpleNamespace(on_open=lambda _: None), None, lambda: 7, lambda: 0.0)
    connection.connection_made(Closing())
    query = PendingQuery(None, None, b"", b"a message", 0.0)
    connection.write(query, pads=False)
    assert dict(connection.pending) == {7: query}
