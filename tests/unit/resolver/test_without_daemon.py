"""What commands do when no daemon answers, when the one that does is about to stop, and when it ends before it has answered."""

import json
import socket
import sqlite3
import sys
import threading

import pytest

from resolver import cli
from resolver.cli import client, entering, without_daemon
from resolver.cli.client import Refused, Unanswered

ASKING = ("ps", "ps -a", "logs web", "wait web", "inspect web", "start web", "stop web", "restart web", "kill web", "top web", "port web",
          "exec web true", "rename web www", "rm web", "stats --no-stream web", "network ls", "network inspect front", "graph", "compose ls",
          "compose -p shop ps", "compose -p shop logs", "compose -p shop stop", "compose -p shop restart", "compose -p shop kill",
          "compose -p shop top", "compose -p shop exec web true", "network connect front web", "network disconnect front web")  # fmt: skip
CHANGING = ("run true", "attach --name x --pid 1", "network create front", "network rm front", "network prune -f", "prune -f")
ABOUT_IT = ("status", "events", "doctor", "doctor --remove", "node ls", "resolve web", "cache ls", "cache flush", "daemon stop")


@pytest.fixture
def started(monkeypatch, tmp_path):
    """Nothing answers in this place, and nothing is saved there. How often a daemon was to be started."""
    for name in ("RUN", "STATE"):
        monkeypatch.setenv(f"BERTH_{name}_DIR", str(tmp_path / name))
        (tmp_path / name).mkdir()
    monkeypatch.setattr(without_daemon, "_may_start", lambda: True)
    monkeypatch.setattr(entering, "check_privilege", lambda: None)
    monkeypatch.setattr("resolver.cli.sandbox_calls.signal.signal", lambda *_: None)
    attempts = []

    def start():
        attempts.append(1)
        raise Refused("no daemon today")

    monkeypatch.setattr(without_daemon, "start_daemon", start)
    return attempts


@pytest.fixture
def berth(monkeypatch, capsys):
    def call(command):
        monkeypatch.setattr(sys, "argv", ["berth", *command.split()])
        try:
            code = cli.main()
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    return call


def save(tmp_path, key):
    """Leave a record, as a daemon does; a sandbox that stays has a directory, too."""
    if key.startswith("run/"):
        (tmp_path / "STATE" / "sandboxes" / key.removeprefix("run/")).mkdir(parents=True)
        return
    with sqlite3.connect(tmp_path / "STATE" / "berth.db") as database:
        database.execute("CREATE TABLE item (key TEXT PRIMARY KEY, value BLOB)")
        database.execute("INSERT INTO item VALUES (?, ?), ('network/gone', NULL)", (key, b"{}"))


@pytest.mark.parametrize("command", ASKING)
def test_who_asks_for_what_is_saved_starts_a_daemon(started, berth, tmp_path, command):
    save(tmp_path, "run/abc")
    assert "no daemon today" in berth(command)[2]
    assert started == [1]


@pytest.mark.parametrize("key", ["run/abc", "sandbox/abc", "network/abc"])
def test_everything_that_is_saved_is_a_reason(started, berth, tmp_path, key):
    save(tmp_path, key)
    assert "no daemon today" in berth("ps")[2]


@pytest.mark.parametrize("command", ASKING)
def test_where_nothing_is_saved_there_is_nothing(started, berth, command):
    code, shown, said = berth(command)
    assert not started
    assert "no berth daemon answers" not in said
    if command in ("ps", "ps -a", "network ls", "compose ls"):
        assert (code, said) == (0, "")
        assert shown.split()[:1] in (["NAME"], ["SANDBOX"], ["NETWORK"])
    elif "web" in command and "-p" not in command:
        assert (
            "there is no sandbox and no network web" if command.startswith("inspect") else "no such sandbox: web; there is none"
        ) in said


def test_what_else_is_in_the_database_is_no_reason(started, berth, tmp_path):
    save(tmp_path, "node/own")
    assert berth("ps")[0] == 0
    assert not started


def test_a_database_that_can_not_be_read_is_for_a_daemon(started, berth, tmp_path):
    (tmp_path / "STATE" / "berth.db").write_bytes(b"damaged" * 1000)
    assert "no daemon today" in berth("ps")[2]


def test_the_state_is_where_the_configuration_says(started, berth, tmp_path, monkeypatch):
    save(tmp_path, "network/abc")
    monkeypatch.delenv("BERTH_STATE_DIR")
    monkeypatch.setenv("BERTH_CONFIG", str(tmp_path / "berth.toml"))
    (tmp_path / "berth.toml").write_text(f'state_dir = "{tmp_path}/STATE"\n')
    assert "no daemon today" in berth("ps")[2]


@pytest.mark.parametrize("command", CHANGING)
def test_who_changes_something_starts_a_daemon(started, berth, command):
    assert "no daemon today" in berth(command)[2]
    assert started == [1]


