"""`codetune chat`: ask a model for code in the terminal, run what it writes in the sandbox, and have it mended.

    codetune chat --adapter runs/train-lora
    codetune chat -q "Write a function that reverses the words of a sentence."
    cat broken.py | codetune chat --adapter runs/train-lora -q "What is wrong with this function?"
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from codetune.cli.flags import LiveFlags
from codetune.cli.live import open_live_engine
from codetune.cli.output import to_stderr, to_stdout
from codetune.cli.running import TierFlags, takes_flags
from codetune.cli.terminal.commands import completions, load, obey, status
from codetune.cli.terminal.reader import CommandCompleter, LineReader, Reader, TerminalReader, open_history
from codetune.cli.terminal.session import HELLO, Session, converse
from codetune.errors import UserError
from codetune.generate.live import CANCELLED
from codetune.runs import state_folder
from codetune.serve.talk import Talk

app = typer.Typer(add_completion=False)


@app.command()
@takes_flags
def chat(
    *,
    flags: LiveFlags,
    tier: TierFlags,
    question: Annotated[str | None, typer.Option("-q", "--question", help="Answer this alone, on stdout; piped text is added.")] = None,
    system: Annotated[str, typer.Option(help="The system message, which the model is given before all questions.")] = "",
    load: Annotated[Path | None, typer.Option(help="Go on with a talk that /save kept.")] = None,
) -> None:
    """Ask a model for code in the terminal. Earlier questions and answers are remembered as far as the model has room for them."""
    asked = _asked(question)
    decoding = flags.decoding()
    say = to_stderr()
    with say.status(f"loading {flags.asked_model}"):
        engine = open_live_engine(flags)
    with closing(engine):
        served = engine.models()
        first = served[1 if flags.adapter and len(served) > 1 else 0].name  # what was tuned, where something is given
        talk = Talk(engine, first, decoding, flags.prompt_style, system)
        with make_session(talk, tier, say) as session:
            start(session, asked, load)


def make_session(talk: Talk, tier: TierFlags, say: Console) -> Session:
    """A talk at this process's terminal, or between its pipes."""
    folder = state_folder() / "chat"
    return Session(talk, _reader(talk, folder, say), (to_stdout(), say), lambda: tier.sandbox_of(workers=1), folder / "last.jsonl")


def start(session: Session, asked: str | None, saved: Path | None = None) -> None:
    """Answer what is asked, or talk until the end where nothing is; `saved` is a talk to go on with."""
    session.note(status(session.talk))
    if saved is not None:
        load(session, saved)
    if asked is not None:
        session.answer(session.talk.ask(asked))
        if session.talk.finish == CANCELLED:
            raise KeyboardInterrupt
        return
    session.say.print(HELLO)
    converse(session, obey)


def _asked(question: str | None) -> str | None:
    """The question with what is piped in, or that alone; None where somebody sits at the terminal."""
    piped = "" if sys.stdin.isatty() else sys.stdin.read()
    if question is None and sys.stdin.isatty():
        return None
    asked = "\n".join(part for part in ((question or "").strip(), piped.rstrip() if question else piped.strip()) if part)
    if not (piped if question is None else question).strip():
        raise UserError("the question is empty: give it as in -q 'Reverse a string.', or pipe it in")
    return asked


def _reader(talk: Talk, folder: Path, say: Console) -> Reader:
    """prompt_toolkit's where it can draw, else lines."""
    if sys.stdin.isatty() and sys.stdout.isatty() and not say.is_dumb_terminal:
        return TerminalReader(open_history(folder, say), CommandCompleter(completions(talk)), lambda: status(talk))
    return LineReader(say)
