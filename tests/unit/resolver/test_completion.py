"""Completion: what is offered where, and the scripts in real shells."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from resolver.cli import completion
from resolver.cli.completion import Then, broken_off, complete, split
from resolver.cli.completion_scripts import SCRIPTS, install_path
from resolver.cli.reference.tree import tree
from resolver.cli.sandbox_options import COMMANDS, flags_of, of_command
from tests.support.fake_daemon import FakeDaemon

NAMES = {"network": ["back", "front"], "sandbox": ["db", "web"], "driver": ["bridge", "macvlan"]}
ROOT = tree()


def offered(line):
    words, current = split(f"berth {line}")
    made = complete(ROOT, words, current, NAMES.get)
    return {word for word, _ in made.candidates}, made.then


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_option_is_offered(command):
    for option in of_command(command):
        for flag in flags_of(option, command):
            assert flag in offered(f"{command} {flag}")[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("netw", {"network"}),
        ("kill -s HUP w", {"web"}),
        ("ps --format ", {"table", "json"}),
        ("network in", {"inspect"}),
        ("network create --subn", {"--subnet"}),
        ("network create -d ", {"bridge", "macvlan"}),
        ("network create --driver=m", {"--driver=macvlan"}),
        ("network rm f", {"front"}),
        ("network rm front b", {"back"}),
        ("network connect ", {"back", "front"}),
        ("network connect front ", {"db", "web"}),
        ("network connect front web ", set()),
        ("network ls --format ", {"table", "json"}),
        ("completion ", {"bash", "zsh", "fish"}),
        ("exec w", {"web"}),
        ("exec -e A=1 ", {"db", "web"}),
        ("exec -- ", {"db", "web"}),
        ("run --detach --net", {"--network", "--net", "--network-alias", "--net-alias"}),
        ("run --network ", {"back", "front", "host", "none", "container:"}),
        ("run --network=f", {"--network=front"}),
        ("run --network container:d", {"container:db"}),
        ("run --network front,ip", {"front,ip=", "front,ip6="}),
        ("attach --network ", {"back", "front"}),
        ("attach --network container:", set()),
        ("run --link d", {"db"}),
        ("run -p 80 --li", {"--link", "--link-local-ip"}),
        ("run -dp 80:80 --exp", {"--expose"}),
        ("run -p80:80 --exp", {"--expose"}),
        ("run --name ", set()),
        ("resolve x --from ", {"db", "web"}),
        ("inspect web ", {"db", "web"}),
        ("--ver", {"--version"}),
        ("nothing ", {command.name for command in ROOT.commands}),
        ("run -dP --nothing", set()),
    ],
)
def test_offers(line, words):
    assert offered(line)[0] == words


@pytest.mark.parametrize(
    ("line", "then"),
    [
        ("run --env-file ", Then.FILE),
        ("run --workdir ", Then.DIRECTORY),
        ("run -d ", Then.COMMAND),
        ("run -d -- l", Then.COMMAND),
        ("run ls --network ", Then.FILE),
        ("run ls -l ", Then.FILE),
        ("exec web ", Then.COMMAND),
        ("up -f ", Then.FILE),
        ("run --network front,", Then.NO_SPACE),
        ("run --network fr", Then.NOTHING),
        ("run --network cont", Then.NO_SPACE),
    ],
)
def test_what_the_shell_does_besides(line, then):
    assert offered(line)[1] is then


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("berth ", ([], "")), ("berth run --net", (["run"], "--net")), ("berth 'a b' c", (["a b"], "c")),
        ("berth 'a b", ([], "a b")), ('berth x "', (["x"], "")), ('berth "\\', ([], "")),
    ],
)  # fmt: skip
def test_split(line, words):
    assert split(line) == words


def test_bash_replaces_only_what_follows_a_break():
    assert [broken_off(word, "\"'=:") for word in ("front", "container:db", "--network=front,ip=1")] == [0, 10, 19]
    assert broken_off("container:db", " ") == 0


NETWORKS = [{"name": "front", "labels": {}}, {"name": "back", "labels": {}}]
SANDBOXES = [{"name": "shop-web-1", "labels": {"berth.service": "web"}}, {"name": "db", "labels": {}}]


@pytest.fixture
def daemon(monkeypatch, tmp_path):
    monkeypatch.setenv("BERTH_RUN_DIR", str(tmp_path))
    with FakeDaemon(tmp_path) as made:
        made.responses |= {"GET /v1/networks": NETWORKS, "GET /v1/sandboxes": SANDBOXES}
        yield made


def test_names_come_from_the_daemon(daemon):
    assert completion.existing("network") == ["back", "front"]
    assert completion.existing("sandbox") == ["db", "shop-web-1", "web"]
    assert "overlay" in completion.existing("driver")


def test_without_a_daemon_there_are_no_names(monkeypatch, tmp_path, daemon):
    daemon.responses["GET /v1/networks"] = b"nonsense"
    assert completion.existing("network") == []
    daemon.responses["GET /v1/networks"] = (500, {"error": {"kind": "kernel", "message": "no"}})
    assert completion.existing("network") == []
    monkeypatch.setenv("BERTH_RUN_DIR", str(tmp_path / "none"))
    assert completion.existing("sandbox") == []


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["bash", " =:", "berth exec s"], "nothing\nshop-web-1\n"),
        (["bash", " =:", "berth run --network=f"], "nothing\nfront\n"),
        (["fish", "exec", "s"], "nothing\nshop-web-1\tsandbox\n"),
        (["zsh", "netw"], "nothing\nnetwork\tCreate and change networks.\n"),
        (["zsh", "run", "--env-file", ""], "file\n"),
    ],
)
def test_output_for_scripts(daemon, capsys, arguments, printed):
    assert completion.main(arguments) == 0
    assert capsys.readouterr().out == printed


def test_install_path():
    assert install_path("bash", {}, "/home/u") == "/home/u/.local/share/bash-completion/completions/berth"
    assert install_path("bash", {"XDG_DATA_HOME": "/d"}, "/home/u") == "/d/bash-completion/completions/berth"
    assert install_path("zsh", {}, "/home/u") == "/home/u/.local/share/zsh/site-functions/_berth"
    assert install_path("fish", {"XDG_CONFIG_HOME": "/c"}, "/home/u") == "/c/fish/completions/berth.fish"


# --- in real shells -----------------------------------------------------------------------------------------------


@pytest.fixture
def shell(daemon, monkeypatch, tmp_path):
    """Runs a script in a shell, in which `berth` is ours, and the script of its completion is the file $SCRIPT."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    berth = binaries / "berth"
    berth.write_text(f'#!/bin/sh\nexec {sys.executable} -m resolver "$@"\n')
    berth.chmod(0o755)
    root = str(Path(completion.__file__).parents[2])

    def run(name, text):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed (apt-get install {name})")
        script = tmp_path / f"script.{name}"
        script.write_text(SCRIPTS[name].text)
        environment = os.environ | {
            "PATH": f"{binaries}:/usr/bin:/bin",
            "SCRIPT": str(script),
            "HOME": str(tmp_path),
            "PYTHONPATH": root,
            "TERM": "dumb",
        }
        done = subprocess.run([name, "-c", text], capture_output=True, text=True, env=environment, check=False, timeout=50, cwd=tmp_path)
        return done.stdout.splitlines()

    return run


