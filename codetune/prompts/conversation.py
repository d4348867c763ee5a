"""Conversations as training text: by the tokenizer's own chat template, or question by question in the form of a style for pairs.

An answer counts for the loss where the training text has it, and all before it, as the model would see it when it gives that answer.
What a chat template writes otherwise in the past (answers without their reasoning, say) is shown and not learned.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from codetune.errors import UserError
from codetune.prompts.rendered import Rendered, Segment
from codetune.records import Document, Message

if TYPE_CHECKING:
    import jinja2

Turns = Sequence[dict[str, str]]
Write = Callable[[Turns, bool], str]  # turns, and whether the next answer is to be asked for


def learnable(document: Document) -> list[Message]:
    """The conversation up to its last answer. Messages of one role in a row are one; an answer to nothing, at the start, is left out.

    Raises UserError where no answer is left.
    """
    grouped = itertools.groupby(document.messages, key=lambda message: message.role)
    messages = [Message(role, "\n\n".join(message.content for message in group)) for role, group in grouped]
    first = int(bool(messages) and messages[0].role == "system")
    if messages[first:] and messages[first].role == "assistant":
        del messages[first]
    while messages and messages[-1].role != "assistant":
        messages.pop()
    if not messages:
        raise UserError(f"{document.id}: the conversation has no answer by the assistant to learn from; leave it out of the data")
    return messages


def exchanges(messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
    """Each question with its answer; a system message in the middle belongs to the question beside it."""
    asked: list[str] = []
    for message in messages:
        if message.role == "assistant":
            yield "\n\n".join(asked), message.content
            asked = []
        else:
            asked.append(message.content)


def render_turns(turns: Turns, write: Write, eos_token: str, shown: int = 0) -> Rendered:
    """A conversation that ends with an answer, as a chat template writes it. The first `shown` turns are never learned.

    The last answer is what follows the prompt for it; where the whole conversation does not begin with that prompt (some templates
    write a last turn otherwise), the bare answer follows the prompt, for that is what the model will be asked with.
    """
    prompt, whole = write(turns[:-1], True), write(turns, False)
    if whole.startswith(prompt):
        last = whole[len(prompt) :].rstrip("\n")
        last = last.removesuffix(eos_token) if eos_token else last
    else:
        last = turns[-1]["content"]
    segments, at = list[Segment](), 0
    for start, stop in _answers(turns, write, eos_token, prompt, shown):
        segments += [Segment(prompt[at:start], supervised=False), Segment(prompt[start:stop], supervised=True, ends_turn=True)]
        at = stop
    return Rendered((*segments, Segment(prompt[at:], supervised=False), Segment(last, supervised=True, ends_turn=True)), has_special=True)


def _answers(turns: Turns, write: Write, eos_token: str, text: str, shown: int) -> Iterator[tuple[int, int]]:
    """Where the earlier answers stand in `text`, their end marks included, as far as they stand there as the model would write them."""
    for number in range(shown, len(turns) - 1):
        if turns[number]["role"] != "assistant":
            continue
        asked, answered = write(turns[:number], True), write(turns[: number + 1], False)
        if not text.startswith(answered) and eos_token:  # Phi closes every text with EOS, but no turn
            answered = answered.removesuffix(eos_token)
        if text.startswith(answered) and answered.startswith(asked):
            yield len(asked), len(asked) + len(answered[len(asked) :].rstrip("\n"))


def write_with(chat_template: str, bos_token: str, eos_token: str) -> Write:
    """What a chat template makes of turns. It raises UserError for those that the template refuses."""

    def write(turns: Turns, ask: bool) -> str:
        try:
            return _compiled(chat_template).render(messages=turns, add_generation_prompt=ask, bos_token=bos_token, eos_token=eos_token)
        except UserError:
            raise
        except Exception as error:  # a program of somebody else's, which may fail in any way
            raise UserError(f"the chat template fails on this conversation: {' '.join(str(error).split())}") from None

    return write


@cache
def _compiled(chat_template: str) -> jinja2.Template:
    """With what transformers offers to chat templates; their "today" is fixed, so that prompts do not change overnight."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # few prompts need it, and it takes as long as the rest of them

    extensions = ["jinja2.ext.loopcontrols"]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda _: "2026-01-01"
    return environment.from_string(chat_template)


def _raise(message: str) -> None:
    raise UserError(f"the chat template refuses this conversation: {message}")
