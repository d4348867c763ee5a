"""What can be typed beside questions: `/run`, `/model` and the like, each a function of the session and the rest of the line."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from codetune.cli.terminal import programs, proving
from codetune.cli.terminal.reader import Words
from codetune.cli.terminal.session import Session
from codetune.cli.terminal.visible import visible
from codetune.errors import UserError, nearest
from codetune.generate.live import CANCELLED
from codetune.serve.talk import SETTINGS, Talk

_MOST_COPIED = 74_994  # bytes in base64 that terminals take in one OSC 52


@dataclass(frozen=True, slots=True)
class Command:
    """`act` is given what follows the name."""

    usage: str
    summary: str
    act: Callable[[Session, str], None]


def obey(session: Session, text: str) -> None:
    """Do what a line that starts with a slash says. Raises UserError for a command that there is not, and what the command raises."""
    name, _, rest = text[1:].partition(" ")
    name, newline, below = name.partition("\n")
    if name not in COMMANDS:
        valid = [f"/{each}" for each in (*COMMANDS, "quit")]
        raise UserError(f"there is no command {f'/{name}'!r}: {nearest(f'/{name}', valid)}")
    COMMANDS[name].act(session, (below + " " + rest if newline else rest).strip())


def completions(talk: Talk) -> dict[str, Words | None]:
    """The commands' names, each with the words that may follow it; None where that is a file."""
    words: dict[str, Words | None] = dict.fromkeys((*COMMANDS, "quit"), tuple)
    words |= dict.fromkeys(("test", "mend", "save", "load"))
    words["model"] = lambda: [model.name for model in talk.engine.models()]
    words["style"] = lambda: talk.served.styles
    words["set"] = lambda: SETTINGS
    return words


def status(talk: Talk) -> str:
    """Who answers, and how, in a line."""
    decoding = talk.decoding
    how = "greedy" if decoding.temperature == 0 else f"temperature {decoding.temperature:g}, top_p {decoding.top_p:g}, seed {decoding.seed}"
    return f"{talk.model} · {talk.style} · {how} · at most {decoding.max_new_tokens} tokens"


def _model(session: Session, rest: str) -> None:
    if rest:
        session.talk.choose_model(rest)
        session.note(status(session.talk))
        return
    for model in session.talk.engine.models():
        mark = "*" if model.name == session.talk.model else " "
        session.say.print(visible(f"{mark} {model.name}  ({model.method}, asked in the style {model.prompt_style})"))


def _style(session: Session, rest: str) -> None:
    talk = session.talk
    if rest:
        talk.choose_style(rest)
        session.note(status(talk))
        return
    for style in talk.served.styles:
        own = "  (its own)" if style == talk.served.prompt_style else ""
        session.say.print(f"{'*' if style == talk.style else ' '} {style}{own}")


def _system(session: Session, rest: str) -> None:
    talk = session.talk
    if rest:
        talk.system = "" if rest == "off" else rest
    session.note(f"system message: {talk.system}" if talk.system else "there is no system message; /system TEXT sets one")


def _set(session: Session, rest: str) -> None:
    name, _, value = rest.replace("=", " ", 1).partition(" ")
    if name:
        if not value.strip():
            raise UserError(f"/set {name}: give a value, as in /set temperature 0.2")
        session.talk.set(name, value.strip())
    session.note(", ".join(f"{each} {getattr(session.talk.decoding, each)}" for each in SETTINGS))


def _retry(session: Session, rest: str) -> None:
    before = list(session.talk.turns)
    session.answer(session.talk.retry())
    if session.talk.turns == before and session.talk.finish != CANCELLED:
        session.note("(the same answer: /set temperature 0.4, or another /model, may give another one)")


def _copy(session: Session, rest: str) -> None:
    code = programs.chosen(session.talk, programs.number(rest)).code
    packed = base64.b64encode(code.encode("utf-8", "replace")).decode()
    if not session.console.is_terminal:
        raise UserError("/copy goes through the terminal, and there is none")
    if len(packed) > _MOST_COPIED:
        raise UserError(f"/copy: {len(packed)} bytes are more than terminals take; /save FILE keeps the talk")
    session.console.file.write(f"\x1b]52;c;{packed}\x07")  # OSC 52, which the terminal may refuse without a word
    session.console.file.flush()
    session.note(f"({code.count(chr(10))} lines were handed to the terminal's clipboard)")


def _save(session: Session, rest: str) -> None:
    path = _path("save", rest)
    session.talk.save(path)
    session.note(f"saved to {path}; `codetune data` reads it as a conversation")


def _load(session: Session, rest: str) -> None:
    path = Path(rest).expanduser() if rest else session.kept
    load(session, path)


def load(session: Session, path: Path) -> None:
    """Go on with a talk of a file, and say what it was about."""
    notes = session.talk.load(path)
    if path == session.kept:
        session.talk.file = None  # it is written anew all the time, and no name that somebody chose
    for note in notes:
        session.note(f"note: {note}")
    count = sum(turn.role == "user" for turn in session.talk.turns)
    session.note(f"{count} exchange{'s' * (count != 1)} loaded, the last question: {' '.join(session.talk.question.split())[:100]}")


def _clear(session: Session, rest: str) -> None:
    session.talk.clear()
    session.note("the talk begins anew")


def _help(session: Session, rest: str) -> None:
    width = max(len(command.usage) for command in COMMANDS.values())
    for command in COMMANDS.values():
        session.say.print(f"{command.usage.ljust(width)}  {command.summary}")
    session.say.print(f"{'/quit'.ljust(width)}  leave; so does Ctrl-D. /load without a FILE goes on with the last talk")


def _path(name: str, rest: str) -> Path:
    if not rest:
        raise UserError(f"/{name} needs a file, as in /{name} talk.jsonl")
    return Path(rest).expanduser()


COMMANDS = {
    "run": Command("/run [N] [ARGS] [< FILE]", "run the last answer's code (its block N) in the sandbox", programs.run),
    "test": Command("/test [FILE|ASSERTS]", "run the code against tests; the last ones, where none are given", proving.test),
    "mend": Command("/mend [FILE|ASSERTS]", "have it written again until the tests pass, each try shown as a diff", proving.mend_code),
    "explain": Command("/explain", "ask why the last program failed", programs.explain),
    "model": Command("/model [NAME]", "list the models, or choose who answers", _model),
    "style": Command("/style [NAME]", "list the prompt styles, or choose one", _style),
    "system": Command("/system [TEXT|off]", "show or set the system message", _system),
    "set": Command("/set [NAME VALUE]", f"show or set one of {', '.join(SETTINGS)}", _set),
    "retry": Command("/retry", "ask the last question again", _retry),
    "copy": Command("/copy [N]", "copy the code through the terminal (OSC 52)", _copy),
    "save": Command("/save FILE", "keep the talk, as a line that `codetune data` reads", _save),
    "load": Command("/load [FILE]", "go on with a talk that was kept", _load),
    "clear": Command("/clear", "begin anew", _clear),
    "help": Command("/help", "show this", _help),
}
