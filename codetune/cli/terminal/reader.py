"""Reads what a person types: with editing, history and completion on a terminal, line by line elsewhere."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from rich.console import Console

PROMPT, MORE = "> ", "… "
_FENCE = re.compile(r"^[ \t]*```", re.MULTILINE)
Words = Callable[[], Sequence[str]]


class Reader(Protocol):
    """Where questions and commands come from."""

    def read(self) -> str:
        """The next one, of one line or several. Raises EOFError at the end, KeyboardInterrupt for Ctrl-C."""


def needs_more(text: str) -> bool:
    """Whether Enter adds a line: after a backslash, and while a fenced block is open."""
    return text.endswith("\\") or len(_FENCE.findall(text)) % 2 == 1


class LineReader:
    """Lines from stdin, with the prompt on stderr where somebody sits there."""

    def __init__(self, say: Console) -> None:
        self.say = say

    def read(self) -> str:
        text = self._line(PROMPT)
        with contextlib.suppress(EOFError):  # what is there at the end counts
            while needs_more(text):
                text = text.removesuffix("\\") + "\n" + self._line(MORE)
        return text

    def _line(self, prompt: str) -> str:
        if sys.stdin.isatty():
            self.say.print(prompt, end="")
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.removesuffix("\n")


class TerminalReader:
    """prompt_toolkit's editor: Enter sends, Alt-Enter adds a line, pasted lines stay together, Up brings earlier questions back."""

    def __init__(self, history: History, completer: Completer, status: Callable[[], str]) -> None:
        def toolbar() -> StyleAndTextTuples:
            return [("noreverse dim", status())]

        self._session: PromptSession[str] = PromptSession(
            history=history, completer=completer, multiline=True, key_bindings=_keys(), complete_while_typing=False,
            prompt_continuation=lambda width, line, wrapped: "" if wrapped else MORE, bottom_toolbar=toolbar,
            editing_mode=EditingMode.EMACS,
        )  # fmt: skip

    def read(self) -> str:
        return self._session.prompt(PROMPT)


def open_history(folder: Path, say: Console) -> History:
    """In a file that only its owner reads; in memory where none can be written."""
    path = folder / "questions"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    except OSError as error:
        say.print(f"note: questions are not remembered: {error}")
        return InMemoryHistory()
    return FileHistory(str(path))


class CommandCompleter(Completer):
    """Completes a command's name, and what may follow it: words, or a file's name where there are none."""

    def __init__(self, commands: dict[str, Words | None]) -> None:
        self.commands, self._paths = commands, PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        name, space, rest = document.text_before_cursor.removeprefix("/").partition(" ")
        if not document.text.startswith("/") or "\n" in document.text:
            return
        if not space:
            yield from _starting(name, self.commands)
        elif name in self.commands:
            words = self.commands[name]
            if words is None:
                yield from self._paths.get_completions(Document(rest), complete_event)
            else:
                yield from _starting(rest, words())


def _starting(given: str, words: Iterable[str]) -> Iterable[Completion]:
    return [Completion(word, -len(given)) for word in words if word.startswith(given)]


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if not needs_more(buffer.text):
            buffer.validate_and_handle()
            return
        if buffer.text.endswith("\\"):
            buffer.cursor_position = len(buffer.text)
            buffer.delete_before_cursor()
        buffer.insert_text("\n")

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
