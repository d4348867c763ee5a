"""`basics` is fit to measure with: sizes, disjoint splits, right references, and tests that no stub passes."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from codetune.data.basics import SPLITS, all_families, load
from codetune.data.basics.audit import fingerprint, form_faults, lookalikes, split_faults, split_sizes, variants_per_family
from codetune.data.basics.family import Family, Variant
from codetune.data.basics.splits import deal_variants
from codetune.errors import UserError
from codetune.records import CallTest, Problem


def _passes(problem: Problem, program: str) -> bool:
    namespace: dict[str, object] = {}
    exec(program, namespace)
    function = namespace[problem.entry_point]
    assert callable(function)
    for test in problem.tests:
        assert isinstance(test, CallTest)
        output = function(*copy.deepcopy(test.input))
        if output != test.output or type(output) is not type(test.output):
            return False
    return True


def test_split_sizes() -> None:
    assert split_sizes() == {"train": 4800, "validation": 300, "known": 300, "unseen": 300}


def test_enough_families_with_enough_variants() -> None:
    families = all_families()
    assert len(families) >= 60
    assert sum(family.unseen for family in families) >= 12
    counts = variants_per_family(families)
    assert min(counts[family.name] for family in families if not family.unseen) >= 40
    assert min(counts[family.name] for family in families if family.unseen) >= 26


def test_families_keep_the_rules() -> None:
    assert form_faults(all_families()) == []


def test_no_instruction_occurs_twice_and_no_variant_is_in_two_splits() -> None:
    assert split_faults() == []


def test_train_and_test_share_no_reference_under_any_name() -> None:
    """Asked of the problems themselves, not of the deal behind them."""

    def solved(split: str) -> set[tuple[str, str]]:
        return {(problem.family, problem.reference.replace(f"def {problem.entry_point}(", "def f(")) for problem in load(split)}

    train = solved("train")
    assert len(train) > 1500
    assert not train & solved("known")
    assert not train & solved("validation")
    assert not solved("validation") & solved("known")
    assert not train & solved("unseen")


def test_unseen_families_are_in_no_other_split() -> None:
    unseen = {family.name for family in all_families() if family.unseen}
    assert {problem.family for problem in load("unseen")} == unseen
    for split in ("train", "validation", "known"):
        assert not unseen & {problem.family for problem in load(split)}


@pytest.mark.parametrize("split", SPLITS)
def test_problems_are_whole(split: str) -> None:
    for number, problem in enumerate(load(split), start=1):
        assert problem.task_id == f"basics/{split}/{number:04}"
        assert problem.source == "basics"
        assert len(problem.tests) >= 3
        assert f"`{problem.entry_point}" in problem.instruction
        arguments = problem.reference.split(f"def {problem.entry_point}(")[1].split("):")[0]
        assert arguments in problem.instruction


@pytest.mark.parametrize("split", SPLITS)
def test_families_are_balanced(split: str) -> None:
    problems = load(split)
    counts = [sum(problem.family == name for problem in problems) for name in {problem.family for problem in problems}]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("split", SPLITS)
def test_every_reference_passes_its_tests(split: str) -> None:
    assert [problem.task_id for problem in load(split) if not _passes(problem, problem.reference)] == []


def test_no_stub_and_no_other_reference_passes() -> None:
    """All variants of all families, so every problem: `pass`, constants, identities, others' references of equal arity."""
    foreign, twins = lookalikes(all_families())
    assert [str(lookalike) for lookalike in foreign] == []
    assert [str(lookalike) for lookalike in twins] == []


def _variant(body: str, *inputs: tuple[object, ...], args: str = "x") -> Variant:
    return Variant(("one", "two"), args, ("a", "b", "c"), f"    return {body}", inputs)


def test_the_stub_check_finds_stubs() -> None:
    numbers = ((0,), (1,), (5,), (8,))
    families = [
        Family("constant", lambda: [_variant("None if x < 0 else None", *numbers)]),
        Family("identity", lambda: [_variant("abs(x)", *numbers)]),
        Family("doubled", lambda: [_variant("x + x", *numbers), _variant("x * 2", *numbers)]),
        Family("double_too", lambda: [_variant("2 * x", *numbers)]),
        Family("as_float", lambda: [_variant("2.0 * x", *numbers)]),
        Family("endless", lambda: [_variant("next(n for n in iter(int, x) if n) if x > 0 else -1", (0,), (-1,), (-2,), (-3,))]),
    ]
    foreign, twins = lookalikes(families)
    assert {(lookalike.family, lookalike.passed_by) for lookalike in foreign} == {
        ("constant", "constant"),
        ("identity", "identity"),
        ("doubled", "double_too"),
        ("double_too", "doubled"),
        ("endless", "constant"),
    }
    assert [(lookalike.family, lookalike.index) for lookalike in twins] == [("doubled", 1), ("doubled", 0)]


def test_the_form_check_finds_faults() -> None:
    four = ((0,), (1,), (2,), (3,))
    short = Family("short", lambda: [_variant("x", (1,)), _variant("x + y", *four), _variant("x / x", *four)])
    faults = "\n".join(form_faults([short]))
    assert "short: 3 variants, at least 40" in faults
    assert "short[0]: 1 inputs, at least 4" in faults
    assert "short[1]: the reference raises NameError" in faults
    assert "short[2]: the reference raises ZeroDivisionError" in faults
    assert "twice the same wish: 'a'" in faults


def test_an_unknown_split_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match=r"no split 'test': .*valid: known, train, unseen, validation"):
        load("test")


def test_another_seed_gives_another_deal() -> None:
    assert load("known", seed=1) != load("known")
    assert deal_variants(1)["known"] != deal_variants(0)["known"]
    assert split_faults(seed=1) == []


def test_the_splits_do_not_depend_on_the_process() -> None:
    program = (
        "from codetune.data.basics import SPLITS, load; from codetune.data.basics.audit import fingerprint;"
        "print([fingerprint(load(split)) for split in SPLITS])"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert digests == {f"{[fingerprint(load(split)) for split in SPLITS]}\n"}


def test_the_fingerprint_sees_every_change() -> None:
    problem = load("known")[0]
    test = CallTest((), {1: {2, 3}})
    same = CallTest((), {1: {3, 2}})
    others = [CallTest((), {1: {2, 4}}), CallTest((), {1: {2, 3, 4}}), CallTest((), {1: {2, 3.0}}), CallTest(("x",), {1: {2, 3}})]
    prints = [fingerprint([replace(problem, tests=(one,))]) for one in (test, same, *others)]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 1 + len(others)
    assert fingerprint([replace(problem, instruction="other")]) != fingerprint([problem])
