"""`/test` and `/mend`: an answer's code against tests that are typed in or in a file, and asked for again until they pass."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator
from pathlib import Path

from codetune.cli.terminal.colour import coloured
from codetune.cli.terminal.programs import chosen, runnable
from codetune.cli.terminal.session import Failure, Session, interruptible
from codetune.cli.terminal.visible import visible
from codetune.data.folders import read_utf8
from codetune.data.given_tests import read_text
from codetune.errors import UserError
from codetune.mending import Asking, Round, best, mend
from codetune.mending.outcome import in_a_line
from codetune.prompts import mending as words
from codetune.records import Message, Problem

ROUNDS = 4
_TESTS_IN_THE_TALK = 3
_SUFFIXES = (".py", ".json", ".jsonl")


def test(session: Session, rest: str) -> None:
    """`/test FILE`, `/test assert f(1) == 2`, or the last tests again."""
    code = runnable(session, chosen(session.talk))
    problem = _problem(session, rest, code)
    sandbox = session.sandbox
    with session.say.status("running the tests in the sandbox"):
        (result,) = sandbox.check([(code, problem)])
    line = in_a_line(Round(0, code, result)).removeprefix("round 0: ")
    if result.verdict == "passed":
        session.say.print(visible(line), style="green")
        return
    session.failure = Failure(code, result)
    session.complain(f"{line}; /explain asks why, /mend asks for another one")


def mend_code(session: Session, rest: str) -> None:
    """Up to ROUNDS tries, each shown as a diff; a program that passes is the code of the talk from then on."""
    code = runnable(session, chosen(session.talk))
    problem = _problem(session, rest, code)
    tried: list[Round] = []
    with contextlib.suppress(KeyboardInterrupt), interruptible():
        for one in _rounds(session, code, problem):
            _show(session, one, is_new=all(one.program != before.program for before in tried))
            tried.append(one)
    if not tried:
        return
    found = best(tried)
    if not found.passed:
        session.failure = Failure(found.program, found.result)
        session.complain(f"not mended in {len(tried) - 1} tries; round {found.number} is the best, and the talk's code stays as it was")
    elif found.number:
        session.talk.add(_wish(tried[0], problem), f"```python\n{found.program.rstrip()}\n```\n")
        session.note(f"(mended in round {found.number}: it is the code of the talk now)")
    else:
        session.note("(the tests pass: there is nothing to mend)")


def _problem(session: Session, rest: str, code: str) -> Problem:
    """The tests that are meant, read for this code. Raises UserError where there are none yet, and for what is none."""
    given = _source(rest) if rest else session.tests
    if given is None:
        raise UserError("there are no tests yet: give a file, or assert lines, as in /test assert add(1, 2) == 3")
    where, text = given
    problem = read_text(text, where, Problem("chat"), None, code)
    session.tests = given
    return problem


def _source(rest: str) -> tuple[str, str]:
    """Where tests are from, and their text: a file's where there is such a file or the name is that of one."""
    path = Path(rest).expanduser()
    with contextlib.suppress(OSError, ValueError):  # a name that no file can have
        if "\n" not in rest and (path.is_file() or (path.suffix in _SUFFIXES and " " not in rest)):
            return (str(path), read_utf8(path)) if path.is_file() else _missing(path)
    return "the tests", rest


def _missing(path: Path) -> tuple[str, str]:
    beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    raise UserError(f"there is no file {path}{f'; did you mean {path.with_name(near[0])}?' if near else ': give one, or assert lines'}")


def _rounds(session: Session, code: str, problem: Problem) -> Iterator[Round]:
    talk, sandbox = session.talk, session.sandbox
    asking = Asking(talk.engine, talk.model, talk.decoding, talk.prompt_style)

    def ask(messages: tuple[Message, ...]) -> str:
        with session.say.status(f"round {asking.asked + 1}: writing"):
            return asking(messages)

    return mend(code, problem, ask, sandbox, ROUNDS, "answer.py")


def _show(session: Session, one: Round, is_new: bool) -> None:
    """The verdict, and what is changed from the code that was given, unless that was shown already."""
    session.say.print(visible(in_a_line(one)), style="green" if one.passed else "yellow")
    if one.diff and is_new:
        session.console.print(coloured(visible(one.diff), "diff"), end="")


def _wish(given: Round, problem: Problem) -> str:
    """What a mended program answers, as a turn of the talk: the wish that mending itself begins with."""
    tests = tuple(words.text_of(one, problem.entry_point) for one in problem.tests[:_TESTS_IN_THE_TALK])
    return words.question(words.wish(words.Fault(given.program, words.in_words(given.result), tests, problem.entry_point))).content
