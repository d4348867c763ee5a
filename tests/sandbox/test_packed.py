"""Many calls at once: answers are compared by their bytes first, by value where those differ, and as they were when they were given."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from codetune.errors import UserError
from codetune.records import AgreementTest, AssertTest, CallTest, Integrity, Problem, Verdict
from codetune.sandbox import Sandbox, wire
from codetune.sandbox.packed import join, pack, snapshot, split, unpack


@pytest.mark.parametrize("value", [None, True, 1 << 80, -0.0, "é\ud800", b"x", [1, (2.0, {3})], {"a": [None]}, Decimal("1.10"), range(3)])
def test_packed_values_come_back(value: Any) -> None:
    assert repr(unpack(pack(value))) == repr(value)


def test_equal_bytes_are_equal_types() -> None:
    assert len({snapshot(value) for value in (1, 1.0, True, "1", (1,), [1])}) == 6
    name = "".join(["a", "b"])
    assert snapshot([name, name]) == snapshot(["".join(["a", "b"]), "ab"]), "who else refers to a value changes nothing"
    assert snapshot(object()) == snapshot([Decimal(1)]) == snapshot(type("Int", (int,), {})(1)) == b""


@pytest.mark.parametrize("parts", [[], [b""], [b"a", b"", b"bc" * 1000]])
def test_joined_parts_are_split_again(parts: list[bytes]) -> None:
    assert split(join(parts)) == parts


@pytest.mark.parametrize(
    "data", [b"", b"\1", join([b"ab"])[:-1], join([b"ab"]) + b"x", b"\xff" * 8, b"\xff" * 64, (1 << 40).to_bytes(8, "little") * 3]
)
def test_what_was_not_joined_is_refused(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        split(data)


def counts(sandbox: Sandbox, program: str, *tests: CallTest | AgreementTest, reference: str = "") -> tuple[Verdict, int, int, str]:
    problem = Problem("t", entry_point="f", tests=tests, reference=reference, timeout_s=2.0)
    result = next(sandbox.check([(program, problem)]))
    assert result.integrity is Integrity.STRONG
    return result.verdict, result.tests_passed, result.tests_run, result.detail


def test_values_that_are_equal_but_not_of_the_same_bytes_pass(sandbox: Sandbox) -> None:
    dicts = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    pairs: list[tuple[Any, Any]] = [(1, 1.0), (True, 1), dicts, ({1, 2}, {2, 1}), (0.0, -0.0), (Decimal(1), 1)]
    program = f"from decimal import Decimal\nanswers = {[given for given, _ in pairs]!r}\ndef f(n): return answers[n]\n"
    tests = [CallTest((number,), wanted) for number, (_, wanted) in enumerate(pairs)]
    assert counts(sandbox, program, *tests) == (Verdict.PASSED, 6, 6, "")
    other_types = [CallTest((number,), wanted) for number, wanted in enumerate([(1,), [1], "1", None])]
    assert counts(sandbox, "def f(n): return [[1], (1,), 1, False][n]\n", *other_types)[1:3] == (0, 4)


def test_an_answer_is_compared_as_it_was_when_it_was_given(sandbox: Sandbox) -> None:
    program = "kept = []\ndef f(n):\n    kept.append(n)\n    return kept\n"
    assert counts(sandbox, program, CallTest((1,), [1]), CallTest((2,), [1, 2]))[1:3] == (2, 2)
    assert counts(sandbox, program, CallTest((1,), [1, 2]), CallTest((2,), [9]))[1:3] == (0, 2)


def test_one_bad_answer_among_many_is_the_one_reported(sandbox: Sandbox) -> None:
    tests = [CallTest((number,), [number] * 3) for number in range(2500)]
    program = "def f(n):\n    if n == 1700: raise KeyError(n)\n    return [n] * (2 if n == 1234 else 3)\n"
    verdict, passed, run, detail = counts(sandbox, program, *tests)
    assert (verdict, passed, run, detail) == (Verdict.WRONG_ANSWER, 2498, 2500, "f(1234) gave [1234, 1234], expected [1234, 1234, 1234]")
    verdict, passed, run, detail = counts(sandbox, program.replace("2 if n == 1234 else 3", "3"), *tests)
    assert (verdict, passed, run, detail) == (Verdict.EXCEPTION, 2499, 2500, "KeyError: 1700")


def test_answers_larger_than_a_message_come_in_several(sandbox: Sandbox) -> None:
    tests = [CallTest((number,), "x" * (3 << 20) + str(number)) for number in range(8)]
    assert counts(sandbox, "def f(n): return 'x' * (3 << 20) + str(n)\n", *tests)[:3] == (Verdict.PASSED, 8, 8)
    assert counts(sandbox, "def f(n): return 'x' * (9 << 20) + str(n)\n", *tests)[:2] == (Verdict.WRONG_ANSWER, 0)


def test_agreement_with_the_reference(sandbox: Sandbox) -> None:
    reference = "def f(x):\n    return [x / 3, 2.0] if x else {'a': x}\n"
    tests = [AgreementTest((x,)) for x in (1, 2, 0)]
    near_enough = "def f(x):\n    return [x / 3 + 5e-7, 2.0] if x else {'a': 0}\n"
    assert counts(sandbox, near_enough, *tests, reference=reference)[:3] == (Verdict.PASSED, 3, 3)
    assert counts(sandbox, "def f(x):\n    return [x / 3 + 5e-6, 2.0] if x else {'a': 0}\n", *tests, reference=reference)[1:3] == (1, 3)
    assert counts(sandbox, "def f(x):\n    return (x / 3, 2.0) if x else {'a': 0}\n", *tests, reference=reference)[1:3] == (1, 3)
    near = [AgreementTest((x,), 0.01) for x in (1, 2)]
    assert counts(sandbox, "def f(x):\n    return [x / 3 + 0.009, 2.0]\n", *near, reference=reference)[0] is Verdict.PASSED


def test_a_reference_that_cannot_answer_is_no_failure_of_the_program(sandbox: Sandbox) -> None:
    found = counts(sandbox, "def f(x): return x\n", AgreementTest((1,)), reference="def f(x):\n    raise ValueError('no')\n")
    assert found == (Verdict.INFRASTRUCTURE, 0, 0, "the reference of t answered 0 of 1 inputs: ValueError: no")
    too_large = "def f(x):\n    return [0] * (1 << 40) if x == 2 else x\n"
    tests = [AgreementTest((x,)) for x in (1, 2, 3)]
    assert counts(sandbox, "def f(x): return x\n", *tests, reference=too_large) == (Verdict.PASSED, 2, 2, "")


LONG = "x" * (33 << 20)


@pytest.mark.parametrize("test", [AssertTest(f"f('{LONG}')"), CallTest((LONG,), 1)], ids=["text", "value"])
def test_what_is_larger_than_a_message_is_refused_in_one_line(sandbox: Sandbox, test: Any) -> None:
    with pytest.raises(UserError, match="a test of the problem cannot be sent to the sandbox"):
        next(sandbox.check([("def f(x): return x\n", Problem("t", entry_point="f", tests=(test,)))]))
