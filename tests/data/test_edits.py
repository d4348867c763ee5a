import random

import pytest

from codetune.data.edits import edit_problem, mentions
from codetune.records import Problem

SOURCE = "def scale(values, factor=3):\n    total = sum(values)\n    if total > 10:\n        return 0\n    return total * factor\n"
NAMES = ["amount", "other", "values"]


def edits(source: str = SOURCE, names: list[str] = NAMES) -> list[Problem]:
    found = (edit_problem(source, names, random.Random(seed)) for seed in range(60))
    return [problem for problem in found if problem]


def test_every_edit_parses_differs_and_shows_the_function_before() -> None:
    for problem in edits():
        compile(problem.reference, "edit", "exec")
        assert problem.reference != problem.input
        assert SOURCE.startswith(problem.input)


def test_renaming_is_complete_and_never_takes_a_name_in_use() -> None:
    renamed = [problem for problem in edits() if "`" in problem.instruction]
    assert {problem.instruction.count("`") for problem in renamed} == {4}
    for problem in renamed:
        _, old, _, new, _ = problem.instruction.split("`")
        assert new in {"amount", "other"}
        assert old not in problem.reference.replace(new, "").split()
        assert problem.reference == SOURCE.replace(old, new)


def test_a_number_changes_everywhere_and_alone() -> None:
    changed = [problem for problem in edits() if problem.instruction.startswith(("Change", "Use"))]
    assert changed
    for problem in changed:
        before, after = problem.input.split(), problem.reference.split()
        assert sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_completion_asks_for_the_whole_function() -> None:
    completed = [problem for problem in edits() if problem.instruction == "Complete this function."]
    assert completed
    assert all(problem.reference == SOURCE and problem.input.count("\n") >= 2 for problem in completed)


@pytest.mark.parametrize("source", ["def f():\n    return g()\n", "def f(self):\n    return self\n"])
def test_nothing_to_edit_is_no_pair(source: str) -> None:
    assert edits(source) == []


def test_builtins_and_keywords_keep_their_names() -> None:
    assert edits("def f():\n    return sum(range(len(x)))\n") == []


def test_mentions_name_what_the_body_uses() -> None:
    words = {word.strip(" .") for seed in range(40) for word in mentions(SOURCE, random.Random(seed)).partition(" ")[2].split(",")}
    assert {"`sum`", "3", "10", "0"} <= {word.removeprefix("uses ") for word in words}
    assert mentions("def f(x):\n    return x\n", random.Random(0)) == ""