BASH = r"""
source $SCRIPT
compopt() { echo "compopt $*"; }
offer() {
    COMP_LINE="$1" COMP_POINT=${#1} COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
    shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    $(complete -p berth | sed 's/.*-F \([^ ]*\).*/\1/')
    printf '%s ' "${COMPREPLY[@]}"; echo
}
offer "berth netw" berth netw
offer "berth network rm " berth network rm ""
offer "berth run --dns-s" berth run --dns-s
offer "berth run --network=f" berth run --network = f
offer "berth exec --env-file " berth exec --env-file ""
offer "berth run --network front,gw" berth run --network front,gw
offer "berth run -- berth" berth run -- berth
"""


def test_bash(shell):
    assert shell("bash", BASH) == [
        "network ",
        "back front ",
        "--dns-search ",
        "front ",
        "compopt -o default",
        " ",
        "compopt -o nospace",
        "front,gw-priority= ",
        "berth ",
    ]


def test_fish(shell):
    lines = shell(
        "fish",
        "source $SCRIPT; for line in 'berth netw' 'berth network rm ' 'berth run --dns-s' 'berth run --network=f'; complete -C $line; end",
    )
    assert [line.partition("\t")[0] for line in lines] == ["network", "back", "front", "--dns-search", "--network=front"]


ZSH = r"""
zmodload zsh/zpty
zpty -b z zsh -f -i
zpty -w z 'PS1= ; stty columns 200; autoload -Uz compinit; compinit -u; source $SCRIPT; zstyle ":completion:*" list-prompt ""'
zpty -w z 'bindkey "^I" complete-word; print ready$((40 + 2))'
zpty -m -r z out '*ready42*'
typed() {
    zpty -n -w z "$1"$'\t'
    zpty -m -r z out "*$2*" && print -r -- "$2"
    zpty -n -w z $'\x15'
}
typed 'berth netw' 'berth network '
typed 'berth run --dns-s' 'berth run --dns-search '
typed 'berth network rm fr' 'berth network rm front '
zpty -d z
"""


def test_zsh(shell):
    assert shell("zsh", ZSH) == ["berth network ", "berth run --dns-search ", "berth network rm front "]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("container exec", ["exec"]), ("network list", ["network", "ls"]), ("compose -p shop exec", ["exec"]), ("compose ps", ["compose", "ps"]),
        ("compose", ["compose"]), ("compose -f a.yaml", ["compose"]), ("run -d", ["run", "-d"]),
    ],
)  # fmt: skip
def test_docker_spellings_are_completed_as_our_commands(typed, meant):
    assert completion._own_words(typed.split()) == meant
