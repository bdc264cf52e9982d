"""A name server that answers every A query with one address: `python3 nameserver.py ADDRESS [ANSWER]`. Standard library only.

For trying out `--dns`. It takes UDP on port 53 of ADDRESS; ANSWER is 192.0.2.80 unless given.
"""

import socket
import sys

_HEADER, _TTL = 12, 60
_TYPE_A = 1


def respond(query: bytes, answer: bytes) -> bytes:
    """Return the response to *query*: one A record with *answer*, or none for other types (RFC 1035 section 4.1)."""
    end = _HEADER
    while query[end]:
        end += query[end] + 1
    question = query[_HEADER : end + 5]
    is_address = int.from_bytes(question[-4:-2], "big") == _TYPE_A
    flags = bytes([0x84 | query[2] & 0x01, 0x80])
    counts = bytes([0, 1, 0, is_address, 0, 0, 0, 0])
    # The record's name is a pointer to the question's, at offset 12.
    record = b"\xc0\x0c\x00\x01\x00\x01" + _TTL.to_bytes(4, "big") + b"\x00\x04" + answer
    return query[:2] + flags + counts + question + (record if is_address else b"")


def main() -> None:
    """Answer until killed."""
    address = sys.argv[1]
    answer = socket.inet_aton(sys.argv[2] if len(sys.argv) > 2 else "192.0.2.80")
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 53))
    while True:
        query, client = sock.recvfrom(65_535)
        if len(query) > _HEADER:
            sock.sendto(respond(query, answer), client)


if __name__ == "__main__":
    main()
