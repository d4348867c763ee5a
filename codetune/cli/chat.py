"""`codetune chat`: ask a model for code in the terminal, and run what it writes in the sandbox.

    codetune chat --adapter runs/train-lora
    codetune chat -q "Write a function that reverses the words of a sentence."
    cat broken.py | codetune chat --adapter runs/train-lora -q "What is wrong with this function?"
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from codetune.cli.answer_own import OwnAnswerer
from codetune.cli.answering import choose_template
from codetune.cli.flags import ModelFlags
from codetune.cli.output import to_stderr, to_stdout
from codetune.cli.running import takes_flags
from codetune.config import DecodingConfig
from codetune.data.benchmarks import Benchmark
from codetune.errors import UserError
from codetune.evaluate import answer
from codetune.generate.request import TOO_LONG, Engine
from codetune.prompts.extract import extract_code
from codetune.prompts.template import Template
from codetune.records import Problem, Verdict
from codetune.sandbox import Sandbox

app = typer.Typer(add_completion=False)
HELP = "Ask for code in words. /run runs the last answer's code in the sandbox, /help says this, /quit ends (so does Ctrl-D)."


@app.command()
@takes_flags
def chat(
    *,
    flags: ModelFlags,
    question: Annotated[str | None, typer.Option("-q", "--question", help="Answer this alone, on stdout; piped text is added.")] = None,
) -> None:
    """Ask a model for code in the terminal. Every question stands for itself: earlier ones are not remembered."""
    piped = "" if sys.stdin.isatty() else sys.stdin.read()
    if question is None and not sys.stdin.isatty():
        question, piped = piped, ""
    if question is not None and not question.strip():
        raise UserError("the question is empty: give it as in -q 'Reverse a string.', or pipe it in")
    decoding = flags.decoding()
    say = to_stderr()
    with say.status(f"loading {flags.model}"):
        answerer = OwnAnswerer(flags)
    template = choose_template(answerer, [], flags.prompt_style, (), say)
    talk = Talk(answerer.engine(template), template, decoding)
    if question is not None:
        with say.status("writing"):
            text = talk.ask(question.strip(), piped)
        print(text)
    else:
        _converse(talk, answerer, say)


class Talk:
    """Questions to one model; knows the code of its last answer."""

    def __init__(self, engine: Engine, template: Template, decoding: DecodingConfig) -> None:
        self.engine, self.template, self.decoding = engine, template, decoding
        self.code = ""

    def ask(self, question: str, extra: str = "") -> str:
        """The whole answer. Raises UserError for a question longer than the model's positions."""
        problem = Problem("question", instruction=question, input=extra.rstrip())
        benchmark = Benchmark("chat", "text", (problem,), "", "")
        sample = answer(self.engine, benchmark, self.template, self.decoding).samples[0]
        if sample.finish == TOO_LONG:
            raise UserError("the question fills all positions of the model: ask a shorter one, or choose a model with more")
        text = sample.raw or sample.solution or ""
        self.code = extract_code(text)
        return text.strip("\n")

    def run(self) -> tuple[str, str]:
        """What the last answer's code printed in the sandbox, and how it ended. Raises UserError where there is none."""
        if not self.code.strip():
            raise UserError("there is no code to run yet: ask for some first")
        with Sandbox(workers=1) as sandbox:
            result = sandbox.run(self.code)
        if result.verdict is Verdict.PASSED:
            return result.stdout, "ran to its end" + ("" if result.stdout else " and printed nothing")
        return result.stdout, " ".join(filter(None, [result.verdict.value, result.detail]))


def _converse(talk: Talk, answerer: OwnAnswerer, say: Console) -> None:
    """Question and answer until /quit or Ctrl-D."""
    say.print(f"{answerer.loaded.name} ({answerer.adapted.method}). {HELP}")
    console = to_stdout()
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            say.print()
            return
        if line in ("/quit", "/exit"):
            return
        try:
            _reply(talk, line, console, say)
        except UserError as error:
            say.print(f"codetune: {error}")


def _reply(talk: Talk, line: str, console: Console, say: Console) -> None:
    if not line:
        return
    if line == "/run":
        with say.status("running in the sandbox"):
            output, ending = talk.run()
        console.print(output, end="", markup=False)
        say.print(f"({ending})")
    elif line.startswith("/"):
        say.print(HELP if line == "/help" else f"no command {line.split()[0]}; {HELP}")
    else:
        with say.status("writing"):
            text = talk.ask(line)
        console.print(Syntax(text, "python", background_color="default") if console.is_terminal and "```" not in text else Text(text))
