"""Which messages from an upstream are responses to our query, and what they mean for it. Pure. Spec: RFC 5452 section 9.1."""

from __future__ import annotations

from enum import Enum

from resolver.errors import DecodeError
from resolver.wire.message import HEADER, QR, TC, Rcode, read_question


class Kind(Enum):
    """What an upstream's message is to us."""

    FINAL = "an answer, or an error that would be the same from any other server"
    TRUNCATED = "does not fit in a datagram"
    FAILED = "SERVFAIL or REFUSED: another server may do better"
    NO_EDNS = "FORMERR or NOTIMP: perhaps the server does not know EDNS"
    UNRELATED = "not the response to our query"


_NOT_UNDERSTOOD = (Rcode.FORMERR, Rcode.NOTIMP)
_FINAL = (int(Rcode.NOERROR), int(Rcode.NXDOMAIN))
_QR, _TC = QR >> 8, TC >> 8
_HEADER = HEADER.size
# Looking a member of an enumeration up takes longer than the comparison.
_ANSWER = Kind.FINAL


def classify(question: bytes, identity: int, message: bytes) -> Kind:
    """Return what *message* is, if *question* was asked with the ID *identity*."""
    if len(message) < _HEADER or message[0] << 8 | message[1] != identity or not message[2] & _QR:
        return Kind.UNRELATED
    end = _HEADER + len(question)
    is_same = message.startswith(b"\0\1", 4) and message.startswith(question, _HEADER)
    if is_same and not message[2] & _TC and message[3] & 0xF in _FINAL:
        return _ANSWER
    if not is_same and not _is_same_question(question, message):
        # A server that can't parse our query may leave the question out.
        return Kind.NO_EDNS if len(message) < end and message[3] & 0xF in _NOT_UNDERSTOOD else Kind.UNRELATED
    if message[2] & _TC:
        return Kind.TRUNCATED
    rcode = message[3] & 0xF
    if rcode in (Rcode.SERVFAIL, Rcode.REFUSED):
        return Kind.FAILED
    return Kind.NO_EDNS if rcode in _NOT_UNDERSTOOD else Kind.FINAL


def _is_same_question(question: bytes, message: bytes) -> bool:
    """Return whether the message is about *question*, in whatever case (RFC 4343)."""
    try:
        _, _, _, end = read_question(message)
    except DecodeError:
        return False
    return message[4:6] == b"\0\1" and message[HEADER.size : end].lower() == question.lower()
