"""The wish to have a program mended, and the question why it fails, in words that a small model understands.

One function writes the wish wherever it is used: what `codetune mend` asks is what a mended pair of the feedback teaches.
"""

from __future__ import annotations

from dataclasses import dataclass

from codetune.records import AgreementTest, AssertTest, CallTest, Message, Problem, ProgramResult, StdioTest, Test, Verdict

_MOST_CHARACTERS = 1_000  # of what a program printed, and of one test
_IN_WORDS = {
    Verdict.SYNTAX_ERROR: "It is not valid Python",
    Verdict.EXCEPTION: "It raises an exception",
    Verdict.TIMEOUT_CPU: "It does not come to an end: perhaps a loop never ends, or it is too slow",
    Verdict.TIMEOUT_WALL: "It does not come to an end: it sleeps or waits for something",
    Verdict.MEMORY: "It needs too much memory",
    Verdict.OUTPUT_LIMIT: "It prints far too much",
    Verdict.KILLED: "It ends the whole process before it gives an answer",
    Verdict.NONPLAIN: "It gives an object where plain data is wanted",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is known of a program that fails. `tests` are those that are shown, `error` is a sentence, `name` what is to be mended."""

    code: str
    error: str
    tests: tuple[str, ...] = ()
    name: str = ""
    purpose: str = ""  # what the program is for, where that is known
    stdout: str = ""
    remark: str = ""  # on the tries so far


def wish(fault: Fault) -> Problem:
    """The wish as a problem: `instruction` has all but the code, `input` is the code. Alpaca's two fields; see `question`."""
    subject = f"`{fault.name}` in the Python code below" if fault.name else "the Python code below"
    lines = [fault.purpose.strip()] if fault.purpose.strip() else []
    lines += [f"There is a mistake: correct {subject}.", f"What goes wrong now: {fault.error}"]
    if fault.stdout.strip():
        lines += ["What it printed:", _shortened(fault.stdout.strip("\n"))]
    if fault.tests:
        lines += ["It must pass these tests:", *map(_shortened, fault.tests)]
    if fault.remark:
        lines.append(fault.remark)
    lines.append("Answer with the corrected code only, and write each changed function as a whole.")
    return Problem("mend", instruction="\n".join(lines), input=fault.code.rstrip() + "\n", entry_point=fault.name)


def question(problem: Problem) -> Message:
    """A wish as one turn of a conversation: the text that most prompt styles make of instruction and input."""
    return Message("user", f"{problem.instruction}\n{problem.input}" if problem.input else problem.instruction)


def explain(program: str, result: ProgramResult) -> tuple[Message, ...]:
    """The question why a program failed as it did; the answer is meant for people."""
    lines = ["Explain in a few sentences why this Python code fails, and what should be changed."]
    lines.append(f"What goes wrong: {in_words(result, program)}")
    if result.stdout.strip():
        lines += ["What it printed:", _shortened(result.stdout.strip("\n"))]
    return (Message("user", "\n".join([*lines, "", program.rstrip(), ""])),)


def in_words(result: ProgramResult, program: str = "") -> str:
    """What became of a program as a sentence, with the line that raised an exception.

    >>> in_words(ProgramResult(Verdict.EXCEPTION, "ZeroDivisionError: division by zero"))
    'It raises an exception: ZeroDivisionError: division by zero.'
    """
    detail = result.detail.strip().rstrip(".")
    if result.verdict is Verdict.WRONG_ANSWER:
        told = " gave " in detail or " of stdout is " in detail
        return f"A result is wrong: {detail or 'a test fails'}." if told or not detail else f"This does not hold: {detail}"
    lead = _IN_WORDS.get(result.verdict, f"It ended with {result.verdict.value}")
    lines = program.split("\n")
    at = f" in line {result.line}: {lines[result.line - 1].strip()}" if 0 < result.line <= len(lines) else ""
    if at:
        return f"{lead}: {detail}{at}"
    return f"{lead}: {detail}." if detail else f"{lead}."


def text_of(test: Test, entry_point: str) -> str:
    """A test as Python, or in words where it is a script's."""
    match test:
        case AssertTest(code):
            return code.strip()
        case CallTest(arguments, output):
            return f"assert {entry_point or 'f'}({', '.join(map(repr, arguments))}) == {output!r}"
        case AgreementTest(arguments):
            return f"{entry_point or 'f'}({', '.join(map(repr, arguments))}) gives the right result"
        case StdioTest(stdin, stdout):
            given = f"With this on stdin:\n{stdin.rstrip()}\n" if stdin.strip() else "Run without any input, "
            return f"{given}it prints:\n{stdout.rstrip()}"


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 4] + " ..."
