"""Question and answer until the end: what is typed goes to the model or to a command, and no mistake ends the talk."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from codetune.cli.terminal.flow import open_flow
from codetune.cli.terminal.reader import Reader
from codetune.cli.terminal.visible import visible
from codetune.errors import UserError
from codetune.generate.live import CANCELLED, Piece
from codetune.records import ProgramResult
from codetune.sandbox import Sandbox
from codetune.serve.talk import Talk

Command = Callable[["Session", str], None]
HELLO = "Ask for code. Enter sends, Alt-Enter adds a line, Ctrl-C stops an answer; /run runs its code, /help shows the rest, /quit leaves."


@dataclass(frozen=True, slots=True)
class Failure:
    """The last program that did not do what it should: what `/explain` explains and `/mend` mends."""

    code: str
    result: ProgramResult


class Session:
    """A talk at a terminal. `console` shows answers and what programs print, `say` everything else.

    The sandbox is opened when a program is first run, with what `open_sandbox` gives; `kept` is where the talk is kept while it lasts,
    so that nothing is lost by leaving.
    """

    def __init__(
        self, talk: Talk, reader: Reader, consoles: tuple[Console, Console], open_sandbox: Callable[[], Sandbox], kept: Path
    ) -> None:
        self.talk, self.reader, self.kept = talk, reader, kept
        self.console, self.say = consoles
        self.tests: tuple[str, str] | None = None  # where the last ones are from, and their text
        self.failure: Failure | None = None
        self._open_sandbox = open_sandbox
        self._sandbox: Sandbox | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def sandbox(self) -> Sandbox:
        """Raises UserError where this machine has none."""
        if self._sandbox is None:
            with self.say.status("opening the sandbox"):
                self._sandbox = self._stack.enter_context(self._open_sandbox())
        return self._sandbox

    def keep(self) -> None:
        """Whatever happens next, `/load` without a name goes on from here."""
        if self.talk.turns:
            self.talk.write(self.kept)

    def note(self, text: str) -> None:
        """A line of narration. It may hold what a model or a program wrote."""
        self.say.print(visible(text), style="dim")

    def complain(self, text: str) -> None:
        self.say.print(f"codetune: {visible(text)}", style="red")

    def answer(self, pieces: Generator[Piece, None, None]) -> None:
        """Show an answer as it comes. Ctrl-C stops it; what is there stays."""
        with (
            contextlib.suppress(KeyboardInterrupt), interruptible(), open_flow(self.console) as flow, contextlib.closing(pieces),
        ):  # fmt: skip
            for piece in pieces:
                flow.add(piece.text)
        self._note_how_it_ended()

    def _note_how_it_ended(self) -> None:
        talk = self.talk
        if talk.left_out:
            self.note(f"({talk.left_out} of the oldest exchanges were left out: the model has {talk.served.max_positions} positions)")
        answered = talk.turns and talk.turns[-2].content == talk.question
        if talk.finish == CANCELLED:
            self.note("(stopped; what is there is kept)" if answered else "(stopped; nothing was written)")
        elif not answered:
            self.note("(the model wrote nothing)")
        elif talk.finish == "length":
            self.note(f"(cut here: an answer has {talk.decoding.max_new_tokens} tokens at most, which max_new_tokens says)")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt within, once: a second one while things are being ended would leave the terminal half drawn."""

    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def converse(session: Session, command: Command) -> None:
    """Until /quit, Ctrl-D, or Ctrl-C twice at the prompt."""
    leaving = False  # whether the last thing typed was Ctrl-C
    while True:
        try:
            text = session.reader.read()
        except EOFError:
            return
        except KeyboardInterrupt:
            if leaving:
                return
            leaving = True
            session.note("(Ctrl-C again, Ctrl-D or /quit leaves)")
            continue
        leaving = False
        if text.strip() in ("/quit", "/exit"):
            return
        if text.strip():
            _do(session, text, command)


def _do(session: Session, text: str, command: Command) -> None:
    try:
        if text.startswith("/"):
            command(session, text)
        else:
            session.answer(session.talk.ask(text.strip("\n")))
    except UserError as error:
        session.complain(str(error))
    except KeyboardInterrupt:
        session.note("(stopped)")
    finally:
        session.keep()
