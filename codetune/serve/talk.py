"""A talk with a model: its turns, how it is asked, and a file of it that `codetune data` reads as a conversation to learn from.

    talk = Talk(engine)
    for piece in talk.ask("Reverse a string."):
        print(piece.text, end="")

What shows a talk is somewhere else: `codetune chat` is a terminal for one.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from codetune.config import DecodingConfig, validate
from codetune.data.files import Row, read_rows
from codetune.data.sources.chat import messages as read_messages
from codetune.errors import UserError, nearest
from codetune.generate.live import CANCELLED, Ask, LiveEngine, Piece, ServedModel, UnknownModelError
from codetune.records import Json, Message
from codetune.runs import write_atomically
from codetune.serve.remember import stream_remembered

SETTINGS = ("temperature", "top_p", "max_new_tokens", "seed")  # of the decoding: what a talk's answers are written with


class Talk:
    """One conversation. `turns` are questions and answers by turns, without the system message; `question` is the last one asked.

    `finish` says how the last answer ended, CANCELLED where it was given up; `left_out` how many of the oldest exchanges its prompt
    went without, since the model has no room for them.
    """

    def __init__(
        self, engine: LiveEngine, model: str = "", decoding: DecodingConfig | None = None, prompt_style: str | None = None, system: str = ""
    ) -> None:
        """With the engine's first model unless one is named. Raises UserError for a model or a prompt style that there is not."""
        self.engine, self.decoding, self.system = engine, decoding or DecodingConfig(), system
        self.turns: list[Message] = []
        self.question = self.finish = ""
        self.left_out = 0
        self.file: Path | None = None  # that it was last saved to or loaded from
        self.prompt_style: str | None = None
        self.model = engine.models()[0].name
        if model:
            self.choose_model(model)
        if prompt_style:
            self.choose_style(prompt_style)

    @property
    def served(self) -> ServedModel:
        """The model that answers."""
        return _served(self.engine, self.model)

    @property
    def style(self) -> str:
        """The prompt style that the model is asked in."""
        return self.prompt_style or self.served.prompt_style

    @property
    def messages(self) -> tuple[Message, ...]:
        """All of it, the system message first."""
        return (*([Message("system", self.system)] if self.system else []), *self.turns)

    def choose_model(self, name: str) -> None:
        """Another one answers from now on, in its own prompt style. Raises UnknownModelError."""
        self.model, self.prompt_style = _served(self.engine, name).name, None

    def choose_style(self, style: str) -> None:
        """Raises UserError for one that the model cannot be asked in."""
        if style not in self.served.styles:
            raise UserError(f"{self.model} has no prompt style {style!r}: {nearest(style, self.served.styles)}")
        self.prompt_style = style

    def set(self, name: str, value: str) -> None:
        """One of SETTINGS, given as text. Raises UserError for what it cannot be."""
        if name not in SETTINGS:
            raise UserError(f"there is no setting {name!r}: {nearest(name, SETTINGS)}")
        self.decoding = validate(self.decoding.model_dump() | {name: value}, DecodingConfig, "settings")

    def ask(self, question: str) -> Generator[Piece, None, None]:
        """The answer piece by piece. What was written stays in the talk, also where the iterator is closed early; a question that
        got no answer at all does not. Raises what `stream` raises."""
        self.question, self.finish = question, CANCELLED
        written: list[str] = []
        try:
            ask = Ask(self.model, (*self.messages, Message("user", question)), decoding=self.decoding, prompt_style=self.prompt_style)
            self.left_out, pieces = stream_remembered(self.engine, ask)
            with closing(pieces):
                for piece in pieces:
                    written.append(piece.text)
                    self.finish = piece.finish or self.finish
                    yield piece
        finally:
            answer = "".join(written)
            if answer.strip():
                self.add(question, answer)

    def retry(self) -> Generator[Piece, None, None]:
        """The last question once more, in place of its answer; where answers are drawn, with the next seed. An answer stays where no
        new one comes. Raises UserError where nothing was asked yet."""
        if not self.question:
            raise UserError("nothing was asked yet: there is no question to try again")
        if self.decoding.temperature > 0:
            self.decoding = self.decoding.model_copy(update={"seed": self.decoding.seed + 1})
        answered = self.turns[-2:] if self.turns and self.turns[-2].content == self.question else []
        del self.turns[len(self.turns) - len(answered) :]
        before = len(self.turns)
        try:
            yield from self.ask(self.question)
        finally:
            if len(self.turns) == before:
                self.turns += answered

    def add(self, question: str, answer: str) -> None:
        """An exchange that came about in another way."""
        self.turns += [Message("user", question), Message("assistant", answer)]
        self.question = question

    def clear(self) -> None:
        """Forget what was said, and keep how it is asked."""
        self.turns.clear()
        self.question = self.finish = ""
        self.left_out, self.file = 0, None

    def save(self, path: Path) -> None:
        """One line of JSON: `messages`, and the settings. Raises UserError where there is nothing to save or the file is another's."""
        if not self.turns:
            raise UserError("there is nothing to save yet: ask something first")
        if path.exists() and (self.file is None or path.resolve() != self.file.resolve()):
            raise UserError(f"{path} is there already and not this talk: give another name")
        self.write(path)
        self.file = path

    def write(self, path: Path) -> None:
        """The file of `save`, whatever was there."""
        settings: Json = {name: getattr(self.decoding, name) for name in SETTINGS}
        settings |= {"model": self.model, "prompt_style": self.prompt_style}
        turns = [{"role": message.role, "content": message.content} for message in self.messages]
        row = json.dumps({"messages": turns, "settings": settings}, ensure_ascii=False)
        write_atomically(path, lambda file: file.write(row.encode("utf-8", "replace") + b"\n"))

    def load(self, path: Path) -> list[str]:
        """Go on with a saved talk, or with the first conversation of a file of them; says what of its settings is not to be had.

        Raises UserError for a file that is none, and then nothing has changed.
        """
        row = read_rows(path)[0]
        turns = list(read_messages(row, "messages"))
        settings = row.values.get("settings") or {}
        if not isinstance(settings, dict):
            raise row.error("'settings' must be an object")
        kept = {name: settings[name] for name in SETTINGS if name in settings}
        decoding = validate(self.decoding.model_dump() | kept, DecodingConfig, row.where)
        system, turns = _system_of(turns, row)
        unanswered = turns.pop().content if turns[-1].role == "user" else ""
        notes = self._choose(settings)
        self.decoding, self.system, self.turns, self.file = decoding, system, turns, path
        self.question = unanswered or next(turn.content for turn in reversed(turns) if turn.role == "user")
        self.finish, self.left_out = "", 0
        return notes

    def _choose(self, settings: Json) -> list[str]:
        notes = []
        for value, choose in ((settings.get("model"), self.choose_model), (settings.get("prompt_style"), self.choose_style)):
            try:
                if isinstance(value, str):
                    choose(value)
            except UserError as error:
                notes.append(str(error))
        return notes


def _served(engine: LiveEngine, name: str) -> ServedModel:
    models = {model.name: model for model in engine.models()}
    if name not in models:
        raise UnknownModelError(f"no model {name!r} is here: {nearest(name, models)}")
    return models[name]


def _system_of(turns: list[Message], row: Row) -> tuple[str, list[Message]]:
    """The system message at the start, and the turns after it, which are by turns a question and its answer."""
    system = turns.pop(0).content if turns[0].role == "system" else ""
    if [turn.role for turn in turns] != [("user", "assistant")[number % 2] for number in range(len(turns))]:
        raise row.error("'messages' must be a question of the user and an answer of the assistant by turns, after a system message at most")
    return system, turns
