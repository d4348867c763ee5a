"""Which tests a model is shown: some that fail, some that pass, and never all that fail where several do.

A program that knows the tests' values by heart passes what it was shown. So where two tests or more fail, half of them are kept back:
one that was kept back is shown only where no other says that anything is wrong, and one stays unseen to the end.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from codetune.prompts.mending import in_words, text_of
from codetune.records import CallTest, Problem, ProgramResult, Verdict
from codetune.score.execution import Checker

_MOST_EXAMINED = 50  # tests that are run one by one
_MOST_SHOWN = 3  # that fail; and as many that pass


@dataclass(frozen=True, slots=True)
class View:
    """What a model is told of a program's failure."""

    tests: tuple[str, ...]
    error: str
    stdout: str


class Desk:
    """The tests of one problem, and which of them the model has seen. `unseen` counts those that it has not."""

    def __init__(self, problem: Problem, checker: Checker) -> None:
        self._problem, self._checker = problem, checker
        self._tests = [replace(problem, tests=(test,)) for test in problem.tests]
        self._kept_back: list[int] | None = None  # of those that failed at first
        self._seen: set[int] = set()

    @property
    def unseen(self) -> int:
        return len(self._tests) - len(self._seen)

    def view(self, program: str, result: ProgramResult) -> View:
        """What to show of a program that failed with `result`."""
        singly = self._singly(program, result)
        if singly is None:
            self._seen |= set(range(min(len(self._tests), _MOST_SHOWN)))
            return View(self._texts(sorted(self._seen)[:_MOST_SHOWN]), self._error(program, result), result.stdout)
        failing = [number for number, one in enumerate(singly) if one.verdict is not Verdict.PASSED]
        passing = [number for number in range(len(singly)) if number not in failing]
        if self._kept_back is None:
            self._kept_back = failing[(len(failing) + 1) // 2 :]
        told = [number for number in failing if number not in self._kept_back]
        if not told and len(self._kept_back) > 1:
            told = [next(number for number in self._kept_back if number in failing)]
            self._kept_back.remove(told[0])
        told = told[:_MOST_SHOWN]
        free = [number for number in passing if number not in self._kept_back][:_MOST_SHOWN]
        self._seen |= {*told, *free}
        texts = self._texts([*told, *free])
        if not told:
            worst = singly[failing[0]]
            return View(texts, f"These tests pass now, but another one fails ({worst.exception or worst.verdict.value}).", "")
        return View(texts, self._error(program, singly[told[0]]), singly[told[0]].stdout)

    def _error(self, program: str, result: ProgramResult) -> str:
        """The failure in words. Of an assert that compares a call's value with a known one, the value that there is instead."""
        if result.verdict is Verdict.WRONG_ANSWER and (call := _call(result.detail)):
            alone = replace(self._problem, entry_point=call[0], tests=(call[1],))
            (told,) = self._checker.check([(program, alone)])
            result = told if told.verdict is Verdict.WRONG_ANSWER else result
        return in_words(result, program)

    def _texts(self, numbers: list[int]) -> tuple[str, ...]:
        return tuple(text_of(self._problem.tests[number], self._problem.entry_point) for number in numbers)

    def _singly(self, program: str, result: ProgramResult) -> list[ProgramResult] | None:
        """Each test by itself; None where there is but one, where they are too many, or where they mean something only together."""
        if not 1 < len(self._tests) <= _MOST_EXAMINED or result.verdict is Verdict.SYNTAX_ERROR:
            return None
        results = list(self._checker.check((program, problem) for problem in self._tests))
        failed = sum(one.verdict is not Verdict.PASSED for one in results)
        whole = result.tests_run == len(self._tests)
        return results if failed and (not whole or failed == result.tests_run - result.tests_passed) else None


def _call(code: str) -> tuple[str, CallTest] | None:
    """Whom and how `assert f(1) == 2` calls, or `self.assertEqual(f(1), 2)`; None for all else."""
    try:
        (statement,) = ast.parse(code.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    match statement:
        case ast.Assert(test=ast.Compare(left=call, ops=[ast.Eq()], comparators=[value])):
            pass
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="assertEqual"), args=[call, value])):
            pass
        case _:
            return None
    match call:
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            try:
                return name, CallTest(tuple(ast.literal_eval(one) for one in arguments), ast.literal_eval(value))
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                return None
    return None
