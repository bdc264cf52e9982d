"""The reading of every project of the corpus is that of Compose, field by field."""

import json

import pytest

from resolver.cli.compose import ComposeError
from resolver.cli.compose.shapes import Form
from resolver.cli.up.config import text_of
from tests.support import compose_corpus
from tests.support.compose_files import reading

CASES = compose_corpus.cases()
EXPECTED = json.loads(compose_corpus.EXPECTED.read_text())
_OPTIONS = {"-f": "files", "--env-file": "env_files", "--profile": "profiles"}


def reading_of(case):
    given = {"files": (), "env_files": (), "profiles": ()}
    single = {}
    words = list(case.arguments)
    while words:
        option, value = words.pop(0), words.pop(0)
        if option in _OPTIONS:
            given[_OPTIONS[option]] += (value,)
        else:
            single[{"-p": "project_name", "--project-directory": "project_directory"}[option]] = value
    environment = {"HOME": compose_corpus.HOME, **case.environment}
    return reading(case.files, environment=environment, **given, **single)


def ask(case):
    try:
        return json.loads(json.dumps(reading_of(case).printed(Form.JSON)))
    except ComposeError as error:
        return f"refused: {error}"


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_reading_is_that_of_compose(case):
    expected = EXPECTED[case.name]
    made = ask(case)
    if "refused" in expected:
        assert isinstance(made, str), f"Compose says: {expected['refused']}"
    else:
        assert made == expected["model"]


# What is optional and switched off is not printed, but who depends on it is, as by Compose.
_UNREADABLE = {"networking/depends-optional-missing"}


@pytest.mark.parametrize("case", [case for case in CASES if "model" in EXPECTED[case.name]], ids=lambda case: case.name)
def test_what_is_printed_reads_as_the_same(case):
    made = reading_of(case)
    text = text_of(made, Form.YAML)
    if case.name in _UNREADABLE:
        with pytest.raises(ComposeError):
            reading(text)
        return
    # Paths are absolute, and the name is in the file.
    again = reading(text, environment={"HOME": compose_corpus.HOME}, profiles=("*",))
    assert again.printed(Form.YAML) == made.printed(Form.YAML)


def test_the_corpus_is_large_enough():
    assert len(CASES) >= 100
    assert set(EXPECTED) == {case.name for case in CASES}


@pytest.mark.slow
def test_compose_says_what_is_written_down():
    assert _without_reasons(compose_corpus.ask_all()) == _without_reasons(EXPECTED)


def _without_reasons(said):
    """Return what Compose says of each case. Of several mistakes in one file it names now one, now another."""
    return {name: {**one, "refused": True} if "refused" in one else one for name, one in said.items()}
