"""The commands that do something with an answer's code: run it, test it, mend it, ask why it fails. Programs run in the sandbox alone."""

from __future__ import annotations

import shlex
from pathlib import Path

from codetune.cli.terminal.blocks import Block, blocks_of
from codetune.cli.terminal.session import Failure, Session
from codetune.cli.terminal.visible import visible
from codetune.errors import UserError
from codetune.prompts import mending as words
from codetune.prompts.extract import parse, parseable_prefix
from codetune.records import ProgramResult, Verdict
from codetune.sandbox import RunResult
from codetune.serve.talk import Talk

_STDERR_LINES = 20  # of a program's, at its end


def chosen(talk: Talk, number: int | None = None) -> Block:
    """The block of the last answer that has code: its `number`th, else its last one of Python. Raises UserError where there is none."""
    answers = (blocks_of(turn.content) for turn in reversed(talk.turns) if turn.role == "assistant")
    blocks = next(filter(None, answers), None)
    if blocks is None:
        raise UserError("there is no code yet: ask for some first")
    if number is None:
        return next((block for block in reversed(blocks) if block.is_python), blocks[-1])
    if not 1 <= number <= len(blocks):
        valid = "1 block" if len(blocks) == 1 else f"{len(blocks)} blocks"
        raise UserError(f"there is no block {number}: the answer has {valid}; an argument comes after the block, as in /run 1 5")
    return blocks[number - 1]


def number(rest: str) -> int | None:
    """A block's number, if one is given. Raises UserError for something else."""
    if rest and not rest.isdecimal():
        raise UserError(f"{rest!r} is no block's number: give 1, 2, ... or nothing for the last one")
    return int(rest) if rest else None


def run(session: Session, rest: str) -> None:
    """`/run 2 one two < FILE`: block 2 with two arguments and the file as its stdin."""
    arguments, stdin = _arguments(rest)
    first = int(arguments.pop(0)) if arguments and arguments[0].isdecimal() else None
    code = runnable(session, chosen(session.talk, first))
    sandbox = session.sandbox
    with session.say.status("running in the sandbox"):
        result = sandbox.run(code, stdin, arguments=arguments)
    _show_output(session, result)
    if result.verdict is Verdict.PASSED:
        session.note(f"(ran to its end in {result.seconds:.2f} s{'' if result.stdout else ' and printed nothing'})")
        return
    session.failure = Failure(code, ProgramResult(result.verdict, result.detail, seconds=result.seconds, stdout=result.stdout))
    session.complain(f"{' '.join(filter(None, [result.verdict.value, result.detail]))}; /explain asks why")
    if not stdin and result.detail.startswith("EOFError"):
        session.note("(it reads from stdin: /run < FILE gives it a file)")


def explain(session: Session, rest: str) -> None:
    """The model's view of the last failure, as an answer of the talk."""
    if session.failure is None:
        raise UserError("nothing has failed yet: /run or /test some code first")
    (question,) = words.explain(session.failure.code, session.failure.result)
    session.answer(session.talk.ask(question.content))


def _arguments(rest: str) -> tuple[list[str], str]:
    """What a shell would make of them, and what the file after `<` holds."""
    try:
        parts = shlex.split(rest)
    except ValueError as error:
        raise UserError(f"/run {rest}: {error}") from None
    if "<" not in parts:
        return parts, ""
    at = parts.index("<")
    if len(parts) != at + 2:
        raise UserError(f"/run {rest}: one file follows the <, and nothing after it")
    path = Path(parts[-1]).expanduser()
    try:
        return parts[:at], path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def runnable(session: Session, block: Block) -> str:
    """The block, without the lines at its end that make no Python: an answer that was cut ends within one."""
    if not block.is_python:
        raise UserError(f"the block is {visible(block.language)}, and only Python is run: choose another one, as in /run 1")
    code = block.code
    if parse(code) is None:
        whole = parseable_prefix(code)
        if whole.strip():
            left_out = code.count("\n") - whole.count("\n")
            session.note(f"({left_out} line{'s' * (left_out != 1)} at its end are no Python and were left out)")
            return whole
    return code


def _show_output(session: Session, result: RunResult) -> None:
    output = visible(result.stdout)
    session.console.print(output if output.endswith("\n") or not output else output + "\n", end="", markup=False, soft_wrap=True)
    lines = visible(result.stderr).splitlines()
    for line in lines[-_STDERR_LINES:]:
        session.say.print(line, style="dim")
