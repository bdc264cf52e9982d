"""`berth config` and the options that say which project is meant, on files of the disk."""

import io
import json
import os
import sys

import pytest
import yaml

from resolver import cli
from resolver.cli.compose import interpolate
from resolver.cli.up import project_file

COMPOSE = """
services:
  web: {image: "nginx:${TAG:-1}", ports: ["8080:80"], depends_on: [db], networks: [front, default], environment: [NAME, "COST=$$5"]}
  db: {image: postgres, volumes: ["data:/data"], env_file: db.env}
  debug: {image: x, profiles: [debug]}
networks: {front: }
volumes: {data: }
"""


@pytest.fixture
def berth(monkeypatch, capsys, tmp_path):
    """Runs a command line below tmp_path and returns (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    for name in ("COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES", "COMPOSE_ENV_FILES", "TAG", "NAME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/compose.yaml").write_text(COMPOSE)
    (tmp_path / "shop/db.env").write_text("A=1\n")
    (tmp_path / "shop/.env").write_text("TAG=2\nNAME=shop\n")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["berth", *arguments])
        code = cli.main()
        return code, *capsys.readouterr()

    return call


def test_the_project_is_printed(berth, monkeypatch, tmp_path):
    # From a directory below, as Compose finds it.
    (tmp_path / "shop/below").mkdir()
    monkeypatch.chdir(tmp_path / "shop/below")
    code, text, said = berth("config")
    made = yaml.safe_load(text)
    assert (code, said, list(made)) == (0, "", ["name", "services", "networks", "volumes"])
    assert made["services"]["web"]["image"] == "nginx:2"
    assert made["services"]["web"]["environment"] == {"NAME": "shop", "COST": "$$5"}
    assert made["services"]["db"]["environment"] == {"A": "1"}
    code, text, _ = berth("config", "--format", "json", "db")
    assert (code, list(json.loads(text)["services"]), list(json.loads(text))) == (0, ["db"], ["name", "networks", "services", "volumes"])


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (("--services",), "db\nweb\n"),
        (("--services", "--profile", "debug"), "db\ndebug\nweb\n"),
        (("--networks",), "default\nfront\n"),
        (("--volumes",), "data\n"),
        (("--images",), "postgres\nnginx:2\n"),
        (("--profiles",), "debug\n"),
        (("-q",), ""),
        (("--services", "db"), "db\n"),
    ],
)
def test_names_only(berth, arguments, printed):
    assert berth("config", "-f", "shop/compose.yaml", *arguments) == (0, printed, "")


def test_variables_and_the_standard_input(berth, monkeypatch, tmp_path):
    (tmp_path / "other.env").write_text("TAG=9\n")
    project_file._standard_input.cache_clear()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"services: {web: {dns: 1.1.1.1}}\n")))
    code, text, _ = berth(
        "config", "--project-directory", "shop", "-f", "shop/compose.yaml", "-f", "-", "--env-file", "other.env", "-p", "mine"
    )
    project_file._standard_input.cache_clear()
    made = yaml.safe_load(text)
    assert (code, made["name"], made["services"]["web"]["image"], made["services"]["web"]["dns"]) == (0, "mine", "nginx:9", ["1.1.1.1"])
    code, text, _ = berth("config", "-f", "shop/compose.yaml", "--environment")
    assert {"TAG=2", "COMPOSE_PROJECT_NAME=shop"} <= set(text.splitlines())


def test_the_project_goes_to_a_file(berth, tmp_path):
    assert berth("config", "-f", "shop/compose.yaml", "-o", "out.yaml") == (0, "", "")
    assert yaml.safe_load((tmp_path / "out.yaml").read_text())["name"] == "shop"
    assert berth("config", "-f", "shop/compose.yaml", "-o", "none/out.yaml")[0] == 1


def test_what_is_wrong_is_said(berth, tmp_path):
    assert berth("config") == (1, "", "berth: there is no compose.yaml here, nor in a directory above; name a file with -f\n")
    assert berth("config", "-f", "shop/compose.yaml", "cache")[2] == "berth: there is no service cache; there are web, db\n"
    (tmp_path / "bad.yaml").write_bytes(b"a: \xff\n")
    assert "not UTF-8: octet 0xff at 3" in berth("config", "-f", "bad.yaml")[2]
    (tmp_path / "warn.yaml").write_text("services: {a: {image: $NOTHING, tty: yes, command: x}}\n")
    assert berth("config", "-q", "-f", "warn.yaml")[2].splitlines() == [
        "berth: variable NOTHING is not set; it counts as empty",
        "berth: 'yes' is no boolean of YAML 1.2: write true",
    ]


@pytest.mark.parametrize("name", [".env", "db.env", "compose.yaml"])
def test_pipe_that_nobody_writes_to_is_not_waited_for_without_end(berth, monkeypatch, tmp_path, name):
    monkeypatch.setattr(project_file, "_PIPE_WAITS", 0)
    (tmp_path / "shop" / name).unlink()
    os.mkfifo(tmp_path / "shop" / name)
    code, _, said = berth("config", "--project-directory", "shop", "-f", "shop/compose.yaml")
    assert (code, f"{name}: it is a pipe, and nothing came by it" in said) == (1, True)


def test_what_comes_by_a_pipe_is_read_to_its_end(berth):
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(b"services: {web: {image: x}}\n")
    assert berth("config", "-f", f"/dev/fd/{reading}", "--services") == (0, "web\n", "")
    os.close(reading)


def test_variables_that_double_each_other_are_bounded(berth, monkeypatch, tmp_path):
    monkeypatch.setattr(interpolate, "_LONGEST", 10_000)
    lines = ["V0=aaaaaaaaaa", *(f"V{number}=${{V{number - 1}}}${{V{number - 1}}}" for number in range(1, 60))]
    (tmp_path / "shop/.env").write_text("\n".join(lines) + "\n")
    code, _, said = berth("config", "-f", "shop/compose.yaml")
    assert (code, "it becomes longer than 10000 characters" in said) == (1, True)


STEPS = """
services:
  a: {image: "x:${TAG:-1}", environment: {A: "${NAME:?must}", B: "$$x", C: "${G:+alt}", D: $D}, env_file: db.env, build: .}
