import dns.edns
import dns.exception
import dns.message
import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolver.errors import DecodeError
from resolver.wire.message import (
    ExtendedError,
    find_edns,
    has_plain_opt,
    option_octets,
    options,
    padded,
    read_question,
    render_opt,
    skip_name,
    without_opt,
)


@given(st.binary(min_size=12, max_size=60))
def test_we_read_the_question_that_dnspython_reads(tail):
    octets = b"\0\1\1\0\0\1\0\0\0\0\0\0" + tail
    try:
        theirs = dns.message.from_wire(octets, ignore_trailing=True, question_only=True).question[0]
    except (dns.exception.DNSException, ValueError):
        theirs = None
    try:
        name_octets, qtype, qclass, end = read_question(octets)
    except DecodeError:
        # A compressed name in the question is legal for them and useless: it could only point into the header.
        assert theirs is None or any(octet >= 0xC0 for octet in tail)
        return
    assert theirs is not None
    assert theirs.name == dns.name.from_wire(octets, 12)[0]
    assert (int(theirs.rdtype), int(theirs.rdclass)) == (qtype, qclass)
    assert octets[12 : 12 + len(name_octets)] == name_octets
    assert end == 12 + len(name_octets) + 4


@given(st.binary(max_size=60), st.integers(0, 4))
def test_records_are_skipped_in_bounds(octets, records):
    try:
        find_edns(octets, 0, records)
    except DecodeError as error:
        assert error.offset <= len(octets) + 70_000


@pytest.mark.parametrize(
    "octets",
    [
        b"\3web",  # runs off the end
        b"\3web\0\0\1",  # no class
        b"\xc0\x0c\0\1\0\1",  # compressed
        (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1",  # 257 octets
    ],
)
def test_bad_questions_are_refused(octets):
    with pytest.raises(DecodeError):
        read_question(bytes(12) + octets)


def test_names_are_skipped():
    assert skip_name(b"\3web\3net\0rest", 0) == 9
    assert skip_name(b"\3web\xc0\x0crest", 0) == 6
    for octets in (b"\3web", b"\x40", (b"\x3f" + b"a" * 63) * 5):
        with pytest.raises(DecodeError):
            skip_name(octets, 0)


RECORD = b"\3web\0\0\1\0\1\0\0\0\5\0\4\x0a\0\0\2"


def test_opt_among_other_records_is_found():
    opt = render_opt(payload=1400, do=True, options=option_octets(ExtendedError.OTHER, "x"))
    for octets, records in ((RECORD + opt, 2), (opt + RECORD, 2)):
        edns = find_edns(octets, 0, records)
        assert (edns.payload, edns.version, edns.do) == (1400, 0, True)
        assert list(options(edns.options)) == [(15, b"\0\0x")]
    assert find_edns(RECORD, 0, 1) is None
    assert find_edns(opt, 0, 1).payload == 1400


@pytest.mark.parametrize(
    ("octets", "records"),
    [(RECORD[:-1], 1), (RECORD[:8], 1), (render_opt(payload=1, options=b"abcd")[:-1], 1), (b"\3web" + render_opt(payload=1), 1)],
)
def test_records_that_are_cut_off_or_misplaced_are_refused(octets, records):
    with pytest.raises(DecodeError):
        find_edns(octets, 0, records)


def test_option_that_is_cut_off_ends_the_options():
    assert list(options(b"\0\x0a\0\2ab\0\x0f\0\x09short")) == [(10, b"ab")]


def test_plain_opt_is_taken_away_and_padded():
    with_opt = dns.message.make_query("web", "A", use_edns=0).to_wire()[2:]
    without = dns.message.make_query("web", "A").to_wire()[2:]
    assert without_opt(with_opt) == without
    assert without_opt(without) == without
    assert (has_plain_opt(with_opt), has_plain_opt(without)) == (True, False)
    with_options = dns.message.make_query("web", "A", use_edns=0, options=[dns.edns.GenericOption(10, b"x")]).to_wire()[2:]
    assert without_opt(with_options) == with_options
    made = padded(b"\0\0" + with_opt)
    assert len(made) % 128 == 0
    assert dns.message.from_wire(made).options[0].otype == 12