@pytest.mark.parametrize("command", ABOUT_IT)
def test_what_is_about_the_daemon_starts_none(started, berth, tmp_path, command):
    save(tmp_path, "run/abc")
    code, _, said = berth(command)
    if not started:
        assert code == 1
        assert "no berth daemon answers" in said
    # Only to look which sandbox is meant.
    assert not started or command == "events"


def test_who_may_not_start_one_is_told_that_there_is_none(started, berth, tmp_path, monkeypatch):
    monkeypatch.setattr(without_daemon, "_may_start", lambda: False)
    save(tmp_path, "run/abc")
    code, shown, said = berth("ps")
    assert (code, shown, started) == (1, "", [])
    assert "no berth daemon answers" in said


def test_daemon_that_can_not_start_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv("BERTH_RUN_DIR", str(tmp_path))
    python = sys.executable
    for script, text in (
        ("raise SystemExit(1)", "it exited without output"),
        ("import sys; sys.exit('berth: no capability')", "no capability"),
    ):
        interpreter = tmp_path / "python"
        interpreter.write_text(f'#!/bin/sh\nexec {python} -c "{script}"\n')
        interpreter.chmod(0o755)
        monkeypatch.setattr(without_daemon.sys, "executable", str(interpreter))
        with pytest.raises(Refused, match=f"no daemon could be started: {text}"):
            without_daemon.start_daemon()


STOPPING = (503, {"error": {"kind": "stopping", "object": "", "message": "the daemon stops"}})


class Answering:
    """A socket that gives *answers* in turn, one to each connection: (status, body), or None for a connection that is cut off."""

    def __init__(self, path, answers):
        self.answers, self.requests = list(answers), []
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        for answer in self.answers:
            connection, _ = self.listening.accept()
            with connection:
                head = connection.recv(65_536)
                self.requests.append(head.split(b" ")[0].decode())
                if answer is not None:
                    status, body = answer
                    octets = json.dumps(body).encode()
                    connection.sendall(f"HTTP/1.1 {status} x\r\nContent-Length: {len(octets)}\r\n\r\n".encode() + octets)
        self.listening.close()


@pytest.fixture
def answering(tmp_path, monkeypatch):
    monkeypatch.setenv("BERTH_RUN_DIR", str(tmp_path))
    made = []

    def make(*answers):
        made.append(Answering(tmp_path / "berth.sock", answers))
        return made[-1]

    yield make
    for one in made:
        one.thread.join(30)


def test_a_change_that_a_stopping_daemon_refuses_is_asked_of_the_next_one(answering):
    daemon = answering(STOPPING, STOPPING, (201, {"name": "web"}))
    assert client.call("POST", "/v1/sandboxes", {}) == {"name": "web"}
    assert daemon.requests == ["POST"] * 3


def test_a_change_whose_daemon_has_stopped_starts_the_next_one(answering, monkeypatch, tmp_path):
    daemon = answering(STOPPING)
    later = []

    def start():
        daemon.thread.join()
        (tmp_path / "berth.sock").unlink()
        later.append(answering((201, {"name": "web"})))

    monkeypatch.setattr(without_daemon, "start_daemon", start)
    assert client.call("POST", "/v1/sandboxes", {}) == {"name": "web"}
    assert later[0].requests == ["POST"]


def test_a_question_that_is_cut_off_is_asked_again_and_a_change_is_not(answering, tmp_path):
    daemon = answering(None, (200, []), None)
    assert client.call("GET", "/v1/sandboxes") == []
    with pytest.raises(Unanswered, match="this may be done or not"):
        client.call("POST", "/v1/sandboxes", {})
    assert daemon.requests == ["GET", "GET", "POST"]


ENDED = "berth: the daemon has ended: "
STARTS = 'time=2026-11-27T20:31:06Z level=info msg="names are answered"\n'


@pytest.mark.parametrize(
    ("log", "code", "why"),
    [
        ("", 1, "it exited without output"),
        ("", None, "it exited without output"),
        ("a warning\nberth: a setting is wrong\n", 2, "a setting is wrong"),
        (f"berth: a setting is wrong\n{ENDED}exit code 2\n", 1, "a setting is wrong"),
        # Those of a nest, whose holder notes how they end, and those of root.
        (f"{STARTS}{ENDED}exit code 0\n", 1, without_daemon._ENDED),
        (STARTS, 0, without_daemon._ENDED),
        (f"{STARTS}{ENDED}signal 24\n", 1, "it was ended by SIGXCPU"),
        (STARTS, -9, "it was ended by SIGKILL"),
        (f"berth: another berth daemon is using it\n{ENDED}signal 15\n", 1, "another berth daemon is using it"),
    ],
)
def test_why_there_is_no_daemon(log, code, why):
    assert without_daemon._why_none(log, code) == why


def test_one_that_ends_as_it_is_asked_for_is_started_again(monkeypatch, tmp_path):
    reasons = [without_daemon._ENDED, None]
    monkeypatch.setattr(without_daemon, "run_directory", lambda: str(tmp_path))
    monkeypatch.setattr(without_daemon, "_try_to_start", lambda *_: reasons.pop(0))
    without_daemon.start_daemon()
    assert reasons == []
