"""Log lines: key=value, one a record."""

import io
import logging
import sys

import pytest

from resolver.daemon import logs


@pytest.fixture
def root():
    root = logging.getLogger()
    kept = root.handlers[:], root.level
    yield root
    root.handlers[:], level = kept
    root.setLevel(level)


def formatted(message, *arguments, exc_info=None):
    record = logging.LogRecord("a.b", logging.WARNING, "f", 1, message, arguments, exc_info)
    record.created, record.msecs = 0.0, 7
    return logs.KeyValueFormatter().format(record)


def test_event_comes_first_then_its_fields():
    assert formatted("network is gone name=%s n=%d", "front", 2) == (
        'time=1970-01-01T00:00:00.007Z level=warning logger=a.b msg="network is gone" name=front n=2'
    )
    assert formatted("all is well").endswith('msg="all is well"')
    assert "\n" not in formatted("gone reason=%s", "a\nb")


def test_trace_of_an_error_follows():
    try:
        raise ValueError("odd")
    except ValueError:
        assert formatted("failed", exc_info=sys.exc_info()).endswith("ValueError: odd")


def test_levels(root, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure("warning")
    for name, level in (("x", logging.INFO), ("x", logging.WARNING), ("aiohttp.access", logging.INFO)):
        logging.getLogger(name).log(level, "said level=%d", level)
    assert stream.getvalue().count("\n") == 1


def test_text_of_others_can_not_steer_a_terminal_or_forge_a_line():
    line = formatted("gone reason=%s", "\x1b[2Ja\r\x00\x9b\u2028b\tü")
    assert line.endswith("reason=\\x1b[2Ja\\r\\x00\\x9b\\u2028b\tü")
