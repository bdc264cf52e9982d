"""What commands print: how it is written to bounded files, and read from them; and when a command is started again."""

import os
import stat

import pytest

from resolver.cli import output_log
from resolver.cli.output_lines import Reader, chosen, stamp
from resolver.cli.output_log import OutputLog
from resolver.cli.table import lay_out, tied
from resolver.restart_policy import next_pause, policy_of


@pytest.fixture
def reading(tmp_path):
    """Makes readers of the log in tmp_path, and closes them."""
    made = []

    def make():
        made.append(Reader(str(tmp_path / "output.log")))
        return made[-1]

    yield make
    for reader in made:
        reader.close()


def texts(lines):
    return [(line.stream, line.text) for line in lines]


def test_lines_are_read_as_they_were_printed(reading, tmp_path):
    log, reader = OutputLog(str(tmp_path)), reading()
    log.write("stdout", b"one\ntw")
    log.write("stderr", b"\xff oops\n")
    assert texts(reader.lines()) == [("stdout", b"one\n"), ("stderr", b"\xff oops\n")]
    log.write("stdout", b"o\n\nrest")
    assert texts(reader.lines()) == [("stdout", b"two\n"), ("stdout", b"\n")]
    log.flush("stdout")
    assert texts(reader.lines()) == []
    assert texts(reader.rest()) == [("stdout", b"rest")]
    assert texts(reader.rest()) == []
    assert stat.S_IMODE((tmp_path / "output.log").stat().st_mode) == 0o600
    log.close()


def test_long_line_is_written_in_parts_and_read_as_one(reading, tmp_path):
    log, reader = OutputLog(str(tmp_path)), reading()
    long = os.urandom(output_log.LINE).replace(b"\n", b"x") * 3 + b"end"
    log.write("stdout", long[:5000])
    log.write("stdout", long[5000:] + b"\nshort\n")
    log.close()
    assert max(map(len, (tmp_path / "output.log").read_bytes().split(b"\n"))) < output_log.LINE + 60
    assert texts(reader.lines()) == [("stdout", long + b"\n"), ("stdout", b"short\n")]


def test_files_are_bounded_and_a_reader_loses_nothing_that_is_kept(reading, tmp_path, monkeypatch):
    monkeypatch.setattr(output_log, "FILE_SIZE", 500)
    log, follower, seen = OutputLog(str(tmp_path)), reading(), []
    for number in range(100):
        log.write("stdout", f"line {number}\n".encode())
        seen += follower.lines()
    assert [line.text for line in seen] == [f"line {number}\n".encode() for number in range(100)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["output.log", "output.log.1", "output.log.2"]
    assert all(path.stat().st_size <= 500 and stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.iterdir())
    kept = [line.text for line in reading().lines()]
    assert 20 < len(kept) < 40
    assert kept == [line.text for line in seen][-len(kept) :]
    log.close()
    # The next start goes on where it was.
    OutputLog(str(tmp_path)).write("stdout", b"again\n")
    assert [line.text for line in reading().lines()][-2:] == [b"line 99\n", b"again\n"]


def test_a_reader_that_is_far_behind_goes_on_with_the_oldest_that_is_kept(reading, tmp_path, monkeypatch):
    monkeypatch.setattr(output_log, "FILE_SIZE", 200)
    log, reader = OutputLog(str(tmp_path)), reading()
    log.write("stdout", b"first\n")
    assert texts(reader.lines()) == [("stdout", b"first\n")]
    for number in range(50):
        log.write("stdout", f"line {number}\n".encode())
    rest = [line.text for line in reader.lines()]
    assert rest[-1] == b"line 49\n"
    assert len(rest) < 50
    assert [line.text for line in reader.lines()] == []
    log.close()


def test_which_lines_are_chosen(reading, tmp_path):
    log = OutputLog(str(tmp_path))
    for number in range(5):
        log.write("stdout", b"%d\n" % number)
    log.close()
    lines = list(reading().lines())
    assert [line.text for line in chosen(lines, tail=2, since=None, until=None)] == [b"3\n", b"4\n"]
    assert list(chosen(lines, tail=None, since=lines[2].time, until=lines[3].time)) == lines[2:4]
    assert list(chosen(lines, tail=0, since=None, until=None)) == []
    assert stamp(0.5) == "1970-01-01T00:00:00.500000000Z"
    assert not list(Reader(str(tmp_path / "nothing")).lines())


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "pipe", "dangling link"])
def test_what_is_in_the_place_of_the_file_is_replaced_and_not_written_to(kind, reading, tmp_path):
    other, path = tmp_path / "other", tmp_path / "output.log"
    other.write_text("theirs")
    match kind:
        case "symbolic link":
            path.symlink_to(other)
        case "hard link":
            os.link(other, path)
        case "pipe":
            os.mkfifo(path)
        case _:
            path.symlink_to(tmp_path / "none")
    log = OutputLog(str(tmp_path))
    log.write("stdout", b"ours\n")
    log.close()
    assert texts(reading().lines()) == [("stdout", b"ours\n")]
    assert (other.read_text(), (tmp_path / "none").exists()) == ("theirs", False)
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600


def test_the_file_is_for_its_owner_only_whatever_it_was_before(tmp_path):
    path = tmp_path / "output.log"
    path.touch()
    path.chmod(0o666)
    OutputLog(str(tmp_path)).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_disk_loses_output_and_ends_nothing(reading, tmp_path, monkeypatch):
    log = OutputLog(str(tmp_path))

    def full(descriptor, octets):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    log.write("stdout", b"lost\n")
    monkeypatch.undo()
    log.write("stdout", b"there\n")
    log.close()
    assert texts(reading().lines()) == [("stdout", b"there\n")]


@pytest.mark.parametrize(
    ("policy", "code", "already", "restarts"),
    [
        ("no", 1, 0, False), ("always", 0, 99, True), ("unless-stopped", 3, 99, True), ("on-failure", 0, 0, False),
        ("on-failure", 1, 99, True), ("on-failure:2", 1, 1, True), ("on-failure:2", 1, 2, False),
    ],
)  # fmt: skip
def test_restart_policies(policy, code, already, restarts):
    assert policy_of(policy).restarts(code, already) is restarts


def test_pauses_double_up_to_a_minute_and_begin_anew_after_good_work():
    pauses = [0.0]
    for _ in range(12):
        pauses.append(next_pause(pauses[-1], 1.0))
    assert pauses[1:4] == [0.1, 0.2, 0.4]
    assert pauses[-1] == 60.0
    assert next_pause(60.0, 10.0) == 0.1


def test_words_that_are_tied_stay_in_one_line_as_long_as_there_is_room():
    rows = [("web", tied("Exited (3) 2 minutes ago"), "a b c d e f g h i j k l m n")]
    assert lay_out(("NAME", "STATUS", "OTHER"), rows, 45, keep=("STATUS",))[1].startswith("web   Exited (3) 2 minutes ago  a b")
    assert lay_out(("NAME", "STATUS", "OTHER"), rows, None)[1].startswith("web   Exited (3) 2 minutes ago  a b")
    narrow = lay_out(("NAME", "STATUS", "OTHER"), rows, 24, keep=("STATUS",))
    assert not [line for line in narrow if "\u00a0" in line]
