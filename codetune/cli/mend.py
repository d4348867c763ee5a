"""`codetune mend`: repair a file until its tests pass.

codetune mend stats.py --tests test_stats.py | git apply
codetune mend stats.py --tests cases.jsonl --adapter runs/train-lora --rounds 8 --write
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from codetune.cli.flags import MendFlags
from codetune.cli.output import to_stderr
from codetune.cli.running import SandboxFlags, takes_flags
from codetune.config import DecodingConfig
from codetune.data.given_tests import problem_of
from codetune.errors import UserError
from codetune.generate.live import ServedModel
from codetune.mending import Asking, CodeFile, Mended, Round, mend
from codetune.mending.outcome import in_a_line, notes
from codetune.records import Message, Problem

app = typer.Typer(add_completion=False)
NOT_MENDED = 1


@app.command("mend")
@takes_flags
def command(
    file: Annotated[Path, typer.Argument(help="The file of Python that is to be mended.")],
    tests: Annotated[Path, typer.Option(help="Asserts or functions test_* (.py), tests as JSON or JSONL, or a folder of test_*.py.")],
    rounds: Annotated[int, typer.Option(min=1, help="How often the model is asked at most.")] = 4,
    entry_point: Annotated[str, typer.Option(help="The function that tests of inputs and outputs call. Default: the only one.")] = "",
    write: Annotated[bool, typer.Option("--write", help="Change the file where the tests pass, and print no patch.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: the rounds, the patch.")] = False,
    *,
    flags: MendFlags,
    running: SandboxFlags,
) -> None:
    """Repair a file until its tests pass. The patch goes to stdout, the rounds to stderr; exit code 1 where no try passes."""
    code = CodeFile.read(file)
    problem = problem_of(tests, file, code.text, entry_point)
    say = to_stderr()
    with ExitStack() as stack:
        checker = stack.enter_context(running.open())
        asking = _FirstAsk(flags, flags.decoding(), stack, say)
        tried: list[Round] = []
        for one in mend(code.text, problem, asking, checker, rounds, code.name):
            say.print(in_a_line(one))
            tried.append(one)
        mended = Mended.of(tried, code, checker.tier)
    raw = code.bytes_of(mended.patch)
    _tell(mended, problem, say)
    if write and mended.patch:
        code.write(mended.best.program)
        say.print(f"{file} is changed")
    if as_json:
        print(json.dumps(mended.summary()))
    elif not write:
        sys.stdout.flush()
        sys.stdout.buffer.write(raw)
    if not mended.passed:
        raise typer.Exit(NOT_MENDED)


class _FirstAsk:
    """Opens the model when it is asked for the first time: a program that passes needs none."""

    def __init__(self, flags: MendFlags, decoding: DecodingConfig, stack: ExitStack, say: Console) -> None:
        self._flags, self._decoding, self._stack, self._say = flags, decoding, stack, say
        self._asking: Asking | None = None
        flags.require_consistent()
        if len(flags.adapter or ()) > 1:
            raise UserError(f"--adapter is given {len(flags.adapter or ())} times: one model mends, so give one")

    def __call__(self, messages: tuple[Message, ...]) -> str:
        self._asking = self._asking or self._open()
        with self._say.status("writing"):
            return self._asking(messages)

    def _open(self) -> Asking:
        from codetune.cli.live import open_live_engine  # torch is loaded only where a model is

        with self._say.status("loading the model"):
            engine = open_live_engine(self._flags)
        self._stack.callback(engine.close)
        model = _model_of(engine.models(), self._flags)
        self._say.print(f"asking {model.name} ({model.method}, prompt style {self._flags.prompt_style or model.prompt_style})")
        return Asking(engine, model.name, self._decoding, self._flags.prompt_style)


def _model_of(served: Sequence[ServedModel], flags: MendFlags) -> ServedModel:
    """The adapter, where there is one; of a server the model that was named, else its first."""
    if flags.adapter and len(served) > 2:
        raise UserError(f"--adapter {flags.adapter[0]} holds {len(served) - 1} tuned models: one mends, so give the folder of one")
    if flags.adapter:
        return served[-1]
    return next((one for one in served if one.name == flags.model), served[0])


def _tell(mended: Mended, problem: Problem, say: Console) -> None:
    best, of = mended.best, len(problem.tests)
    if not mended.rounds[-1].passed:
        passes = f"the best, round {best.number}, passes {best.result.tests_passed} of {of} tests"
        say.print(f"not mended in {len(mended.rounds) - 1} rounds; {passes}")
    elif best.number == 0:
        say.print("the tests pass: there is nothing to mend")
    else:
        say.print(f"mended in round {best.number}")
    for note in notes(mended):
        say.print(f"note: {note}")
