"""What etcd answers, or what answers in its place."""

import aiohttp
import pytest

from netcore.store.etcd import _Refused, read_answer


@pytest.mark.parametrize(
    "octets", [b"<html>502</html>", b"", b"[]", b"null", b"[" * 100_000, b"\xff"], ids=lambda octets: repr(octets[:10])
)
def test_what_is_no_answer_of_etcd_is_a_failure_of_the_connection(octets):
    with pytest.raises(aiohttp.ClientPayloadError, match="HTTP 502"):
        read_answer(octets, 502)


@pytest.mark.parametrize(
    ("octets", "status", "code", "text"),
    [
        (b'{"error":"no leader","code":14,"message":"no leader"}', 503, 14, "no leader"),
        (b'{"error":{"grpc_code":16,"http_code":401,"message":"invalid auth token"}}', 200, 16, "invalid auth token"),
        (b'{"error":"x","code":"y"}', 200, 2, "x"),
        (b"{}", 500, 2, "{}"),
    ],
)
def test_errors_of_etcd_are_told_with_their_code(octets, status, code, text):
    with pytest.raises(_Refused) as caught:
        read_answer(octets, status)
    assert (caught.value.code, str(caught.value)) == (code, text)
