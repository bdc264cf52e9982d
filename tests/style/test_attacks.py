"""The page of attacks is what the tests try."""

import ast

import pytest

from tests.style.attacks import GROUPS, PAGE, ROOT, render

ATTACKS = [attack for group in GROUPS for attack in group.attacks]


def test_page_is_current():
    assert PAGE.read_text() == render(), "run `python -m tests.style.attacks`"


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.test)
def test_every_attack_is_tried(attack):
    assert callable(attack.function())


def test_no_attack_is_left_out():
    here = {attack.test for attack in ATTACKS}
    assert len(here) == len(ATTACKS)
    for group in GROUPS:
        for file in group.whole:
            tree = ast.parse((ROOT / "tests" / file).read_text())
            tests = {
                node.name
                for node in tree.body
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
            }
            assert {f"{file}::{name}" for name in tests - group.besides} <= here
