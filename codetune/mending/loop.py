"""Round after round: check, ask, put the answer's code into the program, check again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from codetune.errors import UserError
from codetune.generate.live import TooLongError
from codetune.mending.memorised import memorised
from codetune.mending.patches import patch
from codetune.mending.shown import Desk
from codetune.mending.source import Definition, Source, bound, reached
from codetune.mending.splice import splice
from codetune.prompts.extract import code_blocks, extract_code
from codetune.prompts.mending import Fault, question, wish
from codetune.records import AssertTest, Message, Problem, ProgramResult, StdioTest, Verdict
from codetune.sandbox.names import parse as parse_code
from codetune.sandbox.names import used as names_used
from codetune.score.execution import Checker

Ask = Callable[[tuple[Message, ...]], str]


@dataclass(frozen=True, slots=True)
class Round:
    """One try. Round 0 is the given program; of an answer that could not be used the program is the one that it was asked about.

    `diff` is from the given program. `unseen` counts the tests that the model was never shown, up to here. `remark` says what is
    odd: an answer without code, one that was there before, one that holds the tests' own values.
    """

    number: int
    program: str
    result: ProgramResult
    diff: str = ""
    answer: str = ""
    unseen: int = 0
    remark: str = ""

    @property
    def passed(self) -> bool:
        """The sandbox's verdict: nothing else is success."""
        return self.result.verdict is Verdict.PASSED


def mend(program: str, problem: Problem, ask: Ask, checker: Checker, rounds: int = 4, name: str = "program.py") -> Iterator[Round]:
    """The rounds as they end, the last one passed or the `rounds`-th. `problem` has the tests; `name` is the file's, for the diffs.

    Each round goes on from the program that passed the most tests so far. Raises UserError where the problem has no tests, where
    even the shortest question does not fit the model, and where the sandbox fails; and what `ask` raises.
    """
    if not problem.tests:
        raise UserError("there are no tests: whether a program is mended is for tests to say")
    desk = Desk(problem, checker)
    current = Round(0, program, _check(checker, program, problem), unseen=desk.unseen)
    yield current
    tried = [current]
    while not tried[-1].passed and len(tried) <= rounds:
        answer = _answer(ask, list(_questions(current, tried, problem, desk)))
        made = _round(tried, current, answer, problem, checker, name)
        tried.append(replace(made, unseen=desk.unseen))
        yield tried[-1]
        current = best(tried)


def best(rounds: Iterable[Round]) -> Round:
    """The round that passed, else the one whose program passed the most tests; of equal ones the last program, where it came first."""
    tried = list(rounds)
    found = max(tried, key=lambda one: (one.passed, one.result.tests_passed, one.result.verdict is not Verdict.SYNTAX_ERROR, one.number))
    return next(one for one in tried if one.program == found.program)


def _round(tried: list[Round], current: Round, answer: str, problem: Problem, checker: Checker, name: str) -> Round:
    """What an answer comes to. What was checked before is not checked again."""
    number, given = len(tried), tried[0].program
    mended = _spliced(current.program, answer, problem)
    if mended is None:
        return replace(current, number=number, answer=answer, remark="the answer holds no code for this file")
    known = next((one for one in tried if one.program == mended), None)
    if known is not None:
        remark = "the answer changes nothing" if known.number == current.number else f"the answer is that of round {known.number} again"
        return replace(known, number=number, answer=answer, remark=remark)
    values = memorised(given, mended, problem)
    remark = f"it compares with values of the tests ({', '.join(values)}): look whether it only knows these" if values else ""
    return Round(number, mended, _check(checker, mended, problem), patch(given, mended, name), answer, remark=remark)


def _spliced(program: str, answer: str, problem: Problem) -> str | None:
    """The program with what the answer has for it. Several blocks count together, the last word of each name being the one that counts:
    many models show the faulty code before the mended one, or each function in a block of its own."""
    script = all(isinstance(test, StdioTest) for test in problem.tests)
    codes = [extract_code(answer, _name(problem, program)), "\n\n".join(code_blocks(answer))]
    found = [splice(program, code, _wanted(problem), script) for code in (codes if script else reversed(codes))]
    return next((one for one in found if one not in (None, program)), found[0] or found[1])


def _questions(current: Round, tried: list[Round], problem: Problem, desk: Desk) -> Iterator[tuple[Message, ...]]:
    """The question, then shorter ones for a model that it does not fit: with what matters of the code, then with one test.

    After an answer without code, or one that was there before, the program's purpose is asked for anew, where it is known: a model that
    was tuned for such wishes and not for mending has another chance.
    """
    if problem.instruction and any(one.program == tried[-1].program for one in tried[:-1]):
        yield (question(problem),)
    view = desk.view(current.program, current.result)
    code, name = current.program, _name(problem, current.program)
    fault = Fault(code, view.error, view.tests, name, problem.instruction, view.stdout, _on_tries(current, tried))
    excerpt = _excerpt(code, _wanted(problem))
    for one in (fault, replace(fault, code=excerpt), replace(fault, code=excerpt, tests=view.tests[:1], stdout="", purpose="")):
        yield (question(wish(one)),)


def _answer(ask: Ask, questions: list[tuple[Message, ...]]) -> str:
    for number, messages in enumerate(questions, 1):
        try:
            return ask(messages)
        except TooLongError as error:
            if number == len(questions):
                raise UserError(f"the code to be mended does not fit the model, even without the rest of its file: {error}") from error
    raise AssertionError("there is always a question")


def _on_tries(current: Round, tried: list[Round]) -> str:
    """What the model is told of its last answer, where that led nowhere."""
    last = tried[-1]
    if last.number == 0:
        return ""
    if last.remark and last.program == current.program:
        return f"This is try {len(tried)}. Your last answer did not help: {last.remark}. Change something else."
    if last is not current and last.program != current.program:
        return f"This is try {len(tried)}. Your last answer made it worse. Change something else."
    return f"This is try {len(tried)}: your last answer was not right yet."


def _excerpt(program: str, wanted: set[str]) -> str:
    """What the tests use of the program, and what that uses."""
    source = Source.of(program)
    if source is None:
        return program
    chosen = reached(source.tree.body, wanted)
    return "".join("".join(source.text(one)) + "\n" for one in chosen) if chosen else program


def _name(problem: Problem, program: str) -> str:
    """What is to be mended: the entry point, else the one definition of the program that the tests name."""
    source = Source.of(program)
    if problem.entry_point or source is None:
        return problem.entry_point
    found = [one.name for one in source.tree.body if isinstance(one, Definition) and one.name in _wanted(problem)]
    return found[0] if len(found) == 1 else ""


def _wanted(problem: Problem) -> set[str]:
    """Names that the tests may have of the program."""
    codes = [problem.setup, *(test.code for test in problem.tests if isinstance(test, AssertTest))]
    own = set().union(*(bound(one) for code in codes for one in parse_code(code).body))
    return names_used([problem.entry_point, *codes]) - own


def _check(checker: Checker, program: str, problem: Problem) -> ProgramResult:
    (result,) = checker.check([(program, problem)])
    if result.verdict is Verdict.INFRASTRUCTURE:
        raise UserError(f"the sandbox failed, not the program ({result.detail}): run `codetune doctor`")
    return result