networks: {unused: {}}
"""


def test_steps_of_the_reading_can_be_left_out(berth, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path / "shop")
    (tmp_path / "shop/compose.yaml").write_text(STEPS)

    def config(*options):
        return json.loads(berth("config", "--format", "json", *options)[1])

    assert config()["services"]["a"]["build"] == {"context": str(tmp_path / "shop"), "dockerfile": "Dockerfile"}
    assert config("--no-normalize")["services"]["a"].keys() == {"build", "command", "entrypoint", "environment", "image"}
    assert config("--no-path-resolution")["services"]["a"]["build"]["context"] == "."
    assert config("--no-env-resolution")["services"]["a"]["env_file"] == [{"path": str(tmp_path / "shop/db.env"), "required": True}]
    assert (config().keys(), config("--all-resources")["networks"]["unused"]) == (
        {"name", "services", "networks"},
        {"name": "shop_unused", "ipam": {}},
    )
    # As Compose prints it.
    assert json.loads(berth("config", "--variables", "--format", "json")[1])["G"] == {
        "Name": "G", "DefaultValue": "", "PresenceValue": "alt", "Required": False
    }  # fmt: skip
    assert berth("config", "--variables")[1].splitlines() == [
        "NAME  REQUIRED  DEFAULT VALUE  ALTERNATE VALUE", "D     false", "G     false                    alt", "NAME  true", "TAG   false     1",
    ]  # fmt: skip
    (tmp_path / "shop/compose.yaml").write_text("services: {a: {image: x, networks: [nope]}}")
    assert berth("config")[0] == 1
    assert config("--no-consistency")["services"]["a"]["networks"] == {"nope": None}


def test_a_hash_changes_with_its_service(berth, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path / "shop")
    before = dict(line.split() for line in berth("config", "--hash", "*")[1].splitlines())
    (tmp_path / "shop/compose.yaml").write_text(COMPOSE.replace("nginx:", "other:").replace("depends_on: [db], ", ""))
    after = dict(line.split() for line in berth("config", "--hash", "web,db")[1].splitlines())
    assert {name: before[name] == after[name] for name in after} == {"web": False, "db": True}
    assert berth("config", "--hash", "nope")[2].endswith("--hash nope: there is no such service; there are db, web\n")


def test_names_as_of_version_1(berth, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path / "shop")
    monkeypatch.setenv("BERTH_RUN_DIR", str(tmp_path))
    (tmp_path / "shop/compose.yaml").write_text("services: {a: {command: x}}")
    assert berth("compose", "--compatibility", "--dry-run", "up")[1].splitlines()[-1] == "shop_a_1 is created"
    assert berth("compose", "--dry-run", "up")[1].splitlines()[-1] == "shop-a-1 is created"
    monkeypatch.setenv("COMPOSE_COMPATIBILITY", "true")
    assert berth("up", "--dry-run", "-d")[1].splitlines()[-1] == "shop_a_1 is created"
