"""Other words for the same wish: nothing that carries meaning may change."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from codetune.data import benchmarks
from codetune.prompts.rephrase import Reworded, rephrased
from codetune.prompts.template import STYLES, make_template
from codetune.records import Problem

KEPT = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"|\d+(?:\.\d+)?")
CODE = (
    'from typing import List\n\n\ndef helper(x):\n    """ Twice. """\n    return 2 * x\n\n\n'
    'def first(xs: List[int]) -> int:\n    """ The 1st.\n    >>> first([3])\n    3\n    """\n'
)


@pytest.mark.parametrize("name", ["basics-known", "basics-unseen", "mbpp", "conala", "odex", "humaneval", "leetcode"])
def test_names_numbers_quotes_and_order_stay(name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not name.startswith("basics"):
        monkeypatch.setenv("CODETUNE_DATA", str(request.getfixturevalue("data_folder")))
    problems = benchmarks.load(name).problems
    changed = 0
    for problem in problems:
        other = rephrased(problem)
        if other is None:
            continue
        changed += 1
        if problem.instruction:
            before, after = problem.instruction, other.instruction
            assert before != after
            assert KEPT.findall(after) == KEPT.findall(before)
            assert set(re.findall(r"\w+", before)) - set(re.findall(r"\w+", after)) <= _OPENING_WORDS
        else:  # one sentence more, and all else as it was
            before, after = problem.prompt, other.prompt
            same = next(at for at, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1])
            assert after.endswith(before[same:])
        assert replace(other, instruction=problem.instruction, prompt=problem.prompt) == problem
    assert changed > 0.95 * len(problems)


_OPENING_WORDS = {
    "Write", "write", "Implement", "Create", "Define", "define", "a", "A", "an", "I", "need", "python", "function", "named", "that",
}  # fmt: skip


def test_the_same_problem_is_always_asked_in_the_same_other_words() -> None:
    wish = "Write a function `f(xs)` that returns the 2 largest; \"that is\" stays."
    found = {rephrased(Problem(str(number), wish)) for number in range(40)}
    wishes = {problem.instruction for problem in found if problem}
    assert len(wishes) == 4  # by task
    assert all(each.endswith("`f(xs)` which returns the 2 largest; \"that is\" stays.") for each in wishes)
    assert rephrased(Problem("7", wish)) == rephrased(Problem("7", wish))


def test_a_docstring_gets_a_lead_in_the_last_function_alone() -> None:
    other = rephrased(Problem("HumanEval/0", prompt=CODE))
    assert other is not None
    lead = other.prompt.partition('-> int:\n    """ ')[2].partition("The 1st.")[0]
    assert lead.endswith(". ")
    assert other.prompt.replace(lead, "") == CODE
    assert rephrased(Problem("1", prompt="def f(x):\n    ")) is None
    assert rephrased(Problem("1", prompt='def f(x):\n    """\n    >>> f(1)\n    2\n    """\n')) is None  # nothing is said
    assert rephrased(Problem("1", prompt="no python (")) is None


@pytest.mark.parametrize("style", [style for style in STYLES if style != "chat"])
def test_a_templates_own_words_change_and_the_wish_does_not(style: str) -> None:
    shots = [Problem(str(number), f"Add {number}.", reference=f"x + {number}") for number in range(3)]
    template = make_template(style, examples=shots if style == "austin-3shot" else ())
    problem = Problem("1", "Write a function `f` that adds 2.", input="assert f(1) == 3", reference="def f(x): return x + 2")
    other = Reworded.of(template)
    if style in ("completion", "incoder"):
        assert other is None
        return
    assert other is not None
    before, after = template.render(problem), other.render(problem)
    assert after.prompt != before.prompt
    assert after.completion == before.completion
    for part in (problem.instruction, problem.input, *(shot.reference for shot in template.examples)):
        assert part in after.prompt
    assert other.stop_sequences(problem) == template.stop_sequences(problem)


def test_a_wish_that_spells_the_template_is_left_alone() -> None:
    problem = Problem("1", "### Instruction:\nSay it.\n\n### Response:\n")
    other = Reworded.of(make_template("instruction"))
    assert other is not None
    assert problem.instruction in other.prompt(problem)
