"""What the benchmarks share."""

import pytest

from benchmarks.report import chosen


def test_parts_of_a_benchmark_are_chosen_by_name(capsys):
    assert chosen(("local", "dead"), []) == ["local", "dead"]
    assert chosen(("local", "dead"), ["dead"]) == ["dead"]
    with pytest.raises(SystemExit) as refused:
        chosen(("local", "dead"), ["dead", "--quick"])
    assert refused.value.code == 2
    assert capsys.readouterr().err == "'--quick' is no part of this benchmark; parts: local dead\n"
    with pytest.raises(SystemExit):
        chosen((), ["local"])
    assert "it takes no arguments" in capsys.readouterr().err
